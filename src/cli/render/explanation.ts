// Causes of error and the error of each layer: what arrives, what leaves, what the layer adds itself.
import type { Finding } from '../../analysis/causes/cause.js';
import type { Explanation } from '../../pass/record.js';
import { fixFlag } from '../../recipe/auto-options.js';
import { formatNumber } from '../../util/format.js';
import { renderTable } from './table.js';

/** Rows shown; all are in `--json`. */
const MAX_LAYERS = 25;
const MAX_FINDINGS = 12;

export function renderExplanation({ layers, findings }: Explanation): string[] {
  const right = (title: string) => ({ title, align: 'right' as const });
  const worst = [...layers].sort((x, y) => (x.own ?? 1000) - (y.own ?? 1000)).slice(0, MAX_LAYERS);
  const db = (x: number | null) => (x === null ? '-' : formatNumber(x));
  const table = renderTable(
    [
      { title: 'layer (most error of its own first)' },
      { title: 'computed in' },
      right('weight dB'),
      right('input dB'),
      right('error in dB'),
      right('own dB'),
      right('error out dB'),
    ],
    worst.map((l) => [l.node, l.kind, db(l.weight?.sqnr ?? null), db(l.input?.sqnr ?? null), db(l.errorIn), db(l.own), db(l.errorOut)]),
  );
  return findings.length > 0 ? [table, renderFindings(findings)] : [table];
}

export function renderFindings(findings: readonly Finding[]): string {
  const floats = findings.filter((f) => f.cause === 'unquantizable');
  const lost = findings.filter((f) => f.cause !== 'unquantizable');
  const lines = lost.slice(0, MAX_FINDINGS).map((f) => {
    const fix = f.fixes[0];
    const flags = fix ? `\n  fix: ${fixFlag(fix)}` : '';
    return `cause ${f.cause}: ${f.node}: ${f.evidence}${f.advice ? `\n  advice: ${f.advice}` : ''}${flags}`;
  });
  if (lost.length > MAX_FINDINGS) lines.push(`and ${lost.length - MAX_FINDINGS} more causes`);
  if (floats.length > 0) {
    const names = floats.slice(0, 4).map((f) => f.node);
    lines.push(
      `cause unquantizable: ${floats.length} layers compute in float on float weights: ${names.join(', ')}${floats.length > 4 ? ', …' : ''}\n  fix: ${fixFlag(floats[0]!.fixes[0]!)}`,
    );
  }
  return lines.join('\n');
}
