// H = X^T X of a layer's data, factored for decisions about one weight after another (rounding: GPTQ; removal: SparseGPT), and for moving weights.
// With H = (U + I) D (U + I)^T, U strictly upper triangular in the order of the decisions, the optimum of weight c once earlier weights w_j have become v_j
// is w_c + sum_{j<c} (w_j - v_j) U_jc, and every departure from it costs D_c times its square (Chee et al. 2023, QuIP). D and U come from a Cholesky
// factor of H in reverse order.
import type { BlockMetric } from './block-rounding.js';
import type { CholeskyFactor, DenseMath } from './dense-math.js';

/** Order in which weights are rounded. `importance`: blocks, and weights within a block, by descending diagonal of H (the paper's act-order). */
export type RoundingOrder = 'importance' | 'given';

export interface HessianOptions {
  /** Added to the diagonal of H, as a fraction of its mean. */
  readonly damping: number;
  /** Or the rows themselves, each once. */
  readonly order: RoundingOrder | Int32Array;
  /** Rows that stay together. */
  readonly block: number;
}

/** H = X^T X factored for decisions in an order. */
export interface FactoredHessian {
  readonly order: Int32Array;
  readonly factor: CholeskyFactor;
  /** What was added to the diagonal. */
  readonly damping: number;
}

/** Factors H [k, k]; damping is raised tenfold until the factor exists. Inputs that are always zero count as if of mean size. */
export async function factorHessian(math: DenseMath, h: ArrayLike<number>, k: number, options: HessianOptions): Promise<FactoredHessian> {
  let mean = 0;
  for (let i = 0; i < k; i++) mean += h[i * k + i]! / k;
  if (!(mean > 0) || !Number.isFinite(mean)) mean = 1;
  const order = typeof options.order === 'string' ? roundingOrder(h, k, options.order, options.block) : options.order;
  for (let damping = options.damping * mean; ; damping = Math.max(damping * 10, 1e-6 * mean)) {
    const flipped = new Float32Array(k * k);
    for (let i = 0; i < k; i++) {
      const row = order[k - 1 - i]! * k;
      for (let j = 0; j < k; j++) flipped[i * k + j] = h[row + order[k - 1 - j]!]! / mean;
      flipped[i * k + i]! += (h[row + order[k - 1 - i]!] === 0 ? mean : damping) / mean;
    }
    const factor = await math.cholesky(flipped, k);
    if (factor) return { order, factor, damping };
  }
}

function roundingOrder(h: ArrayLike<number>, k: number, order: RoundingOrder, block: number): Int32Array {
  const rows = Int32Array.from({ length: k }, (_, i) => i);
  if (order === 'given') return rows;
  const size = (i: number) => h[i * k + i]!;
  const blocks = Array.from({ length: Math.ceil(k / block) }, (_, b) => {
    const members = [...rows.subarray(b * block, Math.min(k, (b + 1) * block))].sort((a, c) => size(c) - size(a) || a - c);
    return { members, total: members.reduce((sum, i) => sum + size(i), 0) / members.length };
  });
  // A short last block stays last, so that blocks stay aligned in the order of rounding too.
  const short = k % block === 0 ? undefined : blocks.pop();
  blocks.sort((a, b) => b.total - a.total || a.members[0]! - b.members[0]!);
  if (short) blocks.push(short);
  return Int32Array.from(blocks.flatMap((b) => b.members));
}

/** Moves the weights to the optimum of ||T + W X - W' X||^2 for C = X^T T [k, n]: W' = W + (H + damping)^-1 C, both [k, n]. */
export async function correctWeights(
  math: DenseMath,
  hessian: FactoredHessian,
  h: ArrayLike<number>,
  weights: Float32Array,
  cross: ArrayLike<number>,
  k: number,
  n: number,
): Promise<Float32Array> {
  let mean = 0;
  for (let i = 0; i < k; i++) mean += h[i * k + i]! / k;
  if (!(mean > 0)) return weights;
  const right = new Float32Array(k * n);
  for (let i = 0; i < k; i++) {
    const from = hessian.order[k - 1 - i]! * n;
    for (let c = 0; c < n; c++) right[i * n + c] = cross[from + c]! / mean;
  }
  const x = await math.solve(hessian.factor, right, n);
  const out = weights.slice();
  for (let i = 0; i < k; i++) {
    const to = hessian.order[k - 1 - i]! * n;
    for (let c = 0; c < n; c++) out[to + c]! += x[i * n + c]!;
  }
  return out;
}

/** Feedback and weights inside the rows from..from+size of the order. */
export function panelMetric({ upper, size: k }: CholeskyFactor, from: number, size: number): BlockMetric {
  const feedback = new Float64Array(size * size);
  const weight = new Float64Array(size);
  for (let c = 0; c < size; c++) {
    const f = k - 1 - (from + c);
    const pivot = upper[f * k + f]!;
    weight[c] = pivot * pivot;
    for (let j = 0; j < c; j++) feedback[c * size + j] = upper[f * k + (k - 1 - (from + j))]! / pivot;
  }
  return { size, feedback, stride: size, weight };
}

/** Weights of the rows from..from+size of the order, moved by the errors of all earlier rows. */
export async function panelTargets(
  math: DenseMath,
  weights: Float32Array,
  errors: Float32Array,
  order: Int32Array,
  { upper, size: k }: CholeskyFactor,
  from: number,
  size: number,
  n: number,
): Promise<Float32Array> {
  const targets = new Float32Array(size * n);
  for (let r = 0; r < size; r++) targets.set(weights.subarray(order[from + r]! * n, (order[from + r]! + 1) * n), r * n);
  if (from === 0) return targets;
  const feedback = new Float32Array(size * from);
  for (let r = 0; r < size; r++) {
    const f = k - 1 - (from + r);
    const pivot = upper[f * k + f]!;
    for (let j = 0; j < from; j++) feedback[r * from + j] = upper[f * k + (k - 1 - j)]! / pivot;
  }
  const moved = await math.product(feedback, errors.subarray(0, from * n), size, from, n);
  for (let i = 0; i < targets.length; i++) targets[i]! += moved[i]!;
  return targets;
}
