// How far a training is and how well it goes: position in the epochs, loss curve, validation figures, the best weights, patience.
import { EarlyStopping, Plateau, type WatchOptions, type WatchState } from './schedules.js';
import type { CurvePoint, EpochResult, TrainOptions, Validation } from './trainer-options.js';

/** The next batch. */
export interface Position {
  epoch: number;
  batch: number;
}

export interface Best {
  readonly epoch: number;
  readonly value: number;
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** What a checkpoint keeps of it beside the curve and the best weights. */
export interface ProgressionState {
  readonly position: Position;
  readonly batches: number;
  readonly epochLoss: number;
  readonly epochWeight: number;
  readonly results: readonly EpochResult[];
  readonly best: { readonly epoch: number; readonly value: number } | null;
  readonly better: WatchOptions['better'] | null;
  readonly early: WatchState | null;
  readonly plateau: WatchState | null;
  readonly finished: boolean;
}

export class Progression {
  readonly position: Position = { epoch: 0, batch: 0 };
  readonly curve: CurvePoint[] = [];
  readonly results: EpochResult[] = [];
  best: Best | undefined;
  /** Batches taken so far, over all epochs. */
  batches = 0;
  /** Patience has run out. */
  finished = false;
  readonly #o: TrainOptions;
  readonly #begun = performance.now();
  #epochLoss = 0;
  #epochWeight = 0;
  #better: WatchOptions['better'] | undefined;
  #early: EarlyStopping | undefined;
  #plateau: Plateau | undefined;

  constructor(options: TrainOptions) {
    this.#o = options;
  }

  get lrFactor(): number {
    return this.#plateau?.factor ?? 1;
  }

  /** Mean loss over the samples of the epoch so far. */
  get loss(): number {
    return this.#epochWeight > 0 ? this.#epochLoss / this.#epochWeight : 0;
  }

  /** Differs between any two states worth a checkpoint. */
  get stamp(): string {
    return `${this.position.epoch}:${this.position.batch}`;
  }

  /** Part of the work done. */
  get fraction(): number {
    const { data, batchSize, epochs, accumulate = 1, maxSteps = Infinity, maxMs } = this.#o;
    const count = data.steps(batchSize);
    const byEpochs = (this.position.epoch + this.position.batch / count) / epochs;
    const bySteps = this.curve.length / Math.min(maxSteps, epochs * Math.ceil(count / accumulate));
    const byTime = maxMs === undefined ? 0 : (performance.now() - this.#begun) / maxMs;
    return Math.min(1, Math.max(byEpochs, bySteps, byTime));
  }

  step(point: CurvePoint, lossSum: number, weight: number, batches: number): void {
    this.curve.push(point);
    this.#epochLoss += lossSum;
    this.#epochWeight += weight;
    this.position.batch += batches;
    this.batches += batches;
  }

  endEpoch(result: EpochResult, figure: Validation | undefined, weights: ReadonlyMap<string, Float32Array>): void {
    this.results.push(result);
    if (figure) this.consider(result.epoch, figure, weights);
    this.#watch(figure?.value ?? result.loss, figure?.higherIsBetter ?? false);
    this.position.epoch++;
    this.position.batch = 0;
    this.#epochLoss = 0;
    this.#epochWeight = 0;
  }

  /** Keeps the weights where the figure is the best so far; of equal ones the first. */
  consider(epoch: number, { value, higherIsBetter }: Validation, weights: ReadonlyMap<string, Float32Array>): void {
    const before = this.best?.value;
    const better = before === undefined || (higherIsBetter ? value > before : value < before);
    if (better && !Number.isNaN(value)) this.best = { epoch, value, weights };
  }

  #watch(value: number, higherIsBetter: boolean): void {
    this.#prepareWatches(higherIsBetter ? 'larger' : 'smaller');
    this.#plateau?.update(value);
    if (this.#early?.update(value)) this.finished = true;
  }

  #prepareWatches(better: WatchOptions['better']): void {
    if (this.#better !== undefined) return;
    this.#better = better;
    const { earlyStopping, plateau } = this.#o;
    if (earlyStopping) this.#early = new EarlyStopping({ better, ...earlyStopping });
    if (plateau) this.#plateau = new Plateau({ better, ...plateau });
  }

  state(): ProgressionState {
    const { best } = this;
    return {
      position: { ...this.position },
      batches: this.batches,
      epochLoss: this.#epochLoss,
      epochWeight: this.#epochWeight,
      results: this.results,
      best: best ? { epoch: best.epoch, value: best.value } : null,
      better: this.#better ?? null,
      early: this.#early?.state() ?? null,
      plateau: this.#plateau?.state() ?? null,
      finished: this.finished,
    };
  }

  restore(state: ProgressionState, curve: readonly CurvePoint[], best: Best | undefined): void {
    Object.assign(this.position, state.position);
    this.batches = state.batches;
    this.#epochLoss = state.epochLoss;
    this.#epochWeight = state.epochWeight;
    this.results.push(...state.results);
    this.curve.push(...curve);
    this.best = best;
    // A training that is taken up with more patience, or none, goes on by what it is told now.
    this.finished = state.finished && this.#o.earlyStopping !== undefined;
    if (state.better) this.#prepareWatches(state.better);
    if (state.early) this.#early?.restore(state.early);
    if (state.plateau) this.#plateau?.restore(state.plateau);
  }
}
