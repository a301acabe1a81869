// Training as a pass: the graph stays, its weights change. Turns options by name into loss, optimizer, schedule and groups for `train`, validates after
// each epoch with the metric of the run, and records curves and figures.
import { z } from 'zod';
import { densify, trainableMasks } from '../analysis/masks.js';
import { trainableParameters } from '../analysis/trainable.js';
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { defaultMetric } from '../data/metrics.js';
import type { TrainingData } from '../data/training.js';
import { usageError } from '../errors.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { definePass, type Pass, type PassContext } from '../pass/define.js';
import type { PassRecord } from '../pass/record.js';
import { absorbConstants } from '../passes/simplify/cleanup.js';
import { simplify } from '../passes/simplify/index.js';
import { patternOf } from '../quant/selection.js';
import type { SessionOptions } from '../runtime/engine.js';
import type { CheckpointStore } from '../train/checkpoint.js';
import { LOSSES, type LossName } from '../train/losses.js';
import type { TrainingMemory } from '../train/memory-plan.js';
import { lossObjective, type Objective, weightedSum } from '../train/objective.js';
import { withoutDecay } from '../train/optimizers/optimizer.js';
import { OPTIMIZERS, type OptimizerName, type UpdateRule } from '../train/optimizers/rules.js';
import { type PenaltyName, penaltyObjective } from '../train/penalties.js';
import { SCHEDULES, scheduleOf } from '../train/schedules.js';
import { train } from '../train/trainer.js';
import type { EpochResult, TrainOptions, TrainResult } from '../train/trainer-options.js';
import { formatBytes, formatQuality } from '../util/format.js';
import { prepareTraining } from './prepare-training.js';
import { Validator } from './validator.js';

const count = (least: number) => z.number().int().min(least);
const keysOf = <K extends string>(table: Readonly<Record<K, unknown>>) => Object.keys(table) as [K, ...K[]];

export const trainingOptions = z.object({
  loss: z
    .enum(keysOf(LOSSES))
    .optional()
    .describe('what is minimised (default: cross-entropy for classes and tokens, bce for one score of two classes, else mse)'),
  epochs: count(1).default(10).describe('times that all samples are seen'),
  optimizer: z.enum(keysOf(OPTIMIZERS)).default('adamw').describe('rule by which gradients move weights'),
  lr: z
    .number()
    .positive()
    .optional()
    .describe('learning rate (default: that of the optimizer: sgd 0.1, adam, adamw and lamb 0.001, lion 0.0001)'),
  schedule: z.enum(SCHEDULES).default('cosine').describe('course of the learning rate over the steps'),
  warmup: count(0).default(0).describe('steps over which the learning rate rises first'),
  batchSize: count(1).default(32).describe('samples of one batch'),
  accumulate: count(1).default(1).describe('batches whose gradients make one step: larger batches than fit into memory'),
  weightDecay: z.number().min(0).optional().describe('pull of matrices and filters towards zero (default: adamw and lamb 0.01, else 0)'),
  momentum: z.number().min(0).lt(1).optional().describe('momentum of sgd and nesterov (default: sgd 0, momentum and nesterov 0.9)'),
  clipNorm: z.number().positive().optional().describe('largest norm of all gradients together'),
  ema: z.number().min(0).lt(1).optional().describe('keep a moving average of the weights with this decay, and deliver it (0.999)'),
  freeze: z
    .array(z.string())
    .default([])
    .describe('parameters to leave as they are, by name: * stands for any characters, /.../ is a regular expression'),
  batchNorm: z.enum(['batch', 'frozen']).default('batch').describe('BatchNormalization by the statistics of the batch, or by its own'),
  foldBatchNorm: z
    .boolean()
    .default(false)
    .describe('simplify first, which folds BatchNormalization into the layers before it: what is trained is what will run'),
  labelSmoothing: z.number().min(0).lt(1).optional().describe('part of the target that is spread over all classes'),
  classWeights: z.array(z.number().min(0)).default([]).describe('one weight a class, for classes of unequal numbers'),
  l1: z.number().min(0).default(0).describe('weight of the sum of |w| in the loss: many weights near zero'),
  l2: z.number().min(0).default(0).describe('weight of half the sum of w² in the loss; --weight-decay acts beside the gradient instead'),
  groupLasso: z.number().min(0).default(0).describe('weight of the lengths of whole channels in the loss: some channels near zero'),
  augment: z
    .string()
    .optional()
    .describe('changes of pictures at each epoch: flip, crop:4, cutout:8, mixup:0.2, noise:0.01, joined by commas'),
  recompute: z
    .boolean()
    .default(false)
    .describe('less memory for about a fifth more time: compute values of the forward pass again instead of keeping them'),
  buckets: count(1).optional().describe('lengths that sequences are padded to (default 4)'),
  earlyStopping: count(0).optional().describe('stop after more epochs than this without a better figure'),
  maxSteps: count(1).optional().describe('stop after this many steps'),
  maxMinutes: z.number().positive().optional().describe('stop after this time'),
  checkpointEvery: count(1).optional().describe('steps between checkpoints (default: only at the end of each epoch)'),
});

/** What training itself needs; folding comes before it. */
export type TrainingOptions = Omit<z.output<typeof trainingOptions>, 'foldBatchNorm'>;

/** What the options cannot say: data, and where checkpoints go. */
export interface TrainingSources {
  readonly data: TrainingData;
  readonly validation?: Dataset | undefined;
  readonly metric?: Metric | undefined;
  readonly checkpoint?: CheckpointStore | undefined;
  readonly resume?: boolean | undefined;
  /** Hash of the input file: a checkpoint belongs to it. */
  readonly identity?: string | undefined;
  readonly seed: number;
  readonly session?: SessionOptions | undefined;
  readonly onEpoch?: ((result: EpochResult, epochs: number) => void) | undefined;
}

/** What the record keeps of a training, as the note `training` of its pass. */
export interface TrainingNote {
  readonly loss: string;
  readonly metric: string | null;
  readonly steps: number;
  readonly msPerStep: number;
  readonly stopped: TrainResult['stopped'];
  readonly best: { readonly epoch: number; readonly value: number } | null;
  readonly parameters: { readonly trained: number; readonly frozen: number };
  /** Bytes that a step on the first batch holds, by kind, and the largest values that wait for the backward pass. */
  readonly memory: TrainingMemory;
  readonly epochs: readonly EpochResult[];
  /** Evenly chosen steps, at most `CURVE_POINTS`; the loss is the mean over the steps up to the next. */
  readonly curve: readonly { readonly step: number; readonly loss: number; readonly lr: number }[];
}

/** The trainings of a run, whatever the pass is called that trained. */
export function trainingsOf(passes: readonly PassRecord[]): { readonly pass: PassRecord; readonly note: TrainingNote }[] {
  return passes.flatMap((pass) => (pass.notes.training ? [{ pass, note: pass.notes.training as TrainingNote }] : []));
}

export const CURVE_POINTS = 400;
/** Values listed by name in the record. */
const KEPT_VALUES = 10;

/** The pass over these sources. */
export function trainPass(sources: TrainingSources): Pass<typeof trainingOptions> {
  return definePass({
    name: 'train',
    summary: 'new weights by gradient descent on data',
    options: trainingOptions,
    needs: { data: 'required', engine: true },
    run: async (model, options, ctx) => {
      if (options.foldBatchNorm) await foldInto(model, ctx);
      return runTraining(model, options, sources, ctx);
    },
  });
}

/** Dropout stays: it is at work while training. */
async function foldInto(model: Model, ctx: PassContext): Promise<void> {
  const { definition } = simplify;
  await definition.run(model, definition.options.parse({ skip: ['remove-dropout'] }), ctx);
}

/** Something to learn from beside labels. */
export interface Guide {
  /** What is minimised, with the loss on the labels where there are any. */
  objective(labels: Objective | undefined): Objective;
  /** Model that metrics without labels compare with (default: the untrained one). */
  readonly reference?: Model | undefined;
  /** Names of what is trained (default: all that can be). */
  readonly parameters?: readonly string[] | undefined;
  /** Parameters that weight decay leaves alone, beside vectors. */
  readonly undecayed?: ((name: string) => boolean) | undefined;
  readonly afterStep?: TrainOptions['afterStep'];
}

/** Trains the model in place, as the pass does; with a guide also without labels. */
export async function runTraining(
  model: Model,
  options: TrainingOptions,
  sources: TrainingSources,
  ctx: PassContext,
  guide?: Guide,
): Promise<boolean> {
  const { data, validation, seed } = sources;
  if (!data.hasLabels && !guide)
    throw usageError(`training: expected labelled data, got "${data.name}" without labels`, {
      hint: 'label the data (labels array, class folders, --label COLUMN), or learn from another model: pare distill --teacher',
    });
  densify(model);
  if (trainableParameters(model).length === 0 && absorbConstants(model) > 0)
    ctx.warn({ message: 'weights stored as Constant nodes became initializers, so that they can be trained' });
  const frozen = frozenNames(model, options.freeze, ctx);
  const rule = ruleOf(options);
  const stepsPerEpoch = Math.ceil(data.steps(options.batchSize) / options.accumulate);
  const total = Math.min(options.maxSteps ?? Infinity, stepsPerEpoch * options.epochs);
  const labels = data.hasLabels ? objectiveOf(model, options, validation) : undefined;
  const objective = withPenalties(guide ? guide.objective(labels) : labels!, options);
  const validator =
    validation &&
    new Validator(guide?.reference ?? model, validation, sources.metric ?? defaultMetric(model, validation), ctx, sources.session);
  try {
    const result = await train({
      engine: ctx.engine,
      model,
      data,
      objective,
      rule,
      optimizer: {
        // Biases, scales and shifts are not pulled towards zero.
        groups: [
          withoutDecay(),
          ...(guide?.undecayed ? [{ match: (p: { name: string }) => guide.undecayed!(p.name), weightDecay: 0 }] : []),
        ],
        ...(options.clipNorm === undefined ? {} : { clipNorm: options.clipNorm }),
        ...(options.ema === undefined ? {} : { emaDecay: options.ema }),
      },
      schedule: scheduleOf(options.schedule, options.lr ?? rule.lr, total, options.warmup),
      epochs: options.epochs,
      batchSize: options.batchSize,
      accumulate: options.accumulate,
      seed,
      maxSteps: options.maxSteps,
      maxMs: options.maxMinutes === undefined ? undefined : options.maxMinutes * 60_000,
      parameters: guide?.parameters ? guide.parameters.filter((name) => !frozen.has(name)) : (name) => !frozen.has(name),
      // Zeros of a pruned model stay zero.
      masks: trainableMasks(model, (name) => !frozen.has(name) && (guide?.parameters?.includes(name) ?? true)),
      ...(guide?.afterStep ? { afterStep: guide.afterStep } : {}),
      batchNorm: options.batchNorm,
      prepare: prepareTraining(ctx.engine),
      recompute: options.recompute,
      ...(validator ? { validate: (m) => validator.figure(m) } : {}),
      earlyStopping: options.earlyStopping === undefined ? undefined : { patience: options.earlyStopping },
      plateau: options.schedule === 'plateau' ? { patience: 2 } : undefined,
      checkpoint: sources.checkpoint,
      checkpointEvery: options.checkpointEvery,
      resume: sources.resume,
      identity: [
        sources.identity ?? '',
        options.augment ?? '',
        options.labelSmoothing ?? 0,
        ...options.classWeights,
        options.l1,
        options.l2,
        options.groupLasso,
        ...(guide ? [objective.name] : []),
      ].join(' '),
      session: { threads: ctx.threads, ...sources.session },
      signal: ctx.signal,
      onProgress: (p) => ctx.progress(p),
      onEpoch: (r) => sources.onEpoch?.(r, options.epochs),
    });
    for (const name of result.untouched) ctx.warn({ message: `the parameter "${name}" does not change the loss and stays as it is` });
    takeWeights(model, result.model);
    ctx.note('training', noteOf(result, objective, validator?.metric.name ?? null, frozen.size));
    return true;
  } finally {
    await validator?.close();
  }
}

function frozenNames(model: Model, patterns: readonly string[], ctx: PassContext): Set<string> {
  const names = trainableParameters(model).map((v) => v.name);
  const frozen = new Set<string>();
  for (const text of patterns) {
    const pattern = patternOf(text);
    const hits = names.filter((name) => pattern.test(name));
    if (hits.length === 0) {
      ctx.warn({
        message: `--freeze ${text} fits no parameter`,
        fix: `parameters are called ${names.slice(0, 6).join(', ')}${names.length > 6 ? ', ...' : ''}`,
      });
    }
    for (const name of hits) frozen.add(name);
  }
  return frozen;
}

/** The update rule by the options of a training. */
export function ruleOf({
  optimizer,
  lr,
  weightDecay,
  momentum,
}: Pick<TrainingOptions, 'optimizer' | 'lr' | 'weightDecay' | 'momentum'>): UpdateRule {
  const takesMomentum: readonly OptimizerName[] = ['sgd', 'momentum', 'nesterov'];
  if (momentum !== undefined && !takesMomentum.includes(optimizer))
    throw usageError(`momentum: expected one of the optimizers ${takesMomentum.join(', ')}, got ${optimizer}`);
  const common = { ...(lr === undefined ? {} : { lr }), ...(weightDecay === undefined ? {} : { weightDecay }) };
  if (momentum === undefined) return OPTIMIZERS[optimizer](common);
  const name = optimizer === 'sgd' && momentum > 0 ? 'momentum' : optimizer;
  return OPTIMIZERS[name]({ ...common, beta1: momentum });
}

const PENALTY_OPTIONS = [
  ['l1', 'l1'],
  ['l2', 'l2'],
  ['group-lasso', 'groupLasso'],
] as const satisfies readonly (readonly [PenaltyName, keyof TrainingOptions])[];

function withPenalties(objective: Objective, options: TrainingOptions): Objective {
  const penalties = PENALTY_OPTIONS.flatMap(([penalty, option]) =>
    options[option] > 0 ? [{ objective: penaltyObjective(penalty), weight: options[option] }] : [],
  );
  return penalties.length === 0 ? objective : weightedSum([{ objective, weight: 1 }, ...penalties]);
}

function objectiveOf(model: Model, options: TrainingOptions, validation: Dataset | undefined): Objective {
  const name = options.loss ?? defaultLoss(model, validation);
  const smoothing = options.labelSmoothing;
  const weights = options.classWeights.length > 0 ? options.classWeights : undefined;
  if (name !== 'cross-entropy' && (smoothing !== undefined || weights))
    throw usageError(`loss ${name} has no ${smoothing === undefined ? '--class-weights' : '--label-smoothing'}: expected cross-entropy`);
  return lossObjective(name, { smoothing, weights });
}

/** By what the labels are, as far as metric and output tell: several scores are classes, a single one a value, or two classes where they have names. */
function defaultLoss(model: Model, data: Dataset | undefined): LossName {
  if (outputWidth(model) !== 1) return 'cross-entropy';
  return data?.classes === undefined ? 'mse' : 'bce';
}

function outputWidth(model: Model): number | undefined {
  const output = model.graph.outputs.find((o) => o.name === 'logits') ?? model.graph.outputs[0];
  const width = tensorTypeOf(output)?.shape?.at(-1);
  return typeof width === 'number' ? width : undefined;
}

/** Classes that the model tells apart, as far as its output says. */
export function classesOf(model: Model): number | undefined {
  const width = outputWidth(model);
  return width !== undefined && width > 1 ? width : undefined;
}

/** Puts the weights of a trained copy into the model. */
export function takeWeights(model: Model, trained: Model): void {
  for (const value of model.graph.initializers) {
    const tensor = trained.graph.value(value.name)?.initializer;
    if (tensor) value.initializer = tensor;
  }
}

function noteOf(result: TrainResult, objective: Objective, metric: string | null, frozen: number): TrainingNote {
  const { curve } = result;
  const width = Math.max(1, Math.ceil(curve.length / CURVE_POINTS));
  const points = Array.from({ length: Math.ceil(curve.length / width) }, (_, k) => {
    const part = curve.slice(k * width, (k + 1) * width);
    return { step: part[0]!.step, loss: part.reduce((sum, p) => sum + p.loss, 0) / part.length, lr: part[0]!.lr };
  });
  return {
    loss: objective.name,
    metric,
    steps: result.steps,
    msPerStep: result.msPerStep,
    stopped: result.stopped,
    best: result.best ?? null,
    parameters: { trained: result.parameters.length, frozen },
    memory: { ...result.memory, kept: result.memory.kept.slice(0, KEPT_VALUES) },
    epochs: result.epochs,
    curve: points,
  };
}

/** One line for the memory of a step. */
export function describeMemory({ total, activations, recomputed, parameters, gradients, optimizer, states, kept }: TrainingMemory): string {
  const parts = [
    `${formatBytes(activations)} kept for the backward pass${kept[0] ? ` (most by ${kept[0].producer ?? `the input "${kept[0].name}"`}: ${formatBytes(kept[0].bytes)})` : ''}`,
    ...(recomputed > 0 ? [`${formatBytes(recomputed)} computed again at a time`] : []),
    `${formatBytes(parameters)} parameters`,
    `${formatBytes(gradients)} gradients`,
    ...(optimizer > 0 ? [`${formatBytes(optimizer)} state of the optimizer`] : []),
    ...(states > 0 ? [`${formatBytes(states)} running statistics`] : []),
  ];
  return `a step holds ${formatBytes(total)}: ${parts.join(', ')}`;
}

/** One line for an epoch. */
export function describeEpoch({ epoch, loss, metric, value, ms }: EpochResult, epochs: number): string {
  const figure = metric === undefined || value === undefined ? '' : `, ${metric} ${formatQuality(metric, value)}`;
  return `epoch ${epoch + 1}/${epochs}: loss ${loss.toFixed(4)}${figure}, ${(ms / 1000).toFixed(1)} s`;
}
