// Gradients of pooling. Maximum: the forward node hands out the indices of its maxima, and the gradient is put there (MaxUnpool where windows do not
// overlap, ScatterElements with a sum where they do). Average: each window spreads its gradient over its elements, a transposed convolution
// with ones over single channels.

import type { Value } from '../ir/graph.js';
import { dimsOf, type GradBuilder } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';
import { type StaticWindow, staticWindow } from './window-static.js';

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);
const spatialAxes = (dims: readonly number[]): number[] => dims.slice(2).map((_, i) => i + 2);

function windowOf(ctx: GradContext): StaticWindow {
  return staticWindow(ctx.node, ctx.node.ints('kernel_shape', []), dimsOf(ctx.input(0)).slice(2), dimsOf(ctx.outputGrad()).slice(2));
}

/** Second output of a MaxPool: for each maximum its place in the whole input, counted row-major. Added where the node has none. */
function indicesOf(ctx: GradContext): Value {
  const { node } = ctx;
  const known = node.outputs[1];
  if (known) return known;
  const y = node.output(0);
  const indices = node.graph.addValue(node.graph.freshName(`${y.name}_indices`), { kind: 'tensor', dtype: 'int64', shape: dimsOf(y) });
  node._setOutput(1, indices);
  return indices;
}

const maxPoolGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  if (node.int('storage_order', 0) !== 0) ctx.unsupported('with column-major indices');
  const dims = dimsOf(ctx.input(0));
  const w = windowOf(ctx);
  const dy = ctx.outputGrad();
  const outputs = dimsOf(dy).slice(2);
  const apart = w.kernel.every((k, i) => w.strides[i]! >= w.extents[i]! && (outputs[i]! - 1) * w.strides[i]! + k <= dims[i + 2]!);
  if (apart) {
    const attributes = { kernel_shape: w.kernel, strides: w.strides };
    return [b.op('MaxUnpool', [dy, indicesOf(ctx), b.ints('shape', dims)], attributes)];
  }
  const count = product(dimsOf(dy));
  const flat = b.op('ScatterElements', [b.full(dy, [product(dims)], 0), b.reshape(indicesOf(ctx), [count]), b.reshape(dy, [count])], {
    axis: 0,
    reduction: 'add',
  });
  return [b.reshape(flat, dims)];
};

/** Adds the value of each window to all input elements under it. */
function spread(b: GradBuilder, values: Value, dims: readonly number[], w: StaticWindow): Value {
  const [n = 1, c = 1, ...sizes] = dims;
  const outputs = dimsOf(values).slice(2);
  const single = b.reshape(values, [n * c, 1, ...outputs]);
  const full = b.op('ConvTranspose', [single, b.full(values, [1, 1, ...w.kernel], 1)], {
    strides: w.strides,
    dilations: w.dilations,
    kernel_shape: w.kernel,
  });
  // From the padded extents to those of the input.
  const reached = dimsOf(full).slice(2);
  const cut = reached.map((r, i) => sizes[i]! + w.begins[i]! - r);
  return b.reshape(b.pad(full, [0, 0, ...w.begins.map((p) => -p), 0, 0, ...cut]), dims);
}

/** Number of elements that each window averages over. */
function windowCounts(ctx: GradContext, w: StaticWindow): number[] {
  const { node } = ctx;
  const sizes = dimsOf(ctx.input(0)).slice(2);
  const outputs = dimsOf(ctx.outputGrad()).slice(2);
  const include = node.int('count_include_pad', 0) !== 0;
  const pads = node.ints('pads');
  const counts = outputs.map((out, i) =>
    Array.from({ length: out }, (_, o) => {
      let count = 0;
      // Padding that only ceil_mode adds never counts.
      const end = pads ? pads[sizes.length + i]! : w.ends[i]!;
      for (let t = 0; t < w.kernel[i]!; t++) {
        const at = o * w.strides[i]! - w.begins[i]! + t * w.dilations[i]!;
        if (include ? at < sizes[i]! + end : at >= 0 && at < sizes[i]!) count++;
      }
      return count;
    }),
  );
  return counts.reduce<number[]>((all, axis) => all.flatMap((a) => axis.map((c) => a * c)), [1]);
}

const averagePoolGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const dims = dimsOf(ctx.input(0));
  const dy = ctx.outputGrad();
  const outputs = dimsOf(dy).slice(2);
  const w = windowOf(ctx);
  const counts = windowCounts(ctx, w);
  const even = counts.every((c) => c === counts[0]);
  const shares = even
    ? b.scale(dy, 1 / (counts[0] ?? 1))
    : b.mul(
        dy,
        b.cast(
          b.floats(
            'shares',
            [1, 1, ...outputs],
            counts.map((c) => 1 / c),
          ),
          'float',
        ),
      );
  return [tiles(b, shares, dims, w) ?? spread(b, shares, dims, w)];
};

/** Windows that lie side by side and cover the input: repetition is all there is to do. */
function tiles(b: GradBuilder, values: Value, dims: readonly number[], w: StaticWindow): Value | undefined {
  const [n = 1, c = 1, ...sizes] = dims;
  const outputs = dimsOf(values).slice(2);
  const whole = w.kernel.every((k, i) => w.dilations[i] === 1 && w.strides[i] === k && w.begins[i] === 0 && outputs[i]! * k === sizes[i]);
  if (!whole) return undefined;
  const apart = outputs.flatMap((o) => [o, 1]);
  const repeated = outputs.flatMap((o, i) => [o, w.kernel[i]!]);
  return b.reshape(b.expand(b.reshape(values, [n, c, ...apart]), [n, c, ...repeated]), dims);
}

/** d/dx of (sum |x|^p)^(1/p): sign(x) |x|^(p-1) y^(1-p). */
function powerSlope(ctx: GradContext, spreadFactor: (factor: Value) => Value): Value {
  const { b, node } = ctx;
  const [x, y, dy] = [ctx.input(0), node.output(0), ctx.outputGrad()];
  const p = node.int('p', 2);
  if (p === 1) return b.mul(b.op('Sign', [x]), spreadFactor(dy));
  const factor = p === 2 ? b.div(dy, y) : b.mul(dy, b.op('Pow', [y, b.number(y, 1 - p)]));
  const power = p === 2 ? x : b.mul(b.op('Sign', [x]), b.op('Pow', [b.op('Abs', [x]), b.number(x, p - 1)]));
  return b.mul(power, spreadFactor(factor));
}

export const poolGrads = {
  MaxPool: maxPoolGrad,
  AveragePool: averagePoolGrad,
  LpPool: (ctx) => [powerSlope(ctx, (f) => spread(ctx.b, f, dimsOf(ctx.input(0)), windowOf(ctx)))],
  GlobalAveragePool: (ctx) => {
    const dims = dimsOf(ctx.input(0));
    return [ctx.b.expand(ctx.b.scale(ctx.outputGrad(), 1 / product(dims.slice(2))), dims)];
  },
  /** Equal maxima share the gradient. */
  GlobalMaxPool: (ctx) => {
    const { b } = ctx;
    const [x, y] = [ctx.input(0), ctx.node.output(0)];
    const dy = ctx.outputGrad();
    const among = b.mask(b.op('Equal', [x, y]), b.expand(b.number(dy, 1), dimsOf(x)));
    return [b.mul(among, b.div(dy, b.reduceSum(among, spatialAxes(dimsOf(x)))))];
  },
  GlobalLpPool: (ctx) => [powerSlope(ctx, (f) => f)],
  /** The gradient is read where the values were put. */
  MaxUnpool: (ctx) => {
    const { b } = ctx;
    const dy = ctx.outputGrad();
    const dims = dimsOf(ctx.input(0));
    const flat = b.reshape(dy, [product(dimsOf(dy))]);
    return [b.reshape(b.op('Gather', [flat, b.reshape(ctx.input(1), [product(dims)])]), dims)];
  },
} as const satisfies Record<string, GradFn>;
