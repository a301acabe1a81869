// The parts of the report that draw: sizes, outputs, layers, weight distributions.
import type { TensorStats } from '../analysis/tensor-stats.js';
import type { RunRecord } from '../pass/record.js';
import { formatBytes, formatNumber, formatPercent } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { barsSvg, histogramSvg, treemapSvg } from './svg.js';

/** SQNR in dB at which a layer is drawn fully red and fully green. */
const SQNR_BAD = 5;
const SQNR_GOOD = 40;
const MAX_BARS = 80;
const MAX_HISTOGRAMS = 12;

export function sizeSection(record: RunRecord): string {
  const stats = record.tensors.after.length > 0 ? record.tensors.after : record.tensors.before;
  if (stats.length === 0) return '';
  const total = (record.output ?? record.input).bytes;
  const slices = stats.map((t) => ({
    name: t.name,
    group: t.dtype,
    value: t.bytes,
    title: `${t.name}: ${t.dtype}[${t.dims.join(',')}], ${formatBytes(t.bytes)}`,
  }));
  const rest = total - stats.reduce((sum, t) => sum + t.bytes, 0);
  if (rest > 0)
    slices.push({ name: 'everything else', group: 'other', value: rest, title: `smaller tensors, nodes and names: ${formatBytes(rest)}` });
  return `<h2>Where the bytes are</h2>${treemapSvg(slices)}`;
}

export function outputsSection(record: RunRecord): string {
  if (record.outputs.length === 0) return '';
  const rows = record.outputs.map(
    (o) =>
      `<tr><td>${escapeHtml(o.name)}</td><td class="n">${formatNumber(o.cosine, 6)}</td><td class="n">${formatNumber(o.sqnr, 4)}</td><td class="n">${formatNumber(o.maxAbs)}</td><td class="n">${formatNumber(o.meanAbs)}</td><td class="n">${formatNumber(o.kl)}</td><td class="n">${o.agreement === null ? '-' : formatPercent(o.agreement)}</td></tr>`,
  );
  return `<h2>Outputs against the original</h2><table><tr><th>output</th><th class="n">cosine</th><th class="n">SQNR (dB)</th><th class="n">max error</th><th class="n">mean error</th><th class="n">KL</th><th class="n">agreement</th></tr>${rows.join('')}</table>`;
}

export function layersSection(record: RunRecord): string {
  const layers = record.layers.slice(0, MAX_BARS);
  if (layers.length === 0) return '';
  const error = barsSvg(
    layers.map((l) => ({
      name: l.node,
      value: Math.min(l.difference.sqnr, 100),
      title: `${l.node} (${l.op}), value ${l.name}: SQNR ${formatNumber(l.difference.sqnr)} dB, cosine ${formatNumber(l.difference.cosine, 6)}`,
    })),
    { format: (v) => (v >= 100 ? '100+ dB' : `${v.toFixed(1)} dB`), heat: [SQNR_BAD, SQNR_GOOD] },
  );
  const heavy = layers.filter((l) => l.bytesBefore > 0);
  const size = barsSvg(
    heavy.map((l) => ({
      name: l.node,
      value: l.bytesAfter,
      behind: l.bytesBefore,
      title: `${l.node}: ${formatBytes(l.bytesBefore)} before, ${formatBytes(l.bytesAfter)} after`,
    })),
    { format: formatBytes },
  );
  const more =
    record.layers.length > layers.length ? `<p class="soft">The first ${layers.length} of ${record.layers.length} layers.</p>` : '';
  return `<h2>Error by layer</h2><p class="soft">Signal-to-quantization-noise ratio of each layer's output against the original's: longer is better, 20 dB is an error of a tenth.</p>${error}${more}${heavy.length > 0 ? `<h2>Size by layer</h2><p class="soft">Constants after (colour) and before (grey).</p>${size}` : ''}`;
}

export function histogramsSection(record: RunRecord): string {
  const after = new Map(record.tensors.after.map((t) => [t.name, t]));
  const shown = record.tensors.before.slice(0, MAX_HISTOGRAMS);
  if (shown.length === 0) return '';
  const before = shown.map((t) => histogram(t));
  const others = record.tensors.after.filter((t) => !record.tensors.before.some((b) => b.name === t.name)).slice(0, MAX_HISTOGRAMS);
  const kept = shown
    .flatMap((t) => after.get(t.name) ?? [])
    .filter((t, i, all) => all.indexOf(t) === i && t.dtype !== shown.find((s) => s.name === t.name)?.dtype);
  const results = [...kept, ...others].map((t) => histogram(t));
  return `<h2>Weight distributions before</h2><div class="histograms">${before.join('')}</div>${results.length > 0 ? `<h2>Weight distributions after</h2><div class="histograms">${results.join('')}</div>` : ''}`;
}

function histogram(t: TensorStats): string {
  const about = `${t.dtype}[${t.dims.join(',')}], std ${formatNumber(t.std)}, zeros ${formatPercent(t.sparsity, 1)}, beyond 6 σ ${formatPercent(t.outliers, 3)}`;
  return `<div><h3>${escapeHtml(t.name)}</h3>${histogramSvg(t.histogram, t.min, t.max, (v) => formatNumber(v, 3))}<small class="soft">${escapeHtml(about)}</small></div>`;
}
