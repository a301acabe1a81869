// What the walk of the gradient and the decomposition before it share: which values need a gradient, and what an operator's functions may ask.
import type { GraphInference } from '../analysis/infer-graph.js';
import { bugError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Node, Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import type { GradBuilder } from '../ops/grad-builder.js';
import type { DecomposeContext } from '../ops/op.js';

/** Marks a form of an operator without a gradient; caught by who asked. */
export class NoGradient extends Error {}

/** Adds to `needed` the values that depend on a source through floats. */
export function markNeeded(needed: Set<Value>, sources: readonly Value[], nodes: readonly Node[]): void {
  for (const source of sources) needed.add(source);
  for (const node of nodes) {
    if (!node.inputs.some((v) => v && needed.has(v)) && !capturesAny(node, needed)) continue;
    for (const output of node.outputs) {
      const dtype = tensorTypeOf(output)?.dtype;
      // What is no float (indices, masks, shapes) carries no gradient, but for quantized values. Of unknown types the operator has to say.
      if (output && (dtype === undefined || isFloat(dtype) || node.opType === 'QuantizeLinear')) needed.add(output);
    }
  }
}

/** True where a body inside the node reads one of the values. */
function capturesAny(node: Node, values: ReadonlySet<Value>): boolean {
  return node.subgraphs().some((sub) => sub.nodes.some((n) => n.inputs.some((v) => v && values.has(v)) || capturesAny(n, values)));
}

/** What an operator may ask about its node. What is trained is no constant. */
export function nodeContext(node: Node, b: GradBuilder, inference: GraphInference, trained: ReadonlySet<Value>): DecomposeContext {
  return {
    b,
    node,
    opset: inference.opset(node.domain),
    input(index) {
      const value = node.input(index);
      if (!value) throw bugError(`gradient of ${node.op}: no input ${index}`, { place: { node: node.label } });
      return value;
    },
    has: (index) => node.input(index) !== null,
    constant(index) {
      const value = node.input(index);
      return value && !trained.has(value) ? inference.constant(value) : undefined;
    },
    numbers(index) {
      const value = node.input(index);
      const items = value && !trained.has(value) ? inference.content(value)?.items : undefined;
      return items?.every((x): x is number => typeof x === 'number') ? items : undefined;
    },
    unsupported(reason) {
      throw new NoGradient(reason);
    },
  };
}
