// Sections of the report on how the passes were chosen, what made the result slower, and causes of error.
import type { Explanation, PlanRecord, RunRecord } from '../pass/record.js';
import { fixFlag } from '../recipe/auto-options.js';
import { formatBytes, formatMs, formatNumber, formatQuality } from '../util/format.js';
import { escapeHtml } from './escape.js';
import { barsSvg } from './svg.js';

const MAX_FINDINGS = 40;

export function slowerSection({ slower, latency }: RunRecord): string {
  if (!slower || !latency) return '';
  const rows = slower.map(
    (n) =>
      `<tr><td>${escapeHtml(n.node)}</td><td>${escapeHtml(n.op)}</td><td class="n">${formatMs(n.before_ms)}</td><td class="n">${formatMs(n.after_ms)}</td><td>${escapeHtml(n.reason)}</td></tr>`,
  );
  return `<div class="warning">Slower than the original: ${latency.ratio.toFixed(2)} times the time on ${escapeHtml(latency.engine)}</div><table><tr><th>node</th><th>operator</th><th class="n">before</th><th class="n">after</th><th>why</th></tr>${rows.join('')}</table>`;
}

export function planSection(plan: PlanRecord | undefined): string {
  if (!plan) return '';
  return [autoPart(plan), latencyPart(plan), searchPart(plan)].join('');
}

function autoPart({ auto }: PlanRecord): string {
  if (!auto) return '';
  const rows = auto.tried.map(
    (t) =>
      `<tr><td>${escapeHtml(t.cause)}</td><td><code>${escapeHtml(t.flags)}</code></td><td class="n">${formatNumber(t.drop)}</td><td>${t.kept ? 'kept' : 'left out'}</td></tr>`,
  );
  return `<h2>Fixes tried</h2><p class="soft">${escapeHtml(auto.metric)} drop ${formatNumber(auto.before)} without, ${formatNumber(auto.after)} with them.</p><table><tr><th>cause</th><th>option</th><th class="n">drop</th><th></th></tr>${rows.join('')}</table>`;
}

function latencyPart({ latency }: PlanRecord): string {
  if (!latency) return '';
  const bars = barsSvg(
    latency.candidates.map((c) => ({
      name: `${c.name}${c.name === latency.chosen ? ' (chosen)' : ''}`,
      value: c.ratio,
      title: `${c.name}: ${formatMs(c.ms)}, ${c.kept} layers left float`,
    })),
    { format: (v) => `${v.toFixed(2)}x` },
  );
  return `<h2>Ways to quantize by the clock</h2><p class="soft">Time of each by the float model's, timed in turn: shorter is faster, 1 is the float model.</p>${bars}`;
}

function searchPart({ search }: PlanRecord): string {
  if (!search) return '';
  const rows = search.curve.map(
    (p) =>
      `<tr><td class="n">${p.kept}</td><td class="n">${formatBytes(p.keptBytes)}</td><td class="n">${formatQuality(search.metric, p.quality)}</td><td class="n">${formatNumber(p.drop)}</td><td class="n">${formatBytes(p.bytes)}</td></tr>`,
  );
  const kept = search.kept.map(
    (l) => `<tr><td>${escapeHtml(l.name)}</td><td>${escapeHtml(l.op)}</td><td class="n">${formatBytes(l.bytes)}</td></tr>`,
  );
  const what = search.keptAs === 'float' ? 'float' : '8 bits';
  const curve = barsSvg(
    search.curve.map((p) => ({
      name: `${p.kept} layers, ${formatBytes(p.keptBytes)}`,
      value: Math.max(0, p.drop),
      title: `drop ${formatNumber(p.drop)}`,
    })),
    { format: (v) => formatNumber(v), heat: [2 * search.target, 0] },
  );
  return `<h2>Layers kept at higher precision</h2><p class="soft">${search.kept.length} of ${search.layers} layers kept (${what}) for a ${escapeHtml(search.metric)} drop of at most ${formatNumber(search.target)}; ${search.evaluations} trials on ${search.samples} samples.</p>${curve}<details><summary>Trials</summary><table><tr><th class="n">layers kept</th><th class="n">their weights</th><th class="n">${escapeHtml(search.metric)}</th><th class="n">drop</th><th class="n">constants</th></tr>${rows.join('')}</table></details>${kept.length > 0 ? `<details><summary>Kept layers</summary><table><tr><th>layer</th><th>operator</th><th class="n">weight in float</th></tr>${kept.join('')}</table></details>` : ''}`;
}

export function findingsSection(explanation: Explanation | undefined): string {
  if (!explanation || explanation.layers.length === 0) return '';
  const db = (x: number | null | undefined) => (x === null || x === undefined ? '-' : formatNumber(x));
  const findings = explanation.findings.slice(0, MAX_FINDINGS).map((f) => {
    const fix = f.fixes[0] ? `<code>${escapeHtml(fixFlag(f.fixes[0]))}</code>` : escapeHtml(f.advice ?? '');
    return `<tr><td>${escapeHtml(f.cause)}</td><td>${escapeHtml(f.node)}</td><td>${escapeHtml(f.evidence)}</td><td>${fix}</td></tr>`;
  });
  const layers = explanation.layers.map(
    (l) =>
      `<tr><td>${escapeHtml(l.node)}</td><td>${l.kind}</td><td class="n">${db(l.weight?.sqnr)}</td><td class="n">${db(l.input?.sqnr)}</td><td class="n">${db(l.errorIn)}</td><td class="n">${db(l.own)}</td><td class="n">${db(l.errorOut)}</td></tr>`,
  );
  const causes =
    findings.length > 0
      ? `<table><tr><th>cause</th><th>layer</th><th>evidence</th><th>fix</th></tr>${findings.join('')}</table>`
      : '<p class="soft">No known cause stands out.</p>';
  return `<h2>Causes of error</h2>${causes}<details><summary>Error in, added and out of each layer (SQNR in dB)</summary><table><tr><th>layer</th><th>computed in</th><th class="n">weight</th><th class="n">input</th><th class="n">in</th><th class="n">own</th><th class="n">out</th></tr>${layers.join('')}</table></details>`;
}
