// What calibration keeps of one activation: extremes, their sums over batches, and for observers that need the distribution a histogram.
// Grows with no number of samples; merges; travels as JSON (shards on other machines, calibration caches).
import { Histogram, type HistogramJson } from './histogram.js';

export interface ValueStatistics {
  min: number;
  max: number;
  /** Sums over batches of their extremes. */
  sumMin: number;
  sumMax: number;
  /** Batches seen whose elements were all finite. */
  batches: number;
  /** Batches in which an element was infinite or not a number; they are passed over. */
  nonFinite: number;
  histogram: Histogram | undefined;
}

/** Statistics of a calibration, by value name. */
export type Statistics = Map<string, ValueStatistics>;

export function emptyStatistics(): ValueStatistics {
  return {
    min: Number.POSITIVE_INFINITY,
    max: Number.NEGATIVE_INFINITY,
    sumMin: 0,
    sumMax: 0,
    batches: 0,
    nonFinite: 0,
    histogram: undefined,
  };
}

/** Adds the extremes of one batch, and its elements where the distribution is wanted. */
export function observe(statistics: ValueStatistics, min: number, max: number, data?: Float32Array): void {
  if (!Number.isFinite(min) || !Number.isFinite(max)) {
    statistics.nonFinite++;
    return;
  }
  statistics.batches++;
  statistics.sumMin += min;
  statistics.sumMax += max;
  if (min < statistics.min) statistics.min = min;
  if (max > statistics.max) statistics.max = max;
  if (data) {
    statistics.histogram ??= new Histogram();
    statistics.histogram.add(data, min, max);
  }
}

/** Statistics of both shards together. */
export function mergeStatistics(a: ValueStatistics, b: ValueStatistics): ValueStatistics {
  let histogram: Histogram | undefined;
  if (a.histogram && b.histogram) {
    histogram = Histogram.fromJSON(a.histogram.toJSON());
    histogram.merge(b.histogram);
  } else histogram = a.histogram ?? b.histogram;
  return {
    min: Math.min(a.min, b.min),
    max: Math.max(a.max, b.max),
    sumMin: a.sumMin + b.sumMin,
    sumMax: a.sumMax + b.sumMax,
    batches: a.batches + b.batches,
    nonFinite: a.nonFinite + b.nonFinite,
    histogram,
  };
}

/** Statistics of two calibrations of the same model joined. */
export function mergeCalibrations(a: ReadonlyMap<string, ValueStatistics>, b: ReadonlyMap<string, ValueStatistics>): Statistics {
  const merged: Statistics = new Map(a);
  for (const [name, s] of b) {
    const other = merged.get(name);
    merged.set(name, other ? mergeStatistics(other, s) : s);
  }
  return merged;
}

export interface ValueStatisticsJson {
  /** Null where nothing finite was seen. */
  readonly min: number | null;
  readonly max: number | null;
  readonly sumMin: number;
  readonly sumMax: number;
  readonly batches: number;
  readonly nonFinite: number;
  readonly histogram?: HistogramJson;
}

export type StatisticsJson = Readonly<Record<string, ValueStatisticsJson>>;

export function statisticsToJson(statistics: ReadonlyMap<string, ValueStatistics>): StatisticsJson {
  const out: Record<string, ValueStatisticsJson> = {};
  for (const [name, { min, max, histogram, ...rest }] of statistics) {
    out[name] = {
      min: min <= max ? min : null,
      max: min <= max ? max : null,
      ...rest,
      ...(histogram ? { histogram: histogram.toJSON() } : {}),
    };
  }
  return out;
}

export function statisticsFromJson(json: StatisticsJson): Statistics {
  const out: Statistics = new Map();
  for (const [name, { min, max, histogram, ...rest }] of Object.entries(json)) {
    out.set(name, {
      ...rest,
      min: min ?? Number.POSITIVE_INFINITY,
      max: max ?? Number.NEGATIVE_INFINITY,
      histogram: histogram && Histogram.fromJSON(histogram),
    });
  }
  return out;
}
