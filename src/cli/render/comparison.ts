// What `pare compare` prints: quality, speed and size, then outputs, then layers worst first.
import type { ModelComparison } from '../../recipe/compare.js';
import { formatBytes, formatMs, formatNumber, formatPercent, formatQuality, formatRatio, formatSpeed } from '../../util/format.js';
import { renderExplanation } from './explanation.js';
import { renderFusion } from './fusion.js';
import { renderTable } from './table.js';

/** Layers shown; all of them are in `--json` and the report. */
const MAX_LAYERS = 25;

export function renderComparison(c: ModelComparison): string {
  const { quality, latency } = c;
  const rows = [
    ['size', formatBytes(c.a.bytes), formatBytes(c.b.bytes), formatRatio(c.b.bytes, c.a.bytes)],
    [
      `${quality.metric} (${quality.samples} samples)`,
      formatQuality(quality.metric, quality.before),
      formatQuality(quality.metric, quality.after),
      signed(quality.metric, quality.after - quality.before),
    ],
  ];
  if (quality.agreement !== null) rows.push(['agreement', '', formatPercent(quality.agreement), '']);
  if (latency)
    rows.push([
      `latency (p50, batch ${latency.batch})`,
      formatMs(latency.before_ms),
      formatMs(latency.after_ms),
      formatSpeed(latency.ratio),
    ]);
  const right = (title: string) => ({ title, align: 'right' as const });
  const parts = [
    renderTable([{ title: '' }, right('a'), right('b'), right('change')], rows),
    renderTable(
      [{ title: 'output' }, right('cosine'), right('SQNR dB'), right('max error'), right('mean error'), right('KL'), right('agreement')],
      c.outputs.map((o) => [
        o.name,
        formatNumber(o.cosine, 6),
        formatNumber(o.sqnr),
        formatNumber(o.maxAbs),
        formatNumber(o.meanAbs),
        formatNumber(o.kl),
        o.agreement === null ? '-' : formatPercent(o.agreement),
      ]),
    ),
  ];
  parts.push(...renderFusion(c.fusion));
  if (c.layers) {
    const worst = [...c.layers].sort((x, y) => x.difference.sqnr - y.difference.sqnr).slice(0, MAX_LAYERS);
    parts.push(
      renderTable(
        [
          { title: 'layer (worst first)' },
          { title: 'operator' },
          right('SQNR dB'),
          right('cosine'),
          right('max error'),
          right('bytes a'),
          right('bytes b'),
        ],
        worst.map((l) => [
          l.node,
          l.op,
          formatNumber(l.difference.sqnr),
          formatNumber(l.difference.cosine, 6),
          formatNumber(l.difference.maxAbs),
          formatBytes(l.bytesBefore),
          formatBytes(l.bytesAfter),
        ]),
      ),
    );
  }
  if (c.explanation) parts.push(...renderExplanation(c.explanation));
  for (const w of c.warnings) parts.push(`warning: ${w.message}${w.fix ? `\n  fix: ${w.fix}` : ''}`);
  return parts.join('\n\n');
}

function signed(metric: string, change: number): string {
  return `${change >= 0 ? '+' : ''}${formatQuality(metric, change)}`;
}
