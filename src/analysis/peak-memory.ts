// Peak memory of activations: which values are alive at each step of the execution order. Operators that only relabel (Reshape ...)
// share their input's memory; no other reuse in place is assumed. Weights and graph inputs' initializers are not counted.
import { byteLengthOf } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { isStatic } from '../ir/type.js';
import { walkNodes } from '../ir/walk.js';

const VIEWS = new Set(['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity']);

export interface Peak {
  readonly bytes: number;
  /** Node during which the peak is reached; null where nothing is computed. */
  readonly node: Node | null;
}

/** Peak over one graph. Values with unknown shapes count as nothing. A node with subgraphs adds the peak of the largest of them. */
export function activationPeak(graph: Graph): Peak {
  const order = graph.nodes;
  const place = new Map(order.map((node, i) => [node, i]));
  const owner = ownersOf(order);
  const lastUse = new Map<Value, number>();
  const touch = (value: Value, at: number) => lastUse.set(value, Math.max(lastUse.get(value) ?? -1, at));
  const own = [...graph.values()].filter(
    (v) => v.initializer === null && v.sparse === null && (v.producer !== null || graph.inputs.includes(v)),
  );
  const roots = new Map<Value, Value>();
  for (const node of order) {
    const source = node.domain === '' && VIEWS.has(node.opType) ? node.input(0) : null;
    if (source?.graph === graph && source.initializer === null && node.outputs[0]) roots.set(node.outputs[0], roots.get(source) ?? source);
  }
  const end = order.length;
  for (const value of own) {
    const root = roots.get(value) ?? value;
    touch(root, value.producer ? (place.get(value.producer) ?? 0) : 0);
    for (const use of value.uses) {
      const top = use.node.graph === graph ? use.node : owner.get(use.node);
      if (top) touch(root, place.get(top) ?? 0);
    }
    if (graph.outputs.includes(value)) touch(root, end);
  }
  for (const input of graph.inputs) if (input.initializer === null) touch(input, end);
  const freed: number[] = new Array(end + 1).fill(0);
  for (const [value, at] of lastUse) freed[at]! += sizeOf(value);
  let alive = graph.inputs.reduce((n, v) => n + (v.initializer ? 0 : sizeOf(v)), 0);
  let peak: Peak = { bytes: alive, node: null };
  for (const [i, node] of order.entries()) {
    for (const output of node.outputs) if (output && !roots.has(output)) alive += sizeOf(output);
    const inner = Math.max(0, ...node.subgraphs().map((sub) => activationPeak(sub).bytes));
    if (alive + inner > peak.bytes) peak = { bytes: alive + inner, node };
    alive -= freed[i]!;
  }
  return peak;
}

/** Node of the graph that holds each nested node. */
function ownersOf(order: readonly Node[]): Map<Node, Node> {
  const owner = new Map<Node, Node>();
  for (const node of order) for (const sub of node.subgraphs()) for (const inner of walkNodes(sub)) owner.set(inner, node);
  return owner;
}

function sizeOf(value: Value): number {
  const type = value.type;
  if (type?.kind !== 'tensor' || !isStatic(type.shape)) return 0;
  return byteLengthOf(
    type.dtype,
    type.shape.reduce((a, b) => a * b, 1),
  );
}
