// The table of metrics by name, and running models over data to get them.
import { dataError, usageError } from '../errors.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import type { Session } from '../runtime/engine.js';
import type { Dataset } from './dataset.js';
import type { Metric, MetricBatch, MetricOptions } from './metric.js';
import { F1, LOSS, MCC, MSE, PEARSON, PERPLEXITY, SPEARMAN, TOP1, TOP5 } from './metrics-labels.js';
import { AGREEMENT, COSINE, KL } from './metrics-reference.js';

export const METRICS = {
  top1: TOP1,
  top5: TOP5,
  f1: F1,
  mcc: MCC,
  pearson: PEARSON,
  spearman: SPEARMAN,
  mse: MSE,
  loss: LOSS,
  perplexity: PERPLEXITY,
  agreement: AGREEMENT,
  cosine: COSINE,
  kl: KL,
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof METRICS;

/** Throws E_USAGE with the list of names. */
export function metricNamed(name: string): Metric {
  const metric = Object.entries(METRICS).find(([key]) => key === name)?.[1];
  if (metric === undefined) throw usageError(`--metric: expected ${Object.keys(METRICS).join(', ')} or a .js or .ts file, got "${name}"`);
  return metric;
}

/** The metric that suits data and model where none was asked for: by labels top1, loss (every token labelled) or pearson; else kl for one row of classes, cosine for the rest. */
export function defaultMetric(model: Model, dataset: Dataset): Metric {
  const output = model.graph.outputs.find((o) => o.name === 'logits') ?? model.graph.outputs[0];
  const shape = tensorTypeOf(output)?.shape;
  if (dataset.hasLabels && !dataset.synthetic) {
    if (shape?.length === 3) return LOSS;
    return dataset.classes === undefined && shape?.at(-1) === 1 ? PEARSON : TOP1;
  }
  return model.graph.outputs.length === 1 && shape?.length === 2 && shape[1] !== 1 ? KL : COSINE;
}

export interface EvaluateOptions extends MetricOptions {
  /** The model to compare with, for metrics that need one. */
  readonly reference?: Session | undefined;
  /** Samples at most; default all. */
  readonly limit?: number | undefined;
  /** Default 32, or the model's own fixed batch. */
  readonly batchSize?: number | undefined;
  /** Called after each batch with the number of samples done. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Evaluation {
  /** Figure by metric name. */
  readonly values: Readonly<Record<string, number>>;
  readonly samples: number;
}

/** Runs the session (and the reference) over the data once for all metrics. Throws E_DATA and E_USAGE where a metric misses labels or its reference. */
export async function evaluateMetrics(
  session: Session,
  dataset: Dataset,
  metrics: readonly Metric[],
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { after, samples } = await evaluate(session, dataset, metrics, options, false);
  return { values: after, samples };
}

/** One metric over the data. */
export async function evaluateMetric(session: Session, dataset: Dataset, metric: Metric, options: EvaluateOptions = {}): Promise<number> {
  return (await evaluateMetrics(session, dataset, [metric], options)).values[metric.name]!;
}

export interface Comparison {
  /** Figures of the original model; for metrics against a reference what it scores against itself. */
  readonly before: Readonly<Record<string, number>>;
  readonly after: Readonly<Record<string, number>>;
  readonly samples: number;
}

/** Both models over the same batches, the first being the reference of the second. */
export function compareMetrics(
  before: Session,
  after: Session,
  dataset: Dataset,
  metrics: readonly Metric[],
  options: Omit<EvaluateOptions, 'reference'> = {},
): Promise<Comparison> {
  return evaluate(after, dataset, metrics, { ...options, reference: before }, true);
}

async function evaluate(
  session: Session,
  dataset: Dataset,
  metrics: readonly Metric[],
  options: EvaluateOptions,
  both: boolean,
): Promise<Comparison> {
  const { reference, limit, batchSize = 32 } = options;
  checkNeeds(metrics, dataset, reference);
  const make = () => metrics.map((metric) => [metric.name, metric.create(options)] as const);
  const [own, other] = [make(), both ? make() : []];
  const total = Math.min(dataset.size, limit ?? dataset.size);
  const needed = both || metrics.some((m) => m.needs === 'reference') ? reference : undefined;
  let samples = 0;
  for await (const batch of dataset.batches({ batchSize, limit })) {
    const outputs = await session.run(batch.inputs);
    const referenceOutputs = needed && (await needed.run(batch.inputs));
    const shared: MetricBatch = {
      outputs,
      inputs: batch.inputs,
      labels: batch.labels,
      reference: referenceOutputs,
      size: batch.size,
      rows: dataset.fixedBatch ?? batch.size,
    };
    for (const [, accumulator] of own) await accumulator.update(shared);
    if (referenceOutputs) for (const [, accumulator] of other) await accumulator.update({ ...shared, outputs: referenceOutputs });
    samples += batch.size;
    options.onProgress?.(samples, total);
  }
  if (samples === 0) throw dataError(`data "${dataset.name}": expected at least one sample, got none`);
  const results = (all: typeof own) => Object.fromEntries(all.map(([name, accumulator]) => [name, accumulator.result()]));
  return { before: results(other), after: results(own), samples };
}

function checkNeeds(metrics: readonly Metric[], dataset: Dataset, reference: Session | undefined): void {
  if (metrics.length === 0) throw usageError('expected at least one metric, got none');
  for (const metric of metrics) {
    if (metric.needs === 'labels' && !dataset.hasLabels)
      throw dataError(`metric ${metric.name}: expected labelled data, got "${dataset.name}" without labels`, {
        hint: 'label the data (labels array, class folders, --label COLUMN), or use kl, cosine or agreement, which compare with the original model',
      });
    if (metric.needs === 'reference' && reference === undefined)
      throw usageError(`metric ${metric.name}: expected a reference model to compare with, got none`);
  }
}
