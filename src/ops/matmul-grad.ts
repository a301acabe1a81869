// Gradients of matrix products: for Y = A B they are dA = dY Bᵀ and dB = Aᵀ dY, summed over broadcast batch axes.
// Transposition is left to the product: Gemm for matrices, FusedMatMul of ONNX Runtime for batches in float, Transpose otherwise.

import type { Value } from '../ir/graph.js';
import { dimsOf, dtypeOf, type GradBuilder } from './grad-builder.js';
import { unbroadcast } from './grad-helpers.js';
import type { GradContext, GradFn } from './op.js';

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

export interface ProductOptions {
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly alpha?: number;
}

/** alpha * op(a) op(b) over the last two axes; operands have two axes or more, batch axes broadcast. */
export function multiply(b: GradBuilder, x: Value, y: Value, { transA = false, transB = false, alpha = 1 }: ProductOptions = {}): Value {
  const [p, q] = [dimsOf(x), dimsOf(y)];
  const attributes = { transA: transA ? 1 : 0, transB: transB ? 1 : 0, alpha: { type: 'float', value: alpha } as const };
  if (p.length === 2 && q.length === 2) return b.op('Gemm', [x, y], attributes);
  const scaled = alpha !== 1 || transA || transB;
  if (scaled && dtypeOf(x) === 'float') return b.op('FusedMatMul', [x, y], attributes, { domain: 'com.microsoft' });
  const plain = b.op('MatMul', [transA ? b.transposeLast(x) : x, transB ? b.transposeLast(y) : y]);
  return b.scale(plain, alpha);
}

/** dA and dB of op(A) op(B) for operands of two axes or more. */
function productGrads(
  b: GradBuilder,
  dy: Value,
  x: Value,
  y: Value,
  options: ProductOptions,
  wants: readonly boolean[],
): [Value | null, Value | null] {
  const { transA = false, transB = false, alpha = 1 } = options;
  const left = () =>
    transA ? multiply(b, y, dy, { transA: transB, transB: true, alpha }) : multiply(b, dy, y, { transB: !transB, alpha });
  const right = () =>
    transB ? multiply(b, dy, x, { transA: true, transB: transA, alpha }) : multiply(b, x, dy, { transA: !transA, alpha });
  return [wants[0] ? unbroadcast(b, left(), dimsOf(x)) : null, wants[1] ? unbroadcast(b, right(), dimsOf(y)) : null];
}

/**
 * A product with one matrix for all batches is one large product of matrices: no batch of small ones, no sum over them.
 */
function matmulGrads(
  b: GradBuilder,
  dy: Value,
  x: Value,
  y: Value,
  options: ProductOptions,
  wants: readonly boolean[],
): [Value | null, Value | null] {
  const [p, q] = [dimsOf(x), dimsOf(y)];
  const flat = q.length === 2 && p.length > 2 && !options.transA;
  if (!flat) return productGrads(b, dy, x, y, options, wants);
  const rows = product(p.slice(0, -1));
  const g = dimsOf(dy).at(-1)!;
  const [dx, dw] = productGrads(b, b.reshape(dy, [rows, g]), b.reshape(x, [rows, p.at(-1)!]), y, options, wants);
  return [dx && b.reshape(dx, p), dw];
}

/** Vectors are rows on the left and columns on the right, and their axis vanishes from the result. */
export const matmulGrad: GradFn = (ctx) => {
  const { b, wants } = ctx;
  const [x, y] = [ctx.input(0), ctx.input(1)];
  const [p, q] = [dimsOf(x), dimsOf(y)];
  const row = p.length === 1 ? b.reshape(x, [1, p[0]!]) : x;
  const column = q.length === 1 ? b.reshape(y, [q[0]!, 1]) : y;
  const out = [...dimsOf(ctx.outputGrad())];
  if (q.length === 1) out.push(1);
  if (p.length === 1) out.splice(out.length - 1, 0, 1);
  const grads = matmulGrads(b, b.reshape(ctx.outputGrad(), out), row, column, {}, wants);
  return [grads[0] && b.reshape(grads[0], p), grads[1] && b.reshape(grads[1], q)];
};

/** ONNX Runtime's product with transposed operands and a factor. */
export const fusedMatmulGrad: GradFn = (ctx) => {
  const { b, node, wants } = ctx;
  if (node.int('transBatchA', 0) !== 0 || node.int('transBatchB', 0) !== 0) ctx.unsupported('batch axes are transposed');
  const [x, y] = [ctx.input(0), ctx.input(1)];
  if (dimsOf(x).length < 2 || dimsOf(y).length < 2) ctx.unsupported('an operand is a vector');
  const options = { transA: node.int('transA', 0) !== 0, transB: node.int('transB', 0) !== 0, alpha: node.float('alpha', 1) };
  return matmulGrads(b, ctx.outputGrad(), x, y, options, wants);
};

/** Y = alpha op(A) op(B) + beta C. */
export const gemmGrad: GradFn = (ctx) => {
  const { b, node, wants } = ctx;
  const dy = ctx.outputGrad();
  const options = { transA: node.int('transA', 0) !== 0, transB: node.int('transB', 0) !== 0, alpha: node.float('alpha', 1) };
  const grads: (Value | null)[] = productGrads(b, dy, ctx.input(0), ctx.input(1), options, wants);
  if (ctx.has(2)) grads.push(wants[2] ? b.scale(unbroadcast(b, dy, dimsOf(ctx.input(2))), node.float('beta', 1)) : null);
  return grads;
};

/** For Y = X⁻¹: dX = -Yᵀ dY Yᵀ. */
export const inverseGrad: GradFn = ({ b, node, outputGrad }) => {
  const y = node.output(0);
  return [b.neg(multiply(b, multiply(b, y, outputGrad(), { transA: true }), y, { transB: true }))];
};

/**
 * Einsum by Einsum: the gradient of an operand contracts the result's gradient with the other operands. Axes of the operand that occur
 * nowhere else were summed over: there the gradient is the same along the axis.
 */
export const einsumGrad: GradFn = (ctx) => {
  const equation = ctx.node.string('equation', '').replaceAll(' ', '');
  const [left = '', right] = equation.split('->');
  const terms = left.split(',');
  if (right === undefined || equation.includes('.')) return ctx.unsupported('an equation without "->" or with an ellipsis');
  if ([...terms, right].some((t) => new Set(t).size < t.length)) return ctx.unsupported('an axis that occurs twice in a term');
  return terms.map((_, i) => (ctx.wants[i] ? einsumOperandGrad(ctx, terms, right, i) : null));
};

function einsumOperandGrad(ctx: GradContext, terms: readonly string[], result: string, index: number): Value {
  const { b } = ctx;
  const others = terms.flatMap((term, i) => (i === index ? [] : [{ term, value: ctx.input(i) }]));
  const operands = [{ term: result, value: ctx.outputGrad() }, ...others];
  const known = new Set(operands.flatMap(({ term }) => [...term]));
  const target = [...terms[index]!];
  const kept = target.filter((letter) => known.has(letter));
  const equation = `${operands.map(({ term }) => term).join(',')}->${kept.join('')}`;
  const partial = b.op(
    'Einsum',
    operands.map(({ value }) => value),
    { equation },
  );
  const dims = dimsOf(ctx.input(index));
  const spread = b.reshape(
    partial,
    target.map((letter, i) => (known.has(letter) ? dims[i]! : 1)),
  );
  return b.expand(spread, dims);
}
