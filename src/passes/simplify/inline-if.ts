// An If whose condition is constant is replaced by the nodes of the branch taken.
import type { Attribute } from '../../ir/attribute.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { cloneGraph } from '../../ir/walk.js';
import { constantOf } from './facts.js';

/** Inlines every If on a constant, inner ones of the branch taken included. Returns how many. */
export function inlineConstantIfs(model: Model): number {
  return inlineIn(model.graph);
}

function inlineIn(graph: Graph): number {
  let count = 0;
  for (const node of graph.nodes) {
    const condition = node.domain === '' && node.opType === 'If' ? constantOf(node.input(0)) : undefined;
    const branch = condition && node.subgraph(condition.numbers()[0] ? 'then_branch' : 'else_branch');
    if (branch && node.outputs.every((o, i) => !o || branch.outputs[i] !== undefined)) {
      inlineBranch(graph, node, branch);
      count++;
    } else for (const sub of node.subgraphs()) count += inlineIn(sub);
  }
  // Branches that came up may hold further constant Ifs.
  return count > 0 ? count + inlineIn(graph) : count;
}

function inlineBranch(graph: Graph, node: Node, branch: Graph): void {
  const map = new Map<Value, Value>();
  for (const value of branch.values()) {
    if (value.initializer) map.set(value, graph.addInitializer(value.name, value.initializer));
    else if (value.sparse) {
      const copy = graph.addValue(graph.freshName(value.name), value.type);
      copy.sparse = value.sparse;
      map.set(value, copy);
    }
  }
  for (const inner of branch.nodes) {
    const attributes = new Map<string, Attribute>();
    for (const [name, a] of inner.attributes) {
      if (a.type === 'graph') attributes.set(name, { ...a, value: cloneGraph(a.value, graph, map) });
      else if (a.type === 'graphs') attributes.set(name, { ...a, value: a.value.map((g) => cloneGraph(g, graph, map)) });
      else attributes.set(name, a);
    }
    const copy = graph.addNode(
      {
        opType: inner.opType,
        domain: inner.domain,
        overload: inner.overload,
        name: inner.name,
        inputs: inner.inputs.map((v) => v && (map.get(v) ?? v)),
        outputs: inner.outputs.map((v) => v?.name ?? null),
        attributes,
      },
      node,
    );
    inner.outputs.forEach((v, i) => {
      if (!v) return;
      copy.output(i).type = v.type;
      map.set(v, copy.output(i));
    });
  }
  node.outputs.forEach((output, i) => {
    if (!output) return;
    const result = branch.outputs[i]!;
    graph.replaceValue(output, map.get(result) ?? result);
  });
  graph.removeNode(node);
}
