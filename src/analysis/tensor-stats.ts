// Distribution of the values of one constant: moments, zeros, outliers and a histogram, in two passes over the data.
import { DTYPES } from '../ir/dtype.js';
import type { Tensor } from '../ir/tensor.js';

/** Distribution of one constant. */
export interface TensorStats {
  readonly name: string;
  readonly dtype: string;
  readonly dims: readonly number[];
  readonly bytes: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly std: number;
  /** Fraction of exact zeros. */
  readonly sparsity: number;
  /** Fraction of elements further than 6 standard deviations from the mean. */
  readonly outliers: number;
  /** Counts in equal-width bins from min to max. */
  readonly histogram: readonly number[];
}

/** Standard deviations from the mean beyond which an element is an outlier. */
const OUTLIER_SIGMA = 6;

/** Statistics of a loaded numeric tensor; undefined for strings, complex numbers and empty tensors. */
export function tensorStats(name: string, tensor: Tensor, bins = 64): TensorStats | undefined {
  const { kind } = DTYPES[tensor.dtype];
  if (kind === 'string' || kind === 'complex' || tensor.size === 0) return undefined;
  const x = tensor.floats();
  const n = x.length;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let sum = 0;
  let squares = 0;
  let zeros = 0;
  for (let i = 0; i < n; i++) {
    const v = x[i]!;
    if (v < min) min = v;
    if (v > max) max = v;
    if (v === 0) zeros++;
    sum += v;
    squares += v * v;
  }
  const mean = sum / n;
  const std = Math.sqrt(Math.max(0, squares / n - mean * mean));
  const histogram = new Array<number>(bins).fill(0);
  const scale = max > min ? bins / (max - min) : 0;
  const low = mean - OUTLIER_SIGMA * std;
  const high = mean + OUTLIER_SIGMA * std;
  let outliers = 0;
  for (let i = 0; i < n; i++) {
    const v = x[i]!;
    if (v < low || v > high) outliers++;
    const bin = Math.min(bins - 1, Math.floor((v - min) * scale));
    if (bin >= 0) histogram[bin] = (histogram[bin] ?? 0) + 1;
  }
  return {
    name,
    dtype: tensor.dtype,
    dims: tensor.dims,
    bytes: tensor.byteLength,
    min,
    max,
    mean,
    std,
    sparsity: zeros / n,
    outliers: outliers / n,
    histogram,
  };
}
