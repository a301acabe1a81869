// Learning rates over the steps of a training: functions of the step number alone, so that a resumed training goes on exactly, and two that watch a
// validation figure. Cosine: Loshchilov and Hutter 2017 (without restarts); linear warm-up: Goyal et al. 2017; one-cycle: Smith and Topin 2018.
import { usageError } from '../errors.js';

/** Learning rate for a step; steps count from 0. */
export type Schedule = (step: number) => number;

export const constant =
  (lr: number): Schedule =>
  () =>
    lr;

/** lr * factor^k after the k-th milestone (steps in any order). */
export function steps(lr: number, milestones: readonly number[], factor = 0.1): Schedule {
  return (step) => lr * factor ** milestones.filter((m) => step >= m).length;
}

/** lr * factor every `every` steps. */
export function stepEvery(lr: number, every: number, factor = 0.1): Schedule {
  requirePositive('every', every);
  return (step) => lr * factor ** Math.floor(step / every);
}

/** Falls from lr to `end` along half a cosine over `total` steps, and stays there. */
export function cosine(lr: number, total: number, end = 0): Schedule {
  requirePositive('total', total);
  return (step) => end + ((lr - end) * (1 + Math.cos(Math.PI * Math.min(1, step / total)))) / 2;
}

/** Falls from lr to `end` in a straight line over `total` steps, and stays there. */
export function linear(lr: number, total: number, end = 0): Schedule {
  requirePositive('total', total);
  return (step) => lr + (end - lr) * Math.min(1, step / total);
}

/** Rises in a straight line over the first `count` steps to where `then` starts; the last warm-up step is below it. */
export function withWarmup(count: number, then: Schedule): Schedule {
  return (step) => (step < count ? (then(0) * (step + 1)) / (count + 1) : then(step - count));
}

export interface OneCycleOptions {
  /** Part of the steps that the learning rate rises. */
  readonly rise?: number;
  /** It starts at peak / startDivisor and ends at that over endDivisor. */
  readonly startDivisor?: number;
  readonly endDivisor?: number;
}

/** Rises along half a cosine to `peak`, then falls along another one far below the start. The last of `total` steps has the end value. */
export function oneCycle(peak: number, total: number, options: OneCycleOptions = {}): Schedule {
  requirePositive('total', total);
  const { rise = 0.3, startDivisor = 25, endDivisor = 1e4 } = options;
  const start = peak / startDivisor;
  const end = start / endDivisor;
  const top = Math.max(1, rise * total - 1);
  const last = Math.max(top + 1, total - 1);
  const between = (a: number, b: number, part: number) => b + ((a - b) * (1 + Math.cos(Math.PI * Math.min(1, part)))) / 2;
  return (step) => (step <= top ? between(start, peak, step / top) : between(peak, end, (step - top) / (last - top)));
}

export const SCHEDULES = ['constant', 'step', 'cosine', 'linear', 'one-cycle', 'plateau'] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

/**
 * A schedule by its name with the usual settings: `step` divides by ten after a half and three quarters of the steps; `plateau` is constant here,
 * with a Plateau to scale it. Warm-up steps come out of the total (one-cycle has its own).
 */
export function scheduleOf(name: ScheduleName, lr: number, total: number, warmup = 0): Schedule {
  if (warmup < 0 || warmup > total) throw usageError(`warm-up: expected 0 to ${total} steps, got ${warmup}`);
  const rest = Math.max(1, total - warmup);
  const warm = (then: Schedule) => (warmup > 0 ? withWarmup(warmup, then) : then);
  switch (name) {
    case 'constant':
    case 'plateau':
      return warm(constant(lr));
    case 'step':
      return warm(steps(lr, [Math.floor(rest / 2), Math.floor((rest * 3) / 4)]));
    case 'cosine':
      return warm(cosine(lr, rest));
    case 'linear':
      return warm(linear(lr, rest));
    case 'one-cycle':
      return oneCycle(lr, total, warmup > 0 ? { rise: warmup / total } : {});
  }
}

export interface WatchOptions {
  /** Whether larger figures are better (accuracy) or smaller ones (loss). */
  readonly better: 'larger' | 'smaller';
  /** Measurements without improvement that are put up with. */
  readonly patience: number;
  /** What counts as an improvement. */
  readonly minDelta?: number;
}

export interface WatchState {
  readonly best: number | null;
  readonly bad: number;
  readonly factor: number;
}

/** Follows a validation figure: the base of early stopping and of lowering the learning rate. */
class Watch {
  readonly #options: WatchOptions;
  #best: number | null = null;
  #bad = 0;
  protected scale = 1;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  get best(): number | null {
    return this.#best;
  }

  /** Takes a measurement; true where patience has run out. A figure that is no number is no improvement. */
  protected watch(value: number): boolean {
    const gain = this.#options.better === 'larger' ? value - (this.#best ?? -Infinity) : (this.#best ?? Infinity) - value;
    if (gain > (this.#options.minDelta ?? 0)) {
      this.#best = value;
      this.#bad = 0;
      return false;
    }
    this.#bad++;
    return this.#bad > this.#options.patience;
  }

  protected forgive(): void {
    this.#bad = 0;
  }

  state(): WatchState {
    return { best: this.#best, bad: this.#bad, factor: this.scale };
  }

  restore(state: WatchState): void {
    this.#best = state.best;
    this.#bad = state.bad;
    this.scale = state.factor;
  }
}

/** Says when to stop: more than `patience` measurements in a row without improvement. */
export class EarlyStopping extends Watch {
  /** Takes a measurement; true where training should stop. */
  update(value: number): boolean {
    return this.watch(value);
  }
}

/** Lowers the learning rate when a figure stops improving. */
export class Plateau extends Watch {
  readonly #by: number;
  readonly #least: number;

  constructor(options: WatchOptions & { readonly by?: number; readonly least?: number }) {
    super(options);
    this.#by = options.by ?? 0.1;
    this.#least = options.least ?? 0;
  }

  /** Multiplies the learning rate. */
  get factor(): number {
    return this.scale;
  }

  /** Takes a measurement; true where the factor was lowered. */
  update(value: number): boolean {
    if (!this.watch(value)) return false;
    this.forgive();
    const before = this.scale;
    this.scale = Math.max(this.#least, before * this.#by);
    return this.scale < before;
  }
}

function requirePositive(name: string, value: number): void {
  if (!(value > 0)) throw usageError(`${name}: expected a number above 0, got ${value}`);
}
