// The basic residual block (He et al. 2015): relu(x + norm(conv(relu(norm(conv(x)))))). Shortcut A keeps x and fills new channels with zeros, B projects it.
// The factor of the last normalization may start below 1: with 1/sqrt(blocks) the variance stays bounded at any depth (De and Smith 2020).
import { usageError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import { convNorm } from './conv.js';
import type { Scope } from './scope.js';

export interface ResidualOptions {
  readonly channels: number;
  readonly stride?: number | undefined;
  /** Where the size changes. A: every stride-th pixel, zeros in the new channels, no parameters; B: 1x1 convolution and normalization. Default B. */
  readonly shortcut?: 'A' | 'B' | undefined;
  /** Initial factor of the normalization before the sum (default 1). */
  readonly gain?: number | undefined;
}

/** [batch, channels, height, width]. */
export function residualBlock(scope: Scope, x: Value, { channels, stride = 1, shortcut = 'B', gain = 1 }: ResidualOptions): Value {
  scope.requireRank(x, [4], '[batch, channels, height, width]');
  const h = convNorm(scope.at(0), x, { channels, stride });
  const branch = convNorm(scope.at(1), h, { channels, activation: 'none', norm: { gain } });
  const inputs = scope.size(x, 1, 'number of channels');
  const fits = stride === 1 && inputs === channels;
  const kept = fits
    ? x
    : shortcut === 'B'
      ? convNorm(scope.at('shortcut'), x, { channels, stride, kernel: 1, activation: 'none' })
      : paddedShortcut(scope.at('shortcut'), x, inputs, channels, stride);
  return scope.op('Relu', [scope.op('Add', [branch, kept])]);
}

function paddedShortcut(scope: Scope, x: Value, inputs: number, channels: number, stride: number): Value {
  const extra = channels - inputs;
  if (extra < 0) throw usageError(`layer ${scope.label}: shortcut A: expected at least ${inputs} channels, got ${channels}`);
  const end = Number.MAX_SAFE_INTEGER;
  const picked =
    stride === 1 ? x : scope.op('Slice', [x, scope.ints([0, 0]), scope.ints([end, end]), scope.ints([2, 3]), scope.ints([stride, stride])]);
  if (extra === 0) return picked;
  const before = Math.floor(extra / 2);
  return scope.op('Pad', [picked, scope.ints([0, before, 0, 0, 0, extra - before, 0, 0])]);
}
