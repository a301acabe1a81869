// Computes values that depend on constants alone by running them in the engine: the base of constant folding. Each call builds small models of
// just the nodes needed. What the runtime has no kernel for, what depends on inputs and what would be too large is answered with the reason.
import { PareError } from '../errors.js';
import { byteLengthOf } from '../ir/dtype.js';
import { Graph, type Node, type Value } from '../ir/graph.js';
import { Model, tensorTypeOf } from '../ir/model.js';
import { elementCount, type Tensor } from '../ir/tensor.js';
import { isStatic } from '../ir/type.js';
import { cloneGraph, walkNodes } from '../ir/walk.js';
import type { Engine } from './engine.js';
import { openSession } from './session.js';

/** Constants read by one small model; more are split over several. */
const GROUP_BYTES = 256 * 2 ** 20;

export interface EvaluateOptions {
  /** Results above this many bytes are refused (default: no limit). */
  readonly maxBytes?: number | undefined;
  readonly threads?: number | undefined;
}

export interface Evaluated {
  readonly tensors: ReadonlyMap<Value, Tensor>;
  /** Values that could not be computed, and why. */
  readonly failures: ReadonlyMap<Value, string>;
}

/**
 * Tensors of `values`, which may lie in subgraphs. Constants answer with their own data. The model is not changed.
 * Random operators are run like any other: leave them out where folding them would be wrong.
 */
export async function evaluateConstants(
  engine: Engine,
  model: Model,
  values: readonly Value[],
  options: EvaluateOptions = {},
): Promise<Evaluated> {
  const tensors = new Map<Value, Tensor>();
  const failures = new Map<Value, string>();
  const targets: Target[] = [];
  for (const value of new Set(values)) {
    if (value.isConstant) tensors.set(value, value.initializer!);
    else {
      const target = closure(value, options.maxBytes);
      if (typeof target === 'string') failures.set(value, target);
      else targets.push(target);
    }
  }
  for (const group of groups(targets)) await evaluateGroup(engine, model, group, options, tensors, failures);
  return { tensors, failures };
}

/** A value with the nodes it needs, in order, and the constants they read. */
interface Target {
  readonly value: Value;
  readonly nodes: readonly Node[];
  readonly leaves: ReadonlySet<Value>;
  /** Bytes of the leaves. */
  readonly bytes: number;
}

/** The nodes that compute a value, or the reason why it is not constant. */
function closure(value: Value, maxBytes: number | undefined): Target | string {
  const type = tensorTypeOf(value);
  if (type !== undefined && type.dtype !== 'string' && isStatic(type.shape) && maxBytes !== undefined) {
    const bytes = byteLengthOf(type.dtype, elementCount(type.shape));
    if (bytes > maxBytes) return tooLarge(bytes, maxBytes);
  }
  const nodes: Node[] = [];
  const done = new Set<Node>();
  const leaves = new Set<Value>();
  // Depth first with an explicit stack: chains of shape arithmetic can be thousands of nodes long.
  const stack: { node: Node; reads: readonly Value[]; next: number }[] = [];
  const visit = (v: Value): string | undefined => {
    if (v.isConstant) {
      leaves.add(v);
      return undefined;
    }
    if (v.producer === null) return `depends on "${v.name}", which is no constant`;
    if (!done.has(v.producer)) {
      done.add(v.producer);
      stack.push({ node: v.producer, reads: readsOf(v.producer), next: 0 });
    }
    return undefined;
  };
  let problem = visit(value);
  while (problem === undefined && stack.length > 0) {
    const top = stack.at(-1)!;
    const read = top.reads[top.next++];
    if (read === undefined) {
      nodes.push(top.node);
      stack.pop();
    } else problem = visit(read);
  }
  if (problem !== undefined) return problem;
  const bytes = [...leaves].reduce((sum, leaf) => sum + leaf.initializer!.byteLength, 0);
  return { value, nodes, leaves, bytes };
}

function tooLarge(bytes: number, maxBytes: number): string {
  return `would take ${bytes} bytes: expected at most ${maxBytes}`;
}

/** Everything a node reads from outside itself: its inputs and what its subgraphs capture. */
function readsOf(node: Node): Value[] {
  const reads = new Set<Value>();
  for (const input of node.inputs) if (input) reads.add(input);
  for (const sub of node.subgraphs()) for (const captured of capturesOf(sub)) reads.add(captured);
  return [...reads];
}

/** Values of enclosing graphs that a subgraph reads, at any depth. */
function capturesOf(graph: Graph): Set<Value> {
  const inner = new Set<Graph>([graph]);
  const read = new Set<Value>(graph.outputs);
  for (const node of walkNodes(graph)) {
    inner.add(node.graph);
    for (const input of node.inputs) if (input) read.add(input);
    for (const sub of node.subgraphs()) {
      inner.add(sub);
      for (const output of sub.outputs) read.add(output);
    }
  }
  return new Set([...read].filter((v) => !inner.has(v.graph)));
}

function* groups(targets: readonly Target[]): Generator<Target[]> {
  let group: Target[] = [];
  let seen = new Set<Value>();
  let bytes = 0;
  for (const target of targets) {
    const added = [...target.leaves].reduce((sum, leaf) => sum + (seen.has(leaf) ? 0 : leaf.initializer!.byteLength), 0);
    if (group.length > 0 && bytes + added > GROUP_BYTES) {
      yield group;
      group = [];
      seen = new Set();
      bytes = 0;
    }
    group.push(target);
    bytes += seen.size === 0 ? target.bytes : added;
    for (const leaf of target.leaves) seen.add(leaf);
  }
  if (group.length > 0) yield group;
}

/** Runs a group; where the engine refuses it, halves it until the values at fault stand alone. */
async function evaluateGroup(
  engine: Engine,
  model: Model,
  group: readonly Target[],
  options: EvaluateOptions,
  tensors: Map<Value, Tensor>,
  failures: Map<Value, string>,
): Promise<void> {
  let results: readonly (Tensor | undefined)[];
  try {
    results = await runGroup(engine, model, group, options);
  } catch (error) {
    if (!(error instanceof PareError) || error.kind === 'bug') throw error;
    if (group.length === 1) {
      failures.set(group[0]!.value, error.message);
      return;
    }
    const half = Math.ceil(group.length / 2);
    await evaluateGroup(engine, model, group.slice(0, half), options, tensors, failures);
    await evaluateGroup(engine, model, group.slice(half), options, tensors, failures);
    return;
  }
  group.forEach(({ value }, i) => {
    const tensor = results[i];
    const expected = tensorTypeOf(value)?.dtype;
    if (tensor === undefined) failures.set(value, 'is no tensor that can be read from the engine');
    else if (options.maxBytes !== undefined && tensor.byteLength > options.maxBytes)
      failures.set(value, tooLarge(tensor.byteLength, options.maxBytes));
    else if (expected !== undefined && expected !== tensor.dtype)
      failures.set(value, `is ${expected}, which cannot be read from the engine without loss of its type`);
    else tensors.set(value, tensor);
  });
}

async function runGroup(
  engine: Engine,
  model: Model,
  group: readonly Target[],
  options: EvaluateOptions,
): Promise<readonly (Tensor | undefined)[]> {
  const { model: small, names } = extract(model, group);
  // Rewriting a graph that runs once costs more than it saves, and folding must not depend on fused kernels.
  const session = await openSession(engine, small, { optimization: 'disabled', frugal: true, threads: options.threads });
  try {
    const readable = new Set(session.outputs.filter((o) => o.dtype !== undefined).map((o) => o.name));
    const wanted = [...new Set(names)].filter((n) => readable.has(n));
    const results = wanted.length === 0 ? {} : await session.run({}, wanted);
    return names.map((name) => results[name]);
  } finally {
    await session.release();
  }
}

/** One flat model that computes the values of the group. Names are made unique, as they may come from graphs side by side. */
function extract(model: Model, group: readonly Target[]): { model: Model; names: string[] } {
  const graph = new Graph('constants');
  const map = new Map<Value, Value>();
  const added = new Set<Node>();
  for (const { nodes, leaves } of group) {
    for (const leaf of leaves) if (!map.has(leaf)) map.set(leaf, graph.addInitializer(leaf.name, leaf.initializer!));
    for (const node of nodes) {
      if (added.has(node)) continue;
      added.add(node);
      copyNode(node, graph, map);
    }
  }
  const names: string[] = [];
  for (const { value } of group) {
    const copy = map.get(value)!;
    if (!graph.outputs.includes(copy)) graph.addOutput(copy);
    names.push(copy.name);
  }
  const small = new Model(graph, model.opsets, model.irVersion);
  small.functions = model.functions;
  return { model: small, names };
}

function copyNode(node: Node, target: Graph, map: Map<Value, Value>): void {
  const attributes = new Map(node.attributes);
  for (const [name, a] of node.attributes) {
    if (a.type === 'graph') attributes.set(name, { ...a, value: cloneGraph(a.value, target, map) });
    else if (a.type === 'graphs') attributes.set(name, { ...a, value: a.value.map((g) => cloneGraph(g, target, map)) });
  }
  const twin = target.addNode({
    opType: node.opType,
    domain: node.domain,
    overload: node.overload,
    name: node.name,
    inputs: node.inputs.map((v) => v && map.get(v)!),
    outputs: node.outputs.map((v) => v?.name ?? null),
    attributes,
  });
  node.outputs.forEach((value, i) => {
    if (!value) return;
    const copy = twin.output(i);
    copy.type = value.type;
    map.set(value, copy);
  });
}
