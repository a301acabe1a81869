// Choosing what quality means for a run and holding the result against what the user asked for.
import type { Comparison } from '../analysis/compare.js';
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { qualityError } from '../errors.js';
import type { Warning } from '../pass/define.js';
import type { Quality } from '../pass/record.js';

/** The quality that a comparison found, scored with `metric` on `data`. */
export function qualityOf(comparison: Comparison, metric: Metric, data: Dataset): Quality {
  const scores = comparison.scores ?? { before: Number.NaN, after: Number.NaN };
  const { name, higherIsBetter } = metric;
  return { metric: name, ...scores, higherIsBetter, samples: comparison.samples, synthetic: data.synthetic };
}

/**
 * Loss of quality: points for metrics where higher is better (0.804 to 0.799 is 0.005), the increase relative to the original where lower is
 * better and the original is not zero, and the plain increase otherwise (KL). Negative where the result is better.
 */
export function qualityDrop(q: Quality): number {
  if (q.higherIsBetter) return q.before - q.after;
  return q.before > 0 ? (q.after - q.before) / q.before : q.after - q.before;
}

export interface Budget {
  readonly maxDrop?: number | undefined;
  /** Bytes. */
  readonly maxSize?: number | undefined;
  /** Median milliseconds. */
  readonly maxLatency?: number | undefined;
}

/** Throws E_QUALITY naming every budget that the result breaks, with what was reached. */
export function checkBudget(budget: Budget, result: { quality: Quality | null; bytes: number; latencyMs: number | null }): void {
  const broken: string[] = [];
  const { quality, bytes, latencyMs } = result;
  if (budget.maxDrop !== undefined && quality && !(qualityDrop(quality) <= budget.maxDrop)) {
    broken.push(
      `${quality.metric} drop: expected at most ${budget.maxDrop}, got ${qualityDrop(quality).toPrecision(4)} (${quality.before} to ${quality.after})`,
    );
  }
  if (budget.maxSize !== undefined && bytes > budget.maxSize) broken.push(`size: expected at most ${budget.maxSize} bytes, got ${bytes}`);
  if (budget.maxLatency !== undefined && latencyMs !== null && latencyMs > budget.maxLatency) {
    broken.push(`latency: expected at most ${budget.maxLatency} ms, got ${latencyMs.toFixed(3)} ms`);
  }
  if (broken.length > 0) {
    throw qualityError(`the result is worse than asked for: ${broken.join('; ')}`, {
      hint: 'nothing was written; keep sensitive layers in float with --exclude (see `pare compare --per-layer`), or allow a larger budget',
    });
  }
}

/** Cosine below which, and drop or divergence above which, a result has not merely lost a little: something in it is broken. */
const COLLAPSED_COSINE = 0.9;
const COLLAPSED_DROP = 0.05;
const COLLAPSED_KL = 0.5;

/** A warning where the quality is so much lower that users will want the cause rather than the file. */
export function collapseWarning(quality: Quality): Warning[] {
  const { metric, before, after } = quality;
  const collapsed =
    metric === 'cosine'
      ? after < COLLAPSED_COSINE
      : metric === 'kl'
        ? after > COLLAPSED_KL
        : quality.higherIsBetter && before - after > COLLAPSED_DROP;
  if (!collapsed) return [];
  return [
    {
      message: `quality fell far: ${metric} ${before.toPrecision(4)} to ${after.toPrecision(4)}`,
      fix: 'see which layers lose it with `pare compare --per-layer`, and leave those in float with --exclude',
    },
  ];
}
