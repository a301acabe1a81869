// What the training bars share: engine, data opened as the command line opens it, training with the settings of `pare train`, figures on test data.
// PARE_BENCH_CHECKPOINTS names a folder in which long trainings keep their state; an interrupted run then goes on from there.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  evaluateMetric,
  lossObjective,
  metricNamed,
  openSession,
  prepareTraining,
  schedules,
  train,
  trainingData,
} from '../../dist/index.js';
import { checkpointFile, nodeEngine, openDataset } from '../../dist/node/index.js';
import { figure } from '../lib/bars.js';
import { shared, WORK } from '../lib/pare.js';

export const engine = await nodeEngine();
/** Subnormal numbers count as zero only where the first session of a process asks for it. */
const SESSION = { threads: 2, extra: { 'session.set_denormal_as_zero': '1' } };
const CHECKPOINTS = process.env.PARE_BENCH_CHECKPOINTS;

export const mnist = (set) => `idx:${shared(`mnist/${set}-images-idx3-ubyte.gz`)},${shared(`mnist/${set}-labels-idx1-ubyte.gz`)}`;

/** Writes settings that the data readers take from a file, and answers its path. */
export function settingsFile(name, settings) {
  const path = join(WORK, name);
  writeFileSync(path, JSON.stringify(settings));
  return path;
}

export const open = (spec, model, options = {}) => openDataset(spec, model, options);

/** A figure of the model on this data. */
export async function score(model, dataset, metric, batchSize = 100) {
  const session = await openSession(engine, model, SESSION);
  try {
    return await evaluateMetric(session, dataset, metricNamed(metric), { batchSize });
  } finally {
    await session.release();
  }
}

/**
 * Trains on a data set with `epochs`, `batchSize`, `rule`, `schedule` (name), `lr`, `warmup`, `augment`, and judges after each epoch on `test` by
 * `metric`, printing a line. Without `every` only the end is judged.
 */
export async function trainOn(
  name,
  { model, dataset, test, metric = 'top1', loss = 'cross-entropy', lossOptions, schedule, lr, warmup, ...o },
) {
  const { data: _, rule, epochs, batchSize, augment, classes, buckets, ...rest } = o;
  const data = trainingData(dataset, { augment, classes, buckets });
  const total = Math.min(epochs * data.steps(batchSize), o.maxSteps ?? Number.POSITIVE_INFINITY);
  const start = performance.now();
  const keep = CHECKPOINTS === undefined ? {} : { checkpoint: checkpointIn(CHECKPOINTS, name), checkpointEvery: 200, resume: true };
  const { higherIsBetter } = metricNamed(metric);
  return train({
    engine,
    model,
    data,
    objective: lossObjective(loss, lossOptions),
    rule,
    schedule: schedules.scheduleOf(schedule ?? 'cosine', lr ?? rule.lr, total, warmup ?? 0),
    epochs,
    batchSize,
    seed: 1,
    prepare: prepareTraining(engine),
    session: SESSION,
    validate: async (trained) => ({ metric, value: await score(trained, test, metric), higherIsBetter }),
    onEpoch: ({ epoch, loss: mean, value }) =>
      figure(
        `  ${name} epoch ${epoch + 1}`,
        `loss ${mean.toFixed(4)}, ${metric} ${value.toFixed(4)}, ${((performance.now() - start) / 1000).toFixed(0)} s`,
      ),
    ...keep,
    ...rest,
  });
}

function checkpointIn(folder, name) {
  mkdirSync(folder, { recursive: true });
  return checkpointFile(join(folder, `${name}.safetensors`));
}

/** Last figure of a training: what it ends with, not its best. */
export const lastValue = (result) => result.epochs.at(-1)?.value ?? result.best.value;
