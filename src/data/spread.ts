// A few samples that stand for a data set: spread evenly over it where samples can be had in any order (its start may be of one kind), else its first ones.
import type { Dataset, IndexedDataset } from './dataset.js';
import { subsetDataset } from './indexed.js';

/** `count` of the first `within` samples. */
export function spreadSamples(data: Dataset, count: number, within = data.size): Dataset {
  if (count >= data.size) return data;
  if (isIndexed(data)) {
    return subsetDataset(
      data,
      Array.from({ length: count }, (_, i) => Math.floor((i * within) / count)),
    );
  }
  return {
    ...data,
    size: count,
    batches: ({ batchSize, limit }) => data.batches({ batchSize, limit: Math.min(limit ?? count, count) }),
  };
}

export function isIndexed(data: Dataset): data is IndexedDataset {
  return 'at' in data;
}
