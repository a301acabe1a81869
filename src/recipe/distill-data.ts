// Data for distillation: what the teachers answer to every sample, asked once and kept beside the samples; and samples without labels, labelled by the teacher
// (pseudo-labels, Lee 2013).
import type { Batch, IndexedDataset } from '../data/dataset.js';
import { indexedDataset } from '../data/indexed.js';
import { joinRows, takeRows } from '../data/rows.js';
import { dataError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Model } from '../ir/model.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import type { Engine, Session, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { type CheckpointStore, decodeCheckpoint, encodeCheckpoint } from '../train/checkpoint.js';
import { exposeValues, teacherInput } from '../train/teacher.js';
import { mainOutput } from './interface.js';

/** Where answers of teachers are kept between runs. */
export type OutputStore = CheckpointStore;

/** Answers that take more memory are not kept: the teacher then runs with every batch. */
const MAX_BYTES = 256 * 2 ** 20;
/** Samples that the teacher answers at once. */
const BATCH = 64;
/** Kept answers are those of these teachers and data where some of them come out again as they are. */
const TOLERANCE = 1e-3;
const CHECKED = 4;

export interface OutputOptions {
  readonly engine: Engine;
  readonly session?: SessionOptions | undefined;
  /** Only these answers are compared. */
  readonly wanted: boolean;
  /** An obstacle is an error. */
  readonly insist: boolean;
  readonly augmented: boolean;
  readonly epochs: number;
  /** Hash of the teacher's file. */
  readonly identity?: string | undefined;
  readonly store?: OutputStore | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** The data with the mean of the teachers' scores for each sample as a further input; undefined where that is not possible or not worth while. */
export async function withTeacherOutputs(
  data: IndexedDataset,
  teachers: readonly Model[],
  output: string,
  options: OutputOptions,
): Promise<IndexedDataset | undefined> {
  const asked = await Promise.all(teachers.map((t) => Asked.open(t, output, options)));
  try {
    const answer = async (batch: Batch): Promise<Tensor> => meanOf(await Promise.all(asked.map((a) => a.answer(batch))));
    const sample = await answer(await data.at([0]));
    const obstacle = obstacleOf(data, sample, options);
    if (obstacle !== undefined) {
      if (options.insist)
        throw usageError(`answers of the teacher cannot be kept: ${obstacle}`, { hint: 'let it run in the graph or in a session' });
      return undefined;
    }
    const dims = [data.size, ...sample.dims.slice(1)];
    const key = JSON.stringify([options.identity ?? '', teachers.length, output, data.name, dims]);
    const known = await stored(options.store, key, dims);
    const valid = known && (await stillTrue(known, data, answer));
    const scores = valid ? known : await askAll(data, dims, answer, options.onProgress);
    if (!valid)
      await options.store?.save(encodeCheckpoint({ state: { key }, arrays: new Map([['scores', { dims, data: scores.floats() }]]) }));
    return withInput(data, teacherInput(output), scores);
  } finally {
    await Promise.all(asked.map((a) => a.release()));
  }
}

function obstacleOf(data: IndexedDataset, sample: Tensor, { wanted, augmented, epochs, insist }: OutputOptions): string | undefined {
  const bytes = data.size * elementCount(sample.dims.slice(1)) * 4;
  if (!wanted) return 'expected only scores to be compared, got values inside too';
  if (augmented) return 'expected the same inputs in every epoch, got augmentation';
  if (data.windows) return 'expected the same inputs in every epoch, got windows that are cut elsewhere each time';
  if (data.sequences && sample.rank > 2) return 'expected answers of one size, got one for each token of sequences of different lengths';
  if (sample.dims[0] !== 1 && data.fixedBatch === undefined) return `expected one answer a sample, got [${sample.dims}]`;
  if (bytes > MAX_BYTES && !insist) return `expected answers of up to ${MAX_BYTES} bytes, got ${bytes}`;
  if (epochs < 2 && !insist) return 'expected more than one epoch, got one';
  return undefined;
}

/** A teacher that is asked batch by batch. */
class Asked {
  readonly #session: Session;
  readonly #output: string;

  private constructor(session: Session, output: string) {
    this.#session = session;
    this.#output = output;
  }

  static async open(model: Model, output: string, { engine, session }: Pick<OutputOptions, 'engine' | 'session'>): Promise<Asked> {
    const { model: wanted, exposed } = exposeValues(model, [output]);
    return new Asked(await openSession(engine, wanted, session), exposed.get(output)!);
  }

  async answer(batch: Batch): Promise<Tensor> {
    const names = new Set(this.#session.inputs.map((i) => i.name));
    const inputs = Object.fromEntries(Object.entries(batch.inputs).filter(([name]) => names.has(name)));
    return (await this.#session.run(inputs, [this.#output]))[this.#output]!.cast('float');
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

function meanOf(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors as [Tensor];
  if (tensors.length === 1) return first;
  const sum = Float32Array.from(first.floats());
  for (const t of tensors.slice(1)) {
    for (const [i, v] of t.floats().entries()) sum[i]! += v;
  }
  return Tensor.of(
    'float',
    first.dims,
    sum.map((v) => v / tensors.length),
  );
}

/** Every sample once, sequences of like length together. */
async function askAll(
  data: IndexedDataset,
  dims: readonly number[],
  answer: (batch: Batch) => Promise<Tensor>,
  onProgress?: (fraction: number) => void,
): Promise<Tensor> {
  const lengths = data.fixedBatch === undefined ? data.sequences?.lengths() : undefined;
  const order = Array.from({ length: data.size }, (_, i) => i);
  if (lengths) order.sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  const each = elementCount(dims.slice(1));
  const scores = new Float32Array(elementCount(dims));
  const step = data.fixedBatch ?? BATCH;
  for (let at = 0; at < order.length; at += step) {
    const indices = order.slice(at, at + step);
    const batch = await (lengths ? data.sequences!.at(indices, lengths[indices.at(-1)!]!) : data.at(indices));
    const values = (await answer(batch)).floats();
    indices.forEach((index, row) => void scores.set(values.subarray(row * each, (row + 1) * each), index * each));
    onProgress?.(Math.min(1, (at + step) / order.length));
  }
  return Tensor.of('float', dims, scores);
}

async function stored(store: OutputStore | undefined, key: string, dims: readonly number[]): Promise<Tensor | undefined> {
  const bytes = await store?.load();
  if (bytes === undefined) return undefined;
  const { state, arrays } = decodeCheckpoint(bytes);
  const scores = arrays.get('scores');
  if ((state as { key?: unknown }).key !== key || !(scores?.data instanceof Float32Array)) return undefined;
  return Tensor.of('float', dims, scores.data);
}

/** Some samples are asked again: data may have changed under the same name. */
async function stillTrue(known: Tensor, data: IndexedDataset, answer: (batch: Batch) => Promise<Tensor>): Promise<boolean> {
  const each = elementCount(known.dims.slice(1));
  const values = known.floats();
  for (let k = 0; k < CHECKED; k++) {
    const index = Math.floor(((data.size - 1) * k) / (CHECKED - 1));
    const now = (await answer(await data.at([index]))).floats();
    for (let i = 0; i < each; i++) if (!(Math.abs(now[i]! - values[index * each + i]!) <= TOLERANCE)) return false;
  }
  return true;
}

/** A data set with rows of a tensor as a further input. */
function withInput(data: IndexedDataset, name: string, rows: Tensor): IndexedDataset {
  const { fixedBatch, sequences } = data;
  const add = async (indices: readonly number[], batch: Batch): Promise<Batch> => {
    const filled =
      fixedBatch === undefined ? indices : Array.from({ length: fixedBatch }, (_, k) => indices[Math.min(k, indices.length - 1)]!);
    return { ...batch, inputs: { ...batch.inputs, [name]: await takeRows(rows, filled) } };
  };
  return {
    ...data,
    at: async (indices) => add(indices, await data.at(indices)),
    ...(sequences
      ? {
          sequences: {
            lengths: () => sequences.lengths(),
            at: async (indices, length) => add(indices, await sequences.at(indices, length)),
          },
        }
      : {}),
  };
}

/** Labelled samples and others that the teacher labels (class numbers, or values where the labels are values), as one data set. */
export async function joinUnlabelled(
  data: IndexedDataset,
  unlabelled: IndexedDataset,
  teacher: Model,
  options: Pick<OutputOptions, 'engine' | 'session'>,
): Promise<IndexedDataset> {
  if (data.fixedBatch !== undefined) {
    throw usageError(`unlabelled data: expected a model of open batch size, got one that takes ${data.fixedBatch} samples at once`);
  }
  if (!data.hasLabels) return joined(data, unlabelled, undefined);
  const asked = await Asked.open(teacher, mainOutput(teacher.graph).name, options);
  try {
    const sample = await asked.answer(await unlabelled.at([0]));
    if (sample.rank !== 2) throw dataError(`unlabelled data: expected a teacher with scores [n, classes], got [${sample.dims}]`);
    const scores = await askAll(unlabelled, [unlabelled.size, sample.dims[1]!], (batch) => asked.answer(batch));
    const { labels } = await data.at([0]);
    return joined(data, unlabelled, labelsFrom(scores, labels!));
  } finally {
    await asked.release();
  }
}

/** The teacher's answers in the form that the labels have. */
function labelsFrom(scores: Tensor, like: Tensor): Tensor {
  const [n, width] = scores.dims as [number, number];
  const values = scores.floats();
  if (width === 1 && isFloat(like.dtype)) return Tensor.of('float', [n, ...like.dims.slice(1)], values).cast(like.dtype);
  const best = Array.from({ length: n }, (_, i) => {
    let top = 0;
    for (let k = 1; k < width; k++) if (values[i * width + k]! > values[i * width + top]!) top = k;
    // One score of two classes: its sign.
    return width === 1 ? Number(values[i]! > 0) : top;
  });
  return Tensor.from(like.dtype, [n, ...like.dims.slice(1)], best);
}

/** `labels` are those of the second part; undefined where neither has any. */
function joined(first: IndexedDataset, second: IndexedDataset, labels: Tensor | undefined): IndexedDataset {
  const both = first.sequences && second.sequences ? { a: first.sequences, b: second.sequences } : undefined;
  const lengths = both && [...both.a.lengths(), ...both.b.lengths()];
  const load = async (indices: readonly number[], length?: number): Promise<Batch> => {
    const own = indices.filter((i) => i < first.size);
    const other = indices.filter((i) => i >= first.size).map((i) => i - first.size);
    const padded = length ?? (lengths && indices.reduce((max, i) => Math.max(max, lengths[i]!), 1));
    const parts: Batch[] = [];
    if (own.length > 0) parts.push(await (both ? both.a.at(own, padded!) : first.at(own)));
    if (other.length > 0) {
      const batch = await (both ? both.b.at(other, padded!) : second.at(other));
      parts.push({ ...batch, labels: labels && (await takeRows(labels, other)) });
    }
    // Parts come one after the other; the order asked for is put back.
    const places = [...indices.filter((i) => i < first.size), ...indices.filter((i) => i >= first.size)];
    const order = indices.map((i) => places.indexOf(i));
    const rows = (tensors: readonly Tensor[]) => takeRows(joinRows(tensors), order);
    const names = Object.keys(parts[0]!.inputs);
    const inputs = await Promise.all(names.map(async (name) => [name, await rows(parts.map((p) => p.inputs[name]!))] as const));
    return {
      inputs: Object.fromEntries(inputs),
      labels: first.hasLabels ? await rows(parts.map((p) => p.labels!)) : undefined,
      size: indices.length,
    };
  };
  return indexedDataset({
    name: `${first.name} and ${second.name}`,
    size: first.size + second.size,
    hasLabels: first.hasLabels,
    synthetic: first.synthetic || second.synthetic,
    classes: first.classes,
    load: (indices) => load(indices),
    sequences: both && { lengths: () => lengths!, at: load },
  });
}
