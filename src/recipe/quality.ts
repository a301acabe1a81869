// Choosing what quality means for a run and holding the result against what the user asked for.
import { type CompareOptions, type Comparison, compareSources } from '../analysis/compare.js';
import type { Dataset } from '../data/dataset.js';
import { METRICS, type Metric } from '../data/metrics.js';
import { qualityError } from '../errors.js';
import type { Quality } from '../pass/record.js';
import type { Engine, ModelSource } from '../runtime/engine.js';

/** The metric that fits the labels where the user named none; undefined without labels (agreement with the original is used then). */
export async function defaultMetric(data: Dataset): Promise<Metric | undefined> {
  if (!data.hasLabels) return undefined;
  for await (const { labels } of data.batches({ batchSize: 1, limit: 1 })) {
    if (!labels) return undefined;
    const wholeNumbers = labels.dtype === 'int64' || labels.dtype === 'int32';
    return wholeNumbers ? (labels.rank > 1 ? METRICS.loss : METRICS.top1) : METRICS.mse;
  }
  return undefined;
}

/** Runs both models on the data and scores them: with the metric, or without labels by KL divergence or cosine to the original. */
export async function measureQuality(
  engine: Engine,
  a: ModelSource,
  b: ModelSource,
  options: CompareOptions,
): Promise<{ comparison: Comparison; quality: Quality }> {
  const metric = options.metric ?? (await defaultMetric(options.data));
  const comparison = await compareSources(engine, a, b, { ...options, metric });
  return { comparison, quality: qualityOf(comparison, metric, options.data) };
}

export function qualityOf(comparison: Comparison, metric: Metric | undefined, data: Dataset): Quality {
  const common = { samples: comparison.samples, synthetic: data.synthetic };
  if (metric && comparison.scores) {
    return { metric: metric.name, ...comparison.scores, higherIsBetter: metric.higherIsBetter, ...common };
  }
  const divergences = comparison.outputs.flatMap((o) => (o.kl === null ? [] : [o.kl]));
  if (divergences.length > 0) return { metric: 'kl', before: 0, after: Math.max(...divergences), higherIsBetter: false, ...common };
  return { metric: 'cosine', before: 1, after: Math.min(...comparison.outputs.map((o) => o.cosine)), higherIsBetter: true, ...common };
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
