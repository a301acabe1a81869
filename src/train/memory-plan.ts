// What a training step holds in memory, by kind: values of the forward pass that gradients read, parameters, gradients, state of the optimizer.
// Counted on the graph as it is; ONNX Runtime's arena adds what single nodes work with.
import { byteLengthOf } from '../ir/dtype.js';
import type { Node, Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import { elementCount } from '../ir/tensor.js';
import { dimsOf } from '../ops/grad-builder.js';
import type { Differentiated } from './gradient.js';

export interface KeptValue {
  readonly name: string;
  readonly bytes: number;
  /** Type and label of the forward node that makes it; undefined for inputs of the graph. */
  readonly producer: string | undefined;
}

/** Bytes by kind. */
export interface TrainingMemory {
  /** Values of the forward pass that wait for the backward pass, views of one buffer counted once. */
  readonly activations: number;
  /** Of the largest segment that is computed again by the backward pass. */
  readonly recomputed: number;
  readonly parameters: number;
  readonly gradients: number;
  /** State of the optimizer: as many arrays as it keeps for each parameter with a gradient. */
  readonly optimizer: number;
  /** Running statistics, old and new. */
  readonly states: number;
  readonly total: number;
  /** What is kept, largest first. */
  readonly kept: readonly KeptValue[];
}

/** Nodes whose result is their input's memory under other dimensions. */
const VIEWS = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity']);

/**
 * `slots`: arrays that the optimizer keeps for each parameter (`rule.slots.length`: 2 for Adam, 1 for momentum). Works on the result of `differentiate`, simplified or not.
 */
export function trainingMemory(differentiated: Omit<Differentiated, 'inputs' | 'seed'>, slots = 0): TrainingMemory {
  const { model, loss, parameters, states } = differentiated;
  const { graph } = model;
  const trained = parameters.filter((p) => p.gradient !== null);
  const sum = (items: readonly { readonly data: { readonly byteLength: number } }[]) => items.reduce((n, p) => n + p.data.byteLength, 0);
  const ends = [loss, ...states.map((s) => s.next)].flatMap((name) => graph.ownValue(name) ?? []);
  const forward = ancestors(ends);
  const stored = new Set([...parameters, ...states].map((p) => p.name));
  const found = new Map<Value, KeptValue>();
  for (const node of graph.nodes) {
    if (forward.has(node)) continue;
    for (const input of node.inputs) {
      const source = input && bufferOf(input);
      if (!source || source.initializer || stored.has(source.name) || found.has(source)) continue;
      if (source.producer ? !forward.has(source.producer) : !source.isGraphInput) continue;
      const { producer } = source;
      found.set(source, {
        name: source.name,
        bytes: bytesOfValue(source),
        producer: producer ? `${producer.op} "${producer.label}"` : undefined,
      });
    }
  }
  const kept = [...found.values()].sort((a, b) => b.bytes - a.bytes);
  const activations = kept.reduce((n, v) => n + v.bytes, 0);
  const [all, gradients, running] = [sum(parameters), sum(trained), 2 * sum(states)];
  const optimizer = slots * gradients;
  const recomputed = differentiated.recomputed?.bytes ?? 0;
  return {
    activations,
    recomputed,
    parameters: all,
    gradients,
    optimizer,
    states: running,
    total: activations + recomputed + all + gradients + optimizer + running,
    kept,
  };
}

/** All nodes that the values depend on. */
function ancestors(values: readonly Value[]): Set<Node> {
  const found = new Set<Node>();
  const open = values.flatMap((v) => v.producer ?? []);
  for (let node = open.pop(); node; node = open.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    for (const input of node.inputs) if (input?.producer) open.push(input.producer);
  }
  return found;
}

/** The value whose memory this one is. */
function bufferOf(value: Value): Value {
  let v = value;
  while (v.producer && VIEWS.has(v.producer.opType) && v.producer.domain === '') v = v.producer.input(0)!;
  return v;
}

function bytesOfValue(value: Value): number {
  return byteLengthOf(tensorTypeOf(value)!.dtype, elementCount(dimsOf(value)));
}
