// The last of several linear stages by least squares: W [k, n] is approximated by D B with D [k, m] fixed, B = (D^T H D)^-1 D^T H W. Whatever the
// stages before are, the result is then the best there is for them on the data.
import type { DenseMath } from '../../quant/dense-math.js';
import { dampedFactor, transposed } from './weighted-svd.js';

export interface Refit {
  /** [m, n]. */
  readonly b: Float32Array;
  /** D^T H D [m, m]. */
  readonly gram: Float32Array;
  /** Power of the output that D B does not have, as a share. */
  readonly lost: number;
}

/** Added to the diagonal of the normal equations, as a share of its mean. */
const RIDGE = 1e-6;

/** `h` [k, k], or null for the identity. */
export async function refitLast(
  math: DenseMath,
  h: Float32Array | null,
  design: Float32Array,
  weight: Float32Array,
  k: number,
  m: number,
  n: number,
): Promise<Refit> {
  const dt = transposed(design, k, m);
  const left = h ? await math.product(dt, h, m, k, k) : dt;
  const gram = await math.product(left, design, m, k, m);
  const cross = await math.product(left, weight, m, k, n);
  let mean = 0;
  for (let i = 0; i < m; i++) mean += gram[i * m + i]! / m;
  const factor = await dampedFactor(math, gram, m, RIDGE);
  const b = await math.solve(
    factor,
    cross.map((v) => v / (mean || 1)),
    n,
  );
  const all = h ? await math.product(h, weight, k, k, n) : weight;
  let [power, explained] = [0, 0];
  for (let i = 0; i < weight.length; i++) power += all[i]! * weight[i]!;
  // 2 <B, C> - <B, G B>: with the ridge B is not quite the optimum.
  const gb = await math.product(gram, b, m, m, n);
  for (let i = 0; i < b.length; i++) explained += b[i]! * (2 * cross[i]! - gb[i]!);
  return { b, gram, lost: power > 0 ? Math.min(1, Math.max(0, 1 - explained / power)) : 0 };
}
