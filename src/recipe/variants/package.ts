// A model package in Hugging Face layout: configuration and tokenizer files at the top, one ONNX file per session in `onnx/` (or at the top).
// Reading and writing are injected, so that a package may be a folder or a set of Blobs.
import { formatError, usageError } from '../../errors.js';
import type { InputModel, Stage } from '../staging.js';
import { VARIANT_NAMES, VARIANT_SUFFIX, type VariantName } from './plan.js';

export interface PackageFile {
  /** Relative to the package, with forward slashes. */
  readonly path: string;
  readonly bytes: number;
}

/** The model of a session with the data files that its weights lie in, relative to the package. */
export interface PackageModel extends InputModel {
  readonly external: readonly string[];
}

export interface StageOptions {
  /** Weights in `<file>_data`, `<file>_data_1`, ... : always, or where one file would pass 2 GiB. */
  readonly external: boolean | 'auto';
  readonly maxFileBytes: number;
}

/** Where a package is read from and written to. */
export interface PackageStore {
  /** Every file of the source. */
  files(): Promise<readonly PackageFile[]>;
  readText(path: string): Promise<string>;
  openModel(path: string): Promise<PackageModel>;
  /** Throws E_FILE where the result has a file of this name that must not be replaced. */
  checkTarget(path: string): Promise<void>;
  /** Copies a file of the source into the result; does nothing where both are the same. */
  copy(path: string, to: string): Promise<void>;
  writeText(path: string, text: string): Promise<void>;
  /** Writes a model beside its place in the result until it is verified. */
  stage(path: string, options: StageOptions): Stage;
}

/** One model of the package: `model`, `encoder_model`, `decoder_model_merged`, ... */
export interface PackageSession {
  readonly name: string;
  /** The float model in the source. */
  readonly path: string;
}

const FOLDER = 'onnx/';

/** Path of a variant in the result. */
export function variantPath(session: string, name: VariantName | 'fp32'): string {
  return `${FOLDER}${session}${VARIANT_SUFFIX[name]}.onnx`;
}

const stemOf = (path: string) => path.slice(path.lastIndexOf('/') + 1, -'.onnx'.length);

/** The sessions of a package: the ONNX files that are no variant of another. Throws E_USAGE where there are none. */
export function findSessions(files: readonly PackageFile[]): PackageSession[] {
  const models = files.filter((f) => f.path.endsWith('.onnx'));
  const inFolder = models.filter((f) => f.path.startsWith(FOLDER) && !f.path.slice(FOLDER.length).includes('/'));
  const candidates = inFolder.length > 0 ? inFolder : models.filter((f) => !f.path.includes('/'));
  const stems = new Set(candidates.map((f) => stemOf(f.path)));
  const sessions = candidates.filter((f) => baseOf(stemOf(f.path), stems) === undefined);
  if (sessions.length === 0) {
    throw usageError(`expected at least one .onnx file in onnx/ or at the top of the package, got ${models.length} elsewhere`, {
      hint: 'the folder should hold config.json, tokenizer files and onnx/model.onnx',
    });
  }
  return sessions.map((f) => ({ name: stemOf(f.path), path: f.path })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Session and variant of a stem that is the name of another one with a suffix. */
function baseOf(stem: string, stems: ReadonlySet<string>): { session: string; variant: VariantName } | undefined {
  for (const variant of VARIANT_NAMES) {
    const suffix = VARIANT_SUFFIX[variant];
    const session = stem.slice(0, -suffix.length);
    if (stem.endsWith(suffix) && stems.has(session)) return { session, variant };
  }
  return undefined;
}

/** True for data files as transformers.js names them: `<file>_data`, `<file>_data_1`, ... */
export function namesConform(model: string, external: readonly string[]): boolean {
  const wanted = external.map((_, i) => `${model}_data${i === 0 ? '' : `_${i}`}`);
  return wanted.every((name) => external.includes(name));
}

export type JsonObject = Record<string, unknown>;

/** Reads a JSON object. Throws E_FORMAT. */
export function parseObject(text: string, path: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw formatError(`"${path}": expected JSON, got ${(cause as Error).message}`, { place: { file: path }, cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw formatError(`"${path}": expected a JSON object`, { place: { file: path } });
  return value as JsonObject;
}

export const CONFIG_KEY = 'transformers.js_config';

export interface ConfigUpdate {
  /** Number of data files by model file name; files without any are not listed. */
  readonly dataFiles: Readonly<Record<string, number>>;
  /** Model files that were written: what was said of their data before no longer holds. */
  readonly written: readonly string[];
  /** Default variant by session. */
  readonly dtype: Readonly<Record<string, VariantName | 'fp32'>>;
}

/** The configuration with the part that transformers.js reads brought up to date; everything else is kept. */
export function updateConfig(config: JsonObject, update: ConfigUpdate): JsonObject {
  const own = { ...(config[CONFIG_KEY] as JsonObject | undefined) };
  const chosen = new Set(Object.values(update.dtype));
  if (chosen.size === 1) own.dtype = [...chosen][0];
  else if (chosen.size > 1) own.dtype = { ...(typeof own.dtype === 'object' ? own.dtype : {}), ...update.dtype };
  const external = externalEntries(own.use_external_data_format, update);
  if (Object.keys(external).length > 0) own.use_external_data_format = external;
  else delete own.use_external_data_format;
  return { ...config, [CONFIG_KEY]: own };
}

/** Entries by file name. One number for all files is spelled out for the float files it was meant for: it would hold for every variant. */
function externalEntries(before: unknown, { dataFiles, written }: ConfigUpdate): Record<string, number | boolean> {
  const kept =
    typeof before === 'object' && before !== null
      ? Object.entries(before as Record<string, number | boolean>).filter(([name]) => name.endsWith('.onnx') && !written.includes(name))
      : [];
  return Object.fromEntries([...kept, ...Object.entries(dataFiles).filter(([, count]) => count > 0)]);
}
