// A budget of time is met by measuring: pruned copies are timed in turn with the original, and the number of removal steps is halved in on.

import { randomDataset } from '../../../data/random.js';
import { qualityError } from '../../../errors.js';
import type { Model } from '../../../ir/model.js';
import { cloneModel } from '../../../ir/walk.js';
import type { PassContext } from '../../../pass/define.js';
import { batchSizeOf } from '../../../quant/calibrate.js';
import { compareLatency } from '../../../runtime/latency.js';
import { openSession } from '../../../runtime/session.js';
import { type PrunePlan, removalAfter } from './plan.js';
import { removeByName } from './remove.js';

/** Models timed at most. */
const TRIALS = 7;
/** Time for each, in milliseconds. */
const BUDGET_MS = 400;

export interface TimedWidth {
  readonly steps: number;
  /** Time by the original's. */
  readonly ratio: number;
}

/** Steps whose measured latency comes nearest to `target` times the original's from below. Throws E_QUALITY where none reaches it. */
export async function stepsForLatency(
  model: Model,
  plan: PrunePlan,
  target: number,
  normalized: boolean,
  ctx: PassContext,
): Promise<{ count: number; timed: TimedWidth[] }> {
  const data = ctx.data ?? randomDataset(model, { samples: 16, seed: 0 });
  const timed: TimedWidth[] = [];
  const time = async (steps: number): Promise<number> => {
    const copy = cloneModel(model);
    await removeByName(copy, removalAfter(plan, plan.order, steps), { normalized });
    const sessions = [
      await openSession(ctx.engine, model, { threads: ctx.threads }),
      await openSession(ctx.engine, copy, { threads: ctx.threads }),
    ];
    try {
      for await (const batch of data.batches({ batchSize: Math.min(batchSizeOf(model.graph), data.size), limit: 1 })) {
        const feeds = batch.inputs;
        const results = await compareLatency(
          sessions.map((session) => ({ session, feeds })),
          { budgetMs: BUDGET_MS, signal: ctx.signal },
        );
        timed.push({ steps, ratio: results[1]!.ratio });
        return results[1]!.ratio;
      }
    } finally {
      for (const s of sessions) await s.release();
    }
    return 1;
  };
  let high = plan.order.steps.length;
  const best = await time(high);
  if (best > target) {
    throw qualityError(`expected a latency of ${target} of the original's, got at best ${best.toFixed(3)}`, {
      hint: 'ask for less, lower --min-keep, or let widths be multiples of the machine (--round-to 8)',
    });
  }
  let low = 0;
  for (let trial = 1; trial < TRIALS && high - low > 1; trial++) {
    ctx.checkAborted();
    const middle = (low + high) >> 1;
    if ((await time(middle)) > target) low = middle;
    else high = middle;
  }
  return { count: high, timed };
}
