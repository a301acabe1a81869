// The section of the report on pruned widths: each group before and after.
import type { RunRecord } from '../pass/record.js';
import { escapeHtml } from './escape.js';

interface Width {
  readonly name: string;
  readonly before: number;
  readonly after: number;
  readonly ties?: readonly string[];
}

export function widthsSection(record: RunRecord): string {
  return record.passes
    .map((pass) => {
      const widths = Array.isArray(pass.notes.groups) ? (pass.notes.groups as Width[]) : [];
      if (widths.length === 0) return '';
      const rows = widths.map((w) => {
        const share = (w.after / w.before) * 100;
        return `<tr><td>${escapeHtml(w.name)}</td><td class="n">${w.before}</td><td class="n">${w.after}</td><td class="n">${share.toFixed(0)} %</td><td>${escapeHtml((w.ties ?? []).join(', '))}</td></tr>`;
      });
      return `<h2>Widths</h2><table><tr><th>group</th><th class="n">before</th><th class="n">after</th><th class="n">kept</th><th>tied by</th></tr>${rows.join('')}</table>`;
    })
    .join('');
}
