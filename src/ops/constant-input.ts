// Constants as a node alone shows them (initializers and Constant nodes): for facts that are asked without an inference context.
import type { Node } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { MAX_PARTIAL_ELEMENTS } from './op.js';

/** What a Constant node holds, from any form of its attribute; undefined for sparse constants and attribute references. */
export function constantTensor(node: Node): Tensor | undefined {
  for (const [name, a] of node.attributes) {
    if (name === 'value' && a.type === 'tensor') return a.value;
    if (name === 'value_int' && a.type === 'int') return Tensor.of('int64', [], BigInt64Array.of(a.value));
    if (name === 'value_ints' && a.type === 'ints') return Tensor.of('int64', [a.value.length], BigInt64Array.from(a.value));
    if (name === 'value_float' && a.type === 'float') return Tensor.scalar('float', a.value);
    if (name === 'value_floats' && a.type === 'floats') return Tensor.from('float', [a.value.length], a.value);
    if (name === 'value_string' && a.type === 'string') return Tensor.strings([], [a.value]);
    if (name === 'value_strings' && a.type === 'strings') return Tensor.strings([a.value.length], a.value);
  }
  return undefined;
}

/** Constant tensor that an input reads: an initializer that no caller can override, or a Constant node. */
export function constantInput(node: Node, input: number): Tensor | undefined {
  const value = node.input(input);
  if (!value) return undefined;
  if (value.isConstant) return value.initializer ?? undefined;
  const { producer } = value;
  return producer?.opType === 'Constant' && producer.domain === '' ? constantTensor(producer) : undefined;
}

/** Numbers of a constant input, where it is one and small enough to be a shape, axes or pads. */
export function constantNumbers(node: Node, input: number): number[] | undefined {
  const tensor = constantInput(node, input);
  if (tensor === undefined || tensor.dtype === 'string' || tensor.size > MAX_PARTIAL_ELEMENTS || !tensor.source.synchronous)
    return undefined;
  return Array.from(tensor.numbers());
}

/** Numbers given by an attribute (older opsets) or a constant input (newer ones); undefined where neither is known. */
export function attributeOrInput(node: Node, attribute: string, input: number): number[] | undefined {
  return node.ints(attribute) ?? constantNumbers(node, input);
}
