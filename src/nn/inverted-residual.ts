// Blocks of MobileNetV2 (Sandler et al. 2018) and V3 (Howard et al. 2019): expand, convolve each channel alone, gate, project; and the
// squeeze-and-excitation gate (Hu et al. 2018).
import type { Value } from '../ir/graph.js';
import { type Activation, activation } from './activation.js';
import { conv, convNorm } from './conv.js';
import { kaiming } from './init.js';
import type { BatchNormOptions } from './norm.js';
import { globalAveragePool } from './pool.js';
import type { Scope } from './scope.js';

/** Channels scaled to a multiple of `divisor`, never below 90 % of what was asked for, as both papers do. */
export function roundChannels(channels: number, divisor = 8): number {
  const rounded = Math.max(divisor, Math.floor((channels + divisor / 2) / divisor) * divisor);
  return rounded < 0.9 * channels ? rounded + divisor : rounded;
}

export interface SqueezeExciteOptions {
  /** Channels in the middle; default a quarter, rounded to a multiple of 8. */
  readonly squeeze?: number | undefined;
  /** Of the factors; default hard-sigmoid. */
  readonly gate?: Activation | undefined;
}

/** Multiplies each channel by a factor that two 1x1 convolutions (`reduce`, `expand`) make from the means of all channels. */
export function squeezeExcite(scope: Scope, x: Value, options: SqueezeExciteOptions = {}): Value {
  const channels = scope.size(x, 1, 'number of channels');
  const { squeeze = roundChannels(channels / 4), gate = 'hard-sigmoid' } = options;
  const mean = globalAveragePool(scope, x, { flatten: false });
  const h = activation(scope, conv(scope.at('reduce'), mean, { channels: squeeze, kernel: 1 }), 'relu');
  const factors = conv(scope.at('expand'), h, { channels, kernel: 1, init: kaiming({ gain: 1 }) });
  return scope.op('Mul', [x, activation(scope, factors, gate)]);
}

export interface InvertedResidualOptions {
  readonly channels: number;
  /** Channels between expansion and projection; with as many as the input has there is no expansion. */
  readonly hidden: number;
  readonly kernel?: number | undefined;
  readonly stride?: number | undefined;
  /** Default relu6. */
  readonly activation?: Activation | undefined;
  readonly squeezeExcite?: boolean | SqueezeExciteOptions | undefined;
  readonly norm?: BatchNormOptions | undefined;
}

/** [batch, channels, height, width]; the sum with the input is taken where sizes allow it. */
export function invertedResidual(scope: Scope, x: Value, options: InvertedResidualOptions): Value {
  const { channels, hidden, kernel = 3, stride = 1, activation: kind = 'relu6', squeezeExcite: gate = false, norm } = options;
  const inputs = scope.size(x, 1, 'number of channels');
  let h = x;
  if (hidden !== inputs) h = convNorm(scope.at('expand'), h, { channels: hidden, kernel: 1, activation: kind, norm });
  h = convNorm(scope.at('depthwise'), h, { channels: hidden, groups: hidden, kernel, stride, activation: kind, norm });
  if (gate) h = squeezeExcite(scope.at('gate'), h, gate === true ? {} : gate);
  h = convNorm(scope.at('project'), h, { channels, kernel: 1, activation: 'none', norm });
  return stride === 1 && inputs === channels ? scope.op('Add', [x, h]) : h;
}
