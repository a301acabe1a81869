// The course of every command that writes a model: open, run the pipeline, show the table, write the report.

import type { Dataset, IndexedDataset } from '../data/dataset.js';
import { withMeasurements } from '../data/measured.js';
import type { Metric } from '../data/metric.js';
import { usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { writeFileAtomic } from '../node/files.js';
import { openInput } from '../node/input.js';
import { stageBeside } from '../node/staging.js';
import type { BoundPass } from '../pass/define.js';
import type { PlanRecord, RunRecord } from '../pass/record.js';
import { runPipeline } from '../recipe/pipeline.js';
import type { InputModel } from '../recipe/staging.js';
import { renderRun } from './render/run.js';
import { type CliSession, openCliSession, openData, openMetric, openValidation, outputPath } from './session.js';
import type { CommonFlags, DataFlags, WriteFlags } from './shared-options.js';

export type RunFlags = CommonFlags &
  DataFlags &
  WriteFlags & {
    readonly calibrationCache?: string;
    readonly calibrationShards?: readonly string[];
  };

/** What a plan may use. */
export interface PlanContext {
  readonly cli: CliSession;
  readonly input: InputModel;
  readonly model: Model;
  readonly data: IndexedDataset | undefined;
  /** Undefined with `--no-verify`. */
  readonly validation: Dataset | undefined;
  readonly metric: Metric | undefined;
}

/** Passes chosen by a plan. */
export interface PlannedPasses {
  readonly passes: readonly BoundPass[];
  /** How they were chosen, for the record. */
  readonly record?: PlanRecord | undefined;
}

/** Runs passes on the model at `path` as the flags say. `passesFor` chooses them once the model is known. */
export async function runWritingCommand(
  command: string,
  path: string,
  flags: RunFlags,
  passesFor: (model: Model, data: Dataset | undefined) => readonly BoundPass[],
  /** Chooses other passes by trying them, where the flags ask for it; has everything that verification has. */
  plan?: (context: PlanContext) => Promise<PlannedPasses | undefined>,
  signal?: AbortSignal,
): Promise<RunRecord> {
  const cli = openCliSession(flags);
  const target = outputPath(path, flags.output, command, flags.force);
  try {
    const input = await openInput(path);
    const opened = flags.data === undefined ? undefined : await openData(cli, flags.data, input, flags);
    const data = opened && (await withCalibrationCache(flags, opened));
    const plainPasses = passesFor(input.model, data);
    const needing = plainPasses.find((p) => p.needs.data === 'required');
    if (needing && !data) {
      throw usageError(`${needing.name} needs calibration data: expected --data SPEC`, {
        hint: 'a hundred real samples are plenty; --data random only tries the machinery out',
      });
    }
    const validation = flags.verify ? await openValidation(cli, input, flags, data) : undefined;
    for (const note of [...(data?.notes ?? []), ...(validation !== data ? (validation?.notes ?? []) : [])]) cli.say(`note: ${note}`);
    const metric = validation && (await openMetric(flags.metric, validation));
    const planned = await plan?.({ cli, input, model: input.model, data, validation, metric });
    const record = await runPipeline({
      command,
      input,
      passes: planned?.passes ?? plainPasses,
      plan: planned?.record,
      engine: cli.engine,
      stage: stageBeside(target),
      data,
      validation,
      metric,
      limit: flags.limit,
      verify: flags.verify,
      details: flags.report !== undefined,
      budget: { maxDrop: flags.maxDrop, maxSize: flags.maxSize, maxLatency: flags.maxLatency },
      seed: flags.seed,
      batch: flags.batch,
      shapes: flags.shape,
      session: cli.session,
      memoryBytes: cli.memoryBytes,
      signal,
      onProgress: (p) => cli.progress.update(p),
    });
    cli.progress.stop();
    cli.say(renderRun(record));
    if (flags.report !== undefined) {
      const { renderReport } = await import('../report/html.js');
      await writeFileAtomic(flags.report, renderReport(record));
      cli.say(`report: ${flags.report}`);
    }
    cli.json(record);
    return record;
  } finally {
    cli.progress.stop();
  }
}

/** With `--calibration-cache` or `--calibration-shards`: the data with the place where results of measuring on it are kept. */
async function withCalibrationCache(flags: RunFlags, data: IndexedDataset): Promise<IndexedDataset> {
  const { calibrationCache, calibrationShards } = flags;
  if (calibrationCache === undefined && calibrationShards === undefined) return data;
  const { openCalibrationCache } = await import('../node/calibration-cache.js');
  return withMeasurements(data, openCalibrationCache(calibrationCache, { shards: calibrationShards }));
}
