// The training loop: batches through the gradient graph, steps of the optimizer over the buffers that the graph reads and writes, validation after each
// epoch, checkpoints from which it goes on to the bit. Everything that decides a step is a function of (seed, epoch, batch) or stands in the checkpoint.
import { TRAINABLE_KEY, trainableParameters } from '../analysis/trainable.js';
import type { Batch } from '../data/dataset.js';
import { abortError, dataError, usageError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import type { SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { type TrainingMemory, trainingMemory } from './memory-plan.js';
import { explainNonFinite } from './non-finite.js';
import { Optimizer } from './optimizers/optimizer.js';
import { type Position, Progression } from './progression.js';
import { restoreTraining, storeTraining } from './resume.js';
import { withWeights } from './trained-model.js';
import type { EpochResult, TrainOptions, TrainResult } from './trainer-options.js';
import { type TrainingBuffers, type TrainingGraph, TrainingGraphs } from './training-graph.js';

/**
 * Trains a copy of the model. The same options and seed give the same weights to the bit, also over interruptions, on the same processor with the same
 * number of threads. Throws E_UNSUPPORTED where an operator has no gradient, E_NON_FINITE naming the first node whose value is no number, E_DATA for
 * data without labels or a checkpoint of another training, E_ABORTED when the signal aborts (the checkpoint is written first).
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  checkOptions(options);
  await flushSubnormals(options);
  const names = chosenParameters(options.model, options.parameters);
  const session = trainingSession(options.session);
  const graphs = new TrainingGraphs({ ...options, session, parameters: names, batchNorm: options.batchNorm ?? 'batch' });
  try {
    const graph = await graphs.for(await firstBatch(options));
    const run = new Run(options, session, graphs, graph);
    return await run.all();
  } finally {
    await graphs.release();
  }
}

/** Subnormal numbers cost a hundred times as much as others, and gradients are full of them. */
function trainingSession(given: SessionOptions = {}): SessionOptions {
  return { ...given, extra: { 'session.set_denormal_as_zero': '1', ...given.extra } };
}

/** Only the first session of a process decides about subnormal numbers: simplification would open one that does not ask. */
async function flushSubnormals({ engine, session }: TrainOptions): Promise<void> {
  const tiny = buildModel('first', (b) => b.output(b.op('Identity', [b.input('x', 'float', [1])]), 'y'));
  await (await openSession(engine, tiny, trainingSession(session))).release();
}

function checkOptions(options: TrainOptions): void {
  const whole = (name: string, value: number | undefined, least: number) => {
    if (value !== undefined && !(Number.isInteger(value) && value >= least))
      throw usageError(`${name}: expected a whole number of at least ${least}, got ${value}`);
  };
  whole('epochs', options.epochs, 1);
  whole('batch size', options.batchSize, 1);
  whole('accumulate', options.accumulate, 1);
  whole('maxSteps', options.maxSteps, 1);
  whole('checkpointEvery', options.checkpointEvery, 1);
  if (options.resume && !options.checkpoint) throw usageError('resume: expected a checkpoint to continue from, got none');
}

function chosenParameters(model: Model, wanted: TrainOptions['parameters']): readonly string[] {
  if (Array.isArray(wanted)) return [...new Set<string>(wanted)];
  const all = trainableParameters(model);
  const chosen = typeof wanted === 'function' ? all.filter((v) => wanted(v.name, v.initializer!)) : all;
  if (chosen.length > 0) return chosen.map((v) => v.name);
  throw usageError(
    all.length === 0
      ? 'training: expected float weights stored as initializers, got none'
      : `training: expected parameters to train, got none of ${all.length}: all are frozen`,
    {
      hint:
        all.length === 0
          ? `quantized and half-precision weights cannot be trained, nor those marked ${TRAINABLE_KEY}=false`
          : 'freeze fewer of them',
    },
  );
}

async function firstBatch({ data, batchSize, seed }: TrainOptions): Promise<Batch> {
  for await (const batch of data.epoch(0, { batchSize, seed })) return batch;
  throw dataError(`data "${data.name}": expected at least one batch, got none`);
}

/** A number for the seed of Dropout, different for each batch of a training. */
function dropoutSeed(seed: number, batches: number): number {
  return (Math.imul(seed ^ 0x5bd1e995, 0x9e3779b1) + batches) | 0;
}

/** A batch whose gradients count in the current step. */
interface Taken {
  readonly graph: TrainingGraph;
  readonly feeds: Record<string, Tensor>;
}

class Run {
  readonly #o: TrainOptions;
  readonly #session: SessionOptions;
  readonly #graphs: TrainingGraphs;
  readonly #optimizer: Optimizer;
  readonly #buffers: TrainingBuffers;
  readonly #masks: ReadonlyMap<string, Uint8Array>;
  readonly #untouched: readonly string[];
  readonly #progress: Progression;
  readonly #accumulate: number;
  readonly #memory: TrainingMemory;
  readonly #begun = performance.now();
  #taken: Taken[] = [];
  /** Sums over the batches of the current step. */
  #loss = 0;
  #weight = 0;
  #stepMs = 0;
  #stepsHere = 0;
  #saved = '';

  constructor(options: TrainOptions, session: SessionOptions, graphs: TrainingGraphs, graph: TrainingGraph) {
    this.#o = options;
    this.#session = session;
    this.#graphs = graphs;
    this.#accumulate = options.accumulate ?? 1;
    const { parameters, states } = graph.differentiated;
    const reached = parameters.filter((p) => p.gradient !== null);
    if (reached.length === 0)
      throw usageError(`loss ${options.objective.name}: expected it to depend on a parameter, got none of ${parameters.length}`);
    const names = new Set(reached.map((p) => p.name));
    this.#untouched = parameters.filter((p) => !names.has(p.name)).map((p) => p.name);
    this.#optimizer = new Optimizer(
      options.rule,
      reached.map(({ name, data }) => ({ name, dims: data.dims })),
      { ...options.optimizer, accumulate: this.#accumulate > 1 },
    );
    for (const { name, data } of reached) this.#optimizer.parameters.get(name)!.set(data.floats());
    const copies = () => new Map(states.map(({ name, data }) => [name, data.floats().slice()]));
    const untouched = parameters.filter((p) => !names.has(p.name)).map((p) => [p.name, p.data.floats().slice()] as const);
    this.#buffers = {
      parameters: new Map([...this.#optimizer.parameters, ...untouched]),
      gradients: this.#optimizer.gradients,
      states: copies(),
      nextStates: copies(),
    };
    graphs.bind(this.#buffers);
    this.#memory = trainingMemory(graph.differentiated, options.rule.slots.length);
    this.#masks = options.masks ?? new Map();
    this.#checkMasks();
    this.#progress = new Progression(options);
  }

  async all(): Promise<TrainResult> {
    const { epochs, resume } = this.#o;
    if (resume) await this.#restore();
    this.#applyMasks(this.#optimizer.parameters);
    const { position } = this.#progress;
    let stopped: TrainResult['stopped'] = 'epochs';
    while (position.epoch < epochs && !this.#progress.finished) {
      const end = await this.#epoch(position);
      if (end !== undefined) {
        stopped = end;
        break;
      }
    }
    if (this.#progress.finished) stopped = 'early';
    await this.#save();
    const weights = this.#weights();
    const last = withWeights(this.#o.model, weights);
    // Ended within an epoch: what was reached there is judged too, but is no part of what a continuation starts from.
    if (position.batch > 0 && this.#o.validate)
      this.#progress.consider(position.epoch, await this.#o.validate(last, position.epoch), weights);
    const { best, curve, results } = this.#progress;
    return {
      model: best ? withWeights(this.#o.model, best.weights) : last,
      last,
      curve,
      epochs: results,
      best: best && { epoch: best.epoch, value: best.value },
      steps: this.#optimizer.stepCount,
      msPerStep: this.#stepsHere > 0 ? this.#stepMs / this.#stepsHere : 0,
      parameters: [...this.#optimizer.parameters.keys()],
      untouched: this.#untouched,
      memory: this.#memory,
      stopped,
    };
  }

  /** The rest of an epoch and its validation; why the training ends here, if it does. */
  async #epoch(position: Position): Promise<'steps' | 'time' | undefined> {
    const { data, batchSize, seed, maxSteps = Infinity, maxMs = Infinity } = this.#o;
    const { epoch, batch: from } = position;
    const count = data.steps(batchSize);
    const start = performance.now();
    const limit = (): 'steps' | 'time' | undefined =>
      this.#optimizer.stepCount >= maxSteps ? 'steps' : performance.now() - this.#begun >= maxMs ? 'time' : undefined;
    if (from < count) {
      for await (const batch of data.epoch(epoch, { batchSize, seed, from })) {
        // Between steps only: a step that was begun is finished first.
        if (this.#taken.length === 0) {
          await this.#interrupt();
          const end = limit();
          if (end !== undefined) return end;
        }
        const begun = performance.now();
        await this.#batch(batch);
        const atEnd = position.batch + this.#taken.length >= count;
        if (this.#taken.length === this.#accumulate || atEnd) await this.#step(position);
        this.#stepMs += performance.now() - begun;
        if (this.#taken.length === 0 && this.#due() && !atEnd) await this.#save();
      }
    }
    await this.#finish(position, performance.now() - start);
    return limit();
  }

  /** Gradients of one batch. */
  async #batch(batch: Batch): Promise<void> {
    const { objective, seed } = this.#o;
    const graph = await this.#graphs.for(batch);
    const number = this.#progress.batches + this.#taken.length;
    const feeds = graph.feeds(batch, await objective.feeds(batch), dropoutSeed(seed, number));
    const loss = await graph.run(feeds);
    this.#taken.push({ graph, feeds });
    if (!Number.isFinite(loss)) throw await this.#nonFinite(`the loss is ${loss}`);
    const weight = objective.weight?.(batch) ?? batch.size;
    this.#loss += loss * weight;
    this.#weight += weight;
    for (const [name, next] of this.#buffers.nextStates) this.#buffers.states.get(name)!.set(next);
    this.#applyMasks(this.#optimizer.gradients);
    if (this.#accumulate > 1) this.#optimizer.accumulate(weight);
  }

  async #step(position: Position): Promise<void> {
    const lr = this.#o.schedule(this.#optimizer.stepCount) * this.#progress.lrFactor;
    // A step in which nothing counted (every label ignored) has no gradient to follow.
    const { gradientNorm } = this.#optimizer.step(lr);
    if (!Number.isFinite(gradientNorm)) throw await this.#nonFinite(`the norm of the gradients is ${gradientNorm}`);
    this.#applyMasks(this.#optimizer.parameters);
    const loss = this.#weight > 0 ? this.#loss / this.#weight : 0;
    const point = { step: this.#optimizer.stepCount, epoch: position.epoch, loss, lr };
    this.#progress.step(point, this.#loss, this.#weight, this.#taken.length);
    this.#taken = [];
    this.#loss = 0;
    this.#weight = 0;
    this.#stepsHere++;
    const { afterStep, onStep, onProgress } = this.#o;
    if (afterStep) {
      afterStep({ ...point, parameters: this.#optimizer.parameters, gradients: this.#optimizer.gradients, masks: this.#masks });
      this.#applyMasks(this.#optimizer.parameters);
    }
    onStep?.(point);
    onProgress?.({ fraction: this.#progress.fraction, label: 'training', detail: `epoch ${position.epoch + 1}, loss ${loss.toFixed(4)}` });
  }

  /** Validation, watching, checkpoint. */
  async #finish(position: Position, ms: number): Promise<void> {
    const { validate, onEpoch } = this.#o;
    const { epoch } = position;
    const weights = this.#weights();
    const figure = await validate?.(withWeights(this.#o.model, weights), epoch);
    const { loss } = this.#progress;
    const result: EpochResult = { epoch, loss, ms, ...(figure ? { metric: figure.metric, value: figure.value } : {}) };
    this.#progress.endEpoch(result, figure, weights);
    await this.#save();
    onEpoch?.(result);
  }

  /** What the trained model holds: averages where they are kept, under the masks, and running statistics. */
  #weights(): Map<string, Float32Array> {
    const averaged = this.#optimizer.averages.size > 0 && this.#optimizer.stepCount > 0;
    const from = averaged ? this.#optimizer.averages : this.#optimizer.parameters;
    const weights = new Map([...from, ...this.#buffers.states].map(([name, values]) => [name, values.slice()]));
    this.#applyMasks(weights);
    return weights;
  }

  #checkMasks(): void {
    for (const [name, mask] of this.#masks) {
      const parameter = this.#optimizer.parameters.get(name);
      if (parameter?.length === mask.length) continue;
      throw usageError(`mask "${name}": expected ${parameter?.length ?? 'a parameter of this name'}, got ${mask.length} elements`);
    }
  }

  #applyMasks(values: ReadonlyMap<string, Float32Array>): void {
    for (const [name, mask] of this.#masks) {
      const array = values.get(name);
      if (array) for (let i = 0; i < mask.length; i++) if (mask[i] === 0) array[i] = 0;
    }
  }

  async #nonFinite(what: string): Promise<Error> {
    const step = this.#optimizer.stepCount + 1;
    const taken = this.#taken.map(({ graph, feeds }) => ({ model: graph.differentiated.model, feeds }));
    return explainNonFinite(what, step, this.#o.engine, taken, this.#session);
  }

  #due(): boolean {
    const every = this.#o.checkpointEvery;
    return every !== undefined && this.#optimizer.stepCount % every === 0;
  }

  /** Between steps: on abort the state is written and the training ends. */
  async #interrupt(): Promise<void> {
    if (!this.#o.signal?.aborted) return;
    await this.#save();
    throw abortError();
  }

  async #save(): Promise<void> {
    const { checkpoint } = this.#o;
    const at = this.#progress.stamp;
    if (!checkpoint || this.#saved === at) return;
    await checkpoint.save(storeTraining(this.#o, this.#optimizer, this.#buffers.states, this.#progress, this.#masks));
    this.#saved = at;
  }

  async #restore(): Promise<void> {
    const bytes = await this.#o.checkpoint!.load();
    if (bytes === undefined) return;
    restoreTraining(bytes, this.#o, this.#optimizer, this.#buffers.states, this.#progress, this.#masks);
    this.#saved = this.#progress.stamp;
  }
}
