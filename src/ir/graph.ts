// The graph: nodes in execution order, values that know their producer and uses, and the edits that keep both consistent.
// Values are connected by identity, not by name: a node of a subgraph that captures an outer value holds that very Value.
import { bugError, graphError } from '../errors.js';
import type { Attribute, AttributeInput, SparseTensor } from './attribute.js';
import { AttributeHolder } from './attribute-holder.js';
import type { Tensor } from './tensor.js';
import type { ValueType } from './type.js';

/** One place where a value is read: input number `index` of `node`. */
export interface Use {
  readonly node: Node;
  readonly index: number;
}

/** An edge of the graph: a graph input, an initializer, or an output of a node. */
export class Value {
  readonly graph: Graph;
  /** @internal renamed only through Graph.rename */
  _name: string;
  /** What is known of the type; kept current by shape inference. */
  type: ValueType | undefined;
  /** Node that computes it; null for graph inputs and initializers. */
  producer: Node | null = null;
  /** Constant data, for initializers. A graph input may have one as its default. */
  initializer: Tensor | null = null;
  sparse: SparseTensor | null = null;
  readonly uses: Use[] = [];
  doc: string | undefined;
  metadata: Map<string, string> | undefined;
  unknown: Uint8Array | undefined;

  /** @internal made by Graph */
  constructor(graph: Graph, name: string, type: ValueType | undefined) {
    this.graph = graph;
    this._name = name;
    this.type = type;
  }

  get name(): string {
    return this._name;
  }

  get isGraphInput(): boolean {
    return this.graph.inputs.includes(this);
  }

  get isGraphOutput(): boolean {
    return this.graph.outputs.includes(this);
  }

  /** True for an initializer that no caller can override (not also a graph input). */
  get isConstant(): boolean {
    return this.initializer !== null && !this.isGraphInput;
  }

  /** Number of readers: uses by nodes (of subgraphs too) plus graph outputs. */
  get readerCount(): number {
    return this.uses.length + (this.isGraphOutput ? 1 : 0);
  }

  /** Nodes that read this value, each once. */
  get users(): Node[] {
    return [...new Set(this.uses.map((u) => u.node))];
  }
}

export interface NodeSpec {
  readonly opType: string;
  readonly domain?: string;
  readonly overload?: string;
  readonly name?: string;
  /** null stands for an omitted optional input. */
  readonly inputs: readonly (Value | null)[];
  /** Existing values without a producer, names for new values, or null for omitted optional outputs. */
  readonly outputs: readonly (Value | string | null)[];
  readonly attributes?: Readonly<Record<string, AttributeInput>> | ReadonlyMap<string, Attribute>;
}

/** One operator application. */
export class Node extends AttributeHolder {
  readonly graph: Graph;
  opType: string;
  /** '' is the default ONNX domain ("ai.onnx" is read as ''). */
  domain: string;
  overload: string;
  name: string;
  readonly #inputs: (Value | null)[] = [];
  readonly #outputs: (Value | null)[] = [];
  doc: string | undefined;
  metadata: Map<string, string> | undefined;
  unknown: Uint8Array | undefined;
  /** @internal neighbours in the graph's order */
  _prev: Node | null = null;
  /** @internal */
  _next: Node | null = null;

  /** @internal made by Graph.addNode */
  constructor(graph: Graph, spec: NodeSpec) {
    super();
    this.graph = graph;
    this.opType = spec.opType;
    this.domain = spec.domain === 'ai.onnx' ? '' : (spec.domain ?? '');
    this.overload = spec.overload ?? '';
    this.name = spec.name ?? '';
  }

  get inputs(): readonly (Value | null)[] {
    return this.#inputs;
  }

  get outputs(): readonly (Value | null)[] {
    return this.#outputs;
  }

  /** Operator with its domain where it is not the default: `com.microsoft.FusedConv`. */
  get op(): string {
    return this.domain === '' ? this.opType : `${this.domain}.${this.opType}`;
  }

  /** The node's name, or where it has none its operator and first output: for messages. */
  get label(): string {
    return this.name || `${this.opType}(${this.#outputs.find((o) => o)?.name ?? ''})`;
  }

  /** Input value, or null where omitted or beyond the list. */
  input(index: number): Value | null {
    return this.#inputs[index] ?? null;
  }

  /** Output value; throws E_BUG where the node has none at this place. */
  output(index = 0): Value {
    const value = this.#outputs[index];
    if (!value) throw bugError(`node ${this.label} has no output ${index}`);
    return value;
  }

  /** Replaces one input; extends the list with omitted inputs where needed. */
  setInput(index: number, value: Value | null): void {
    while (this.#inputs.length <= index) this.#inputs.push(null);
    const old = this.#inputs[index];
    if (old) removeUse(old, this, index);
    this.#inputs[index] = value;
    if (value) value.uses.push({ node: this, index });
    while (this.#inputs.length > 0 && this.#inputs.at(-1) === null) this.#inputs.pop();
  }

  /** @internal takes over or drops an output; passes use Graph.addNode and Graph.removeNode */
  _setOutput(index: number, value: Value | null): void {
    while (this.#outputs.length <= index) this.#outputs.push(null);
    const old = this.#outputs[index];
    if (old) old.producer = null;
    this.#outputs[index] = value;
    if (value) {
      if (value.producer) throw bugError(`value ${value.name} already has a producer`);
      value.producer = this;
    }
  }

  /** Drops an output that nothing reads (trailing places vanish, inner ones become omitted). */
  dropOutput(index: number): void {
    const value = this.#outputs[index];
    if (value && value.readerCount > 0) throw bugError(`output ${value.name} is still read`);
    this._setOutput(index, null);
    if (value) this.graph._forget(value);
    while (this.#outputs.length > 0 && this.#outputs.at(-1) === null) this.#outputs.pop();
  }
}

function removeUse(value: Value, node: Node, index: number): void {
  const at = value.uses.findIndex((u) => u.node === node && u.index === index);
  if (at < 0) throw bugError(`use of ${value.name} by ${node.label} is not recorded`);
  value.uses.splice(at, 1);
}

/** Quantization annotation of a value: pairs such as SCALE_TENSOR -> name of the initializer. */
export interface QuantizationAnnotation {
  readonly value: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly unknown?: Uint8Array | undefined;
}

/** A graph, or the body of an If/Loop/Scan branch or local function. */
export class Graph {
  name: string;
  /** Graph whose node holds this one as an attribute; null at the top. Inner nodes may read outer values. */
  readonly parent: Graph | null;
  readonly #inputs: Value[] = [];
  readonly #outputs: Value[] = [];
  readonly #values = new Map<string, Value>();
  /** Names in use in the whole tree of graphs, so that a new name shadows nothing. */
  readonly #names: Map<string, number>;
  /** For each base name the suffix that was free last; shared by the tree as well. */
  readonly #suffixes: Map<string, number>;
  #first: Node | null = null;
  #last: Node | null = null;
  #order: Node[] | null = [];
  /** True once `#order` was handed out: it must then not change under its reader. */
  #orderShared = false;
  doc: string | undefined;
  metadata: Map<string, string> | undefined;
  quantizationAnnotations: QuantizationAnnotation[] = [];
  unknown: Uint8Array | undefined;

  constructor(name: string, parent: Graph | null = null) {
    this.name = name;
    this.parent = parent;
    this.#names = parent ? parent.#names : new Map();
    this.#suffixes = parent ? parent.#suffixes : new Map();
  }

  get inputs(): readonly Value[] {
    return this.#inputs;
  }

  get outputs(): readonly Value[] {
    return this.#outputs;
  }

  /** Nodes in order: a snapshot, safe to walk while editing. */
  get nodes(): readonly Node[] {
    if (this.#order === null) {
      this.#order = [];
      for (let n = this.#first; n; n = n._next) this.#order.push(n);
    }
    this.#orderShared = true;
    return this.#order;
  }

  /** All values that live in this graph (not those captured from outside). */
  values(): IterableIterator<Value> {
    return this.#values.values();
  }

  /** Values with constant data, dense. */
  get initializers(): Value[] {
    return [...this.#values.values()].filter((v) => v.initializer !== null);
  }

  /** Value of this name here or in an enclosing graph. */
  value(name: string): Value | undefined {
    return this.#values.get(name) ?? this.parent?.value(name);
  }

  /** Value of this name in this graph alone. */
  ownValue(name: string): Value | undefined {
    return this.#values.get(name);
  }

  /** A name unused in the whole tree of graphs: `base`, or `base_1`, `base_2`, ... */
  freshName(base: string): string {
    if (!this.#names.has(base)) return base;
    // Go on where the last search for this base ended: thousands of values may share one.
    for (let i = this.#suffixes.get(base) ?? 1; ; i++) {
      const name = `${base}_${i}`;
      if (!this.#names.has(name)) {
        this.#suffixes.set(base, i);
        return name;
      }
    }
  }

  /** Makes a value with exactly this name; throws E_GRAPH where the graph has one already. */
  addValue(name: string, type?: ValueType): Value {
    if (name === '') throw graphError('a value needs a name, got an empty one', { place: { value: name } });
    if (this.#values.has(name)) throw graphError(`value "${name}" is defined twice in graph "${this.name}"`, { place: { value: name } });
    const value = new Value(this, name, type);
    this.#values.set(name, value);
    this.#names.set(name, (this.#names.get(name) ?? 0) + 1);
    return value;
  }

  addInput(name: string, type?: ValueType): Value {
    return this.addInputValue(this.addValue(name, type));
  }

  /** Makes an existing value of this graph an input, after those there are. */
  addInputValue(value: Value): Value {
    if (value.graph !== this || value.producer) throw bugError(`value ${value.name} cannot become an input of graph ${this.name}`);
    this.#inputs.push(value);
    return value;
  }

  /** Removes an input that has no uses, or that keeps its initializer and so becomes a constant. */
  removeInput(value: Value): void {
    const at = this.#inputs.indexOf(value);
    if (at < 0) throw bugError(`value ${value.name} is no input of graph ${this.name}`);
    this.#inputs.splice(at, 1);
    if (value.initializer === null && value.sparse === null) this.#forgetIfDead(value);
  }

  /** Adds a constant. The name is made unique unless `exact`. Its type follows the tensor's. */
  addInitializer(name: string, tensor: Tensor): Value {
    const value = this.addValue(this.freshName(name), { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims });
    value.initializer = tensor;
    return value;
  }

  /** Replaces the data of a constant (and with it the value's type). */
  setInitializer(value: Value, tensor: Tensor): void {
    if (value.graph !== this || value.producer) throw bugError(`value ${value.name} cannot hold constant data`);
    value.initializer = tensor;
    value.type = { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims };
  }

  addOutput(value: Value): void {
    this.#outputs.push(value);
  }

  removeOutput(value: Value): void {
    const at = this.#outputs.indexOf(value);
    if (at < 0) throw bugError(`value ${value.name} is no output of graph ${this.name}`);
    this.#outputs.splice(at, 1);
  }

  /** Puts `value` where `outputs[index]` was; the output's name becomes the new value's. For names that must stay use `replaceValue`. */
  setOutput(index: number, value: Value): void {
    this.#outputs[index] = value;
  }

  /** Adds a node before `before`, or at the end. Names of new outputs are made unique. */
  addNode(spec: NodeSpec, before: Node | null = null): Node {
    const node = new Node(this, spec);
    this.#link(node, before);
    spec.inputs.forEach((value, i) => {
      if (value) node.setInput(i, value);
    });
    spec.outputs.forEach((output, i) => {
      node._setOutput(i, typeof output === 'string' ? this.addValue(this.freshName(output)) : output);
    });
    if (spec.attributes) {
      const entries = spec.attributes instanceof Map ? spec.attributes.entries() : Object.entries(spec.attributes);
      for (const [name, value] of entries) node.setAttribute(name, value);
    }
    return node;
  }

  /** Removes a node none of whose outputs is read; its outputs vanish and its subgraphs release what they captured. */
  removeNode(node: Node): void {
    if (node.graph !== this) throw bugError(`node ${node.label} is not in graph ${this.name}`);
    for (const output of node.outputs) {
      if (output && output.readerCount > 0) throw bugError(`cannot remove node ${node.label}: output ${output.name} is still read`);
    }
    for (const sub of node.subgraphs()) sub.release();
    for (let i = node.inputs.length - 1; i >= 0; i--) node.setInput(i, null);
    node.outputs.forEach((output, i) => {
      node._setOutput(i, null);
      if (output) this._forget(output);
    });
    this.#unlink(node);
  }

  /** Moves a node before another one of the same graph (null: to the end). */
  moveNode(node: Node, before: Node | null): void {
    this.#unlink(node);
    this.#link(node, before);
  }

  /** Takes apart everything inside, so that captured outer values lose these uses. The graph is unusable afterwards. */
  release(): void {
    for (const node of this.nodes) {
      for (const sub of node.subgraphs()) sub.release();
      for (let i = node.inputs.length - 1; i >= 0; i--) node.setInput(i, null);
    }
    this.#outputs.length = 0;
    this.#inputs.length = 0;
    for (const value of [...this.#values.values()]) this._forget(value);
    this.#first = null;
    this.#last = null;
    this.#forgetOrder();
  }

  /**
   * Lets every reader of `old` read `replacement` instead, graph outputs included. An output's name is part of the model's
   * interface and stays: the replacement takes it over, or an Identity node is added where it cannot.
   */
  replaceValue(old: Value, replacement: Value): void {
    if (old === replacement) return;
    for (const use of [...old.uses]) use.node.setInput(use.index, replacement);
    if (old.isGraphOutput) this.#replaceOutput(old, replacement);
  }

  #replaceOutput(old: Value, replacement: Value): void {
    const takesName = replacement.graph === this && replacement.producer !== null && !replacement.isGraphOutput;
    const name = old.name;
    const type = old.type;
    this.rename(old, this.freshName(`${name}_old`));
    let output = replacement;
    if (takesName) this.rename(replacement, name);
    else {
      output = this.addValue(name, type);
      this.addNode({ opType: 'Identity', inputs: [replacement], outputs: [output] });
    }
    output.type ??= type;
    this.#outputs.forEach((v, i) => {
      if (v === old) this.#outputs[i] = output;
    });
  }

  /** Gives a value another name; throws E_GRAPH where it is taken. */
  rename(value: Value, name: string): void {
    if (value.graph !== this) throw bugError(`value ${value.name} is not in graph ${this.name}`);
    if (value.name === name) return;
    if (this.#values.has(name)) throw graphError(`cannot rename "${value.name}" to "${name}": the name is taken`);
    this.#values.delete(value.name);
    this.#dropName(value.name);
    value._name = name;
    this.#values.set(name, value);
    this.#names.set(name, (this.#names.get(name) ?? 0) + 1);
  }

  /** Removes values that nothing produces, reads or exposes (unused initializers among them). Returns how many. */
  pruneValues(): number {
    let removed = 0;
    for (const value of [...this.#values.values()]) {
      if (value.producer === null && value.readerCount === 0 && !value.isGraphInput) {
        this._forget(value);
        removed++;
      }
    }
    return removed;
  }

  /** @internal */
  _forget(value: Value): void {
    if (this.#values.get(value.name) === value) {
      this.#values.delete(value.name);
      this.#dropName(value.name);
    }
  }

  #forgetIfDead(value: Value): void {
    if (value.readerCount === 0) this._forget(value);
  }

  #dropName(name: string): void {
    const count = this.#names.get(name) ?? 0;
    if (count > 1) this.#names.set(name, count - 1);
    else this.#names.delete(name);
  }

  #link(node: Node, before: Node | null): void {
    const prev = before ? before._prev : this.#last;
    node._prev = prev;
    node._next = before;
    if (prev) prev._next = node;
    else this.#first = node;
    if (before) before._prev = node;
    else this.#last = node;
    // Builders and decoders append thousands of nodes in a row: no need to walk them all again.
    if (before === null && this.#order !== null && !this.#orderShared) this.#order.push(node);
    else this.#forgetOrder();
  }

  #unlink(node: Node): void {
    if (node._prev) node._prev._next = node._next;
    else this.#first = node._next;
    if (node._next) node._next._prev = node._prev;
    else this.#last = node._prev;
    node._prev = null;
    node._next = null;
    this.#forgetOrder();
  }

  #forgetOrder(): void {
    this.#order = null;
    this.#orderShared = false;
  }
}
