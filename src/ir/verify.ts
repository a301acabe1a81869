// Checks every structural rule of a graph, as passes must leave it: order, producers, uses, names, subgraphs. Throws E_GRAPH with the
// first broken rule. It knows nothing of operators; types are the business of shape inference.
import { graphError, type PareError } from '../errors.js';
import type { Graph, Node, Value } from './graph.js';
import type { Model } from './model.js';

/** Throws E_GRAPH where the model breaks a rule of ONNX or of the IR; returns nothing where it is sound. */
export function verifyModel(model: Model): void {
  if (model.opsets.size === 0) throw graphError('the model imports no opset: expected at least the default domain');
  verifyTree(model.graph);
  const seen = new Set<string>();
  for (const f of model.functions) {
    const key = `${f.domain}.${f.name}:${f.overload}`;
    if (seen.has(key)) throw graphError(`local function "${key}" is defined twice`);
    seen.add(key);
    verifyTree(f.graph);
  }
}

/** Checks a graph that stands alone, with everything nested in it. */
export function verifyGraph(graph: Graph): void {
  verifyTree(graph);
}

function verifyTree(root: Graph): void {
  const checker = new Checker();
  checker.graph(root, null);
  checker.uses();
}

class Checker {
  /** Values that a node at the current place may read. */
  readonly #available = new Set<Value>();
  /** Names visible at the current place, to find shadowing. */
  readonly #names = new Map<string, Value>();
  /** Reads found by walking, to compare with what the values record. */
  readonly #reads = new Map<Value, number>();
  readonly #nodes = new Set<Node>();
  readonly #seenValues = new Set<Value>();
  readonly #graphs = new Set<Graph>();

  graph(graph: Graph, parent: Graph | null): void {
    if (this.#graphs.has(graph)) throw graphError(`graph "${graph.name}" is the attribute of two nodes`);
    this.#graphs.add(graph);
    if (graph.parent !== parent) throw graphError(`graph "${graph.name}" does not know the graph it is nested in`);
    const own = [...graph.values()];
    for (const value of own) this.#declare(graph, value);
    for (const value of own) if (value.initializer !== null || value.sparse !== null) this.#available.add(value);
    const seenInputs = new Set<Value>();
    for (const input of graph.inputs) {
      this.#expectOwn(graph, input, 'input');
      if (seenInputs.has(input)) throw fail(`input "${input.name}" of graph "${graph.name}" is listed twice`, input);
      seenInputs.add(input);
      this.#available.add(input);
      if (input.producer)
        throw fail(`input "${input.name}" of graph "${graph.name}" is also computed by node ${input.producer.label}`, input);
    }
    for (const node of graph.nodes) this.#node(graph, node);
    for (const output of graph.outputs) this.#output(graph, output);
    for (const value of own) {
      if (value.producer && value.producer.graph !== graph) {
        throw fail(`value "${value.name}" is computed by node ${value.producer.label} of another graph`, value);
      }
      // What is inside can be read only inside.
      this.#available.delete(value);
      this.#names.delete(value.name);
    }
  }

  /** Compares the uses that values record with the reads that were found. */
  uses(): void {
    for (const value of this.#seenValues) {
      const found = this.#reads.get(value) ?? 0;
      if (value.uses.length !== found) {
        throw fail(`value "${value.name}" records ${value.uses.length} uses: expected ${found}, as nodes read it`, value);
      }
      const places = new Map<Node, number[]>();
      for (const { node, index } of value.uses) {
        const indices = places.get(node) ?? [];
        if (!this.#nodes.has(node) || node.inputs[index] !== value || indices.includes(index)) {
          throw fail(
            `value "${value.name}" records a use as input ${index} of node ${node.label}, which does not read it there`,
            value,
            node,
          );
        }
        indices.push(index);
        places.set(node, indices);
      }
    }
  }

  #declare(graph: Graph, value: Value): void {
    if (value.graph !== graph) throw fail(`value "${value.name}" is listed in graph "${graph.name}" but belongs to another`, value);
    if (value.name === '') throw fail('a value has an empty name', value);
    const other = this.#names.get(value.name);
    if (other) throw fail(`value "${value.name}" of graph "${graph.name}" shadows a value of graph "${other.graph.name}"`, value);
    this.#names.set(value.name, value);
    this.#seenValues.add(value);
    if (value.producer && (value.initializer || value.sparse)) {
      throw fail(`value "${value.name}" has both constant data and a producer, node ${value.producer.label}`, value);
    }
    if (value.producer && !value.producer.outputs.includes(value)) {
      throw fail(`value "${value.name}" names node ${value.producer.label} as its producer, which does not have it as an output`, value);
    }
  }

  #node(graph: Graph, node: Node): void {
    const place = { node: node.label };
    if (node.graph !== graph) throw graphError(`node ${node.label} is listed in graph "${graph.name}" but belongs to another`, { place });
    this.#nodes.add(node);
    if (node.opType === '') throw graphError('a node has no operator', { place });
    node.inputs.forEach((value, index) => {
      if (!value) return;
      this.#expectAvailable(value, `input ${index} of node ${node.label}`, node);
      this.#reads.set(value, (this.#reads.get(value) ?? 0) + 1);
    });
    for (const sub of node.subgraphs()) this.graph(sub, graph);
    for (const value of node.outputs) {
      if (!value) continue;
      this.#expectOwn(graph, value, `output of node ${node.label}`);
      if (value.producer !== node) {
        const other = value.producer ? `node ${value.producer.label}` : 'nothing';
        throw fail(`output "${value.name}" of node ${node.label} says it is computed by ${other}`, value, node);
      }
      if (this.#available.has(value)) throw fail(`value "${value.name}" is computed twice, last by node ${node.label}`, value, node);
      this.#available.add(value);
    }
  }

  #output(graph: Graph, output: Value): void {
    if (this.#available.has(output)) return;
    throw fail(`output "${output.name}" of graph "${graph.name}" is not computed by any node, nor an input or constant`, output);
  }

  #expectOwn(graph: Graph, value: Value, what: string): void {
    if (graph.ownValue(value.name) === value) return;
    throw fail(
      `${what} "${value.name}" is not among the values of graph "${graph.name}" (removed, or replaced by another of this name)`,
      value,
    );
  }

  #expectAvailable(value: Value, what: string, node: Node): void {
    if (this.#available.has(value)) return;
    if (!this.#seenValues.has(value) || value.graph.ownValue(value.name) !== value) {
      throw fail(`${what}: value "${value.name}" is not in the model any more`, value, node);
    }
    if (this.#names.get(value.name) !== value) {
      throw fail(`${what}: value "${value.name}" lives in graph "${value.graph.name}" and cannot be seen from here`, value, node);
    }
    if (value.producer) throw fail(`${what}: value "${value.name}" is computed later, by node ${value.producer.label}`, value, node);
    throw fail(`${what}: value "${value.name}" has no producer, is no input and has no data`, value, node);
  }
}

function fail(message: string, value: Value, node?: Node): PareError {
  return graphError(message, { place: node ? { value: value.name, node: node.label } : { value: value.name } });
}
