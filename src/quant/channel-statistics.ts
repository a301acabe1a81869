// Extremes and power of each channel of activations, reduced in the graph: a few numbers per channel and batch come back.
import type { Dataset } from '../data/dataset.js';
import { Builder } from '../ir/builder.js';
import type { Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import type { Engine } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { batchSizeOf } from './calibrate.js';
import { type MeasurementCache, ROWS, remembered } from './measurement-cache.js';

export interface ChannelStatistics {
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly mean: Float64Array;
  /** Mean of the squares. */
  readonly power: Float64Array;
}

export interface ChannelOptions {
  readonly engine: Engine;
  readonly data: Dataset;
  readonly threads?: number | undefined;
  readonly limit?: number | undefined;
  /** Results of earlier runs. */
  readonly cache?: MeasurementCache | undefined;
  readonly checkAborted?: (() => void) | undefined;
}

/** Measures values (of the main graph) along their channel axes. Batches that are not finite are passed over. */
export async function measureChannels(
  model: Model,
  values: ReadonlyMap<Value, number>,
  options: ChannelOptions,
): Promise<Map<Value, ChannelStatistics>> {
  if (values.size === 0) return new Map();
  const list = [...values.keys()];
  const about = ['channels', list.map((v) => [v.name, values.get(v)]), options.data.size, options.limit ?? null];
  const rows = await remembered(options.cache, model, about, ROWS, async () => {
    const measured = await measureAll(model, values, options);
    return list.flatMap((v) => {
      const s = measured.get(v);
      return s ? [s.min, s.max, s.mean, s.power] : [[], [], [], []].map((r) => Float64Array.from(r));
    });
  });
  const found = list.flatMap((v, i): [Value, ChannelStatistics][] => {
    const [min, max, mean, power] = rows.slice(4 * i, 4 * i + 4);
    return min && max && mean && power && power.length > 0 ? [[v, { min, max, mean, power }]] : [];
  });
  return new Map(found);
}

async function measureAll(
  model: Model,
  values: ReadonlyMap<Value, number>,
  options: ChannelOptions,
): Promise<Map<Value, ChannelStatistics>> {
  const found = new Map<Value, ChannelStatistics>();
  const probe = cloneModel(model);
  const { graph } = probe;
  for (const output of [...graph.outputs]) graph.removeOutput(output);
  const b = new Builder(graph);
  const rows: { value: Value; names: readonly [string, string, string, string] }[] = [];
  for (const [value, axis] of values) {
    const twin = graph.ownValue(value.name)!;
    const rank = tensorTypeOf(value)!.shape!.length;
    const others = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);
    const reduce = (opType: string, x: Value, name = opType) =>
      b.op(opType, [x, b.ints(`${value.name}_axes`, others)], { keepdims: 0 }, { outputs: [`${value.name}_${name}`] });
    const square = b.op('Mul', [twin, twin]);
    const names = [
      reduce('ReduceMin', twin),
      reduce('ReduceMax', twin),
      reduce('ReduceMean', twin),
      reduce('ReduceMean', square, 'power'),
    ].map((v) => b.output(v).name);
    rows.push({ value, names: names as unknown as [string, string, string, string] });
  }
  const session = await openSession(options.engine, probe, { threads: options.threads });
  let samples = 0;
  try {
    for await (const batch of options.data.batches({ batchSize: batchSizeOf(model.graph), limit: options.limit })) {
      options.checkAborted?.();
      const results = await session.run(batch.inputs);
      samples += batch.size;
      for (const { value, names } of rows) {
        const [min, max, mean, power] = names.map((n) => results[n]!.floats()) as [Float32Array, Float32Array, Float32Array, Float32Array];
        if (!power.every(Number.isFinite)) continue;
        let s = found.get(value);
        if (!s) {
          const n = min.length;
          s = {
            min: new Float64Array(n).fill(Number.POSITIVE_INFINITY),
            max: new Float64Array(n).fill(Number.NEGATIVE_INFINITY),
            mean: new Float64Array(n),
            power: new Float64Array(n),
          };
          found.set(value, s);
        }
        for (let c = 0; c < min.length; c++) {
          s.min[c] = Math.min(s.min[c]!, min[c]!);
          s.max[c] = Math.max(s.max[c]!, max[c]!);
          s.mean[c]! += batch.size * mean[c]!;
          s.power[c]! += batch.size * power[c]!;
        }
      }
    }
  } finally {
    await session.release();
  }
  for (const s of found.values()) {
    for (let c = 0; c < s.power.length; c++) {
      s.mean[c]! /= Math.max(1, samples);
      s.power[c]! /= Math.max(1, samples);
    }
  }
  return found;
}
