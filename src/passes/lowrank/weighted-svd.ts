// The best approximation of a weight W [k, n] by factors A [k, r] B [r, n], by the error it makes on data: |X (W - A B)|, that is |L^T (W - A B)| with
// H = X^T X = L L^T. It is L^-T times the truncated singular value decomposition of M = L^T W; without data L is the identity and this is plain SVD.
// Singular vectors come from the smaller of M^T M and M M^T. With V of M^T M no inverse is needed: A B = W V V^T.
import type { CholeskyFactor, DenseMath } from '../../quant/dense-math.js';
import { symmetricEigen } from '../../util/symmetric-eigen.js';

export interface LowRankFactors {
  readonly rank: number;
  /** [k, rank]. */
  readonly a: Float32Array;
  /** [rank, n]. */
  readonly b: Float32Array;
}

/** All truncations of one matrix. */
export interface Truncations {
  readonly k: number;
  readonly n: number;
  /** Components there are: min(k, n). */
  readonly components: number;
  /** Power of the output that rank r does not have, as a share of all of it. */
  lost(rank: number): number;
  factors(rank: number): Promise<LowRankFactors>;
  /** Directions of the output that rank r keeps: [rank, n], orthonormal. */
  directions(rank: number): Promise<Float32Array>;
}

/** `h` [k, k] is X^T X, or null for the plain decomposition; `damping` is added to its diagonal as a share of the mean. */
export async function weightedSvd(
  math: DenseMath,
  weight: Float32Array,
  k: number,
  n: number,
  h: ArrayLike<number> | null,
  damping: number,
): Promise<Truncations> {
  const metric = h && (await dampedFactor(math, h, k, damping));
  const m = metric ? await math.product(metric.upper, weight, k, k, n) : weight;
  const byOutputs = n <= k;
  const size = Math.min(k, n);
  const gram = byOutputs ? await math.product(transposed(m, k, n), m, n, k, n) : await math.product(m, transposed(m, k, n), k, n, k);
  const { values, vectors } = symmetricEigen(gram, size);
  const power = values.map((v) => Math.max(0, v));
  const total = power.reduce((sum, v) => sum + v, 0);
  const kept = new Float64Array(size + 1);
  for (let i = 0; i < size; i++) kept[i + 1] = kept[i]! + power[i]!;
  const leading = (rank: number) => Float32Array.from(vectors.subarray(0, rank * size));
  return {
    k,
    n,
    components: size,
    lost: (rank) => (total > 0 ? Math.max(0, 1 - kept[Math.min(rank, size)]! / total) : 0),
    async factors(rank) {
      const u = leading(rank);
      if (byOutputs) return balanced(await math.product(weight, transposed(u, rank, n), k, n, rank), u, k, n, rank);
      const b = await math.product(u, m, rank, k, n);
      if (!metric) return balanced(transposed(u, rank, k), b, k, n, rank);
      // L^-T U = H^-1 L U, and U^T L^T is at hand.
      const right = transposed(await math.product(u, metric.upper, rank, k, k), rank, k);
      return balanced(await math.solve(metric, right, rank), b, k, n, rank);
    },
    async directions(rank) {
      if (byOutputs) return leading(rank);
      const v = await math.product(leading(rank), m, rank, k, n);
      for (let r = 0; r < rank; r++) scaleRow(v, r, n, 1 / Math.sqrt(Math.max(power[r]!, 1e-30)));
      return v;
    },
  };
}

/** Cholesky factor of H over its mean diagonal, with as much damping as it takes to exist. */
export async function dampedFactor(math: DenseMath, h: ArrayLike<number>, k: number, damping: number): Promise<CholeskyFactor> {
  let mean = 0;
  for (let i = 0; i < k; i++) mean += h[i * k + i]! / k;
  if (!(mean > 0) || !Number.isFinite(mean)) mean = 1;
  for (let share = damping; ; share = Math.max(share * 10, 1e-6)) {
    const scaled = Float32Array.from({ length: k * k }, (_, i) => h[i]! / mean);
    for (let i = 0; i < k; i++) scaled[i * k + i]! += share;
    const factor = await math.cholesky(scaled, k);
    if (factor) return factor;
  }
}

/** The same product with each component's two vectors of one length: training and rounding treat both factors alike. */
function balanced(a: Float32Array, b: Float32Array, k: number, n: number, rank: number): LowRankFactors {
  for (let r = 0; r < rank; r++) {
    let [x, y] = [0, 0];
    for (let i = 0; i < k; i++) x += a[i * rank + r]! ** 2;
    for (let j = 0; j < n; j++) y += b[r * n + j]! ** 2;
    if (!(x > 0 && y > 0)) continue;
    const factor = (y / x) ** 0.25;
    for (let i = 0; i < k; i++) a[i * rank + r]! *= factor;
    scaleRow(b, r, n, 1 / factor);
  }
  return { rank, a, b };
}

function scaleRow(matrix: Float32Array, row: number, width: number, factor: number): void {
  for (let j = row * width; j < (row + 1) * width; j++) matrix[j]! *= factor;
}

/** [rows, columns] to [columns, rows]. */
export function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!;
  return out;
}
