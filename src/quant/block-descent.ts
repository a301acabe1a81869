// Block coordinate descent after GPTQ: each block of weights is rounded anew for the layer's output error with all other blocks as they now are
// (cyclic descent as in Behdin et al. 2023, "QuantEase", a block with its scale at a time). For block b and errors E = W - V the best real weights are
// v_b + H_bb^-1 (H E)_b, and the block's error about them has the metric H_bb. Only changes that lower the error are taken.
import { type BlockGrid, type BlockMetric, BlockRounder, type RoundedMatrix } from './block-rounding.js';
import type { DenseMath } from './dense-math.js';

/** Improves `rounded` in place. `h` [k, k] is regularised by `damping` on its diagonal, as for GPTQ. */
export async function descendBlocks(
  math: DenseMath,
  weights: Float32Array,
  h: ArrayLike<number>,
  damping: number,
  rounded: RoundedMatrix,
  grid: BlockGrid,
  sweeps: number,
): Promise<void> {
  const { k, n, block } = rounded;
  const hessian = Float32Array.from(h);
  for (let i = 0; i < k; i++) hessian[i * k + i]! += h[i * k + i] === 0 ? 1 : damping;
  const errors = weights.map((w, i) => w - rounded.values[i]!);
  const pull = await math.product(hessian, errors, k, k, n);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let changed = 0;
    for (let from = 0; from < k; from += block) {
      const size = Math.min(block, k - from);
      const metric = metricOf(hessian, k, from, size);
      if (!metric) continue;
      const delta = roundBlock(rounded, pull, metric, grid, from, size);
      if (!delta) continue;
      changed++;
      const columns = new Float32Array(k * size);
      for (let i = 0; i < k; i++) for (let r = 0; r < size; r++) columns[i * size + r] = hessian[i * k + from + r]!;
      const moved = await math.product(columns, delta, k, size, n);
      for (let i = 0; i < pull.length; i++) pull[i]! -= moved[i]!;
    }
    if (changed === 0) return;
  }
}

/** Rounds one block of every column; answers what was added to its values, null where nothing changed. */
function roundBlock(
  rounded: RoundedMatrix,
  pull: Float32Array,
  metric: BlockMetric,
  grid: BlockGrid,
  from: number,
  size: number,
): Float32Array | null {
  const { n, block } = rounded;
  const rounder = new BlockRounder(grid, size);
  const step = new Float64Array(size);
  const target = new Float64Array(size);
  const delta = new Float32Array(size * n);
  const b = Math.floor(from / block);
  let changed = false;
  for (let c = 0; c < n; c++) {
    for (let r = 0; r < size; r++) step[r] = pull[(from + r) * n + c]!;
    solveBlock(metric, step);
    for (let r = 0; r < size; r++) target[r] = rounded.values[(from + r) * n + c]! + step[r]!;
    rounder.setSteps(rounded, b, c);
    const at = b * n + c;
    if (!rounder.improve(target, metric, blockLoss(metric, step) * ACCEPTED, rounded.scales[at]!, rounded.zeros[at]!)) continue;
    changed = true;
    rounded.scales[at] = rounder.scale;
    rounded.zeros[at] = rounder.zero;
    for (let r = 0; r < size; r++) {
      const i = (from + r) * n + c;
      delta[r * n + c] = rounder.values[r]! - rounded.values[i]!;
      rounded.codes[i] = rounder.codes[r]!;
      rounded.values[i] = rounder.values[r]!;
    }
  }
  return changed ? delta : null;
}

/** Part of the error that must be left for a change to be taken: below it is float noise. */
const ACCEPTED = 0.9999;

/** H_bb = (U + I) D (U + I)^T with U strictly upper triangular; null where it is not positive definite. */
function metricOf(h: Float32Array, k: number, from: number, size: number): BlockMetric | null {
  const feedback = new Float64Array(size * size);
  const weight = new Float64Array(size);
  for (let c = size - 1; c >= 0; c--) {
    for (let i = c; i >= 0; i--) {
      let v = h[(from + i) * k + from + c]!;
      for (let f = c + 1; f < size; f++) v -= feedback[f * size + i]! * weight[f]! * feedback[f * size + c]!;
      if (i === c) {
        if (!(v > 0)) return null;
        weight[c] = v;
      } else feedback[c * size + i] = v / weight[c]!;
    }
  }
  return { size, feedback, stride: size, weight };
}

/** x <- H_bb^-1 x. `feedback[c * size + i]` is U_ic. */
function solveBlock({ size, feedback, weight }: BlockMetric, x: Float64Array): void {
  // (U + I) y = x from the last row up, then D, then (U + I)^T from the first down.
  for (let i = size - 1; i >= 0; i--) for (let c = i + 1; c < size; c++) x[i]! -= feedback[c * size + i]! * x[c]!;
  for (let i = 0; i < size; i++) x[i]! /= weight[i]!;
  for (let i = 0; i < size; i++) for (let j = 0; j < i; j++) x[i]! -= feedback[i * size + j]! * x[j]!;
}

function blockLoss({ size, feedback, weight }: BlockMetric, d: Float64Array): number {
  let loss = 0;
  for (let c = 0; c < size; c++) {
    let v = d[c]!;
    for (let j = 0; j < c; j++) v += d[j]! * feedback[c * size + j]!;
    loss += weight[c]! * v * v;
  }
  return loss;
}
