// Line charts as SVG text: one or more courses over a common axis. Values that are no numbers leave a gap.
import { scaleLinear } from 'd3-scale';
import { escapeHtml } from './escape.js';

export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LineOptions {
  /** What the horizontal axis counts. */
  readonly x: string;
  readonly format: (value: number) => string;
  /** Marks the points: for few of them. */
  readonly dots?: boolean;
  readonly height?: number;
}

const CHART = { width: 960, height: 220, left: 80, right: 12, top: 16, bottom: 22 };
const COLOURS = ['#4e79a7', '#f28e2b', '#59a14f', '#e15759'];
const TICKS = 4;

export function linesSvg(lines: readonly Line[], options: LineOptions): string {
  const { width, left, right, top, bottom } = CHART;
  const height = options.height ?? CHART.height;
  const all = lines.flatMap((l) => l.points).filter(([, y]) => Number.isFinite(y));
  if (all.length === 0) return '';
  const range = (values: readonly number[]): [number, number] => {
    const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    return low === high ? [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2] : [low, high];
  };
  const x = scaleLinear(range(all.map(([v]) => v)), [left, width - right]);
  const y = scaleLinear(range(all.map(([, v]) => v)), [height - bottom, top]).nice(TICKS);
  const grid = y
    .ticks(TICKS)
    .map(
      (v) =>
        `<line class="grid" x1="${left}" x2="${width - right}" y1="${y(v).toFixed(1)}" y2="${y(v).toFixed(1)}"/><text class="end" x="${left - 6}" y="${(y(v) + 4).toFixed(1)}">${escapeHtml(options.format(v))}</text>`,
    );
  const ticks = [...new Set(x.ticks(8).filter(Number.isInteger))].map(
    (v) => `<text class="middle" x="${x(v).toFixed(1)}" y="${height - 6}">${v}</text>`,
  );
  const courses = lines.map((line, i) => {
    const colour = COLOURS[i % COLOURS.length]!;
    const dots = options.dots
      ? line.points
          .filter(([, v]) => Number.isFinite(v))
          .map(
            ([a, b]) =>
              `<circle cx="${x(a).toFixed(1)}" cy="${y(b).toFixed(1)}" r="3" fill="${colour}"><title>${escapeHtml(`${options.x} ${a}: ${options.format(b)}`)}</title></circle>`,
          )
      : [];
    return `<path d="${path(line.points, x, y)}" fill="none" stroke="${colour}" stroke-width="1.5"/>${dots.join('')}<text x="${left + 6 + i * 160}" y="12" fill="${colour}">${escapeHtml(line.name)}</text>`;
  });
  const axis = `<text class="end" x="${width - right}" y="12">${escapeHtml(options.x)}</text>`;
  return `<svg class="lines" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(lines.map((l) => l.name).join(', '))}">${grid.join('')}${ticks.join('')}${courses.join('')}${axis}</svg>`;
}

function path(points: Line['points'], x: (v: number) => number, y: (v: number) => number): string {
  let pen = 'M';
  const parts: string[] = [];
  for (const [a, b] of points) {
    if (!Number.isFinite(b)) {
      pen = 'M';
      continue;
    }
    parts.push(`${pen}${x(a).toFixed(1)} ${y(b).toFixed(1)}`);
    pen = 'L';
  }
  return parts.join('');
}
