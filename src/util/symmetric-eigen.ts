// Eigenvalues and eigenvectors of a symmetric matrix in double precision: Householder reduction to tridiagonal form, then QL with implicit shifts
// (Golub & Van Loan, Matrix Computations, 8.3). Vectors are kept as rows, so that every inner loop runs over neighbours in memory.
import { bugError } from '../errors.js';

export interface SymmetricEigen {
  readonly size: number;
  /** Largest first. */
  readonly values: Float64Array;
  /** Row i is the unit eigenvector of value i. */
  readonly vectors: Float64Array;
}

/** Rotations of one eigenvalue before it is given up; two or three are usual. */
const MAX_SWEEPS = 60;

/** `a` [size, size] is read in its lower half and not changed. */
export function symmetricEigen(a: ArrayLike<number>, size: number): SymmetricEigen {
  const { diagonal, off, basis } = tridiagonal(Float64Array.from(a), size);
  implicitQl(diagonal, off, basis, size);
  const order = Array.from({ length: size }, (_, i) => i).sort((i, j) => diagonal[j]! - diagonal[i]! || i - j);
  const vectors = new Float64Array(size * size);
  order.forEach((from, to) => {
    vectors.set(basis.subarray(from * size, (from + 1) * size), to * size);
  });
  return { size, values: Float64Array.from(order, (i) => diagonal[i]!), vectors };
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** off[i] couples i and i + 1. */
  readonly off: Float64Array;
  /** Q^T of A = Q T Q^T. */
  readonly basis: Float64Array;
}

/** Overwrites `a`. */
function tridiagonal(a: Float64Array, n: number): Tridiagonal {
  const diagonal = new Float64Array(n);
  const off = new Float64Array(n);
  const reflectors: Float64Array[] = [];
  const p = new Float64Array(n);
  for (let k = 0; k < n - 1; k++) {
    diagonal[k] = a[k * n + k]!;
    const v = new Float64Array(n);
    let scale = 0;
    for (let i = k + 1; i < n; i++) scale += Math.abs(a[i * n + k]!);
    reflectors.push(v);
    if (scale === 0) continue;
    let norm = 0;
    for (let i = k + 1; i < n; i++) {
      v[i] = a[i * n + k]! / scale;
      norm += v[i]! ** 2;
    }
    const head = v[k + 1]!;
    const length = head >= 0 ? -Math.sqrt(norm) : Math.sqrt(norm);
    off[k] = length * scale;
    // v / |v| * sqrt(2): H = I - v v^T.
    const half = norm - length * head;
    v[k + 1] = head - length;
    if (half <= 0) {
      v.fill(0);
      continue;
    }
    const unit = 1 / Math.sqrt(half);
    for (let i = k + 1; i < n; i++) v[i]! *= unit;
    reflect(a, v, p, k + 1, n);
  }
  diagonal[n - 1] = a[n * n - 1]!;
  return { diagonal, off, basis: accumulate(reflectors, n) };
}

/** A := H A H on the rows and columns from `from`, lower half only. */
function reflect(a: Float64Array, v: Float64Array, p: Float64Array, from: number, n: number): void {
  p.fill(0, from);
  for (let i = from; i < n; i++) {
    const row = i * n;
    const vi = v[i]!;
    let sum = 0;
    for (let j = from; j < i; j++) {
      const x = a[row + j]!;
      sum += x * v[j]!;
      p[j]! += x * vi;
    }
    p[i]! += sum + a[row + i]! * vi;
  }
  let dot = 0;
  for (let i = from; i < n; i++) dot += p[i]! * v[i]!;
  for (let i = from; i < n; i++) p[i]! -= (dot / 2) * v[i]!;
  for (let i = from; i < n; i++) {
    const row = i * n;
    const [vi, pi] = [v[i]!, p[i]!];
    for (let j = from; j <= i; j++) a[row + j]! -= vi * p[j]! + pi * v[j]!;
  }
}

function accumulate(reflectors: readonly Float64Array[], n: number): Float64Array {
  const q = new Float64Array(n * n);
  for (let i = 0; i < n; i++) q[i * n + i] = 1;
  for (let k = reflectors.length - 1; k >= 0; k--) {
    const v = reflectors[k]!;
    for (let r = k + 1; r < n; r++) {
      const row = r * n;
      let dot = 0;
      for (let j = k + 1; j < n; j++) dot += q[row + j]! * v[j]!;
      if (dot !== 0) for (let j = k + 1; j < n; j++) q[row + j]! -= dot * v[j]!;
    }
  }
  return q;
}

/** Diagonalises in place; rows of `z` become eigenvectors. */
function implicitQl(d: Float64Array, e: Float64Array, z: Float64Array, n: number): void {
  let largest = 0;
  for (let i = 0; i < n; i++) largest = Math.max(largest, Math.abs(d[i]!) + Math.abs(e[i]!));
  const least = largest * Number.EPSILON * 1e-3;
  for (let l = 0; l < n; l++) {
    for (let sweep = 0; ; sweep++) {
      let m = l;
      while (m < n - 1 && Math.abs(e[m]!) > Math.max(least, Number.EPSILON * (Math.abs(d[m]!) + Math.abs(d[m + 1]!)))) m++;
      if (m === l) break;
      if (sweep === MAX_SWEEPS) throw bugError(`eigenvalues of a matrix of ${n} rows: no convergence`);
      qlSweep(d, e, z, n, l, m);
    }
  }
}

function qlSweep(d: Float64Array, e: Float64Array, z: Float64Array, n: number, l: number, m: number): void {
  const turn = (d[l + 1]! - d[l]!) / (2 * e[l]!);
  const root = Math.hypot(turn, 1);
  let g = d[m]! - d[l]! + e[l]! / (turn + (turn >= 0 ? root : -root));
  let [s, c, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i]!;
    const b = c * e[i]!;
    const r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1]! -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1]! - p;
    const t = (d[i]! - g) * s + 2 * c * b;
    p = s * t;
    d[i + 1] = g + p;
    g = c * t - b;
    rotate(z, i * n, n, s, c);
  }
  d[l]! -= p;
  e[l] = g;
  e[m] = 0;
}

/** Turns the row at `at` and the one after it. */
function rotate(z: Float64Array, at: number, n: number, s: number, c: number): void {
  for (let k = at; k < at + n; k++) {
    const x = z[k]!;
    const y = z[k + n]!;
    z[k + n] = s * x + c * y;
    z[k] = c * x - s * y;
  }
}
