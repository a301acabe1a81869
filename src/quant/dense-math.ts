// Dense linear algebra for reconstruction: products, Cholesky factors and triangular solves. Every inner product of panels runs in the engine
// (one MatMul session of open shape); only the small diagonal blocks are done here. All matrices are float32, row-major.
// Blocked left-looking Cholesky and substitution: Golub & Van Loan, Matrix Computations, 4.2.
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import type { Engine, Session } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';

/** Columns of a panel: the scalar part of a factorization takes k^2 * PANEL / 2 multiplications. */
const PANEL = 64;

/** A symmetric positive definite matrix A = L L^T, kept as L^T so that finished columns of L lie together. */
export interface CholeskyFactor {
  readonly size: number;
  /** Row f holds column f of L: `upper[f * size + i]` = L[i][f], 0 for i < f. */
  readonly upper: Float32Array;
}

export class DenseMath {
  readonly #session: Session;

  private constructor(session: Session) {
    this.#session = session;
  }

  static async open(engine: Engine, threads?: number): Promise<DenseMath> {
    const model = buildModel('product', (b) => {
      const x = b.input('a', 'float', ['m', 'k']);
      const y = b.input('b', 'float', ['k', 'n']);
      b.output(b.op('MatMul', [x, y]), 'y');
    });
    return new DenseMath(await openSession(engine, model, { threads }));
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** a [m, k] times b [k, n]. */
  async product(a: Float32Array, b: Float32Array, m: number, k: number, n: number): Promise<Float32Array> {
    const results = await this.#session.run({ a: Tensor.of('float', [m, k], a), b: Tensor.of('float', [k, n], b) });
    return results.y!.floats();
  }

  /** Factors `a` [size, size]; null where it is not positive definite. */
  async cholesky(a: Float32Array, size: number): Promise<CholeskyFactor | null> {
    const upper = new Float32Array(size * size);
    for (let from = 0; from < size; from += PANEL) {
      const width = Math.min(PANEL, size - from);
      // Rows from..from+width of A, to the right of the diagonal, less what earlier columns explain.
      const panel = a.slice(from * size, (from + width) * size);
      if (from > 0) {
        const left = new Float32Array(width * from);
        for (let f = 0; f < from; f++) for (let r = 0; r < width; r++) left[r * from + f] = upper[f * size + from + r]!;
        subtract(panel, await this.product(left, upper.subarray(0, from * size), width, from, size));
      }
      if (!factorPanel(panel, upper, from, width, size)) return null;
    }
    return { size, upper };
  }

  /** Solves L L^T x = b for all columns of b [size, columns]. */
  async solve(factor: CholeskyFactor, b: Float32Array, columns: number): Promise<Float32Array> {
    const { size, upper } = factor;
    const x = b.slice();
    for (let from = 0; from < size; from += PANEL) {
      const width = Math.min(PANEL, size - from);
      const rows = x.subarray(from * columns, (from + width) * columns);
      if (from > 0) {
        const left = new Float32Array(width * from);
        for (let f = 0; f < from; f++) for (let r = 0; r < width; r++) left[r * from + f] = upper[f * size + from + r]!;
        subtract(rows, await this.product(left, x.subarray(0, from * columns), width, from, columns));
      }
      for (let r = 0; r < width; r++) {
        for (let f = 0; f < r; f++) axpy(rows, r * columns, -upper[(from + f) * size + from + r]!, rows, f * columns, columns);
        scaleRow(rows, r * columns, columns, 1 / upper[(from + r) * size + from + r]!);
      }
    }
    const last = Math.floor((size - 1) / PANEL) * PANEL;
    for (let from = last; from >= 0; from -= PANEL) {
      const width = Math.min(PANEL, size - from);
      const rows = x.subarray(from * columns, (from + width) * columns);
      const to = from + width;
      if (to < size) {
        const right = new Float32Array(width * (size - to));
        for (let r = 0; r < width; r++) right.set(upper.subarray((from + r) * size + to, (from + r + 1) * size), r * (size - to));
        subtract(rows, await this.product(right, x.subarray(to * columns), width, size - to, columns));
      }
      for (let r = width - 1; r >= 0; r--) {
        for (let i = r + 1; i < width; i++) axpy(rows, r * columns, -upper[(from + r) * size + from + i]!, rows, i * columns, columns);
        scaleRow(rows, r * columns, columns, 1 / upper[(from + r) * size + from + r]!);
      }
    }
    return x;
  }
}

/** Factors the diagonal block of a panel in double precision and divides the rest of the panel by it. */
function factorPanel(panel: Float32Array, upper: Float32Array, from: number, width: number, size: number): boolean {
  const row = new Float64Array(size);
  for (let r = 0; r < width; r++) {
    for (let i = from + r; i < size; i++) row[i] = panel[r * size + i]!;
    for (let f = 0; f < r; f++) {
      const at = (from + f) * size;
      const factor = upper[at + from + r]!;
      if (factor === 0) continue;
      for (let i = from + r; i < size; i++) row[i]! -= factor * upper[at + i]!;
    }
    const pivot = row[from + r]!;
    if (!(pivot > 0) || !Number.isFinite(pivot)) return false;
    const inverse = 1 / Math.sqrt(pivot);
    const at = (from + r) * size;
    for (let i = from + r; i < size; i++) upper[at + i] = row[i]! * inverse;
  }
  return true;
}

function subtract(target: Float32Array, other: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i]! -= other[i]!;
}

function axpy(target: Float32Array, at: number, factor: number, source: Float32Array, from: number, length: number): void {
  for (let i = 0; i < length; i++) target[at + i]! += factor * source[from + i]!;
}

function scaleRow(target: Float32Array, at: number, length: number, factor: number): void {
  for (let i = 0; i < length; i++) target[at + i]! *= factor;
}
