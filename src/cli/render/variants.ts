// The table that `pare variants` ends with: one for each session, with the figures of every runtime.
import { deviceCells } from '../../recipe/variants/card.js';
import type { SessionVariants, VariantsRecord } from '../../recipe/variants/run.js';
import { formatBytes, formatNumber, formatQuality, formatRatio } from '../../util/format.js';
import { renderTable } from './table.js';

export function renderVariants(record: VariantsRecord): string {
  const parts = record.sessions.flatMap((s) => renderSession(record, s));
  for (const w of record.warnings) parts.push(`warning: ${w.message}${w.fix ? `\n  fix: ${w.fix}` : ''}`);
  if (!record.verified) parts.push('not verified: the files were not run');
  return parts.join('\n');
}

function renderSession(record: VariantsRecord, session: SessionVariants): string[] {
  const written = session.rows.filter((r) => r.bytes > 0);
  const float = written[0];
  const metric = written.map((r) => r.devices[0]?.metric).find((m) => m != null)?.name;
  const columns = [
    { title: 'dtype' },
    { title: 'size', align: 'right' as const },
    { title: 'change', align: 'right' as const },
    ...record.devices.flatMap((d) => ['load', 'p50', 'cosine'].map((c) => ({ title: `${d.name} ${c}`, align: 'right' as const }))),
    { title: 'KL', align: 'right' as const },
    { title: metric ?? '', align: 'right' as const },
  ];
  const rows = written.map((r) => [
    r.variant,
    formatBytes(r.bytes),
    formatRatio(r.bytes, float?.bytes ?? 0),
    ...record.devices.flatMap((d) => deviceCells(r.devices.find((f) => f.device === d.name))),
    formatNumber(r.devices[0]?.kl, 3),
    metric !== undefined && r.devices[0]?.metric ? formatQuality(metric, r.devices[0].metric.after) : '',
  ]);
  const lines = [`${session.session}${session.data ? ` (${session.data.name})` : ''}`, renderTable(columns, rows)];
  for (const r of session.rows) {
    if (r.missing !== null) lines.push(`${r.failed ? 'FAILED' : 'not written'}: ${r.variant}: ${r.missing}`);
    for (const w of r.warnings) lines.push(`${r.variant}: ${w.message}${w.node ? ` (${w.node})` : ''}`);
  }
  for (const r of slower(session)) lines.push(r);
  if (session.dtype !== null) lines.push(`default in config.json: ${session.dtype}`);
  return lines;
}

/** Median times above the float model's by this factor are named. */
const SLOWER = 1.1;

function slower({ rows }: SessionVariants): string[] {
  const [float, ...others] = rows;
  return (float?.devices ?? []).flatMap((f) => {
    const late = others.filter((r) => r.devices.some((d) => d.device === f.device && d.p50_ms > f.p50_ms * SLOWER)).map((r) => r.variant);
    return late.length > 0 ? [`slower than float on ${f.device}: ${late.join(', ')}`] : [];
  });
}
