// The update rules. Each writes its scalars and calls a kernel of kernels.ts, which has the formulas.
// SGD: Polyak 1964, Nesterov momentum as in Sutskever et al. 2013 (the form without look-ahead); Adam: Kingma and Ba 2015; AdamW: Loshchilov and Hutter 2019;
// Lion: Chen et al. 2023; LAMB: You et al. 2020 (trust ratio 1 where a norm is zero, no clamping).
import { usageError } from '../../errors.js';
import type { Kernels } from './kernels.js';

/** What changes from step to step. */
export interface StepSettings {
  /** Counts from 1. */
  readonly step: number;
  readonly lr: number;
  readonly weightDecay: number;
  /** Multiplies the gradients: clipping and the mean over accumulated batches. */
  readonly gradientScale: number;
}

/** Where the arrays of some parameters lie, as byte addresses, and what the step is. */
export interface UpdateCall extends StepSettings {
  readonly kernels: Kernels;
  readonly parameters: number;
  readonly gradients: number;
  /** One address per slot of the rule. */
  readonly slots: readonly number[];
  readonly bytes: number;
  /** Address and content of the scalars; `sums` are four doubles for results at `sumsAt`. */
  readonly scalarsAt: number;
  readonly scalars: Float32Array;
  readonly sumsAt: number;
  readonly sums: Float64Array;
}

/** Which formula of kernels.ts the rule is made of. */
export type UpdateKernel = 'sgd' | 'momentum' | 'nesterov' | 'adam' | 'lion' | 'lambDirection';

export interface UpdateRule {
  readonly name: string;
  /** Numbers that a checkpoint must agree with to be continued. */
  readonly settings: Readonly<Record<string, number | boolean>>;
  /** State arrays, each as large as the parameters. */
  readonly slots: readonly string[];
  /** Learning rate and weight decay where nothing else is asked for. */
  readonly lr: number;
  readonly weightDecay: number;
  /** Must be called for one tensor at a time (norms), not for a run of them. */
  readonly perTensor: boolean;
  readonly kernel: UpdateKernel;
  /** The scalars of the kernel, in the order of kernels.ts. */
  scalars(settings: StepSettings): number[];
  update(call: UpdateCall): void;
}

export interface SgdOptions {
  readonly lr?: number;
  /** 0 (default) needs no state. */
  readonly momentum?: number;
  readonly dampening?: number;
  readonly nesterov?: boolean;
  readonly weightDecay?: number;
}

/** Gradient descent; weight decay is added to the gradient. The momentum buffer starts as the first gradient, as in PyTorch. */
export function sgd(options: SgdOptions = {}): UpdateRule {
  const { lr = 0.1, momentum = 0, dampening = 0, nesterov = false, weightDecay = 0 } = options;
  requireRange('momentum', momentum, 0, 1);
  requireRange('dampening', dampening, 0, 1);
  if (nesterov && (momentum === 0 || dampening !== 0))
    throw usageError(`nesterov: expected momentum above 0 and no dampening, got momentum ${momentum}, dampening ${dampening}`);
  const kernel = momentum === 0 ? 'sgd' : nesterov ? 'nesterov' : 'momentum';
  return {
    name: 'sgd',
    settings: { momentum, dampening, nesterov },
    slots: momentum === 0 ? [] : ['momentum'],
    lr,
    weightDecay,
    perTensor: false,
    kernel,
    scalars: (c) => [c.gradientScale, c.weightDecay, c.lr, ...(momentum === 0 ? [] : [momentum, c.step === 1 ? 1 : 1 - dampening])],
    update(call) {
      const { kernels, parameters, gradients, slots, bytes, scalarsAt } = call;
      call.scalars.set(this.scalars(call));
      if (kernel === 'sgd') kernels.sgd(parameters, gradients, bytes, scalarsAt);
      else kernels[kernel](parameters, gradients, slots[0]!, bytes, scalarsAt);
    },
  };
}

export interface AdamOptions {
  readonly lr?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
}

/** Adam; weight decay is added to the gradient. */
export function adam(options: AdamOptions = {}): UpdateRule {
  return adaptive('adam', { lr: 1e-3, weightDecay: 0, ...options }, false);
}

/** AdamW: Adam with weights shrunk by lr * weightDecay at each step. */
export function adamw(options: AdamOptions = {}): UpdateRule {
  return adaptive('adamw', { lr: 1e-3, weightDecay: 0.01, ...options }, true);
}

function adaptive(name: string, options: AdamOptions & { lr: number; weightDecay: number }, decoupled: boolean): UpdateRule {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, lr, weightDecay } = options;
  requireMoments(beta1, beta2, epsilon);
  return {
    name,
    settings: { beta1, beta2, epsilon },
    slots: ['m', 'v'],
    lr,
    weightDecay,
    perTensor: false,
    kernel: 'adam',
    scalars(c) {
      const l2 = decoupled ? 0 : c.weightDecay;
      const keep = decoupled ? 1 - c.lr * c.weightDecay : 1;
      const step = c.lr / (1 - beta1 ** c.step);
      return [c.gradientScale, l2, step, keep, beta1, 1 - beta1, beta2, 1 - beta2, 1 / Math.sqrt(1 - beta2 ** c.step), epsilon];
    },
    update(call) {
      call.scalars.set(this.scalars(call));
      call.kernels.adam(call.parameters, call.gradients, call.slots[0]!, call.slots[1]!, call.bytes, call.scalarsAt);
    },
  };
}

export interface LionOptions {
  readonly lr?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly weightDecay?: number;
}

/** Lion: the sign of an interpolated momentum; needs a learning rate three to ten times smaller than AdamW's, and a decay as much larger. */
export function lion(options: LionOptions = {}): UpdateRule {
  const { lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weightDecay = 0 } = options;
  requireMoments(beta1, beta2, 1);
  return {
    name: 'lion',
    settings: { beta1, beta2 },
    slots: ['m'],
    lr,
    weightDecay,
    perTensor: false,
    kernel: 'lion',
    scalars: (c) => [c.gradientScale, c.lr, 1 - c.lr * c.weightDecay, beta1, 1 - beta1, beta2, 1 - beta2],
    update(call) {
      call.scalars.set(this.scalars(call));
      call.kernels.lion(call.parameters, call.gradients, call.slots[0]!, call.bytes, call.scalarsAt);
    },
  };
}

/** LAMB: Adam's direction plus decay, scaled for each tensor so that the step is lr times the norm of the tensor. Overwrites the gradients. */
export function lamb(options: AdamOptions = {}): UpdateRule {
  const { lr = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-6, weightDecay = 0.01 } = options;
  requireMoments(beta1, beta2, epsilon);
  return {
    name: 'lamb',
    settings: { beta1, beta2, epsilon },
    slots: ['m', 'v'],
    lr,
    weightDecay,
    perTensor: true,
    kernel: 'lambDirection',
    scalars(c) {
      const first = 1 / (1 - beta1 ** c.step);
      const root = 1 / Math.sqrt(1 - beta2 ** c.step);
      return [c.gradientScale, c.weightDecay, first, beta1, 1 - beta1, beta2, 1 - beta2, root, epsilon];
    },
    update(call) {
      const { kernels, parameters, gradients, slots, bytes, scalarsAt, scalars, sumsAt, sums, lr } = call;
      scalars.set(this.scalars(call));
      kernels.lambDirection(parameters, gradients, slots[0]!, slots[1]!, bytes, scalarsAt);
      kernels.sumSquares(parameters, bytes, sumsAt);
      const weights = Math.sqrt(total(sums));
      kernels.sumSquares(gradients, bytes, sumsAt);
      const direction = Math.sqrt(total(sums));
      scalars.set([1, -lr * (weights > 0 && direction > 0 ? weights / direction : 1)]);
      kernels.blend(parameters, gradients, bytes, scalarsAt);
    },
  };
}

/** The four partial sums of `sumSquares`, always in the same order. */
export function total(sums: Float64Array): number {
  return sums[0]! + sums[1]! + (sums[2]! + sums[3]!);
}

/** Rules by the names that `--optimizer` takes. */
export const OPTIMIZERS = {
  sgd: (o: AdamOptions) => sgd({ ...o, momentum: 0 }),
  momentum: (o: AdamOptions) => sgd({ momentum: o.beta1 ?? 0.9, ...o }),
  nesterov: (o: AdamOptions) => sgd({ momentum: o.beta1 ?? 0.9, ...o, nesterov: true }),
  adam,
  adamw,
  lion,
  lamb,
} as const satisfies Record<string, (options: AdamOptions) => UpdateRule>;

export type OptimizerName = keyof typeof OPTIMIZERS;

function requireMoments(beta1: number, beta2: number, epsilon: number): void {
  requireRange('beta1', beta1, 0, 1);
  requireRange('beta2', beta2, 0, 1);
  if (!(epsilon > 0)) throw usageError(`epsilon: expected a number above 0, got ${epsilon}`);
}

/** Range [low, high). */
function requireRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high)) throw usageError(`${name}: expected a number from ${low} to below ${high}, got ${value}`);
}
