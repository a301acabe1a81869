// From a package with float models to a package with every variant: each is made, written, loaded and run in every runtime given, and only then put
// in its place. Ends with the configuration that transformers.js reads and a section for the model card.
import type { Dataset } from '../../data/dataset.js';
import type { Metric } from '../../data/metric.js';
import { defaultMetric } from '../../data/metrics.js';
import { randomDataset } from '../../data/random.js';
import { abortError, PareError } from '../../errors.js';
import type { Model } from '../../ir/model.js';
import type { BoundPass, Progress, Skipped, Warning } from '../../pass/define.js';
import { type PassResult, runPasses } from '../../pass/manager.js';
import { hoistConstants } from '../../passes/simplify/hoist-constants.js';
import { simplify } from '../../passes/simplify/index.js';
import type { Engine, Session } from '../../runtime/engine.js';
import { findFeeds } from '../../runtime/inputs.js';
import { VERSION } from '../../util/version.js';
import { stampMetadata } from '../metadata.js';
import { checkSupported } from '../supported.js';
import { cachedSteps, takesCache } from './cached-steps.js';
import { renderCard, replaceSection } from './card.js';
import { type DeviceFigures, measureOn, type Trial, type VariantDevice } from './measure.js';
import {
  CONFIG_KEY,
  findSessions,
  type JsonObject,
  namesConform,
  type PackageModel,
  type PackageSession,
  type PackageStore,
  parseObject,
  type StageOptions,
  updateConfig,
  variantPath,
} from './package.js';
import { type PlanOptions, VARIANT_NAMES, type VariantName, variantPasses } from './plan.js';

export interface VariantsOptions {
  readonly store: PackageStore;
  /** Runs the passes. */
  readonly engine: Engine;
  /** Where every file is loaded and run; the first one is measured in full. None: nothing is verified. */
  readonly devices: readonly VariantDevice[];
  /** Default: all. */
  readonly variants?: readonly VariantName[] | undefined;
  readonly plan?: PlanOptions | undefined;
  readonly external?: boolean | 'auto' | undefined;
  readonly maxFileBytes?: number | undefined;
  /** Default variant to write into config.json; otherwise what it has, or the first of the usual ones that keeps the quality. */
  readonly dtype?: VariantName | 'fp32' | undefined;
  /** Data for a session, or undefined where it takes none of it: then random samples. */
  readonly data?: ((input: PackageModel, session: string) => Promise<Dataset | undefined>) | undefined;
  /** What q4, q2 and q1 are rounded on (default: `data`). */
  readonly calibration?: ((input: PackageModel, session: string) => Promise<Dataset | undefined>) | undefined;
  readonly metric?: ((data: Dataset) => Promise<Metric | undefined>) | undefined;
  readonly limit?: number | undefined;
  /** Bytes that the loaded models may take: beyond, sessions are opened frugally; where even that does not fit, files are written and not run. */
  readonly memoryBytes?: number | undefined;
  readonly seed?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

export interface VariantRow {
  readonly variant: VariantName | 'fp32';
  /** Relative to the package. */
  readonly file: string;
  /** Bytes with data files; 0 where nothing was written. */
  readonly bytes: number;
  readonly data_files: number;
  readonly sha256: string | null;
  readonly devices: readonly DeviceFigures[];
  readonly skipped: readonly Skipped[];
  readonly warnings: readonly Warning[];
  /** Why the file was not written; null where it was. */
  readonly missing: string | null;
  /** True where making, loading or running it failed; false where there was nothing to do. */
  readonly failed: boolean;
}

export interface SessionVariants {
  readonly session: string;
  readonly data: { readonly name: string; readonly synthetic: boolean } | null;
  /** The float model first. */
  readonly rows: readonly VariantRow[];
  readonly dtype: VariantName | 'fp32' | null;
}

export interface VariantsRecord {
  readonly tool: { readonly name: 'pare'; readonly version: string };
  readonly seed: number;
  readonly devices: readonly { readonly name: string; readonly engine: string }[];
  readonly verified: boolean;
  readonly sessions: readonly SessionVariants[];
  readonly warnings: readonly Warning[];
  readonly ms: number;
}

/**
 * What all variants start from: constants in the main graph, where they can be external data in the browser too, and fused normalization. Folding may
 * not write a second copy of tied embeddings.
 */
const PREPARATION = [hoistConstants(), simplify({ maxFoldBytes: 16_384 }), hoistConstants()];

/** Largest data file: below what browsers hold in one buffer. */
const MAX_FILE_BYTES = 2 ** 31 - 2 ** 20;
const UNLABELLED_SAMPLES = 8;
const LABELLED_SAMPLES = 256;
/** Variants that may become the default, the best first: 8-bit products are the fastest on processors and in WebAssembly, which were measured. */
const DEFAULTS: readonly VariantName[] = ['q8', 'q4', 'fp16'];
const LOSS_OF_METRIC = 0.01;
const LEAST_COSINE = 0.99;

/** Two loaded sessions, the float model's and a variant's of at most its size, take about this many times the float model's bytes; frugal ones less. */
const SESSIONS_FACTOR = 5;
const FRUGAL_FACTOR = 2.6;

const CONFIG = 'config.json';
const CARD = 'README.md';

/** Makes the files. Failures of single variants are part of the record; the rest of the package is written all the same. */
export async function makeVariants(options: VariantsOptions): Promise<VariantsRecord> {
  const start = performance.now();
  const { store, devices } = options;
  const files = await store.files();
  const sessions = findSessions(files);
  const names = VARIANT_NAMES.filter((n) => options.variants === undefined || options.variants.includes(n));
  const targets = sessions.flatMap((s) => names.map((n) => variantPath(s.name, n)));
  for (const path of targets) await store.checkTarget(path);
  const warnings: Warning[] = [];
  if (!files.some((f) => f.path === CONFIG))
    warnings.push({
      message: `the package has no ${CONFIG}: transformers.js needs one to choose a model class`,
      fix: 'copy it from the original model',
    });
  const done: SessionVariants[] = [];
  const own = new Set<string>([CONFIG, CARD]);
  for (const session of sessions) {
    const input = await store.openModel(session.path);
    for (const path of [session.path, ...input.external]) own.add(path);
    const use = memoryUse(input.bytes, options.memoryBytes ?? Number.POSITIVE_INFINITY);
    if (use === 'none' && devices.length > 0)
      warnings.push({
        message: `${session.name} was not run: with its variants it would pass the memory limit of ${options.memoryBytes} bytes`,
        fix: 'raise --memory',
      });
    const run = use === 'none' ? [] : devices.map((d) => (use === 'frugal' ? { ...d, session: { ...d.session, frugal: true } } : d));
    done.push(await new SessionRun({ ...options, devices: run }, session, input).run(names));
  }
  const replaced = new Set(targets.flatMap((path) => [path, ...files.map((f) => f.path).filter((p) => p.startsWith(`${path}_data`))]));
  for (const { path } of files) if (!own.has(path) && !replaced.has(path)) await store.copy(path, path);
  const record: VariantsRecord = {
    tool: { name: 'pare', version: VERSION },
    seed: options.seed ?? 0,
    devices: devices.map((d) => ({ name: d.name, engine: `${d.engine.name} ${d.engine.version}` })),
    verified: devices.length > 0 && done.every((s) => s.rows.every((r) => r.bytes === 0 || r.devices.length > 0)),
    sessions: done,
    warnings,
    ms: performance.now() - start,
  };
  const hasConfig = files.some((f) => f.path === CONFIG);
  await writeConfig(store, record, hasConfig, options.dtype !== undefined);
  const card = files.some((f) => f.path === CARD) ? await store.readText(CARD) : '';
  await store.writeText(CARD, replaceSection(card, renderCard(record)));
  return record;
}

function memoryUse(bytes: number, memory: number): 'full' | 'frugal' | 'none' {
  return bytes * SESSIONS_FACTOR <= memory ? 'full' : bytes * FRUGAL_FACTOR <= memory ? 'frugal' : 'none';
}

async function writeConfig(store: PackageStore, record: VariantsRecord, exists: boolean, asked: boolean): Promise<void> {
  const config = exists ? parseObject(await store.readText(CONFIG), CONFIG) : {};
  const rows = record.sessions.flatMap((s) => s.rows).filter((r) => r.bytes > 0);
  const nameOf = (file: string) => file.slice(file.lastIndexOf('/') + 1);
  // A default that somebody chose is kept.
  const keeps = !asked && (config[CONFIG_KEY] as JsonObject | undefined)?.dtype !== undefined;
  const updated = updateConfig(config, {
    dataFiles: Object.fromEntries(rows.map((r) => [nameOf(r.file), r.data_files])),
    written: rows.map((r) => nameOf(r.file)),
    dtype: keeps ? {} : Object.fromEntries(record.sessions.flatMap((s) => (s.dtype === null ? [] : [[s.session, s.dtype]]))),
  });
  await store.writeText(CONFIG, `${JSON.stringify(updated, null, 2)}\n`);
}

/** One session with all of its variants. */
class SessionRun {
  readonly #options: VariantsOptions;
  readonly #session: PackageSession;
  readonly #input: PackageModel;
  #calibrationData: Dataset | undefined;
  /** The variant made last. */
  #rounded: ReadonlyMap<VariantName, PassResult> | undefined;

  constructor(options: VariantsOptions, session: PackageSession, input: PackageModel) {
    this.#options = options;
    this.#session = session;
    this.#input = input;
  }

  async run(names: readonly VariantName[]): Promise<SessionVariants> {
    const { engine, devices } = this.#options;
    const { model } = this.#input;
    checkSupported(model);
    this.#progress('simplifying');
    const [first] = devices;
    const reference = first && (await first.engine.load(this.#input.source, first.session ?? {}));
    try {
      const data = reference ? await this.#data(reference) : await this.#ownData();
      const trial = reference && data && { reference, data, ...(await this.#extent(data)) };
      const rows = [await this.#float(trial)];
      const { model: base } = await runPasses(model, PREPARATION, {
        engine,
        threads: first?.session?.threads,
        signal: this.#options.signal,
      });
      for (const name of names) rows.push(await this.#variant(name, base, data, trial));
      return {
        session: this.#session.name,
        data: data ? { name: data.name, synthetic: data.synthetic } : null,
        rows,
        dtype: this.#options.dtype ?? chooseDefault(rows, devices.length),
      };
    } finally {
      await reference?.release();
    }
  }

  #progress(label: string): void {
    if (this.#options.signal?.aborted) throw abortError();
    this.#options.onProgress?.({ fraction: undefined, label: `${this.#session.name}: ${label}` });
  }

  #ownData(): Promise<Dataset | undefined> {
    return this.#options.data?.(this.#input, this.#session.name) ?? Promise.resolve(undefined);
  }

  async #data(reference: Session): Promise<Dataset> {
    const given = await this.#ownData();
    if (given) return given;
    const { model } = this.#input;
    const { seed = 0, shapes } = this.#options;
    if (shapes === undefined && takesCache(model)) {
      try {
        return await cachedSteps(model, reference, { seed });
      } catch (error) {
        // Names or shapes of another convention: random feeds may fit.
        if (!(error instanceof PareError) || error.kind === 'bug') throw error;
      }
    }
    // Shapes that the model runs on: audio models refuse the default length.
    const { inputs } = await findFeeds(reference, model, { seed, shapes });
    return randomDataset(model, { seed, samples: UNLABELLED_SAMPLES, shapes: inputs });
  }

  async #extent(data: Dataset): Promise<Pick<Trial, 'metric' | 'limit' | 'signal'>> {
    const { limit, signal } = this.#options;
    const named = await this.#options.metric?.(data);
    const metric = named ?? (data.hasLabels ? defaultMetric(this.#input.model, data) : undefined);
    return { metric, limit: limit ?? (data.hasLabels ? LABELLED_SAMPLES : UNLABELLED_SAMPLES), signal };
  }

  /** The float model: copied, or written anew where its data files do not have the names that transformers.js looks for. */
  async #float(trial: Trial | undefined): Promise<VariantRow> {
    const { store, devices } = this.#options;
    const { path, name } = this.#session;
    const { external } = this.#input;
    const file = variantPath(name, 'fp32');
    this.#progress('fp32');
    const figures: DeviceFigures[] = [];
    if (trial) for (const [i, device] of devices.entries()) figures.push(await measureOn(device, this.#input.source, trial, i === 0));
    let dataFiles = external.length;
    let { bytes } = this.#input;
    if (namesConform(path, external)) {
      await store.copy(path, file);
      for (const from of external) await store.copy(from, `${file}${from.slice(path.length)}`);
    } else {
      const staged = await store.stage(file, this.#layout(true))(this.#input.model);
      await staged.commit();
      ({ bytes } = staged);
      dataFiles = staged.files.length - 1;
    }
    const sha256 = await this.#input.sha256;
    return {
      variant: 'fp32',
      file,
      bytes,
      data_files: dataFiles,
      sha256,
      devices: figures,
      skipped: [],
      warnings: [],
      missing: null,
      failed: false,
    };
  }

  #layout(external: boolean | 'auto'): StageOptions {
    return { external, maxFileBytes: this.#options.maxFileBytes ?? MAX_FILE_BYTES };
  }

  /** What weights are rounded on; undefined where there is nothing but random samples. */
  async #calibration(data: Dataset | undefined): Promise<Dataset | undefined> {
    const { calibration, plan } = this.#options;
    if (plan?.calibrated === false) return undefined;
    this.#calibrationData ??= (await calibration?.(this.#input, this.#session.name)) ?? data;
    return this.#calibrationData?.synthetic ? undefined : this.#calibrationData;
  }

  /** Runs the passes; a half-precision variant starts from the one it follows, so that weights are rounded once. */
  async #make(name: VariantName, base: Model, passes: readonly BoundPass[], data: Dataset | undefined): Promise<PassResult> {
    const { engine, devices, seed = 0, signal } = this.#options;
    const environment = { engine, seed, data, threads: devices[0]?.session?.threads, signal };
    const rounded = this.#rounded?.get(name.replace(/f16$/, '') as VariantName);
    if (rounded && name.endsWith('f16')) {
      const { model, records, changed } = await runPasses(rounded.model, passes.slice(-1), environment);
      return { model, records: [...rounded.records, ...records], changed: changed || rounded.changed };
    }
    const made = await runPasses(base, passes, environment);
    this.#rounded = new Map([[name, made]]);
    return made;
  }

  async #variant(name: VariantName, base: Model, data: Dataset | undefined, trial: Trial | undefined): Promise<VariantRow> {
    const { devices, seed = 0, store } = this.#options;
    const file = variantPath(this.#session.name, name);
    const row = {
      variant: name,
      file,
      bytes: 0,
      data_files: 0,
      sha256: null,
      devices: [],
      skipped: [],
      warnings: [],
      failed: false,
    } as const;
    this.#progress(name);
    const calibration = await this.#calibration(data);
    const passes = variantPasses(name, base, { ...this.#options.plan, calibrated: calibration !== undefined });
    let notes: Pick<VariantRow, 'skipped' | 'warnings'> = { skipped: [], warnings: [] };
    try {
      const { model, records, changed } = await this.#make(name, base, passes, calibration ?? data);
      notes = { skipped: records.flatMap((r) => r.skipped), warnings: records.flatMap((r) => r.warnings) };
      if (!changed) return { ...row, ...notes, missing: 'nothing in this model could be changed' };
      stampMetadata(model, {
        passes: [...PREPARATION, ...passes],
        seed,
        inputSha256: await this.#input.sha256,
        verified: trial !== undefined,
      });
      const staged = await store.stage(file, this.#layout(this.#options.external ?? 'auto'))(model);
      try {
        const figures: DeviceFigures[] = [];
        if (trial) for (const [i, device] of devices.entries()) figures.push(await measureOn(device, staged.source, trial, i === 0));
        await staged.commit();
        return {
          ...row,
          ...notes,
          bytes: staged.bytes,
          data_files: staged.files.length - 1,
          sha256: staged.sha256,
          devices: figures,
          missing: null,
        };
      } catch (error) {
        await staged.discard();
        throw error;
      }
    } catch (error) {
      if (!(error instanceof PareError) || error.kind === 'bug' || error.code === 'E_ABORTED' || error.code === 'E_FILE') throw error;
      return { ...row, ...notes, missing: `${error.code}: ${error.message}`, failed: error.code !== 'E_NOTHING_TO_DO' };
    }
  }
}

/** The first of the usual variants that loses hardly anything; null where nothing was measured. Sizes and times decide nothing: they change between runs. */
function chooseDefault(rows: readonly VariantRow[], devices: number): VariantName | 'fp32' | null {
  if (devices === 0) return null;
  const good = (name: VariantName) => rows.some((r) => r.variant === name && r.devices.length === devices && keepsQuality(r.devices[0]!));
  return DEFAULTS.find(good) ?? 'fp32';
}

function keepsQuality({ cosine, metric }: DeviceFigures): boolean {
  if (metric === null) return cosine >= LEAST_COSINE;
  const loss = metric.higherIsBetter
    ? metric.before - metric.after
    : (metric.after - metric.before) / Math.max(Math.abs(metric.before), 1e-9);
  return loss <= LOSS_OF_METRIC;
}
