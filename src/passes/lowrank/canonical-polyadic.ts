// A tensor [I, J, K] as a sum of R outer products of three vectors, by alternating least squares with a little regularization (Carroll and Chang 1970;
// Kolda and Bader 2009, 3.4). The start is drawn from a seeded generator. A local optimum: no claim that it is the best one.
import { Rng } from '../../util/rng.js';

export interface Polyadic {
  /** [I, rank], columns of unit length. */
  readonly u: Float32Array;
  /** [J, rank], columns of unit length. */
  readonly s: Float32Array;
  /** [K, rank]. */
  readonly v: Float32Array;
}

const SWEEPS = 25;
const RIDGE = 1e-4;

export function canonicalPolyadic(data: ArrayLike<number>, dims: readonly [number, number, number], rank: number, seed = 1): Polyadic {
  const rng = new Rng(seed);
  const factors: Float64Array[] = dims.map((d) => Float64Array.from({ length: d * rank }, () => rng.normal()));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const mode of [0, 1, 2]) {
      const right = contract(data, dims, factors, mode, rank);
      const gram = new Float64Array(rank * rank).fill(1);
      factors.forEach((f, other) => {
        if (other !== mode) multiplyByGram(gram, f, dims[other]!, rank);
      });
      solveRows(gram, right, dims[mode]!, rank);
      if (mode !== 2) normalizeColumns(right, dims[mode]!, rank);
      factors[mode] = right;
    }
  }
  const [u, s, v] = factors.map((f) => Float32Array.from(f));
  return { u: u!, s: s!, v: v! };
}

/** The data times the other two factors: [dims[mode], rank]. */
function contract(
  data: ArrayLike<number>,
  dims: readonly [number, number, number],
  factors: readonly Float64Array[],
  mode: number,
  rank: number,
): Float64Array {
  const [I, J, K] = dims;
  const [u, s, v] = factors as [Float64Array, Float64Array, Float64Array];
  const out = new Float64Array(dims[mode]! * rank);
  const inner = new Float64Array(rank);
  for (let i = 0; i < I; i++) {
    for (let j = 0; j < J; j++) {
      const at = (i * J + j) * K;
      if (mode === 2) {
        for (let r = 0; r < rank; r++) inner[r] = u[i * rank + r]! * s[j * rank + r]!;
        for (let c = 0; c < K; c++) {
          const x = data[at + c]!;
          for (let r = 0; r < rank; r++) out[c * rank + r]! += x * inner[r]!;
        }
        continue;
      }
      inner.fill(0);
      for (let c = 0; c < K; c++) {
        const x = data[at + c]!;
        for (let r = 0; r < rank; r++) inner[r]! += x * v[c * rank + r]!;
      }
      const [to, other, from] = mode === 0 ? [i, s, j] : [j, u, i];
      for (let r = 0; r < rank; r++) out[to * rank + r]! += inner[r]! * other[from * rank + r]!;
    }
  }
  return out;
}

function multiplyByGram(gram: Float64Array, factor: Float64Array, rows: number, rank: number): void {
  for (let a = 0; a < rank; a++) {
    for (let b = 0; b < rank; b++) {
      let sum = 0;
      for (let i = 0; i < rows; i++) sum += factor[i * rank + a]! * factor[i * rank + b]!;
      gram[a * rank + b]! *= sum;
    }
  }
}

/** Overwrites each row x of `right` by (gram + ridge)^-1 x, by Cholesky. */
function solveRows(gram: Float64Array, right: Float64Array, rows: number, rank: number): void {
  let trace = 0;
  for (let r = 0; r < rank; r++) trace += gram[r * rank + r]!;
  const l = gram.slice();
  for (let r = 0; r < rank; r++) l[r * rank + r]! += (RIDGE * trace) / rank + Number.MIN_VALUE;
  for (let j = 0; j < rank; j++) {
    for (let c = 0; c < j; c++) l[j * rank + j]! -= l[j * rank + c]! ** 2;
    l[j * rank + j] = Math.sqrt(Math.max(l[j * rank + j]!, 1e-300));
    for (let i = j + 1; i < rank; i++) {
      let x = l[i * rank + j]!;
      for (let c = 0; c < j; c++) x -= l[i * rank + c]! * l[j * rank + c]!;
      l[i * rank + j] = x / l[j * rank + j]!;
    }
  }
  for (let row = 0; row < rows; row++) {
    const at = row * rank;
    for (let j = 0; j < rank; j++) {
      let x = right[at + j]!;
      for (let c = 0; c < j; c++) x -= l[j * rank + c]! * right[at + c]!;
      right[at + j] = x / l[j * rank + j]!;
    }
    for (let j = rank - 1; j >= 0; j--) {
      let x = right[at + j]!;
      for (let c = j + 1; c < rank; c++) x -= l[c * rank + j]! * right[at + c]!;
      right[at + j] = x / l[j * rank + j]!;
    }
  }
}

function normalizeColumns(factor: Float64Array, rows: number, rank: number): void {
  for (let r = 0; r < rank; r++) {
    let norm = 0;
    for (let i = 0; i < rows; i++) norm += factor[i * rank + r]! ** 2;
    const scale = norm > 0 ? 1 / Math.sqrt(norm) : 0;
    for (let i = 0; i < rows; i++) factor[i * rank + r]! *= scale;
  }
}
