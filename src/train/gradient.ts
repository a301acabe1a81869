// Reverse accumulation as a graph transform: a model and a scalar loss give a model that also answers the gradients of its parameters.
// The result is plain ONNX. Shapes are specialised first (fixed batch), so that the gradient graph is short and static.
// The gradients themselves stand in the operator records (src/ops); here is only the walk. Simplify the model before (constant branches,
// shape arithmetic) and the result afterwards.

import { GraphInference } from '../analysis/infer-graph.js';
import { specializeShapes } from '../analysis/shapes.js';
import { bugError, PareError, unsupportedError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { formatShape, isStatic } from '../ir/type.js';
import { cloneModel } from '../ir/walk.js';
import { dimsOf, GradBuilder } from '../ops/grad-builder.js';
import { noFlow } from '../ops/grad-helpers.js';
import type { GradContext } from '../ops/op.js';
import { opRecord } from '../ops/registry.js';
import { decomposeNodes } from './decompose.js';
import { markNeeded, NoGradient, nodeContext } from './gradient-context.js';
import { type Recomputed, type RecomputeOptions, recomputeForward } from './recompute.js';
import { enterTraining, type TrainingState } from './training-mode.js';

/** Oldest default opset whose operators the gradients are written in (ReduceSum takes its axes as an input). */
const OLDEST_OPSET = 13;

/** Operators whose float constants say how, not what, to compute. */
const SHAPE_CONSTANTS = new Set(['Resize', 'Upsample']);

/** Operators that hold graphs: their gradient is not taken. */
const CONTROL_HINTS: Readonly<Record<string, string>> = {
  If: 'simplify the model with fixed shapes first: a branch that is always taken is put in place of the If',
  Loop: 'export the model with the loop unrolled',
  Scan: 'export the model with the loop unrolled',
};

export interface DifferentiateOptions {
  /** Name of a scalar value of the graph, or a function that adds the loss behind the outputs (it may add inputs such as labels through the builder). */
  readonly loss: string | ((b: GradBuilder, outputs: Readonly<Record<string, Value>>) => Value);
  /**
   * Names of initializers, or which of the float initializers; all float ones where omitted. Zero points of QuantizeLinear and DequantizeLinear can be
   * named as well: their gradient is a float, that of the real number they were rounded from.
   */
  readonly parameters?: readonly string[] | ((name: string, data: Tensor) => boolean) | undefined;
  /** Graph inputs whose gradients are wanted as well. */
  readonly inputs?: readonly string[] | undefined;
  /** Numbers of symbolic dimensions, or dimensions of inputs. */
  readonly shapes?: Readonly<Record<string, number | readonly number[]>> | undefined;
  /** BatchNormalization by the statistics of the batch, Dropout at work. Default false: the graph as it infers. */
  readonly training?: boolean | undefined;
  /** In training: the statistics of the batch (default), or the running ones, left as they are. */
  readonly batchNorm?: 'batch' | 'frozen' | undefined;
  /** Outputs of the model that are kept beside the loss (default all); the forward work of the others goes. */
  readonly outputs?: readonly string[] | undefined;
  /**
   * Parameters and states become graph inputs without data of their own, to be fed from buffers (default). Otherwise they stay initializers, and
   * only their gradients are added.
   */
  readonly parametersAsInputs?: boolean | undefined;
  /** Less memory for about one more forward pass: the backward pass computes forward values again, segment by segment. */
  readonly recompute?: boolean | RecomputeOptions | undefined;
  /** Channels of a block where depthwise convolutions will run in a blocked layout (`Engine.channelBlock`): their gradients are then convolutions too. */
  readonly channelBlock?: number | undefined;
}

export interface ParameterGradient {
  readonly name: string;
  /** Name of the output that holds the gradient, of the parameter's shape; null where the loss does not depend on it. */
  readonly gradient: string | null;
  readonly data: Tensor;
}

export interface Differentiated {
  readonly model: Model;
  /** Name of the scalar output. */
  readonly loss: string;
  readonly parameters: readonly ParameterGradient[];
  /** Gradients of graph inputs that were asked for. */
  readonly inputs: readonly { readonly name: string; readonly gradient: string | null }[];
  /** Values carried from step to step without a gradient: running statistics. `next` is the output with the new value. */
  readonly states: readonly TrainingState[];
  /** Name of the int64 scalar input that seeds Dropout; undefined where nothing is random. Feed another number each step. */
  readonly seed: string | undefined;
  /** With the option `recompute`: what is computed again; undefined where that would save nothing. */
  readonly recomputed?: Recomputed | undefined;
}

/** Gradients of a weighted sum of values instead of a loss: the product of a vector with the Jacobian. */
export interface PullBackOptions extends Omit<DifferentiateOptions, 'loss'> {
  /** For each value where the walk starts its gradient, of the same shape. */
  readonly gradients: (b: GradBuilder, outputs: Readonly<Record<string, Value>>) => ReadonlyMap<Value, Value>;
}

/**
 * Adds the loss and its gradients to a copy of the model. Outputs are called `<parameter>_grad`.
 * Throws E_UNSUPPORTED naming every node on the way whose gradient is missing, E_USAGE for names that are not there or a loss that is no scalar,
 * E_SHAPE where a dimension stays open.
 */
export function differentiate(source: Model, options: DifferentiateOptions): Differentiated {
  let name = '';
  const wanted = options.loss;
  const result = transform(source, options, (b, outputs) => {
    const loss = typeof wanted === 'string' ? findLoss(b.graph, wanted) : wanted(b, outputs);
    requireScalar(loss);
    name = nameOutput(b.graph, loss, typeof wanted === 'string' ? wanted : 'loss');
    return { seeds: new Map([[loss, b.full(loss, dimsOf(loss), 1)]]), outputs: [name] };
  });
  return { ...result, loss: name };
}

/** As `differentiate`, from gradients that are given at the outputs or at other values. */
export function pullBack(source: Model, options: PullBackOptions): Omit<Differentiated, 'loss'> {
  return transform(source, options, (b, outputs) => ({ seeds: options.gradients(b, outputs), outputs: [] }));
}

interface Start {
  /** Gradients where the walk starts. */
  readonly seeds: ReadonlyMap<Value, Value>;
  /** Names of outputs that must stay. */
  readonly outputs: readonly string[];
}

function transform(
  source: Model,
  options: Omit<DifferentiateOptions, 'loss'>,
  begin: (b: GradBuilder, outputs: Readonly<Record<string, Value>>) => Start,
): Omit<Differentiated, 'loss'> {
  if (source.opset < OLDEST_OPSET) {
    throw unsupportedError(`gradients: expected opset ${OLDEST_OPSET} or newer, got ${source.opset}`, {
      hint: 'simplify the model first, which upgrades it',
    });
  }
  const model = cloneModel(source);
  const { graph } = model;
  specializeShapes(model, options.shapes ?? {});
  requireStaticInputs(graph);
  const parameters = chooseParameters(graph, options.parameters);
  const inputs = (options.inputs ?? []).map((name) => findInput(graph, name));
  const inference = new GraphInference(model, false);
  inference.run(graph);
  const undone = decomposeNodes(model, inference, [...parameters, ...inputs], (node) => inferNew(inference, node));
  const b = new GradBuilder(graph, (node) => inferNew(inference, node));
  b.channelBlock = options.channelBlock ?? 0;
  const outputs = [...graph.outputs];
  const training = options.training ? enterTraining(model, b, options.batchNorm) : { states: [], seed: undefined };
  const start = begin(b, Object.fromEntries(graph.outputs.slice(0, outputs.length).map((v) => [v.name, v])));
  const gradients = new ReverseWalk(model, b, inference, [...parameters, ...inputs], start.seeds, undone).run();
  keepOutputs(graph, options.outputs, new Set([...start.outputs, ...training.states.map((s) => s.next)]));
  const forwardOutputs = [...graph.outputs];
  const add = (value: Value): string | null => {
    const gradient = gradients.get(value);
    return gradient ? addGradientOutput(b, gradient, `${value.name}_grad`) : null;
  };
  const result = {
    model,
    parameters: parameters.map((value) => ({ name: value.name, gradient: add(value), data: value.initializer! })),
    inputs: inputs.map((value) => ({ name: value.name, gradient: add(value) })),
    states: training.states,
    seed: training.seed,
  };
  removeDead(graph);
  const { recompute = false } = options;
  let recomputed: Recomputed | undefined;
  if (recompute !== false) {
    recomputed = recomputeForward(model, [...start.seeds.keys(), ...forwardOutputs], recompute === true ? {} : recompute);
    removeDead(graph);
  }
  if (options.parametersAsInputs ?? true) {
    const states = training.states.map((s) => graph.value(s.name)!);
    for (const value of [...parameters, ...states]) if (value.readerCount > 0) makeInput(graph, value);
  }
  graph.pruneValues();
  if (graph.nodes.some((n) => n.domain === 'com.microsoft') && !model.opsets.has('com.microsoft')) model.opsets.set('com.microsoft', 1);
  return { ...result, recomputed };
}

// ---- what is asked for ----

function requireStaticInputs(graph: Graph): void {
  const open = graph.inputs.filter((v) => v.initializer === null && !isStatic(tensorTypeOf(v)?.shape));
  if (open.length === 0) return;
  const list = open.map((v) => `"${v.name}" ${formatShape(tensorTypeOf(v)?.shape)}`).join(', ');
  throw usageError(`gradients: expected inputs of static shape, got ${list}`, {
    hint: 'give a number to each symbolic dimension (batch, sequence)',
  });
}

function chooseParameters(graph: Graph, wanted: DifferentiateOptions['parameters']): Value[] {
  const floats = graph.initializers.filter((v) => isFloat(v.initializer!.dtype));
  if (wanted === undefined) return floats.filter((v) => !v.uses.some((u) => SHAPE_CONSTANTS.has(u.node.opType)));
  if (typeof wanted === 'function') return floats.filter((v) => wanted(v.name, v.initializer!));
  return wanted.map((name) => {
    const value = floats.find((v) => v.name === name) ?? graph.initializers.find((v) => v.name === name && isZeroPoint(v));
    if (value) return value;
    const known = floats.map((v) => `"${v.name}"`);
    throw usageError(`no float parameter "${name}": expected one of ${known.slice(0, 20).join(', ')}${known.length > 20 ? ', ...' : ''}`);
  });
}

/** Reads of integers that have a gradient. */
function isZeroPoint(value: Value): boolean {
  return value.uses.length > 0 && value.uses.every((u) => u.index === 2 && /^(De)?[qQ]uantizeLinear$/.test(u.node.opType));
}

function findInput(graph: Graph, name: string): Value {
  const value = graph.inputs.find((v) => v.name === name);
  if (!value) throw usageError(`no input "${name}": expected one of ${graph.inputs.map((v) => `"${v.name}"`).join(', ')}`);
  return value;
}

function findLoss(graph: Graph, name: string): Value {
  const value = graph.ownValue(name);
  if (!value) throw usageError(`no value "${name}" to be the loss: expected one of ${graph.outputs.map((v) => `"${v.name}"`).join(', ')}`);
  return value;
}

function requireScalar(loss: Value): void {
  const type = tensorTypeOf(loss);
  if (type && isFloat(type.dtype) && isStatic(type.shape) && type.shape.every((d) => d === 1)) return;
  throw usageError(
    `loss "${loss.name}": expected a float scalar, got ${type ? `${type.dtype}${formatShape(type.shape)}` : 'an unknown type'}`,
    {
      hint: 'reduce it to one number, for example by ReduceMean',
    },
  );
}

function inferNew(inference: GraphInference, node: Node): void {
  inference.inferNode(node);
  const unknown = inference.unknown.get(node);
  if (unknown) throw bugError(`${node.op} in a gradient: ${unknown.reason}`, { place: { node: node.label } });
}

// ---- the walk ----

interface MissingGradient {
  readonly node: Node;
  readonly reason: string | undefined;
}

class ReverseWalk {
  readonly #model: Model;
  readonly #b: GradBuilder;
  readonly #inference: GraphInference;
  readonly #sources: readonly Value[];
  readonly #seeds: ReadonlyMap<Value, Value>;
  /** Values that depend on a source through floats. */
  readonly #needed = new Set<Value>();
  readonly #parts = new Map<Value, Value[]>();
  readonly #missing: MissingGradient[] = [];
  readonly #undone: ReadonlyMap<Node, string>;

  constructor(
    model: Model,
    b: GradBuilder,
    inference: GraphInference,
    sources: readonly Value[],
    seeds: ReadonlyMap<Value, Value>,
    undone: ReadonlyMap<Node, string>,
  ) {
    this.#undone = undone;
    this.#model = model;
    this.#b = b;
    this.#inference = inference;
    this.#sources = sources;
    this.#seeds = seeds;
  }

  run(): Map<Value, Value> {
    const nodes = this.#model.graph.nodes;
    markNeeded(this.#needed, this.#sources, nodes);
    const onPath = this.#pathToLoss(nodes);
    for (const [value, gradient] of this.#seeds) if (this.#needed.has(value)) this.#contribute(value, gradient);
    for (const node of nodes.toReversed()) if (onPath.has(node)) this.#visit(node);
    this.#b.origin = '';
    if (this.#missing.length > 0) throw missingError(this.#missing);
    const gradients = new Map<Value, Value>();
    for (const source of this.#sources) {
      const gradient = this.#gradientOf(source);
      if (gradient) gradients.set(source, gradient);
    }
    return gradients;
  }

  /** Nodes between the sources and the loss; those without a gradient are noted, all at once. */
  #pathToLoss(nodes: readonly Node[]): Set<Node> {
    const reached = new Set<Value>(this.#seeds.keys());
    const path = new Set<Node>();
    for (const node of nodes.toReversed()) {
      if (!node.outputs.some((v) => v && reached.has(v) && this.#needed.has(v))) continue;
      const grad = this.#gradOf(node);
      if (grad === noFlow) continue;
      if (grad === undefined) this.#missing.push({ node, reason: this.#undone.get(node) });
      else path.add(node);
      for (const input of node.inputs) if (input && this.#needed.has(input)) reached.add(input);
    }
    return path;
  }

  #gradOf(node: Node) {
    if (this.#model.functions.length > 0 && this.#model.functionOf(node)) return undefined;
    const grad = opRecord(node.domain, node.opType)?.grad;
    return typeof grad === 'function' ? grad : undefined;
  }

  #visit(node: Node): void {
    const outputGrads = node.outputs.map((v) => (v ? this.#gradientOf(v) : null));
    if (outputGrads.every((g) => g === null)) return;
    const wants = node.inputs.map((v) => v !== null && this.#needed.has(v));
    this.#b.origin = node.label;
    let gradients: readonly (Value | null)[];
    try {
      gradients = this.#gradOf(node)!(this.#context(node, outputGrads, wants));
    } catch (error) {
      if (error instanceof NoGradient) {
        this.#missing.push({ node, reason: error.message });
        return;
      }
      throw error instanceof PareError ? error.at({ node: node.label }) : error;
    }
    node.inputs.forEach((input, i) => {
      const gradient = gradients[i];
      if (!input || !wants[i] || !gradient) return;
      const [expected, actual] = [dimsOf(input), dimsOf(gradient)];
      if (String(expected) !== String(actual)) {
        throw bugError(`gradient of ${node.op} input ${i}: expected ${formatShape(expected)}, got ${formatShape(actual)}`, {
          place: { node: node.label },
        });
      }
      this.#contribute(input, gradient);
    });
  }

  #contribute(value: Value, gradient: Value): void {
    const parts = this.#parts.get(value);
    if (parts) parts.push(gradient);
    else this.#parts.set(value, [gradient]);
  }

  /** Sum of what arrived for a value so far; null where nothing did. */
  #gradientOf(value: Value): Value | null {
    const parts = this.#parts.get(value);
    if (!parts) return null;
    if (parts.length > 1) {
      const sum = parts.reduce((a, p) => this.#b.add(a, p));
      this.#parts.set(value, [sum]);
      return sum;
    }
    return parts[0]!;
  }

  #context(node: Node, outputGrads: readonly (Value | null)[], wants: readonly boolean[]): GradContext {
    return {
      ...nodeContext(node, this.#b, this.#inference, new Set(this.#sources)),
      outputGrads,
      wants,
      outputGrad(index = 0) {
        const gradient = outputGrads[index];
        if (!gradient) throw bugError(`gradient of ${node.op}: none for output ${index}`, { place: { node: node.label } });
        return gradient;
      },
    };
  }
}

function missingError(missing: readonly MissingGradient[]): PareError {
  const list = missing.map(({ node, reason }) => `${node.op} "${node.label}"${reason ? ` (${reason})` : ''}`);
  const hints = new Set(
    missing.map(
      ({ node }) => CONTROL_HINTS[node.opType] ?? 'freeze the parameters before these nodes, or take the loss of a value before them',
    ),
  );
  return unsupportedError(`no gradient for ${list.length} node${list.length === 1 ? '' : 's'}: ${list.join(', ')}`, {
    hint: [...hints].join('; '),
  });
}

// ---- the result ----

/** Makes `value` an output under a name, through an Identity where it is an output or input already. */
function nameOutput(graph: Graph, value: Value, name: string): string {
  if (value.isGraphOutput) return value.name;
  if (value.name !== name) graph.rename(value, graph.freshName(name));
  graph.addOutput(value);
  return value.name;
}

function addGradientOutput(b: GradBuilder, gradient: Value, wanted: string): string {
  const { graph } = b;
  const name = graph.freshName(wanted);
  // Forward values, constants and gradients that two parameters share keep their names.
  const own = gradient.producer !== null && !gradient.isGraphOutput && gradient.name.startsWith(b.prefix);
  const node = own ? undefined : graph.addNode({ opType: 'Identity', inputs: [gradient], outputs: [name] });
  if (node) node.output().type = gradient.type;
  return nameOutput(graph, node ? node.output() : gradient, name);
}

function keepOutputs(graph: Graph, wanted: readonly string[] | undefined, always: ReadonlySet<string>): void {
  if (wanted === undefined) return;
  for (const name of wanted) if (!graph.outputs.some((v) => v.name === name)) throw usageError(`no output "${name}" to keep`);
  for (const output of [...graph.outputs]) if (!wanted.includes(output.name) && !always.has(output.name)) graph.removeOutput(output);
}

/** Drops nodes that no output needs, last first, and constants without readers. */
function removeDead(graph: Graph): void {
  for (const node of graph.nodes.toReversed()) if (node.outputs.every((v) => !v || v.readerCount === 0)) graph.removeNode(node);
}

/** A constant as an input of the same name, type and shape. */
function makeInput(graph: Graph, value: Value): void {
  value.initializer = null;
  if (!value.isGraphInput) graph.addInputValue(value);
}
