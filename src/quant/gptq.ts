// Rounding a layer's weights so that its output, not the weights, stays close: GPTQ (Frantar et al. 2022, "GPTQ: Accurate Post-Training
// Quantization for Generative Pre-trained Transformers"), in the form of LDLQ (Chee et al. 2023, QuIP), which is the same rounding without an inverse.
// With H = X^T X = (U + I) D (U + I)^T, U strictly upper triangular in the order of rounding, weight c is rounded as w_c + sum_{j<c} (w_j - v_j) U_jc
// and the layer's squared error is sum_c D_c (target_c - v_c)^2. D and U come from a Cholesky factor of H in reverse order.
// The feedback of earlier blocks onto a block is one product in the engine (the lazy updates of the paper).
import { descendBlocks } from './block-descent.js';
import {
  type BlockGrid,
  type BlockMetric,
  BlockRounder,
  newRoundedMatrix,
  type RoundedMatrix,
  roundBySearch,
  stepsOf,
} from './block-rounding.js';
import type { DenseMath } from './dense-math.js';
import { type FactoredHessian, panelMetric, panelTargets, type RoundingOrder } from './hessian.js';

export interface GptqOptions extends BlockGrid {
  /** Rows of [k, n] that share a scale in each column; k for a scale per column. */
  readonly block: number;
  /** Added to the diagonal of H, as a fraction of its mean. */
  readonly damping: number;
  readonly order: RoundingOrder;
  /** Passes of block coordinate descent over the result, where blocks are small enough to be searched. */
  readonly sweeps?: number | undefined;
}

/** Largest block whose scale is searched with the feedback inside the block; larger ones get theirs from the weights beforehand. */
const SEARCHED_BLOCK = 64;
/** Passes of descent after rounding. */
const SWEEPS = 3;
/** Rows rounded between two products in the engine where blocks are larger than that. */
const PANEL = 32;
/** Times that scales of large blocks are fitted to the codes and the codes rounded anew. */
const REFITS = 2;

/** Rounds weights [k, n] given their factored Hessian `h`. */
export async function roundWithHessian(
  math: DenseMath,
  weights: Float32Array,
  k: number,
  n: number,
  h: ArrayLike<number>,
  hessian: FactoredHessian,
  options: GptqOptions,
): Promise<RoundedMatrix> {
  if (options.block <= SEARCHED_BLOCK) {
    const result = newRoundedMatrix(k, n, options.block, stepsOf(weights, k, n, options));
    await roundPanels(math, weights, hessian, result, options, options.block, (rounder, w, metric) => rounder.search(w, metric));
    await descendBlocks(math, weights, h, hessian.damping, result, options, options.sweeps ?? SWEEPS);
    return result;
  }
  const size = Float64Array.from({ length: k }, (_, i) => h[i * k + i]!);
  const mean = size.reduce((a, b) => a + b, 0) / k || 1;
  let grid = roundBySearch(
    weights,
    k,
    n,
    options,
    size.map((v) => v + options.damping * mean),
  );
  let best: RoundedMatrix | undefined;
  let bestLoss: Float64Array = new Float64Array(n).fill(Number.POSITIVE_INFINITY);
  for (let i = 0; ; i++) {
    const result = newRoundedMatrix(k, n, options.block);
    const given = grid;
    const round = (rounder: BlockRounder, w: Float64Array, metric: BlockMetric, at: number) =>
      rounder.round(w, metric, given.scales[at]!, given.zeros[at]!);
    const loss = await roundPanels(math, weights, hessian, result, options, Math.min(PANEL, options.block), round);
    if (best) takeBetterColumns(best, bestLoss, result, loss);
    else {
      best = result;
      bestLoss = loss;
    }
    if (i === REFITS || options.block < k) return best;
    grid = await refitScales(math, weights, best, h);
  }
}

/** Rounds panel by panel in the order of the factor; `round` is given the index of the scale. Answers each column's loss. */
async function roundPanels(
  math: DenseMath,
  weights: Float32Array,
  { order, factor }: FactoredHessian,
  result: RoundedMatrix,
  grid: BlockGrid,
  panel: number,
  round: (rounder: BlockRounder, w: Float64Array, metric: BlockMetric, at: number) => void,
): Promise<Float64Array> {
  const { k, n, block } = result;
  /** w - v in the order of rounding. */
  const errors = new Float32Array(k * n);
  const rounder = new BlockRounder(grid, Math.min(panel, k));
  const w = new Float64Array(Math.min(panel, k));
  const loss = new Float64Array(n);
  for (let from = 0; from < k; from += panel) {
    const size = Math.min(panel, k - from);
    const metric = panelMetric(factor, from, size);
    const targets = await panelTargets(math, weights, errors, order, factor, from, size, n);
    const b = Math.floor(order[from]! / block);
    for (let c = 0; c < n; c++) {
      // The weights that this panel should have now that earlier ones are rounded: its optimum, were it left unrounded.
      for (let r = 0; r < size; r++) {
        let v = targets[r * n + c]!;
        for (let j = 0; j < r; j++) v += (weights[order[from + j]! * n + c]! - w[j]!) * metric.feedback[r * size + j]!;
        w[r] = v;
      }
      rounder.setSteps(result, b, c);
      round(rounder, w, metric, b * n + c);
      loss[c]! += rounder.loss;
      result.scales[b * n + c] = rounder.scale;
      result.zeros[b * n + c] = rounder.zero;
      for (let r = 0; r < size; r++) {
        const row = order[from + r]!;
        const v = rounder.values[r]!;
        result.codes[row * n + c] = rounder.codes[r]!;
        result.values[row * n + c] = v;
        errors[(from + r) * n + c] = weights[row * n + c]! - v;
      }
    }
  }
  return loss;
}

/** Least squares for one scale per column given the codes: s <- s * (w H v) / (v H v). */
async function refitScales(math: DenseMath, weights: Float32Array, rounded: RoundedMatrix, h: ArrayLike<number>): Promise<RoundedMatrix> {
  const { k, n, values } = rounded;
  const seen = await math.product(Float32Array.from(h), values, k, k, n);
  const scales = rounded.scales.slice();
  for (let c = 0; c < n; c++) {
    let vv = 0;
    let wv = 0;
    for (let i = c; i < k * n; i += n) {
      vv += values[i]! * seen[i]!;
      wv += weights[i]! * seen[i]!;
    }
    if (vv > 0 && wv > 0) scales[c]! *= wv / vv;
  }
  return { ...rounded, scales };
}

function takeBetterColumns(best: RoundedMatrix, bestLoss: Float64Array, other: RoundedMatrix, loss: Float64Array): void {
  const { k, n } = best;
  for (let c = 0; c < n; c++) {
    if (!(loss[c]! < bestLoss[c]!)) continue;
    bestLoss[c] = loss[c]!;
    best.scales[c] = other.scales[c]!;
    best.zeros[c] = other.zeros[c]!;
    for (let i = c; i < k * n; i += n) {
      best.codes[i] = other.codes[i]!;
      best.values[i] = other.values[i]!;
    }
  }
}
