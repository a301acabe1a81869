// Where a building block writes: a graph, the dotted name of the layer, and the seed. Types are inferred as nodes are added, so that blocks read
// the sizes they need from their input and a misfit fails at the layer that has it.
import { GraphInference } from '../analysis/infer-graph.js';
import { TRAINABLE_KEY } from '../analysis/trainable.js';
import { bugError, graphError, shapeError, usageError } from '../errors.js';
import type { AttributeInput } from '../ir/attribute.js';
import { Builder, DEFAULT_IR_VERSION, DEFAULT_OPSET } from '../ir/builder.js';
import type { DType } from '../ir/dtype.js';
import { Graph, type Node, type Value } from '../ir/graph.js';
import { Model, tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { formatShape, type Shape } from '../ir/type.js';
import { verifyModel } from '../ir/verify.js';
import { Rng } from '../util/rng.js';
import { VERSION } from '../util/version.js';
import type { Fans, Initializer } from './init.js';

interface Network {
  readonly builder: Builder;
  readonly inference: GraphInference;
  readonly rng: Rng;
  readonly nodeNames: Set<string>;
  /** Constants of formulas, shared by their content. */
  readonly constants: Map<string, Value>;
}

export interface ParameterOptions {
  readonly init: Initializer;
  /** Default: inputs and outputs of a matrix [in, out]. */
  readonly fans?: Fans | undefined;
  /** False for weights that training must leave as they are; recorded in the file. */
  readonly trainable?: boolean | undefined;
}

export interface NodeOptions {
  /** Part of the node's name after the layer's; '' gives the node the name of the layer itself. Default: the operator. */
  readonly name?: string;
  readonly outputs?: number;
}

export class Scope {
  /** Dotted name of the layer, '' at the top: `layer.0.attention`. */
  readonly path: string;
  readonly #network: Network;

  /** @internal made by buildNetwork and `at` */
  constructor(network: Network, path: string) {
    this.#network = network;
    this.path = path;
  }

  get graph(): Graph {
    return this.#network.builder.graph;
  }

  /** The scope of a layer inside this one: `scope.at('layer', 0)` is `layer.0`. */
  at(...parts: readonly (string | number)[]): Scope {
    return new Scope(this.#network, [this.path, ...parts].filter((p) => p !== '').join('.'));
  }

  #full(name: string): string {
    return this.path === '' ? name : name === '' ? this.path : `${this.path}.${name}`;
  }

  input(name: string, dtype: DType, shape: Shape): Value {
    return this.#network.builder.input(name, dtype, shape);
  }

  output(value: Value, name: string): Value {
    return this.#network.builder.output(value, name);
  }

  /**
   * A float initializer `<path>.<name>`. Its values follow from the seed and this name alone. Throws E_GRAPH where the name is taken: two layers
   * then share a scope by mistake (to share a parameter, hand its value on).
   */
  parameter(name: string, dims: readonly number[], { init, fans, trainable = true }: ParameterOptions): Value {
    const full = this.#full(name);
    if (dims.some((d) => !(Number.isInteger(d) && d > 0)))
      throw usageError(`parameter "${full}": expected dimensions of at least 1, got [${dims.join(',')}]`);
    if (this.graph.value(full)) {
      throw graphError(`parameter "${full}" exists already`, { hint: 'give every layer a scope of its own: scope.at("name")' });
    }
    const values = init(dims, fans ?? { fanIn: dims[0] ?? 1, fanOut: dims.at(-1) ?? 1 }, this.#network.rng.fork(full));
    const value = this.graph.addInitializer(full, Tensor.of('float', dims, values));
    if (!trainable) value.metadata = new Map([[TRAINABLE_KEY, 'false']]);
    return value;
  }

  /** A one-dimensional int64 constant (shapes, axes, pads), shared by all that ask for the same. */
  ints(values: readonly number[]): Value {
    return this.#shared(`ints_${values.join('_')}`, (name) =>
      this.graph.addInitializer(name, Tensor.from('int64', [values.length], values)),
    );
  }

  /** An int64 scalar constant, shared. */
  int(value: number): Value {
    return this.#shared(`int_${value}`, (name) => this.graph.addInitializer(name, Tensor.scalar('int64', value)));
  }

  /** A float scalar of a formula, shared: a Constant node, since it is no parameter to train. */
  scalar(value: number): Value {
    return this.#shared(`scalar_${value}`, (name) =>
      this.#add('Constant', [], { value: { type: 'tensor', value: Tensor.scalar('float', value) } }, name, 1).output(0),
    );
  }

  #shared(name: string, make: (name: string) => Value): Value {
    const { constants } = this.#network;
    const known = constants.get(name);
    if (known) return known;
    const made = make(name);
    constants.set(name, made);
    return made;
  }

  /** Adds a node and answers its first output, typed. */
  op(
    opType: string,
    inputs: readonly (Value | null | undefined)[],
    attributes: Record<string, AttributeInput> = {},
    options: NodeOptions = {},
  ): Value {
    return this.node(opType, inputs, attributes, options).output(0);
  }

  /** Adds a node whose outputs get their types at once. Throws E_SHAPE or E_TYPE where the inputs do not fit it. */
  node(
    opType: string,
    inputs: readonly (Value | null | undefined)[],
    attributes: Record<string, AttributeInput> = {},
    { name = opType, outputs = 1 }: NodeOptions = {},
  ): Node {
    return this.#add(opType, inputs, attributes, this.#full(name), outputs);
  }

  #add(
    opType: string,
    inputs: readonly (Value | null | undefined)[],
    attributes: Record<string, AttributeInput>,
    wanted: string,
    outputs: number,
  ): Node {
    const { builder, inference, nodeNames } = this.#network;
    const label = wanted === '' ? opType : wanted;
    let name = label;
    for (let i = 1; nodeNames.has(name); i++) name = `${label}_${i}`;
    nodeNames.add(name);
    const names = Array.from({ length: outputs }, (_, i) => (outputs === 1 ? `${name}_out` : `${name}_out${i}`));
    const node = builder.node(opType, inputs, attributes, { name, outputs: names });
    inference.inferNode(node);
    for (const output of node.outputs) if (output && !output.type) throw bugError(`node ${name} (${opType}) has no inferred type`);
    return node;
  }

  /** Shape of a value; throws E_SHAPE where it is not known. */
  shape(value: Value): Shape {
    const shape = tensorTypeOf(value)?.shape;
    if (shape == null) throw shapeError(`layer ${this.label}: expected an input of known rank, got "${value.name}"`);
    return shape;
  }

  /** Size of one axis (negative: from the end); throws E_SHAPE where it is no number. */
  size(value: Value, axis: number, what: string): number {
    const shape = this.shape(value);
    const dim = shape.at(axis);
    if (typeof dim === 'number') return dim;
    throw shapeError(`layer ${this.label}: expected a fixed ${what} on axis ${axis} of its input, got ${formatShape(shape)}`, {
      place: { value: value.name },
    });
  }

  /** Throws E_SHAPE unless the value has this rank. */
  requireRank(value: Value, ranks: readonly number[], layout: string): void {
    const shape = this.shape(value);
    if (!ranks.includes(shape.length))
      throw shapeError(`layer ${this.label}: expected ${layout}, got ${formatShape(shape)}`, { place: { value: value.name } });
  }

  /** How messages name the layer. */
  get label(): string {
    return `"${this.path}"`;
  }
}

export interface NetworkOptions {
  /** Seed of all initial values (default 0): the same seed gives the same bytes. */
  readonly seed?: number | undefined;
  readonly opset?: number | undefined;
}

/** A new model from a function that adds inputs, layers and outputs to its scope. Every value of the result has its type. */
export function buildNetwork(name: string, fill: (scope: Scope) => void, options: NetworkOptions = {}): Model {
  const builder = new Builder(new Graph(name));
  const model = new Model(builder.graph, new Map([['', options.opset ?? DEFAULT_OPSET]]), DEFAULT_IR_VERSION);
  model.producerName = 'pare';
  model.producerVersion = VERSION;
  const inference = new GraphInference(model, true);
  fill(new Scope({ builder, inference, rng: new Rng(options.seed ?? 0), nodeNames: new Set(), constants: new Map() }, ''));
  verifyModel(model);
  return model;
}
