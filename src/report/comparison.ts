// The page of `pare compare --report`: two models, their outputs and layers.
import type { ModelComparison } from '../recipe/compare.js';
import { formatBytes, formatMs, formatPercent, formatQuality } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { card, cardRow, page } from './page.js';
import { findingsSection } from './plan.js';
import { layersSection, outputsSection, warningsSection } from './sections.js';

export function renderComparisonReport(c: ModelComparison): string {
  const { quality, latency } = c;
  const cards = [
    card('size', formatBytes(c.b.bytes), `against ${formatBytes(c.a.bytes)}`, c.b.bytes <= c.a.bytes ? 'good' : ''),
    card(
      quality.metric,
      formatQuality(quality.metric, quality.after),
      `against ${formatQuality(quality.metric, quality.before)}, ${quality.samples} samples`,
    ),
  ];
  if (quality.agreement !== null) cards.push(card('agreement', formatPercent(quality.agreement), 'same decision in both'));
  if (latency)
    cards.push(
      card(
        `latency, batch ${latency.batch}`,
        formatMs(latency.after_ms),
        `against ${formatMs(latency.before_ms)} on ${latency.engine}`,
        latency.ratio <= 1 ? 'good' : 'bad',
      ),
    );
  return page('Comparison of two models', `${escapeHtml(c.a.path)} and ${escapeHtml(c.b.path)}`, [
    cardRow(cards),
    warningsSection(c.warnings),
    outputsSection(c.outputs),
    findingsSection(c.explanation),
    layersSection(c.layers ?? []),
  ]);
}
