// How long a model takes. Runs are repeated within a time budget; several models are timed in turn, in changing order, so that what slows the
// machine slows all of them alike and their ratios hold where single figures do not.
import { PareError, usageError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
import { checkAborted } from './batches.js';
import type { Session } from './engine.js';

type Feeds = Readonly<Record<string, Tensor>>;

export interface LatencyOptions {
  /** Runs before the clock counts (default 3). */
  readonly warmup?: number | undefined;
  /** Runs that are made even where the budget is spent (default 5). */
  readonly minRuns?: number | undefined;
  /** Runs after which no more are made (default 200). */
  readonly maxRuns?: number | undefined;
  /** Time for the counted runs, for each model, in milliseconds (default 1,000). */
  readonly budgetMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Times of single runs, in milliseconds. */
export interface LatencyStats {
  readonly runs: number;
  readonly p50: number;
  readonly p95: number;
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  readonly std: number;
}

/** A model to be timed: an open session with what it is fed. */
export interface TimedModel {
  readonly session: Session;
  readonly feeds: Feeds;
  /** Outputs to compute; all where omitted. */
  readonly fetches?: readonly string[] | undefined;
}

export interface ComparedLatency extends LatencyStats {
  /** Median over the rounds of this model's time by the first model's: 0.5 is twice as fast. 1 for the first itself. */
  readonly ratio: number;
}

/** Times one model. */
export async function measureLatency(model: TimedModel, options: LatencyOptions = {}): Promise<LatencyStats> {
  const [times] = await timeInTurn([model], options);
  return latencyStats(times!);
}

/**
 * Times several models in turn: each round runs every model once. The order is turned about from round to round (first to last, then
 * last to first), so that none always follows the same neighbour's cache contents.
 */
export async function compareLatency(models: readonly TimedModel[], options: LatencyOptions = {}): Promise<ComparedLatency[]> {
  if (models.length === 0) throw usageError('latency: expected at least one model, got none');
  const times = await timeInTurn(models, options);
  const reference = times[0]!;
  return times.map((own) => ({
    ...latencyStats(own),
    ratio: quantile(
      own.map((ms, round) => ms / reference[round]!).sort((a, b) => a - b),
      0.5,
    ),
  }));
}

export interface BatchLatency extends LatencyStats {
  readonly batch: number;
  /** At the median time. */
  readonly samplesPerSecond: number;
}

/**
 * Latency and throughput by batch size. `feedsOf` makes the feeds of a batch size. Sizes that the runtime refuses (a fixed batch, too little
 * memory) are left out; where it refuses all of them the first error is thrown.
 */
export async function measureThroughput(
  session: Session,
  feedsOf: (batch: number) => Feeds,
  batchSizes: readonly number[],
  options: LatencyOptions = {},
): Promise<BatchLatency[]> {
  const results: BatchLatency[] = [];
  let refusal: unknown;
  for (const batch of batchSizes) {
    try {
      const stats = await measureLatency({ session, feeds: feedsOf(batch) }, options);
      results.push({ batch, samplesPerSecond: (batch * 1000) / stats.p50, ...stats });
    } catch (error) {
      if (!(error instanceof PareError) || error.code !== 'E_RUNTIME') throw error;
      refusal ??= error;
    }
  }
  if (results.length === 0 && refusal !== undefined) throw refusal;
  return results;
}

async function timeInTurn(models: readonly TimedModel[], options: LatencyOptions): Promise<number[][]> {
  const { warmup = 3, minRuns = 5, maxRuns = 200, budgetMs = 1000, signal } = options;
  if (!(minRuns >= 1 && maxRuns >= minRuns)) throw usageError(`latency: expected 1 <= minRuns <= maxRuns, got ${minRuns} and ${maxRuns}`);
  const times: number[][] = models.map(() => []);
  let warm = 0;
  for (let i = 0; i < warmup; i++) {
    for (const model of models) warm += await timeRun(model);
    checkAborted(signal);
    // Very slow models: one run warms up enough.
    if (warm > budgetMs * models.length) break;
  }
  const total = budgetMs * models.length;
  let spent = 0;
  for (let round = 0; round < maxRuns && (round < minRuns || spent < total); round++) {
    for (let k = 0; k < models.length; k++) {
      const index = round % 2 === 0 ? k : models.length - 1 - k;
      const ms = await timeRun(models[index]!);
      times[index]!.push(ms);
      spent += ms;
      checkAborted(signal);
    }
  }
  return times;
}

async function timeRun({ session, feeds, fetches }: TimedModel): Promise<number> {
  const start = performance.now();
  await session.run(feeds, fetches);
  return performance.now() - start;
}

/** Statistics of run times in milliseconds. */
export function latencyStats(times: readonly number[]): LatencyStats {
  if (times.length === 0) throw usageError('latency: expected at least one run, got none');
  const sorted = [...times].sort((a, b) => a - b);
  const mean = sorted.reduce((sum, t) => sum + t, 0) / sorted.length;
  const variance = sorted.reduce((sum, t) => sum + (t - mean) ** 2, 0) / sorted.length;
  return {
    runs: sorted.length,
    p50: quantile(sorted, 0.5),
    p95: quantile(sorted, 0.95),
    mean,
    min: sorted[0]!,
    max: sorted.at(-1)!,
    std: Math.sqrt(variance),
  };
}

/** Quantile of ascending values, interpolated linearly between neighbours. */
function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const a = sorted[low]!;
  return a + (sorted[Math.min(low + 1, sorted.length - 1)]! - a) * (at - low);
}
