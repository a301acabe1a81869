// Choosing the codes, the scale and the zero point of one block of weights by the error they leave, not by the block's extremes.
// A block is rounded in order with error feedback: target_c = w_c + sum_{j<c} (w_j - v_j) u_jc, v_c = (q_c - z) s, and leaves
// sum_c d_c (target_c - v_c)^2. With u = 0 this is the weighted mean squared error; with u and d from a factor of the Hessian it is the error
// of the layer's output (see gptq.ts). Candidates are tried with early abandonment; the best is refined by least squares on its codes.
import { floatsFromHalfBits, halfBitsFromFloatBits } from '../util/half.js';

/**
 * Where zero lies: `absmax` in the middle code, scale of either sign; `middle` the same with positive scales, which integer kernels ask for;
 * `asymmetric` at a whole code; `free` anywhere (stored as a float).
 */
export type ZeroKind = 'absmax' | 'middle' | 'asymmetric' | 'free';

/** Bits of a weight's code. One bit: minus or plus the scale's half, no zero. */
export type WeightBits = 1 | 2 | 3 | 4 | 5 | 6 | 8;

export interface BlockGrid {
  readonly bits: WeightBits;
  readonly zero: ZeroKind;
  /** Scales (and free zero points, as offsets) are 8-bit multiples of a step, as in the two-level blocks of llama.cpp's k-quants. */
  readonly twoLevel?: boolean | undefined;
  /** Rows of a column that share a step; all of them where it is absent or does not come out even. */
  readonly superBlock?: number | undefined;
}

/** Feedback inside a block. */
export interface BlockMetric {
  /** Rows of the block. */
  readonly size: number;
  /** `feedback[c * stride + j]` = u_jc for j < c. */
  readonly feedback: Float64Array;
  readonly stride: number;
  /** d_c. */
  readonly weight: Float64Array;
}

/** Metric without feedback, all rows of equal weight. */
export function plainMetric(size: number): BlockMetric {
  return { size, feedback: new Float64Array(size * size), stride: size, weight: new Float64Array(size).fill(1) };
}

const ROUND = 6755399441055744;
const SMALLEST_SCALE = 1.1754943508222875e-38;
const MAX_MULTIPLE = 127;
/** Room for scales above what the extremes of the weights ask for: feedback moves weights outwards. */
const SCALE_ROOM = 1.1;
/** Steps that float16 holds; the smallest are rounded to one part in a hundred, which the multiples then start from. */
const LEAST_HALF = 2 ** -18;
const LARGEST_HALF = 60000;

/** Fractions of the full range that are tried as range. Low widths gain by clipping more. */
function shrinkage(bits: number): { from: number; to: number; steps: number } {
  if (bits >= 8) return { from: 0.92, to: 1, steps: 5 };
  if (bits >= 5) return { from: 0.82, to: 1.02, steps: 9 };
  if (bits === 4) return { from: 0.7, to: 1.05, steps: 15 };
  if (bits === 3) return { from: 0.5, to: 1.1, steps: 16 };
  if (bits === 2) return { from: 0.3, to: 1.15, steps: 18 };
  // Two levels: their best distance is near the mean magnitude, far below the extremes.
  return { from: 0.1, to: 1, steps: 19 };
}

/** Rounds blocks one after another; results of the latest are in `scale`, `zero`, `codes` and `values`. */
export class BlockRounder {
  readonly #grid: BlockGrid;
  readonly #top: number;
  readonly #middle: number;
  readonly #trialCodes: Uint8Array;
  readonly #trialValues: Float64Array;
  readonly #errors: Float64Array;
  scale = 1;
  zero = 0;
  /** Where above 0, scales are whole multiples of it, up to 127 of either sign (two-level blocks). */
  scaleStep = 0;
  /** The same for what free zero points take off: zero * scale. */
  offsetStep = 0;
  loss = Number.POSITIVE_INFINITY;
  readonly codes: Uint8Array;
  /** What the codes stand for: (code - zero) * scale in float32. */
  readonly values: Float64Array;

  constructor(grid: BlockGrid, size: number) {
    this.#grid = grid;
    this.#top = 2 ** grid.bits - 1;
    this.#middle = middleOf(grid.bits);
    this.#trialCodes = new Uint8Array(size);
    this.#trialValues = new Float64Array(size);
    this.#errors = new Float64Array(size);
    this.codes = new Uint8Array(size);
    this.values = new Float64Array(size);
  }

  /** Takes the steps of a block and column of `matrix`. */
  setSteps({ steps, n }: Pick<RoundedMatrix, 'steps' | 'n'>, block: number, column: number): void {
    const at = steps ? Math.floor(block / steps.blocks) * n + column : 0;
    this.scaleStep = steps?.scale[at] ?? 0;
    this.offsetStep = steps?.offset?.[at] ?? 0;
  }

  /** Finds scale, zero point and codes for the weights `w` (length metric.size). */
  search(w: Float64Array, metric: BlockMetric): void {
    this.loss = Number.POSITIVE_INFINITY;
    this.#search(w, metric);
  }

  /** Looks for something better than `loss`, with the scale and zero point at hand and with others. Answers whether there was any. */
  improve(w: Float64Array, metric: BlockMetric, loss: number, scale: number, zero: number): boolean {
    this.loss = loss;
    this.#try(w, metric, scale, zero);
    this.#search(w, metric);
    return this.loss < loss;
  }

  #search(w: Float64Array, metric: BlockMetric): void {
    const before = this.loss;
    const { size } = metric;
    let lo = 0;
    let hi = 0;
    for (let i = 0; i < size; i++) {
      const v = w[i]!;
      if (v < lo) lo = v;
      if (v > hi) hi = v;
    }
    if (hi === lo) {
      this.#try(w, metric, 1, this.#grid.zero === 'free' || this.#grid.zero === 'asymmetric' ? 0 : this.#middle);
      return;
    }
    const { from, to, steps } = shrinkage(this.#grid.bits);
    for (let i = 0; i < steps; i++) {
      const f = to - ((to - from) * i) / (steps - 1);
      if (this.#grid.zero === 'asymmetric') this.#tryAsymmetric(w, metric, f, lo, hi);
      else if (this.#grid.zero === 'free') this.#tryFree(w, metric, f, lo, hi);
      else this.#tryMiddle(w, metric, f, lo, hi);
    }
    if (this.loss === before && before !== Number.POSITIVE_INFINITY) return;
    for (let round = 0; round < 3; round++) if (!this.#refit(w, metric)) break;
  }

  /** Scale and zero point from the extremes alone, then to the nearest code. */
  nearest(w: Float64Array, metric: BlockMetric): void {
    this.loss = Number.POSITIVE_INFINITY;
    let lo = 0;
    let hi = 0;
    for (let i = 0; i < metric.size; i++) {
      const v = w[i]!;
      if (v < lo) lo = v;
      if (v > hi) hi = v;
    }
    const range = hi > lo ? (hi - lo) / this.#top : 1;
    if (this.#grid.zero === 'free') this.#try(w, metric, range, -lo / range);
    else if (this.#grid.zero === 'asymmetric') this.#try(w, metric, range, Math.round(-lo / range));
    else {
      // absmax: the extreme element, with its sign, on the lowest code. middle: the extreme magnitude on the highest.
      const absmax = (-lo >= hi ? lo : hi) / -this.#middle;
      const step = this.#grid.zero === 'absmax' ? absmax : Math.max(-lo, hi) / (this.#middle - 1);
      this.#try(w, metric, step || 1, this.#middle);
    }
  }

  /** Rounds with a scale and zero point that are given. */
  round(w: Float64Array, metric: BlockMetric, scale: number, zero: number): void {
    this.loss = Number.POSITIVE_INFINITY;
    this.#try(w, metric, scale, zero);
  }

  #tryMiddle(w: Float64Array, metric: BlockMetric, f: number, lo: number, hi: number): void {
    const extreme = Math.max(-lo, hi);
    const step = (f * extreme) / this.#middle;
    this.#try(w, metric, step, this.#middle);
    if (this.#grid.zero === 'absmax') this.#try(w, metric, -step, this.#middle);
  }

  #tryAsymmetric(w: Float64Array, metric: BlockMetric, f: number, lo: number, hi: number): void {
    const top = this.#top;
    const step = (f * (hi - lo)) / top;
    const centre = (-lo / (hi - lo)) * top;
    // The zero point that centres the shrunk range, and its neighbours.
    const nearest = Math.round(top / 2 - (hi + lo) / 2 / step);
    const spread = this.#grid.bits <= 3 ? 1 : 0;
    let last = -1;
    for (const z of [nearest - spread, nearest, nearest + spread, Math.round(centre)]) {
      if (z === last || z < 0 || z > top) continue;
      last = z;
      this.#try(w, metric, step, z);
    }
  }

  #tryFree(w: Float64Array, metric: BlockMetric, f: number, lo: number, hi: number): void {
    const step = (f * (hi - lo)) / this.#top;
    this.#try(w, metric, step, this.#top / 2 - (hi + lo) / 2 / step);
  }

  /** Rounds with one candidate and keeps it where it is better than the best so far. */
  #try(w: Float64Array, metric: BlockMetric, wanted: number, wantedZero: number): boolean {
    let s = Math.fround(this.scaleStep > 0 ? this.#multiple(wanted) : wanted);
    if (!(Math.abs(s) >= SMALLEST_SCALE)) s = 1;
    const z =
      this.#grid.zero === 'free' ? Math.fround(this.offsetStep > 0 ? this.#offset(wantedZero * wanted) / s : wantedZero) : wantedZero;
    const { size, feedback, stride, weight } = metric;
    const codes = this.#trialCodes;
    const values = this.#trialValues;
    const errors = this.#errors;
    const top = this.#top;
    const inverse = 1 / s;
    const best = this.loss;
    let loss = 0;
    for (let c = 0; c < size; c++) {
      let target = w[c]!;
      const at = c * stride;
      for (let j = 0; j < c; j++) target += errors[j]! * feedback[at + j]!;
      let q = target * inverse + z + ROUND - ROUND;
      if (!(q > 0)) q = 0;
      else if (q > top) q = top;
      const v = (q - z) * s;
      codes[c] = q;
      values[c] = v;
      errors[c] = w[c]! - v;
      const e = target - v;
      loss += weight[c]! * e * e;
      if (loss >= best) return false;
    }
    this.loss = loss;
    this.scale = s;
    this.zero = z;
    this.codes.set(codes);
    this.values.set(values);
    return true;
  }

  #multiple(wanted: number): number {
    const m = Math.round(wanted / this.scaleStep) || Math.sign(wanted) || 1;
    return Math.max(-MAX_MULTIPLE, Math.min(MAX_MULTIPLE, m)) * this.scaleStep;
  }

  #offset(wanted: number): number {
    return Math.max(-MAX_MULTIPLE, Math.min(MAX_MULTIPLE, Math.round(wanted / this.offsetStep))) * this.offsetStep;
  }

  /** Least squares for the scale (and a free zero point) given the best codes, then rounding again. Answers whether that was better. */
  #refit(w: Float64Array, metric: BlockMetric): boolean {
    const { size, feedback, stride, weight } = metric;
    const free = this.#grid.zero === 'free';
    const { codes, zero } = this;
    let aa = 0;
    let ab = 0;
    let bb = 0;
    let aw = 0;
    let bw = 0;
    for (let c = 0; c < size; c++) {
      // Row c of what the block's output sees: w_c + sum u_jc w_j, and the same for the codes and for ones.
      const at = c * stride;
      let tw = w[c]!;
      let ta = codes[c]! - (free ? 0 : zero);
      let tb = 1;
      for (let j = 0; j < c; j++) {
        const u = feedback[at + j]!;
        tw += u * w[j]!;
        ta += u * (codes[j]! - (free ? 0 : zero));
        tb += u;
      }
      const d = weight[c]!;
      aa += d * ta * ta;
      aw += d * ta * tw;
      if (free) {
        ab += d * ta * tb;
        bb += d * tb * tb;
        bw += d * tb * tw;
      }
    }
    if (!(aa > 0)) return false;
    if (!free) return (this.#grid.zero !== 'middle' || aw > 0) && this.#try(w, metric, aw / aa, zero);
    const det = aa * bb - ab * ab;
    if (!(det > 1e-12 * aa * bb)) return false;
    const s = (aw * bb - bw * ab) / det;
    const offset = (aa * bw - ab * aw) / det;
    return this.#try(w, metric, s, -offset / s);
  }
}

/** The code of zero where there is no zero point. */
export function middleOf(bits: WeightBits): number {
  return bits === 1 ? 0.5 : 2 ** (bits - 1);
}

/** What scales and offsets of two levels are multiples of. Index: step * n + column, `blocks` blocks to a step. */
export interface Steps {
  readonly blocks: number;
  readonly scale: Float32Array;
  /** Null where zero points are none or whole codes. */
  readonly offset: Float32Array | null;
}

/** Codes with their scales: element (r, c) stands for (codes[r * n + c] - zeros[b * n + c]) * scales[b * n + c], b = floor(r / block). */
export interface RoundedMatrix {
  readonly k: number;
  readonly n: number;
  /** Rows of [k, n] that share a scale in each column. */
  readonly block: number;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Float32Array;
  /** The values that the codes stand for, [k, n]. */
  readonly values: Float32Array;
  /** Null where scales are any float. */
  readonly steps: Steps | null;
}

/** An empty result to be filled. */
export function newRoundedMatrix(k: number, n: number, block: number, steps: Steps | null = null): RoundedMatrix {
  const scales = Math.ceil(k / block) * n;
  return {
    k,
    n,
    block,
    codes: new Uint8Array(k * n),
    scales: new Float32Array(scales),
    zeros: new Float32Array(scales),
    values: new Float32Array(k * n),
    steps,
  };
}

/** Fewest and most blocks that share a step; a column whose number of blocks has no such divisor has one step. */
const LEAST_BLOCKS = 4;

function blocksPerStep(blocks: number, { block, superBlock }: BlockGrid & { readonly block: number }): number {
  if (superBlock === undefined) return blocks;
  for (let count = Math.floor(superBlock / block); count >= LEAST_BLOCKS; count--) if (blocks % count === 0) return count;
  return blocks;
}

/** Steps of two-level scales and offsets from the largest that a block asks for; null where the grid has one level. */
export function stepsOf(weights: Float32Array, k: number, n: number, grid: BlockGrid & { readonly block: number }): Steps | null {
  if (!grid.twoLevel) return null;
  const middle = grid.zero === 'absmax' || grid.zero === 'middle';
  const blocks = Math.ceil(k / grid.block);
  const perStep = blocksPerStep(blocks, grid);
  const scale = new Float64Array((blocks / perStep) * n);
  const offset = new Float64Array(grid.zero === 'free' ? scale.length : 0);
  for (let b = 0; b < blocks; b++) {
    const from = b * grid.block;
    const to = Math.min(k, from + grid.block);
    for (let c = 0; c < n; c++) {
      let lo = 0;
      let hi = 0;
      for (let i = from * n + c; i < to * n; i += n) {
        const v = weights[i]!;
        if (v < lo) lo = v;
        if (v > hi) hi = v;
      }
      const at = Math.floor(b / perStep) * n + c;
      const own = middle ? Math.max(-lo, hi) / middleOf(grid.bits) : (hi - lo) / (2 ** grid.bits - 1);
      if (own > scale[at]!) scale[at] = own;
      // Shrinking a range moves its offset by less than a quarter of it.
      if (offset.length > 0) offset[at] = Math.max(offset[at]!, -lo, (hi - lo) / 4);
    }
  }
  const half = perStep < blocks;
  return { blocks: perStep, scale: wholeSteps(scale, half), offset: offset.length > 0 ? wholeSteps(offset, half) : null };
}

/** Steps with room above the largest, as float16 where there are several to a column and it can hold them. */
function wholeSteps(largest: Float64Array, half: boolean): Float32Array {
  const steps = Float32Array.from(largest, (s) => (s > 0 ? (s * SCALE_ROOM) / MAX_MULTIPLE : 1));
  if (!half || !steps.every((s) => s > LEAST_HALF && s < LARGEST_HALF)) return steps;
  const bits = new Uint16Array(steps.length);
  halfBitsFromFloatBits(new Uint32Array(steps.buffer), bits);
  floatsFromHalfBits(bits, steps);
  return steps;
}

/**
 * Rounds weights [k, n] to the nearest code with the scale and zero point that leave the least squared error in each block.
 * `importance` [k] weighs the rows (mean squares of the data make it an estimate of the output's error).
 */
export function roundBySearch(
  weights: Float32Array,
  k: number,
  n: number,
  grid: BlockGrid & { readonly block: number },
  importance?: ArrayLike<number>,
): RoundedMatrix {
  return roundBlocks(weights, k, n, grid, importance, (rounder, w, metric) => rounder.search(w, metric));
}

/** Rounds weights [k, n] to the nearest code, each block's scale and zero point from its extremes. */
export function roundToNearest(weights: Float32Array, k: number, n: number, grid: BlockGrid & { readonly block: number }): RoundedMatrix {
  return roundBlocks(weights, k, n, grid, undefined, (rounder, w, metric) => rounder.nearest(w, metric));
}

function roundBlocks(
  weights: Float32Array,
  k: number,
  n: number,
  grid: BlockGrid & { readonly block: number },
  importance: ArrayLike<number> | undefined,
  roundOne: (rounder: BlockRounder, w: Float64Array, metric: BlockMetric) => void,
): RoundedMatrix {
  const result = newRoundedMatrix(k, n, grid.block, stepsOf(weights, k, n, grid));
  const rounder = new BlockRounder(grid, Math.min(grid.block, k));
  const w = new Float64Array(Math.min(grid.block, k));
  for (let from = 0, b = 0; from < k; from += grid.block, b++) {
    const size = Math.min(grid.block, k - from);
    const metric = plainMetric(size);
    if (importance) for (let r = 0; r < size; r++) metric.weight[r] = importance[from + r]!;
    for (let c = 0; c < n; c++) {
      for (let r = 0; r < size; r++) w[r] = weights[(from + r) * n + c]!;
      rounder.setSteps(result, b, c);
      roundOne(rounder, w, metric);
      result.scales[b * n + c] = rounder.scale;
      result.zeros[b * n + c] = rounder.zero;
      for (let r = 0; r < size; r++) {
        result.codes[(from + r) * n + c] = rounder.codes[r]!;
        result.values[(from + r) * n + c] = rounder.values[r]!;
      }
    }
  }
  return result;
}
