// Samples with or without labels, served in batches as tensors by input name. Everything that reads data ends in this interface.
import type { Tensor } from '../ir/tensor.js';

export interface Batch {
  /** One tensor per model input; the first axis counts samples. */
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
  /** Serves the samples in order, from the start at each call. The same samples come at each call. */
  batches(options: { readonly batchSize: number; readonly limit?: number | undefined }): AsyncIterable<Batch>;
}
