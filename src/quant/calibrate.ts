// Statistics of activations. Extremes are measured in the graph: ReduceMin and ReduceMax are added for each value, and two numbers per value and
// batch come back. Where distributions are wanted the values come back too, batch by batch and no more of them at a time than fits a limit, and are
// counted into histograms. Memory does not depend on the number of samples; results of shards merge.
import type { Dataset } from '../data/dataset.js';
import { dataError } from '../errors.js';
import { Builder } from '../ir/builder.js';
import type { Graph, Value } from '../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import { tensorType } from '../ir/type.js';
import { cloneModel } from '../ir/walk.js';
import type { Engine } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { SteadyRunner } from '../runtime/steady-run.js';
import { type Codec, type MeasurementCache, remembered } from './measurement-cache.js';
import {
  emptyStatistics,
  mergeCalibrations,
  observe,
  type Statistics,
  type StatisticsJson,
  statisticsFromJson,
  statisticsToJson,
} from './statistics.js';

export interface CalibrationOptions {
  readonly engine: Engine;
  readonly data: Dataset;
  readonly threads?: number | undefined;
  /** Most samples to run. */
  readonly limit?: number | undefined;
  /** Count values into histograms too. */
  readonly histograms?: boolean | undefined;
  /** Results of earlier runs. */
  readonly cache?: MeasurementCache | undefined;
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

/** Elements of input that one sample takes; open dimensions count as 64. */
export function elementsPerSample(graph: Graph): number {
  let elements = 0;
  for (const input of requiredInputs(graph)) {
    const shape = tensorTypeOf(input)?.shape ?? [];
    elements += shape.slice(1).reduce<number>((n, d) => n * (typeof d === 'number' && d > 0 ? d : 64), 1);
  }
  return Math.max(1, elements);
}

/** Samples per run: what the model's first axis fixes, else as many as keep small models busy and large ones small. */
export function batchSizeOf(graph: Graph): number {
  for (const input of requiredInputs(graph)) {
    const first = tensorTypeOf(input)?.shape?.[0];
    if (typeof first === 'number' && first > 0) return first;
  }
  return Math.max(1, Math.min(8, Math.floor(ELEMENTS_PER_RUN / (elementsPerSample(graph) + 1))));
}

/** Bytes of activations that one run may bring back. Models with more are run once for each part. */
const BYTES_PER_RUN = 1 << 28;

/** Runs the data through the model and answers the statistics of each value, by name. Values must be of the main graph. */
export async function measureRanges(model: Model, measurements: readonly Measurement[], options: CalibrationOptions): Promise<Statistics> {
  const names = measurements.map(({ value, lowerIsZero }) => [value.name, lowerIsZero === true]);
  const about = ['ranges', names, options.histograms === true];
  return remembered(options.cache, model, about, STATISTICS, () => measureAll(model, measurements, options));
}

const STATISTICS: Codec<Statistics> = {
  to: statisticsToJson,
  from: (json) => {
    const values = Object.values(json as StatisticsJson);
    if (!values.every((s) => Number.isInteger(s.batches) && (s.histogram === undefined || Array.isArray(s.histogram.counts))))
      throw new TypeError('expected statistics by value');
    return statisticsFromJson(json as StatisticsJson);
  },
  merge: (parts) => parts.reduce((a, b) => mergeCalibrations(a, b)),
};

async function measureAll(model: Model, measurements: readonly Measurement[], options: CalibrationOptions): Promise<Statistics> {
  const statistics: Statistics = new Map();
  if (measurements.length === 0) return statistics;
  const batchSize = options.histograms ? batchOfValues(model.graph, measurements) : batchSizeOf(model.graph);
  const parts = options.histograms ? partsOf(measurements, batchSize) : [measurements];
  for (const [i, part] of parts.entries()) {
    await measurePart(model, part, batchSize, statistics, {
      ...options,
      onProgress: (fraction) => options.onProgress?.((i + fraction) / parts.length),
    });
  }
  if (statistics.size === 0) throw dataError(`calibration data "${options.data.name}": expected at least one sample, got none`);
  return statistics;
}

/** Bytes of activations that come back from one run where the model lets us choose the number of samples. */
const BYTES_PER_BATCH = 1 << 22;

/** Samples per run so that what comes back stays small: more samples at once would not be counted faster. */
function batchOfValues(graph: Graph, measurements: readonly Measurement[]): number {
  const most = batchSizeOf(graph);
  if (requiredInputs(graph).some((v) => typeof tensorTypeOf(v)?.shape?.[0] === 'number')) return most;
  const bytes = measurements.reduce((sum, m) => sum + 4 * elementsOf(m, 1), 0);
  return Math.max(1, Math.min(most, Math.floor(BYTES_PER_BATCH / Math.max(1, bytes))));
}

/** Elements of a value for so many samples; other open dimensions count as 64. */
function elementsOf({ value }: Measurement, batchSize: number): number {
  const shape = tensorTypeOf(value)?.shape ?? [];
  return shape.reduce<number>((n, d, i) => n * (typeof d === 'number' ? d : i === 0 ? batchSize : 64), 1);
}

/** Neighbouring values whose elements together stay within the limit. */
function partsOf(measurements: readonly Measurement[], batchSize: number): Measurement[][] {
  const parts: Measurement[][] = [];
  let room = 0;
  for (const m of measurements) {
    const elements = elementsOf(m, batchSize);
    if (parts.length === 0 || elements * 4 > room) {
      parts.push([]);
      room = BYTES_PER_RUN;
    }
    parts.at(-1)!.push(m);
    room -= elements * 4;
  }
  return parts;
}

async function measurePart(
  model: Model,
  measurements: readonly Measurement[],
  batchSize: number,
  statistics: Statistics,
  options: CalibrationOptions,
): Promise<void> {
  const { probe, names } = buildProbe(model, measurements, options.histograms ?? false);
  const session = await openSession(options.engine, probe, { threads: options.threads });
  const runner = new SteadyRunner(session, probe);
  try {
    const total = Math.min(options.limit ?? Number.POSITIVE_INFINITY, options.data.size);
    let done = 0;
    for await (const batch of options.data.batches({ batchSize, limit: options.limit })) {
      options.checkAborted?.();
      const results = await runner.run(batch.inputs);
      const read = (name: string | null): number => (name === null ? 0 : (results[name]?.numbers()[0] ?? 0));
      for (const { value, min, max, all } of names) {
        const seen = statistics.get(value) ?? emptyStatistics();
        // A value that is fed, not computed, is at hand already.
        const data = all === null ? undefined : (results[all] ?? batch.inputs[all])?.floats();
        observe(seen, read(min), read(max), data);
        statistics.set(value, seen);
      }
      done += batch.size;
      options.onProgress?.(Math.min(1, done / total));
    }
  } finally {
    await session.release();
  }
}

interface ProbeName {
  readonly value: string;
  readonly min: string | null;
  readonly max: string;
  /** Name under which all of its elements come; null where they are not wanted. */
  readonly all: string | null;
}

/** A copy of the model whose outputs are the extremes of the values, and the values themselves where distributions are wanted. */
function buildProbe(model: Model, measurements: readonly Measurement[], whole: boolean): { probe: Model; names: ProbeName[] } {
  const probe = cloneModel(model);
  const { graph } = probe;
  for (const output of [...graph.outputs]) graph.removeOutput(output);
  const b = new Builder(graph);
  const names = measurements.map(({ value, lowerIsZero }): ProbeName => {
    const twin = graph.ownValue(value.name)!;
    const reduce = (opType: string) => {
      const extreme = b.output(b.op(opType, [twin], { keepdims: 0 }, { outputs: [`${value.name}_${opType}`] }));
      extreme.type = tensorType('float', []);
      return extreme.name;
    };
    if (whole && !twin.isGraphInput) b.output(twin);
    return {
      value: value.name,
      min: lowerIsZero ? null : reduce('ReduceMin'),
      max: reduce('ReduceMax'),
      all: whole ? value.name : null,
    };
  });
  return { probe, names };
}
