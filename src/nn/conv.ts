// Convolutions over [batch, channels, height, width] (or [batch, channels, length]), with normalization and activation, and depthwise-separable
// ones (Sifre 2014; Howard et al. 2017, MobileNet).
import { usageError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import { type Activation, activation } from './activation.js';
import { type Initializer, kaiming, zeros } from './init.js';
import { type BatchNormOptions, batchNorm } from './norm.js';
import type { Scope } from './scope.js';

export type Extent = number | readonly number[];

export interface ConvOptions {
  readonly channels: number;
  /** Default 3. */
  readonly kernel?: Extent | undefined;
  readonly stride?: Extent | undefined;
  readonly dilation?: Extent | undefined;
  readonly groups?: number | undefined;
  /** `same` (default): ceil(size / stride) whatever the size, with the odd row of an even kernel at the end; `valid`: none; or a number for all sides. */
  readonly padding?: 'same' | 'valid' | Extent | undefined;
  /** Default true. */
  readonly bias?: boolean | undefined;
  /** Of the weight; default Kaiming normal by fan-in. */
  readonly init?: Initializer | undefined;
}

/** One number for every spatial axis. */
export function perAxis(scope: Scope, extent: Extent, axes: number, what: string): readonly number[] {
  const values = typeof extent === 'number' ? new Array<number>(axes).fill(extent) : extent;
  if (values.length !== axes) throw usageError(`layer ${scope.label}: ${what}: expected ${axes} numbers, got ${values.length}`);
  return values;
}

/** ONNX pads (all begins, then all ends) of a window. */
export function windowPads(
  scope: Scope,
  padding: 'same' | 'valid' | Extent,
  kernel: readonly number[],
  dilation: readonly number[],
): number[] {
  if (padding === 'valid') return new Array<number>(2 * kernel.length).fill(0);
  if (padding !== 'same') {
    const sides = perAxis(scope, padding, kernel.length, 'padding');
    return [...sides, ...sides];
  }
  const total = kernel.map((k, i) => (k - 1) * dilation[i]!);
  return [...total.map((t) => Math.floor(t / 2)), ...total.map((t) => Math.ceil(t / 2))];
}

/** Parameters `weight` [channels, in / groups, ...kernel] and `bias`. */
export function conv(scope: Scope, x: Value, options: ConvOptions): Value {
  const { channels, groups = 1, bias = true, init = kaiming() } = options;
  scope.requireRank(x, [3, 4, 5], '[batch, channels, ...space]');
  const axes = scope.shape(x).length - 2;
  const inputs = scope.size(x, 1, 'number of channels');
  if (inputs % groups !== 0 || channels % groups !== 0)
    throw usageError(`layer ${scope.label}: groups: expected a divisor of ${inputs} and ${channels} channels, got ${groups}`);
  const kernel = perAxis(scope, options.kernel ?? 3, axes, 'kernel');
  const strides = perAxis(scope, options.stride ?? 1, axes, 'stride');
  const dilations = perAxis(scope, options.dilation ?? 1, axes, 'dilation');
  const area = kernel.reduce((a, b) => a * b, 1);
  const weight = scope.parameter('weight', [channels, inputs / groups, ...kernel], {
    init,
    // Of a depthwise convolution one output sees one channel, and one channel feeds one output.
    fans: { fanIn: (inputs / groups) * area, fanOut: (channels / groups) * area },
  });
  const operands = bias ? [x, weight, scope.parameter('bias', [channels], { init: zeros })] : [x, weight];
  return scope.op(
    'Conv',
    operands,
    { kernel_shape: kernel, strides, dilations, group: groups, pads: windowPads(scope, options.padding ?? 'same', kernel, dilations) },
    { name: '' },
  );
}

export interface ConvNormOptions extends ConvOptions {
  /** Default relu; the convolution's initial gain follows it. */
  readonly activation?: Activation | undefined;
  readonly norm?: BatchNormOptions | undefined;
}

/** Convolution `conv` without a bias, batch normalization `norm`, activation. */
export function convNorm(scope: Scope, x: Value, options: ConvNormOptions): Value {
  const { activation: kind = 'relu', norm, ...rest } = options;
  const init = rest.init ?? kaiming(kind === 'none' ? { gain: 1 } : {});
  const h = conv(scope.at('conv'), x, { ...rest, init, bias: rest.bias ?? false });
  return activation(scope, batchNorm(scope.at('norm'), h, norm), kind);
}

export interface SeparableOptions {
  readonly channels: number;
  readonly kernel?: Extent | undefined;
  readonly stride?: Extent | undefined;
  readonly activation?: Activation | undefined;
  readonly norm?: BatchNormOptions | undefined;
}

/** A convolution of each channel alone (`depthwise`), then one across channels (`pointwise`), each normalized and activated. */
export function depthwiseSeparable(scope: Scope, x: Value, options: SeparableOptions): Value {
  const { channels, kernel = 3, stride = 1, activation: kind, norm } = options;
  const inputs = scope.size(x, 1, 'number of channels');
  const h = convNorm(scope.at('depthwise'), x, { channels: inputs, groups: inputs, kernel, stride, activation: kind, norm });
  return convNorm(scope.at('pointwise'), h, { channels, kernel: 1, activation: kind, norm });
}
