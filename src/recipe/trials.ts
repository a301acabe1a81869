// Trying settings of passes on one model: each trial runs the passes and measures the result's quality against the original, whose outputs are
// computed once. Nothing is written. Searches (layers to keep, causes to mend, speed) are built on it.
import { constantBytes } from '../analysis/facts.js';
import { inferShapes } from '../analysis/shapes.js';
import type { Batch, Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { defaultMetric } from '../data/metrics.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import type { BoundPass, Progress } from '../pass/define.js';
import { runPasses } from '../pass/manager.js';
import type { PassRecord, Quality } from '../pass/record.js';
import { cutToSize } from '../runtime/batches.js';
import type { Engine, Session, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { qualityDrop } from './quality.js';

export interface TrialOptions {
  readonly engine: Engine;
  readonly model: Model;
  /** Calibration data. */
  readonly data?: Dataset | undefined;
  /** Data on which quality is measured. */
  readonly validation: Dataset;
  readonly metric?: Metric | undefined;
  readonly limit?: number | undefined;
  readonly batch?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly seed?: number | undefined;
  readonly session?: SessionOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

export interface Trial {
  readonly model: Model;
  readonly records: readonly PassRecord[];
  readonly quality: Quality;
  /** Loss of quality as `qualityDrop` has it. */
  readonly drop: number;
  /** Bytes of the constants. */
  readonly bytes: number;
}

/** Bytes of reference outputs that are kept between trials; larger ones are computed again each time. */
const KEPT_BYTES = 512 * 2 ** 20;
/** Samples measured where the data has no labels and no limit is given: the same number that the final verification takes. */
const UNLABELLED_SAMPLES = 64;

/** Sees the model at named moments inside the passes. */
export type StageObserver = (name: string, model: Model) => void;

type Outputs = Readonly<Record<string, Tensor>>;

/** Sees every batch with the original's outputs and the result's. */
export type BatchObserver = (batch: Batch, reference: Outputs, outputs: Outputs) => Promise<void>;

export class Trials {
  readonly options: TrialOptions;
  readonly metric: Metric;
  /** Number of trials whose quality was measured. */
  count = 0;
  readonly #reference: Session;
  readonly #kept: { batch: Batch; outputs: Outputs }[] | undefined;
  /** The original's own score. */
  readonly before: number;
  readonly samples: number;

  private constructor(options: TrialOptions, metric: Metric, reference: Session, found: Measured) {
    this.options = options;
    this.metric = metric;
    this.#reference = reference;
    this.#kept = found.kept;
    this.before = found.score;
    this.samples = found.samples;
  }

  static async open(options: TrialOptions): Promise<Trials> {
    const metric = options.metric ?? defaultMetric(options.model, options.validation);
    const reference = await openSession(options.engine, options.model, options.session);
    try {
      return new Trials(options, metric, reference, await referenceOf(options, metric, reference));
    } catch (error) {
      await reference.release();
      throw error;
    }
  }

  async release(): Promise<void> {
    await this.#reference.release();
  }

  /** Runs the passes on a copy of the model. */
  async build(passes: readonly BoundPass[], onStage?: StageObserver): Promise<{ model: Model; records: readonly PassRecord[] }> {
    const { engine, model, seed, data, session, signal } = this.options;
    return runPasses(model, passes, { engine, ...(seed === undefined ? {} : { seed }), data, threads: session?.threads, signal, onStage });
  }

  /** Runs the passes and measures the result. A result that gives NaN, or that the runtime refuses, has an infinite drop. */
  async run(passes: readonly BoundPass[], onStage?: StageObserver, onBatch?: BatchObserver): Promise<Trial> {
    const { model, records } = await this.build(passes, onStage);
    const quality = await this.measure(model, onBatch);
    return { model, records, quality, drop: dropOf(quality), bytes: constantBytes(model) };
  }

  /** Quality of a model against the original. */
  async measure(model: Model, onBatch?: BatchObserver): Promise<Quality> {
    this.count++;
    const { engine, session, validation } = this.options;
    const accumulator = this.metric.create();
    let after = Number.NaN;
    try {
      const opened = await openSession(engine, model, session);
      try {
        for await (const { batch, outputs: reference } of this.#references()) {
          const outputs = cutToSize(await opened.run(batch.inputs), batch, validation.fixedBatch);
          await onBatch?.(batch, reference, outputs);
          await accumulator.update({ inputs: batch.inputs, labels: batch.labels, reference, outputs, size: batch.size, rows: batch.size });
        }
      } finally {
        await opened.release();
      }
      after = accumulator.result();
    } catch (error) {
      if (!(error instanceof PareError) || error.code !== 'E_RUNTIME') throw error;
    }
    const { name, higherIsBetter } = this.metric;
    return { metric: name, before: this.before, after, samples: this.samples, higherIsBetter, synthetic: validation.synthetic };
  }

  async *#references(): AsyncGenerator<{ batch: Batch; outputs: Outputs }> {
    if (this.#kept) yield* this.#kept;
    else yield* referenceRuns(this.options, this.#reference);
  }
}

interface Measured {
  readonly score: number;
  readonly samples: number;
  readonly kept: { batch: Batch; outputs: Outputs }[] | undefined;
}

function dropOf(quality: Quality): number {
  const drop = qualityDrop(quality);
  return Number.isNaN(drop) ? Number.POSITIVE_INFINITY : drop;
}

async function* referenceRuns(options: TrialOptions, session: Session): AsyncGenerator<{ batch: Batch; outputs: Outputs }> {
  const { validation: data } = options;
  const limit = options.limit ?? (data.hasLabels ? undefined : UNLABELLED_SAMPLES);
  for await (const batch of data.batches({ batchSize: options.batch ?? (data.hasLabels ? 32 : 1), limit })) {
    options.signal?.throwIfAborted();
    yield { batch, outputs: cutToSize(await session.run(batch.inputs), batch, data.fixedBatch) };
  }
}

async function referenceOf(options: TrialOptions, metric: Metric, session: Session): Promise<Measured> {
  const accumulator = metric.create();
  let kept: { batch: Batch; outputs: Outputs }[] | undefined = [];
  let bytes = 0;
  let samples = 0;
  for await (const run of referenceRuns(options, session)) {
    const { batch, outputs } = run;
    await accumulator.update({
      inputs: batch.inputs,
      labels: batch.labels,
      reference: outputs,
      outputs,
      size: batch.size,
      rows: batch.size,
    });
    samples += batch.size;
    for (const t of [...Object.values(outputs), ...Object.values(batch.inputs)]) bytes += t.dtype === 'string' ? 0 : t.byteLength;
    if (bytes > KEPT_BYTES) kept = undefined;
    kept?.push(run);
  }
  return { score: accumulator.result(), samples, kept };
}

/** A copy with every type inferred. */
export function withTypes(model: Model, shapes?: Readonly<Record<string, readonly number[]>>): Model {
  const copy = cloneModel(model);
  inferShapes(copy, { inputShapes: shapes });
  return copy;
}
