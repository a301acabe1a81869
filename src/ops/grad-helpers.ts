// What gradients of several operators share: undoing a broadcast, element-wise gradients as one line.

import type { Value } from '../ir/graph.js';
import { dimsOf, type GradBuilder, sameDims } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';

/** Sums a gradient over the axes along which a value of the dimensions `dims` was broadcast, and gives it exactly these. */
export function unbroadcast(b: GradBuilder, grad: Value, dims: readonly number[]): Value {
  const from = dimsOf(grad);
  if (sameDims(from, dims)) return grad;
  const skip = from.length - dims.length;
  const axes = from.flatMap((d, i) => (i < skip || (dims[i - skip] === 1 && d !== 1) ? [i] : []));
  return b.reshape(b.reduceSum(grad, axes), dims);
}

/** The same for the shape of another value. */
export function unbroadcastTo(b: GradBuilder, grad: Value, like: Value): Value {
  return unbroadcast(b, grad, dimsOf(like));
}

/** Gradient of a function of input 0 alone, element by element: `derive` answers dy*f'(x) from the builder, dy, x and y. */
export function elementGrad(derive: (b: GradBuilder, dy: Value, x: Value, y: Value, ctx: GradContext) => Value): GradFn {
  return (ctx) => [derive(ctx.b, ctx.outputGrad(), ctx.input(0), ctx.node.output(0), ctx)];
}

/** No gradient flows: the result is a step function of the inputs, or none of numbers. */
export const noFlow: GradFn = (ctx) => ctx.node.inputs.map(() => null);
