// A data set with a place where results of measuring on it are kept between runs: calibration statistics, mostly. The place itself (a file, a folder, memory)
// is the caller's.
import type { Batch, Dataset, IndexedDataset } from './dataset.js';
import { isIndexed } from './spread.js';

/** Plain JSON by key. Keys are `ABOUT.DATA`: what was measured on which model, and on which samples. */
export interface MeasurementStore {
  /** Undefined where nothing is kept under the key. */
  get(key: string): Promise<unknown>;
  set(key: string, value: unknown): Promise<void>;
  /** What was wrong with what was found there, for people. */
  readonly problems?: readonly string[];
  /** Results of measuring the same on shards of the data elsewhere, to be joined instead of measuring here; undefined where no shards were given. */
  shards?(about: string): Promise<readonly unknown[]>;
}

export interface MeasuredDataset extends Dataset {
  readonly measurements: MeasurementStore;
}

/** The same samples, with results kept in `measurements`. */
export function withMeasurements(data: IndexedDataset, measurements: MeasurementStore): MeasuredDataset & IndexedDataset;
export function withMeasurements(data: Dataset, measurements: MeasurementStore): MeasuredDataset;
export function withMeasurements(data: Dataset, measurements: MeasurementStore): MeasuredDataset {
  const { name, size, hasLabels, synthetic, classes, fixedBatch, notes } = data;
  const plain: MeasuredDataset = {
    name,
    size,
    hasLabels,
    synthetic,
    classes,
    fixedBatch,
    notes,
    measurements,
    batches: (options) => data.batches(options),
  };
  if (!isIndexed(data)) return plain;
  const { sequences, windows } = data;
  return Object.assign(plain, { at: (indices: readonly number[]): Promise<Batch> => data.at(indices), sequences, windows });
}

export function measurementsOf(data: Dataset | undefined): MeasurementStore | undefined {
  return data && 'measurements' in data ? (data as MeasuredDataset).measurements : undefined;
}
