// Pooling over space, and the step from feature maps to vectors.
import type { Value } from '../ir/graph.js';
import { type Extent, perAxis, windowPads } from './conv.js';
import type { Scope } from './scope.js';

export interface PoolOptions {
  readonly kind?: 'max' | 'average' | undefined;
  /** Default 2. */
  readonly kernel?: Extent | undefined;
  /** Default: the kernel's size. */
  readonly stride?: Extent | undefined;
  /** Default `valid`. Padding never counts in an average. */
  readonly padding?: 'same' | 'valid' | Extent | undefined;
}

/** Over windows of [batch, channels, ...space]. */
export function pool(scope: Scope, x: Value, { kind = 'max', kernel = 2, stride = kernel, padding = 'valid' }: PoolOptions = {}): Value {
  scope.requireRank(x, [3, 4, 5], '[batch, channels, ...space]');
  const axes = scope.shape(x).length - 2;
  const kernelShape = perAxis(scope, kernel, axes, 'kernel');
  const pads = windowPads(scope, padding, kernelShape, new Array<number>(axes).fill(1));
  return scope.op(kind === 'max' ? 'MaxPool' : 'AveragePool', [x], {
    kernel_shape: kernelShape,
    strides: perAxis(scope, stride, axes, 'stride'),
    pads,
  });
}

/** Mean over space: [batch, channels, ...] to [batch, channels, 1, ...], or [batch, channels] with `flatten` (default). */
export function globalAveragePool(scope: Scope, x: Value, options: { readonly flatten?: boolean } = {}): Value {
  const pooled = scope.op('GlobalAveragePool', [x]);
  return options.flatten === false ? pooled : flatten(scope, pooled);
}

/** [batch, ...] to [batch, product of the rest]. */
export function flatten(scope: Scope, x: Value): Value {
  return scope.op('Flatten', [x], { axis: 1 });
}
