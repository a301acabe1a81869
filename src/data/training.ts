// Data for training: the batches of an epoch as a pure function of seed and epoch, so that a training can be taken up anywhere and go on exactly.
// Samples in random order, sequences of like length together, long texts cut elsewhere each epoch, images augmented. One batch is read ahead.
import { usageError } from '../errors.js';
import { Rng } from '../util/rng.js';
import { type Augmentation, augmentBatch } from './augment.js';
import { bucketBatches, bucketLengths } from './buckets.js';
import type { Batch, IndexedDataset } from './dataset.js';

export interface EpochOptions {
  readonly batchSize: number;
  readonly seed: number;
}

export interface TrainingData {
  readonly name: string;
  /** Samples of an epoch. */
  readonly size: number;
  readonly hasLabels: boolean;
  /** Batches of an epoch. */
  steps(batchSize: number): number;
  /** The batches of this epoch from number `from` on. The same call answers the same batches; the last one may be short. */
  epoch(epoch: number, options: EpochOptions & { readonly from?: number | undefined }): AsyncIterable<Batch>;
}

/** Training data whose batches can be had one by one, in any order. */
export interface IndexedTrainingData extends TrainingData {
  /** Batch `index` of this epoch. */
  batch(epoch: number, index: number, options: EpochOptions): Promise<Batch>;
}

export interface TrainingDataOptions {
  /** Applied in this order to each batch, drawn anew for each sample and epoch. */
  readonly augment?: readonly Augmentation[] | undefined;
  /** Number of different lengths that sequences are padded to (default 4): fewer mean more padding, more mean more sessions. Without sequences no effect. */
  readonly buckets?: number | undefined;
  /** Leaves out the last batch of an epoch where it is short. Default false. */
  readonly dropLast?: boolean | undefined;
  /** Number of classes, where labels must become probabilities (mixup) and the data does not name its classes. */
  readonly classes?: number | undefined;
  /** Random order (default), or as the data has it (sequences then go without buckets). */
  readonly shuffle?: boolean | undefined;
}

/** Samples of a batch where `batchSize` are asked for: what the model takes exactly, if it does. Throws E_USAGE for no whole number above 0. */
function batchRows({ fixedBatch }: Pick<IndexedDataset, 'fixedBatch'>, batchSize: number): number {
  if (!(Number.isInteger(batchSize) && batchSize > 0)) throw usageError(`batch size: expected a whole number above 0, got ${batchSize}`);
  return fixedBatch ?? batchSize;
}

/** Batches of an epoch. Throws E_USAGE where there is none. */
export function stepsPerEpoch(dataset: Pick<IndexedDataset, 'name' | 'size' | 'fixedBatch'>, batchSize: number, dropLast = false): number {
  const rows = batchRows(dataset, batchSize);
  const count = dropLast ? Math.floor(dataset.size / rows) : Math.ceil(dataset.size / rows);
  if (count > 0) return count;
  throw usageError(`data "${dataset.name}": expected at least one whole batch of ${rows}, got ${dataset.size} samples`, {
    hint: 'take a smaller batch size, or keep the short last batch',
  });
}

/** How one batch is read. */
interface PlannedBatch {
  readonly indices: readonly number[];
  /** Padded length of sequences. */
  readonly length?: number | undefined;
}

interface EpochPlan {
  readonly key: string;
  readonly batches: readonly PlannedBatch[];
  /** Elements by which windows of a long sequence are moved. */
  readonly shift: number;
}

const DEFAULT_BUCKETS = 4;

/**
 * Training data over a data set. Where the model takes exactly B samples, batches have that size, and the last one is filled up with samples from the
 * beginning of the epoch. Throws E_USAGE where nothing would be left to train on.
 */
export function trainingData(dataset: IndexedDataset, options: TrainingDataOptions = {}): IndexedTrainingData {
  const { augment = [], dropLast = false, shuffle = true } = options;
  const { fixedBatch } = dataset;
  const classes = options.classes ?? dataset.classes?.length;
  const sequences = shuffle && fixedBatch === undefined ? dataset.sequences : undefined;
  const sizes = sequences && bucketLengths(sequences.lengths(), options.buckets ?? DEFAULT_BUCKETS);
  const steps = (batchSize: number) => stepsPerEpoch(dataset, batchSize, dropLast);

  const planEpoch = (epoch: number, { batchSize, seed }: EpochOptions): EpochPlan => {
    const rng = new Rng(seed).fork(`epoch ${epoch}`);
    const rows = batchRows(dataset, batchSize);
    const shift = shuffle && dataset.windows ? rng.fork('shift').integer(dataset.windows.length) : 0;
    const count = steps(batchSize);
    const key = `${epoch}/${batchSize}/${seed}`;
    if (sequences && sizes)
      return { key, shift, batches: bucketBatches(sequences.lengths(), sizes, rows, rng.fork('order')).slice(0, count) };
    const order = Array.from({ length: dataset.size }, (_, k) => k);
    if (shuffle) rng.fork('order').shuffle(order);
    const batches = Array.from({ length: count }, (_, k) => {
      const indices = order.slice(k * rows, (k + 1) * rows);
      while (fixedBatch !== undefined && indices.length < rows) indices.push(order[(k * rows + indices.length) % order.length]!);
      return { indices };
    });
    return { key, shift, batches };
  };
  // The order of the epoch at work is kept: batches may be asked for one by one.
  let last: EpochPlan | undefined;
  const planOf = (epoch: number, o: EpochOptions): EpochPlan => {
    if (last?.key !== `${epoch}/${o.batchSize}/${o.seed}`) last = planEpoch(epoch, o);
    return last;
  };

  const read = async ({ shift, batches }: EpochPlan, epoch: number, index: number, seed: number): Promise<Batch> => {
    const { indices, length } = batches[index]!;
    const raw = await (length !== undefined
      ? dataset.sequences!.at(indices, length)
      : shift > 0
        ? dataset.windows!.at(indices, shift)
        : dataset.at(indices));
    if (augment.length === 0) return raw;
    // Drawn by sample, not by place: the same sample of the same epoch comes out alike whatever the batch size.
    const rng = new Rng(seed).fork(`augment ${epoch}`);
    const samples = indices.map((i) => rng.fork(`sample ${i}`));
    return augmentBatch(raw, augment, { samples, batch: rng.fork(`batch ${index}`), classes });
  };

  return {
    name: dataset.name,
    size: dataset.size,
    hasLabels: dataset.hasLabels,
    steps,
    async batch(epoch, index, o) {
      const plan = planOf(epoch, o);
      if (!(Number.isInteger(index) && index >= 0 && index < plan.batches.length))
        throw usageError(`batch of epoch ${epoch}: expected 0 to ${plan.batches.length - 1}, got ${index}`);
      return read(plan, epoch, index, o.seed);
    },
    epoch: (epoch, { from = 0, ...o }) => {
      const plan = planOf(epoch, o);
      return readAhead(from, plan.batches.length, (index) => read(plan, epoch, index, o.seed), 1);
    },
  };
}

/** The results of `make` from `from` to below `end` in order, `depth` of them under way while the reader works on one. */
export async function* readAhead<T>(from: number, end: number, make: (index: number) => Promise<T>, depth: number): AsyncGenerator<T> {
  const under: Promise<T>[] = [];
  let next = from;
  const start = () => {
    const made = make(next++);
    // A rejection belongs to whoever awaits it, also where the reader stops before that.
    made.catch(() => undefined);
    under.push(made);
  };
  while (under.length > 0 || next < end) {
    while (next < end && under.length < depth) start();
    const current = await under.shift()!;
    while (next < end && under.length < depth) start();
    yield current;
  }
}
