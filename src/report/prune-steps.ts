// The report's section on iterative pruning: quality over what was removed, before and after the training of each step.
import type { RunRecord } from '../pass/record.js';
import type { PruningNote } from '../recipe/prune-iterative.js';
import { formatCount, formatMs, formatQuality } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { linesSvg } from './lines.js';

export function pruneStepsSection({ passes }: RunRecord): string {
  return passes
    .map(({ notes }) => {
      const note = notes.pruning as PruningNote | undefined;
      return note ? sectionOf(note) : '';
    })
    .join('');
}

function sectionOf({ metric, points, schedule, chosen }: PruningNote): string {
  const text = (value: number | null) => (value === null || metric === null ? '' : escapeHtml(formatQuality(metric, value)));
  const line = (name: string, of: 'pruned' | 'recovered') => ({
    name,
    points: points.flatMap((p) => (p[of] === null ? [] : [[100 * p.removed, p[of]] as const])),
  });
  const chart =
    metric === null
      ? ''
      : linesSvg([line('trained', 'recovered'), line('pruned, not trained yet', 'pruned')], {
          x: 'removed, %',
          format: (v) => formatQuality(metric, v),
          dots: true,
        });
  const rows = points.map(
    (p) =>
      `<tr><td class="n">${p.step}${p.step === chosen ? ' (result)' : ''}</td><td class="n">${(100 * p.removed).toFixed(1)} %</td><td class="n">${(100 * p.sparsity).toFixed(1)} %</td><td class="n">${formatCount(p.params)}</td><td class="n">${formatCount(p.macs)}</td><td class="n">${text(p.pruned)}</td><td class="n">${text(p.recovered)}</td><td class="n">${p.epochs}</td><td class="n">${formatMs(p.ms)}</td></tr>`,
  );
  const titles = ['step', 'removed', 'zeros', 'parameters', 'MACs', 'pruned', 'trained', 'epochs', 'time'].map(
    (t) => `<th class="n">${t}</th>`,
  );
  return `<h2>Pruning and recovery</h2><p class="soft">Schedule ${escapeHtml(schedule)}${metric === null ? '' : `, ${escapeHtml(metric)} on the validation data`}.</p>${chart}<table><tr>${titles.join('')}</tr>${rows.join('')}</table>`;
}
