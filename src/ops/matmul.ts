// Matrix products: MatMul over the last two axes with broadcast batches, Gemm (alpha*A*B + beta*C), Einsum, and the integer forms.

import { equalDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { broadcastTerms } from './axes-text.js';
import { BYTES, commonDtype, elements, NUMBERS, nodeAxes, requireBroadcastTo, requireDtype } from './compute-helpers.js';
import { einsumAxes, einsumCost, einsumQuant, einsumShape } from './einsum.js';
import { broadcastDims, requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import { einsumGrad, gemmGrad, matmulGrad } from './matmul-grad.js';
import type { Axes, CostContext, InferContext, OpRecord, QuantFacts, Work } from './op.js';

export const PRODUCT_TYPES: readonly DType[] = ['float', 'float16', 'double', 'bfloat16', 'uint32', 'uint64', 'int32', 'int64'];

/** Shape of a product in NumPy's rules: vectors are rows on the left, columns on the right, and their axis vanishes. `b` is the input named in errors. */
export function matmulShape(ctx: InferContext, a: Shape | null, b: Shape | null, inputs: readonly [number, number] = [0, 1]): Shape | null {
  for (const [shape, input] of [
    [a, inputs[0]],
    [b, inputs[1]],
  ] as const) {
    if (shape?.length === 0) ctx.failShape(input, 'rank 1 or more', formatShape(shape));
  }
  if (a === null || b === null) return null;
  const left = a.length === 1 ? [1, a[0]!] : a;
  const right = b.length === 1 ? [b[0]!, 1] : b;
  unifyDims(ctx, inputs[1], left.at(-1)!, right.at(-2)!, `rows (the columns of input ${inputs[0]})`);
  const rank = Math.max(left.length, right.length);
  const batch: Dim[] = [];
  for (let i = 0; i < rank - 2; i++) {
    const x = left[i - rank + left.length] ?? (i < rank - left.length ? 1 : null);
    const y = right[i - rank + right.length] ?? (i < rank - right.length ? 1 : null);
    const d = broadcastDims(x, y);
    if (d === undefined) ctx.failShape(inputs[1], `batch axes that broadcast with ${formatShape(a)}`, formatShape(b));
    batch.push(d);
  }
  const tail: Dim[] = [];
  if (a.length > 1) tail.push(left.at(-2)!);
  if (b.length > 1) tail.push(right.at(-1)!);
  return [...batch, ...tail];
}

interface ProductTerms {
  readonly a: string;
  readonly b: string;
  readonly result: string;
}

/** Axes of a product; null where a rank is unknown. */
export function matmulTerms(a: Shape | null | undefined, b: Shape | null | undefined): ProductTerms | null {
  if (!a || !b || a.length === 0 || b.length === 0) return null;
  const batchRank = Math.max(a.length, b.length, 2) - 2;
  const leading = (s: Shape) => s.slice(0, Math.max(s.length - 2, 0));
  // Letters of the batch axes come from the start of the alphabet: up to ten of them cannot meet k, m and n.
  if (batchRank > 10) return null;
  const batch = broadcastTerms([leading(a), leading(b)]);
  const [left, right] = batch.operands.map((x) => x.join(''));
  const m = a.length > 1 ? 'm' : '';
  const n = b.length > 1 ? 'n' : '';
  return { a: `${left}${m}k`, b: `${right}k${n}`, result: `${batch.result.join('')}${m}${n}` };
}

function matmulAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = matmulTerms(inputs[0], inputs[1]);
  return t ? nodeAxes(node, { 0: t.a, 1: t.b }, [t.result]) : 'opaque';
}

/** MACs of a product from the shapes of its left operand and result: every result element sums over the contracted axis. */
export function productCost(left: number, bias: number | null = null): (ctx: CostContext) => Work {
  return ({ inputs, outputs }) => {
    const out = elements(outputs[0]);
    return { macs: out * (inputs[left]?.at(-1) ?? 0), ops: bias !== null && inputs[bias] ? out : 0 };
  };
}

const MATMUL_QUANT: QuantFacts = {
  kind: 'compute',
  data: [0],
  weight: 1,
  bias: null,
  channelAxis: (_, rank) => (rank > 1 ? rank - 1 : null),
};

// ---- Gemm ----

/** [m, n] of op(A) op(B); checks C against it. */
export function gemmShape(ctx: InferContext, a: number, b: number, c: number): Shape {
  requireRank(ctx, a, 2);
  requireRank(ctx, b, 2);
  const [x, y] = [ctx.shape(a) ?? [null, null], ctx.shape(b) ?? [null, null]];
  const [transA, transB] = [ctx.node.int('transA', 0) !== 0, ctx.node.int('transB', 0) !== 0];
  unifyDims(ctx, b, x[transA ? 0 : 1]!, y[transB ? 1 : 0]!, `contracted extent (of input ${a})`);
  const shape: Shape = [x[transA ? 1 : 0]!, y[transB ? 0 : 1]!];
  requireBroadcastTo(ctx, c, shape);
  return shape;
}

interface GemmTerms extends ProductTerms {
  readonly c: string;
}

/** Axes of a Gemm; null where an operand is no matrix. C is undefined where omitted, null where its rank is unknown. */
export function gemmTerms(node: Node, a: Shape | null, b: Shape | null, c: Shape | null | undefined): GemmTerms | null {
  if ((a && a.length !== 2) || (b && b.length !== 2) || (c && c.length > 2)) return null;
  const [transA, transB] = [node.int('transA', 0) !== 0, node.int('transB', 0) !== 0];
  const [m, n] = [a ? a[transA ? 1 : 0]! : null, b ? b[transB ? 0 : 1]! : null];
  let [mName, nName, cTerm] = ['m', 'n', ''];
  if (c === null) [mName, nName, cTerm] = ['.', '.', '_'];
  else if (c !== undefined) {
    // C's extent is that of the product, or 1, or it cannot be told and the axis is blocked.
    const term = (extent: Dim, full: Dim, name: string) => (extent === 1 ? '.' : equalDims(extent, full) === true ? name : null);
    const rows = c.length === 2 ? term(c[0]!, m, 'm') : '';
    const columns = c.length >= 1 ? term(c.at(-1)!, n, 'n') : '';
    if (rows === null) mName = '.';
    if (columns === null) nName = '.';
    cTerm = `${rows ?? '.'}${columns ?? '.'}`;
  }
  return {
    a: transA ? `k${mName}` : `${mName}k`,
    b: transB ? `${nName}k` : `k${nName}`,
    c: cTerm,
    result: `${mName}${nName}`,
  };
}

export function gemmAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = gemmTerms(node, inputs[0] ?? null, inputs[1] ?? null, node.input(2) ? (inputs[2] ?? null) : undefined);
  return t ? nodeAxes(node, { 0: t.a, 1: t.b, 2: t.c }, [t.result]) : 'opaque';
}

export function gemmCost(a: number, c: number): (ctx: CostContext) => Work {
  return ({ node, inputs, outputs }) => {
    const out = elements(outputs[0]);
    const k = inputs[a]?.[node.int('transA', 0) !== 0 ? 0 : 1] ?? 0;
    return { macs: out * k, ops: inputs[c] ? out : 0 };
  };
}

export const GEMM_QUANT: QuantFacts = {
  kind: 'compute',
  data: [0],
  weight: 1,
  bias: 2,
  channelAxis: (node) => (node.int('transB', 0) !== 0 ? 0 : 1),
};

// ---- integers ----

/** Checks a scale or zero point of an operand: a scalar, one number per row or column, or shaped like the operand with the contracted axis 1. */
export function requireQuantParameter(ctx: InferContext, input: number, operand: Shape | null, axis: 'row' | 'column'): void {
  const shape = ctx.has(input) ? ctx.shape(input) : null;
  if (shape === null || operand === null || shape.length === 0 || (shape.length === 1 && shape[0] === 1)) return;
  const extent = axis === 'column' ? operand.at(-1)! : operand.length > 1 ? operand.at(-2)! : 1;
  if (shape.length === 1) unifyDims(ctx, input, extent, shape[0]!, `extent of the ${axis}s`);
  else if (shape.length !== operand.length) ctx.failShape(input, `a scalar, a vector or rank ${operand.length}`, formatShape(shape));
}

function matmulIntegerResult(ctx: InferContext) {
  const [a, b] = [requireDtype(ctx, 0, BYTES), requireDtype(ctx, 1, BYTES)];
  if (ctx.has(2) && a !== undefined) requireDtype(ctx, 2, [a]);
  if (ctx.has(3) && b !== undefined) requireDtype(ctx, 3, [b]);
  requireQuantParameter(ctx, 2, ctx.shape(0), 'row');
  requireQuantParameter(ctx, 3, ctx.shape(1), 'column');
  return [tensorResult('int32', matmulShape(ctx, ctx.shape(0), ctx.shape(1)))];
}

const QUANTIZED: readonly DType[] = [...BYTES, 'float8e4m3fn', 'float8e4m3fnuz', 'float8e5m2', 'float8e5m2fnuz'];

function qlinearMatmulResult(ctx: InferContext) {
  const [a, b] = [requireDtype(ctx, 0, QUANTIZED), requireDtype(ctx, 3, QUANTIZED)];
  commonDtype(ctx, [1, 4, 6], ['float', 'float16', 'bfloat16']);
  if (a !== undefined) requireDtype(ctx, 2, [a]);
  if (b !== undefined) requireDtype(ctx, 5, [b]);
  for (const i of [1, 2]) requireQuantParameter(ctx, i, ctx.shape(0), 'row');
  for (const i of [4, 5]) requireQuantParameter(ctx, i, ctx.shape(3), 'column');
  return [tensorResult(requireDtype(ctx, 7, QUANTIZED), matmulShape(ctx, ctx.shape(0), ctx.shape(3), [0, 3]))];
}

/** Term of a scale or zero point of an operand with the given term: one number for all, per row (`name` m) or per column (n), or of full rank. */
export function quantParameterTerm(shape: Shape | null | undefined, operand: string, name: string): string {
  if (!shape || shape.length === 0 || shape.every((d) => d === 1)) return '_';
  if (shape.length === 1) return name;
  return [...operand].map((letter, i) => (shape[i] === 1 ? '.' : letter)).join('');
}

function matmulIntegerAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = matmulTerms(inputs[0], inputs[1]);
  if (!t) return 'opaque';
  return nodeAxes(node, { 0: t.a, 1: t.b, 2: quantParameterTerm(inputs[2], t.a, 'm'), 3: quantParameterTerm(inputs[3], t.b, 'n') }, [
    t.result,
  ]);
}

function qlinearMatmulAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = matmulTerms(inputs[0], inputs[3]);
  if (!t) return 'opaque';
  const row = (i: number) => quantParameterTerm(inputs[i], t.a, 'm');
  const column = (i: number) => quantParameterTerm(inputs[i], t.b, 'n');
  return nodeAxes(node, { 0: t.a, 1: row(1), 2: row(2), 3: t.b, 4: column(4), 5: column(5) }, [t.result]);
}

export const MATMUL_OPS: readonly OpRecord[] = [
  {
    opType: 'MatMul',
    domain: '',
    since: 1,
    infer: (ctx) => [tensorResult(commonDtype(ctx, [0, 1], PRODUCT_TYPES), matmulShape(ctx, ctx.shape(0), ctx.shape(1)))],
    grad: matmulGrad,
    axes: matmulAxes,
    quant: MATMUL_QUANT,
    cost: productCost(0),
  },
  {
    opType: 'Gemm',
    domain: '',
    since: 1,
    infer: (ctx) => [tensorResult(commonDtype(ctx, [0, 1, 2], PRODUCT_TYPES), gemmShape(ctx, 0, 1, 2))],
    grad: gemmGrad,
    axes: gemmAxes,
    quant: GEMM_QUANT,
    cost: gemmCost(0, 2),
  },
  {
    opType: 'MatMulInteger',
    domain: '',
    since: 10,
    infer: matmulIntegerResult,
    grad: 'none',
    axes: matmulIntegerAxes,
    quant: 'none',
    cost: productCost(0),
  },
  {
    opType: 'QLinearMatMul',
    domain: '',
    since: 10,
    infer: qlinearMatmulResult,
    grad: 'none',
    axes: qlinearMatmulAxes,
    quant: 'none',
    cost: productCost(0),
  },
  {
    opType: 'Einsum',
    domain: '',
    since: 12,
    infer: (ctx) => [
      tensorResult(
        commonDtype(
          ctx,
          ctx.node.inputs.map((_, i) => i),
          NUMBERS,
        ),
        einsumShape(ctx),
      ),
    ],
    grad: einsumGrad,
    axes: einsumAxes,
    quant: einsumQuant,
    cost: einsumCost,
  },
];
