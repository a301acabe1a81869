// Normalization layers. BatchNormalization is left as such, with running mean 0 and variance 1: training updates them and uses the batch's own.
import type { Value } from '../ir/graph.js';
import { constantOf, ones, zeros } from './init.js';
import type { Scope } from './scope.js';

export interface BatchNormOptions {
  readonly epsilon?: number | undefined;
  /** Share of the old running statistics at each training step (ONNX's sense: PyTorch's 0.1 is 0.9 here). */
  readonly momentum?: number | undefined;
  /** Initial factor of all channels (default 1). */
  readonly gain?: number | undefined;
}

/** Over [batch, channels, ...]: parameters `weight`, `bias`; statistics `running_mean`, `running_var`. */
export function batchNorm(scope: Scope, x: Value, { epsilon = 1e-5, momentum = 0.9, gain = 1 }: BatchNormOptions = {}): Value {
  const channels = [scope.size(x, 1, 'number of channels')];
  const inputs = [
    x,
    scope.parameter('weight', channels, { init: constantOf(gain) }),
    scope.parameter('bias', channels, { init: zeros }),
    scope.parameter('running_mean', channels, { init: zeros, trainable: false }),
    scope.parameter('running_var', channels, { init: ones, trainable: false }),
  ];
  return scope.op('BatchNormalization', inputs, { epsilon, momentum }, { name: '' });
}

/** Over the last axis: parameters `weight` and `bias`. */
export function layerNorm(scope: Scope, x: Value, { epsilon = 1e-5 }: { readonly epsilon?: number | undefined } = {}): Value {
  const features = [scope.size(x, -1, 'number of features')];
  const weight = scope.parameter('weight', features, { init: ones });
  const bias = scope.parameter('bias', features, { init: zeros });
  return scope.op('LayerNormalization', [x, weight, bias], { axis: -1, epsilon }, { name: '' });
}
