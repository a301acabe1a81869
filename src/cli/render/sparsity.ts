// Table of unstructured pruning: zeros of each layer.
import type { RunRecord } from '../../pass/record.js';
import { formatCount } from '../../util/format.js';
import { renderTable } from './table.js';

/** Rows shown before the rest is only counted. */
const MAX_ROWS = 40;

export interface LayerSparsity {
  readonly layer: string;
  readonly op: string;
  readonly elements: number;
  readonly zeros: number;
  readonly sparsity: number;
}

/** Sparsities of each pass that pruned single weights. */
export function renderSparsity(record: RunRecord): string[] {
  return record.passes.flatMap((pass) => {
    if (pass.name !== 'prune-unstructured' || !Array.isArray(pass.notes.layers)) return [];
    const layers = pass.notes.layers as LayerSparsity[];
    const total = pass.notes.sparsity as { elements: number; zeros: number; sparsity: number };
    const row = (name: string, op: string, l: { elements: number; zeros: number; sparsity: number }) => [
      name,
      op,
      formatCount(l.elements),
      formatCount(l.zeros),
      `${(l.sparsity * 100).toFixed(1)} %`,
    ];
    const table = renderTable(
      [
        { title: 'layer', maxWidth: 44 },
        { title: 'operator' },
        { title: 'weights', align: 'right' },
        { title: 'zeros', align: 'right' },
        { title: 'sparsity', align: 'right' },
      ],
      [...layers.slice(0, MAX_ROWS).map((l) => row(l.layer, l.op, l)), row('all', '', total)],
    );
    return [table, ...(layers.length > MAX_ROWS ? [`and ${layers.length - MAX_ROWS} more layers`] : [])];
  });
}
