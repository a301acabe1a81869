// Half-quadratic quantization (Badri & Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models"): no data. Zero points minimise
// a norm |w - v|^p, p < 1, which forgives the few outliers, by alternating
//   e <- shrink(w - v),  z <- mean(q - (w - e) / s),  beta <- kappa * beta,   shrink(x) = sign(x) max(0, |x| - |x|^(p-1) / beta).
// Here x is in steps of the block, so that the result does not depend on the size of the weights. The paper takes the scale from the block's whole
// range; here several fractions of it are tried and the least squared error wins, which matters below 4 bits. Zero points are floats.
import { type BlockGrid, BlockRounder, newRoundedMatrix, plainMetric, type RoundedMatrix, stepsOf } from './block-rounding.js';

const P = 0.7;
const BETA = 10;
const KAPPA = 1.01;
const ITERATIONS = 20;
const ROUND = 6755399441055744;
const SMALLEST_SCALE = 1.1754943508222875e-38;
/** Fractions of a block's range that are tried. */
const LARGEST_FRACTION = 1.05;
const SMALLEST_FRACTION = 0.475;
const FRACTION_STEP = 0.1;

/** Rounds weights [k, n]; `grid.block` rows share scale and zero point in each column. */
export function roundHalfQuadratic(weights: Float32Array, k: number, n: number, grid: HalfQuadraticGrid): RoundedMatrix {
  const { block, bits } = grid;
  const result = newRoundedMatrix(k, n, block, stepsOf(weights, k, n, grid));
  const rounder = new BlockRounder(grid, Math.min(block, k));
  const w = new Float64Array(Math.min(block, k));
  for (let from = 0, b = 0; from < k; from += block, b++) {
    const size = Math.min(block, k - from);
    const metric = plainMetric(size);
    for (let c = 0; c < n; c++) {
      for (let r = 0; r < size; r++) w[r] = weights[(from + r) * n + c]!;
      const found = parametersOf(w, size, 2 ** bits - 1);
      rounder.setSteps(result, b, c);
      rounder.round(w, metric, found.scale, found.zero);
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

export interface HalfQuadraticGrid extends BlockGrid {
  readonly zero: 'free';
  readonly block: number;
}

function parametersOf(w: Float64Array, size: number, top: number): { scale: number; zero: number } {
  let lo = Number.POSITIVE_INFINITY;
  let hi = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < size; i++) {
    if (w[i]! < lo) lo = w[i]!;
    if (w[i]! > hi) hi = w[i]!;
  }
  if (!((hi - lo) / top >= SMALLEST_SCALE)) return { scale: Math.fround(hi) || 1, zero: hi === 0 ? 0 : -1 };
  let best = Number.POSITIVE_INFINITY;
  let bestScale = 1;
  let bestZero = 0;
  for (let f = LARGEST_FRACTION; f > SMALLEST_FRACTION; f -= FRACTION_STEP) {
    const scale = Math.fround((f * (hi - lo)) / top);
    let zero = Math.fround(top / 2 - (hi + lo) / 2 / scale);
    let beta = BETA;
    let last = Number.POSITIVE_INFINITY;
    for (let i = 0; i < ITERATIONS; i++, beta *= KAPPA) {
      let error = 0;
      let squares = 0;
      let next = 0;
      for (let r = 0; r < size; r++) {
        const x = w[r]! / scale;
        const q = codeOf(x + zero, top);
        const d = x - (q - zero);
        const distance = Math.abs(d);
        error += distance;
        squares += d * d;
        const kept = distance === 0 ? 0 : Math.max(0, distance - distance ** (P - 1) / beta);
        next += q - (x - Math.sign(d) * kept);
      }
      if (squares * scale * scale < best) {
        best = squares * scale * scale;
        bestScale = scale;
        bestZero = zero;
      }
      if (error >= last) break;
      last = error;
      zero = Math.fround(next / size);
    }
  }
  return { scale: bestScale, zero: bestZero };
}

function codeOf(x: number, top: number): number {
  const q = x + ROUND - ROUND;
  return q > 0 ? (q > top ? top : q) : 0;
}
