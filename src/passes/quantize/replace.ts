// Putting new values where a node's results were read.
import type { Node, Value } from '../../ir/graph.js';

/** Gives the node's readers the new values and removes it. */
export function replaceNode(node: Node, outputs: readonly (Value | null)[]): void {
  node.outputs.forEach((old, i) => {
    const replacement = outputs[i];
    if (!old || !replacement) return;
    replacement.type ??= old.type;
    node.graph.replaceValue(old, replacement);
  });
  node.graph.removeNode(node);
}
