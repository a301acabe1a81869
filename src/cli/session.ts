// What a command works with, made from its flags: engine, data, progress and where output goes.
import { freemem } from 'node:os';
import { basename, dirname, extname, join, resolve } from 'node:path';
import type { Dataset, IndexedDataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { dataError, usageError } from '../errors.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import { deviceEngine } from '../node/device-engine.js';
import type { InputModel } from '../recipe/staging.js';
import type { Engine, ModelSource, SessionOptions } from '../runtime/engine.js';
import { findFeeds } from '../runtime/inputs.js';
import { ProgressLine } from './render/progress.js';
import type { CommonFlags, DataFlags } from './shared-options.js';

/** Random samples for verification where the user gave no data. */
const RANDOM_SAMPLES = 16;

export interface CliSession {
  readonly engine: Engine;
  readonly session: SessionOptions;
  readonly progress: ProgressLine;
  readonly memoryBytes: number;
  /** A line for people: on stdout, or on stderr where stdout carries JSON; nothing with `--quiet`. */
  say(text: string): void;
  /** The JSON document, with `--json`. */
  json(document: unknown): void;
}

/** A model with what an engine loads it from. */
export type OpenedModel = Pick<InputModel, 'model' | 'source'>;

export function openCliSession(flags: CommonFlags): CliSession {
  return {
    engine: deviceEngine(flags.device),
    session: {
      ...(flags.threads === undefined ? {} : { threads: flags.threads }),
      ...(flags.device === undefined ? {} : { device: flags.device }),
    },
    progress: new ProgressLine(flags.quiet !== true),
    memoryBytes: flags.memory ?? freemem() / 2,
    say(text) {
      if (flags.quiet) return;
      (flags.json ? process.stderr : process.stdout).write(`${text}\n`);
    },
    json(document) {
      if (flags.json) process.stdout.write(`${JSON.stringify(document, finiteOnly, 2)}\n`);
    },
  };
}

/** JSON has no infinities: they become null, as JSON.stringify does, but bigints become numbers instead of failing. */
function finiteOnly(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

/** Opens the data set that a SPEC names, for a model at `path`. */
export async function openData(
  cli: CliSession,
  spec: string,
  { model, source }: OpenedModel,
  flags: CommonFlags & DataFlags,
): Promise<IndexedDataset> {
  const { limit, preprocess, labels, tokenizer, text, label } = flags;
  const shapes = spec.startsWith('random') ? await workingShapes(cli, model, source, flags.shape) : flags.shape;
  const { openDataset } = await import('../node/data.js');
  return openDataset(spec, model, {
    seed: flags.seed,
    ...(limit === undefined ? {} : { limit }),
    ...(preprocess === undefined ? {} : { preprocess }),
    ...(labels === undefined ? {} : { labels }),
    ...(tokenizer === undefined ? {} : { tokenizer }),
    ...(text === undefined ? {} : { text }),
    ...(label === undefined ? {} : { label }),
    ...(shapes === undefined ? {} : { shapes }),
  });
}

/** What random data must look like for the model to run: audio models refuse the default length of open dimensions. */
async function workingShapes(
  cli: CliSession,
  model: Model,
  source: ModelSource,
  given: CommonFlags['shape'],
): Promise<CommonFlags['shape']> {
  const open = requiredInputs(model.graph).some((v) =>
    tensorTypeOf(v)
      ?.shape?.slice(1)
      .some((d) => typeof d !== 'number'),
  );
  if (!open || given !== undefined) return given;
  const session = await cli.engine.load(source, cli.session);
  try {
    const { inputs } = await findFeeds(session, model);
    return inputs;
  } finally {
    await session.release();
  }
}

/** The data that quality is measured on: `--validation`, else `--data`, else random samples. */
export async function openValidation(
  cli: CliSession,
  input: OpenedModel,
  flags: CommonFlags & DataFlags & { validation?: string },
  data: Dataset | undefined,
): Promise<Dataset> {
  if (flags.validation !== undefined) return openData(cli, flags.validation, input, flags);
  return data ?? openData(cli, `random:${RANDOM_SAMPLES}`, input, flags);
}

/** The metric named by `--metric`; undefined where none was named. Throws E_USAGE for an unknown one, E_DATA where it needs labels that are not there. */
export async function openMetric(name: string | undefined, data: Dataset): Promise<Metric | undefined> {
  if (name === undefined) return undefined;
  const { metricByName } = await import('../node/metrics.js');
  const metric = await metricByName(name);
  if (metric.needs === 'labels' && !data.hasLabels) {
    throw dataError(`metric ${name} needs labels, but data "${data.name}" has none`, {
      hint: 'name the labels with --labels or --label, or use agreement, cosine or kl, which compare with the original model',
    });
  }
  return metric;
}

/** `-o`, or `model.<suffix>.onnx` beside the input. Throws E_USAGE where that is the input itself and `--force` is not given. */
export function outputPath(input: string, output: string | undefined, suffix: string, force: boolean | undefined): string {
  const extension = extname(input);
  const path = output ?? join(dirname(input), `${basename(input, extension)}.${suffix}${extension || '.onnx'}`);
  if (resolve(path) === resolve(input) && !force) {
    throw usageError(`the output "${path}" is the input itself`, {
      hint: 'choose another name with -o, or replace the input with --force',
    });
  }
  return path;
}
