// Two models timed in turn on the same random input, so that their ratio holds on a noisy machine.
import { batchPlan } from '../data/inputs.js';
import type { Model } from '../ir/model.js';
import type { LatencyPair } from '../pass/record.js';
import type { Engine, ModelSource, SessionOptions } from '../runtime/engine.js';
import { findFeeds } from '../runtime/inputs.js';
import { compareLatency } from '../runtime/latency.js';

export interface TimePairOptions {
  /** Says what the inputs look like. */
  readonly model: Model;
  readonly batch: number;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly seed: number;
  readonly session: SessionOptions;
}

/** Number of samples that a model takes at once, where it leaves no choice. */
export function fixedBatch(model: Model): number | undefined {
  const plan = batchPlan(model);
  return plan.kind === 'rows' ? plan.fixed : undefined;
}

export async function timePair(engine: Engine, a: ModelSource, b: ModelSource, options: TimePairOptions): Promise<LatencyPair> {
  const { session } = options;
  const batch = fixedBatch(options.model) ?? options.batch;
  const first = await engine.load(a, session);
  try {
    const { feeds } = await findFeeds(first, options.model, { batch, shapes: options.shapes, seed: options.seed });
    const second = await engine.load(b, session);
    try {
      const [before, after] = await compareLatency([
        { session: first, feeds },
        { session: second, feeds },
      ]);
      return {
        before_ms: before!.p50,
        after_ms: after!.p50,
        ratio: after!.ratio,
        before_p95_ms: before!.p95,
        after_p95_ms: after!.p95,
        runs: after!.runs,
        batch,
        threads: session.threads ?? null,
        engine: `${engine.name} ${engine.version}`,
      };
    } finally {
      await second.release();
    }
  } finally {
    await first.release();
  }
}
