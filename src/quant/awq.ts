// Activation-aware weight quantization (Lin et al. 2023, "AWQ"): input channels that carry much are multiplied by s > 1 before rounding and their data by
// 1 / s, so that the same step costs them less. s_j = a_j^alpha, a_j the root mean square of channel j, brought to a geometric mean of 1 between
// largest and smallest; alpha is found on a grid by the error of the layers' outputs, which H = X^T X gives without running the model again.
import { type BlockGrid, type RoundedMatrix, roundBySearch } from './block-rounding.js';
import type { DenseMath } from './dense-math.js';

/** Steps of alpha between 0 and 1. */
const STEPS = 10;

export interface ScaledLayer {
  /** [k, n]. */
  readonly weights: Float32Array;
  readonly n: number;
}

/**
 * Finds one scale per input channel for layers that share their data. Answers null where leaving the channels alone is best.
 * `h` is X^T X [k, k].
 */
export async function findChannelScales(
  math: DenseMath,
  h: ArrayLike<number>,
  k: number,
  layers: readonly ScaledLayer[],
  grid: BlockGrid & { readonly block: number },
): Promise<Float32Array | null> {
  const size = Float64Array.from({ length: k }, (_, i) => Math.sqrt(Math.max(h[i * k + i]!, 0)));
  const hessian = Float32Array.from(h);
  let best = Number.POSITIVE_INFINITY;
  let found: Float32Array | null = null;
  for (let step = 0; step < STEPS; step++) {
    const scales = channelScales(size, step / STEPS);
    let lost = 0;
    for (const { weights, n } of layers) {
      const rounded = roundScaled(weights, k, n, scales, grid);
      const error = weights.map((v, i) => v - rounded.values[i]! / scales[Math.floor(i / n)]!);
      lost += dot(await math.product(hessian, error, k, k, n), error);
    }
    if (lost < best) {
      best = lost;
      found = step === 0 ? null : scales;
    }
  }
  return found;
}

/** Rounds weights [k, n] with their rows multiplied by `scales`. Its values are those of the multiplied weights. */
export function roundScaled(
  weights: Float32Array,
  k: number,
  n: number,
  scales: Float32Array,
  grid: BlockGrid & { readonly block: number },
): RoundedMatrix {
  const scaled = new Float32Array(k * n);
  for (let r = 0; r < k; r++) for (let c = 0; c < n; c++) scaled[r * n + c] = weights[r * n + c]! * scales[r]!;
  return roundBySearch(scaled, k, n, grid);
}

function channelScales(size: Float64Array, alpha: number): Float32Array {
  const mean = size.reduce((a, b) => a + b, 0) / size.length || 1;
  const scales = Float32Array.from(size, (v) => Math.max(v / mean, 1e-4) ** alpha);
  let lo = Number.POSITIVE_INFINITY;
  let hi = 0;
  for (const s of scales) {
    if (s < lo) lo = s;
    if (s > hi) hi = s;
  }
  const centre = Math.sqrt(lo * hi);
  return scales.map((s) => s / centre);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
