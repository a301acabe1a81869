// Decides, before anything is changed, what becomes integer: nodes that run in int8, activations that get Q/DQ, weights, biases, values that share
// a range. Facts about the maths come from the operator records, facts about kernels from the runtime; what stays float is said with its reason.
// Nodes that only move or combine values are taken where both sides of them are integer already: a lone int8 Add between float nodes gains nothing.
// An operand from a float node counts as integer where an integer product reads it too, as its Q/DQ is then there in any case.
import type { Graph, Node, Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import type { QuantFacts } from '../ops/op.js';
import { opRecord } from '../ops/registry.js';
import { type ComputeKernel, noKernel, type Runtime } from './runtimes.js';
import type { Selector } from './selection.js';

type ComputeFacts = Extract<Exclude<QuantFacts, 'none'>, { kind: 'compute' }>;

/** A node with a weight whose products run in integers, or whose weight alone is stored so. */
export interface ComputeAnnotation {
  readonly node: Node;
  readonly kernel: ComputeKernel;
  /** Input index of the data. */
  readonly data: number;
  /** Null where both operands are activations. */
  readonly weight: { readonly index: number; readonly value: Value; readonly channelAxis: number | null } | null;
  readonly bias: { readonly index: number; readonly value: Value } | null;
  /** False where only the weight is stored in integers and the node computes in float. */
  readonly integer: boolean;
}

export interface SkippedNode {
  readonly node: Node;
  readonly reason: string;
}

export interface Annotation {
  readonly graph: Graph;
  readonly compute: readonly ComputeAnnotation[];
  /** Arithmetic, function and passthrough nodes that run on quantized values. */
  readonly others: readonly Node[];
  /** Nodes whose effect quantization of their producer already has (Relu, Clip); they are removed. */
  readonly absorbed: readonly Node[];
  /** Activations that get Q/DQ, in graph order. */
  readonly activations: readonly Value[];
  /** Constants read as data by integer nodes (the addend of an Add). */
  readonly constants: readonly Value[];
  /** Nodes that read quantized values; other readers keep the float value where there is one. */
  readonly integerNodes: ReadonlySet<Node>;
  /** Sets of values that must have one scale. */
  readonly shared: readonly (readonly Value[])[];
  /** Sets of values for which one scale is cheaper but not needed (operands of Concat). */
  readonly preferShared: readonly (readonly Value[])[];
  readonly skipped: readonly SkippedNode[];
}

export interface AnnotateOptions {
  readonly runtime: Runtime;
  readonly select: Selector;
  /** Zero points may be anywhere: clamps at zero can then be absorbed. */
  readonly asymmetric: boolean;
  /** Quantize values that are graph outputs too. */
  readonly outputs: boolean;
  /** Quantize products of two activations (attention) too. */
  readonly activationProducts: boolean;
}

/** Quantization facts of a node's operator for this very node. */
export function quantFactsOf(node: Node): QuantFacts {
  const quant = opRecord(node.domain, node.opType)?.quant ?? 'none';
  return typeof quant === 'function' ? quant(node) : quant;
}

/** Range that an operator's result always has, so that it needs no measuring. */
export const FIXED_RANGES: Readonly<Record<string, { readonly min: number; readonly max: number }>> = {
  Sigmoid: { min: 0, max: 1 },
  HardSigmoid: { min: 0, max: 1 },
  Softmax: { min: 0, max: 1 },
  Tanh: { min: -1, max: 1 },
  Softsign: { min: -1, max: 1 },
};

const QUANTIZED_OPS =
  /^(Quantize|Dequantize|DynamicQuantize|QLinear|QGemm|QAttention|MatMulInteger|ConvInteger|MatMulNBits|GatherBlockQuantized|MatMulBnb4)/;

/** True for operators that only occur in models that were quantized before. */
export function isQuantizedOp(node: Node): boolean {
  return QUANTIZED_OPS.test(node.opType);
}

/** Annotates the nodes of one graph (not of its subgraphs). Types of values must have been inferred. */
export function annotate(graph: Graph, options: AnnotateOptions): Annotation {
  return new Annotator(graph, options).run();
}

class Annotator {
  readonly #graph: Graph;
  readonly #options: AnnotateOptions;
  readonly #compute = new Map<Node, ComputeAnnotation>();
  readonly #others = new Set<Node>();
  readonly #absorbed = new Map<Node, Node>();
  readonly #skipped: SkippedNode[] = [];

  constructor(graph: Graph, options: AnnotateOptions) {
    this.#graph = graph;
    this.#options = options;
  }

  run(): Annotation {
    for (const node of this.#graph.nodes) this.#considerCompute(node);
    if (this.#options.asymmetric) for (const node of this.#graph.nodes) this.#considerClamp(node);
    for (const node of this.#graph.nodes) if (!this.#compute.has(node) && this.#isCandidate(node)) this.#others.add(node);
    this.#keepSandwiched();
    this.#dropUselessClamps();
    this.#settleOutputs();
    return this.#collect();
  }

  #skip(node: Node, reason: string): void {
    this.#skipped.push({ node, reason });
  }

  #considerCompute(node: Node): void {
    const facts = quantFactsOf(node);
    if (facts === 'none' || facts.kind !== 'compute') return;
    const verdict = this.#judgeCompute(node, facts);
    if (typeof verdict === 'string') this.#skip(node, verdict);
    else if (verdict) this.#compute.set(node, verdict);
  }

  /** The annotation of a node with a weight, the reason why it stays float, or undefined where there is nothing to say. */
  #judgeCompute(node: Node, facts: ComputeFacts): ComputeAnnotation | string | undefined {
    const excluded = this.#options.select(node);
    if (excluded !== undefined) return excluded;
    const kernel = node.domain === '' ? this.#options.runtime.compute[node.opType] : undefined;
    if (kernel === undefined) return noKernel(this.#options.runtime, node.op);
    const dataIndex = facts.data[0] ?? 0;
    const data = node.input(dataIndex);
    const weight = node.input(facts.weight);
    if (!data || !weight) return undefined;
    if (data.producer && isQuantizedOp(data.producer)) return 'it is quantized already';
    if (data.isConstant) return 'its data operand is a constant';
    for (const value of [data, weight]) {
      const dtype = tensorTypeOf(value)?.dtype;
      if (dtype !== undefined && dtype !== 'float') return `its operand ${value.name} is ${dtype}, not float`;
    }
    const tensor = weight.isConstant ? weight.initializer : null;
    if (!tensor) {
      const wanted = this.#options.activationProducts && node.opType === 'MatMul';
      return wanted ? { node, kernel, data: 0, weight: null, bias: null, integer: true } : 'both of its operands are activations';
    }
    const bias = facts.bias === null ? null : node.input(facts.bias);
    return (
      weightProblem(node, tensor) ??
      (kernel.bias === 'float' ? undefined : biasProblem(node, bias)) ?? {
        node,
        kernel,
        data: dataIndex,
        weight: { index: facts.weight, value: weight, channelAxis: facts.channelAxis(node, tensor.rank) },
        bias: bias && facts.bias !== null && kernel.bias !== 'float' ? { index: facts.bias, value: bias } : null,
        integer: true,
      }
    );
  }

  /** A clamp directly behind a node with an integer output, read by nothing else, becomes part of that output's range. */
  #considerClamp(node: Node): void {
    const facts = quantFactsOf(node);
    if (facts === 'none' || facts.kind !== 'clamp' || this.#options.select(node) !== undefined) return;
    const input = node.input(0);
    const output = node.outputs[0];
    const producer = input?.producer;
    if (!input || !output || !producer || input.readerCount !== 1 || producer.graph !== this.#graph) return;
    if (!this.#mayQuantize(output) || !boundsAreConstant(node)) return;
    this.#absorbed.set(node, this.#absorbed.get(producer) ?? producer);
  }

  #mayQuantize(value: Value): boolean {
    return this.#options.outputs || !value.isGraphOutput;
  }

  /** Value that carries the node's integer result: its output, or that of the last clamp absorbed into it. */
  #effectiveOutputs(node: Node): Value[] {
    return node.outputs.filter((v): v is Value => v !== null).map((v) => this.#throughClamps(v));
  }

  #throughClamps(value: Value): Value {
    const clamp = value.uses.length === 1 ? value.uses[0]!.node : undefined;
    return clamp && this.#absorbed.has(clamp) ? this.#throughClamps(clamp.output()) : value;
  }

  #isCandidate(node: Node): boolean {
    const facts = quantFactsOf(node);
    if (facts === 'none' || node.domain !== '' || this.#options.select(node) !== undefined) return false;
    const { arithmetic, functions, passthrough } = this.#options.runtime;
    const table = { arithmetic, function: functions, passthrough }[facts.kind as 'arithmetic' | 'function' | 'passthrough'];
    const support = table?.[node.opType];
    if (!support || !('data' in facts)) return false;
    if (facts.data.some((i) => this.#dataInputs(node, [i]).some((v) => tensorTypeOf(v)?.dtype !== 'float'))) return false;
    if (node.outputs.some((v) => v && !this.#mayQuantize(v))) return false;
    const verdict = support(node);
    if (verdict !== true) {
      if (this.#dataInputs(node, facts.data).every((v) => this.#comesFromCompute(v))) this.#skip(node, verdict);
      return false;
    }
    return true;
  }

  #comesFromCompute(value: Value): boolean {
    return value.producer !== null && (this.#compute.get(value.producer)?.integer ?? false);
  }

  #dataInputs(node: Node, indices: readonly number[]): Value[] {
    // Variadic operators (Concat) state only their first operand.
    const all = node.opType === 'Concat' ? node.inputs.map((_, i) => i) : indices;
    return all.map((i) => node.input(i)).filter((v): v is Value => v !== null);
  }

  #dataOf(node: Node): Value[] {
    const facts = quantFactsOf(node);
    return facts !== 'none' && 'data' in facts ? this.#dataInputs(node, facts.data) : [];
  }

  /** Drops candidates until each left has integers before and after it. */
  #keepSandwiched(): void {
    for (let changed = true; changed; ) {
      changed = false;
      for (const node of this.#others) {
        const data = this.#dataOf(node);
        const before =
          data.some((v) => this.#isInteger(v)) && data.every((v) => v.isConstant || this.#isInteger(v) || this.#feedsCompute(v));
        const after = this.#effectiveOutputs(node).some((v) => this.#feedsInteger(v));
        if (before && after) continue;
        this.#others.delete(node);
        changed = true;
      }
    }
  }

  /** The value is the result of an integer node (through absorbed clamps). */
  #isInteger(value: Value): boolean {
    const producer = value.producer;
    if (!producer) return false;
    const origin = this.#absorbed.get(producer) ?? producer;
    return this.#others.has(origin) || (this.#compute.get(origin)?.integer ?? false);
  }

  #feedsInteger(value: Value): boolean {
    return value.uses.some(({ node, index }) => {
      const compute = this.#compute.get(node);
      if (compute?.integer) return compute.weight === null || index === compute.data;
      return this.#others.has(node) && this.#dataOf(node).includes(value);
    });
  }

  /** The value is quantized in any case, because an integer product reads it. */
  #feedsCompute(value: Value): boolean {
    return value.uses.some(({ node, index }) => {
      const compute = this.#compute.get(node);
      return (compute?.integer ?? false) && index === compute?.data;
    });
  }

  #dropUselessClamps(): void {
    for (const [clamp, origin] of [...this.#absorbed]) {
      const compute = this.#compute.get(origin);
      const quantized = this.#others.has(origin) || (compute?.integer && this.#hasIntegerOutput(compute));
      if (!quantized) this.#absorbed.delete(clamp);
    }
  }

  /** True where the node's result is quantized: because its kernel needs that, or because integer nodes read it. */
  #hasIntegerOutput(compute: ComputeAnnotation): boolean {
    if (compute.kernel.output === 'required') return true;
    return this.#effectiveOutputs(compute.node).some((v) => this.#mayQuantize(v) && this.#feedsInteger(v));
  }

  /** Nodes whose kernel needs a quantized output but whose output is the model's: their weight is stored in integers, they compute in float. */
  #settleOutputs(): void {
    for (const [node, compute] of this.#compute) {
      if (compute.kernel.output !== 'required' || node.outputs.every((v) => !v || this.#mayQuantize(v))) continue;
      this.#compute.set(node, { ...compute, integer: false });
      this.#skip(node, 'its output is an output of the model, which stays float: only its weight is quantized');
    }
  }

  #collect(): Annotation {
    const activations = new Set<Value>();
    const constants = new Set<Value>();
    const integerNodes = new Set<Node>();
    const shared: Value[][] = [];
    const preferShared: Value[][] = [];
    for (const node of this.#graph.nodes) {
      const compute = this.#compute.get(node);
      if (compute?.integer) {
        integerNodes.add(node);
        activations.add(node.input(compute.data)!);
        if (compute.weight === null) activations.add(node.input(1)!);
        if (this.#hasIntegerOutput(compute)) for (const v of this.#effectiveOutputs(node)) activations.add(v);
      } else if (this.#others.has(node)) {
        integerNodes.add(node);
        const data = this.#dataOf(node);
        for (const v of data) (v.isConstant ? constants : activations).add(v);
        const outputs = this.#effectiveOutputs(node);
        for (const v of outputs) activations.add(v);
        const facts = quantFactsOf(node);
        if (facts !== 'none' && facts.kind === 'passthrough') {
          (this.#options.runtime.rescaling.includes(node.opType) ? preferShared : shared).push([...data, ...outputs]);
        }
      }
    }
    return {
      graph: this.#graph,
      compute: [...this.#compute.values()],
      others: [...this.#others],
      absorbed: [...this.#absorbed.keys()],
      activations: [...activations],
      constants: [...constants],
      integerNodes,
      shared,
      preferShared,
      skipped: this.#skipped,
    };
  }
}

/** Why a weight keeps its node from running in integers, or undefined. */
function weightProblem(node: Node, weight: Tensor): string | undefined {
  if (weight.dtype !== 'float') return `its weight is ${weight.dtype}, not float`;
  if (weight.size === 0) return 'its weight is empty';
  if (weight.rank < 2) return 'its weight is a vector';
  if (weight.rank > 2 && node.opType === 'MatMul') return 'its weight has more than two dimensions';
  return undefined;
}

/** Why a bias keeps its node from running in integers, or undefined. */
function biasProblem(node: Node, bias: Value | null): string | undefined {
  if (!bias) return undefined;
  if (!bias.isConstant || bias.initializer?.dtype !== 'float') return 'its bias is not a constant';
  if (node.opType === 'Gemm') {
    if (node.float('beta', 1) !== 1) return `its bias is scaled (beta ${node.float('beta', 1)})`;
    const dims = bias.initializer.dims;
    if (dims.slice(0, -1).some((d) => d !== 1)) return `its bias differs between rows ([${dims.join(',')}])`;
  }
  return undefined;
}

function boundsAreConstant(node: Node): boolean {
  return node.inputs.slice(1).every((v) => v === null || v.isConstant);
}
