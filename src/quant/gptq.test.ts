import { describe, expect, it } from 'vitest';
import { nodeEngine } from '../node/engine.js';
import { Rng } from '../util/rng.js';
import { type RoundedMatrix, roundBySearch, roundToNearest } from './block-rounding.js';
import { DenseMath } from './dense-math.js';
import { type GptqOptions, roundWithHessian } from './gptq.js';
import { correctWeights, factorHessian } from './hessian.js';

const rng = new Rng(5);
const normals = (n: number) => Float32Array.from({ length: n }, () => rng.normal());

/** Rows of data whose channels depend on each other. */
function correlated(rows: number, k: number): Float32Array {
  const factors = normals(8 * k);
  const x = new Float32Array(rows * k);
  for (let r = 0; r < rows; r++) {
    const z = normals(8);
    for (let c = 0; c < k; c++) {
      let v = 0.3 * rng.normal();
      for (let f = 0; f < 8; f++) v += z[f]! * factors[f * k + c]!;
      x[r * k + c] = v;
    }
  }
  return x;
}

function gramOf(x: Float32Array, rows: number, k: number): Float64Array {
  const h = new Float64Array(k * k);
  for (let r = 0; r < rows; r++) for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) h[i * k + j]! += x[r * k + i]! * x[r * k + j]!;
  return h;
}

function outputError(h: Float64Array, w: Float32Array, v: Float32Array, k: number, n: number): number {
  let sum = 0;
  for (let c = 0; c < n; c++) {
    for (let i = 0; i < k; i++) {
      let e = 0;
      for (let j = 0; j < k; j++) e += h[i * k + j]! * (w[j * n + c]! - v[j * n + c]!);
      sum += e * (w[i * n + c]! - v[i * n + c]!);
    }
  }
  return sum;
}

const K = 96;
const N = 40;
const x = correlated(500, K);
const h = gramOf(x, 500, K);
const w = normals(K * N);

describe('DenseMath', () => {
  it('factors and solves across panels', async () => {
    const math = await DenseMath.open(await nodeEngine(), 1);
    const a = new Float32Array(K * K);
    for (let i = 0; i < K * K; i++) a[i] = h[i]! / 500 + (i % (K + 1) === 0 ? 0.5 : 0);
    const factor = (await math.cholesky(a, K))!;
    let worst = 0;
    for (let i = 0; i < K; i++) {
      for (let j = 0; j < K; j++) {
        let v = 0;
        for (let f = 0; f < K; f++) v += factor.upper[f * K + i]! * factor.upper[f * K + j]!;
        worst = Math.max(worst, Math.abs(v - a[i * K + j]!));
      }
    }
    expect(worst).toBeLessThan(1e-4);
    const b = normals(K * 3);
    const solved = await math.solve(factor, b, 3);
    const back = await math.product(a, solved, K, K, 3);
    expect(Math.max(...back.map((v, i) => Math.abs(v - b[i]!)))).toBeLessThan(1e-3);
    expect(await math.cholesky(Float32Array.of(1, 2, 2, 1), 2)).toBeNull();
    await math.release();
  });
});

describe('roundWithHessian', () => {
  const round = async (options: GptqOptions, weights = w): Promise<RoundedMatrix> => {
    const math = await DenseMath.open(await nodeEngine(), 1);
    const factored = await factorHessian(math, h, K, options);
    const rounded = await roundWithHessian(math, weights, K, N, h, factored, options);
    await math.release();
    return rounded;
  };

  it('leaves far less error in the output than rounding to nearest and than searched scales', async () => {
    for (const bits of [2, 3, 4] as const) {
      for (const zero of ['absmax', 'asymmetric', 'free'] as const) {
        const grid = { bits, zero, block: 32 };
        const nearest = outputError(h, w, roundToNearest(w, K, N, grid).values, K, N);
        const searched = outputError(h, w, roundBySearch(w, K, N, grid).values, K, N);
        const gptq = outputError(h, w, (await round({ ...grid, damping: 0.01, order: 'importance' })).values, K, N);
        expect(gptq).toBeLessThan(0.5 * nearest);
        expect(gptq).toBeLessThan(0.6 * searched);
      }
    }
  });

  it('descends further block by block', async () => {
    const options: GptqOptions = { bits: 2, zero: 'absmax', block: 32, damping: 0.01, order: 'importance' };
    const error = async (sweeps: number) => outputError(h, w, (await round({ ...options, sweeps })).values, K, N);
    expect(await error(3)).toBeLessThan(0.98 * (await error(0)));
  });

  it('does so with one scale per column, and with scales of two levels', async () => {
    const grid = { bits: 4, zero: 'middle', block: K } as const;
    const nearest = outputError(h, w, roundToNearest(w, K, N, grid).values, K, N);
    expect(outputError(h, w, (await round({ ...grid, damping: 0.01, order: 'importance' })).values, K, N)).toBeLessThan(0.5 * nearest);
    const two = await round({ bits: 4, zero: 'absmax', block: 32, twoLevel: true, damping: 0.01, order: 'importance' });
    two.scales.forEach((s, i) => {
      const multiple = s / two.steps!.scale[i % N]!;
      expect(Math.abs(multiple - Math.round(multiple))).toBeLessThan(1e-3);
    });
  });

  it('answers codes that stand for its values, the same at each run', async () => {
    const options: GptqOptions = { bits: 3, zero: 'asymmetric', block: 32, damping: 0.01, order: 'importance' };
    const first = await round(options);
    const again = await round(options);
    expect(again.codes).toEqual(first.codes);
    expect(again.scales).toEqual(first.scales);
    for (let r = 0; r < K; r++) {
      for (let c = 0; c < N; c++) {
        const at = Math.floor(r / 32) * N + c;
        const value = Math.fround((first.codes[r * N + c]! - first.zeros[at]!) * first.scales[at]!);
        expect(first.values[r * N + c]).toBe(value);
      }
    }
  });

  it('is plain rounding by search where the data is uncorrelated', async () => {
    const math = await DenseMath.open(await nodeEngine(), 1);
    const identity = Float64Array.from({ length: K * K }, (_, i) => (i % (K + 1) === 0 ? 1 : 0));
    const options: GptqOptions = { bits: 4, zero: 'absmax', block: 32, damping: 1e-6, order: 'given', sweeps: 0 };
    const factored = await factorHessian(math, identity, K, options);
    const rounded = await roundWithHessian(math, w, K, N, identity, factored, options);
    await math.release();
    expect(rounded.codes).toEqual(roundBySearch(w, K, N, options).codes);
  });
});

it('correctWeights solves the least squares it states', async () => {
  const math = await DenseMath.open(await nodeEngine(), 1);
  const wanted = normals(K * N);
  // X^T T for T = X wanted: the correction is `wanted` itself, up to damping.
  const cross = await math.product(Float32Array.from(h), wanted, K, K, N);
  const factored = await factorHessian(math, h, K, { damping: 1e-5, order: 'importance', block: 32 });
  const moved = await correctWeights(math, factored, h, w, cross, K, N);
  await math.release();
  const difference = moved.map((v, i) => v - w[i]! - wanted[i]!);
  expect(Math.sqrt(difference.reduce((a, b) => a + b * b, 0) / difference.length)).toBeLessThan(0.05);
});
