// A pass context for tests: collects what a pass reports, and data made of tensors.
import type { Dataset } from '../src/data/dataset.js';
import type { Model } from '../src/ir/model.js';
import { Tensor } from '../src/ir/tensor.js';
import { nodeEngine } from '../src/node/engine.js';
import type { PassContext, Skipped, Warning } from '../src/pass/define.js';
import { openSession } from '../src/runtime/session.js';
import { Rng } from '../src/util/rng.js';

export interface RecordedContext extends PassContext {
  readonly warnings: Warning[];
  readonly skipped: Skipped[];
  readonly notes: Record<string, unknown>;
}

export async function passContext(data?: Dataset): Promise<RecordedContext> {
  const warnings: Warning[] = [];
  const skipped: Skipped[] = [];
  const notes: Record<string, unknown> = {};
  return {
    engine: await nodeEngine(),
    rng: new Rng(1),
    data,
    threads: 1,
    signal: undefined,
    checkAborted() {},
    progress() {},
    warn: (w) => void warnings.push(w),
    skip: (s) => void skipped.push(s),
    rules() {},
    note: (key, value) => {
      notes[key] = value;
    },
    warnings,
    skipped,
    notes,
  };
}

/** Normal random numbers with a fixed seed. */
export function randomTensor(dims: readonly number[], seed = 1, scale = 1): Tensor {
  const rng = new Rng(seed);
  return Tensor.of(
    'float',
    dims,
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal() * scale),
  );
}

/** Data that serves the given feeds one after the other, whatever the batch size. */
export function feedsDataset(feeds: readonly Record<string, Tensor>[]): Dataset {
  return {
    name: 'feeds',
    size: feeds.length,
    hasLabels: false,
    synthetic: true,
    async *batches({ limit }) {
      for (const inputs of feeds.slice(0, limit)) yield { inputs, size: 1 };
    },
  };
}

/** First output of the model on each feed, and the operators the engine runs it with. */
export async function runModel(model: Model, feeds: readonly Record<string, Tensor>[]): Promise<Float32Array[]> {
  const session = await openSession(await nodeEngine(), model, { threads: 1 });
  const results: Float32Array[] = [];
  for (const feed of feeds) results.push(Object.values(await session.run(feed))[0]!.floats());
  await session.release();
  return results;
}

export function cosine(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  let dot = 0;
  let x = 0;
  let y = 0;
  a.forEach((u, i) => {
    u.forEach((p, j) => {
      const q = b[i]![j]!;
      dot += p * q;
      x += p * p;
      y += q * q;
    });
  });
  return dot / Math.sqrt(x * y);
}

export function opCounts(model: Model): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const node of model.graph.nodes) counts[node.opType] = (counts[node.opType] ?? 0) + 1;
  return counts;
}
