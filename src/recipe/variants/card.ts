// The section of a model card: which files there are, what is in them, and what was measured where. Replaced as a whole on the next run.
import { formatBytes, formatMs, formatNumber, formatQuality } from '../../util/format.js';
import type { DeviceFigures } from './measure.js';
import { VARIANT_SUMMARY } from './plan.js';
import type { SessionVariants, VariantRow, VariantsRecord } from './run.js';

const START = '<!-- pare:variants:start -->';
const END = '<!-- pare:variants:end -->';

/** Puts the section where the last one was, or at the end. */
export function replaceSection(card: string, section: string): string {
  const block = `${START}\n${section.trim()}\n${END}`;
  const from = card.indexOf(START);
  const to = card.indexOf(END);
  if (from >= 0 && to > from) return card.slice(0, from) + block + card.slice(to + END.length);
  return card.trim() === '' ? `${block}\n` : `${card.trimEnd()}\n\n${block}\n`;
}

/** Columns of one device, in order. */
const DEVICE_COLUMNS = ['load', 'p50', 'cosine'] as const;

/** Markdown. */
export function renderCard(record: VariantsRecord): string {
  const lines = ['## Files for transformers.js', ''];
  if (record.verified) {
    const runtimes = record.devices.map((d) => `${d.name} (${d.engine})`).join(', ');
    lines.push(`Every file was loaded and run in ${runtimes}. Times are of one sample on the machine that made the files.`, '');
  } else lines.push('Not verified: the files were not run.', '');
  for (const session of record.sessions) lines.push(...sessionTable(record, session));
  lines.push(`Made by pare ${record.tool.version}.`);
  return lines.join('\n');
}

function sessionTable(record: VariantsRecord, session: SessionVariants): string[] {
  const figures = session.rows.map((r) => r.devices[0]).find((d) => d !== undefined);
  const metric = figures?.metric?.name;
  const hasKl = session.rows.some((r) => r.devices[0]?.kl != null);
  const header = [
    'dtype',
    'file',
    'size',
    ...record.devices.flatMap((d) => DEVICE_COLUMNS.map((c) => `${d.name} ${c}`)),
    ...(hasKl ? ['KL'] : []),
    ...(metric === undefined ? [] : [metric]),
    'contents',
  ];
  const cells = session.rows.filter((r) => r.bytes > 0).map((r) => rowCells(r, record, hasKl, metric));
  const missing = session.rows.filter((r) => r.missing !== null).map((r) => `- ${r.variant} was not written: ${r.missing}`);
  const about = session.data
    ? `Measured on ${session.data.synthetic ? 'random inputs, which say little about quality' : session.data.name}, ${figures?.samples ?? 0} samples.`
    : '';
  return [
    `### ${session.session}`,
    '',
    ...(about ? [about, ''] : []),
    `| ${header.join(' | ')} |`,
    `| ${header.map((_, i) => (i < 2 || i === header.length - 1 ? '---' : '---:')).join(' | ')} |`,
    ...cells.map((row) => `| ${row.join(' | ')} |`),
    '',
    ...(missing.length > 0 ? [...missing, ''] : []),
    ...(session.dtype === null ? [] : [`Default in config.json: \`${session.dtype}\`.`, '']),
  ];
}

function rowCells(row: VariantRow, record: VariantsRecord, hasKl: boolean, metric: string | undefined): string[] {
  const on = (name: string) => row.devices.find((d) => d.device === name);
  const [first] = row.devices;
  return [
    row.variant,
    `\`${row.file}\`${row.data_files > 0 ? ` + ${row.data_files} data` : ''}`,
    formatBytes(row.bytes),
    ...record.devices.flatMap((d) => deviceCells(on(d.name))),
    ...(hasKl ? [formatNumber(first?.kl, 3)] : []),
    ...(metric === undefined ? [] : [first?.metric ? formatQuality(metric, first.metric.after) : '-']),
    VARIANT_SUMMARY[row.variant],
  ];
}

/** Texts under `DEVICE_COLUMNS`. */
export function deviceCells(figures: DeviceFigures | undefined): string[] {
  if (!figures) return DEVICE_COLUMNS.map(() => '-');
  return [formatMs(figures.load_ms), formatMs(figures.p50_ms), formatNumber(figures.cosine, 6)];
}
