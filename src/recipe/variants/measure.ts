// One file in one runtime: how long it takes to load and to run, and how far its outputs are from the float model's.
import { compareSessions } from '../../analysis/compare.js';
import type { Batch, Dataset } from '../../data/dataset.js';
import type { Metric } from '../../data/metric.js';
import { dataError, qualityError } from '../../errors.js';
import type { Engine, ModelSource, Session, SessionOptions } from '../../runtime/engine.js';
import { measureLatency } from '../../runtime/latency.js';

/** A runtime that files are proven in. */
export interface VariantDevice {
  /** Heading in tables: `cpu`, `wasm`, `webgpu`. */
  readonly name: string;
  readonly engine: Engine;
  readonly session?: SessionOptions | undefined;
}

export interface DeviceFigures {
  readonly device: string;
  /** Time to open the session from the files, in ms. */
  readonly load_ms: number;
  /** Median time of one run of one sample, in ms. */
  readonly p50_ms: number;
  /** Cosine similarity with the float model on the first device: the worst of all outputs. */
  readonly cosine: number;
  /** Kullback-Leibler divergence in nats, the worst of the outputs that are scores; null where none is. */
  readonly kl: number | null;
  /** Share of rows with the same decision; null where no output has classes. */
  readonly agreement: number | null;
  /** Only where a metric was asked for and this device was measured in full. */
  readonly metric: { readonly name: string; readonly before: number; readonly after: number; readonly higherIsBetter: boolean } | null;
  readonly samples: number;
}

/** What a session's files are measured on. */
export interface Trial {
  /** The float model on the first device. */
  readonly reference: Session;
  readonly data: Dataset;
  readonly metric: Metric | undefined;
  /** Samples on the first device. */
  readonly limit: number;
  readonly signal?: AbortSignal | undefined;
}

/** Samples on the other devices: enough to prove that they compute the same. */
const OTHER_SAMPLES = 16;
const LATENCY = { warmup: 2, minRuns: 3, maxRuns: 50, budgetMs: 250 };

/** Loads, compares and times. Throws E_RUNTIME where the device refuses the file, E_QUALITY where it answers NaN or infinity. */
export async function measureOn(device: VariantDevice, source: ModelSource, trial: Trial, full: boolean): Promise<DeviceFigures> {
  const { reference, data, signal } = trial;
  const start = performance.now();
  const session = await device.engine.load(source, device.session ?? {});
  const load = performance.now() - start;
  try {
    const limit = full ? trial.limit : Math.min(trial.limit, OTHER_SAMPLES);
    const metric = full ? trial.metric : undefined;
    const batchSize = data.hasLabels && full ? 32 : 1;
    const { outputs, scores, samples } = await compareSessions(reference, session, { data, metric, limit, batchSize, signal });
    const broken = outputs.filter((o) => o.nonFinite > 0);
    if (broken.length > 0)
      throw qualityError(
        `NaN or infinity where the float model has none: ${broken.map((o) => `${o.name} (${o.nonFinite} elements)`).join(', ')}`,
      );
    const { p50 } = await measureLatency({ session, feeds: await timedFeeds(data) }, { ...LATENCY, signal });
    const known = (pick: (o: (typeof outputs)[number]) => number | null) => outputs.map(pick).filter((x): x is number => x !== null);
    const divergences = known((o) => o.kl);
    const agreements = known((o) => o.agreement);
    return {
      device: device.name,
      load_ms: load,
      p50_ms: p50,
      cosine: Math.min(...outputs.map((o) => o.cosine)),
      kl: divergences.length > 0 ? Math.max(...divergences) : null,
      agreement: agreements.length > 0 ? Math.min(...agreements) : null,
      metric: scores && metric ? { name: metric.name, ...scores, higherIsBetter: metric.higherIsBetter } : null,
      samples,
    };
  } finally {
    await session.release();
  }
}

/** One sample to time: the second where there is one, which of a decoder with a cache is the step that runs over and over. */
async function timedFeeds(data: Dataset): Promise<Batch['inputs']> {
  let feeds: Batch['inputs'] | undefined;
  for await (const batch of data.batches({ batchSize: 1, limit: 2 })) feeds = batch.inputs;
  if (feeds === undefined) throw dataError(`data "${data.name}": expected at least one sample, got none`);
  return feeds;
}
