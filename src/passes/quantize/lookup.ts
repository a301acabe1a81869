// Embedding tables: a Gather on a constant becomes a Gather on its codes, and only the rows looked up are turned back to float.
import { Builder } from '../../ir/builder.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Node, Value } from '../../ir/graph.js';
import { quantFactsOf } from '../../quant/annotate.js';
import { replaceNode } from './replace.js';

/** The float table that a Gather looks rows up in, a reason why it cannot be quantized, or undefined where it is no lookup. */
export function lookupOf(node: Node): Value | string | undefined {
  const facts = quantFactsOf(node);
  if (node.opType !== 'Gather' || facts === 'none') return undefined;
  const table = node.input(facts.kind === 'lookup' ? facts.table : 0);
  if (!table?.isConstant || table.initializer?.dtype !== 'float') return undefined;
  if (table.initializer.rank !== 2) return undefined;
  const axis = node.int('axis', 0);
  if (axis !== 0 && axis !== -2) return 'it looks up columns, not rows';
  return table;
}

/** Gather of codes [rows, width] and scales [rows], less the code of zero and multiplied: standard operators only. */
export function writeRowLookup(node: Node, codes: Value, scale: Value, zero = 0): void {
  const b = new Builder(node.graph, { before: node });
  const indices = node.input(1);
  const name = node.name || node.output().name;
  const rows = b.op('Gather', [codes, indices], { axis: 0 }, { name: `${name}_codes` });
  const scales = b.op('Gather', [scale, indices], { axis: 0 }, { name: `${name}_scales` });
  const column = b.op('Unsqueeze', [scales, b.ints(`${name}_axis`, [-1])], {}, { name: `${name}_Unsqueeze` });
  let floats = b.op('Cast', [rows], { to: DTYPES.float.code }, { name: `${name}_Cast` });
  if (zero !== 0) floats = b.op('Sub', [floats, b.scalar(`${name}_zero`, 'float', zero)], {}, { name: `${name}_Sub` });
  replaceNode(node, [b.op('Mul', [floats, column], {}, { name: `${name}_Mul` })]);
}
