// Least squares on the weights that a mask leaves: min tr(D^T H D) - 2 tr(D^T R) over changes D of the kept weights, each output with a support of its own.
// Solved for all outputs at once by conjugate gradients with the diagonal as preconditioner: an iteration is one product H P in the engine, where factors
// would be needed for each output's support. Hestenes and Stiefel 1952; damping keeps the changes small where data says little.
import type { DenseMath } from '../../../quant/dense-math.js';

export interface FitOptions {
  /** Added to the diagonal of H, as a share of its mean. */
  readonly damping: number;
}

const MAX_ITERATIONS = 120;
/** Residual, against the first one, at which an output is done. */
const TOLERANCE = 1e-4;

/**
 * Change of weights [k, n] that brings H (V + D) as near to what is wanted as the mask (1 = may change) allows; `right` = X^T (missing output) [k, n] and
 * H = X^T X [k, k].
 */
export async function fitMasked(
  math: DenseMath,
  h: ArrayLike<number>,
  right: ArrayLike<number>,
  mask: Uint8Array,
  k: number,
  n: number,
  { damping }: FitOptions,
): Promise<Float32Array> {
  let mean = 0;
  for (let i = 0; i < k; i++) mean += h[i * k + i]! / k;
  const change = new Float32Array(k * n);
  if (!(mean > 0)) return change;
  const metric = Float32Array.from(h, (v) => v / mean);
  for (let i = 0; i < k; i++) metric[i * k + i]! += damping;
  const residual = Float32Array.from({ length: k * n }, (_, i) => (mask[i] === 1 ? right[i]! / mean : 0));
  const scaled = new Float32Array(k * n);
  const precondition = () => {
    for (let i = 0; i < k; i++) {
      const inverse = 1 / metric[i * k + i]!;
      for (let c = i * n; c < (i + 1) * n; c++) scaled[c] = residual[c]! * inverse;
    }
  };
  precondition();
  const direction = scaled.slice();
  let size = columnDots(residual, scaled, k, n);
  const first = size.slice();
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    if (size.every((s, c) => s <= TOLERANCE ** 2 * first[c]!)) break;
    const moved = await math.product(metric, direction, k, k, n);
    for (let i = 0; i < moved.length; i++) if (mask[i] === 0) moved[i] = 0;
    const curvature = columnDots(direction, moved, k, n);
    const step = size.map((s, c) => (curvature[c]! > 0 && s > TOLERANCE ** 2 * first[c]! ? s / curvature[c]! : 0));
    for (let i = 0; i < k; i++) {
      for (let c = 0; c < n; c++) {
        const at = i * n + c;
        change[at]! += step[c]! * direction[at]!;
        residual[at]! -= step[c]! * moved[at]!;
      }
    }
    precondition();
    const next = columnDots(residual, scaled, k, n);
    for (let i = 0; i < k; i++) {
      for (let c = 0; c < n; c++) {
        const at = i * n + c;
        direction[at] = scaled[at]! + (size[c]! > 0 ? next[c]! / size[c]! : 0) * direction[at]!;
      }
    }
    size = next;
  }
  return change;
}

function columnDots(a: Float32Array, b: Float32Array, k: number, n: number): Float64Array {
  const out = new Float64Array(n);
  for (let i = 0; i < k; i++) for (let c = 0; c < n; c++) out[c]! += a[i * n + c]! * b[i * n + c]!;
  return out;
}
