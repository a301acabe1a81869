import { describe, expect, it } from 'vitest';
import { Rng } from '../util/rng.js';
import { quantizationError } from './affine.js';
import { Distribution, gridOf, leastDivergenceRange, leastSquaresRange } from './clipping.js';
import { Histogram } from './histogram.js';
import { OBSERVERS } from './observers.js';
import { emptyStatistics, mergeCalibrations, observe, type Statistics, statisticsFromJson, statisticsToJson } from './statistics.js';

const UINT8 = { dtype: 'uint8', symmetry: 'asymmetric' } as const;

function sample(n: number, seed: number, make: (rng: Rng) => number): Float32Array {
  const rng = new Rng(seed);
  return Float32Array.from({ length: n }, () => make(rng));
}

const extremes = (x: Float32Array): [number, number] => [x.reduce((a, b) => Math.min(a, b)), x.reduce((a, b) => Math.max(a, b))];

function histogramOf(...parts: Float32Array[]): Histogram {
  const h = new Histogram();
  for (const p of parts) h.add(p, ...extremes(p));
  return h;
}

describe('Histogram', () => {
  const parts = [0.001, 3, 0.2, 700].map((scale, i) => sample(500, i + 1, (r) => r.normal() * scale));

  it('is the same whatever the order of the data, and whether shards were counted apart', () => {
    const whole = histogramOf(...parts).toJSON();
    expect(histogramOf(...[...parts].reverse()).toJSON()).toEqual(whole);
    const a = histogramOf(parts[0]!, parts[1]!);
    const b = histogramOf(parts[2]!, parts[3]!);
    const ab = Histogram.fromJSON(a.toJSON());
    ab.merge(b);
    b.merge(a);
    expect(ab.toJSON()).toEqual(whole);
    expect(b.toJSON()).toEqual(whole);
  });

  it('counts every value once, in the bin it lies in, zeros apart', () => {
    const data = Float32Array.from([0, -0, 1, -1, 0.5, 1e-30, -1e-30, 3.999]);
    const h = histogramOf(data);
    const { centres, counts } = h.bins();
    expect(h.zeros).toBe(2);
    expect(counts.reduce((a, b) => a + b)).toBe(6);
    for (const x of data) if (x !== 0) expect(Math.min(...centres.map((c) => Math.abs(c - x)))).toBeLessThanOrEqual(h.width / 2);
  });

  it('keeps a resolution of at least 2,048 bins between zero and the largest value', () => {
    for (const largest of [1e-20, 0.9, 1, 1.1, 1e20])
      expect(largest / histogramOf(Float32Array.of(largest)).width).toBeGreaterThanOrEqual(2048 - 1e-6);
  });
});

describe('statistics', () => {
  it('of shards, through JSON, join to those of all data', () => {
    const batches = [1, 5, 2].map((scale, i) => sample(300, i + 20, (r) => Math.max(0, r.normal() * scale)));
    const collect = (list: readonly Float32Array[]): Statistics => {
      const s = emptyStatistics();
      for (const b of list) observe(s, ...extremes(b), b);
      return new Map([['x', s]]);
    };
    const through = (s: Statistics) => statisticsFromJson(JSON.parse(JSON.stringify(statisticsToJson(s))));
    const joined = mergeCalibrations(through(collect(batches.slice(0, 1))), through(collect(batches.slice(1))));
    expect(statisticsToJson(joined)).toEqual(statisticsToJson(collect(batches)));
  });

  it('passes over batches that are not finite', () => {
    const s = emptyStatistics();
    observe(s, -1, Number.POSITIVE_INFINITY, Float32Array.of(-1, Number.POSITIVE_INFINITY));
    observe(s, -2, 1, Float32Array.of(-2, 1));
    expect(s).toMatchObject({ min: -2, max: 1, batches: 1, nonFinite: 1 });
  });
});

describe('clipping', () => {
  /** Squared error per value of a range, element by element. */
  function error(x: Float32Array, range: { min: number; max: number }): number {
    const { lo, hi, scale } = gridOf(range, UINT8);
    return quantizationError(
      x,
      x.map((v) => Math.min(hi, Math.max(lo, Math.round(v / scale) * scale))),
    ).mse;
  }

  it('knows the squared error of a range from the histogram', () => {
    const x = sample(20_000, 3, (r) => r.normal());
    const d = new Distribution(histogramOf(x));
    for (const range of [
      { min: -3, max: 3 },
      { min: -1.2, max: 2.5 },
      { min: -4, max: 4 },
    ]) {
      const { lo, hi, scale } = gridOf(range, UINT8);
      expect(d.squaredError(lo, hi, scale) / x.length / error(x, range)).toBeCloseTo(1, 1);
    }
  });

  it('finds a range with less error than min-max on heavy tails, and keeps nearly all of bounded data', () => {
    const tails = sample(20_000, 4, (r) => r.normal() ** 5);
    const best = leastSquaresRange({ min: extremes(tails)[0], max: extremes(tails)[1] }, histogramOf(tails), UINT8);
    const full = { min: extremes(tails)[0], max: extremes(tails)[1] };
    expect(error(tails, best)).toBeLessThanOrEqual(error(tails, full));
    const outlier = sample(50_000, 6, (r) => r.normal());
    outlier[7] = 40;
    const cut = leastSquaresRange({ min: extremes(outlier)[0], max: 40 }, histogramOf(outlier), UINT8);
    // By hand: the derivative of (40 - c)^2 + 50,000 ((c + 4) / 255)^2 / 12 vanishes at 37.4.
    expect(cut.max).toBeCloseTo(37.4, 0);
    expect(error(outlier, cut)).toBeLessThan(error(outlier, { min: extremes(outlier)[0], max: 40 }));
    const flat = sample(20_000, 5, (r) => r.uniform());
    expect(leastSquaresRange({ min: 0, max: 1 }, histogramOf(flat), UINT8).max).toBeGreaterThan(0.97);
  });

  it('entropy clips a far outlier and leaves a Gaussian nearly whole', () => {
    const x = sample(50_000, 6, (r) => Math.abs(r.normal()));
    const whole = leastDivergenceRange({ min: 0, max: extremes(x)[1] }, histogramOf(x), UINT8);
    expect(whole.max).toBeGreaterThan(2.5);
    x[7] = 60;
    const cut = leastDivergenceRange({ min: 0, max: 60 }, histogramOf(x), UINT8);
    expect(cut.max).toBeLessThan(30);
  });

  it('percentile keeps the asked share inside; the average of extremes tames one odd batch', () => {
    const s = emptyStatistics();
    for (let i = 0; i < 10; i++) {
      const x = sample(10_000, i + 40, (r) => r.normal());
      if (i === 5) x[0] = 100;
      observe(s, ...extremes(x), x);
    }
    const options = { scheme: UINT8, percentile: 99 };
    const { min, max } = OBSERVERS.percentile.range(s, options);
    expect(min).toBeCloseTo(-2.576, 1);
    expect(max).toBeCloseTo(2.576, 1);
    expect(OBSERVERS['moving-average'].range(s, options).max).toBeLessThan(20);
    expect(OBSERVERS.minmax.range(s, options).max).toBe(100);
  });
});
