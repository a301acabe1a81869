// The optimizer: parameters, gradients and state side by side in one buffer, updated in place by fused kernels; clipping by the norm of all gradients,
// accumulation over several batches, a moving average of the weights. The training graph reads `parameters` and writes `gradients`: no copies are made.
// The same steps give the same bits with and without SIMD. Not for threads: one update runs at the speed of memory.
import { bugError, dataError, usageError } from '../../errors.js';
import { type Kernels, scalarKernels } from './kernels.js';
import { total, type UpdateRule } from './rules.js';
import { simdArena } from './simd.js';

export interface ParameterSpec {
  readonly name: string;
  readonly dims: readonly number[];
}

/** Parameters that are trained differently; the first group that matches counts. */
export interface ParameterGroup {
  readonly match: (parameter: ParameterSpec) => boolean;
  /** Multiplies the learning rate (default 1). */
  readonly lrScale?: number;
  /** Instead of the rule's weight decay. */
  readonly weightDecay?: number;
}

export interface OptimizerOptions {
  readonly groups?: readonly ParameterGroup[];
  /** Gradients are scaled down so that the norm of all of them together is at most this. */
  readonly clipNorm?: number;
  /** Keeps a moving average of the weights, with this decay. */
  readonly emaDecay?: number;
  /** Keeps room for sums of gradients over several batches. */
  readonly accumulate?: boolean;
  /** False: plain loops, same results. */
  readonly simd?: boolean;
}

export interface StepResult {
  /** Norm of all gradients together, before clipping; NaN or infinite where a gradient is, and then nothing was changed. */
  readonly gradientNorm: number;
  readonly clipped: boolean;
}

/** All that a step depends on besides the gradients: copies, to be stored and given to `restore`. */
export interface OptimizerState {
  readonly rule: string;
  readonly settings: Readonly<Record<string, number | boolean>>;
  readonly step: number;
  /** Total weight of the gradients that were accumulated since the last step. */
  readonly accumulated: number;
  /** `parameters/NAME`, `SLOT/NAME`, `ema/NAME`, `sum/NAME`. */
  readonly arrays: ReadonlyMap<string, Float32Array>;
}

/** Weight decay for matrices and filters only: no biases, scales and shifts, and nothing whose name one of the patterns matches. */
export function withoutDecay(...names: readonly RegExp[]): ParameterGroup {
  return { match: (p) => p.dims.length < 2 || names.some((pattern) => pattern.test(p.name)), weightDecay: 0 };
}

interface Place {
  readonly name: string;
  /** Address within each region. */
  readonly at: number;
  readonly count: number;
  readonly bytes: number;
}

/** Neighbouring places updated by one call. */
interface Run {
  readonly at: number;
  readonly bytes: number;
  readonly lrScale: number;
  readonly weightDecay: number;
}

/** Tensors start at cache lines. */
const ALIGNMENT = 64;
const SCALARS = 64;

export class Optimizer {
  readonly rule: UpdateRule;
  /** Views on the buffer, by parameter. */
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** Averaged weights; empty without `emaDecay`. Equal to the parameters before the first step. */
  readonly averages: ReadonlyMap<string, Float32Array>;
  readonly usesSimd: boolean;
  readonly #options: OptimizerOptions;
  readonly #kernels: Kernels;
  readonly #scalars: Float32Array;
  readonly #sums: Float64Array;
  readonly #views = new Map<string, ReadonlyMap<string, Float32Array>>();
  readonly #regions = new Map<string, number>();
  readonly #size: number;
  readonly #runs: readonly Run[];
  #step = 0;
  #accumulated = 0;

  constructor(rule: UpdateRule, parameters: readonly ParameterSpec[], options: OptimizerOptions = {}) {
    const { clipNorm, emaDecay } = options;
    if (clipNorm !== undefined && !(clipNorm > 0)) throw usageError(`clipNorm: expected a number above 0, got ${clipNorm}`);
    if (emaDecay !== undefined && !(emaDecay >= 0 && emaDecay < 1))
      throw usageError(`emaDecay: expected a number from 0 to below 1, got ${emaDecay}`);
    this.rule = rule;
    this.#options = options;
    const { places, runs, size } = arrange(rule, parameters, options.groups ?? []);
    this.#runs = runs;
    this.#size = size;
    const names = [
      'parameters',
      'gradients',
      ...rule.slots,
      ...(emaDecay === undefined ? [] : ['ema']),
      ...(options.accumulate ? ['sum'] : []),
    ];
    for (const [i, name] of names.entries()) this.#regions.set(name, 2 * SCALARS + i * size);
    const bytes = 2 * SCALARS + names.length * size;
    const simd = options.simd === false ? null : simdArena(bytes);
    this.usesSimd = simd !== null;
    const buffer = simd?.buffer ?? new ArrayBuffer(bytes);
    this.#kernels = simd?.kernels ?? scalarKernels(buffer);
    this.#scalars = new Float32Array(buffer, 0, SCALARS / 4);
    this.#sums = new Float64Array(buffer, SCALARS, 4);
    for (const [name, start] of this.#regions)
      this.#views.set(name, new Map(places.map((p) => [p.name, new Float32Array(buffer, start + p.at, p.count)])));
    this.parameters = this.#view('parameters');
    this.gradients = this.#view('gradients');
    this.averages = this.#views.get('ema') ?? new Map();
  }

  /** Steps taken so far. */
  get stepCount(): number {
    return this.#step;
  }

  #view(region: string): ReadonlyMap<string, Float32Array> {
    return this.#views.get(region)!;
  }

  #region(name: string): number {
    const start = this.#regions.get(name);
    if (start === undefined) throw bugError(`the optimizer keeps no ${name}`);
    return start;
  }

  /** Adds the gradients, times a weight, to those kept for the next step, which takes their weighted mean. */
  accumulate(weight = 1): void {
    const sum = this.#region('sum');
    this.#blend(sum, this.#region('gradients'), this.#accumulated === 0 ? 0 : 1, weight);
    this.#accumulated += weight;
  }

  /** Updates the parameters from the gradients, or from what was accumulated. `lr` is for groups whose scale is 1. */
  step(lr: number = this.rule.lr): StepResult {
    const parameters = this.#region('parameters');
    if (this.#step === 0 && this.#regions.has('ema')) this.#blend(this.#region('ema'), parameters, 0, 1);
    const gradients = this.#region(this.#accumulated > 0 ? 'sum' : 'gradients');
    const mean = this.#accumulated > 0 ? 1 / this.#accumulated : 1;
    this.#kernels.sumSquares(gradients, this.#size, this.#sums.byteOffset);
    const gradientNorm = Math.sqrt(total(this.#sums)) * mean;
    if (!Number.isFinite(gradientNorm)) return { gradientNorm, clipped: false };
    const limit = this.#options.clipNorm ?? Number.POSITIVE_INFINITY;
    const clipped = gradientNorm > limit;
    const gradientScale = clipped ? (mean * limit) / gradientNorm : mean;
    this.#step++;
    for (const run of this.#runs) {
      this.rule.update({
        kernels: this.#kernels,
        parameters: parameters + run.at,
        gradients: gradients + run.at,
        slots: this.rule.slots.map((slot) => this.#region(slot) + run.at),
        bytes: run.bytes,
        scalarsAt: 0,
        scalars: this.#scalars,
        sumsAt: this.#sums.byteOffset,
        sums: this.#sums,
        step: this.#step,
        lr: lr * run.lrScale,
        weightDecay: run.weightDecay,
        gradientScale,
      });
    }
    this.#accumulated = 0;
    const decay = this.#options.emaDecay;
    if (decay !== undefined) this.#blend(this.#region('ema'), parameters, decay, 1 - decay);
    return { gradientNorm, clipped };
  }

  /** y = a y + b x over whole regions. */
  #blend(y: number, x: number, a: number, b: number): void {
    if (this.#size === 0) return;
    this.#scalars.set([a, b]);
    this.#kernels.blend(y, x, this.#size, 0);
  }

  state(): OptimizerState {
    const arrays = new Map<string, Float32Array>();
    for (const [region, views] of this.#views) {
      if (region === 'gradients' || (region === 'sum' && this.#accumulated === 0)) continue;
      for (const [name, view] of views) arrays.set(`${region}/${name}`, view.slice());
    }
    return { rule: this.rule.name, settings: this.rule.settings, step: this.#step, accumulated: this.#accumulated, arrays };
  }

  /** Continues from a state of an optimizer of the same rule and parameters; throws E_DATA where it does not fit. */
  restore(state: OptimizerState): void {
    const mine = JSON.stringify([this.rule.name, this.rule.settings]);
    const theirs = JSON.stringify([state.rule, state.settings]);
    if (mine !== theirs) throw dataError(`optimizer state: expected one of ${mine}, got one of ${theirs}`);
    for (const [region, views] of this.#views) {
      if (region === 'gradients' || (region === 'sum' && state.accumulated === 0)) continue;
      for (const [name, view] of views) {
        const array = state.arrays.get(`${region}/${name}`);
        if (array?.length !== view.length)
          throw dataError(`optimizer state "${region}/${name}": expected ${view.length} numbers, got ${array?.length ?? 'none'}`);
        view.set(array);
      }
    }
    this.#step = state.step;
    this.#accumulated = state.accumulated;
  }
}

/** Places of the parameters within a region, those of a group side by side, and the runs to update. */
function arrange(
  rule: UpdateRule,
  parameters: readonly ParameterSpec[],
  groups: readonly ParameterGroup[],
): { places: Place[]; runs: Run[]; size: number } {
  const places: Place[] = [];
  const runs: Run[] = [];
  let size = 0;
  const members = new Map<ParameterGroup | undefined, ParameterSpec[]>();
  for (const parameter of parameters) {
    const group = groups.find((g) => g.match(parameter));
    const list = members.get(group);
    if (list) list.push(parameter);
    else members.set(group, [parameter]);
  }
  for (const [group, list] of members) {
    const settings = { lrScale: group?.lrScale ?? 1, weightDecay: group?.weightDecay ?? rule.weightDecay };
    const start = size;
    for (const { name, dims } of list) {
      const count = dims.reduce((n, d) => n * d, 1);
      const bytes = Math.ceil((count * 4) / ALIGNMENT) * ALIGNMENT;
      places.push({ name, at: size, count, bytes });
      if (rule.perTensor && bytes > 0) runs.push({ at: size, bytes, ...settings });
      size += bytes;
    }
    if (!rule.perTensor && size > start) runs.push({ at: start, bytes: size - start, ...settings });
  }
  return { places, runs, size };
}
