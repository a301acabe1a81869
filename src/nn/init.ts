// Initial values of parameters. Kaiming: He et al. 2015; Xavier: Glorot and Bengio 2010; orthogonal: Saxe et al. 2014.
// Every parameter draws from a generator of its own, made from the seed and the parameter's name, so that adding a layer shifts no other.
import { elementCount } from '../ir/tensor.js';
import type { Rng } from '../util/rng.js';

/** Numbers of inputs and outputs that one unit of the layer sums over or feeds: for a convolution times the size of its kernel. */
export interface Fans {
  readonly fanIn: number;
  readonly fanOut: number;
}

/** Fills a parameter of these dimensions. */
export type Initializer = (dims: readonly number[], fans: Fans, rng: Rng) => Float32Array;

/** Factor by which weights before a rectifier grow, so that the second moment stays: it halves it. */
export const RELU_GAIN = Math.SQRT2;

export interface ScalingOptions {
  /** Standard deviation is gain / sqrt(fan); default sqrt(2) for Kaiming (a rectifier follows), 1 for Xavier. */
  readonly gain?: number;
  readonly distribution?: 'normal' | 'uniform';
}

function draw(dims: readonly number[], next: () => number): Float32Array {
  const values = new Float32Array(elementCount(dims));
  for (let i = 0; i < values.length; i++) values[i] = next();
  return values;
}

export function constantOf(value: number): Initializer {
  return (dims) => new Float32Array(elementCount(dims)).fill(value);
}

export const zeros: Initializer = constantOf(0);
export const ones: Initializer = constantOf(1);

export function uniform(limit: number): Initializer {
  return (dims, _, rng) => draw(dims, () => (2 * rng.uniform() - 1) * limit);
}

/** Standard normal deviates by Box and Muller's method, both of each pair: millions are drawn. */
function normals(rng: Rng): () => number {
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const z = spare;
      spare = undefined;
      return z;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - rng.uniform()));
    const angle = 2 * Math.PI * rng.uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

export function normal(std: number): Initializer {
  return (dims, _, rng) => {
    const next = normals(rng);
    return draw(dims, () => next() * std);
  };
}

/** Normal with values beyond two deviations drawn again; `std` is that of the normal before cutting, as in BERT (the result's is 0.88 of it). */
export function truncatedNormal(std: number): Initializer {
  return (dims, _, rng) => {
    const next = normals(rng);
    return draw(dims, () => {
      for (;;) {
        const z = next();
        if (Math.abs(z) <= 2) return z * std;
      }
    });
  };
}

function scaled(std: number, distribution: 'normal' | 'uniform'): Initializer {
  return distribution === 'normal' ? normal(std) : uniform(std * Math.sqrt(3));
}

/** Deviation gain / sqrt(fan). `mode: 'in'` keeps the activations' variance on the way forward, `'out'` the gradients' on the way back. */
export function kaiming({
  mode = 'in',
  gain = RELU_GAIN,
  distribution = 'normal',
}: ScalingOptions & { readonly mode?: 'in' | 'out' } = {}): Initializer {
  return (dims, fans, rng) => scaled(gain / Math.sqrt(mode === 'in' ? fans.fanIn : fans.fanOut), distribution)(dims, fans, rng);
}

/** Deviation gain * sqrt(2 / (fanIn + fanOut)): between the two ways of Kaiming, for layers without a rectifier. */
export function xavier({ gain = 1, distribution = 'uniform' }: ScalingOptions = {}): Initializer {
  return (dims, fans, rng) => scaled(gain * Math.sqrt(2 / (fans.fanIn + fans.fanOut)), distribution)(dims, fans, rng);
}

/**
 * Orthonormal rows (columns where there are more rows than columns) of the last two dimensions, each leading index on its own: Gram-Schmidt,
 * done twice against rounding, on normal draws.
 */
export function orthogonal(gain = 1): Initializer {
  return (dims, _, rng) => {
    const rows = dims.at(-2) ?? 1;
    const columns = dims.at(-1) ?? 1;
    const values = new Float32Array(elementCount(dims));
    for (let start = 0; start < values.length; start += rows * columns) {
      const [count, length] = rows <= columns ? [rows, columns] : [columns, rows];
      const basis = orthonormal(count, length, rng);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) values[start + i * columns + j] = gain * (rows <= columns ? basis[i]![j]! : basis[j]![i]!);
    }
    return values;
  };
}

function orthonormal(count: number, length: number, rng: Rng): Float64Array[] {
  const basis: Float64Array[] = [];
  while (basis.length < count) {
    const v = Float64Array.from({ length }, () => rng.normal());
    for (let pass = 0; pass < 2; pass++) {
      for (const u of basis) {
        const along = dot(u, v);
        for (let i = 0; i < length; i++) v[i] = v[i]! - along * u[i]!;
      }
    }
    const size = Math.sqrt(dot(v, v));
    // A draw that the others span already is drawn again.
    if (size > 1e-6) basis.push(v.map((x) => x / size));
  }
  return basis;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
