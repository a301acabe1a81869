// Time of a factored model by the original's: a copy is rewritten and both are run in turn.
import { randomDataset } from '../../data/random.js';
import type { Node } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { cloneModel } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { batchSizeOf } from '../../quant/calibrate.js';
import { compareLatency } from '../../runtime/latency.js';
import { openSession } from '../../runtime/session.js';
import type { Factored, FactorLayer } from './factorization.js';
import { replaceLayer } from './rewrite.js';

/** Time for each, in milliseconds. */
const BUDGET_MS = 400;

export async function ratioOfModel(
  model: Model,
  factored: readonly (Factored | undefined)[],
  layers: readonly (FactorLayer & { readonly weight: Float32Array; readonly mean: Float64Array | null })[],
  ctx: PassContext,
): Promise<number> {
  const copy = cloneModel(model);
  const twins = new Map<Node, Node>(model.graph.nodes.map((n, i) => [n, copy.graph.nodes[i]!]));
  for (const [i, entry] of layers.entries()) {
    if (factored[i]) replaceLayer({ ...entry, node: twins.get(entry.node)! }, factored[i], entry);
  }
  const data = ctx.data ?? randomDataset(model, { samples: 16, seed: 0 });
  const sessions = [
    await openSession(ctx.engine, model, { threads: ctx.threads }),
    await openSession(ctx.engine, copy, { threads: ctx.threads }),
  ];
  try {
    for await (const { inputs } of data.batches({ batchSize: Math.min(batchSizeOf(model.graph), data.size), limit: 1 })) {
      const results = await compareLatency(
        sessions.map((session) => ({ session, feeds: inputs })),
        { budgetMs: BUDGET_MS, signal: ctx.signal },
      );
      return results[1]!.ratio;
    }
  } finally {
    for (const s of sessions) await s.release();
  }
  return 1;
}
