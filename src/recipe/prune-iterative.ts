// Iterative pruning: prune a little, train, measure, again. The course of size and quality goes to the report; with a largest drop the last point that
// keeps it is the result. Lottery tickets (Frankle and Carbin 2019): after each step the weights that are left return to where they started.
import { modelCost } from '../analysis/cost.js';
import { masksOf, trainableMasks } from '../analysis/masks.js';
import { trainableParameters } from '../analysis/trainable.js';
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { defaultMetric } from '../data/metrics.js';
import type { TrainingData } from '../data/training.js';
import { PareError, qualityError, usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import { type BoundPass, definePass, type PassContext } from '../pass/define.js';
import type { SessionOptions } from '../runtime/engine.js';
import { withWeights } from '../train/trained-model.js';
import { MovementScores } from './prune-movement.js';
import { Recovery, type RecoveryOptions, recoveryOptions } from './prune-recovery.js';
import { removedShares } from './prune-schedule.js';
import type { PruneStepper, PruningKind } from './prune-steppers.js';
import { qualityDrop } from './quality.js';
import { takeWeights } from './train.js';
import { Validator } from './validator.js';

/** What the options cannot say. */
export interface IterativeSources {
  /** What is trained on; labels are used by `--alpha` and by losses on labels. */
  readonly data: TrainingData;
  readonly validation?: Dataset | undefined;
  readonly metric?: Metric | undefined;
  /** What the recovery learns from; default: the model as it is given. */
  readonly teacher?: Model | undefined;
  /** Weights that the lottery schedule returns to; default: those of the model as it is given. */
  readonly rewind?: Model | undefined;
  /** Loss of quality that a point may have, as `qualityDrop` counts it. */
  readonly maxDrop?: number | undefined;
  readonly seed: number;
  readonly session?: SessionOptions | undefined;
  /** Called after each step, with the number of steps and the metric. */
  readonly onPoint?: ((point: PrunePoint, steps: number, metric: string | null) => void) | undefined;
}

/** A point of the course; step 0 is the model as it is given. */
export interface PrunePoint {
  readonly step: number;
  /** Share of the budget's measure that is gone, as the schedule says. */
  readonly removed: number;
  /** Share of the elements of pruned filters and matrices that are held at zero. */
  readonly sparsity: number;
  readonly params: number;
  readonly macs: number | null;
  /** Quality after pruning and after training; null without validation data. */
  readonly pruned: number | null;
  readonly recovered: number | null;
  readonly epochs: number;
  readonly ms: number;
}

/** What the record keeps, as the note `pruning` of the pass. */
export interface PruningNote {
  readonly kind: PruneStepper['kind'];
  readonly schedule: RecoveryOptions['schedule'];
  readonly metric: string | null;
  readonly points: readonly PrunePoint[];
  /** Step whose model is the result. */
  readonly chosen: number;
}

/** The pass for one kind of pruning over these sources. */
export function iterativePruning(
  kind: PruningKind,
  options: Parameters<ReturnType<typeof passFor>>[0],
  sources: IterativeSources,
): BoundPass {
  const bound = passFor(kind, sources)(options);
  return { ...bound, options: { ...kind.options, ...bound.options } };
}

function passFor(kind: PruningKind, sources: IterativeSources) {
  return definePass({
    name: 'prune-iterative',
    summary: 'prune, train and measure in steps',
    options: recoveryOptions,
    needs: { data: 'required', engine: true },
    run: (model, options, ctx) => new Course(model, options, kind, sources, ctx).run(),
  });
}

class Course {
  readonly #model: Model;
  readonly #o: RecoveryOptions;
  readonly #kind: PruningKind;
  readonly #sources: IterativeSources;
  readonly #ctx: PassContext;
  readonly #points: PrunePoint[] = [];
  readonly #metric: Metric | undefined;

  constructor(model: Model, options: RecoveryOptions, kind: PruningKind, sources: IterativeSources, ctx: PassContext) {
    this.#model = model;
    this.#o = options;
    this.#kind = kind;
    this.#sources = sources;
    this.#ctx = ctx;
    this.#metric = sources.validation && (sources.metric ?? defaultMetric(model, sources.validation));
  }

  async run(): Promise<boolean> {
    const { data, validation, maxDrop, seed, session } = this.#sources;
    const [model, ctx, o] = [this.#model, this.#ctx, this.#o];
    if (maxDrop !== undefined && !validation)
      throw usageError('a largest drop needs data to measure quality on: expected --validation SPEC or labelled --data');
    const given = cloneModel(model);
    const metric = this.#metric;
    const validator = validation && metric && new Validator(given, validation, metric, ctx, session);
    const recovery = await Recovery.open({ data, options: o, seed, session, ctx }, this.#sources.teacher ?? given);
    try {
      const figure = async () => (await validator?.figure(model))?.value ?? null;
      const before = await figure();
      const { stepper, observe } = await this.#stepper(recovery);
      if (o.schedule === 'lottery' && stepper.kind !== 'unstructured')
        throw usageError('the lottery schedule is of single weights: expected --unstructured, got --structured');
      const shares = stepper.atOnce ? [stepper.target] : removedShares(o.schedule, stepper.target, o.steps);
      this.#add({ step: 0, removed: 0, pruned: before, recovered: before, epochs: 0, ms: 0 }, shares.length);
      const widths = new Widths();
      let chosen = { step: 0, model: given };
      for (const [i, removed] of shares.entries()) {
        const start = performance.now();
        await stepper.prune(model, removed, widths.context(ctx));
        const masks = trainableMasks(model);
        if (o.schedule === 'lottery') rewindWeights(model, this.#sources.rewind ?? given, masks);
        const pruned = await figure();
        const epochs = i === shares.length - 1 ? (o.finalEpochs ?? o.epochs) : o.epochs;
        const { last } = await recovery.train(model, i + 1, epochs, masks, observe);
        takeWeights(model, last);
        const recovered = await figure();
        const ms = performance.now() - start;
        this.#add({ step: i + 1, removed, pruned, recovered, epochs, ms }, shares.length);
        const kept = recovered === null || maxDrop === undefined || this.#drop(metric!, before!, recovered) <= maxDrop;
        if (!kept) break;
        chosen = { step: i + 1, model: cloneModel(model) };
      }
      this.#deliver(chosen, widths, stepper);
      return true;
    } finally {
      await validator?.close();
      await recovery.release();
    }
  }

  /** Movement scores come from training: it goes first once, with nothing removed. */
  async #stepper(recovery: Recovery): Promise<{ stepper: PruneStepper; observe: MovementScores['observe'] | undefined }> {
    const stepper = await this.#kind.open(this.#model, this.#ctx);
    if (!this.#o.movement) return { stepper, observe: undefined };
    if (!stepper.byMovement) throw usageError('movement pruning is of single weights: expected --unstructured, got --structured');
    if (recovery.teacherOnly && !this.#sources.teacher) {
      throw usageError('movement pruning: expected a loss that moves weights, got the outputs of the model itself, which it has already', {
        hint: 'train on labels (--loss cross-entropy, or --alpha below 1), or give another --teacher',
      });
    }
    const scores = new MovementScores();
    const { last } = await recovery.train(this.#model, 0, this.#o.epochs, trainableMasks(this.#model), scores.observe);
    takeWeights(this.#model, last);
    return { stepper: stepper.byMovement(scores), observe: scores.observe };
  }

  #drop(metric: Metric, before: number, after: number): number {
    const { name, higherIsBetter } = metric;
    return qualityDrop({ metric: name, before, after, higherIsBetter, samples: 0, synthetic: false });
  }

  #add(point: Pick<PrunePoint, 'step' | 'removed' | 'pruned' | 'recovered' | 'epochs' | 'ms'>, steps: number): void {
    const cost = costOf(this.#model);
    const whole = { ...point, ...cost, sparsity: zerosOf(this.#model) };
    this.#points.push(whole);
    this.#sources.onPoint?.(whole, steps, this.#metric?.name ?? null);
  }

  #deliver(chosen: { step: number; model: Model }, widths: Widths, stepper: PruneStepper): void {
    const { maxDrop } = this.#sources;
    const metric = this.#metric;
    if (chosen.step === 0) {
      const [first, next] = this.#points;
      throw qualityError(
        `no step keeps the quality: expected a drop of ${metric!.name} of at most ${maxDrop}, got ${this.#drop(metric!, first!.recovered!, next!.recovered!).toPrecision(4)} at ${(100 * next!.removed).toFixed(1)} % removed`,
        { hint: 'nothing was written; take more --steps (smaller first ones), more --epochs, or allow a larger drop' },
      );
    }
    const last = this.#points.at(-1)!;
    if (chosen.step < last.step)
      this.#ctx.warn({
        message: `stopped at step ${chosen.step}: the next one (${(100 * last.removed).toFixed(1)} % removed) loses more than allowed`,
        fix: 'more --epochs or --steps may get further',
      });
    const { model } = chosen;
    this.#model.graph = model.graph;
    stepper.finish?.(this.#model, this.#ctx);
    const note: PruningNote = {
      kind: stepper.kind,
      schedule: this.#o.schedule,
      metric: metric?.name ?? null,
      points: this.#points,
      chosen: chosen.step,
    };
    this.#ctx.note('pruning', note);
    const groups = widths.upTo(chosen.step);
    if (groups.length > 0) this.#ctx.note('groups', groups);
  }
}

/** Weights back to where they started, under the masks. Throws E_USAGE where the source lacks a masked weight. */
function rewindWeights(model: Model, source: Model, masks: ReadonlyMap<string, Uint8Array>): void {
  const weights = new Map<string, Float32Array>();
  for (const { name, initializer: own } of trainableParameters(model)) {
    const other = source.graph.value(name)?.initializer;
    const mask = masks.get(name);
    if (other && String(other.dims) === String(own!.dims)) {
      const floats = other.floats();
      weights.set(name, mask ? floats.map((w, i) => (mask[i] === 0 ? 0 : w)) : floats);
    } else if (mask)
      throw usageError(`weights to rewind to: expected "${name}" of [${own!.dims}], got ${other ? `[${other.dims}]` : 'none'}`);
  }
  takeWeights(model, withWeights(model, weights));
}

/** Share of the elements of masked weights that are held at zero. */
function zerosOf(model: Model): number {
  let [zeros, total] = [0, 0];
  for (const mask of masksOf(model).values()) {
    total += mask.length;
    for (const m of mask) if (m === 0) zeros++;
  }
  return total > 0 ? zeros / total : 0;
}

function costOf(model: Model): { params: number; macs: number | null } {
  try {
    const { macs, params } = modelCost(model);
    return { macs, params };
  } catch (error) {
    if (error instanceof PareError && error.kind !== 'bug') return { macs: null, params: 0 };
    throw error;
  }
}

interface Width {
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

/** Widths of groups over the steps: each step knows only the one before. */
class Widths {
  readonly #steps: Width[][] = [];

  /** For the next step: notes are not the report's, and what is said again in each step is said once. */
  context(ctx: PassContext): PassContext {
    const own: Width[] = [];
    this.#steps.push(own);
    const first = this.#steps.length === 1;
    return {
      ...ctx,
      checkAborted: () => ctx.checkAborted(),
      progress: (p) => ctx.progress(p),
      warn: (w) => ctx.warn(w),
      skip: (s) => {
        if (first) ctx.skip(s);
      },
      rules: (r) => {
        if (first) ctx.rules(r);
      },
      note: (key, value) => {
        if (key === 'groups') own.push(...(value as Width[]));
        else if (first) ctx.note(key, value);
      },
    };
  }

  /** From before the first to after step number `count`. */
  upTo(count: number): Width[] {
    const byName = new Map<string, Width>();
    for (const step of this.#steps.slice(0, count))
      for (const w of step) byName.set(w.name, { ...w, before: byName.get(w.name)?.before ?? w.before });
    return [...byName.values()];
  }
}
