// Two models side by side: outputs, quality and latency, as `pare compare` shows them.
import { type CompareOptions, type Comparison, compareInBlocks, compareSources } from '../analysis/compare.js';
import type { OutputDifference } from '../analysis/difference.js';
import type { LayerComparison } from '../analysis/layers.js';
import { inferShapes } from '../analysis/shapes.js';
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import type { Model } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import type { Progress, Warning } from '../pass/define.js';
import type { Explanation, Fusion, LatencyPair } from '../pass/record.js';
import type { Engine, ModelSource, SessionOptions } from '../runtime/engine.js';
import { timePair } from './latency.js';
import { qualityOf } from './quality.js';

export interface ComparedModel {
  readonly path: string;
  readonly bytes: number;
  readonly source: ModelSource;
  /** The model of that file, weights unread: needed where it must be run block by block. */
  open(): Promise<Model>;
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
  readonly mode: CompareMode;
  readonly layers?: readonly LayerComparison[];
  /** Layers in detail and named causes of error. */
  readonly explanation?: Explanation;
  readonly warnings: readonly Warning[];
  /** What the runtime made of the quantized nodes of the second model. */
  readonly fusion?: Fusion;
}

/** Loaded sessions take about this many times a model's bytes (weights, prepacked copies, arena). */
const SESSION_FACTOR = 2.5;
/** A session that maps its weights and skips prepacking takes about this many times a model's bytes. */
const FRUGAL_FACTOR = 1.3;
/** Share of the memory limit that one block's weights may take: the engine's own copies and the activations need the rest. */
const BLOCK_SHARE = 1 / 4;
/** Samples that are carried through all blocks at once. */
const BLOCK_SAMPLES = 8;
/** Samples compared when the data has no labels and no limit is given. */
const UNLABELLED_SAMPLES = 64;

/** How much of the models was in memory at a time. */
export type CompareMode = 'together' | 'one at a time' | 'in blocks';

/** Runs both on the data. Throws E_DATA or E_SHAPE where the models do not have the same outputs. */
export async function compareTwo(options: CompareTwoOptions): Promise<ModelComparison> {
  const { engine, a, b, data } = options;
  const memory = options.memoryBytes ?? Number.POSITIVE_INFINITY;
  const mode: CompareMode =
    (a.bytes + b.bytes) * SESSION_FACTOR <= memory
      ? 'together'
      : Math.max(a.bytes, b.bytes) * FRUGAL_FACTOR <= memory
        ? 'one at a time'
        : 'in blocks';
  const session: SessionOptions = { ...options.session, ...(mode === 'together' ? {} : { frugal: true }) };
  const settings: CompareOptions = {
    data,
    metric: options.metric,
    limit: options.limit ?? (data.hasLabels ? undefined : UNLABELLED_SAMPLES),
    batchSize: options.batch ?? (data.hasLabels ? 32 : 1),
    session,
    oneAtATime: mode !== 'together',
    signal: options.signal,
    onProgress: (fraction) => options.onProgress?.({ fraction, label: 'running both models' }),
  };
  const comparison =
    mode === 'in blocks' ? await inBlocks(options, settings, memory) : await compareSources(engine, a.source, b.source, settings);
  const quality = qualityOf(comparison, options.metric, data);
  const warnings: Warning[] = [];
  if (data.synthetic)
    warnings.push({ message: 'quality was measured on random data, where it means little', fix: 'give real samples with --data' });
  if (mode !== 'together')
    warnings.push({
      message: `the models were run ${mode} and not timed: together they would pass the memory limit`,
      fix: 'raise --memory',
    });
  options.onProgress?.({ fraction: undefined, label: 'timing' });
  const latency =
    mode === 'together'
      ? await timePair(engine, a.source, b.source, {
          model: a.model,
          batch: options.batch ?? 1,
          shapes: options.shapes,
          seed: options.seed ?? 0,
          session,
        })
      : null;
  const agreements = comparison.outputs.flatMap((o) => (o.agreement === null ? [] : [o.agreement]));
  return {
    a: { path: a.path, bytes: a.bytes },
    b: { path: b.path, bytes: b.bytes },
    quality: { ...quality, agreement: agreements.length > 0 ? Math.min(...agreements) : null },
    outputs: comparison.outputs,
    latency,
    mode,
    warnings,
  };
}

async function inBlocks(options: CompareTwoOptions, settings: CompareOptions, memory: number): Promise<Comparison> {
  const models = [await options.a.open(), await options.b.open()].map(cloneModel) as [Model, Model];
  for (const model of models) inferShapes(model, { inputShapes: options.shapes });
  const limit = Math.min(settings.limit ?? BLOCK_SAMPLES, BLOCK_SAMPLES);
  return compareInBlocks(options.engine, ...models, { ...settings, limit, batchSize: 1, maxBytes: memory * BLOCK_SHARE });
}
