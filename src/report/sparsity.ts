// The section of the report on single weights that are zero: each layer's share, with the error that was left where layers were fitted.
import type { RunRecord } from '../pass/record.js';
import { escapeHtml } from './escape.js';

interface LayerSparsity {
  readonly layer: string;
  readonly op: string;
  readonly elements: number;
  readonly zeros: number;
  readonly sparsity: number;
}

export function sparsitySection(record: RunRecord): string {
  return record.passes
    .map((pass) => {
      if (pass.name !== 'prune-unstructured' || !Array.isArray(pass.notes.layers)) return '';
      const fitted = new Map(
        (Array.isArray(pass.notes.fitted) ? (pass.notes.fitted as { layer: string; error: number }[]) : []).map((f) => [f.layer, f.error]),
      );
      const rows = (pass.notes.layers as LayerSparsity[]).map((l) => {
        const share = (l.sparsity * 100).toFixed(1);
        const error = fitted.get(l.layer);
        return `<tr><td>${escapeHtml(l.layer)}</td><td>${escapeHtml(l.op)}</td><td class="n">${l.elements}</td><td class="n">${l.zeros}</td><td class="n">${share} %</td><td class="n">${error === undefined ? '' : error.toPrecision(3)}</td></tr>`;
      });
      return `<h2>Zeros</h2><table><tr><th>layer</th><th>operator</th><th class="n">weights</th><th class="n">zeros</th><th class="n">sparsity</th><th class="n">output error</th></tr>${rows.join('')}</table>`;
    })
    .join('');
}
