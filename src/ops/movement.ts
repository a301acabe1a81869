// Operators that move whole blocks of elements: Transpose, Concat, Split, Tile, Pad, DepthToSpace, SpaceToDepth, CenterCropPad,
// and those that reorder or blank them within their axes (Trilu, ReverseSequence). Slice is in slice.ts, lookups by index in indexing.ts.
import { addDims, ceilDivDims, equalDims, floorDivDims, mulDims, subDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, isStatic, type Shape } from '../ir/type.js';
import { axesText, ignored, letter, letters, sameAxesBut } from './axes-text.js';
import { attributeOrInput, constantInput, constantNumbers } from './constant-input.js';
import { integersOf, normalizeAxis, requireRank, requireRankAtLeast, sameDtype, tensorResult, unifyDims } from './infer-helpers.js';
import {
  centerCropPadGrad,
  concatGrad,
  depthToSpaceGrad,
  padGrad,
  reverseSequenceGrad,
  spaceToDepthGrad,
  splitGrad,
  tileGrad,
  transposeGrad,
  triluGrad,
} from './movement-grad.js';
import type { Axes, InferContext, Inferred, OpRecord, PartialValue, QuantFacts } from './op.js';
import { concatItems, type Items, sliceItems, tileItems, transposeItems } from './partial-moves.js';
import { followed, partialOf, shapeItems } from './partial-value.js';

export const MOVES: QuantFacts = { kind: 'passthrough', data: [0] };

const moved = { domain: '', cost: 'none', quant: MOVES } as const;

/** Partial value of moved items, in the type of the value they came from. */
function ofItems(from: PartialValue, items: Items): PartialValue | undefined {
  return partialOf(from.dtype, items.dims, items.items);
}

// ---- Transpose ----

/** Permutation of a Transpose: reversed axes where the attribute is missing. */
export function permutation(node: Node, rank: number): number[] {
  return (node.ints('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i)).map((p) => (p < 0 ? p + rank : p));
}

const transpose: OpRecord = {
  ...moved,
  opType: 'Transpose',
  grad: transposeGrad,
  since: 1,
  infer(ctx) {
    const shape = ctx.shape(0);
    const given = ctx.node.ints('perm');
    if (shape === null) return [tensorResult(ctx.dtype(0), given ? given.map(() => null) : null)];
    const perm = permutation(ctx.node, shape.length);
    const sorted = perm.slice().sort((a, b) => a - b);
    if (sorted.length !== shape.length || sorted.some((p, i) => p !== i))
      ctx.failShape(0, `rank ${perm.length} for the permutation [${perm.join(',')}]`, formatShape(shape));
    const value = ctx.value(0);
    const out = perm.map((p) => shape[p]!);
    return [tensorResult(ctx.dtype(0), out, value && ofItems(value, transposeItems(value, perm)))];
  },
  axes: (node, inputs) => {
    const rank = inputs[0]?.length;
    if (rank === undefined) return 'opaque';
    return axesText([letters(rank)], [permutation(node, rank).map(letter)]);
  },
};

// ---- Concat and Split ----

/** Axis of Concat: required from opset 4 on, 1 before. */
function concatAxis(node: Node, rank: number): number {
  const axis = node.int('axis', 1);
  return axis < 0 ? axis + rank : axis;
}

const concat: OpRecord = {
  ...moved,
  opType: 'Concat',
  grad: concatGrad,
  since: 1,
  infer(ctx) {
    const all = Array.from({ length: ctx.inputCount }, (_, i) => i);
    const dtype = sameDtype(ctx, all);
    const ranks = all.map((i) => ctx.shape(i)?.length);
    const first = ranks.findIndex((r) => r !== undefined);
    if (first < 0) return [tensorResult(dtype, null)];
    const rank = ranks[first]!;
    const axis = normalizeAxis(ctx, ctx.node.int('axis', 1), rank, first);
    let out = ctx.shape(first)!.slice();
    out[axis] = 0;
    for (const i of all) {
      const shape = ctx.shape(i);
      if (shape === null) {
        out[axis] = null;
        continue;
      }
      if (shape.length !== rank) ctx.failShape(i, `rank ${rank}`, formatShape(shape));
      out = out.map((d, k) => (k === axis ? addDims(d, shape[k]!) : unifyDims(ctx, i, d, shape[k]!, `at axis ${k}`)));
    }
    return [tensorResult(dtype, out, concatValue(ctx, axis, all))];
  },
  axes: (node, inputs) => {
    if (inputs.some((s) => !s || s.length !== inputs[0]?.length)) return 'opaque';
    const rank = inputs[0]!.length;
    const axis = concatAxis(node, rank);
    if (rank + inputs.length > 52) return 'opaque';
    const part = (i: number) => letter(rank + i);
    const common = letters(rank).map((t, k) => (inputs.every((s) => equalDims(s![k]!, inputs[0]![k]!) === true) ? t : '.'));
    const at = (term: string) => common.map((t, k) => (k === axis ? term : t));
    const sum = inputs.length === 1 ? part(0) : `(${inputs.map((_, i) => part(i)).join('+')})`;
    return axesText(
      inputs.map((_, i) => at(part(i))),
      [at(sum)],
    );
  },
  quant: (node) => ({ kind: 'passthrough', data: node.inputs.map((_, i) => i) }),
};

function concatValue(ctx: InferContext, axis: number, inputs: readonly number[]): PartialValue | undefined {
  const parts: PartialValue[] = [];
  for (const i of inputs) {
    const part = followed(ctx, i);
    if (part === undefined) return undefined;
    parts.push(part);
  }
  return ofItems(parts[0]!, concatItems(parts, axis));
}

/** Extents of the outputs of a Split along its axis; `total` is the input's extent. */
function splitSizes(ctx: InferContext, total: Dim): readonly Dim[] {
  const n = ctx.outputCount;
  const given = ctx.has(1) ? (shapeItems(ctx, 1) ?? new Array<Dim>(n).fill(null)) : ctx.node.ints('split');
  if (given) {
    const sum = given.reduce<Dim>(addDims, 0);
    if (given.length !== n) ctx.failShape(0, `${n} sizes, one an output`, formatShape(given));
    if (equalDims(sum, total) === false) ctx.failShape(0, `sizes that sum to ${total}`, formatShape(given));
    return given.map((d, i) => d ?? ctx.symbol(`part${i}`));
  }
  const declared = ctx.node.int('num_outputs');
  if (declared !== undefined && declared !== n) ctx.failShape(0, `${declared} outputs (num_outputs)`, String(n));
  if (declared === undefined && typeof total === 'number' && total % n !== 0)
    ctx.failShape(0, `an extent that divides into ${n}`, String(total));
  // From opset 18 on the last part may be smaller.
  const chunk = declared === undefined ? floorDivDims(total, n) : ceilDivDims(total, n);
  const last = declared === undefined ? chunk : subDims(total, mulDims(chunk, n - 1));
  if (typeof last === 'number' && last < 0) ctx.failShape(0, `an extent that divides into ${n}`, String(total));
  return Array.from({ length: n }, (_, i) => (i === n - 1 ? last : chunk));
}

const split: OpRecord = {
  ...moved,
  opType: 'Split',
  grad: splitGrad,
  since: 1,
  infer(ctx) {
    const dtype = ctx.dtype(0);
    const shape = ctx.shape(0);
    if (shape === null) return Array.from({ length: ctx.outputCount }, () => tensorResult(dtype, null));
    const axis = normalizeAxis(ctx, ctx.node.int('axis', 0), shape.length);
    const sizes = splitSizes(ctx, shape[axis]!);
    const value = ctx.value(0);
    let start = 0;
    return sizes.map((size): Inferred => {
      const out = shape.map((d, i) => (i === axis ? size : d));
      let part: PartialValue | undefined;
      if (value && isStatic(out)) {
        const starts = out.map((_, i) => (i === axis ? start : 0));
        part = ofItems(value, sliceItems(value, starts, new Array<number>(out.length).fill(1), out));
        start += size as number;
      }
      return tensorResult(dtype, out, part);
    });
  },
  axes: (node, inputs) => {
    const rank = inputs[0]?.length;
    const n = node.outputs.length;
    if (rank === undefined || rank + n > 52) return 'opaque';
    const at = node.int('axis', 0);
    const axis = at < 0 ? at + rank : at;
    const put = (term: string) => letters(rank).map((t, i) => (i === axis ? term : t));
    const parts = node.outputs.map((_, i) => letter(rank + i));
    return axesText([put(n === 1 ? parts[0]! : `(${parts.join('+')})`), ...ignored(node)], parts.map(put));
  },
};

// ---- Tile ----

const tile: OpRecord = {
  ...moved,
  opType: 'Tile',
  grad: tileGrad,
  since: 1,
  infer(ctx) {
    const dtype = ctx.dtype(0);
    const shape = ctx.shape(0);
    // Opset 1 repeated one axis, both given as floats.
    if (ctx.opset < 6) return [tensorResult(dtype, shape ? shape.map(() => null) : null)];
    const repeats = shapeItems(ctx, 1);
    if (shape === null || repeats === undefined) return [tensorResult(dtype, shape ? shape.map(() => null) : null)];
    if (repeats.length !== shape.length) ctx.failShape(1, `${shape.length} repeats`, formatShape(repeats));
    const value = ctx.value(0);
    const known = value && isStatic(repeats) ? ofItems(value, tileItems(value, repeats)) : undefined;
    return [
      tensorResult(
        dtype,
        shape.map((d, i) => mulDims(d, repeats[i]!)),
        known,
      ),
    ];
  },
  axes: (node, inputs) => {
    const shape = inputs[0];
    const repeats = constantNumbers(node, 1);
    if (!shape || repeats?.length !== shape.length) return 'opaque';
    const terms = letters(shape.length);
    return axesText([terms, ...ignored(node)], [terms.map((t, i) => (repeats[i] === 1 ? t : `(.${t})`))]);
  },
};

// ---- Pad and CenterCropPad ----

/** Begins and ends of a Pad for every axis of the input; undefined where they or their axes are not known. */
function padItems(ctx: InferContext, rank: number): { begins: Dim[]; ends: Dim[] } | undefined {
  const pads = ctx.has(1) ? shapeItems(ctx, 1) : (ctx.node.ints('pads') ?? ctx.node.ints('paddings'));
  const given = ctx.has(3) ? integersOf(ctx, 3) : Array.from({ length: rank }, (_, i) => i);
  if (pads === undefined || given === undefined) return undefined;
  const axes = given.map((a) => normalizeAxis(ctx, a, rank, 3));
  if (pads.length !== 2 * axes.length) ctx.failShape(1, `${2 * axes.length} pads`, formatShape(pads));
  const begins = new Array<Dim>(rank).fill(0);
  const ends = new Array<Dim>(rank).fill(0);
  axes.forEach((axis, i) => {
    begins[axis] = pads[i]!;
    ends[axis] = pads[axes.length + i]!;
  });
  return { begins, ends };
}

/** Begins and ends of a Pad by axis, as far as constants tell. */
function constantPads(node: Node, rank: number): { begins: number[]; ends: number[] } | undefined {
  const pads = node.ints('pads') ?? attributeOrInput(node, 'paddings', 1);
  const axes = node.input(3) ? constantNumbers(node, 3) : Array.from({ length: rank }, (_, i) => i);
  if (pads === undefined || axes === undefined || pads.length !== 2 * axes.length) return undefined;
  const begins = new Array<number>(rank).fill(0);
  const ends = new Array<number>(rank).fill(0);
  axes.forEach((a, i) => {
    begins[a < 0 ? a + rank : a] = pads[i]!;
    ends[a < 0 ? a + rank : a] = pads[axes.length + i]!;
  });
  return { begins, ends };
}

/** What is added is a fixed part beside the input's axis; a mode that copies the input, or a crop, ties the axis down. */
function padAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  const pads = rank === undefined ? undefined : constantPads(node, rank);
  if (rank === undefined || pads === undefined) return 'opaque';
  const source = letters(rank);
  const target = source.slice();
  for (let i = 0; i < rank; i++) {
    const [begin, end] = [pads.begins[i]!, pads.ends[i]!];
    if (begin === 0 && end === 0) continue;
    const grows = node.string('mode', 'constant') === 'constant' && begin >= 0 && end >= 0;
    target[i] = grows ? `(${begin > 0 ? '.+' : ''}${letter(i)}${end > 0 ? '+.' : ''})` : '.';
    if (!grows) source[i] = '.';
  }
  return axesText([source, ...ignored(node)], [target]);
}

/** A padding value other than zero may lie outside the data's range. */
function padQuant(node: Node): QuantFacts {
  const mode = node.string('mode', 'constant');
  const value = constantNumbers(node, 2)?.[0];
  const zero = node.input(2) === null ? node.float('value', 0) === 0 : value === 0 && constantInput(node, 2) !== undefined;
  return mode !== 'constant' || zero ? MOVES : 'none';
}

const pad: OpRecord = {
  ...moved,
  opType: 'Pad',
  grad: padGrad,
  since: 1,
  infer(ctx) {
    const dtype = ctx.dtype(0);
    const shape = ctx.shape(0);
    if (shape === null) return [tensorResult(dtype, null)];
    const pads = padItems(ctx, shape.length);
    if (pads === undefined)
      return [
        tensorResult(
          dtype,
          shape.map(() => null),
        ),
      ];
    const out = shape.map((d, i) => addDims(addDims(d, pads.begins[i]!), pads.ends[i]!));
    const negative = out.findIndex((d) => typeof d === 'number' && d < 0);
    if (negative >= 0) ctx.failShape(1, `pads that leave an extent of 0 or more at axis ${negative}`, formatShape(out));
    return [tensorResult(dtype, out)];
  },
  axes: padAxes,
  quant: padQuant,
};

const centerCropPad: OpRecord = {
  ...moved,
  opType: 'CenterCropPad',
  grad: centerCropPadGrad,
  since: 18,
  infer(ctx) {
    const shape = ctx.shape(0);
    const items = shapeItems(ctx, 1);
    if (shape === null) return [tensorResult(ctx.dtype(0), null)];
    const axes = (ctx.node.ints('axes') ?? shape.map((_, i) => i)).map((a) => normalizeAxis(ctx, a, shape.length));
    if (items && items.length !== axes.length) ctx.failShape(1, `${axes.length} extents`, formatShape(items));
    return [
      tensorResult(
        ctx.dtype(0),
        shape.map((d, i) => (axes.includes(i) ? (items?.[axes.indexOf(i)] ?? null) : d)),
      ),
    ];
  },
  axes: (node, inputs) => sameAxesBut(node, inputs, node.ints('axes') ?? (inputs[0] ?? []).map((_, i) => i)),
};

// ---- blocks of channels and pixels ----

/** Channels and pixels are free, the blocks are not; they lie outside the channels in mode DCR, inside in CRD. */
function blockAxes(node: Node, toSpace: boolean): Axes {
  const depth = ['n', node.string('mode', 'DCR') === 'CRD' ? '(c..)' : '(..c)', 'h', 'w'];
  const space = ['n', 'c', '(h.)', '(w.)'];
  return toSpace ? axesText([depth], [space]) : axesText([space], [depth]);
}

function blockSize(ctx: InferContext): number {
  const size = ctx.node.int('blocksize', 0);
  if (size < 1) ctx.failShape(0, 'a blocksize of 1 or more', String(size));
  return size;
}

/** Exact division of an extent; fails where it is known and leaves a remainder. */
function divided(ctx: InferContext, d: Dim, by: number): Dim {
  if (typeof d === 'number' && d % by !== 0) ctx.failShape(0, `an extent that ${by} divides`, String(d));
  return floorDivDims(d, by);
}

const depthToSpace: OpRecord = {
  ...moved,
  opType: 'DepthToSpace',
  grad: depthToSpaceGrad,
  since: 1,
  infer(ctx) {
    requireRank(ctx, 0, 4);
    const size = blockSize(ctx);
    const shape = ctx.shape(0);
    if (shape === null) return [tensorResult(ctx.dtype(0), [null, null, null, null])];
    const [n, c, h, w] = shape as [Dim, Dim, Dim, Dim];
    return [tensorResult(ctx.dtype(0), [n, divided(ctx, c, size * size), mulDims(h, size), mulDims(w, size)])];
  },
  axes: (node) => blockAxes(node, true),
};

const spaceToDepth: OpRecord = {
  ...moved,
  opType: 'SpaceToDepth',
  grad: spaceToDepthGrad,
  since: 1,
  infer(ctx) {
    requireRank(ctx, 0, 4);
    const size = blockSize(ctx);
    const shape = ctx.shape(0);
    if (shape === null) return [tensorResult(ctx.dtype(0), [null, null, null, null])];
    const [n, c, h, w] = shape as [Dim, Dim, Dim, Dim];
    return [tensorResult(ctx.dtype(0), [n, mulDims(c, size * size), divided(ctx, h, size), divided(ctx, w, size)])];
  },
  axes: (node) => blockAxes(node, false),
};

// ---- within the axes ----

const trilu: OpRecord = {
  ...moved,
  opType: 'Trilu',
  grad: triluGrad,
  since: 14,
  infer(ctx) {
    requireRankAtLeast(ctx, 0, 2);
    return [tensorResult(ctx.dtype(0), ctx.shape(0))];
  },
  axes: (node, inputs) => sameAxesBut(node, inputs, [-1, -2]),
};

const reverseSequence: OpRecord = {
  ...moved,
  opType: 'ReverseSequence',
  grad: reverseSequenceGrad,
  since: 10,
  infer(ctx) {
    requireRankAtLeast(ctx, 0, 2);
    requireRank(ctx, 1, 1);
    const shape = ctx.shape(0);
    const batch = ctx.node.int('batch_axis', 1);
    const lengths = ctx.shape(1);
    if (shape && lengths) unifyDims(ctx, 1, shape[normalizeAxis(ctx, batch, shape.length)]!, lengths[0]!, 'length');
    return [tensorResult(ctx.dtype(0), shape)];
  },
  axes: (node, inputs) => {
    const rank = inputs[0]?.length;
    if (rank === undefined) return 'opaque';
    const terms = letters(rank).map((t, i) => (i === node.int('time_axis', 0) ? '.' : t));
    return axesText([terms, [terms[node.int('batch_axis', 1)] ?? '.']], [terms]);
  },
};

export const MOVEMENT_OPS: readonly OpRecord[] = [
  transpose,
  concat,
  split,
  tile,
  pad,
  centerCropPad,
  depthToSpace,
  spaceToDepth,
  trilu,
  reverseSequence,
];
