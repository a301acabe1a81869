// Training that makes good what pruning took: by default towards the outputs of the unpruned model (Hinton et al. 2015), which needs no labels.
import { z } from 'zod';
import type { TrainingData } from '../data/training.js';
import { usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { PassContext } from '../pass/define.js';
import type { SessionOptions } from '../runtime/engine.js';
import { distillationObjective } from '../train/distillation.js';
import { LOSSES, type LossName } from '../train/losses.js';
import { lossObjective, type Objective } from '../train/objective.js';
import { withoutDecay } from '../train/optimizers/optimizer.js';
import { SCHEDULES, scheduleOf } from '../train/schedules.js';
import { openTeacher } from '../train/teacher.js';
import { train } from '../train/trainer.js';
import type { StepState, TrainResult } from '../train/trainer-options.js';
import { prepareTraining } from './prepare-training.js';
import { PRUNE_SCHEDULES } from './prune-schedule.js';
import { ruleOf, trainingOptions } from './train.js';

const count = (least: number) => z.number().int().min(least);
const losses = ['distill', ...(Object.keys(LOSSES) as LossName[])] as const;

export const recoveryOptions = z.object({
  schedule: z
    .enum(PRUNE_SCHEDULES)
    .default('cubic')
    .describe('how the share that is gone rises over the steps; lottery also rewinds the weights'),
  steps: count(1).default(4).describe('times that is pruned and trained (one-shot: once)'),
  epochs: count(1).default(1).describe('times that all samples are seen after each step'),
  finalEpochs: count(1).optional().describe('the same after the last step (default: as after the others)'),
  movement: z.boolean().default(false).describe('weights go that training moves towards zero, instead of by --method (unstructured)'),
  loss: z
    .enum(losses)
    .default('distill')
    .describe('what is minimised: distill (outputs of the unpruned model, and labels by --alpha) or a loss on the labels'),
  temperature: z.number().positive().default(4).describe('temperature of the softmaxes that distill compares'),
  alpha: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe('weight of the unpruned model beside the labels in distill (default 0.9; 1 without labels)'),
  ...trainingOptions.pick({
    optimizer: true,
    lr: true,
    warmup: true,
    batchSize: true,
    accumulate: true,
    weightDecay: true,
    momentum: true,
    clipNorm: true,
    batchNorm: true,
    augment: true,
    buckets: true,
  }).shape,
  lrSchedule: z.enum(SCHEDULES).default('cosine').describe('course of the learning rate over the training of one step'),
});

export type RecoveryOptions = z.output<typeof recoveryOptions>;

export interface RecoverySetting {
  readonly data: TrainingData;
  readonly options: RecoveryOptions;
  readonly seed: number;
  readonly session?: SessionOptions | undefined;
  readonly ctx: PassContext;
}

/** Trains models of one pruning, all towards the same objective. Release it at the end. */
export class Recovery {
  readonly #o: RecoverySetting;
  readonly #objective: Objective;
  readonly #release: () => Promise<void>;
  /** Nothing but a teacher's outputs is learnt from. */
  readonly teacherOnly: boolean;

  private constructor(setting: RecoverySetting, objective: Objective, teacherOnly: boolean, release: () => Promise<void>) {
    this.#o = setting;
    this.teacherOnly = teacherOnly;
    this.#objective = objective;
    this.#release = release;
  }

  /** `teacher` is the unpruned model. Throws E_USAGE for a loss on labels that the data does not have. */
  static async open(setting: RecoverySetting, teacher: Model): Promise<Recovery> {
    const { data, options, ctx, session } = setting;
    const labelled = data.hasLabels;
    if (options.loss !== 'distill') {
      if (labelled) return new Recovery(setting, lossObjective(options.loss), false, async () => {});
      throw usageError(`loss ${options.loss}: expected labelled data, got "${data.name}" without labels`, {
        hint: 'leave --loss out: then the unpruned model teaches, which needs no labels',
      });
    }
    const alpha = options.alpha ?? (labelled ? 0.9 : 1);
    if (alpha < 1 && !labelled)
      throw usageError(`alpha ${alpha}: expected labelled data, got "${data.name}" without labels`, { hint: 'without labels alpha is 1' });
    const opened = await openTeacher({
      engine: ctx.engine,
      model: teacher,
      prepare: prepareTraining(ctx.engine),
      placement: 'session',
      session: sessionOf(ctx, session),
    });
    const labels = alpha < 1 ? lossObjective('cross-entropy') : undefined;
    const objective = distillationObjective({ teacher: opened, temperature: options.temperature, alpha, labels });
    return new Recovery(setting, objective, alpha === 1, () => opened.release());
  }

  /** The last weights after so many epochs; `round` makes the order of the samples another one. */
  train(
    model: Model,
    round: number,
    epochs: number,
    masks: ReadonlyMap<string, Uint8Array>,
    afterStep?: (state: StepState) => void,
  ): Promise<TrainResult> {
    const { data, options, seed, ctx, session } = this.#o;
    const rule = ruleOf(options);
    const total = Math.ceil(data.steps(options.batchSize) / options.accumulate) * epochs;
    return train({
      engine: ctx.engine,
      model,
      data,
      objective: this.#objective,
      rule,
      optimizer: { groups: [withoutDecay()], ...(options.clipNorm === undefined ? {} : { clipNorm: options.clipNorm }) },
      schedule: scheduleOf(options.lrSchedule, options.lr ?? rule.lr, total, Math.min(options.warmup, total)),
      epochs,
      batchSize: options.batchSize,
      accumulate: options.accumulate,
      seed: seed + round,
      batchNorm: options.batchNorm,
      masks,
      ...(afterStep ? { afterStep } : {}),
      prepare: prepareTraining(ctx.engine),
      session: sessionOf(ctx, session),
      signal: ctx.signal,
      onProgress: (p) => ctx.progress({ ...p, label: `recovering, step ${round}` }),
    });
  }

  release(): Promise<void> {
    return this.#release();
  }
}

/** Subnormal numbers count as zero only where the first session of a process asks for it, and the teacher's may be that. */
function sessionOf(ctx: PassContext, given: SessionOptions = {}): SessionOptions {
  return { threads: ctx.threads, ...given, extra: { 'session.set_denormal_as_zero': '1', ...given.extra } };
}
