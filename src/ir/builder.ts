// Writing graphs by hand: each operator call adds a node and answers its output value. Used by passes, gradients, benchmarks and tests.
import type { AttributeInput } from './attribute.js';
import type { DType } from './dtype.js';
import { Graph, type Node, type Value } from './graph.js';
import { Model } from './model.js';
import { Tensor } from './tensor.js';
import { type Shape, tensorType } from './type.js';

export interface CallOptions {
  readonly domain?: string;
  readonly name?: string;
  /** Names of the outputs; their number decides how many outputs the node has (default one). */
  readonly outputs?: readonly string[];
}

type Operand = Value | null | undefined;

export class Builder {
  readonly graph: Graph;
  /** New nodes go before this one; null appends. */
  before: Node | null;
  /** Put in front of generated names. */
  prefix: string;

  constructor(graph: Graph, options: { before?: Node | null; prefix?: string } = {}) {
    this.graph = graph;
    this.before = options.before ?? null;
    this.prefix = options.prefix ?? '';
  }

  input(name: string, dtype: DType, shape: Shape | null): Value {
    return this.graph.addInput(name, tensorType(dtype, shape));
  }

  /** Marks values as outputs of the graph, renaming them where a name is given. */
  output(value: Value, name?: string): Value {
    if (name !== undefined) this.graph.rename(value, name);
    this.graph.addOutput(value);
    return value;
  }

  /** A constant from a tensor, or from numbers with a type and dimensions. */
  constant(name: string, tensor: Tensor): Value {
    return this.graph.addInitializer(this.prefix + name, tensor);
  }

  floats(name: string, dims: readonly number[], values: ArrayLike<number>): Value {
    return this.constant(name, Tensor.from('float', dims, values));
  }

  /** A one-dimensional int64 constant, as shapes, axes and indices are written. */
  ints(name: string, values: readonly number[]): Value {
    return this.constant(name, Tensor.from('int64', [values.length], values));
  }

  scalar(name: string, dtype: DType, value: number): Value {
    return this.constant(name, Tensor.scalar(dtype, value));
  }

  /** Adds a node and answers it. */
  node(opType: string, inputs: readonly Operand[], attributes: Record<string, AttributeInput> = {}, options: CallOptions = {}): Node {
    const outputs = options.outputs ?? [`${this.prefix}${options.name ?? opType}_out`];
    return this.graph.addNode(
      {
        opType,
        ...(options.domain === undefined ? {} : { domain: options.domain }),
        name: options.name ?? '',
        inputs: inputs.map((v) => v ?? null),
        outputs,
        attributes,
      },
      this.before,
    );
  }

  /** Adds a node and answers its first output. */
  op(opType: string, inputs: readonly Operand[], attributes: Record<string, AttributeInput> = {}, options: CallOptions = {}): Value {
    return this.node(opType, inputs, attributes, options).output(0);
  }
}

/** Version of the default opset that new graphs are written in, and the file format version that goes with it. */
export const DEFAULT_OPSET = 21;
export const DEFAULT_IR_VERSION = 10;

/** A new model from a function that fills its graph. */
export function buildModel(
  name: string,
  fill: (b: Builder) => void,
  options: { opset?: number; opsets?: Record<string, number> } = {},
): Model {
  const graph = new Graph(name);
  fill(new Builder(graph));
  const opsets = new Map(Object.entries({ '': options.opset ?? DEFAULT_OPSET, ...options.opsets }));
  const model = new Model(graph, opsets, DEFAULT_IR_VERSION);
  model.producerName = 'pare';
  return model;
}
