// Gradients of the operators that move blocks of elements: each is the movement back, with sums where elements were repeated.
import type { Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { dimsOf, dtypeOf, type GradBuilder } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';

const fromFront = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

export const transposeGrad: GradFn = (ctx) => {
  const rank = dimsOf(ctx.input(0)).length;
  const perm = ctx.node.ints('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  const back = new Array<number>(rank).fill(0);
  for (const [i, p] of perm.entries()) back[fromFront(p, rank)] = i;
  return [ctx.b.transpose(ctx.outputGrad(), back)];
};

/** One Split where all parts are wanted, else a slice for each. */
export const concatGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const dy = ctx.outputGrad();
  const axis = fromFront(node.int('axis', 1), dimsOf(dy).length);
  const sizes = node.inputs.map((_, i) => dimsOf(ctx.input(i))[axis]!);
  if (sizes.length === 1) return [dy];
  if (ctx.wants.every((w) => w)) {
    const outputs = sizes.map((_, i) => `${b.prefix}Split_${i}`);
    return b.node('Split', [dy, b.ints('split', sizes)], { axis }, { outputs }).outputs;
  }
  let start = 0;
  return sizes.map((size, i) => {
    start += size;
    return ctx.wants[i] ? b.slice(dy, [axis], [start - size], [start]) : null;
  });
};

/** Puts a part back at its place along an axis, among zeros. */
export function placeAt(b: GradBuilder, part: Value, axis: number, start: number, extent: number): Value {
  const dims = dimsOf(part);
  const pads = new Array<number>(2 * dims.length).fill(0);
  pads[axis] = start;
  pads[dims.length + axis] = extent - start - dims[axis]!;
  return b.pad(part, pads);
}

export const splitGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const dims = dimsOf(ctx.input(0));
  const axis = fromFront(node.int('axis', 0), dims.length);
  const sizes = node.outputs.map((v) => (v ? dimsOf(v)[axis]! : null));
  const known = ctx.numbers(1) ?? node.ints('split');
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce<number>((sum, s, k) => sum + (s ?? known?.[k] ?? 0), 0));
  const there = ctx.outputGrads.flatMap((g, i) => (g ? [i] : []));
  if (there.length === 1) return [placeAt(b, ctx.outputGrad(there[0]!), axis, starts[there[0]!]!, dims[axis]!)];
  const part = (i: number): Value => {
    const size = sizes[i] ?? known?.[i] ?? ctx.unsupported('an output of unknown size is left out');
    return (
      ctx.outputGrads[i] ??
      b.full(
        ctx.input(0),
        dims.map((d, k) => (k === axis ? size : d)),
        0,
      )
    );
  };
  return [
    b.concat(
      sizes.map((_, i) => part(i)),
      axis,
    ),
  ];
};

/** The copies are axes of their own, over which to sum. */
export const tileGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const dims = dimsOf(ctx.input(0));
  const total = dimsOf(ctx.outputGrad());
  const repeats = dims.map((d, i) => (d === 0 ? 1 : total[i]! / d));
  const split = b.reshape(
    ctx.outputGrad(),
    dims.flatMap((d, i) => (repeats[i] === 1 ? [d] : [repeats[i]!, d])),
  );
  const axes: number[] = [];
  let at = 0;
  for (const r of repeats) {
    if (r !== 1) axes.push(at++);
    at++;
  }
  return [b.reshape(b.reduceSum(split, axes, false), dims)];
};

// ---- Pad ----

/** Begins and ends for all axes. */
function padsOf(ctx: GradContext, rank: number): { begins: number[]; ends: number[] } {
  const pads = ctx.numbers(1);
  const axes = ctx.has(3) ? ctx.numbers(3) : Array.from({ length: rank }, (_, i) => i);
  if (pads === undefined || axes === undefined) ctx.unsupported('pads or axes that are not constant');
  const begins = new Array<number>(rank).fill(0);
  const ends = new Array<number>(rank).fill(0);
  for (const [i, a] of axes.entries()) {
    begins[fromFront(a, rank)] = pads[i]!;
    ends[fromFront(a, rank)] = pads[axes.length + i]!;
  }
  return { begins, ends };
}

export const padGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const dims = dimsOf(ctx.input(0));
  const { begins, ends } = padsOf(ctx, dims.length);
  const mode = node.string('mode', 'constant');
  const dy = ctx.outputGrad();
  if (mode === 'constant') {
    const inner = cut(b, dy, begins, ends);
    // The value's gradient is the sum over what was added: all but the inner part.
    const all = (v: Value) => b.reduceSum(b.reshape(v, [dimsOf(v).reduce((n, d) => n * d, 1)]), [0], false);
    return [ctx.wants[0] ? inner : null, null, ctx.wants[2] ? b.reshape(b.sub(all(dy), all(inner)), dimsOf(ctx.input(2))) : null];
  }
  if ([...begins, ...ends].some((p) => p < 0)) ctx.unsupported(`negative pads in mode "${mode}"`);
  let grad = dy;
  for (const [axis, extent] of dims.entries()) {
    if (begins[axis] === 0 && ends[axis] === 0) continue;
    grad = foldBorders(ctx, grad, mode, axis, extent, begins[axis]!, ends[axis]!);
  }
  return [grad];
};

/** Undoes padding with zeros: cuts what was added, puts zeros where something was cut. */
function cut(b: GradBuilder, grad: Value, begins: readonly number[], ends: readonly number[]): Value {
  const dims = dimsOf(grad);
  const axes = dims.flatMap((_, i) => (begins[i]! > 0 || ends[i]! > 0 ? [i] : []));
  const part =
    axes.length === 0
      ? grad
      : b.slice(
          grad,
          axes,
          axes.map((i) => Math.max(0, begins[i]!)),
          axes.map((i) => dims[i]! - Math.max(0, ends[i]!)),
        );
  return b.pad(
    part,
    [...begins, ...ends].map((p) => Math.max(0, -p)),
  );
}

/** Adds the gradient of a border, a copy of inner elements, to these. */
function foldBorders(ctx: GradContext, grad: Value, mode: string, axis: number, extent: number, begin: number, end: number): Value {
  const { b } = ctx;
  const total = begin + extent + end;
  const part = (from: number, to: number) => b.slice(grad, [axis], [from], [to]);
  const reversed = (from: number, to: number) => b.slice(grad, [axis], [to - 1], [from - 1 - total], [-1]);
  const border = (from: number, to: number, start: number, copy: 'same' | 'mirror' | 'one'): Value[] => {
    if (from === to) return [];
    const piece = copy === 'same' ? part(from, to) : copy === 'mirror' ? reversed(from, to) : b.reduceSum(part(from, to), [axis]);
    return [placeAt(b, piece, axis, start, extent)];
  };
  const room = mode === 'reflect' ? extent - 1 : mode === 'wrap' ? extent : Number.POSITIVE_INFINITY;
  if (begin > room || end > room) ctx.unsupported(`pads beyond the extent in mode "${mode}"`);
  const after = begin + extent;
  const borders = {
    edge: () => [...border(0, begin, 0, 'one'), ...border(after, total, extent - 1, 'one')],
    reflect: () => [...border(0, begin, 1, 'mirror'), ...border(after, total, extent - 1 - end, 'mirror')],
    wrap: () => [...border(0, begin, extent - begin, 'same'), ...border(after, total, 0, 'same')],
  }[mode];
  if (borders === undefined) ctx.unsupported(`mode "${mode}"`);
  return borders().reduce((sum, p) => b.add(sum, p), part(begin, after));
}

// ---- blocks ----

export const depthToSpaceGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const size = node.int('blocksize', 1);
  if (node.string('mode', 'DCR') === 'DCR') return [b.op('SpaceToDepth', [ctx.outputGrad()], { blocksize: size })];
  const dims = dimsOf(ctx.input(0));
  const [n, c, h, w] = dims as [number, number, number, number];
  const blocks = b.reshape(ctx.outputGrad(), [n, c / size ** 2, h, size, w, size]);
  return [b.reshape(b.transpose(blocks, [0, 1, 3, 5, 2, 4]), dims)];
};

export const spaceToDepthGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const blocksize = node.int('blocksize', 1);
  if (node.string('mode', 'DCR') !== 'DCR') ctx.unsupported('mode CRD');
  return [b.op('DepthToSpace', [ctx.outputGrad()], { blocksize, mode: 'DCR' })];
};

/** Cropping is undone by padding in the same way, and the reverse. */
export const centerCropPadGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const dims = dimsOf(ctx.input(0));
  const axes = (node.ints('axes') ?? dims.map((_, i) => i)).map((a) => fromFront(a, dims.length));
  return [
    b.op(
      'CenterCropPad',
      [
        ctx.outputGrad(),
        b.ints(
          'shape',
          axes.map((a) => dims[a]!),
        ),
      ],
      { axes },
    ),
  ];
};

export const triluGrad: GradFn = (ctx) => {
  const inputs = ctx.has(1) ? [ctx.outputGrad(), ctx.input(1)] : [ctx.outputGrad()];
  return [ctx.b.op('Trilu', inputs, { upper: ctx.node.int('upper', 1) })];
};

/** Reversing twice changes nothing. */
export const reverseSequenceGrad: GradFn = (ctx) => {
  const attributes = { time_axis: ctx.node.int('time_axis', 0), batch_axis: ctx.node.int('batch_axis', 1) };
  return [ctx.b.op('ReverseSequence', [ctx.outputGrad(), ctx.input(1)], attributes)];
};

// ---- Slice ----

export const sliceGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const dims = dimsOf(ctx.input(0));
  const starts = ctx.numbers(1) ?? ctx.node.ints('starts');
  const axes = ctx.has(3) ? ctx.numbers(3) : (ctx.node.ints('axes') ?? starts?.map((_, i) => i));
  const steps = ctx.has(4) ? ctx.numbers(4) : starts?.map(() => 1);
  if (starts === undefined || axes === undefined || steps === undefined)
    return ctx.unsupported('starts, axes or steps that are not constant');
  let grad = ctx.outputGrad();
  const pads = new Array<number>(2 * dims.length).fill(0);
  for (const [i, given] of axes.entries()) {
    const axis = fromFront(given, dims.length);
    const [extent, count, step] = [dims[axis]!, dimsOf(grad)[axis]!, steps[i]!];
    const start = firstIndex(extent, starts[i]!, step);
    const spread = Math.abs(step);
    const first = step < 0 ? start + (count - 1) * step : start;
    if (spread > 1 && count > 1 && axis === dims.length - 1 && extent <= SPREAD_BY_PRODUCT && isSpreadable(grad)) {
      grad = spreadElements(b, grad, extent, start, step);
      continue;
    }
    if (step < 0 && count > 0) grad = b.slice(grad, [axis], [-1], [-count - 1], [-1]);
    if (spread > 1 && count > 1) grad = dilate(b, grad, axis, spread);
    if (count === 0) {
      pads[axis] = extent;
      continue;
    }
    pads[axis] = first;
    pads[dims.length + axis] = extent - first - dimsOf(grad)[axis]!;
  }
  return [b.pad(grad, pads)];
};

/** Index of the first element that a slice takes. */
function firstIndex(extent: number, start: number, step: number): number {
  return Math.max(0, Math.min(start < 0 ? start + extent : start, step < 0 ? extent - 1 : extent));
}

/**
 * Extent of the last axis up to which elements are spread by a product with zeros and ones. On 64x16x16x16 to 64x16x32x32, one thread: 1.4 ms with the
 * rows spread by Pad; Pad moves single elements one by one, 7.0 ms.
 */
const SPREAD_BY_PRODUCT = 128;

const isSpreadable = (v: Value): boolean => dtypeOf(v) === 'float' || dtypeOf(v) === 'double';

/** Element i of the last axis at position start + i * step of `extent`, zeros elsewhere. */
function spreadElements(b: GradBuilder, grad: Value, extent: number, start: number, step: number): Value {
  const count = dimsOf(grad).at(-1)!;
  const places = new Float32Array(count * extent);
  for (let i = 0; i < count; i++) places[i * extent + start + i * step] = 1;
  return b.op('MatMul', [grad, b.constant('places', Tensor.from(dtypeOf(grad), [count, extent], places))]);
}

/** Zeros between the elements along an axis: extent (n - 1) * spread + 1. */
function dilate(b: GradBuilder, grad: Value, axis: number, spread: number): Value {
  const dims = dimsOf(grad);
  const count = dims[axis]!;
  const column = b.reshape(grad, [...dims.slice(0, axis + 1), 1, ...dims.slice(axis + 1)]);
  const merged = dims.map((d, i) => (i === axis ? d * spread : d));
  const filled = b.reshape(placeAt(b, column, axis + 1, 0, spread), merged);
  return b.slice(filled, [axis], [0], [(count - 1) * spread + 1]);
}
