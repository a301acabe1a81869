// Connects decoded records into a Graph: names become Values, shared by identity, also those that subgraphs capture from outside.
// Nodes in an order that cannot run are sorted (stable, so a valid order stays as it is); a cycle is an error.
import { graphError } from '../errors.js';
import type { Attribute } from './attribute.js';
import { Graph, type Value } from './graph.js';
import type { RawAttribute, RawGraph, RawNode, RawValueInfo } from './raw.js';

/** Names of the file that can be seen at one place, each with its Value (whose own name may differ, see `declare`). */
class Scope {
  readonly #own = new Map<string, Value>();
  readonly graph: Graph;
  readonly #outer: Scope | null;

  constructor(graph: Graph, outer: Scope | null) {
    this.graph = graph;
    this.#outer = outer;
  }

  find(name: string): Value | undefined {
    return this.#own.get(name) ?? this.#outer?.find(name);
  }

  own(name: string): Value | undefined {
    return this.#own.get(name);
  }

  /**
   * Makes a value. A name that would hide one of an enclosing graph is legal in files but a trap for every later edit: it becomes a
   * fresh one, as names inside subgraphs are nobody's interface.
   */
  declare(name: string): Value {
    const value = this.graph.addValue(this.graph.parent?.value(name) ? this.graph.freshName(name) : name);
    if (this.#own.has(name)) throw graphError(`value "${name}" is defined twice in graph "${this.graph.name}"`, { place: { value: name } });
    this.#own.set(name, value);
    return value;
  }
}

export function linkGraph(raw: RawGraph, outer: Scope | null): Graph {
  const graph = new Graph(raw.name, outer?.graph ?? null);
  const scope = new Scope(graph, outer);
  graph.doc = raw.doc;
  graph.metadata = raw.metadata;
  graph.quantizationAnnotations = raw.annotations;
  graph.unknown = raw.unknown;
  for (const info of raw.inputs) describe(graph.addInputValue(scope.declare(info.name)), info);
  addInitializers(raw, scope);
  // All values exist before any node is added, so the order of nodes does not matter for finding them.
  for (const node of raw.nodes) for (const name of node.outputs) if (name !== '') scope.declare(name);
  for (const info of raw.valueInfos) {
    const value = scope.own(info.name);
    if (value) describe(value, info);
  }
  for (const info of raw.outputs) {
    const value = scope.find(info.name);
    if (!value) throw missing(`output of graph "${raw.name}"`, info.name);
    if (value.graph === graph) describe(value, info);
    graph.addOutput(value);
  }
  for (const node of inRunningOrder(raw)) addNode(scope, node);
  return graph;
}

/** Takes over what a value info says. An initializer that is no input keeps the type of its tensor. */
function describe(value: Value, info: RawValueInfo): void {
  if (value.initializer === null || value.type === undefined) value.type = info.type ?? value.type;
  value.doc = info.doc ?? value.doc;
  value.metadata = info.metadata ?? value.metadata;
  value.unknown = info.unknown ?? value.unknown;
}

function addInitializers(raw: RawGraph, scope: Scope): void {
  for (const { name, tensor } of raw.initializers) {
    // Listed among the inputs too (IR before 4): the input has this default. Listed twice: the later one counts, as in ONNX Runtime.
    const value = scope.own(name) ?? scope.declare(name);
    value.initializer = tensor;
    value.type ??= { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims };
  }
  for (const { name = '', ...sparse } of raw.sparse) {
    const value = scope.own(name) ?? scope.declare(name);
    value.sparse = { ...sparse, name };
    value.type ??= { kind: 'tensor', dtype: sparse.values.dtype, shape: sparse.dims };
  }
}

function addNode(scope: Scope, raw: RawNode): void {
  const { graph } = scope;
  const label = raw.name || raw.opType;
  const node = graph.addNode({
    opType: raw.opType,
    domain: raw.domain,
    overload: raw.overload,
    name: raw.name,
    inputs: raw.inputs.map((name) => {
      if (name === '') return null;
      const value = scope.find(name);
      if (!value) throw missing(`input of node "${label}"`, name);
      return value;
    }),
    outputs: raw.outputs.map((name) => (name === '' ? null : scope.own(name)!)),
    attributes: new Map(raw.attributes.map((a) => [a.name, linkAttribute(a.value, scope)])),
  });
  node.doc = raw.doc;
  node.metadata = raw.metadata;
  node.unknown = raw.unknown;
}

export function linkAttribute(raw: RawAttribute['value'], scope: Scope | null): Attribute {
  if (!('graphs' in raw)) return raw;
  const extra = raw.extra === undefined ? {} : { extra: raw.extra };
  const graphs = raw.graphs.map((g) => linkGraph(g, scope));
  return raw.type === 'graph' ? { type: 'graph', value: graphs[0]!, ...extra } : { type: 'graphs', value: graphs, ...extra };
}

function missing(reader: string, name: string) {
  return graphError(`${reader} is "${name}", which nothing in the model produces`, { place: { value: name } });
}

/** Nodes so that each comes after those it reads from, its subgraphs' reads included. */
function inRunningOrder(raw: RawGraph): readonly RawNode[] {
  const producer = new Map<string, number>();
  raw.nodes.forEach((node, i) => {
    for (const name of node.outputs) producer.set(name, i);
  });
  const reads = raw.nodes.map((node) => {
    const found: number[] = [];
    for (const name of readsOf(node)) {
      const from = producer.get(name);
      if (from !== undefined && name !== '') found.push(from);
    }
    return found;
  });
  if (reads.every((from, i) => from.every((p) => p < i))) return raw.nodes;
  return sorted(raw, reads);
}

/** Names a node reads from its surroundings, with those its subgraphs capture. */
function* readsOf(node: RawNode): Generator<string> {
  yield* node.inputs;
  for (const { value } of node.attributes) {
    if (!('graphs' in value)) continue;
    for (const graph of value.graphs) {
      const inner = new Set<string | undefined>();
      for (const list of [graph.inputs, graph.initializers, graph.sparse]) for (const { name } of list) inner.add(name);
      for (const { outputs } of graph.nodes) for (const name of outputs) inner.add(name);
      for (const n of graph.nodes) for (const name of readsOf(n)) if (!inner.has(name)) yield name;
      for (const { name } of graph.outputs) if (!inner.has(name)) yield name;
    }
  }
}

/** Kahn's algorithm, taking the earliest ready node first. */
function sorted(raw: RawGraph, reads: readonly number[][]): RawNode[] {
  const waiting = reads.map((from) => new Set(from).size);
  const readers: number[][] = raw.nodes.map(() => []);
  reads.forEach((from, i) => {
    for (const p of new Set(from)) readers[p]!.push(i);
  });
  const order: RawNode[] = [];
  const ready = new MinHeap();
  waiting.forEach((count, i) => {
    if (count === 0) ready.push(i);
  });
  for (let i = ready.pop(); i !== undefined; i = ready.pop()) {
    order.push(raw.nodes[i]!);
    for (const reader of readers[i]!) if (--waiting[reader]! === 0) ready.push(reader);
  }
  if (order.length < raw.nodes.length) {
    const stuck = raw.nodes[waiting.findIndex((count) => count > 0)]!;
    throw graphError(`graph "${raw.name}" has a cycle: node "${stuck.name || stuck.opType}" waits for its own result`, {
      place: { node: stuck.name || stuck.opType },
    });
  }
  return order;
}

class MinHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (items[up]! <= item) break;
      items[at] = items[up]!;
      at = up;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1]! < items[child]!) child++;
      if (items[child]! >= last) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = last;
    return top;
  }
}
