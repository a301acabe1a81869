// Which models Pare rewrites at all. Profiling is open to any model; rewriting one whose operators are unknown would be guessing.
import { graphsOf } from '../analysis/facts.js';
import { unsupportedError } from '../errors.js';
import type { Node } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { opRecord } from '../ops/registry.js';

/** Domains of classical machine learning: trees, scalers, encoders. There are no layers to compress in them. */
const CLASSICAL_DOMAINS = new Set(['ai.onnx.ml']);
const MAX_NAMED = 10;

/** Throws E_UNSUPPORTED listing every node that Pare cannot rewrite, with the alternative. */
export function checkSupported(model: Model): void {
  const unknown: Node[] = [];
  const classical: Node[] = [];
  for (const graph of graphsOf(model)) {
    for (const node of graph.nodes) {
      if (CLASSICAL_DOMAINS.has(node.domain)) classical.push(node);
      else if (!opRecord(node.domain, node.opType) && !model.functionOf(node)) unknown.push(node);
    }
  }
  if (unknown.length > 0) {
    throw unsupportedError(`${unknown.length} nodes are of operators that Pare does not know: ${list(unknown)}`, {
      hint: 'only `pare profile` reads such models; export the model without custom operators, or define them as local functions',
    });
  }
  if (classical.length > 0) {
    throw unsupportedError(
      `${classical.length} nodes are of classical machine learning, which Pare does not compress: ${list(classical)}`,
      {
        hint: 'only `pare profile` reads such models; compress the neural part alone',
      },
    );
  }
}

function list(nodes: readonly Node[]): string {
  const named = nodes.slice(0, MAX_NAMED).map((n) => `${n.label} (${n.op})`);
  return nodes.length > MAX_NAMED ? `${named.join(', ')} and ${nodes.length - MAX_NAMED} more` : named.join(', ');
}
