// Which weights single elements may be taken from: constants that convolutions, products and recurrent layers sum over. Embedding tables only on request,
// since a row of a table is read alone: nothing makes good what it loses.
import { DTYPES } from '../../../ir/dtype.js';
import type { Node, Value } from '../../../ir/graph.js';
import type { Model } from '../../../ir/model.js';
import { walkNodes } from '../../../ir/walk.js';
import { constantOperand } from '../../../quant/constant-weight.js';
import { type Pattern, patternProblem, sizeOf, type WeightLayout, weightLayout } from './layout.js';

export interface PrunableWeight {
  readonly value: Value;
  /** The first node that reads it, and as which input. */
  readonly node: Node;
  readonly index: number;
  readonly layout: WeightLayout;
  readonly size: number;
}

export interface TargetOptions {
  readonly embeddings: boolean;
  readonly minElements: number;
  readonly pattern: Pattern | undefined;
  /** Names of layers and weights that stay. */
  readonly isProtected: (name: string) => boolean;
}

/** Weights in the order of their first readers. `skip` hears of those that stay, and why. */
export function prunableWeights(model: Model, options: TargetOptions, skip: (node: Node, reason: string) => void): PrunableWeight[] {
  const found = new Map<Value, PrunableWeight | null>();
  for (const node of walkNodes(model.graph)) {
    if (node.domain !== '' && node.domain !== 'com.microsoft') continue;
    for (const [index, input] of node.inputs.entries()) {
      const operand = constantOperand(input);
      if (!operand || found.has(operand.value)) continue;
      const { value, tensor, transposed } = operand;
      if (DTYPES[tensor.dtype].kind !== 'float' || DTYPES[tensor.dtype].bits < 16) continue;
      const layout = weightLayout(node, index, tensor.dims, transposed);
      if (!layout || sizeOf(layout) !== tensor.size || tensor.size === 0) continue;
      const reason = reasonToStay(node, value, layout, options);
      found.set(value, reason === undefined ? { value, node, index, layout, size: tensor.size } : null);
      if (reason !== undefined) skip(node, reason);
    }
  }
  return [...found.values()].filter((w) => w !== null);
}

function reasonToStay(node: Node, value: Value, layout: WeightLayout, options: TargetOptions): string | undefined {
  if (options.isProtected(value.name) || options.isProtected(node.name) || options.isProtected(node.label))
    return 'it is protected by name';
  if (!options.embeddings && value.users.some((u) => u.opType === 'Gather' || u.opType === 'EmbedLayerNormalization'))
    return 'it is an embedding table (--embeddings prunes them too)';
  if (value.initializer!.size < options.minElements) return `it has only ${value.initializer!.size} elements`;
  return patternProblem(layout, options.pattern);
}
