// Fused operators on the way of a gradient become the plain ones they stand for: forward values are then shared with the backward pass, and one set of
// gradients serves all. Nodes that no gradient passes stay fused.
import type { GraphInference } from '../analysis/infer-graph.js';
import { bugError } from '../errors.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { formatShape } from '../ir/type.js';
import { dimsOf, GradBuilder, sameDims } from '../ops/grad-builder.js';
import { opRecord } from '../ops/registry.js';
import { markNeeded, NoGradient, nodeContext } from './gradient-context.js';

/** Names of new values begin with it. */
const PREFIX = 'plain/';

/** Edits the graph. Answers the nodes whose form cannot be decomposed, with the reason. */
export function decomposeNodes(
  model: Model,
  inference: GraphInference,
  sources: readonly Value[],
  infer: (node: Node) => void,
): Map<Node, string> {
  const undone = new Map<Node, string>();
  const needed = new Set<Value>();
  const nodes = [...model.graph.nodes];
  markNeeded(needed, sources, nodes);
  const trained = new Set(sources);
  const b = new GradBuilder(model.graph, infer, PREFIX);
  for (const node of nodes) {
    if (!node.inputs.some((v) => v && needed.has(v))) continue;
    if (model.functions.length > 0 && model.functionOf(node)) continue;
    const grad = opRecord(node.domain, node.opType)?.grad;
    if (grad === undefined || typeof grad !== 'object') continue;
    b.before = node;
    b.origin = node.label;
    let results: readonly (Value | null)[];
    try {
      results = grad.decompose(nodeContext(node, b, inference, trained));
      requireAll(node, results);
    } catch (error) {
      if (!(error instanceof NoGradient)) throw error;
      undone.set(node, error.message);
      continue;
    }
    node.outputs.forEach((output, i) => {
      if (output && output.readerCount > 0) replace(node, output, results[i]!);
    });
    model.graph.removeNode(node);
  }
  return undone;
}

function requireAll(node: Node, results: readonly (Value | null)[]): void {
  for (const [i, output] of node.outputs.entries()) {
    if (output && output.readerCount > 0 && !results[i]) throw new NoGradient(`whose output ${i} is read`);
  }
}

function replace(node: Node, output: Value, result: Value): void {
  const known = tensorTypeOf(output)?.shape;
  if (known && !sameDims(known as readonly number[], dimsOf(result))) {
    throw bugError(`${node.op} decomposed: expected ${formatShape(known)}, got ${formatShape(dimsOf(result))}`, {
      place: { node: node.label },
    });
  }
  const { graph } = node;
  if (!output.isGraphOutput && result.producer !== null && !result.isGraphOutput && result.name.startsWith(PREFIX)) {
    // Under the name that is known to who asks for it.
    const { name } = output;
    graph.rename(output, graph.freshName(`${name}_fused`));
    graph.rename(result, name);
  }
  graph.replaceValue(output, result);
}
