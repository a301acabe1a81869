// How the elements of a row-major tensor map to scales, brought into one form that all loops share.
// The data is [outer, axis, length]; consecutive `rowsPerGroup` rows of the axis form a group. In scalar layouts a group has one scale,
// in vector layouts one scale for each of the `length` positions of a row (blocks along an inner axis, or channels on the last axis).
import { shapeError } from '../errors.js';
import type { Granularity } from './scheme.js';

export interface Layout {
  readonly outer: number;
  /** Rows per outer index. */
  readonly axis: number;
  /** Contiguous elements per row. */
  readonly length: number;
  readonly rowsPerGroup: number;
  /** Groups per outer index. */
  readonly groups: number;
  readonly vector: boolean;
  /** Index of a group's first scale: outer index * outerStride + group * groupStride. */
  readonly outerStride: number;
  readonly groupStride: number;
  /** Number of scales. */
  readonly count: number;
  /** Dimensions of the scale and zero-point tensors as ONNX wants them. */
  readonly scaleDims: readonly number[];
}

function product(dims: readonly number[], from: number, to: number): number {
  let p = 1;
  for (let i = from; i < to; i++) p *= dims[i]!;
  return p;
}

export function layoutOf(dims: readonly number[], granularity: Granularity): Layout {
  const size = product(dims, 0, dims.length);
  if (granularity.kind === 'tensor') {
    return {
      outer: 1,
      axis: 1,
      length: size,
      rowsPerGroup: 1,
      groups: 1,
      vector: false,
      outerStride: 0,
      groupStride: 0,
      count: 1,
      scaleDims: [],
    };
  }
  const at = granularity.axis < 0 ? granularity.axis + dims.length : granularity.axis;
  if (!Number.isInteger(at) || at < 0 || at >= dims.length) {
    throw shapeError(`quantization axis ${granularity.axis}: expected an axis of [${dims.join(',')}]`);
  }
  const outer = product(dims, 0, at);
  const axis = dims[at]!;
  const length = product(dims, at + 1, dims.length);
  if (granularity.kind === 'channel') {
    // Channels on the last axis: rows of one element each would be slow, so a whole row is taken with a vector of scales.
    const vector = length === 1;
    return {
      outer,
      axis: vector ? 1 : axis,
      length: vector ? axis : length,
      rowsPerGroup: 1,
      groups: vector ? 1 : axis,
      vector,
      outerStride: 0,
      groupStride: vector ? 0 : 1,
      count: axis,
      scaleDims: [axis],
    };
  }
  const { size: block } = granularity;
  if (!Number.isInteger(block) || block < 1) throw shapeError(`block size: expected a positive whole number, got ${block}`);
  const groups = Math.ceil(axis / block);
  const vector = length > 1;
  const scaleDims = dims.slice();
  scaleDims[at] = groups;
  return {
    outer,
    axis,
    length,
    rowsPerGroup: block,
    groups,
    vector,
    outerStride: groups * length,
    groupStride: length,
    count: outer * groups * length,
    scaleDims,
  };
}

/** Calls `visit` for each group: where its elements start, how many rows it has, and the index of its first scale. */
export function forEachGroup(layout: Layout, visit: (start: number, rows: number, scale: number) => void): void {
  const { outer, axis, length, rowsPerGroup, groups, outerStride, groupStride } = layout;
  for (let a = 0; a < outer; a++) {
    for (let g = 0; g < groups; g++) {
      const row = g * rowsPerGroup;
      visit((a * axis + row) * length, Math.min(rowsPerGroup, axis - row), a * outerStride + g * groupStride);
    }
  }
}
