// What differs between inference and training in the forward graph: BatchNormalization uses the statistics of the batch and moves its running
// ones, Dropout drops. Dropout becomes a product with a mask that is a function of (seed, node, element), so that a step can be repeated bit for bit.

import { unsupportedError } from '../errors.js';
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { elementCount, type Tensor } from '../ir/tensor.js';
import { constantNumbers } from '../ops/constant-input.js';
import { dimsOf, type GradBuilder } from '../ops/grad-builder.js';

/** A value carried from one step to the next without a gradient. */
export interface TrainingState {
  readonly name: string;
  /** Output that holds its value after the step. */
  readonly next: string;
  readonly data: Tensor;
}

export interface TrainingMode {
  readonly states: readonly TrainingState[];
  /** Input that seeds Dropout, where there is one. */
  readonly seed: string | undefined;
}

/** Edits the graph in place. With `batchNorm: 'frozen'` BatchNormalization stays as it infers and only Dropout is at work. */
export function enterTraining(model: Model, b: GradBuilder, batchNorm: 'batch' | 'frozen' = 'batch'): TrainingMode {
  const states = new Map<string, TrainingState>();
  let seed: Value | undefined;
  let dropouts = 0;
  for (const node of model.graph.nodes) {
    if (node.domain !== '') continue;
    if (node.opType === 'BatchNormalization') {
      if (batchNorm === 'batch') for (const state of trainBatchNorm(model, node, b)) states.set(state.name, state);
    } else if (node.opType === 'Dropout' && dropRate(node) > 0) {
      seed ??= model.graph.addInput(model.graph.freshName('dropout_seed'), { kind: 'tensor', dtype: 'int64', shape: [] });
      trainDropout(node, b, seed, ++dropouts);
    }
  }
  b.before = null;
  b.origin = '';
  return { states: [...states.values()], seed: seed?.name };
}

/**
 * With momentum 0 the node answers mean and variance of the batch themselves, which the gradient needs; the running statistics
 * `next = momentum * old + (1 - momentum) * batch` are kept beside it. The variance is that of the population, as ONNX says.
 */
function trainBatchNorm(model: Model, node: Node, b: GradBuilder): TrainingState[] {
  if (model.opset < 14) {
    throw unsupportedError(`BatchNormalization "${node.label}": expected opset 14 or newer for training, got ${model.opset}`, {
      hint: 'simplify the model first, which upgrades it',
    });
  }
  const [mean, variance] = [node.input(3), node.input(4)];
  if (!mean?.initializer || !variance?.initializer || node.outputs.length > 1) return [];
  const momentum = node.float('momentum', 0.9);
  const { graph } = model;
  const label = node.output(0).name;
  const outputs = ['mean', 'variance'].map((what, i) => {
    const value = graph.addValue(graph.freshName(`${label}_batch_${what}`), [mean, variance][i]!.type);
    node._setOutput(i + 1, value);
    return value;
  });
  node.setAttribute('training_mode', 1);
  node.setAttribute('momentum', { type: 'float', value: 0 });
  b.origin = node.label;
  return [mean, variance].map((old, i): TrainingState => {
    const moved = b.add(b.scale(old, momentum), b.scale(outputs[i]!, 1 - momentum));
    const next = graph.freshName(`${old.name}_next`);
    graph.rename(moved, next);
    graph.addOutput(moved);
    return { name: old.name, next, data: old.initializer! };
  });
}

function dropRate(node: Node): number {
  return node.input(1) ? (constantNumbers(node, 1)?.[0] ?? 0.5) : node.float('ratio', 0.5);
}

/** Odd numbers that spread bits: 2^32 divided by the golden ratio, and a multiplier of MurmurHash3's finalizer; as signed 32-bit integers. */
const GOLDEN = 0x9e3779b1 | 0;
const MURMUR = 0x85ebca6b | 0;

/** y = x * mask / (1 - rate). */
function trainDropout(node: Node, b: GradBuilder, seed: Value, number: number): void {
  const [x, y] = [node.input(0)!, node.output(0)];
  const rate = dropRate(node);
  b.before = node;
  b.origin = node.label;
  const dims = dimsOf(x);
  const int = (n: number) => b.scalar('number', 'int32', n | 0);
  const key = scramble(b, b.add(b.mul(b.cast(seed, 'int32'), int(GOLDEN)), int(Math.imul(number, MURMUR))));
  const index = b.op('Range', [int(0), int(elementCount(dims)), int(1)]);
  const bits = scramble(b, b.add(b.mul(scramble(b, b.add(b.mul(index, int(GOLDEN)), key)), int(MURMUR)), key));
  // Signed integers spread evenly over [-2^31, 2^31).
  const dropped = b.op('Less', [bits, int(Math.round(rate * 2 ** 32 - 2 ** 31))]);
  const shaped = b.reshape(dropped, dims);
  const factor = b.where(shaped, b.number(x, 0), b.number(x, rate < 1 ? 1 / (1 - rate) : 0));
  const kept = node.outputs[1];
  if (kept && kept.readerCount > 0) node.graph.replaceValue(kept, b.op('Not', [shaped]));
  const product = b.op('Mul', [x, factor]);
  node.graph.replaceValue(y, product);
  node.graph.removeNode(node);
}

/** x (2x + 1) modulo 2^32: a permutation whose high bits depend on all bits below (the mixing function of the RC6 cipher). */
function scramble(b: GradBuilder, x: Value): Value {
  return b.mul(x, b.add(b.add(x, x), b.scalar('number', 'int32', 1)));
}
