// The table that every model-writing command ends with: before, after, change; then what was skipped and what to look out for.
import type { PassRecord, RunRecord } from '../../pass/record.js';
import { describeMemory, trainingsOf } from '../../recipe/train.js';
import { formatBytes, formatCount, formatMs, formatNumber, formatQuality, formatRatio, formatSpeed } from '../../util/format.js';
import { renderFindings } from './explanation.js';
import { renderFusion } from './fusion.js';
import { renderPlan, renderSlower } from './plan.js';
import { renderWidths } from './prune.js';
import { renderPruneSteps } from './prune-steps.js';
import { renderSparsity } from './sparsity.js';
import { renderTable } from './table.js';

/** Skipped nodes listed by name before the rest is only counted. */
const MAX_SKIPPED = 6;

export function renderRun(record: RunRecord): string {
  const { input, output, latency, quality } = record;
  const rows: string[][] = [];
  if (output) {
    rows.push(['size', formatBytes(input.bytes), formatBytes(output.bytes), formatRatio(output.bytes, input.bytes)]);
    rows.push(['parameters', formatCount(input.params), formatCount(output.params), '']);
    rows.push(['MACs', formatCount(input.macs), formatCount(output.macs), '']);
    rows.push(['nodes', String(input.nodes), String(output.nodes), '']);
  }
  if (latency)
    rows.push([
      `latency (p50, batch ${latency.batch})`,
      formatMs(latency.before_ms),
      formatMs(latency.after_ms),
      formatSpeed(latency.ratio),
    ]);
  if (quality) {
    const change = quality.after - quality.before;
    rows.push([
      `${quality.metric} (${quality.samples} samples)`,
      formatQuality(quality.metric, quality.before),
      formatQuality(quality.metric, quality.after),
      `${change >= 0 ? '+' : ''}${formatQuality(quality.metric, change)}`,
    ]);
  }
  for (const o of record.outputs)
    rows.push([`output ${o.name}: cosine, max error`, '', `${formatNumber(o.cosine, 6)}, ${formatNumber(o.maxAbs)}`, '']);
  if (!record.verified) rows.push(['quality', 'not verified', 'not verified', '']);
  const parts = [
    ...renderSlower(record),
    renderTable(
      [{ title: '' }, { title: 'before', align: 'right' }, { title: 'after', align: 'right' }, { title: 'change', align: 'right' }],
      rows,
    ),
  ];
  parts.push(...renderFusion(record.fusion));
  parts.push(...renderTraining(record));
  parts.push(...renderPruneSteps(record));
  parts.push(...renderWidths(record));
  parts.push(...renderSparsity(record));
  if (record.plan) parts.push(...renderPlan(record.plan));
  if (record.explanation && record.explanation.findings.length > 0) parts.push(renderFindings(record.explanation.findings));
  for (const pass of record.passes) parts.push(...renderSkipped(pass));
  for (const w of record.warnings) parts.push(`warning: ${w.message}${w.node ? ` (${w.node})` : ''}${w.fix ? `\n  fix: ${w.fix}` : ''}`);
  if (output?.path) parts.push(`wrote ${output.path}`);
  return parts.join('\n');
}

/** What a training step holds in memory. */
function renderTraining({ passes }: RunRecord): string[] {
  return trainingsOf(passes).map(({ note }) => describeMemory(note.memory));
}

/** Skipped nodes grouped by reason: many nodes share one. */
function renderSkipped(pass: PassRecord): string[] {
  const byReason = new Map<string, string[]>();
  for (const s of pass.skipped) {
    const nodes = byReason.get(s.reason) ?? [];
    nodes.push(`${s.node} (${s.op})`);
    byReason.set(s.reason, nodes);
  }
  return [...byReason].map(([reason, nodes]) => {
    const more = nodes.length > MAX_SKIPPED ? ` and ${nodes.length - MAX_SKIPPED} more` : '';
    return `left as it is by ${pass.name}: ${nodes.slice(0, MAX_SKIPPED).join(', ')}${more}: ${reason}`;
  });
}
