// The page of `pare profile --report`: where the work, the bytes and the time of a model are.
import type { ModelProfile } from '../recipe/profile.js';
import { formatBytes, formatCount, formatMs, formatNumber, formatPercent } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { card, cardRow, page } from './page.js';
import { histogramsSection, sizeSection, warningsSection } from './sections.js';
import { barsSvg } from './svg.js';

const MAX_LAYERS = 80;

export function renderProfileReport(p: ModelProfile): string {
  const cards = [
    card('size', formatBytes(p.bytes), Object.keys(p.bytesByDtype).join(', ')),
    card('parameters', formatCount(p.params), `${p.nodes} nodes`),
    card('work', `${formatCount(p.macs)} MACs`, `${formatCount(p.flops)} FLOPs`),
    card('activations', formatBytes(p.peakActivationBytes), 'at the peak'),
  ];
  const first = p.latency?.[0];
  if (first)
    cards.push(
      card(
        `latency, batch ${first.batch}`,
        formatMs(first.p50),
        `p95 ${formatMs(first.p95)}, ${formatNumber(first.samplesPerSecond)} samples/s`,
      ),
    );
  if (p.memory) cards.push(card('memory', formatBytes(p.memory.peakBytes), `${formatBytes(p.memory.modelBytes)} for the model`));
  const shapes = Object.entries(p.shapes)
    .map(([name, dims]) => `${name} ${dims.join('×')}`)
    .join(', ');
  return page(`Profile of ${p.path.split(/[\\/]/).at(-1)}`, escapeHtml(`${p.engine ?? 'not run'} · figures for ${shapes}`), [
    cardRow(cards),
    warningsSection(p.warnings),
    potentialSection(p),
    sizeSection(p.constants.slice(0, MAX_LAYERS), p.bytes),
    layerBars(p, 'Work by layer', (l) => l.macs, formatCount),
    layerBars(p, 'Time by layer', (l) => l.ms ?? 0, formatMs),
    histogramsSection(p.constants, []),
  ]);
}

function layerBars(
  p: ModelProfile,
  title: string,
  value: (l: ModelProfile['layers'][number]) => number,
  format: (v: number) => string,
): string {
  const shown = p.layers.filter((l) => value(l) > 0).slice(0, MAX_LAYERS);
  if (shown.length === 0) return '';
  const bars = shown.map((l) => ({
    name: l.name,
    value: value(l),
    title: `${l.name} (${l.op})${l.outputShape ? `, output ${l.outputShape.join('×')}` : ''}: ${format(value(l))}`,
  }));
  return `<h2>${title}</h2>${barsSvg(bars, { format })}`;
}

function potentialSection(p: ModelProfile): string {
  if (p.potential.length === 0) return '';
  const rows = p.potential.map(
    (t) =>
      `<tr><td>${escapeHtml(t.technique)}</td><td>${t.command === null ? '' : `<code>pare ${escapeHtml(t.command)}</code>`}</td><td class="n">${t.nodes}</td><td class="n">${formatBytes(t.bytes)}</td><td class="n">${formatBytes(t.saves)} (${formatPercent(t.saves / p.bytes, 0)})</td></tr>`,
  );
  return `<h2>What could be saved at best</h2><table><tr><th>technique</th><th>command</th><th class="n">nodes</th><th class="n">could touch</th><th class="n">saves</th></tr>${rows.join('')}</table>`;
}
