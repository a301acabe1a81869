// Data sets over a function that makes a batch from sample indices, and what follows from that: subset, limit, shuffle, concatenation.
import { dataError, usageError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
import type { Rng } from '../util/rng.js';
import type { Batch, IndexedDataset, SequenceAccess, WindowAccess } from './dataset.js';
import { joinRows, rowCount, takeRows } from './rows.js';

export interface IndexedSpec {
  readonly name: string;
  readonly size: number;
  readonly hasLabels: boolean;
  readonly synthetic?: boolean;
  readonly classes?: readonly string[] | undefined;
  readonly fixedBatch?: number | undefined;
  readonly notes?: readonly string[] | undefined;
  /** Makes the batch of these samples. With `fixedBatch` it is always called with that many indices. `size` is filled in by the caller. */
  readonly load: (indices: readonly number[]) => Promise<Omit<Batch, 'size'>>;
  readonly sequences?: SequenceAccess | undefined;
  readonly windows?: WindowAccess | undefined;
}

/** A data set over `load`. The next batch is made while the caller works on the current one. Throws E_DATA where it has no samples. */
export function indexedDataset(spec: IndexedSpec): IndexedDataset {
  if (!(spec.size > 0)) throw dataError(`data "${spec.name}": expected at least one sample, got none`);
  const { fixedBatch } = spec;
  const at = async (indices: readonly number[]): Promise<Batch> => {
    if (indices.length === 0) throw usageError(`data "${spec.name}": expected at least one index, got none`);
    if (fixedBatch !== undefined && indices.length > fixedBatch)
      throw usageError(`data "${spec.name}": expected at most ${fixedBatch} samples at once, got ${indices.length}`);
    const outside = indices.find((i) => !Number.isInteger(i) || i < 0 || i >= spec.size);
    if (outside !== undefined) throw usageError(`data "${spec.name}": expected indices below ${spec.size}, got ${outside}`);
    const padded =
      fixedBatch === undefined ? indices : Array.from({ length: fixedBatch }, (_, k) => indices[Math.min(k, indices.length - 1)]!);
    const { inputs, labels } = await spec.load(padded);
    const cut =
      labels && padded.length > indices.length
        ? await takeRows(
            labels,
            indices.map((_, k) => k),
          )
        : labels;
    return { inputs, labels: cut, size: indices.length };
  };
  return {
    name: spec.name,
    size: spec.size,
    hasLabels: spec.hasLabels,
    synthetic: spec.synthetic ?? false,
    classes: spec.classes,
    fixedBatch,
    notes: spec.notes,
    at,
    sequences: spec.sequences,
    windows: spec.windows,
    async *batches({ batchSize, limit }) {
      if (!(Number.isInteger(batchSize) && batchSize > 0))
        throw usageError(`batch size: expected a whole number above 0, got ${batchSize}`);
      const count = Math.min(spec.size, limit ?? spec.size);
      const step = fixedBatch ?? batchSize;
      const range = (start: number) => Array.from({ length: Math.min(step, count - start) }, (_, k) => start + k);
      let next = count > 0 ? at(range(0)) : undefined;
      for (let start = 0; next !== undefined; ) {
        const batch: Batch = await next;
        start += step;
        next = start < count ? at(range(start)) : undefined;
        // A rejection belongs to whoever awaits the batch, also where the reader stops before that.
        next?.catch(() => undefined);
        yield batch;
      }
    },
  };
}

/** A data set over whole tensors in memory or on disk; the first axis of each counts samples. Throws E_DATA where their lengths differ. */
export function tensorDataset(
  name: string,
  inputs: Readonly<Record<string, Tensor>>,
  labels?: Tensor,
  extra: Partial<Pick<IndexedSpec, 'classes' | 'fixedBatch' | 'notes' | 'synthetic'>> = {},
): IndexedDataset {
  const entries = Object.entries(inputs);
  const lengths = [...entries, ...(labels ? [['labels', labels] as const] : [])].map(([key, t]) => [key, rowCount(t)] as const);
  const size = lengths[0]?.[1] ?? 0;
  if (lengths.some(([, n]) => n !== size))
    throw dataError(
      `data "${name}": expected equally many samples in every array, got ${lengths.map(([key, n]) => `${key}: ${n}`).join(', ')}`,
    );
  return indexedDataset({
    name,
    size,
    hasLabels: labels !== undefined,
    ...extra,
    async load(indices) {
      const taken = await Promise.all(entries.map(async ([key, t]) => [key, await takeRows(t, indices)] as const));
      return { inputs: Object.fromEntries(taken), labels: labels && (await takeRows(labels, indices)) };
    },
  });
}

function derive(
  base: IndexedDataset,
  size: number,
  load: (indices: readonly number[]) => Promise<Batch>,
  sequences?: SequenceAccess,
): IndexedDataset {
  return indexedDataset({
    name: base.name,
    size,
    hasLabels: base.hasLabels,
    synthetic: base.synthetic,
    classes: base.classes,
    fixedBatch: base.fixedBatch,
    notes: base.notes,
    load,
    sequences,
  });
}

/** The samples with these indices, in this order. Windows of a long sequence stay where they are cut: shifted ones would reach into the others. */
export function subsetDataset(base: IndexedDataset, indices: readonly number[]): IndexedDataset {
  const own = (picked: readonly number[]) => picked.map((k) => indices[k]!);
  const { sequences } = base;
  return derive(
    base,
    indices.length,
    (picked) => base.at(own(picked)),
    sequences && {
      lengths: () => {
        const lengths = sequences.lengths();
        return indices.map((i) => lengths[i]!);
      },
      at: (picked, length) => sequences.at(own(picked), length),
    },
  );
}

/** The first `limit` samples; all where there are no more. */
export function limitDataset(base: IndexedDataset, limit: number): IndexedDataset {
  if (!(Number.isInteger(limit) && limit > 0)) throw usageError(`limit: expected a whole number above 0, got ${limit}`);
  if (limit >= base.size) return base;
  return subsetDataset(
    base,
    Array.from({ length: limit }, (_, k) => k),
  );
}

/** The samples in random order; equal generators give equal orders. */
export function shuffleDataset(base: IndexedDataset, rng: Rng): IndexedDataset {
  return subsetDataset(base, rng.shuffle(Array.from({ length: base.size }, (_, k) => k)));
}

/** One data set after the other. Throws E_DATA where only some have labels. */
export function concatDatasets(parts: readonly IndexedDataset[]): IndexedDataset {
  const first = parts[0];
  if (first === undefined) throw usageError('expected at least one data set to join, got none');
  if (parts.some((p) => p.hasLabels !== first.hasLabels || p.fixedBatch !== first.fixedBatch))
    throw dataError(
      `data sets to join: expected labels and batch sizes alike, got ${parts.map((p) => `${p.name}: ${p.hasLabels}`).join(', ')}`,
    );
  const starts: number[] = [];
  let size = 0;
  for (const part of parts) {
    starts.push(size);
    size += part.size;
  }
  const sampleOf = async (index: number): Promise<Batch> => {
    const which = starts.findLastIndex((start) => start <= index);
    return parts[which]!.at([index - starts[which]!]);
  };
  return derive(first, size, async (picked) => {
    const batches = first.fixedBatch === undefined ? await Promise.all(picked.map(sampleOf)) : undefined;
    if (batches === undefined) {
      if (first.fixedBatch !== 1) throw usageError('data sets of a model with a fixed batch above 1 cannot be joined');
      return sampleOf(picked[0]!);
    }
    const names = Object.keys(batches[0]!.inputs);
    const inputs = Object.fromEntries(names.map((n) => [n, joinRows(batches.map((b) => b.inputs[n]!))]));
    return { inputs, labels: first.hasLabels ? joinRows(batches.map((b) => b.labels!)) : undefined, size: picked.length };
  });
}
