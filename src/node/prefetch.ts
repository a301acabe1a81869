// Training data read by threads of their own: they open, decode and augment while the engine computes. The batches are those that `trainingData` makes
// here, because an epoch is a pure function of seed and epoch: each thread opens the same data and answers the batches it is asked for.
import { Worker } from 'node:worker_threads';
import type { Batch } from '../data/dataset.js';
import { readAhead, stepsPerEpoch, type TrainingData, type TrainingDataOptions } from '../data/training.js';
import { bugError, PareError, usageError } from '../errors.js';
import { Tensor } from '../ir/tensor.js';
import type { DataOptions } from './data.js';
import type { DataFacts, PackedBatch, PackedError, Reply, Request, WorkerData } from './prefetch-messages.js';

export interface PrefetchOptions {
  /** Data as on the command line, and how it is opened. */
  readonly spec: string;
  readonly data?: DataOptions | undefined;
  /** Path of the model that the data is for. */
  readonly model: string;
  /** As for `trainingData`; augmentations as text (`flip,crop:4`). */
  readonly training?: (Omit<TrainingDataOptions, 'augment'> & { readonly augment?: string | undefined }) | undefined;
  /** Threads (default 1). */
  readonly workers?: number | undefined;
  /** Batches under way while one is used (default two a thread). */
  readonly ahead?: number | undefined;
}

export interface PrefetchedTrainingData extends TrainingData {
  readonly classes?: readonly string[] | undefined;
  readonly notes?: readonly string[] | undefined;
  /** Ends the threads. */
  close(): Promise<void>;
}

/** Starts the threads and opens the data in each. Throws what `openDataset` throws. Threads that wait do not keep the process alive. */
export async function prefetchTrainingData(options: PrefetchOptions): Promise<PrefetchedTrainingData> {
  const { workers = 1, training = {} } = options;
  if (!(Number.isInteger(workers) && workers > 0)) throw usageError(`prefetch workers: expected a whole number above 0, got ${workers}`);
  const { spec, model, data } = options;
  const readers = Array.from({ length: workers }, () => new Reader({ spec, model, data, training }));
  const close = async () => {
    await Promise.all(readers.map((r) => r.close()));
  };
  let facts: DataFacts;
  try {
    [facts] = (await Promise.all(readers.map((r) => r.opened))) as [DataFacts, ...DataFacts[]];
  } catch (error) {
    await close();
    throw error;
  }
  const { name, size, hasLabels, classes, notes } = facts;
  const steps = (batchSize: number) => stepsPerEpoch(facts, batchSize, training.dropLast);
  return {
    name,
    size,
    hasLabels,
    classes,
    notes,
    steps,
    epoch: (epoch, { from = 0, batchSize, seed }) =>
      readAhead(
        from,
        steps(batchSize),
        (index) => readers[index % workers]!.batch({ epoch, index, batchSize, seed }),
        options.ahead ?? 2 * workers,
      ),
    close,
  };
}

interface Waiting {
  done(reply: DataFacts | PackedBatch): void;
  fail(error: Error): void;
}

/** One thread; answers come in the order of the requests. */
class Reader {
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  #ended: Error | undefined;
  readonly opened: Promise<DataFacts>;

  constructor(workerData: WorkerData) {
    this.#worker = new Worker(new URL('./prefetch-worker.js', import.meta.url), { workerData });
    this.#worker.on('message', (reply: Reply) => {
      const waiting = this.#waiting.shift();
      if (this.#waiting.length === 0) this.#worker.unref();
      if (waiting === undefined) return;
      if ('error' in reply) waiting.fail(unpackError(reply.error));
      else waiting.done('facts' in reply ? reply.facts : reply.batch);
    });
    this.#worker.on('error', (error) => this.#end(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on('exit', () => this.#end(bugError('training data: a reading thread ended early')));
    this.opened = this.#reply() as Promise<DataFacts>;
    // Told to whoever awaits it; several threads may fail alike.
    this.opened.catch(() => undefined);
  }

  #reply(): Promise<DataFacts | PackedBatch> {
    if (this.#ended) return Promise.reject(this.#ended);
    this.#worker.ref();
    return new Promise((done, fail) => this.#waiting.push({ done, fail }));
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.fail(this.#ended);
  }

  async batch(request: Request): Promise<Batch> {
    const reply = this.#reply();
    this.#worker.postMessage(request);
    return unpackBatch((await reply) as PackedBatch);
  }

  async close(): Promise<void> {
    this.#ended ??= usageError('training data: it is closed already');
    await this.#worker.terminate();
  }
}

function unpackBatch({ inputs, labels, size }: PackedBatch): Batch {
  const unpack = ({ dtype, dims, bytes, strings }: PackedBatch['inputs'][number]['tensor']) =>
    strings === undefined ? new Tensor(dtype, dims, bytes) : Tensor.strings(dims, strings);
  return {
    inputs: Object.fromEntries(inputs.map(({ name, tensor }) => [name, unpack(tensor)])),
    labels: labels && unpack(labels),
    size,
  };
}

function unpackError({ message, code, kind, place, hint }: PackedError): Error {
  if (code === undefined || kind === undefined) return bugError(`training data: ${message}`);
  return new PareError(code, kind, message, { place, hint });
}
