// Gradients through rounding: straight through within the range, nothing outside (Bengio et al. 2013), and the gradient of the scale that follows
// from it (LSQ, Esser et al. 2019): d(scale) = sum dy (q - x/scale) inside the range, sum dy q outside. The value between the two operators is an integer;
// its gradient is carried as that of its dequantized value, so a quantizer and its dequantizers must share the scale.
// A zero point is an integer; its gradient is that of the real number it was rounded from: -scale times the sum of dy outside the range (LSQ+, Bhalgat et al. 2020).

import { integerRange, isInteger } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import { unbroadcast } from './grad-helpers.js';
import type { GradContext, GradFn } from './op.js';

/** Scale or zero point in a shape that broadcasts to x: one number, one per index of an axis, or repeated over blocks. */
function spreadOver(ctx: GradContext, parameter: Value): Value {
  const { b, node } = ctx;
  const dims = dimsOf(ctx.input(0));
  const own = dimsOf(parameter);
  if (own.length === 0) return parameter;
  const axis = axisOf(ctx);
  const block = node.int('block_size', 0);
  if (block === 0) return b.reshape(parameter, own[0] === 1 ? [] : alongAxis(dims, axis));
  const split = [...own.slice(0, axis + 1), 1, ...own.slice(axis + 1)];
  const repeated = split.map((d, i) => (i === axis + 1 ? block : d));
  const whole = b.reshape(
    b.expand(b.reshape(parameter, split), repeated),
    own.map((d, i) => (i === axis ? d * block : d)),
  );
  return b.slice(whole, [axis], [0], [dims[axis]!]);
}

function axisOf(ctx: GradContext): number {
  const axis = ctx.node.int('axis', 1);
  return axis < 0 ? axis + dimsOf(ctx.input(0)).length : axis;
}

const alongAxis = (dims: readonly number[], axis: number): number[] => dims.map((d, i) => (i === axis ? d : 1));

/** Sums over blocks along the axis; the last block may not be full. */
function blockSums(ctx: GradContext, products: Value, own: readonly number[]): Value {
  const { b, node } = ctx;
  const axis = axisOf(ctx);
  const block = node.int('block_size', 0);
  const dims = dimsOf(products);
  const missing = own[axis]! * block - dims[axis]!;
  const whole = b.pad(products, [...dims.map(() => 0), ...dims.map((_, i) => (i === axis ? missing : 0))]);
  const split = dims.flatMap((d, i) => (i === axis ? [own[axis]!, block] : [d]));
  return b.reduceSum(b.reshape(whole, split), [axis + 1], false);
}

/** Sum of `products` (shaped like x) over all that one scale serves. */
function sumByScale(ctx: GradContext, products: Value): Value {
  const { b } = ctx;
  const own = dimsOf(ctx.input(1));
  if (ctx.node.int('block_size', 0) > 0) return blockSums(ctx, products, own);
  const single = own.length === 0 || own[0] === 1;
  const target = single ? [] : alongAxis(dimsOf(products), axisOf(ctx));
  return b.reshape(unbroadcast(b, products, target), own);
}

const scaleGrad = (ctx: GradContext, products: Value): Value => ctx.b.div(sumByScale(ctx, products), ctx.input(1));

/** The part of one of the two operators: both together leave what is outside the range. */
const zeroGrad = (ctx: GradContext, dy: Value): Value => ctx.b.mul(sumByScale(ctx, dy), ctx.input(1));

/** True where rounding gives a value in the range of the integer type. */
function insideRange(ctx: GradContext): Value {
  const { b, node } = ctx;
  const dtype = dtypeOf(node.output(0));
  if (!isInteger(dtype)) return ctx.unsupported(`to ${dtype}`);
  const { min, max } = integerRange(dtype);
  const [x, scale] = [ctx.input(0), ctx.input(1)];
  const zero = ctx.has(2) ? b.cast(ctx.input(2), dtypeOf(x)) : b.number(x, 0);
  const bound = (limit: number): Value => spreadOver(ctx, b.mul(b.sub(b.number(x, limit), zero), scale));
  return b.op('And', [b.op('GreaterOrEqual', [x, bound(min - 0.5)]), b.op('LessOrEqual', [x, bound(max + 0.5)])]);
}

function requirePairs(ctx: GradContext): void {
  const q = ctx.node.output(0);
  const alone = q.users.filter((n) => n.opType !== 'DequantizeLinear' || n.input(1) !== ctx.input(1));
  if (alone.length > 0) ctx.unsupported(`read by ${alone[0]!.op} "${alone[0]!.label}", which is no DequantizeLinear of the same scale`);
}

export const quantizeGrad: GradFn = (ctx) => {
  requirePairs(ctx);
  const { b, wants } = ctx;
  const dx = b.mask(insideRange(ctx), ctx.outputGrad());
  return [wants[0] ? dx : null, wants[1] ? b.neg(scaleGrad(ctx, b.mul(dx, ctx.input(0)))) : null, wants[2] ? zeroGrad(ctx, dx) : null];
};

export const dequantizeGrad: GradFn = (ctx) => {
  const { b, wants } = ctx;
  const dy = ctx.outputGrad();
  return [
    wants[0] ? dy : null,
    wants[1] ? scaleGrad(ctx, b.mul(dy, ctx.node.output(0))) : null,
    wants[2] ? b.neg(zeroGrad(ctx, dy)) : null,
  ];
};
