// From statistics of an activation to the range that its scale covers. Statistics stream and merge: shards can be calibrated apart and joined.
// Min-max is here; observers that need the distribution take the same statistics with a histogram in them.

/** What was seen of one value; grows with every batch, never with their number. */
export interface ValueStatistics {
  min: number;
  max: number;
  /** Batches seen. */
  batches: number;
  /** Batches in which an element was infinite or not a number. */
  nonFinite: number;
}

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** A rule that chooses a range. */
export interface Observer {
  readonly name: string;
  /** Which statistics must be collected for it. */
  readonly needs: 'range';
  range(statistics: ValueStatistics): Range;
}

export function emptyStatistics(): ValueStatistics {
  return { min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, batches: 0, nonFinite: 0 };
}

/** Adds the extremes of one batch. */
export function observeRange(statistics: ValueStatistics, min: number, max: number): void {
  statistics.batches++;
  if (!Number.isFinite(min) || !Number.isFinite(max)) {
    statistics.nonFinite++;
    return;
  }
  if (min < statistics.min) statistics.min = min;
  if (max > statistics.max) statistics.max = max;
}

/** Statistics of both shards together. */
export function mergeStatistics(a: ValueStatistics, b: ValueStatistics): ValueStatistics {
  return {
    min: Math.min(a.min, b.min),
    max: Math.max(a.max, b.max),
    batches: a.batches + b.batches,
    nonFinite: a.nonFinite + b.nonFinite,
  };
}

/** The whole range seen. */
export const MIN_MAX: Observer = {
  name: 'minmax',
  needs: 'range',
  range: (s) => (s.max < s.min ? { min: 0, max: 0 } : { min: s.min, max: s.max }),
};

export const OBSERVERS: Readonly<Record<string, Observer>> = { minmax: MIN_MAX };
