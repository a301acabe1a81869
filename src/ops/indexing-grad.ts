// Gradients of lookups and writes by index. What is read several times gets the sum of the gradients.
// ONNX Runtime adds duplicates of ScatterND in several threads at once and loses some (release 1.30: up to 1000 of 10^5 in a run), so sums go through
// ScatterElements, which adds in order, or for short tables through a product with the one-hot matrix. Measured for 2048 rows of 192 numbers, best of 12:
// table of 65 rows 0.6 ms as a product, 2.0 ms as ScatterElements; 512 rows 19 and 2.7 ms.
import type { Value } from '../ir/graph.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import type { GradBuilder } from './grad-builder.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import { placeAt } from './movement-grad.js';
import type { GradContext, GradFn } from './op.js';

/** Up to this many rows a product with the one-hot matrix is faster than adding row by row. */
const ONE_HOT_ROWS = 128;
/** Opset from which ScatterElements can add. */
const ADDING_SCATTER = 16;

/** The values [0, 1] that OneHot takes. */
const pair = (b: GradBuilder, like: Value): Value => b.constant('pair', Tensor.from(dtypeOf(like), [2], [0, 1]));

const axisOf = (ctx: GradContext, rank: number): number => {
  const axis = ctx.node.int('axis', 0);
  return axis < 0 ? axis + rank : axis;
};

/**
 * Sums rows where they belong: `updates` [pre, k, post] and indices [k] give [pre, extent, post], or [extent, post] where pre is 1. The rows of equal indices are added in order.
 */
function addRows(ctx: GradContext, indices: Value, updates: Value, extent: number): Value {
  const { b, opset } = ctx;
  const [pre, k, post] = dimsOf(updates) as readonly [number, number, number];
  if (extent <= ONE_HOT_ROWS || opset < ADDING_SCATTER) {
    // Not every integer type has a kernel of OneHot.
    const rows = b.op('OneHot', [b.cast(indices, 'int64'), b.ints('depth', [extent]), pair(b, updates)], { axis: 0 });
    return b.op('MatMul', [rows, updates]);
  }
  // The gradient of a table is an output of the graph: under other dimensions it would be copied once more. Table of 30522x256, 2048 rows, one thread: 11.2 ms
  // instead of 14.3.
  if (pre === 1) {
    const at = b.expand(b.reshape(indices, [k, 1]), [k, post]);
    return b.op('ScatterElements', [b.full(updates, [extent, post], 0), at, b.reshape(updates, [k, post])], { axis: 0, reduction: 'add' });
  }
  const at = b.expand(b.reshape(indices, [1, k, 1]), [pre, k, post]);
  return b.op('ScatterElements', [b.full(updates, [pre, extent, post], 0), at, updates], { axis: 1, reduction: 'add' });
}

export const gatherGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const dims = dimsOf(ctx.input(0));
  const axis = axisOf(ctx, dims.length);
  const extent = dims[axis]!;
  const [pre, post] = [elementCount(dims.slice(0, axis)), elementCount(dims.slice(axis + 1))];
  const k = elementCount(dimsOf(ctx.input(1)));
  const updates = b.reshape(ctx.outputGrad(), [pre, k, post]);
  const known = ctx.numbers(1)?.map((i) => (i < 0 ? i + extent : i));
  const first = known?.[0];
  if (first !== undefined && known!.every((x, i) => x === first + i)) return [b.reshape(placeAt(b, updates, 1, first, extent), dims)];
  return [b.reshape(addRows(ctx, b.reshape(ctx.input(1), [k]), updates, extent), dims)];
};

export const gatherElementsGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const axis = node.int('axis', 0);
  // One element of each line: nothing is read twice.
  const once = dimsOf(ctx.input(1)).at(axis) === 1;
  if (!once && ctx.opset < ADDING_SCATTER) ctx.unsupported(`opset ${ctx.opset}: expected ${ADDING_SCATTER} or newer`);
  const zeros = b.full(ctx.input(0), dimsOf(ctx.input(0)), 0);
  return [b.op('ScatterElements', [zeros, ctx.input(1), ctx.outputGrad()], { axis, ...(once ? {} : { reduction: 'add' }) })];
};

/**
 * Index tuples [..., width] into the axes from `batch` on, as numbers of rows of a table of all leading axes: [count].
 */
function rowNumbers(b: GradBuilder, tuples: Value, dims: readonly number[], batch: number): Value {
  const shape = dimsOf(tuples);
  const width = shape.at(-1)!;
  const count = elementCount(shape.slice(0, -1));
  const extents = dims.slice(batch, batch + width);
  const wide = b.cast(tuples, 'int64');
  const positive = b.where(b.op('Less', [wide, b.number(wide, 0)]), b.add(wide, b.ints('extents', extents)), wide);
  const strides = extents.map((_, i) => elementCount(extents.slice(i + 1)));
  const rows = b.reduceSum(b.mul(b.reshape(positive, [count, width]), b.ints('strides', strides)), [1], false);
  if (batch === 0) return rows;
  const batches = elementCount(dims.slice(0, batch));
  const offsets = Array.from({ length: count }, (_, i) => Math.floor(i / (count / batches)) * elementCount(extents));
  return b.add(rows, b.ints('offsets', offsets));
}

export const gatherNDGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const dims = dimsOf(ctx.input(0));
  const batch = node.int('batch_dims', 0);
  const width = dimsOf(ctx.input(1)).at(-1)!;
  const table = elementCount(dims.slice(0, batch + width));
  const post = elementCount(dims.slice(batch + width));
  const rows = rowNumbers(b, ctx.input(1), dims, batch);
  const updates = b.reshape(ctx.outputGrad(), [1, dimsOf(rows)[0]!, post]);
  return [b.reshape(addRows(ctx, rows, updates, table), dims)];
};

/** Where updates replace, the places written get no gradient of the data; where they are added, all do. */
function requireLinear(ctx: GradContext): 'none' | 'add' {
  const reduction = ctx.node.string('reduction', 'none');
  return reduction === 'none' || reduction === 'add' ? reduction : ctx.unsupported(`reduction "${reduction}"`);
}

export const scatterElementsGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const replaces = requireLinear(ctx) === 'none';
  const dy = ctx.outputGrad();
  const [indices, axis] = [ctx.input(1), node.int('axis', 0)];
  const data = () => (replaces ? b.op('ScatterElements', [dy, indices, b.full(dy, dimsOf(indices), 0)], { axis }) : dy);
  return [ctx.wants[0] ? data() : null, null, ctx.wants[2] ? b.op('GatherElements', [dy, indices], { axis }) : null];
};

export const scatterNDGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const replaces = requireLinear(ctx) === 'none';
  const dy = ctx.outputGrad();
  const indices = ctx.input(1);
  const data = () => (replaces ? b.op('ScatterND', [dy, indices, b.full(dy, dimsOf(ctx.input(2)), 0)]) : dy);
  return [ctx.wants[0] ? data() : null, null, ctx.wants[2] ? b.op('GatherND', [dy, indices]) : null];
};

/** Gradient of [off, on]: the sums where the element was off and on. */
export const oneHotGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const dy = ctx.outputGrad();
  const mask = b.op('OneHot', [ctx.input(0), ctx.input(1), pair(b, dy)], { axis: node.int('axis', -1) });
  const sum = (v: Value) => b.reduceSum(b.reshape(v, [elementCount(dimsOf(v))]), [0]);
  const on = sum(b.mul(dy, mask));
  return [null, null, b.concat([b.sub(sum(dy), on), on], 0)];
};
