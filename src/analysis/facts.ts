// Counting what a model is made of: nodes, parameters, bytes of constants by element type.
import type { DType } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { walkGraphs, walkNodes } from '../ir/walk.js';

/** Every graph of a model: the main one, its subgraphs and the bodies of local functions. */
export function* graphsOf(model: Model): Generator<Graph> {
  yield* walkGraphs(model.graph);
  for (const f of model.functions) yield* walkGraphs(f.graph);
}

/** One constant and where it stands. */
export interface Constant {
  readonly name: string;
  readonly tensor: Tensor;
  /** Null for the tensor attribute of a Constant node. */
  readonly value: Value | null;
  readonly readers: readonly Node[];
}

/** All constants of a model: initializers (sparse ones by their stored values) and the tensors of Constant nodes. */
export function constantsOf(model: Model): Constant[] {
  const found: Constant[] = [];
  for (const graph of graphsOf(model)) {
    for (const value of graph.values()) {
      const tensor = value.initializer ?? value.sparse?.values;
      if (tensor) found.push({ name: value.name, tensor, value, readers: value.users });
    }
    for (const node of graph.nodes) {
      if (node.opType !== 'Constant' || node.domain !== '') continue;
      const a = node.attribute('value');
      if (a?.type === 'tensor')
        found.push({ name: node.outputs[0]?.name ?? node.label, tensor: a.value, value: null, readers: node.outputs[0]?.users ?? [] });
    }
  }
  return found;
}

/** Nodes of the model, subgraphs and functions included. */
export function countNodes(model: Model): number {
  let count = 0;
  for (const _ of walkNodes(model.graph)) count++;
  for (const f of model.functions) for (const _ of walkNodes(f.graph)) count++;
  return count;
}

/** Bytes of all constants. */
export function constantBytes(model: Model): number {
  return constantsOf(model).reduce((sum, c) => sum + c.tensor.byteLength, 0);
}

export function bytesByDtype(model: Model): Partial<Record<DType, number>> {
  const bytes: Partial<Record<DType, number>> = {};
  for (const { tensor } of constantsOf(model)) bytes[tensor.dtype] = (bytes[tensor.dtype] ?? 0) + tensor.byteLength;
  return bytes;
}

/** Inputs that carry running statistics, scales, zero points and other side tables, which are no parameters of the network. */
const SIDE_INPUTS: Readonly<Record<string, readonly number[]>> = {
  // Mean and variance are buffers, as thop and fvcore have them: they count what `parameters()` of a PyTorch module lists.
  BatchNormalization: [3, 4],
  QuantizeLinear: [1, 2],
  DequantizeLinear: [1, 2],
  MatMulNBits: [2, 3, 4],
  MatMulBnb4: [2],
  GatherBlockQuantized: [2, 3],
  QLinearConv: [1, 2, 4, 5, 6, 7],
  QLinearMatMul: [1, 2, 4, 5, 6, 7],
  MatMulInteger: [2, 3],
  ConvInteger: [2, 3],
  DynamicQuantizeMatMul: [2, 3],
  DynamicQuantizeLSTM: [8, 9, 10, 11],
};

/**
 * Parameters of the network: elements of its constants, without shapes and indices (int64), running statistics, scales and zero points.
 * Weights packed for MatMulNBits, MatMulBnb4 and GatherBlockQuantized count as the elements they stand for, so the number is the same before and after.
 */
export function countParams(model: Model): number {
  let params = 0;
  for (const c of constantsOf(model)) params += paramsOf(c);
  return params;
}

/** Parameters that one constant stands for; 0 for shapes, running statistics, scales, zero points and strings. */
export function paramsOf({ tensor, value, readers }: Constant): number {
  if (tensor.dtype === 'int64' || tensor.dtype === 'string' || tensor.dtype === 'bool') return 0;
  const roles = value === null ? [] : readers.map((node) => roleOf(node, value));
  if (roles.length > 0 && roles.every((r) => r === 'side')) return 0;
  for (const node of readers) {
    if (node.domain !== 'com.microsoft') continue;
    if ((node.opType === 'MatMulNBits' || node.opType === 'MatMulBnb4') && node.inputs[1] === value)
      return node.int('K', 0) * node.int('N', 0);
    if (node.opType === 'GatherBlockQuantized' && node.inputs[0] === value && tensor.dtype === 'uint8')
      return (tensor.size * 8) / node.int('bits', 4);
  }
  return tensor.size;
}

function roleOf(node: Node, value: Value): 'side' | 'weight' {
  const side = SIDE_INPUTS[node.opType] ?? [];
  return node.inputs.some((input, i) => input === value && !side.includes(i)) ? 'weight' : 'side';
}
