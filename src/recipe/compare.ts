// Two models side by side: outputs, quality and latency, as `pare compare` shows them.
import type { OutputDifference } from '../analysis/difference.js';
import type { LayerComparison } from '../analysis/layers.js';
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import type { Model } from '../ir/model.js';
import type { Progress, Warning } from '../pass/define.js';
import type { LatencyPair } from '../pass/record.js';
import type { Engine, ModelSource, SessionOptions } from '../runtime/engine.js';
import { timePair } from './latency.js';
import { measureQuality } from './quality.js';

export interface ComparedModel {
  readonly path: string;
  readonly bytes: number;
  readonly source: ModelSource;
}

export interface CompareTwoOptions {
  readonly engine: Engine;
  /** The original. Its graph says what the inputs look like. */
  readonly a: ComparedModel & { readonly model: Model };
  readonly b: ComparedModel;
  readonly data: Dataset;
  readonly metric: Metric;
  readonly limit?: number | undefined;
  readonly batch?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly seed?: number;
  readonly session?: SessionOptions;
  /** Bytes that both loaded models may take together before they are run one at a time (and not timed). */
  readonly memoryBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

export interface ModelComparison {
  readonly a: { readonly path: string; readonly bytes: number };
  readonly b: { readonly path: string; readonly bytes: number };
  readonly quality: {
    readonly metric: string;
    readonly before: number;
    readonly after: number;
    /** Share of rows with the same decision as the original; null where the outputs have no classes. */
    readonly agreement: number | null;
    readonly samples: number;
    readonly higherIsBetter: boolean;
    readonly synthetic: boolean;
  };
  readonly outputs: readonly OutputDifference[];
  readonly latency: LatencyPair | null;
  /** True where the models were never in memory together. */
  readonly oneAtATime: boolean;
  readonly layers?: readonly LayerComparison[];
  readonly warnings: readonly Warning[];
}

/** Loaded sessions take about this many times a model's bytes (weights, prepacked copies, arena). */
const SESSION_FACTOR = 2.5;
/** Samples compared when the data has no labels and no limit is given. */
const UNLABELLED_SAMPLES = 64;

/** Runs both on the data. Throws E_DATA or E_SHAPE where the models do not have the same outputs. */
export async function compareTwo(options: CompareTwoOptions): Promise<ModelComparison> {
  const { engine, a, b, data } = options;
  const oneAtATime = options.memoryBytes !== undefined && (a.bytes + b.bytes) * SESSION_FACTOR > options.memoryBytes;
  const session: SessionOptions = { ...options.session, ...(oneAtATime ? { frugal: true } : {}) };
  const { comparison, quality } = await measureQuality(engine, a.source, b.source, {
    data,
    metric: options.metric,
    limit: options.limit ?? (data.hasLabels ? undefined : UNLABELLED_SAMPLES),
    batchSize: options.batch ?? (data.hasLabels ? 32 : 1),
    session,
    oneAtATime,
    signal: options.signal,
    onProgress: (fraction) => options.onProgress?.({ fraction, label: 'running both models' }),
  });
  const warnings: Warning[] = [];
  if (data.synthetic)
    warnings.push({ message: 'quality was measured on random data, where it means little', fix: 'give real samples with --data' });
  if (oneAtATime)
    warnings.push({
      message: 'the models were run one at a time and not timed: together they would pass the memory limit',
      fix: 'raise --memory',
    });
  options.onProgress?.({ fraction: undefined, label: 'timing' });
  const latency = oneAtATime
    ? null
    : await timePair(engine, a.source, b.source, {
        model: a.model,
        batch: options.batch ?? 1,
        shapes: options.shapes,
        seed: options.seed ?? 0,
        session,
      });
  const agreements = comparison.outputs.flatMap((o) => (o.agreement === null ? [] : [o.agreement]));
  return {
    a: { path: a.path, bytes: a.bytes },
    b: { path: b.path, bytes: b.bytes },
    quality: { ...quality, agreement: agreements.length > 0 ? Math.min(...agreements) : null },
    outputs: comparison.outputs,
    latency,
    oneAtATime,
    warnings,
  };
}
