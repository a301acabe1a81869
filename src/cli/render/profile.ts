// What `pare profile` prints: the model in a few lines, operators, layers, weights, and what each technique could save.
import type { ModelProfile, ProfileLayer } from '../../recipe/profile.js';
import { formatBytes, formatCount, formatMs, formatNumber, formatPercent } from '../../util/format.js';
import { renderTable } from './table.js';

export const SORT_KEYS = ['order', 'macs', 'params', 'bytes', 'output', 'ms', 'name', 'op'] as const;
export type SortKey = (typeof SORT_KEYS)[number];

export interface ProfileView {
  readonly sort: SortKey;
  /** Rows of the layer and weight tables; 0 hides them. */
  readonly top: number;
}

const right = (title: string) => ({ title, align: 'right' as const });

export function renderProfile(p: ModelProfile, view: ProfileView): string {
  const parts = [summary(p), operators(p)];
  if (view.top > 0) parts.push(layers(p, view), weights(p, view.top));
  parts.push(potential(p));
  for (const w of p.warnings) parts.push(`warning: ${w.message}${w.fix ? `\n  fix: ${w.fix}` : ''}`);
  return parts.filter((s) => s !== '').join('\n\n');
}

function summary(p: ModelProfile): string {
  const io = (items: ModelProfile['inputs']) => items.map((v) => `${v.name} ${v.type}`).join(', ');
  const shapes = Object.entries(p.shapes)
    .map(([name, dims]) => `${name} ${dims.join('x')}`)
    .join(', ');
  const rows = [
    ['file', `${p.path}, ${formatBytes(p.bytes)}`],
    [
      'written by',
      `${p.producer || 'unknown'}, opset ${Object.entries(p.opsets)
        .map(([d, v]) => `${d} ${v}`)
        .join(', ')}`,
    ],
    ['inputs', io(p.inputs)],
    ['outputs', io(p.outputs)],
    [
      'parameters',
      `${formatCount(p.params)} (${Object.entries(p.bytesByDtype)
        .map(([d, b]) => `${d} ${formatBytes(b)}`)
        .join(', ')})`,
    ],
    ['work', `${formatCount(p.macs)} MACs, ${formatCount(p.flops)} FLOPs, ${p.nodes} nodes`],
    ['activations', `${formatBytes(p.peakActivationBytes)} at the peak`],
    ['figures for', shapes],
  ];
  for (const l of p.latency ?? [])
    rows.push([
      `latency, batch ${l.batch}`,
      `p50 ${formatMs(l.p50)}, p95 ${formatMs(l.p95)}, ${formatNumber(l.samplesPerSecond)} samples/s (${p.engine}, ${l.runs} runs)`,
    ]);
  if (p.memory)
    rows.push([
      'memory',
      `${formatBytes(p.memory.peakBytes)} at the peak of a fresh process, ${formatBytes(p.memory.modelBytes)} of it for the model`,
    ]);
  return renderTable([{ title: '' }, { title: '', maxWidth: 200 }], rows)
    .split('\n')
    .slice(2)
    .join('\n');
}

function operators(p: ModelProfile): string {
  const share = (part: number, whole: number) => (whole > 0 ? formatPercent(part / whole, 1) : '-');
  const totalMs = p.operators.reduce((sum, o) => sum + (o.ms ?? 0), 0);
  return renderTable(
    [{ title: 'operator' }, right('nodes'), right('MACs'), right('share'), right('constants'), right('time'), right('share')],
    p.operators.map((o) => [
      o.op,
      String(o.count),
      formatCount(o.macs),
      share(o.macs, p.macs),
      formatBytes(o.bytes),
      o.ms === null ? '-' : formatMs(o.ms),
      o.ms === null ? '-' : share(o.ms, totalMs),
    ]),
  );
}

function layers(p: ModelProfile, { sort, top }: ProfileView): string {
  const shown = sortLayers(p.layers, sort).slice(0, top);
  const table = renderTable(
    [
      { title: `layer${sort === 'order' ? '' : ` (by ${sort})`}` },
      { title: 'operator' },
      right('output'),
      right('MACs'),
      right('params'),
      right('constants'),
      right('time'),
    ],
    shown.map((l) => [
      l.name,
      l.op,
      l.outputShape ? l.outputShape.join('x') : '?',
      formatCount(l.macs),
      formatCount(l.params),
      formatBytes(l.bytes),
      l.ms === null ? '-' : formatMs(l.ms),
    ]),
  );
  return p.layers.length > shown.length ? `${table}\n… ${p.layers.length - shown.length} more (--top ${p.layers.length} shows all)` : table;
}

export function sortLayers(all: readonly ProfileLayer[], key: SortKey): ProfileLayer[] {
  const by: Record<Exclude<SortKey, 'order'>, (a: ProfileLayer, b: ProfileLayer) => number> = {
    macs: (a, b) => b.macs - a.macs,
    params: (a, b) => b.params - a.params,
    bytes: (a, b) => b.bytes - a.bytes,
    output: (a, b) => b.outputBytes - a.outputBytes,
    ms: (a, b) => (b.ms ?? -1) - (a.ms ?? -1),
    name: (a, b) => a.name.localeCompare(b.name),
    op: (a, b) => a.op.localeCompare(b.op),
  };
  return key === 'order' ? [...all] : [...all].sort(by[key]);
}

function weights(p: ModelProfile, top: number): string {
  if (p.constants.length === 0) return '';
  const shown = p.constants.slice(0, top);
  const table = renderTable(
    [
      { title: 'constant (largest first)' },
      { title: 'type' },
      right('bytes'),
      right('min'),
      right('max'),
      right('mean'),
      right('std'),
      right('zeros'),
      right('> 6 σ'),
    ],
    shown.map((t) => [
      t.name,
      `${t.dtype}[${t.dims.join(',')}]`,
      formatBytes(t.bytes),
      formatNumber(t.min, 3),
      formatNumber(t.max, 3),
      formatNumber(t.mean, 3),
      formatNumber(t.std, 3),
      formatPercent(t.sparsity, 1),
      formatPercent(t.outliers, 3),
    ]),
  );
  return p.constants.length > shown.length ? `${table}\n… ${p.constants.length - shown.length} more` : table;
}

function potential(p: ModelProfile): string {
  if (p.potential.length === 0) return 'no technique has anything to work on here';
  return renderTable(
    [{ title: 'technique' }, { title: 'command' }, right('nodes'), right('could touch'), right('saves at best')],
    p.potential.map((t) => [
      t.technique,
      t.command === null ? '-' : `pare ${t.command}`,
      String(t.nodes),
      formatBytes(t.bytes),
      `${formatBytes(t.saves)} (${formatPercent(t.saves / p.bytes, 0)})`,
    ]),
  );
}

/** Several models side by side, one a column. */
export function renderSideBySide(profiles: readonly ModelProfile[]): string {
  const row = (title: string, cell: (p: ModelProfile) => string) => [title, ...profiles.map(cell)];
  return renderTable(
    [{ title: '' }, ...profiles.map((p) => right(p.path.split(/[\\/]/).at(-1)!))],
    [
      row('bytes', (p) => formatBytes(p.bytes)),
      row('parameters', (p) => formatCount(p.params)),
      row('MACs', (p) => formatCount(p.macs)),
      row('FLOPs', (p) => formatCount(p.flops)),
      row('nodes', (p) => String(p.nodes)),
      row('opset', (p) => String(p.opsets['ai.onnx'] ?? '-')),
      row('activations', (p) => formatBytes(p.peakActivationBytes)),
      row('latency p50', (p) => (p.latency?.[0] ? formatMs(p.latency[0].p50) : '-')),
      row('samples/s', (p) => (p.latency?.[0] ? formatNumber(p.latency[0].samplesPerSecond) : '-')),
      row('peak memory', (p) => (p.memory ? formatBytes(p.memory.peakBytes) : '-')),
    ],
  );
}
