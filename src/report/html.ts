// A run record as one self-contained HTML file: no script, no network. The page can be mailed, archived and diffed.
import type { ModelFacts, RunRecord } from '../pass/record.js';
import { formatBytes, formatCount, formatMs, formatNumber, formatQuality, formatSpeed } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { factorsSection } from './factors.js';
import { card, cardRow, page } from './page.js';
import { findingsSection, planSection, slowerSection } from './plan.js';
import { widthsSection } from './prune.js';
import { pruneStepsSection } from './prune-steps.js';
import { histogramsSection, layersSection, outputsSection, sizeSection, warningsSection } from './sections.js';
import { sparsitySection } from './sparsity.js';
import { trainingSection } from './training.js';

/** Renders the whole report. */
export function renderReport(record: RunRecord): string {
  const name = (record.output?.path ?? record.input.path ?? 'model').split(/[\\/]/).at(-1)!;
  const title = `${record.command} report: ${name}`;
  const about = `Pare ${escapeHtml(record.tool.version)} on ${escapeHtml(record.engine)}, seed ${record.seed}, ${formatMs(record.ms)}`;
  return page(title, record.verified ? about : `${about} · <b class="bad">not verified</b>`, [
    cards(record),
    trainingSection(record),
    pruneStepsSection(record),
    slowerSection(record),
    warningsSection(record.warnings),
    planSection(record.plan),
    findingsSection(record.explanation),
    widthsSection(record),
    factorsSection(record),
    sparsitySection(record),
    sizeSection(record.tensors.after.length > 0 ? record.tensors.after : record.tensors.before, (record.output ?? record.input).bytes),
    outputsSection(record.outputs),
    layersSection(record.layers),
    histogramsSection(record.tensors.before, record.tensors.after),
    passesSection(record),
    recipeSection(record),
  ]);
}

function cards(record: RunRecord): string {
  const { input, output, latency, quality } = record;
  const parts: string[] = [];
  if (output) {
    parts.push(
      card(
        'size',
        formatBytes(output.bytes),
        `was ${formatBytes(input.bytes)} (${((output.bytes / input.bytes) * 100).toFixed(1)} %)`,
        output.bytes <= input.bytes ? 'good' : 'bad',
      ),
    );
  }
  if (quality) {
    const better = quality.higherIsBetter ? quality.after >= quality.before : quality.after <= quality.before;
    const note = `was ${formatQuality(quality.metric, quality.before)}, ${quality.samples} samples${quality.synthetic ? ' of random data' : ''}`;
    parts.push(card(quality.metric, formatQuality(quality.metric, quality.after), note, better ? 'good' : ''));
  }
  if (latency) {
    parts.push(
      card(
        `latency, batch ${latency.batch}`,
        formatMs(latency.after_ms),
        `was ${formatMs(latency.before_ms)}, ${formatSpeed(latency.ratio)}`,
        latency.ratio <= 1 ? 'good' : 'bad',
      ),
    );
  }
  if (output) parts.push(card('nodes', String(output.nodes), `was ${input.nodes}`));
  parts.push(card('parameters', formatCount((output ?? input).params), `MACs ${formatCount((output ?? input).macs)}`));
  return cardRow(parts);
}

function passesSection(record: RunRecord): string {
  const rows = record.passes.map(
    (p) =>
      `<tr><td>${escapeHtml(p.name)}</td><td class="n">${formatMs(p.ms)}</td><td class="n">${p.before.nodes} → ${p.after.nodes}</td><td class="n">${formatBytes(p.before.bytes)} → ${formatBytes(p.after.bytes)}</td><td class="n">${p.skipped.length}</td></tr>`,
  );
  const details = record.passes.map((p) => {
    const skipped = p.skipped.map(
      (s) => `<tr><td>${escapeHtml(s.node)}</td><td>${escapeHtml(s.op)}</td><td>${escapeHtml(s.reason)}</td></tr>`,
    );
    const hits = p.rules
      .filter((r) => r.hits > 0 || r.misses.length > 0)
      .map((r) => {
        const miss = r.misses[0];
        return `<tr><td>${escapeHtml(r.rule)}</td><td class="n">${r.hits}</td><td>${miss ? `${escapeHtml(miss.node)}: ${escapeHtml(miss.reason)}${r.misses.length > 1 ? ` (and ${r.misses.length - 1} more)` : ''}` : ''}</td></tr>`;
      });
    const left =
      skipped.length > 0
        ? `<details><summary>${escapeHtml(p.name)}: ${skipped.length} nodes left as they are</summary><table><tr><th>node</th><th>operator</th><th>reason</th></tr>${skipped.join('')}</table></details>`
        : '';
    const rules =
      hits.length > 0
        ? `<details><summary>${escapeHtml(p.name)}: rules and nearest misses</summary><table><tr><th>rule</th><th class="n">hits</th><th>nearest miss</th></tr>${hits.join('')}</table></details>`
        : '';
    return left + rules;
  });
  return `<h2>Passes</h2><table><tr><th>pass</th><th class="n">time</th><th class="n">nodes</th><th class="n">constants</th><th class="n">left as is</th></tr>${rows.join('')}</table>${details.join('')}`;
}

function recipeSection(record: RunRecord): string {
  const recipe = JSON.stringify({ seed: record.seed, passes: record.recipe }, null, 2);
  const file = (label: string, f: ModelFacts | null) =>
    f
      ? `<tr><td>${label}</td><td>${escapeHtml(f.path ?? '')}</td><td class="n">${f.bytes}</td><td class="n">${f.opset}</td><td><code>${f.sha256 ?? ''}</code></td></tr>`
      : '';
  return `<h2>Recipe and files</h2><table><tr><th></th><th>file</th><th class="n">bytes</th><th class="n">opset</th><th>SHA-256</th></tr>${file('input', record.input)}${file('output', record.output)}</table><pre>${escapeHtml(recipe)}</pre>${record.latency ? `<p class="soft">Latency: median of ${record.latency.runs} runs timed in turn, 95th percentile ${formatNumber(record.latency.before_p95_ms)} and ${formatNumber(record.latency.after_p95_ms)} ms.</p>` : ''}`;
}
