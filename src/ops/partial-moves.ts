// Moving the items of partial values about: the data movement half of value propagation. All dimensions here are static and small.
import type { Dim } from '../ir/type.js';
import { addItems, maxItems, minItems, mulItems, sizeOf } from './partial-value.js';

export type Items = { readonly dims: readonly number[]; readonly items: readonly Dim[] };

/** Row-major strides in elements. */
function stridesOf(dims: readonly number[]): number[] {
  const out = new Array<number>(dims.length).fill(1);
  for (let i = dims.length - 2; i >= 0; i--) out[i] = out[i + 1]! * dims[i + 1]!;
  return out;
}

/** Items of a tensor of `dims`, each answered from its coordinates. The coordinate array is reused between calls. */
export function fillItems(dims: readonly number[], at: (coordinates: readonly number[]) => Dim): Dim[] {
  const count = sizeOf(dims);
  const coordinates = new Array<number>(dims.length).fill(0);
  const out = new Array<Dim>(count);
  for (let linear = 0; linear < count; linear++) {
    out[linear] = at(coordinates);
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      coordinates[axis]!++;
      if (coordinates[axis]! < dims[axis]!) break;
      coordinates[axis] = 0;
    }
  }
  return out;
}

/** Offset of coordinates under strides. */
function offsetOf(coordinates: readonly number[], strides: readonly number[]): number {
  let offset = 0;
  for (let i = 0; i < coordinates.length; i++) offset += coordinates[i]! * strides[i]!;
  return offset;
}

export function transposeItems(value: Items, perm: readonly number[]): { dims: number[]; items: Dim[] } {
  const strides = stridesOf(value.dims);
  const dims = perm.map((p) => value.dims[p]!);
  const moved = perm.map((p) => strides[p]!);
  return { dims, items: fillItems(dims, (c) => value.items[offsetOf(c, moved)]!) };
}

/** Numpy's `take` along one axis; unknown or out-of-range indices give unknown items. */
export function gatherItems(value: Items, indices: Items, axis: number): { dims: number[]; items: Dim[] } {
  const strides = stridesOf(value.dims);
  const extent = value.dims[axis]!;
  const rank = indices.dims.length;
  const indexStrides = stridesOf(indices.dims);
  const dims = [...value.dims.slice(0, axis), ...indices.dims, ...value.dims.slice(axis + 1)];
  const items = fillItems(dims, (c) => {
    const index = wrapIndex(indices.items[offsetOf(c.slice(axis, axis + rank), indexStrides)]!, extent);
    if (index === undefined) return null;
    return value.items[offsetOf([...c.slice(0, axis), index, ...c.slice(axis + rank)], strides)]!;
  });
  return { dims, items };
}

/** A known index in range with negatives counted from the end; undefined otherwise. */
function wrapIndex(index: Dim, extent: number): number | undefined {
  if (typeof index !== 'number') return undefined;
  const wrapped = index < 0 ? index + extent : index;
  return wrapped >= 0 && wrapped < extent ? wrapped : undefined;
}

/** Every `step`-th item from `start` on, `count` of them, per axis. */
export function sliceItems(
  value: Items,
  starts: readonly number[],
  steps: readonly number[],
  counts: readonly number[],
): { dims: number[]; items: Dim[] } {
  const strides = stridesOf(value.dims);
  const dims = counts.slice();
  return {
    dims,
    items: fillItems(
      dims,
      (c) =>
        value.items[
          offsetOf(
            c.map((x, i) => starts[i]! + x * steps[i]!),
            strides,
          )
        ]!,
    ),
  };
}

export function concatItems(parts: readonly Items[], axis: number): { dims: number[]; items: Dim[] } {
  const dims = parts[0]!.dims.slice();
  dims[axis] = parts.reduce((n, p) => n + p.dims[axis]!, 0);
  const outer = sizeOf(dims.slice(0, axis));
  const items: Dim[] = [];
  for (let o = 0; o < outer; o++) {
    for (const part of parts) {
      const block = sizeOf(part.dims.slice(axis));
      for (let i = 0; i < block; i++) items.push(part.items[o * block + i]!);
    }
  }
  return { dims, items };
}

export function tileItems(value: Items, repeats: readonly number[]): { dims: number[]; items: Dim[] } {
  const strides = stridesOf(value.dims);
  const dims = value.dims.map((d, i) => d * repeats[i]!);
  return {
    dims,
    items: fillItems(
      dims,
      (c) =>
        value.items[
          offsetOf(
            c.map((x, i) => x % value.dims[i]!),
            strides,
          )
        ]!,
    ),
  };
}

export const REDUCERS = {
  ReduceSum: { start: 0, step: addItems },
  ReduceProd: { start: 1, step: mulItems },
  ReduceMax: { start: null, step: maxItems },
  ReduceMin: { start: null, step: minItems },
} as const satisfies Record<string, { start: Dim; step: (a: Dim, b: Dim) => Dim }>;

/** Folds the items along `axes`; null items make their results unknown (a product with 0 stays 0). */
export function reduceItems(
  value: Items,
  axes: readonly number[],
  keep: boolean,
  reducer: { readonly start: Dim; step(a: Dim, b: Dim): Dim },
): { dims: number[]; items: Dim[] } {
  const kept = value.dims.map((d, i) => (axes.includes(i) ? 1 : d));
  const strides = stridesOf(value.dims);
  const reduced = value.dims.map((d, i) => (axes.includes(i) ? d : 1));
  const items = fillItems(kept, (c) => {
    const base = offsetOf(c, strides);
    let result: Dim | undefined;
    fillItems(reduced, (r) => {
      const item = value.items[base + offsetOf(r, strides)]!;
      result = result === undefined ? item : reducer.step(result, item);
      return null;
    });
    return result === undefined ? reducer.start : result;
  });
  return { dims: keep ? kept : value.dims.filter((_, i) => !axes.includes(i)), items };
}

/** ScatterElements without reduction; undefined where an index is not known. */
export function scatterElements(data: Items, indices: Items, updates: Items, axis: number): Dim[] | undefined {
  const strides = stridesOf(data.dims);
  const out = data.items.slice();
  let next = 0;
  let known = true;
  fillItems(indices.dims, (c) => {
    const index = wrapIndex(indices.items[next]!, data.dims[axis]!);
    if (index === undefined) known = false;
    else
      out[
        offsetOf(
          c.map((x, i) => (i === axis ? index : x)),
          strides,
        )
      ] = updates.items[next]!;
    next++;
    return null;
  });
  return known ? out : undefined;
}

/** Start offset in `data` of each index tuple of GatherND and ScatterND; undefined for tuples not known. */
function tupleOffsets(data: Items, indices: Items, batchDims: number): (number | undefined)[] {
  const width = indices.dims.at(-1)!;
  const strides = stridesOf(data.dims);
  const batches = indices.dims.slice(0, batchDims);
  const perBatch = sizeOf(indices.dims.slice(batchDims, -1));
  const offsets: (number | undefined)[] = [];
  fillItems(batches, (batch) => {
    for (let i = 0; i < perBatch; i++) {
      let offset: number | undefined = offsetOf(batch, strides);
      for (let k = 0; k < width; k++) {
        const index = wrapIndex(indices.items[offsets.length * width + k]!, data.dims[batchDims + k]!);
        offset = index === undefined || offset === undefined ? undefined : offset + index * strides[batchDims + k]!;
      }
      offsets.push(offset);
    }
    return null;
  });
  return offsets;
}

/** GatherND: blocks of `data` picked by index tuples. */
export function gatherTuples(data: Items, indices: Items, batchDims: number): { dims: number[]; items: Dim[] } {
  const tail = data.dims.slice(batchDims + indices.dims.at(-1)!);
  const block = sizeOf(tail);
  const items: Dim[] = [];
  for (const offset of tupleOffsets(data, indices, batchDims)) {
    for (let i = 0; i < block; i++) items.push(offset === undefined ? null : data.items[offset + i]!);
  }
  return { dims: [...indices.dims.slice(0, -1), ...tail], items };
}

/** ScatterND without reduction; undefined where an index is not known. */
export function scatterTuples(data: Items, indices: Items, updates: Items): Dim[] | undefined {
  const out = data.items.slice();
  const offsets = tupleOffsets(data, indices, 0);
  const block = sizeOf(data.dims.slice(indices.dims.at(-1)!));
  for (let t = 0; t < offsets.length; t++) {
    const offset = offsets[t];
    if (offset === undefined) return undefined;
    for (let i = 0; i < block; i++) out[offset + i] = updates.items[t * block + i]!;
  }
  return out;
}
