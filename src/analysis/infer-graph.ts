// The walk of shape inference: node by node in order, subgraphs when their node asks, local functions by binding their inputs.
// It keeps what files claim (value_info) apart from what follows from the operators, and never invents: what is not known stays open.
import { limitError, PareError, shapeError, typeError } from '../errors.js';
import { canonicalDim, dimSymbols } from '../ir/dim.js';
import { DTYPES, type DType } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { LocalFunction, Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { type Dim, formatType, type Shape, type ValueType } from '../ir/type.js';
import { cloneGraph, walkGraphs, walkNodes } from '../ir/walk.js';
import { moreDefinite, refineType } from '../ops/infer-helpers.js';
import { type InferContext, type Inferred, MAX_PARTIAL_ELEMENTS, type PartialValue } from '../ops/op.js';
import { opRecord } from '../ops/registry.js';
import { countNodes } from './facts.js';

/** A node whose outputs could not be inferred: unknown to Pare, or in contradiction with its inputs. */
export interface UnknownNode {
  readonly node: Node;
  readonly op: string;
  readonly reason: string;
}

/** A type that the file states and inference contradicts. */
export interface TypeConflict {
  readonly value: Value;
  readonly claimed: ValueType;
  readonly inferred: ValueType;
}

/** Names in files that say "unknown" rather than name a symbol. */
const NO_SYMBOL = /^(?:\?|-1|None|none|null|Any|)$/;

/** Reason given for nodes whose operator has no record; all other reasons are contradictions. */
export const UNKNOWN_OPERATOR = 'the operator is not known';

/** Nesting of local functions beyond which a file is taken for recursive. */
const MAX_FUNCTION_DEPTH = 32;

/** Nodes looked at in all, repeats in loops and function bodies included: bounds the time that nesting in a hostile file can cost. */
const BASE_VISITS = 50_000;
const VISITS_PER_NODE = 20;

export class GraphInference {
  readonly unknown = new Map<Node, UnknownNode>();
  readonly conflicts = new Map<Value, TypeConflict>();
  readonly values = new Map<Value, PartialValue>();
  readonly #model: Model;
  readonly #strict: boolean;
  /** What the file said of a value before inference wrote over it. */
  readonly #claims = new Map<Value, ValueType | undefined>();
  readonly #contents = new Map<Value, PartialValue | undefined>();
  /** Constants bound to the formal inputs of functions. */
  readonly #bound = new Map<Value, Tensor>();
  /** Bodies of called functions, typed for the call. */
  readonly bodies = new Map<Node, Graph>();
  readonly #symbols = new Map<Node, Map<string, string>>();
  readonly #taken = new Set<string>();
  #opsets: ReadonlyMap<string, number>;
  #functionDepth = 0;
  #visits = 0;
  readonly #maxVisits: number;
  #prefix = '';

  constructor(model: Model, strict: boolean) {
    this.#model = model;
    this.#strict = strict;
    this.#opsets = model.opsets;
    this.#maxVisits = BASE_VISITS + VISITS_PER_NODE * countNodes(model);
  }

  /** Infers the nodes of a graph whose inputs have their types; answers the types of its outputs. */
  run(graph: Graph): (ValueType | undefined)[] {
    for (const node of graph.nodes) this.#node(node);
    return graph.outputs.map((v) => v.type);
  }

  /** Infers one node whose inputs have their types: for rewrites that add nodes. */
  inferNode(node: Node): void {
    this.#visits = 0;
    this.#node(node);
  }

  #node(node: Node): void {
    this.#visits++;
    const record = opRecord(node.domain, node.opType);
    const local = this.#model.functions.length > 0 ? this.#model.functionOf(node) : undefined;
    let results: readonly Inferred[];
    this.unknown.delete(node);
    try {
      if (local) results = this.#call(node, local);
      else if (record) results = record.infer(new Context(node, this));
      else {
        this.#giveUp(node, UNKNOWN_OPERATOR);
        return;
      }
    } catch (error) {
      if (!(error instanceof PareError) || error.kind === 'bug' || this.#strict) throw error;
      this.#giveUp(node, error.message);
      return;
    }
    for (const [i, output] of node.outputs.entries()) if (output) this.#assign(output, results[i] ?? { type: undefined });
  }

  #giveUp(node: Node, reason: string): void {
    this.unknown.set(node, { node, op: node.op, reason });
    for (const output of node.outputs) if (output) this.#assign(output, { type: undefined });
    // What its bodies hold is still worth knowing.
    for (const sub of node.subgraphs()) if (!opRecord(node.domain, node.opType)) this.run(sub);
  }

  #assign(value: Value, { type, value: content }: Inferred): void {
    const known = withContent(type, content);
    const claim = this.claim(value);
    const merged = mergeClaim(known, claim, this.#taken);
    if (merged === 'conflict') {
      if (this.#strict) {
        throw shapeError(`value "${value.name}": expected ${formatType(known)}, got ${formatType(claim)} in the file`, {
          place: { value: value.name, node: value.producer?.label ?? '' },
          hint: 'the value_info of the file is stale; infer without strict to replace it',
        });
      }
      this.conflicts.set(value, { value, claimed: claim!, inferred: known! });
    }
    value.type = merged === 'conflict' ? known : merged;
    if (content) this.values.set(value, content);
    else this.values.delete(value);
  }

  /** What the file said of a value. */
  claim(value: Value): ValueType | undefined {
    if (!this.#claims.has(value)) this.#claims.set(value, canonicalType(value.type));
    return this.#claims.get(value);
  }

  subgraph(graph: Graph, inputs: readonly (ValueType | undefined)[]): (ValueType | undefined)[] {
    for (const [i, formal] of graph.inputs.entries()) this.#assign(formal, { type: inputs[i] });
    return this.#visits > this.#maxVisits ? graph.outputs.map(() => undefined) : this.run(graph);
  }

  #call(node: Node, called: LocalFunction): Inferred[] {
    if (this.#functionDepth >= MAX_FUNCTION_DEPTH || this.#visits > this.#maxVisits) {
      throw limitError(
        `function ${node.op}: expected at most ${MAX_FUNCTION_DEPTH} nested calls and ${this.#maxVisits} nodes in all, got more`,
        {
          place: { node: node.label },
        },
      );
    }
    let body = this.bodies.get(node);
    if (!body) {
      body = cloneGraph(called.graph);
      bindAttributes(body, node, called);
      this.bodies.set(node, body);
    }
    const saved = { opsets: this.#opsets, prefix: this.#prefix };
    this.#opsets = called.opsets;
    this.#prefix = `${this.#prefix}${firstOutputName(node)}_`;
    this.#functionDepth++;
    try {
      for (const [i, formal] of body.inputs.entries()) {
        const actual = node.input(i);
        this.#assign(formal, { type: actual?.type, value: actual ? this.content(actual) : undefined });
        const constant = actual && this.constant(actual);
        if (constant) this.#bound.set(formal, constant);
      }
      this.run(body);
      for (const inner of walkNodes(body)) {
        const unknown = this.unknown.get(inner);
        if (!unknown) continue;
        this.unknown.delete(inner);
        this.unknown.set(node, { node, op: node.op, reason: `in its body, ${inner.op}: ${unknown.reason}` });
      }
      return body.outputs.map((v) => ({ type: v.type, value: this.content(v) }));
    } finally {
      this.#opsets = saved.opsets;
      this.#prefix = saved.prefix;
      this.#functionDepth--;
      for (const graph of walkGraphs(body)) {
        for (const value of graph.values()) {
          this.values.delete(value);
          this.conflicts.delete(value);
        }
      }
    }
  }

  opset(domain: string): number {
    return this.#opsets.get(domain) ?? this.#model.opsets.get(domain) ?? 1;
  }

  /** Content of a value: followed by inference, or a small constant. */
  content(value: Value): PartialValue | undefined {
    const followed = this.values.get(value);
    if (followed) return followed;
    if (value.producer && value.producer.opType !== 'Constant') return undefined;
    if (!this.#contents.has(value)) this.#contents.set(value, contentOf(this.constant(value)));
    return this.#contents.get(value);
  }

  constant(value: Value): Tensor | undefined {
    const tensor = value.initializer ?? this.#bound.get(value) ?? constantOf(value.producer);
    return tensor && (tensor.source.synchronous || tensor.source.resident) ? tensor : undefined;
  }

  symbol(node: Node, hint: string): string {
    let names = this.#symbols.get(node);
    if (!names) {
      names = new Map();
      this.#symbols.set(node, names);
    }
    let name = names.get(hint);
    if (name === undefined) {
      const base = `unk_${`${this.#prefix}${firstOutputName(node)}_${hint}`.replace(/[^\p{L}\p{N}_.]/gu, '_')}`;
      name = base;
      for (let i = 1; this.#taken.has(name); i++) name = `${base}_${i}`;
      this.#taken.add(name);
      names.set(hint, name);
    }
    return name;
  }
}

class Context implements InferContext {
  readonly node: Node;
  readonly #walk: GraphInference;

  constructor(node: Node, walk: GraphInference) {
    this.node = node;
    this.#walk = walk;
  }

  get opset(): number {
    return this.#walk.opset(this.node.domain);
  }

  get inputCount(): number {
    return this.node.inputs.length;
  }

  get outputCount(): number {
    return this.node.outputs.length;
  }

  has(input: number): boolean {
    return this.node.input(input) !== null;
  }

  type(input: number): ValueType | undefined {
    return this.node.input(input)?.type;
  }

  dtype(input: number): DType | undefined {
    const type = this.type(input);
    return type?.kind === 'tensor' ? type.dtype : undefined;
  }

  shape(input: number): Shape | null {
    const type = this.type(input);
    return type?.kind === 'tensor' ? type.shape : null;
  }

  value(input: number): PartialValue | undefined {
    const value = this.node.input(input);
    return value ? this.#walk.content(value) : undefined;
  }

  constant(input: number): Tensor | undefined {
    const value = this.node.input(input);
    return value ? this.#walk.constant(value) : undefined;
  }

  subgraph(graph: Graph, inputs: readonly (ValueType | undefined)[]): (ValueType | undefined)[] {
    return this.#walk.subgraph(graph, inputs);
  }

  symbol(hint: string): Dim {
    return this.#walk.symbol(this.node, hint);
  }

  failShape(input: number, expected: string, actual: string): never {
    throw shapeError(`${this.#where(input)}: expected ${expected}, got ${actual}`, { place: { node: this.node.label } });
  }

  failType(input: number, expected: string, actual: string): never {
    throw typeError(`${this.#where(input)}: expected ${expected}, got ${actual}`, { place: { node: this.node.label } });
  }

  #where(input: number): string {
    const name = this.node.input(input)?.name;
    return `${this.node.op} "${this.node.label}" input ${input}${name === undefined ? '' : ` ("${name}")`}`;
  }
}

function firstOutputName(node: Node): string {
  return node.outputs.find((o) => o)?.name ?? node.label;
}

/** Tensor of a Constant node that holds one. */
function constantOf(node: Node | null): Tensor | undefined {
  if (node?.opType !== 'Constant' || node.domain !== '') return undefined;
  const attribute = node.attribute('value');
  return attribute?.type === 'tensor' ? attribute.value : undefined;
}

/** Small numeric constants as partial values. Whole numbers beyond the safe range ("to the end") are clamped to it. */
function contentOf(tensor: Tensor | undefined): PartialValue | undefined {
  if (!tensor || tensor.size > MAX_PARTIAL_ELEMENTS) return undefined;
  const { kind } = DTYPES[tensor.dtype];
  if (kind === 'string' || kind === 'complex') return undefined;
  const clamp = (n: number) => Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, n));
  const items = kind === 'float' ? Array.from(tensor.numbers()) : Array.from(tensor.numbers(), clamp);
  return { dtype: tensor.dtype, dims: tensor.dims, items };
}

/** A type known from its content has the content's dimensions. */
function withContent(type: ValueType | undefined, content: PartialValue | undefined): ValueType | undefined {
  if (!content) return type;
  if (type === undefined) return { kind: 'tensor', dtype: content.dtype, shape: content.dims };
  return type.kind === 'tensor' && type.shape === null ? { ...type, shape: content.dims } : type;
}

/**
 * Inferred type with the gaps filled from the file's claim. What follows from the inputs stays: a number in the file for a dimension
 * that depends on the model's own symbols may be left over from before those were made dynamic. Only data-dependent symbols give way.
 */
function mergeClaim(
  inferred: ValueType | undefined,
  claim: ValueType | undefined,
  dataDependent: ReadonlySet<string>,
): ValueType | undefined | 'conflict' {
  const merged = refineType(inferred, claim);
  if (merged === 'conflict' || merged?.kind !== 'tensor' || inferred?.kind !== 'tensor' || claim?.kind !== 'tensor') return merged;
  if (inferred.shape === null || claim.shape === null) return merged;
  return {
    ...merged,
    shape: inferred.shape.map((d, i) =>
      d === null || dimSymbols(d).some((s) => dataDependent.has(s)) ? moreDefinite(d, claim.shape![i]!) : d,
    ),
  };
}

/** The type with canonical dimensions; names such as "?" and negative numbers say nothing. */
export function canonicalType(type: ValueType | undefined): ValueType | undefined {
  if (type === undefined) return undefined;
  if (type.kind === 'tensor' || type.kind === 'sparse') {
    return type.shape === null ? type : { ...type, shape: type.shape.map(knownDim) };
  }
  if (type.kind === 'sequence' || type.kind === 'optional') return { ...type, element: canonicalType(type.element ?? undefined) ?? null };
  return type;
}

function knownDim(dim: Dim): Dim {
  if (typeof dim === 'number') return dim >= 0 ? dim : null;
  return dim === null || NO_SYMBOL.test(dim) ? null : canonicalDim(dim);
}

/** Puts the caller's attributes, or the function's defaults, where the body refers to them. */
function bindAttributes(body: Graph, call: Node, called: LocalFunction): void {
  for (const node of walkNodes(body)) {
    for (const [name, attribute] of [...node.attributes]) {
      if (attribute.type === 'ref') node.setAttribute(name, call.attribute(attribute.ref) ?? called.attributeDefaults.get(attribute.ref));
    }
  }
}
