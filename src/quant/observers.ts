// From statistics of an activation to the range that its scale covers. One scale serves the tensor; ranges that are known without measuring (Sigmoid,
// Softmax, the zero below ReLU) are no business of an observer.
import { Distribution, gridOf, leastDivergenceRange, leastSquaresRange } from './clipping.js';
import type { Scheme } from './scheme.js';
import type { ValueStatistics } from './statistics.js';

export interface Range {
  readonly min: number;
  readonly max: number;
}

export interface ObserverOptions {
  /** The grid that the range is chosen for. */
  readonly scheme: Omit<Scheme, 'granularity'>;
  /** Per cent of values that the percentile observer keeps inside. */
  readonly percentile: number;
}

/** A rule that chooses a range. */
export interface Observer {
  readonly name: string;
  readonly summary: string;
  /** Which statistics must be collected for it: extremes, or a histogram as well. */
  readonly needs: 'range' | 'histogram';
  range(statistics: ValueStatistics, options: ObserverOptions): Range;
}

/** The whole range seen. */
export const MIN_MAX: Observer = {
  name: 'minmax',
  summary: 'smallest and largest value seen',
  needs: 'range',
  range: (s) => (s.max < s.min ? { min: 0, max: 0 } : { min: s.min, max: s.max }),
};

/** Mean of the batches' extremes: one odd batch counts little. Unlike an exponential average it does not depend on the order of batches, so shards merge. */
const MOVING_AVERAGE: Observer = {
  name: 'moving-average',
  summary: 'extremes of each batch, averaged',
  needs: 'range',
  range: (s) => (s.batches === 0 ? { min: 0, max: 0 } : { min: s.sumMin / s.batches, max: s.sumMax / s.batches }),
};

/** Keeps a fraction of the values inside, as many cut off below as above. */
const PERCENTILE: Observer = {
  name: 'percentile',
  summary: 'range that holds a given share of the values',
  needs: 'histogram',
  range(s, { percentile }) {
    if (!s.histogram) return MIN_MAX.range(s, NEVER);
    const d = new Distribution(s.histogram);
    const cut = (100 - percentile) / 200;
    return { min: s.min < 0 ? d.quantile(cut, s.min, s.max) : s.min, max: s.max > 0 ? d.quantile(1 - cut, s.min, s.max) : s.max };
  },
};

const ENTROPY: Observer = {
  name: 'entropy',
  summary: 'range whose quantized distribution has the least Kullback-Leibler divergence',
  needs: 'histogram',
  range: (s, { scheme }) => (s.histogram ? leastDivergenceRange(MIN_MAX.range(s, NEVER), s.histogram, scheme) : MIN_MAX.range(s, NEVER)),
};

const MSE: Observer = {
  name: 'mse',
  summary: 'range with the least expected squared error',
  needs: 'histogram',
  range: (s, { scheme }) => (s.histogram ? leastSquaresRange(MIN_MAX.range(s, NEVER), s.histogram, scheme) : MIN_MAX.range(s, NEVER)),
};

/** Min-max looks at no options. */
const NEVER: ObserverOptions = { scheme: { dtype: 'uint8', symmetry: 'asymmetric' }, percentile: 100 };

/** Shares that the automatic choice tries as percentiles. */
const TRIED_PERCENTILES = [99.9, 99.99, 99.999];

/**
 * The candidate with the least expected error of this tensor, in the square and in the fourth power together: the square alone is what `mse` has the least of,
 * the fourth power weighs the few large errors of values that are cut off.
 */
const AUTO: Observer = {
  name: 'auto',
  summary: 'for each tensor, the range of these with the least expected error',
  needs: 'histogram',
  range(s, options) {
    const full = MIN_MAX.range(s, NEVER);
    if (!s.histogram) return full;
    const d = new Distribution(s.histogram);
    const candidates = [
      full,
      MOVING_AVERAGE.range(s, options),
      ...TRIED_PERCENTILES.map((percentile) => PERCENTILE.range(s, { ...options, percentile })),
      MSE.range(s, options),
      ENTROPY.range(s, options),
    ];
    const errors = candidates.map((range) => {
      const { lo, hi, scale } = gridOf(range, options.scheme);
      return [d.squaredError(lo, hi, scale), d.fourthPowerError(lo, hi, scale)] as const;
    });
    // Relative to the best of each count, so that neither unit decides.
    const least = [0, 1].map((k) => Math.max(Number.MIN_VALUE, Math.min(...errors.map((e) => e[k as 0 | 1]))));
    let best = 0;
    const cost = errors.map(([two, four]) => two / least[0]! + Math.sqrt(four / least[1]!));
    for (let i = 1; i < cost.length; i++) if (cost[i]! < cost[best]!) best = i;
    return candidates[best]!;
  },
};

export const OBSERVERS = {
  minmax: MIN_MAX,
  'moving-average': MOVING_AVERAGE,
  percentile: PERCENTILE,
  entropy: ENTROPY,
  mse: MSE,
  auto: AUTO,
} as const satisfies Record<string, Observer>;

export type ObserverName = keyof typeof OBSERVERS;
export const OBSERVER_NAMES = Object.keys(OBSERVERS) as [ObserverName, ...ObserverName[]];
