// What a training is told and what it answers.
import type { TrainingData } from '../data/training.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import type { Progress } from '../pass/define.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import type { CheckpointStore } from './checkpoint.js';
import type { TrainingMemory } from './memory-plan.js';
import type { Objective } from './objective.js';
import type { OptimizerOptions } from './optimizers/optimizer.js';
import type { UpdateRule } from './optimizers/rules.js';
import type { Schedule } from './schedules.js';

/** A figure on data that is not trained on. */
export interface Validation {
  readonly metric: string;
  readonly value: number;
  readonly higherIsBetter: boolean;
}

/** What `afterStep` may read and change in place. */
export interface StepState {
  /** Steps taken, this one included. */
  readonly step: number;
  readonly epoch: number;
  readonly lr: number;
  /** Weights by name. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
  /** Gradients that the step followed, under the masks, before clipping. Not to be changed. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  readonly masks: ReadonlyMap<string, Uint8Array>;
}

export interface CurvePoint {
  /** Counts from 1. */
  readonly step: number;
  /** Counts from 0. */
  readonly epoch: number;
  /** Mean over the samples of the step, before its update. */
  readonly loss: number;
  readonly lr: number;
}

export interface EpochResult {
  readonly epoch: number;
  /** Mean loss over the samples of the epoch, as they were met. */
  readonly loss: number;
  readonly metric?: string;
  readonly value?: number;
  readonly ms: number;
}

export interface Patience {
  /** Validations in a row without improvement that are put up with. */
  readonly patience: number;
  /** What counts as an improvement. */
  readonly minDelta?: number;
}

export interface TrainOptions {
  readonly engine: Engine;
  /** Not changed. */
  readonly model: Model;
  readonly data: TrainingData;
  readonly objective: Objective;
  readonly rule: UpdateRule;
  readonly optimizer?: OptimizerOptions;
  /** Learning rate by step, counted from 0. */
  readonly schedule: Schedule;
  readonly epochs: number;
  readonly batchSize: number;
  /** Batches whose gradients make one step (default 1). A rest at the end of an epoch makes a step of its own. */
  readonly accumulate?: number;
  readonly seed: number;
  /** Ends the training early; both count over all runs of a resumed training, `maxMs` over this run. */
  readonly maxSteps?: number | undefined;
  readonly maxMs?: number | undefined;
  /** Names of float initializers, or which of those that can be trained; default all that can. */
  readonly parameters?: readonly string[] | ((name: string, data: Tensor) => boolean) | undefined;
  /** BatchNormalization by the statistics of the batch, moving the running ones (default), or by the running ones as they stand. */
  readonly batchNorm?: 'batch' | 'frozen';
  /** By parameter: 1 keeps an element, 0 holds it at exactly 0. Read at each step, so `afterStep` may change them. */
  readonly masks?: ReadonlyMap<string, Uint8Array>;
  readonly afterStep?: (state: StepState) => void;
  /** Simplifies graphs before they are differentiated and before they are loaded. Must keep inputs, outputs and Dropout. */
  readonly prepare?: ((model: Model) => Promise<Model>) | undefined;
  /** Called with the model after each epoch (with averaged weights where the optimizer keeps them). */
  readonly validate?: (model: Model, epoch: number) => Promise<Validation>;
  /** Without `validate` both watch the loss of the epoch. */
  readonly earlyStopping?: Patience | undefined;
  /** Multiplies the learning rate by `by` (default 0.1) when the figure stops improving. */
  readonly plateau?: (Patience & { readonly by?: number; readonly least?: number }) | undefined;
  readonly checkpoint?: CheckpointStore | undefined;
  /** Steps between checkpoints, beside those at the end of each epoch. */
  readonly checkpointEvery?: number | undefined;
  /** Continues from the checkpoint, where there is one: the same bytes as without the interruption. */
  readonly resume?: boolean | undefined;
  /** What a checkpoint must agree with beside what is seen here, for example the hash of the input file. */
  readonly identity?: string | undefined;
  readonly onStep?: (point: CurvePoint) => void;
  readonly onEpoch?: (result: EpochResult) => void;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Less memory for about a fifth more time: forward values are computed again by the backward pass. The same gradients. */
  readonly recompute?: boolean | undefined;
  readonly session?: SessionOptions | undefined;
  /** On abort the checkpoint is written and E_ABORTED thrown. */
  readonly signal?: AbortSignal | undefined;
}

export interface TrainResult {
  /** The best by validation, else the last: the graph as it was given, with new initializers. */
  readonly model: Model;
  readonly last: Model;
  readonly curve: readonly CurvePoint[];
  readonly epochs: readonly EpochResult[];
  readonly best: { readonly epoch: number; readonly value: number } | undefined;
  readonly steps: number;
  /** Time of a step without validation and checkpoints, over this run. */
  readonly msPerStep: number;
  /** Parameters that were trained. */
  readonly parameters: readonly string[];
  /** Parameters that were asked for but do not change the loss. */
  readonly untouched: readonly string[];
  /** What a step on the first batch holds in memory. */
  readonly memory: TrainingMemory;
  /** Why it ended. */
  readonly stopped: 'epochs' | 'early' | 'steps' | 'time';
}
