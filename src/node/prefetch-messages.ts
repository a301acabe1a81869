// What the threads of prefetch.ts and the thread that uses their batches send each other: plain data, and bytes that change hands without a copy.
import type { IndexedDataset } from '../data/dataset.js';
import type { EpochOptions, TrainingDataOptions } from '../data/training.js';
import type { ErrorKind, ErrorPlace } from '../errors.js';
import type { DType } from '../ir/dtype.js';
import type { DataOptions } from './data.js';

export interface WorkerData {
  readonly spec: string;
  readonly model: string;
  readonly data: DataOptions | undefined;
  readonly training: Omit<TrainingDataOptions, 'augment'> & { readonly augment?: string | undefined };
}

export interface Request extends EpochOptions {
  readonly epoch: number;
  readonly index: number;
}

export type DataFacts = Pick<IndexedDataset, 'name' | 'size' | 'hasLabels' | 'classes' | 'notes' | 'fixedBatch'>;

export interface PackedTensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly strings: readonly Uint8Array[] | undefined;
}

export interface PackedBatch {
  readonly inputs: readonly { readonly name: string; readonly tensor: PackedTensor }[];
  readonly labels: PackedTensor | undefined;
  readonly size: number;
}

export interface PackedError {
  readonly message: string;
  readonly code?: string;
  readonly kind?: ErrorKind;
  readonly place?: ErrorPlace;
  readonly hint?: string | undefined;
}

/** The first reply says what was opened; then one for each request, in order. */
export type Reply = { readonly facts: DataFacts } | { readonly batch: PackedBatch } | { readonly error: PackedError };
