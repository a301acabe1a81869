// Gradients of the reductions and of TopK. Where several elements share the maximum, each gets an equal part.
import type { Value } from '../ir/graph.js';
import type { GradBuilder } from './grad-builder.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';

/** Opset from which all reductions take their axes as an input; ReduceSum did before. */
const AXES_AS_INPUT = 18;

export type ReduceOp =
  | 'ReduceMax'
  | 'ReduceMin'
  | 'ReduceProd'
  | 'ReduceMean'
  | 'ReduceLogSumExp'
  | 'ReduceL2'
  | 'ReduceSumSquare'
  | 'ReduceL1';

/** A reduction that keeps its axes, in the form of the opset. */
export function reduceKept(b: GradBuilder, opset: number, opType: ReduceOp, x: Value, axes: readonly number[]): Value {
  return opset < AXES_AS_INPUT
    ? b.op(opType, [x], { axes: [...axes], keepdims: 1 })
    : b.op(opType, [x, b.ints('axes', axes)], { keepdims: 1 });
}

interface Reduction {
  readonly b: GradBuilder;
  readonly opset: number;
  readonly x: Value;
  readonly dims: readonly number[];
  readonly axes: readonly number[];
  /** Number of elements that become one. */
  readonly count: number;
  /** Output and its gradient, with the reduced axes as ones. */
  readonly y: Value;
  readonly dy: Value;
}

/** Axes that the node reduces, counted from the front. */
function reducedAxes(ctx: GradContext, rank: number): readonly number[] {
  if (ctx.has(1) && ctx.numbers(1) === undefined) ctx.unsupported('axes that are not constant');
  const given = (ctx.has(1) ? ctx.numbers(1) : ctx.node.ints('axes')) ?? [];
  if (given.length === 0) return ctx.node.int('noop_with_empty_axes', 0) ? [] : Array.from({ length: rank }, (_, i) => i);
  return given.map((a) => (a < 0 ? a + rank : a));
}

/** Gradient of a reduction; what `derive` answers is expanded to the input's shape. */
function reductionGrad(derive: (r: Reduction) => Value): GradFn {
  return (ctx) => {
    const { b, opset } = ctx;
    const x = ctx.input(0);
    const dims = dimsOf(x);
    const axes = reducedAxes(ctx, dims.length);
    const kept = dims.map((d, i) => (axes.includes(i) ? 1 : d));
    const [y, dy] = [b.reshape(ctx.node.output(0), kept), b.reshape(ctx.outputGrad(), kept)];
    const count = axes.reduce((n, a) => n * dims[a]!, 1);
    return [b.expand(derive({ b, opset, x, dims, axes, count, y, dy }), dims)];
  };
}

const extreme = reductionGrad(({ b, x, axes, y, dy }) => {
  const equal = b.op('Equal', [x, y]);
  return b.mask(equal, b.div(dy, b.reduceSum(b.cast(equal, dtypeOf(x)), axes)));
});

/** The product of the others: y / x, and at the only zero among them the product of the rest. */
const product = reductionGrad(({ b, opset, x, axes, y, dy }) => {
  const zero = b.op('Equal', [x, b.number(x, 0)]);
  const safe = b.where(zero, b.number(x, 1), x);
  const zeros = b.reduceSum(b.cast(zero, dtypeOf(x)), axes);
  const rest = b.where(b.op('Equal', [zeros, b.number(x, 1)]), reduceKept(b, opset, 'ReduceProd', safe, axes), b.number(x, 0));
  return b.mul(dy, b.where(zero, rest, b.div(y, safe)));
});

export const REDUCTION_GRADS: Readonly<Record<string, GradFn>> = {
  ReduceSum: reductionGrad(({ dy }) => dy),
  ReduceMean: reductionGrad(({ b, dy, count }) => b.scale(dy, 1 / count)),
  ReduceMax: extreme,
  ReduceMin: extreme,
  ReduceProd: product,
  ReduceL1: reductionGrad(({ b, dy, x }) => b.mul(dy, b.op('Sign', [x]))),
  // Zero where all elements are.
  ReduceL2: reductionGrad(({ b, dy, x, y }) => {
    const zero = b.op('Equal', [y, b.number(y, 0)]);
    return b.mul(x, b.div(b.mask(b.op('Not', [zero]), dy), b.where(zero, b.number(y, 1), y)));
  }),
  ReduceLogSum: reductionGrad(({ b, dy, y }) => b.mul(dy, b.op('Exp', [b.neg(y)]))),
  ReduceLogSumExp: reductionGrad(({ b, dy, x, y }) => b.mul(dy, b.op('Exp', [b.sub(x, y)]))),
  ReduceSumSquare: reductionGrad(({ b, dy, x }) => b.mul(x, b.scale(dy, 2))),
};

/** The values go back to where they were taken; no place is taken twice. */
export const topKGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const x = ctx.input(0);
  const indices = node.outputs[1];
  if (!indices) ctx.unsupported('the output of indices is missing');
  return [b.op('ScatterElements', [b.full(x, dimsOf(x), 0), indices, ctx.outputGrad()], { axis: node.int('axis', -1) })];
};
