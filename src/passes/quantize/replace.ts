// Putting new values where a node's results were read. Results keep their names, so that a layer can be found again in the quantized model.
import type { Node, Value } from '../../ir/graph.js';

/** Gives the node's readers the new values, which take the names of the old ones, and removes the node. */
export function replaceNode(node: Node, outputs: readonly (Value | null)[]): void {
  const renamed: [Value, string][] = [];
  node.outputs.forEach((old, i) => {
    const replacement = outputs[i];
    if (!old || !replacement) return;
    replacement.type ??= old.type;
    const name = old.name;
    node.graph.replaceValue(old, replacement);
    // Values of another graph and outputs of the graph keep theirs.
    const free = replacement.graph === node.graph && replacement.producer !== null && !replacement.isGraphOutput;
    if (free && replacement.name !== name) renamed.push([replacement, name]);
  });
  node.graph.removeNode(node);
  for (const [value, name] of renamed) if (value.graph.ownValue(name) === undefined) value.graph.rename(value, name);
}
