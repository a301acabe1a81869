// Element-wise functions after a layer, and dropout.
import { usageError } from '../errors.js';
import type { AttributeInput } from '../ir/attribute.js';
import type { Value } from '../ir/graph.js';
import type { Scope } from './scope.js';

export const ACTIVATIONS = [
  'none',
  'relu',
  'relu6',
  'leaky-relu',
  'gelu',
  'gelu-tanh',
  'silu',
  'hard-swish',
  'hard-sigmoid',
  'sigmoid',
  'tanh',
] as const;
export type Activation = (typeof ACTIVATIONS)[number];

/** Those that are one operator. */
const OPERATORS: Partial<Record<Activation, readonly [string, Record<string, AttributeInput>]>> = {
  relu: ['Relu', {}],
  'leaky-relu': ['LeakyRelu', { alpha: 0.01 }],
  gelu: ['Gelu', {}],
  'gelu-tanh': ['Gelu', { approximate: 'tanh' }],
  'hard-swish': ['HardSwish', {}],
  'hard-sigmoid': ['HardSigmoid', { alpha: 1 / 6, beta: 0.5 }],
  sigmoid: ['Sigmoid', {}],
  tanh: ['Tanh', {}],
};

/** Applies a function element by element; `none` answers `x` itself. Gelu is the exact one (erf), `gelu-tanh` GPT-2's approximation. */
export function activation(scope: Scope, x: Value, kind: Activation): Value {
  if (kind === 'none') return x;
  if (kind === 'relu6') return scope.op('Clip', [x, scope.scalar(0), scope.scalar(6)], {}, { name: 'Relu6' });
  if (kind === 'silu') return scope.op('Mul', [x, scope.op('Sigmoid', [x])]);
  const [opType, attributes] = OPERATORS[kind]!;
  return scope.op(opType, [x], attributes);
}

/** A Dropout node, which does nothing until training switches it on; `x` itself at rate 0. */
export function dropout(scope: Scope, x: Value, rate: number): Value {
  if (!(rate >= 0 && rate < 1)) throw usageError(`layer ${scope.label}: dropout: expected a rate in [0, 1), got ${rate}`);
  return rate === 0 ? x : scope.op('Dropout', [x, scope.scalar(rate)]);
}
