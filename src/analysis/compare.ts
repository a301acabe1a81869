// Two models on the same samples: how far their outputs are apart, what each scores, how fast each is.
// With little memory the two are never loaded together: the original's outputs are kept and the other model is run against them.

import type { Batch, Dataset } from '../data/dataset.js';
import type { Metric, MetricAccumulator } from '../data/metrics.js';
import { dataError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
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
  const accumulators = new Accumulators(options.metric);
  if (options.oneAtATime) {
    const kept: Record<string, Tensor>[] = [];
    const first = await engine.load(a, options.session);
    try {
      for await (const { batch } of numbered(options, 0, 0.5)) kept.push(await first.run(batch.inputs));
    } finally {
      await first.release();
    }
    const second = await engine.load(b, options.session);
    try {
      checkOutputs(first, second);
      for await (const { batch, index } of numbered(options, 0.5, 1)) accumulators.add(batch, kept[index]!, await second.run(batch.inputs));
    } finally {
      await second.release();
    }
    return accumulators.result();
  }
  const first = await engine.load(a, options.session);
  try {
    const second = await engine.load(b, options.session);
    try {
      checkOutputs(first, second);
      return await compareSessions(first, second, options, accumulators);
    } finally {
      await second.release();
    }
  } finally {
    await first.release();
  }
}

/** The same with both models loaded already. */
export async function compareSessions(
  a: Session,
  b: Session,
  options: CompareOptions,
  accumulators: Accumulators = new Accumulators(options.metric),
): Promise<Comparison> {
  for await (const { batch } of numbered(options, 0, 1)) accumulators.add(batch, await a.run(batch.inputs), await b.run(batch.inputs));
  return accumulators.result();
}

function checkOutputs(a: Session, b: Session): void {
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
  readonly #metric: Metric | undefined;
  readonly #before: MetricAccumulator | undefined;
  readonly #after: MetricAccumulator | undefined;
  #samples = 0;

  constructor(metric: Metric | undefined) {
    this.#metric = metric;
    this.#before = metric?.start();
    this.#after = metric?.start();
  }

  add(batch: Batch, a: Readonly<Record<string, Tensor>>, b: Readonly<Record<string, Tensor>>): void {
    for (const [name, tensor] of Object.entries(a)) {
      let difference = this.#differences.get(name);
      if (!difference) {
        difference = new DifferenceAccumulator(name);
        this.#differences.set(name, difference);
      }
      difference.add(tensor, b[name]!);
    }
    if (this.#metric) {
      this.#before!.update({ batch, outputs: a, reference: a });
      this.#after!.update({ batch, outputs: b, reference: a });
    }
    this.#samples += batch.size;
  }

  result(): Comparison {
    return {
      outputs: [...this.#differences.values()].map((d) => d.result()),
      scores: this.#metric ? { before: this.#before!.result(), after: this.#after!.result() } : null,
      samples: this.#samples,
    };
  }
}
