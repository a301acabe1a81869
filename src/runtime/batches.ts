// A data set through a session, batch by batch. Models with a fixed batch are served by data sets that pad their last batch; results are cut
// back to the true samples here, so that callers see each sample once.
import type { Batch, Dataset } from '../data/dataset.js';
import { headRows } from '../data/rows.js';
import { abortError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
import type { Session } from './engine.js';

export interface BatchRunOptions {
  /** Samples per run where the model leaves it open (default 16). */
  readonly batchSize?: number | undefined;
  /** Samples in all. */
  readonly limit?: number | undefined;
  /** Outputs to compute; all where omitted. */
  readonly fetches?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each batch with the samples done and their number in all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface BatchResult {
  readonly batch: Batch;
  /** First axes count the samples of the batch wherever the output has that axis. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Number of samples before this batch. */
  readonly start: number;
}

const DEFAULT_BATCH = 16;

/** Runs the samples in order. Throws E_ABORTED between two batches once the signal has fired. */
export async function* runBatches(session: Session, dataset: Dataset, options: BatchRunOptions = {}): AsyncGenerator<BatchResult> {
  const { signal, fetches, onProgress, limit } = options;
  const total = Math.min(dataset.size, limit ?? dataset.size);
  let start = 0;
  checkAborted(signal);
  for await (const batch of dataset.batches({ batchSize: options.batchSize ?? DEFAULT_BATCH, limit })) {
    checkAborted(signal);
    const outputs = await session.run(batch.inputs, fetches);
    checkAborted(signal);
    yield { batch, outputs: cutToSize(outputs, batch, dataset.fixedBatch), start };
    start += batch.size;
    onProgress?.(Math.min(start, total), total);
  }
}

/** Throws E_ABORTED where the signal has fired. */
export function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError({ cause: signal.reason });
}

/** Drops the rows of padding that a model with a fixed batch was given. */
export function cutToSize(
  outputs: Readonly<Record<string, Tensor>>,
  batch: Batch,
  rows: number | undefined,
): Readonly<Record<string, Tensor>> {
  if (rows === undefined || rows <= batch.size) return outputs;
  return Object.fromEntries(
    Object.entries(outputs).map(([name, tensor]) => [name, tensor.dims[0] === rows ? headRows(tensor, batch.size) : tensor]),
  );
}
