// Walking a graph with everything nested in it, and copying it.
import type { Attribute } from './attribute.js';
import { Graph, type Node, type Value } from './graph.js';
import { type LocalFunction, Model } from './model.js';

/** Every graph of the tree, outer before inner. */
export function* walkGraphs(graph: Graph): Generator<Graph> {
  yield graph;
  for (const node of graph.nodes) for (const sub of node.subgraphs()) yield* walkGraphs(sub);
}

/** Every node of the tree, in order, a node before the nodes of its subgraphs. */
export function* walkNodes(graph: Graph): Generator<Node> {
  for (const node of graph.nodes) {
    yield node;
    for (const sub of node.subgraphs()) yield* walkNodes(sub);
  }
}

/** A deep copy that shares tensor data. The caller's model never changes when a pass edits the copy. */
export function cloneModel(model: Model): Model {
  const copy = new Model(cloneGraph(model.graph), model.opsets, model.irVersion);
  copy.producerName = model.producerName;
  copy.producerVersion = model.producerVersion;
  copy.domain = model.domain;
  copy.modelVersion = model.modelVersion;
  copy.doc = model.doc;
  for (const [k, v] of model.metadata) copy.metadata.set(k, v);
  copy.functions = model.functions.map((f): LocalFunction => ({ ...f, graph: cloneGraph(f.graph) }));
  copy.extra.trainingInfo = [...model.extra.trainingInfo];
  copy.extra.configuration = [...model.extra.configuration];
  copy.extra.unknown = model.extra.unknown;
  return copy;
}

/**
 * A copy of a graph. `outer` maps values captured from outside to what the copy reads instead; those not in it are shared.
 * The map is extended with every value copied, so callers can find the counterpart of a value.
 */
export function cloneGraph(graph: Graph, parent: Graph | null = null, outer: Map<Value, Value> = new Map()): Graph {
  const copy = new Graph(graph.name, parent);
  copy.doc = graph.doc;
  copy.metadata = graph.metadata && new Map(graph.metadata);
  copy.quantizationAnnotations = [...graph.quantizationAnnotations];
  copy.unknown = graph.unknown;
  for (const value of graph.values()) {
    const twin = copy.addValue(value.name, value.type);
    twin.initializer = value.initializer;
    twin.sparse = value.sparse;
    twin.doc = value.doc;
    twin.metadata = value.metadata && new Map(value.metadata);
    twin.unknown = value.unknown;
    outer.set(value, twin);
  }
  for (const input of graph.inputs) copy.addInputValue(outer.get(input)!);
  for (const node of graph.nodes) cloneNode(node, copy, outer);
  for (const output of graph.outputs) copy.addOutput(outer.get(output) ?? output);
  return copy;
}

/** Adds a copy of a node to `target`. `map` must hold its outputs (values of `target`); inputs not in it are read as they are. */
export function cloneNode(node: Node, target: Graph, map: Map<Value, Value>): Node {
  const attributes = new Map<string, Attribute>();
  for (const [name, a] of node.attributes) {
    if (a.type === 'graph') attributes.set(name, { ...a, value: cloneGraph(a.value, target, map) });
    else if (a.type === 'graphs') attributes.set(name, { ...a, value: a.value.map((g) => cloneGraph(g, target, map)) });
    else attributes.set(name, a);
  }
  const twin = target.addNode({
    opType: node.opType,
    domain: node.domain,
    overload: node.overload,
    name: node.name,
    inputs: node.inputs.map((v) => v && (map.get(v) ?? v)),
    outputs: node.outputs.map((v) => v && map.get(v)!),
    attributes,
  });
  twin.doc = node.doc;
  twin.metadata = node.metadata && new Map(node.metadata);
  twin.unknown = node.unknown;
  return twin;
}

/** Values that nodes read from outside themselves, subgraphs included, each once, in order of first use. */
export function valuesRead(nodes: Iterable<Node>): Value[] {
  const read = new Set<Value>();
  const visit = (node: Node, inside: ReadonlySet<Value>): void => {
    for (const input of node.inputs) if (input && !inside.has(input)) read.add(input);
    for (const sub of node.subgraphs()) {
      const own = new Set([...inside, ...sub.values()]);
      for (const inner of sub.nodes) visit(inner, own);
      for (const output of sub.outputs) if (!own.has(output)) read.add(output);
    }
  };
  for (const node of nodes) visit(node, new Set());
  return [...read];
}

/**
 * A graph of its own from some nodes of `graph`, in their order: constants come along, other values read from outside become inputs,
 * `outputs` are its outputs. Values keep their names; tensor data is shared.
 */
export function extractGraph(graph: Graph, nodes: readonly Node[], outputs: readonly Value[]): Graph {
  const part = new Graph(graph.name);
  const map = new Map<Value, Value>();
  const produced = new Set(nodes.flatMap((n) => n.outputs));
  for (const value of [...valuesRead(nodes), ...outputs]) {
    if (produced.has(value) || map.has(value)) continue;
    const twin = part.addValue(value.name, value.type);
    map.set(value, twin);
    if (value.isConstant) twin.initializer = value.initializer;
    else part.addInputValue(twin);
  }
  for (const node of nodes) for (const output of node.outputs) if (output) map.set(output, part.addValue(output.name, output.type));
  for (const node of nodes) cloneNode(node, part, map);
  for (const output of outputs) part.addOutput(map.get(output)!);
  return part;
}
