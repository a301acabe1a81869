// Data for commands that train: the SPEC of `--data` as batches in random order, augmented, on threads of their own with `--workers`.
import { Option } from 'commander';
import { parseAugmentations } from '../data/augment.js';
import { type TrainingData, trainingData } from '../data/training.js';
import { classesOf } from '../recipe/train.js';
import type { PlanContext, RunFlags } from './run-passes.js';
import { positiveInteger } from './shared-options.js';

export interface TrainingDataFlags {
  readonly workers?: number;
  readonly augment?: string;
  readonly buckets?: number;
}

export function workersOption(): Option {
  return new Option('--workers <n>', 'threads that read and augment the data (default: none but the main one)').argParser(positiveInteger);
}

/** On threads of their own with `--workers`, else read ahead in this one; the batches are the same. */
export async function openTrainingData(
  model: string,
  flags: RunFlags & TrainingDataFlags,
  { data, model: opening }: PlanContext,
): Promise<{ data: TrainingData; close(): Promise<void> }> {
  const { augment, buckets, workers } = flags;
  const classes = data!.classes?.length ?? classesOf(opening);
  if (workers === undefined) {
    const parsed = augment === undefined ? undefined : parseAugmentations(augment);
    return { data: trainingData(data!, { augment: parsed, buckets, classes }), close: async () => {} };
  }
  const { prefetchTrainingData } = await import('../node/prefetch.js');
  const { seed, limit, preprocess, labels, tokenizer, text, label, shape } = flags;
  const given = Object.entries({ seed, limit, preprocess, labels, tokenizer, text, label, shapes: shape }).filter(
    ([, v]) => v !== undefined,
  );
  const opened = await prefetchTrainingData({
    spec: flags.data!,
    model,
    data: Object.fromEntries(given),
    training: { augment, buckets, classes },
    workers,
  });
  return { data: opened, close: () => opened.close() };
}
