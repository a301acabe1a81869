// Ranges of activations, measured in the graph: ReduceMin and ReduceMax are added for each value, the data runs through the engine, and only two
// numbers per value and batch come back. Memory does not depend on the number of samples; results of shards merge.
import type { Dataset } from '../data/dataset.js';
import { dataError } from '../errors.js';
import { Builder } from '../ir/builder.js';
import type { Graph, Value } from '../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import type { Engine } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { emptyStatistics, mergeStatistics, observeRange, type ValueStatistics } from './observers.js';

export type Statistics = Map<string, ValueStatistics>;

export interface CalibrationOptions {
  readonly engine: Engine;
  readonly data: Dataset;
  readonly threads?: number | undefined;
  /** Most samples to run. */
  readonly limit?: number | undefined;
  readonly checkAborted?: (() => void) | undefined;
  /** Fraction done. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** What to measure of a value: both ends, or the upper one where the lower is known to be 0. */
export interface Measurement {
  readonly value: Value;
  readonly lowerIsZero?: boolean;
}

/** Elements of input that one run takes at most, where the model lets us choose: more only costs memory. */
const ELEMENTS_PER_RUN = 1 << 18;

/** Samples per run: what the model's first axis fixes, else as many as keep small models busy and large ones small. */
export function batchSizeOf(graph: Graph): number {
  let elements = 1;
  for (const input of requiredInputs(graph)) {
    const shape = tensorTypeOf(input)?.shape;
    const first = shape?.[0];
    if (typeof first === 'number' && first > 0) return first;
    elements += (shape ?? []).slice(1).reduce<number>((n, d) => n * (typeof d === 'number' && d > 0 ? d : 64), 1);
  }
  return Math.max(1, Math.min(16, Math.floor(ELEMENTS_PER_RUN / elements)));
}

/** Runs the data through the model and answers the extremes of each value, by name. Values must be of the main graph. */
export async function measureRanges(model: Model, measurements: readonly Measurement[], options: CalibrationOptions): Promise<Statistics> {
  const statistics: Statistics = new Map();
  if (measurements.length === 0) return statistics;
  const { probe, names } = buildProbe(model, measurements);
  const session = await openSession(options.engine, probe, { threads: options.threads });
  try {
    const total = Math.min(options.limit ?? Number.POSITIVE_INFINITY, options.data.size);
    let done = 0;
    for await (const batch of options.data.batches({ batchSize: batchSizeOf(model.graph), limit: options.limit })) {
      options.checkAborted?.();
      const results = await session.run(batch.inputs);
      const read = (name: string | null): number => (name === null ? 0 : (results[name]?.numbers()[0] ?? 0));
      for (const { value, min, max } of names) {
        const seen = statistics.get(value) ?? emptyStatistics();
        observeRange(seen, read(min), read(max));
        statistics.set(value, seen);
      }
      done += batch.size;
      options.onProgress?.(Math.min(1, done / total));
    }
  } finally {
    await session.release();
  }
  if (statistics.size === 0) throw dataError(`calibration data "${options.data.name}": expected at least one sample, got none`);
  return statistics;
}

interface ProbeName {
  readonly value: string;
  readonly min: string | null;
  readonly max: string;
}

/** A copy of the model whose outputs are the extremes of the values. */
function buildProbe(model: Model, measurements: readonly Measurement[]): { probe: Model; names: ProbeName[] } {
  const probe = cloneModel(model);
  const { graph } = probe;
  for (const output of [...graph.outputs]) graph.removeOutput(output);
  const b = new Builder(graph);
  const names = measurements.map(({ value, lowerIsZero }): ProbeName => {
    const twin = graph.ownValue(value.name)!;
    const reduce = (opType: string) => b.output(b.op(opType, [twin], { keepdims: 0 }, { outputs: [`${value.name}_${opType}`] })).name;
    return { value: value.name, min: lowerIsZero ? null : reduce('ReduceMin'), max: reduce('ReduceMax') };
  });
  return { probe, names };
}

/** Statistics of two calibrations of the same model joined. */
export function mergeCalibrations(a: ReadonlyMap<string, ValueStatistics>, b: ReadonlyMap<string, ValueStatistics>): Statistics {
  const merged: Statistics = new Map(a);
  for (const [name, s] of b) {
    const other = merged.get(name);
    merged.set(name, other ? mergeStatistics(other, s) : s);
  }
  return merged;
}
