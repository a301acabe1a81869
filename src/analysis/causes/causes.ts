// All causes, in the order in which they are looked for, and the findings they make of a model's layers.
import type { CauseRule, Finding, LayerEvidence } from './cause.js';
import { clippedRange } from './clipped-range.js';
import { coarseWeight } from './coarse-weight.js';
import { fp16Overflow } from './fp16-overflow.js';
import { outlierChannel } from './outlier-channel.js';
import { perTensorWeight } from './per-tensor-weight.js';
import { rangeCollapse } from './range-collapse.js';
import { saturation } from './saturation.js';
import { tiedWeightsSplit } from './tied-weights-split.js';
import { unquantizable } from './unquantizable.js';

export const CAUSES: readonly CauseRule[] = [
  fp16Overflow,
  perTensorWeight,
  rangeCollapse,
  clippedRange,
  outlierChannel,
  saturation,
  coarseWeight,
  tiedWeightsSplit,
  unquantizable,
];

/** SQNR of a layer that adds no error worth naming. */
const GOOD_DB = 40;

/** Findings, the layers with most error of their own first. */
export function findCauses(layers: readonly LayerEvidence[]): Finding[] {
  const found = layers.flatMap((layer) =>
    CAUSES.flatMap((rule) => {
      const finding = rule.find(layer);
      if (!finding) return [];
      const own = layer.nonFinite > 0 ? Number.NEGATIVE_INFINITY : (layer.own ?? layer.errorOut ?? GOOD_DB);
      const severity = rule.name === 'unquantizable' ? 0 : Math.max(0, Math.min(2 * GOOD_DB, GOOD_DB - own));
      return [{ ...finding, cause: rule.name, node: layer.node, severity }];
    }),
  );
  found.sort((a, b) => b.severity - a.severity);
  // One value that several nodes read is one finding.
  const words = new Set<string>();
  return found.filter(({ cause, evidence }) => {
    const known = words.has(`${cause} ${evidence}`);
    words.add(`${cause} ${evidence}`);
    return !known;
  });
}
