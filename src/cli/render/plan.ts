// What trials found before the run: layers kept for a target, candidates timed, fixes tried; and what made the result slower.
import type { PlanRecord, RunRecord } from '../../pass/record.js';
import { formatBytes, formatMs, formatNumber, formatQuality } from '../../util/format.js';
import { renderTable } from './table.js';

const MAX_KEPT = 12;

/** Comes before everything else: a result slower than its original must not go unseen. */
export function renderSlower({ slower, latency }: Pick<RunRecord, 'slower' | 'latency'>): string[] {
  if (!slower || !latency) return [];
  const head = `SLOWER than the original: ${latency.ratio.toFixed(2)} times the time on ${latency.engine}`;
  if (slower.length === 0) return [head];
  const rows = slower.map((n) => [n.node, n.op, formatMs(n.before_ms), formatMs(n.after_ms), n.reason]);
  const right = (title: string) => ({ title, align: 'right' as const });
  return [
    `${head}; nodes responsible:`,
    renderTable([{ title: 'node' }, { title: 'operator' }, right('before'), right('after'), { title: 'why' }], rows),
  ];
}

export function renderPlan({ search, latency, auto }: PlanRecord): string[] {
  const parts: string[] = [];
  const right = (title: string) => ({ title, align: 'right' as const });
  if (auto) {
    const tried = auto.tried.map((t) => `  ${t.flags} against ${t.cause}: drop ${formatNumber(t.drop)}, ${t.kept ? 'kept' : 'left out'}`);
    parts.push(
      `auto: ${auto.metric} drop ${formatNumber(auto.before)} to ${formatNumber(auto.after)}${tried.length > 0 ? `\n${tried.join('\n')}` : ', no fix to try'}`,
    );
  }
  if (latency) {
    parts.push(
      renderTable(
        [{ title: 'candidate' }, right('p50'), right('to float'), right('left float'), { title: '' }],
        latency.candidates.map((c) => [
          c.name,
          formatMs(c.ms),
          `${c.ratio.toFixed(2)}x`,
          String(c.kept),
          c.name === latency.chosen ? 'chosen' : '',
        ]),
      ),
    );
  }
  if (search) {
    const names = search.kept.map((l) => l.name);
    const list =
      names.length > 0
        ? `: ${names.slice(0, MAX_KEPT).join(', ')}${names.length > MAX_KEPT ? ` and ${names.length - MAX_KEPT} more` : ''}`
        : '';
    const what = search.keptAs === 'float' ? 'float' : 'in 8 bits';
    parts.push(
      `kept ${what} for a ${search.metric} drop of at most ${formatNumber(search.target)}: ${search.kept.length} of ${search.layers} layers, ${search.evaluations} trials${list}`,
    );
    if (search.curve.length > 1)
      parts.push(
        renderTable(
          [right('layers kept'), right('their weights'), right(search.metric), right('drop'), right('constants')],
          search.curve.map((p) => [
            String(p.kept),
            formatBytes(p.keptBytes),
            formatQuality(search.metric, p.quality),
            formatNumber(p.drop),
            formatBytes(p.bytes),
          ]),
        ),
      );
  }
  return parts;
}
