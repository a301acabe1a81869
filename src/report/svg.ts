// Charts as SVG text: treemap, horizontal bars, histogram. Layout and scales come from d3; no script runs in the report.
import { hierarchy, treemap, treemapSquarify } from 'd3-hierarchy';
import { scaleLinear, scaleSequential } from 'd3-scale';
import { escapeHtml } from './escape.js';

export interface Slice {
  readonly name: string;
  readonly group: string;
  readonly value: number;
  /** Shown when pointed at. */
  readonly title: string;
}

const TREEMAP = { width: 960, height: 360 };
const LABEL_WIDTH_PER_CHARACTER = 6.2;
const PALETTE = ['#4e79a7', '#f28e2b', '#59a14f', '#e15759', '#76b7b2', '#edc948', '#b07aa1', '#9c755f', '#ff9da7', '#bab0ac'];

/** Area by value, colour by group. */
export function treemapSvg(slices: readonly Slice[]): string {
  const groups = [...new Set(slices.map((s) => s.group))];
  const root = hierarchy<{ children?: readonly Slice[] } | Slice>({ children: slices }, (d) =>
    'children' in d ? (d.children as Slice[]) : undefined,
  )
    .sum((d) => ('value' in d ? d.value : 0))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  const laid = treemap<{ children?: readonly Slice[] } | Slice>()
    .size([TREEMAP.width, TREEMAP.height])
    .padding(1)
    .round(true)
    .tile(treemapSquarify)(root);
  const cells = laid.leaves().map((leaf) => {
    const slice = leaf.data as Slice;
    const w = leaf.x1 - leaf.x0;
    const h = leaf.y1 - leaf.y0;
    const fits = w > 30 && h > 14;
    const text = fits ? cut(slice.name, Math.floor((w - 6) / LABEL_WIDTH_PER_CHARACTER)) : '';
    const label = text ? `<text x="${leaf.x0 + 4}" y="${leaf.y0 + 13}">${escapeHtml(text)}</text>` : '';
    return `<g><title>${escapeHtml(slice.title)}</title><rect x="${leaf.x0}" y="${leaf.y0}" width="${w}" height="${h}" fill="${groupColour(slice.group, groups)}"/>${label}</g>`;
  });
  const legend = groups
    .map((g) => `<span class="key"><i style="background:${groupColour(g, groups)}"></i>${escapeHtml(g)}</span>`)
    .join('');
  return `<svg class="treemap" viewBox="0 0 ${TREEMAP.width} ${TREEMAP.height}" role="img" aria-label="size by tensor">${cells.join('')}</svg><p class="legend">${legend}</p>`;
}

/** Group of what is too small to be drawn by itself. */
export const REST = 'other';

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** Second, paler value drawn behind (before against after). */
  readonly behind?: number;
  readonly title: string;
}

export interface BarOptions {
  readonly format: (value: number) => string;
  /** Colours bars from red (first) to green (second): values at these ends. */
  readonly heat?: readonly [number, number];
}

const BAR = { width: 960, row: 17, label: 300, right: 90 };

/** One horizontal bar a row. */
export function barsSvg(bars: readonly Bar[], options: BarOptions): string {
  const max = Math.max(...bars.map((b) => Math.max(b.value, b.behind ?? 0)), 0) || 1;
  const x = scaleLinear([0, max], [0, BAR.width - BAR.label - BAR.right]).clamp(true);
  const heat =
    options.heat && scaleSequential([options.heat[0], options.heat[1]], (t: number) => `hsl(${Math.round(120 * t)} 55% 48%)`).clamp(true);
  const rows = bars.map((bar, i) => {
    const y = i * BAR.row;
    const behind =
      bar.behind === undefined
        ? ''
        : `<rect class="behind" x="${BAR.label}" y="${y + 2}" width="${x(bar.behind).toFixed(1)}" height="${BAR.row - 4}"/>`;
    const front = `<rect x="${BAR.label}" y="${y + 4}" width="${x(Math.max(0, bar.value)).toFixed(1)}" height="${BAR.row - 8}" fill="${heat ? heat(bar.value) : PALETTE[0]}"/>`;
    const end = BAR.label + x(Math.max(bar.value, bar.behind ?? 0, 0)) + 5;
    return `<g><title>${escapeHtml(bar.title)}</title><text class="name" x="${BAR.label - 6}" y="${y + 12}">${escapeHtml(cut(bar.name, 46))}</text>${behind}${front}<text x="${end.toFixed(1)}" y="${y + 12}">${escapeHtml(options.format(bar.value))}</text></g>`;
  });
  return `<svg class="bars" viewBox="0 0 ${BAR.width} ${bars.length * BAR.row + 2}" role="img">${rows.join('')}</svg>`;
}

const HISTOGRAM = { width: 300, height: 80 };

/** Counts of equal-width bins, on a square-root scale so that thin tails stay visible. */
export function histogramSvg(counts: readonly number[], min: number, max: number, format: (v: number) => string): string {
  const top = Math.sqrt(Math.max(...counts, 1));
  const y = scaleLinear([0, top], [0, HISTOGRAM.height]);
  const w = HISTOGRAM.width / counts.length;
  const bars = counts.map((count, i) => {
    const h = y(Math.sqrt(count));
    return h === 0
      ? ''
      : `<rect x="${(i * w).toFixed(2)}" y="${(HISTOGRAM.height - h).toFixed(2)}" width="${Math.max(0.8, w - 0.4).toFixed(2)}" height="${h.toFixed(2)}" fill="${PALETTE[0]}"/>`;
  });
  const axis = `<text x="0" y="${HISTOGRAM.height + 13}">${escapeHtml(format(min))}</text><text class="end" x="${HISTOGRAM.width}" y="${HISTOGRAM.height + 13}">${escapeHtml(format(max))}</text>`;
  return `<svg class="histogram" viewBox="0 0 ${HISTOGRAM.width} ${HISTOGRAM.height + 16}" role="img">${bars.join('')}${axis}</svg>`;
}

/** The rest is grey: it is nothing to look at. */
function groupColour(group: string, groups: readonly string[]): string {
  return group === REST ? '#8a8f98' : PALETTE[groups.indexOf(group) % PALETTE.length]!;
}

function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  return length < 4 ? '' : `…${text.slice(text.length - length + 1)}`;
}
