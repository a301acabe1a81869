// The course of iterative pruning: a line a step while it goes on, and a table at the end.
import type { RunRecord } from '../../pass/record.js';
import type { PrunePoint, PruningNote } from '../../recipe/prune-iterative.js';
import { formatCount, formatMs, formatQuality } from '../../util/format.js';
import { renderTable } from './table.js';

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const quality = (metric: string | null, value: number | null) => (value === null || metric === null ? '-' : formatQuality(metric, value));

/** One line for a step. */
export function describePoint(point: PrunePoint, steps: number, metric: string | null): string {
  const { step, removed, sparsity, params, pruned, recovered, ms } = point;
  if (step === 0) return `as given: ${formatCount(params)} parameters${recovered === null ? '' : `, ${quality(metric, recovered)}`}`;
  const zeros = sparsity > 0 ? `, ${percent(sparsity)} zeros` : '';
  const figures = recovered === null ? '' : `, ${quality(metric, pruned)} and trained ${quality(metric, recovered)}`;
  return `step ${step}/${steps}: ${percent(removed)} removed${zeros}, ${formatCount(params)} parameters${figures}, ${formatMs(ms)}`;
}

/** Table of the steps of each pass that went in steps. */
export function renderPruneSteps(record: RunRecord): string[] {
  return record.passes.flatMap((pass) => {
    const note = pass.notes.pruning as PruningNote | undefined;
    if (!note) return [];
    const rows = note.points.map((p) => [
      `${p.step}${p.step === note.chosen ? ' (result)' : ''}`,
      percent(p.removed),
      percent(p.sparsity),
      formatCount(p.params),
      formatCount(p.macs),
      quality(note.metric, p.pruned),
      quality(note.metric, p.recovered),
    ]);
    const titles = ['removed', 'zeros', 'params', 'MACs', 'pruned', 'trained'];
    return [renderTable([{ title: 'step' }, ...titles.map((title) => ({ title, align: 'right' as const }))], rows)];
  });
}
