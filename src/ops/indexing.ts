// Lookups and writes by index: Gather, GatherElements, GatherND, Scatter, ScatterElements, ScatterND, TensorScatter, OneHot,
// and selections whose size depends on the data: Compress, NonZero, Unique.
import { equalDims, sizeOf } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { axesText, ignored, letter, letters, sameAxesBut } from './axes-text.js';
import { constantInput } from './constant-input.js';
import { anyNumber, boolean, integer, requireType } from './element-record.js';
import { gatherElementsGrad, gatherGrad, gatherNDGrad, oneHotGrad, scatterElementsGrad, scatterNDGrad } from './indexing-grad.js';
import { normalizeAxis, requireRank, requireRankAtLeast, sameDtype, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, InferContext, OpRecord, PartialValue, QuantFacts } from './op.js';
import { fillItems, gatherItems, gatherTuples, type Items, scatterElements, scatterTuples } from './partial-moves.js';
import { sizeOf as countOf, followed, itemsEqual, knownNumbers, partialOf, scalarItem } from './partial-value.js';

const PICKS: QuantFacts = { kind: 'passthrough', data: [0] };
const picked = { domain: '', grad: 'none', cost: 'none', quant: PICKS } as const;

function ofItems(from: PartialValue, items: Items): PartialValue | undefined {
  return items.items.length === countOf(items.dims) ? partialOf(from.dtype, items.dims, items.items) : undefined;
}

function axisOf(node: Node, rank: number): number {
  const axis = node.int('axis', 0);
  return axis < 0 ? axis + rank : axis;
}

// ---- Gather ----

/** Fails where a known index lies outside the extent. */
function checkIndices(ctx: InferContext, extent: Dim): void {
  if (typeof extent !== 'number') return;
  const bad = ctx.value(1)?.items.find((x) => typeof x === 'number' && (x < -extent || x >= extent));
  if (bad !== undefined) ctx.failShape(1, `indices in [${-extent},${extent - 1}]`, String(bad));
}

const gather: OpRecord = {
  ...picked,
  opType: 'Gather',
  grad: gatherGrad,
  since: 1,
  infer(ctx) {
    requireType(ctx, 1, integer);
    const dtype = ctx.dtype(0);
    const shape = ctx.shape(0);
    const indices = ctx.shape(1);
    if (shape === null) return [tensorResult(dtype, null)];
    requireRankAtLeast(ctx, 0, 1);
    const axis = normalizeAxis(ctx, ctx.node.int('axis', 0), shape.length);
    checkIndices(ctx, shape[axis]!);
    if (indices === null) return [tensorResult(dtype, null)];
    const data = ctx.value(0);
    const at = data && followed(ctx, 1);
    const value = at && ofItems(data, gatherItems(data, at, axis));
    return [tensorResult(dtype, [...shape.slice(0, axis), ...indices, ...shape.slice(axis + 1)], value)];
  },
  axes: (_node, inputs) => {
    const [shape, indices] = inputs;
    if (!shape || !indices) return 'opaque';
    const axis = axisOf(_node, shape.length);
    const data = letters(shape.length).map((t, i) => (i === axis ? '.' : t));
    const at = letters(indices.length, shape.length);
    return axesText([data, at], [[...data.slice(0, axis), ...at, ...data.slice(axis + 1)]]);
  },
  quant: (node) => (constantInput(node, 0) && node.int('axis', 0) === 0 ? { kind: 'lookup', table: 0 } : PICKS),
};

/** Axes but the looked-up one keep their letter where data and indices have the same extent there. */
function elementAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [data, indices] = inputs;
  if (!data || !indices || data.length !== indices.length) return 'opaque';
  const axis = axisOf(node, data.length);
  const terms = letters(data.length).map((t, i) => (i !== axis && equalDims(data[i]!, indices[i]!) === true ? t : '.'));
  return axesText(
    node.inputs.map((v) => (v ? terms : null)),
    [terms],
  );
}

const gatherElements: OpRecord = {
  ...picked,
  opType: 'GatherElements',
  grad: gatherElementsGrad,
  since: 11,
  infer(ctx) {
    requireType(ctx, 1, integer);
    const shape = ctx.shape(0);
    const indices = ctx.shape(1);
    if (shape && indices && shape.length !== indices.length) ctx.failShape(1, `rank ${shape.length}`, formatShape(indices));
    if (shape) normalizeAxis(ctx, ctx.node.int('axis', 0), shape.length);
    const data = ctx.value(0);
    const at = data && ctx.value(1);
    const axis = shape ? axisOf(ctx.node, shape.length) : 0;
    return [tensorResult(ctx.dtype(0), indices, at && ofItems(data, pickElements(data, at, axis)))];
  },
  axes: (node, inputs) => elementAxes(node, inputs),
};

function pickElements(data: Items, indices: Items, axis: number): Items {
  let next = 0;
  const items = fillItems(indices.dims, (c) => {
    const line = { dims: [data.dims[axis]!], items: fillItems([data.dims[axis]!], ([k]) => itemAt(data, c, axis, k!)) };
    const index = { dims: [] as number[], items: [indices.items[next++]!] };
    return gatherItems(line, index, 0).items[0]!;
  });
  return { dims: indices.dims, items };
}

function itemAt(data: Items, coordinates: readonly number[], axis: number, k: number): Dim {
  let offset = 0;
  for (const [i, d] of data.dims.entries()) offset = offset * d + (i === axis ? k : coordinates[i]!);
  return data.items[offset] ?? null;
}

const gatherND: OpRecord = {
  ...picked,
  opType: 'GatherND',
  grad: gatherNDGrad,
  since: 11,
  infer(ctx) {
    const dtype = ctx.dtype(0);
    const shape = ctx.shape(0);
    const indices = ctx.shape(1);
    const batch = ctx.node.int('batch_dims', 0);
    const width = indices?.at(-1);
    requireRankAtLeast(ctx, 1, 1);
    if (shape === null || indices === null || typeof width !== 'number') return [tensorResult(dtype, null)];
    if (batch + width > shape.length) ctx.failShape(1, `index tuples of at most ${shape.length - batch}`, formatShape(indices));
    const lead = indices.slice(0, -1).map((d, i) => (i < batch ? unifyDims(ctx, 1, shape[i]!, d, `batch axis ${i}`) : d));
    const data = ctx.value(0);
    const at = data && ctx.value(1);
    return [tensorResult(dtype, [...lead, ...shape.slice(batch + width)], at && ofItems(data, gatherTuples(data, at, batch)))];
  },
  axes: (node, inputs) => {
    const [shape, indices] = inputs;
    const width = indices?.at(-1);
    if (!shape || !indices || typeof width !== 'number') return 'opaque';
    const batch = node.int('batch_dims', 0);
    const data = letters(shape.length).map((t, i) => (i >= batch && i < batch + width ? '.' : t));
    const at = indices.map((_, i) => (i === indices.length - 1 ? '.' : i < batch ? data[i]! : letter(shape.length + i)));
    return axesText([data, at], [[...at.slice(0, -1), ...data.slice(batch + width)]]);
  },
};

// ---- Scatter ----

/** Whether updates replace what was there; sums and products of updates are not followed. */
function replaces(node: Node): boolean {
  return node.string('reduction', 'none') === 'none';
}

function scatterByAxis(opType: string, since: number): OpRecord {
  return {
    ...picked,
    opType,
    since,
    grad: scatterElementsGrad,
    infer(ctx) {
      requireType(ctx, 1, integer);
      const dtype = sameDtype(ctx, [0, 2]);
      const shape = ctx.shape(0);
      if (shape) normalizeAxis(ctx, ctx.node.int('axis', 0), shape.length);
      const [indices, updates] = [ctx.shape(1), ctx.shape(2)];
      if (shape && indices && indices.length !== shape.length) ctx.failShape(1, `rank ${shape.length}`, formatShape(indices));
      if (indices && updates) {
        if (indices.length !== updates.length) ctx.failShape(2, `the shape of the indices, ${formatShape(indices)}`, formatShape(updates));
        for (const [i, d] of indices.entries()) unifyDims(ctx, 2, d, updates[i]!, `at axis ${i}`);
      }
      const [data, at, by] = [followed(ctx, 0), ctx.value(1), followed(ctx, 2)];
      const items =
        shape && data && at && by && replaces(ctx.node) ? scatterElements(data, at, by, axisOf(ctx.node, shape.length)) : undefined;
      return [tensorResult(dtype, shape, items && data && partialOf(data.dtype, data.dims, items))];
    },
    axes: (node, inputs) => elementAxes(node, inputs),
    quant: { kind: 'passthrough', data: [0, 2] },
  };
}

const scatterND: OpRecord = {
  ...picked,
  opType: 'ScatterND',
  grad: scatterNDGrad,
  since: 11,
  infer(ctx) {
    const dtype = sameDtype(ctx, [0, 2]);
    const [shape, indices, updates] = [ctx.shape(0), ctx.shape(1), ctx.shape(2)];
    const width = indices?.at(-1);
    requireRankAtLeast(ctx, 1, 1);
    if (shape && indices && updates && typeof width === 'number') {
      if (width > shape.length) ctx.failShape(1, `index tuples of at most ${shape.length}`, formatShape(indices));
      const expected = [...indices.slice(0, -1), ...shape.slice(width)];
      if (expected.length !== updates.length || expected.some((d, i) => equalDims(d, updates[i]!) === false))
        ctx.failShape(2, formatShape(expected), formatShape(updates));
    }
    const [data, at, by] = [followed(ctx, 0), ctx.value(1), followed(ctx, 2)];
    const items = data && at && by && replaces(ctx.node) ? scatterTuples(data, at, by) : undefined;
    return [tensorResult(dtype, shape, items && data && partialOf(data.dtype, data.dims, items))];
  },
  axes: (_node, inputs) => {
    const [shape, indices, updates] = inputs;
    const width = indices?.at(-1);
    if (!shape || !indices || !updates || typeof width !== 'number') return 'opaque';
    const data = letters(shape.length).map((t, i) => (i < width ? '.' : t));
    const lead = letters(indices.length - 1, shape.length).map(() => '.');
    return axesText([data, [...lead, '.'], [...lead, ...data.slice(width)]], [data]);
  },
  quant: { kind: 'passthrough', data: [0, 2] },
};

/** Writes new keys or values into a cache along one axis. */
const tensorScatter: OpRecord = {
  ...picked,
  opType: 'TensorScatter',
  since: 24,
  infer(ctx) {
    const shape = ctx.shape(0);
    const update = ctx.shape(1);
    if (shape && update) {
      if (shape.length !== update.length) ctx.failShape(1, `rank ${shape.length}`, formatShape(update));
      const axis = normalizeAxis(ctx, ctx.node.int('axis', -2), shape.length);
      for (const [i, d] of shape.entries()) if (i !== axis) unifyDims(ctx, 1, d, update[i]!, `at axis ${i}`);
    }
    return [tensorResult(sameDtype(ctx, [0, 1]), shape)];
  },
  axes: (node, inputs) => {
    const rank = inputs[0]?.length;
    if (rank === undefined) return 'opaque';
    const at = node.int('axis', -2);
    const terms = letters(rank).map((t, i) => (i === (at < 0 ? at + rank : at) ? '.' : t));
    return axesText([terms, terms, ...(node.input(2) ? [[terms[0]!]] : ignored(node).slice(1))], [terms]);
  },
  quant: { kind: 'passthrough', data: [0, 1] },
};

// ---- OneHot ----

const oneHot: OpRecord = {
  ...picked,
  opType: 'OneHot',
  grad: oneHotGrad,
  since: 9,
  infer(ctx) {
    requireType(ctx, 0, anyNumber);
    const indices = ctx.shape(0);
    const dtype = ctx.dtype(2);
    if (indices === null) return [tensorResult(dtype, null)];
    const rank = indices.length + 1;
    const axis = normalizeAxis(ctx, ctx.node.int('axis', -1), rank);
    const depth = scalarItem(ctx, 1) ?? ctx.symbol('depth');
    return [tensorResult(dtype, [...indices.slice(0, axis), depth, ...indices.slice(axis)])];
  },
  axes: (node, inputs) => {
    const rank = inputs[0]?.length;
    if (rank === undefined) return 'opaque';
    const at = node.int('axis', -1);
    const axis = at < 0 ? at + rank + 1 : at;
    const terms = letters(rank);
    return axesText([terms, ...ignored(node)], [[...terms.slice(0, axis), '.', ...terms.slice(axis)]]);
  },
  quant: 'none',
};

// ---- sizes that depend on the data ----

/** How many elements are certainly not zero, and how many may be. */
function countNonZero(ctx: InferContext, input: number, limit = Number.POSITIVE_INFINITY): number | undefined {
  const items = ctx.value(input)?.items ?? knownNumbers(ctx, input);
  if (items === undefined) return undefined;
  let count = 0;
  for (const [i, x] of items.entries()) {
    if (i >= limit) break;
    const zero = x === null ? undefined : itemsEqual(x, 0);
    if (zero === undefined) return undefined;
    if (!zero) count++;
  }
  return count;
}

const compress: OpRecord = {
  ...picked,
  opType: 'Compress',
  since: 9,
  infer(ctx) {
    requireType(ctx, 1, boolean);
    requireRank(ctx, 1, 1);
    const shape = ctx.shape(0);
    const at = ctx.node.int('axis');
    const axis = at === undefined || shape === null ? undefined : normalizeAxis(ctx, at, shape.length);
    const extent = axis === undefined ? sizeOf(shape) : shape![axis]!;
    // A condition may be shorter than the axis: what it does not reach is dropped.
    const kept = (typeof extent === 'number' ? countNonZero(ctx, 1, extent) : undefined) ?? ctx.symbol('kept');
    if (at === undefined) return [tensorResult(ctx.dtype(0), [kept])];
    return [tensorResult(ctx.dtype(0), shape ? shape.map((d, i) => (i === axis ? kept : d)) : null)];
  },
  axes: (node, inputs) => (node.hasAttribute('axis') ? sameAxesBut(node, inputs, [node.int('axis', 0)]) : 'opaque'),
};

/** Positions of the elements that are not zero, where all of a small content is known; [max(rank,1), count]. */
function nonZeroItems(value: PartialValue): Dim[] {
  const found: number[][] = [];
  let next = 0;
  fillItems(value.dims, (c) => {
    if (value.items[next++] !== 0) found.push(value.dims.length === 0 ? [0] : c.slice());
    return null;
  });
  return Array.from({ length: Math.max(1, value.dims.length) }, (_, axis) => found.map((c) => c[axis]!)).flat();
}

const nonZero: OpRecord = {
  ...picked,
  opType: 'NonZero',
  since: 9,
  infer(ctx) {
    const shape = ctx.shape(0);
    const count = countNonZero(ctx, 0);
    const rank = shape === null ? null : Math.max(1, shape.length);
    const value = ctx.value(0);
    const items = count !== undefined && value && rank !== null ? partialOf('int64', [rank, count], nonZeroItems(value)) : undefined;
    return [tensorResult('int64', [rank, count ?? ctx.symbol('count')], items)];
  },
  axes: 'opaque',
  quant: 'none',
};

const unique: OpRecord = {
  ...picked,
  opType: 'Unique',
  since: 11,
  infer(ctx) {
    const shape = ctx.shape(0);
    const at = ctx.node.int('axis');
    const axis = at === undefined || shape === null ? undefined : normalizeAxis(ctx, at, shape.length);
    const count = ctx.symbol('count');
    const total = axis === undefined ? (at === undefined ? sizeOf(shape) : null) : shape![axis]!;
    const first = at === undefined ? [count] : (shape?.map((d, i) => (i === axis ? count : d)) ?? null);
    const positions = tensorResult('int64', [count]);
    return [tensorResult(ctx.dtype(0), first), positions, tensorResult('int64', [total]), positions].slice(0, Math.max(1, ctx.outputCount));
  },
  axes: 'opaque',
  cost: ({ inputs }) => {
    const n = inputs[0]?.reduce((p, d) => p * d, 1) ?? 0;
    return { macs: 0, ops: Math.round(n * Math.log2(Math.max(2, n))) };
  },
};

export const INDEXING_OPS: readonly OpRecord[] = [
  gather,
  gatherElements,
  gatherND,
  scatterByAxis('Scatter', 9),
  scatterByAxis('ScatterElements', 11),
  scatterND,
  tensorScatter,
  oneHot,
  compress,
  nonZero,
  unique,
];
