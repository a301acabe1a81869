// Two models on the same samples: how far their outputs are apart, what each scores, how fast each is.
// With little memory the two are never loaded together: the original's outputs are kept and the other model is run against them.

import type { Batch, Dataset } from '../data/dataset.js';
import type { Metric, MetricAccumulator } from '../data/metric.js';
import { dataError, PareError, unsupportedError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { cutToSize } from '../runtime/batches.js';
import { runInBlocks } from '../runtime/blocks.js';
import type { Engine, ModelSource, Session, SessionOptions } from '../runtime/engine.js';
import { DifferenceAccumulator, type OutputDifference } from './difference.js';

export interface CompareOptions {
  readonly data: Dataset;
  /** Scores both models; metrics against a reference take the first model's outputs as the reference. */
  readonly metric?: Metric | undefined;
  readonly limit?: number | undefined;
  readonly batchSize?: number | undefined;
  readonly session?: SessionOptions;
  /** True to load the models one after the other instead of together. */
  readonly oneAtATime?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface Comparison {
  readonly outputs: readonly OutputDifference[];
  /** Score of the first and the second model; null without a metric. */
  readonly scores: { readonly before: number; readonly after: number } | null;
  readonly samples: number;
}

/** Compares model `b` with model `a`. Throws E_DATA where they have no output in common, E_SHAPE where an output changed its shape. */
export async function compareSources(engine: Engine, a: ModelSource, b: ModelSource, options: CompareOptions): Promise<Comparison> {
  const accumulators = new Accumulators(options);
  if (options.oneAtATime) {
    const kept: Record<string, Tensor>[] = [];
    const first = await engine.load(a, options.session);
    try {
      for await (const { batch } of numbered(options, 0, 0.5)) kept.push(await first.run(batch.inputs));
    } finally {
      await first.release();
    }
    const second = await loadChanged(engine, b, options.session);
    try {
      checkInterfaces(first, second);
      for await (const { batch, index } of numbered(options, 0.5, 1))
        await accumulators.add(batch, kept[index]!, await second.run(batch.inputs));
    } finally {
      await second.release();
    }
    return accumulators.result();
  }
  const first = await engine.load(a, options.session);
  try {
    const second = await loadChanged(engine, b, options.session);
    try {
      checkInterfaces(first, second);
      return await compareSessions(first, second, options, accumulators);
    } finally {
      await second.release();
    }
  } finally {
    await first.release();
  }
}

/**
 * Compares two models neither of which fits into memory: each is run block by block, with at most `maxBytes` of weights loaded at a time.
 * All samples are held at once, so `limit` should be small.
 */
export async function compareInBlocks(
  engine: Engine,
  a: Model,
  b: Model,
  options: CompareOptions & { readonly maxBytes: number },
): Promise<Comparison> {
  const accumulators = new Accumulators(options);
  const batches: Batch[] = [];
  for await (const { batch } of numbered({ ...options, onProgress: undefined }, 0, 1)) batches.push(batch);
  const feeds = batches.map((batch) => batch.inputs);
  const run = (model: Model, from: number) =>
    runInBlocks(engine, model, feeds, {
      maxBytes: options.maxBytes,
      session: options.session,
      signal: options.signal,
      onProgress: (fraction) => options.onProgress?.(from + fraction / 2),
    });
  const first = await run(a, 0);
  const second = await run(b, 0.5);
  for (const [i, batch] of batches.entries()) await accumulators.add(batch, first[i]!, second[i]!);
  return accumulators.result();
}

/** The same with both models loaded already. */
export async function compareSessions(
  a: Session,
  b: Session,
  options: CompareOptions,
  accumulators: Accumulators = new Accumulators(options),
): Promise<Comparison> {
  for await (const { batch } of numbered(options, 0, 1))
    await accumulators.add(batch, await a.run(batch.inputs), await b.run(batch.inputs));
  return accumulators.result();
}

/** The second model may use operators or types that this engine has no kernels for: that is no fault of the user's. */
async function loadChanged(engine: Engine, source: ModelSource, session: SessionOptions | undefined): Promise<Session> {
  try {
    return await engine.load(source, session);
  } catch (error) {
    if (!(error instanceof PareError) || error.code !== 'E_RUNTIME') throw error;
    throw unsupportedError(`the result does not load in ${engine.name} ${engine.version}: ${error.message}`, {
      place: error.place,
      hint: `${error.hint ?? 'this runtime has no kernel for what was written'}; --no-verify writes it all the same, for another runtime`,
      cause: error,
    });
  }
}

function checkInterfaces(a: Session, b: Session): void {
  const fed = new Set(a.inputs.map((i) => i.name));
  const unknown = b.inputs.filter((i) => !fed.has(i.name));
  if (unknown.length > 0 || b.inputs.length !== a.inputs.length) {
    throw dataError(`the models have different inputs: expected ${[...fed].join(', ')}, got ${b.inputs.map((i) => i.name).join(', ')}`);
  }
  const names = new Set(b.outputs.map((o) => o.name));
  const missing = a.outputs.filter((o) => !names.has(o.name)).map((o) => o.name);
  if (missing.length > 0) {
    throw dataError(`the models have different outputs: expected ${a.outputs.map((o) => o.name).join(', ')}, got ${[...names].join(', ')}`);
  }
}

async function* numbered(options: CompareOptions, from: number, to: number): AsyncGenerator<{ batch: Batch; index: number }> {
  const { data, limit } = options;
  const total = Math.min(data.size, limit ?? data.size);
  let done = 0;
  let index = 0;
  for await (const batch of data.batches({ batchSize: options.batchSize ?? 1, limit })) {
    options.signal?.throwIfAborted();
    yield { batch, index: index++ };
    done += batch.size;
    options.onProgress?.(from + ((to - from) * done) / total);
  }
}

class Accumulators {
  readonly #differences = new Map<string, DifferenceAccumulator>();
  readonly #before: MetricAccumulator | undefined;
  readonly #after: MetricAccumulator | undefined;
  /** Rows fed where the model takes a fixed number: those beyond the batch's samples are padding. */
  readonly #rows: number | undefined;
  #samples = 0;

  constructor({ metric, data }: Pick<CompareOptions, 'metric' | 'data'>) {
    this.#before = metric?.create();
    this.#after = metric?.create();
    this.#rows = data.fixedBatch;
  }

  async add(batch: Batch, a: Readonly<Record<string, Tensor>>, b: Readonly<Record<string, Tensor>>): Promise<void> {
    const reference = cutToSize(a, batch, this.#rows);
    const outputs = cutToSize(b, batch, this.#rows);
    for (const [name, tensor] of Object.entries(reference)) {
      let difference = this.#differences.get(name);
      if (!difference) {
        difference = new DifferenceAccumulator(name);
        this.#differences.set(name, difference);
      }
      difference.add(tensor, outputs[name]!);
    }
    const shared = { inputs: batch.inputs, labels: batch.labels, reference, size: batch.size, rows: batch.size };
    await this.#before?.update({ ...shared, outputs: reference });
    await this.#after?.update({ ...shared, outputs });
    this.#samples += batch.size;
  }

  result(): Comparison {
    return {
      outputs: [...this.#differences.values()].map((d) => d.result()),
      scores: this.#before && this.#after ? { before: this.#before.result(), after: this.#after.result() } : null,
      samples: this.#samples,
    };
  }
}
