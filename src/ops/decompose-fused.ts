// Operators that runtimes fuse, written as the plain ones they were made of: products and convolutions with an activation, embeddings with their
// normalization, biases with an activation, gates.

import type { AttributeInput } from '../ir/attribute.js';
import type { Node, Value } from '../ir/graph.js';
import { dimsOf, type GradBuilder } from './grad-builder.js';
import type { DecomposeContext, DecomposeFn } from './op.js';

/** Names of the numbers of an activation, in the order of `activation_params`. */
const ACTIVATION_PARAMS: Readonly<Record<string, readonly string[]>> = {
  Relu: [],
  Tanh: [],
  Sigmoid: [],
  LeakyRelu: ['alpha'],
  HardSigmoid: ['alpha', 'beta'],
};

function activate(ctx: DecomposeContext, x: Value, numbers: readonly (number | undefined)[]): Value {
  const { b, node } = ctx;
  const activation = node.string('activation', '');
  if (activation === '') return x;
  if (activation === 'Clip') {
    const [min, max] = numbers;
    return b.op('Clip', [x, min === undefined ? null : b.number(x, min), max === undefined ? null : b.number(x, max)]);
  }
  const names = ACTIVATION_PARAMS[activation];
  if (!names) return ctx.unsupported(`activation "${activation}"`);
  const attributes = names.flatMap((name, i): [string, AttributeInput][] => {
    const value = numbers[i];
    return value === undefined ? [] : [[name, { type: 'float', value }]];
  });
  return b.op(activation, [x], Object.fromEntries(attributes));
}

const paramsOf = (node: Node): readonly number[] => node.floats('activation_params') ?? [];

/** The attributes of the plain operator: all but those of the activation. */
function plainAttributes(node: Node): Record<string, AttributeInput> {
  return Object.fromEntries([...node.attributes].filter(([name]) => !name.startsWith('activation')));
}

/** Conv, plus input 3, then the activation. */
export const decomposeFusedConv: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  const conv = b.op('Conv', [ctx.input(0), ctx.input(1), ctx.has(2) ? ctx.input(2) : null], plainAttributes(node));
  return [activate(ctx, ctx.has(3) ? b.add(conv, ctx.input(3)) : conv, paramsOf(node))];
};

export const decomposeFusedGemm: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  const gemm = b.op('Gemm', [ctx.input(0), ctx.input(1), ctx.has(2) ? ctx.input(2) : null], plainAttributes(node));
  return [activate(ctx, gemm, [node.float('activation_alpha'), node.float('activation_beta')])];
};

/** Word, position and segment rows added up, then normalized over the last axis. Outputs: result, words of each sequence, the sum. */
export const decomposeEmbedding: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  const ids = ctx.input(0);
  const [batch, length] = dimsOf(ids) as readonly [number, number];
  const places = () =>
    b.ints(
      'places',
      Array.from({ length }, (_, i) => i),
    );
  const rows = (table: Value, indices: Value) => b.op('Gather', [table, indices]);
  let sum = b.add(rows(ctx.input(2), ids), rows(ctx.input(3), ctx.has(8) ? ctx.input(8) : places()));
  if (ctx.has(4) && ctx.has(1)) sum = b.add(sum, rows(ctx.input(4), ctx.input(1)));
  const y = layerNorm(b, sum, ctx.input(5), ctx.input(6), node.float('epsilon', 1e-12));
  const words = () =>
    ctx.has(7) ? b.cast(b.reduceSum(b.cast(ctx.input(7), 'int64'), [1], false), 'int32') : b.full(b.cast(ids, 'int32'), [batch], 0);
  return [y, node.outputs[1] ? words() : null, sum];
};

/** From parts: the operator of this name is younger than some models. */
function layerNorm(b: GradBuilder, x: Value, scale: Value, bias: Value, epsilon: number): Value {
  const axes = [dimsOf(x).length - 1];
  const centred = b.sub(x, b.reduceMean(x, axes));
  const variance = b.reduceMean(b.mul(centred, centred), axes);
  return b.add(b.mul(b.div(centred, b.op('Sqrt', [b.shift(variance, epsilon)])), scale), bias);
}

/** Between all pairs of rows of a [m, n] and b [k, n]: squared or plain Euclidean distance. */
export const decomposeDistances: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  const [x, y] = [ctx.input(0), ctx.input(1)];
  const [[m, n], [k]] = [dimsOf(x) as readonly [number, number], dimsOf(y) as readonly [number, number]];
  const difference = b.sub(b.reshape(x, [m, 1, n]), b.reshape(y, [1, k, n]));
  const squares = b.reduceSum(b.mul(difference, difference), [2], false);
  return [node.string('metric', 'sqeuclidean') === 'euclidean' ? b.op('Sqrt', [squares]) : squares];
};

/** An axis of extent 1, by the standard operator for it. */
export const decomposeExpandDims: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  return [b.reshape(ctx.input(0), dimsOf(node.output(0)))];
};

/** The standard operator of the same name and inputs. */
export const decomposeToStandard: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  return [b.op(node.opType, [...node.inputs], Object.fromEntries(node.attributes))];
};
