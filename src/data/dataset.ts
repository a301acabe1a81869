// Samples with or without labels, served in batches as tensors by input name. Everything that reads data ends in this interface.
import type { Tensor } from '../ir/tensor.js';

export interface Batch {
  /**
   * One tensor per model input, ready to be fed; the first axis counts samples. A model that takes exactly B samples always gets B rows
   * (the last sample repeated where fewer are left), and one without a common first axis gets one whole feed per batch.
   */
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** First axis counts samples: class indices as int64 [n] (or [n, tokens]), values as float. */
  readonly labels?: Tensor | undefined;
  /** Samples in this batch (the last one may be short). */
  readonly size: number;
}

export interface Dataset {
  /** How the user named it. */
  readonly name: string;
  /** Number of samples. */
  readonly size: number;
  readonly hasLabels: boolean;
  /** True for random data: quality figures on it mean little. */
  readonly synthetic: boolean;
  /** Names of the classes, where the data has them. */
  readonly classes?: readonly string[] | undefined;
  /** Set where the model takes exactly this many samples at once: batches then have this size whatever is asked for. */
  readonly fixedBatch?: number | undefined;
  /** What the user should know about how the data was read: a preset assumed, samples cut off. */
  readonly notes?: readonly string[] | undefined;
  /** Serves the samples in order, from the start at each call. The same samples come at each call. */
  batches(options: { readonly batchSize: number; readonly limit?: number | undefined }): AsyncIterable<Batch>;
}

/** A data set whose samples can be had in any order: for shuffling, subsets and training. */
export interface IndexedDataset extends Dataset {
  /** The samples with these indices, as one batch (at most `fixedBatch` of them where that is set). */
  at(indices: readonly number[]): Promise<Batch>;
  /** Present where samples are sequences of various lengths: so that a training can put those of like length together. */
  readonly sequences?: SequenceAccess | undefined;
  /** Present where samples are neighbouring windows of one long sequence: so that a training can cut it elsewhere each epoch. */
  readonly windows?: WindowAccess | undefined;
}

export interface SequenceAccess {
  /** Tokens of each sample. */
  lengths(): readonly number[];
  /** As `at`, padded to `length`, which must be at least the longest of these samples. */
  at(indices: readonly number[], length: number): Promise<Batch>;
}

export interface WindowAccess {
  /** Elements of a window: shifts from 0 to below this give different cuts. */
  readonly length: number;
  /** As `at`, with every window this many elements later; the last ones end with the sequence. */
  at(indices: readonly number[], shift: number): Promise<Batch>;
}
