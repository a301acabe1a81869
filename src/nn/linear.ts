// Fully connected layers: y = x W + b with W [in, out]; as two factors of low rank; and with a frozen weight plus a trained low-rank update
// (LoRA: Hu et al. 2021, y = x W + b + alpha/r (x A) B).
import { usageError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import { type Initializer, kaiming, xavier, zeros } from './init.js';
import type { Scope } from './scope.js';

export interface LinearOptions {
  /** Size of the last axis of the result. */
  readonly features: number;
  /** Default true. */
  readonly bias?: boolean | undefined;
  /** Of the weight; default Xavier uniform. Say `kaiming()` where a rectifier follows. */
  readonly init?: Initializer | undefined;
}

/** [batch, in] or [..., in] to [..., features]. Parameters `weight` [in, features] and `bias`. A Gemm for matrices, else MatMul and Add. */
export function linear(scope: Scope, x: Value, { features, bias = true, init = xavier() }: LinearOptions): Value {
  const weight = scope.parameter('weight', [scope.size(x, -1, 'number of features'), features], { init });
  return affine(scope, x, weight, bias ? scope.parameter('bias', [features], { init: zeros }) : null);
}

function affine(scope: Scope, x: Value, weight: Value, bias: Value | null): Value {
  if (scope.shape(x).length === 2 && bias) return scope.op('Gemm', [x, weight, bias], {}, { name: '' });
  const product = scope.op('MatMul', [x, weight], {}, bias ? {} : { name: '' });
  return bias ? scope.op('Add', [product, bias]) : product;
}

export interface LowRankOptions extends LinearOptions {
  /** Inner size; it saves parameters below in * features / (in + features). */
  readonly rank: number;
}

/** A linear layer whose weight is the product of `down.weight` [in, rank] and `up.weight` [rank, features]. */
export function lowRankLinear(scope: Scope, x: Value, { features, rank, bias = true, init = xavier() }: LowRankOptions): Value {
  checkRank(scope, rank);
  const inner = linear(scope.at('down'), x, { features: rank, bias: false, init: kaiming({ gain: 1 }) });
  return linear(scope.at('up'), inner, { features, bias, init });
}

export interface LoraOptions extends LinearOptions {
  readonly rank: number;
  /** The update is scaled by alpha / rank; default alpha = rank. */
  readonly alpha?: number | undefined;
}

/**
 * A linear layer with a frozen `weight` (and `bias`) and a trained update of low rank: `lora_a` [in, rank] and `lora_b` [rank, features], which starts at 0, so
 * that the layer starts as it is without.
 */
export function loraLinear(scope: Scope, x: Value, { features, rank, alpha = rank, bias = true, init = xavier() }: LoraOptions): Value {
  checkRank(scope, rank);
  const inputs = scope.size(x, -1, 'number of features');
  const weight = scope.parameter('weight', [inputs, features], { init, trainable: false });
  const base = affine(scope, x, weight, bias ? scope.parameter('bias', [features], { init: zeros, trainable: false }) : null);
  const a = scope.parameter('lora_a', [inputs, rank], { init: kaiming({ gain: 1, distribution: 'uniform' }) });
  const b = scope.parameter('lora_b', [rank, features], { init: zeros });
  const down = scope.op('MatMul', [x, a], {}, { name: 'lora_down' });
  const scaled = alpha === rank ? down : scope.op('Mul', [down, scope.scalar(alpha / rank)], {}, { name: 'lora_scale' });
  const up = scope.op('MatMul', [scaled, b], {}, { name: 'lora_up' });
  return scope.op('Add', [base, up], {}, { name: 'lora_sum' });
}

function checkRank(scope: Scope, rank: number): void {
  if (!(Number.isInteger(rank) && rank > 0)) throw usageError(`layer ${scope.label}: rank: expected a whole number above 0, got ${rank}`);
}
