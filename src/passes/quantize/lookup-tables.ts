// Embedding tables of statically quantized models: int8 with a scale per row, whatever reads the rows. Tables that a product reads too (tied weights)
// are left alone, as the product wants another layout and the table would be stored twice.
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { DerivedConstants } from '../../quant/constant-weight.js';
import { derivedQuantized } from '../../quant/derived.js';
import type { Selector } from '../../quant/selection.js';
import { lookupOf, writeRowLookup } from './lookup.js';

export interface TableOptions {
  readonly minElements: number;
  readonly select: Selector;
  readonly skip: (node: Node, reason: string) => void;
}

/** Answers how many lookups read int8 rows now. */
export function quantizeTables(model: Model, options: TableOptions): number {
  const constants = new DerivedConstants();
  let count = 0;
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) {
      const table = lookupOf(node);
      if (table === undefined) continue;
      const reason = typeof table === 'string' ? table : (options.select(node) ?? tableProblem(table, options));
      if (reason !== undefined || typeof table === 'string') {
        options.skip(node, reason ?? 'it cannot be read by rows');
        continue;
      }
      const [codes, scale] = constants.get(table, 'rows', () =>
        derivedQuantized(table.initializer!, { dtype: 'int8', symmetry: 'symmetric', granularity: { kind: 'channel', axis: 0 } }),
      );
      writeRowLookup(node, codes!, scale!);
      count++;
    }
  }
  if (count > 0) for (const graph of walkGraphs(model.graph)) graph.pruneValues();
  return count;
}

function tableProblem(table: Value, { minElements }: TableOptions): string | undefined {
  const { size } = table.initializer!;
  if (size < minElements) return `its table has only ${size} elements`;
  if (table.users.some((user) => user.opType !== 'Gather')) return 'its table is read by other nodes too (tied weights)';
  return undefined;
}
