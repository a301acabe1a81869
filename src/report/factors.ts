// The section of the report on low rank: each factored layer with its ranks, what it costs now and what it keeps.
import type { RunRecord } from '../pass/record.js';
import type { FactoredLayer } from '../passes/lowrank/index.js';
import { formatCount } from '../util/format.js';
import { escapeHtml } from './escape.js';

export function factorsSection({ passes }: RunRecord): string {
  return passes
    .map((pass) => {
      if (pass.name !== 'factorize' || !Array.isArray(pass.notes.layers)) return '';
      const layers = pass.notes.layers as readonly FactoredLayer[];
      const rows = layers.map(
        (l) =>
          `<tr><td>${escapeHtml(l.layer)}</td><td>${escapeHtml(l.op)}</td><td class="n">${l.shape.join(' x ')}</td><td>${escapeHtml(l.method)}</td><td class="n">${l.ranks.join(', ')}</td><td class="n">${formatCount(l.macs.before)}</td><td class="n">${formatCount(l.macs.after)}</td><td class="n">${(100 * l.energy).toFixed(1)} %</td></tr>`,
      );
      const titles = ['shape', 'method', 'rank', 'MACs before', 'after', 'power kept'].map((t) =>
        t === 'method' ? '<th>method</th>' : `<th class="n">${t}</th>`,
      );
      return `<h2>Low rank</h2><table><tr><th>layer</th><th>operator</th>${titles.join('')}</tr>${rows.join('')}</table>`;
    })
    .join('');
}
