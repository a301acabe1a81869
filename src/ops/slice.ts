// Slice: numpy's start:end:step per axis, with starts and ends as attributes (opset 1) or inputs, which may hold symbolic dimensions.
// A symbolic extent is taken to be at least 1, so that x[:1] has extent 1 and not min(1,n).
import { addDims, ceilDivDims, equalDims, maxDims, minDims, subDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, isStatic, type Shape } from '../ir/type.js';
import { axesText, ignored, letters, outputShape } from './axes-text.js';
import { attributeOrInput, constantNumbers } from './constant-input.js';
import { integersOf, normalizeAxis, tensorResult } from './infer-helpers.js';
import { sliceGrad } from './movement-grad.js';
import type { Axes, InferContext, OpRecord, PartialValue } from './op.js';
import { sliceItems } from './partial-moves.js';
import { isNonNegative, partialOf, shapeItems } from './partial-value.js';

/** Starts and ends from here on mean "to the end" whatever the extent. */
const HUGE = 2 ** 31 - 1;

/** Where a start or end (negative: from the end) falls in [0, extent]; null where its sign is not known. */
function position(at: Dim, extent: Dim): Dim {
  if (at === null || extent === null) return at === 0 ? 0 : null;
  if (typeof at === 'number') {
    if (at >= HUGE) return extent;
    if (at <= -HUGE) return 0;
    const symbolic = typeof extent === 'string';
    if (at >= 0) return symbolic && at <= 1 ? at : minDims(at, extent);
    return symbolic && at === -1 ? subDims(extent, 1) : maxDims(addDims(extent, at), 0);
  }
  if (isNonNegative(at)) return equalDims(at, extent) ? extent : minDims(at, extent);
  return isNonNegative(subDims(0, at)) ? maxDims(addDims(extent, at), 0) : null;
}

/** Number of elements in start:end:step over an extent; null where it cannot be told. */
export function sliceExtent(extent: Dim, start: Dim, end: Dim, step: number): Dim {
  if (step < 0) return backwardExtent(extent, start, end, step);
  const from = position(start, extent);
  const to = position(end, extent);
  if (from === null || to === null) return null;
  return ceilDivDims(span(extent, start, from, to), step);
}

function span(extent: Dim, start: Dim, from: Dim, to: Dim): Dim {
  if (from === 0) return to;
  if (typeof extent === 'string' && equalDims(to, extent) && typeof start === 'number' && Math.abs(start) > 1) {
    return start < 0 ? minDims(-start, extent) : maxDims(subDims(extent, start), 0);
  }
  const difference = subDims(to, from);
  // extent - 1 is not negative, as the extent is at least 1.
  return from === 1 && to === extent ? difference : maxDims(difference, 0);
}

function backwardExtent(extent: Dim, start: Dim, end: Dim, step: number): Dim {
  if (typeof extent === 'number' && typeof start === 'number' && typeof end === 'number') {
    const from = Math.min(Math.max(start < 0 ? start + extent : start, -1), extent - 1);
    const to = Math.min(Math.max(end < 0 ? end + extent : end, -1), extent - 1);
    return Math.max(0, Math.ceil((to - from) / step));
  }
  const whole = (start === -1 || (typeof start === 'number' && start >= HUGE)) && typeof end === 'number' && end <= -HUGE;
  return whole ? ceilDivDims(extent, -step) : null;
}

/** First index that start:end:step takes from a static extent. */
function firstIndex(extent: number, start: number, step: number): number {
  const at = start < 0 ? start + extent : start;
  return Math.max(0, Math.min(at, step < 0 ? extent - 1 : extent));
}

interface Ranges {
  readonly axes: readonly number[];
  readonly starts: readonly Dim[];
  readonly ends: readonly Dim[];
  readonly steps: readonly (number | null)[];
}

/** What the attributes or inputs say; undefined where not even the axes are known. */
function rangesOf(ctx: InferContext, rank: number): Ranges | undefined {
  const byInput = ctx.has(1);
  const starts = byInput ? shapeItems(ctx, 1) : ctx.node.ints('starts');
  const ends = byInput ? shapeItems(ctx, 2) : ctx.node.ints('ends');
  const count = starts?.length ?? ends?.length;
  if (count === undefined) return undefined;
  const given = byInput ? (ctx.has(3) ? (integersOf(ctx, 3) ?? null) : undefined) : ctx.node.ints('axes');
  if (given === null) return undefined;
  const axes = (given ?? Array.from({ length: count }, (_, i) => i)).map((a) => normalizeAxis(ctx, a, rank, byInput ? 3 : 0));
  const steps = ctx.has(4) ? shapeItems(ctx, 4) : undefined;
  for (const [input, list] of [
    [1, starts],
    [2, ends],
    [4, steps],
  ] as const) {
    if (list && list.length !== axes.length) ctx.failShape(input, `${axes.length} entries, one an axis`, formatShape(list));
  }
  const unknown = new Array<Dim>(count).fill(null);
  return {
    axes,
    starts: starts ?? unknown,
    ends: ends ?? unknown,
    steps: steps ? steps.map((s) => (typeof s === 'number' ? s : null)) : new Array<number>(count).fill(1),
  };
}

function slicedValue(value: PartialValue | undefined, out: Shape, r: Ranges): PartialValue | undefined {
  if (!value || !isStatic(out)) return undefined;
  const starts = out.map(() => 0);
  const steps = out.map(() => 1);
  for (const [i, axis] of r.axes.entries()) {
    const start = r.starts[i]!;
    const step = r.steps[i]!;
    if (typeof start !== 'number' || step === null) return undefined;
    steps[axis] = step;
    starts[axis] = firstIndex(value.dims[axis]!, start, step);
  }
  const items = sliceItems(value, starts, steps, out);
  return partialOf(value.dtype, items.dims, items.items);
}

/**
 * A slice that takes everything in order leaves its axis free; one without steps cuts fixed parts off it (`(.+a+.)` to `a`), as far
 * as constants and inferred shapes tell; all others tie the axis down.
 */
function sliceAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const shape = inputs[0];
  if (!shape) return 'opaque';
  const rank = shape.length;
  const starts = attributeOrInput(node, 'starts', 1);
  const count = Math.min(starts?.length ?? rank, rank);
  const axes = node.input(3) ? constantNumbers(node, 3) : (node.ints('axes') ?? Array.from({ length: count }, (_, i) => i));
  if (axes === undefined) return 'opaque';
  const out = outputShape(node);
  const steps = node.input(4) ? constantNumbers(node, 4) : axes.map(() => 1);
  const target = letters(rank);
  const source = target.slice();
  for (const [i, given] of axes.entries()) {
    const axis = given < 0 ? given + rank : given;
    const [from, to] = [shape[axis] ?? null, out?.[axis] ?? null];
    if (steps?.[i] === 1 && equalDims(from, to) === true) continue;
    const start = starts?.[i];
    if (steps?.[i] === 1 && typeof from === 'number' && typeof to === 'number' && start !== undefined) {
      const begin = firstIndex(from, start, 1);
      source[axis] = `(${begin > 0 ? '.+' : ''}${target[axis]}${begin + to < from ? '+.' : ''})`;
    } else {
      source[axis] = '.';
      target[axis] = '.';
    }
  }
  return axesText([source, ...ignored(node)], [target]);
}

export const SLICE_OPS: readonly OpRecord[] = [
  {
    opType: 'Slice',
    domain: '',
    since: 1,
    infer(ctx) {
      const dtype = ctx.dtype(0);
      const shape = ctx.shape(0);
      if (shape === null) return [tensorResult(dtype, null)];
      const ranges = rangesOf(ctx, shape.length);
      if (ranges === undefined)
        return [
          tensorResult(
            dtype,
            shape.map(() => null),
          ),
        ];
      const out: Dim[] = shape.slice();
      for (const [i, axis] of ranges.axes.entries()) {
        const step = ranges.steps[i]!;
        if (step === 0) ctx.failShape(4, 'steps other than 0', '0');
        const extent = step === null ? null : sliceExtent(shape[axis]!, ranges.starts[i]!, ranges.ends[i]!, step);
        out[axis] = extent ?? ctx.symbol(`axis${axis}`);
      }
      return [tensorResult(dtype, out, slicedValue(ctx.value(0), out, ranges))];
    },
    grad: sliceGrad,
    axes: sliceAxes,
    quant: { kind: 'passthrough', data: [0] },
    cost: 'none',
  },
];
