// The parts of the report that draw: sizes, outputs, layers, weight distributions.

import type { OutputDifference } from '../analysis/difference.js';
import type { LayerComparison } from '../analysis/layers.js';
import type { TensorStats } from '../analysis/tensor-stats.js';
import type { Warning } from '../pass/define.js';
import { formatBytes, formatNumber, formatPercent } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { barsSvg, histogramSvg, REST, treemapSvg } from './svg.js';

/** SQNR in dB at which a layer is drawn fully red and fully green. */
const SQNR_BAD = 5;
const SQNR_GOOD = 40;
const MAX_BARS = 80;
const MAX_HISTOGRAMS = 12;

export function warningsSection(warnings: readonly Warning[]): string {
  if (warnings.length === 0) return '';
  const items = warnings.map(
    (w) =>
      `<div class="warning">${escapeHtml(w.message)}${w.node ? ` <code>${escapeHtml(w.node)}</code>` : ''}${w.fix ? `<div class="fix">Fix: ${escapeHtml(w.fix)}</div>` : ''}</div>`,
  );
  return `<h2>Warnings</h2>${items.join('')}`;
}

/** `stats` are the largest constants; what is left of `total` bytes is drawn as one more. */
export function sizeSection(stats: readonly TensorStats[], total: number): string {
  if (stats.length === 0) return '';
  const slices = stats.map((t) => ({
    name: t.name,
    group: t.dtype,
    value: t.bytes,
    title: `${t.name}: ${t.dtype}[${t.dims.join(',')}], ${formatBytes(t.bytes)}`,
  }));
  const rest = total - stats.reduce((sum, t) => sum + t.bytes, 0);
  if (rest > 0)
    slices.push({ name: 'everything else', group: REST, value: rest, title: `smaller tensors, nodes and names: ${formatBytes(rest)}` });
  return `<h2>Where the bytes are</h2>${treemapSvg(slices)}`;
}

export function outputsSection(outputs: readonly OutputDifference[]): string {
  if (outputs.length === 0) return '';
  const rows = outputs.map(
    (o) =>
      `<tr><td>${escapeHtml(o.name)}</td><td class="n">${formatNumber(o.cosine, 6)}</td><td class="n">${formatNumber(o.sqnr, 4)}</td><td class="n">${formatNumber(o.maxAbs)}</td><td class="n">${formatNumber(o.meanAbs)}</td><td class="n">${formatNumber(o.kl)}</td><td class="n">${o.agreement === null ? '-' : formatPercent(o.agreement)}</td></tr>`,
  );
  return `<h2>Outputs against the original</h2><table><tr><th>output</th><th class="n">cosine</th><th class="n">SQNR (dB)</th><th class="n">max error</th><th class="n">mean error</th><th class="n">KL</th><th class="n">agreement</th></tr>${rows.join('')}</table>`;
}

export function layersSection(all: readonly LayerComparison[]): string {
  const layers = all.slice(0, MAX_BARS);
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
  const more = all.length > layers.length ? `<p class="soft">The first ${layers.length} of ${all.length} layers.</p>` : '';
  return `<h2>Error by layer</h2><p class="soft">Signal-to-quantization-noise ratio of each layer's output against the original's: longer is better, 20 dB is an error of a tenth.</p>${error}${more}${heavy.length > 0 ? `<h2>Size by layer</h2><p class="soft">Constants after (colour) and before (grey).</p>${size}` : ''}`;
}

export function histogramsSection(all: readonly TensorStats[], results: readonly TensorStats[]): string {
  const before = all.slice(0, MAX_HISTOGRAMS);
  if (before.length === 0) return '';
  const types = new Map(all.map((t) => [t.name, t.dtype]));
  const changed = results.filter((t) => types.get(t.name) !== t.dtype).slice(0, MAX_HISTOGRAMS);
  const draw = (stats: readonly TensorStats[]) => `<div class="histograms">${stats.map(histogram).join('')}</div>`;
  return `<h2>Weight distributions</h2>${draw(before)}${changed.length > 0 ? `<h2>Weight distributions after</h2>${draw(changed)}` : ''}`;
}

function histogram(t: TensorStats): string {
  const about = `${t.dtype}[${t.dims.join(',')}], std ${formatNumber(t.std)}, zeros ${formatPercent(t.sparsity, 1)}, beyond 6 σ ${formatPercent(t.outliers, 3)}`;
  return `<div><h3>${escapeHtml(t.name)}</h3>${histogramSvg(t.histogram, t.min, t.max, (v) => formatNumber(v, 3))}<small class="soft">${escapeHtml(about)}</small></div>`;
}
