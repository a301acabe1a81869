// Data as named on the command line, opened for a model: random[:N], x.npz, x.npy, folders and archives of pictures or sounds, tables and texts,
// idx:IMAGES,LABELS, cifar:FILE. Every failure says what the model wants and what the data is.
import { existsSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { arraysDataset } from '../data/arrays.js';
import { type AudioSettings, audioDataset, isAudioJson, parseAudioSettings, soundWindows, windowLength } from '../data/audio.js';
import type { IndexedDataset } from '../data/dataset.js';
import { gunzip } from '../data/gzip.js';
import { parseIdx } from '../data/idx.js';
import { normalizeRows } from '../data/image-plan.js';
import { cifarSource, type ImageSource, imageDataset, pixelSource } from '../data/images.js';
import { limitDataset } from '../data/indexed.js';
import { type ModelInput, modelInputs } from '../data/inputs.js';
import { readNpySource } from '../data/npy.js';
import { readNpz } from '../data/npz.js';
import { PRESETS, type Preprocess, parsePreprocess, presetNamed } from '../data/preprocess.js';
import { randomDataset } from '../data/random.js';
import { parseLines, parseTable, type TableKind } from '../data/table.js';
import { isLanguageModel, languageDataset, textDataset } from '../data/text.js';
import { type TextEncoder, textEncoderFrom } from '../data/tokenizer.js';
import { parseWav } from '../data/wav.js';
import { dataError, fileError, usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { decodeImage, isImageFile } from './data-images.js';
import { classify, type Listing, listFolder, listTar, listZip, readBytes } from './data-listing.js';
import { FileSource } from './file-source.js';

export interface DataOptions {
  /** Samples at most. */
  readonly limit?: number | undefined;
  /** A preset's name, or a JSON file of settings for pictures or sounds. */
  readonly preprocess?: string | undefined;
  /** Name of the labels array of an .npz; for folders and texts a file with one class name per line. */
  readonly labels?: string | undefined;
  /** tokenizer.json, or a vocabulary: array of characters or object character to id. */
  readonly tokenizer?: string | undefined;
  /** Column of the text, by name or position from 1; "a,b" for a pair. */
  readonly text?: string | undefined;
  readonly label?: string | undefined;
  /** Sizes of inputs with symbolic dimensions, by input name. */
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly seed?: number | undefined;
}

const FORMS =
  'random[:N], x.npz, x.npy, a folder, .zip or .tar(.gz) of pictures or .wav files, x.csv, x.tsv, x.jsonl, x.txt, x.wav, idx:IMAGES,LABELS or cifar:FILE';

/** Opens the data that `spec` names. Throws E_USAGE, E_FILE, E_FORMAT or E_DATA. */
export async function openDataset(spec: string, model: Model, options: DataOptions = {}): Promise<IndexedDataset> {
  const dataset = await openSpec(spec, model, options);
  return options.limit === undefined ? dataset : limitDataset(dataset, options.limit);
}

async function openSpec(spec: string, model: Model, options: DataOptions): Promise<IndexedDataset> {
  const random = /^random(?::(.*))?$/.exec(spec);
  if (random) {
    const count = random[1];
    if (count !== undefined && !/^[1-9]\d*$/.test(count))
      throw usageError(`--data ${spec}: expected random:N with a whole number above 0, got "${count}"`);
    const samples = count === undefined ? options.limit : Number(count);
    return randomDataset(model, { seed: options.seed ?? 0, samples, shapes: options.shapes });
  }
  if (spec.startsWith('idx:')) return images(idxSource(spec), model, options, 'unit');
  if (spec.startsWith('cifar:')) return images(cifarSource(spec, readBytes(spec.slice(6))), model, options, 'unit', spec);
  if (!existsSync(spec)) {
    throw fileError(`--data ${spec}: no such file or folder`, { place: { file: spec }, hint: `expected one of ${FORMS}` });
  }
  if (statSync(spec).isDirectory()) return openListing(listFolder(spec), model, options);
  const lower = spec.toLowerCase();
  if (lower.endsWith('.npz')) return openArrays(spec, await readNpz(FileSource.open(spec), spec), model, options);
  if (lower.endsWith('.npy')) {
    const array = await readNpySource(FileSource.open(spec), spec);
    return openArrays(spec, new Map([[basename(spec, '.npy'), array]]), model, options);
  }
  if (lower.endsWith('.zip')) return openListing(await listZip(spec), model, options);
  if (/\.(tar|tar\.gz|tgz)$/.test(lower)) return openListing(listTar(spec), model, options);
  if (lower.endsWith('.wav')) return openSound(spec, model, options);
  if (isImageFile(spec)) {
    const file = { path: basename(spec), read: async () => readBytes(spec) };
    return openListing({ name: spec, files: [file], folders: [] }, model, options);
  }
  const kind = /\.(csv|tsv|jsonl|ndjson|txt)(?:\.gz)?$/.exec(lower)?.[1];
  if (kind !== undefined) return openText(spec, kind, model, options);
  throw usageError(`--data ${spec}: expected ${FORMS}, got "${basename(spec)}"`);
}

function openArrays(name: string, arrays: ReadonlyMap<string, Tensor>, model: Model, options: DataOptions): IndexedDataset {
  const settings = options.preprocess === undefined ? undefined : imageSettings(options.preprocess);
  const transform = settings && ((input: ModelInput, rows: Tensor) => normalizeRows(input, rows, settings));
  return arraysDataset(name, arrays, model, { labels: options.labels, shapes: options.shapes, transform });
}

function idxSource(spec: string): ImageSource {
  const [imagePath, labelPath, ...more] = spec.slice(4).split(',');
  if (!imagePath || more.length > 0) throw usageError(`--data ${spec}: expected idx:IMAGES,LABELS, got ${more.length + 2} paths`);
  const pixels = parseIdx(readBytes(imagePath), imagePath);
  const labels = labelPath ? parseIdx(readBytes(labelPath), labelPath) : undefined;
  return pixelSource(spec, pixels, labels);
}

/** Pictures in memory: `fallback` where no preset is asked for, which is noted for `noted`. */
function images(source: ImageSource, model: Model, options: DataOptions, fallback: keyof typeof PRESETS, noted?: string): IndexedDataset {
  const settings = options.preprocess === undefined ? PRESETS[fallback] : imageSettings(options.preprocess);
  const notes = options.preprocess === undefined && noted !== undefined ? [...(source.notes ?? []), assumed(fallback)] : source.notes;
  return imageDataset({ ...source, notes }, model, settings, options.shapes);
}

const assumed = (preset: string) => `no --preprocess given: "${preset}" assumed`;

async function openListing(listing: Listing, model: Model, options: DataOptions): Promise<IndexedDataset> {
  const pictures = listing.files.filter((f) => isImageFile(f.path));
  const sounds = listing.files.filter((f) => f.path.toLowerCase().endsWith('.wav'));
  if (pictures.length > 0 && sounds.length > 0)
    throw dataError(`"${listing.name}": expected pictures or sounds, got ${pictures.length} pictures and ${sounds.length} sounds`);
  if (pictures.length === 0 && sounds.length === 0)
    throw dataError(
      `"${listing.name}": expected pictures (jpg, png, webp, gif, avif, tiff) or .wav files, got ${listing.files.length} other files`,
    );
  const names = options.labels === undefined ? undefined : classNames(options.labels);
  if (pictures.length > 0) {
    const { labels, classes, notes } = classify(listing, pictures, names);
    const decode = async (i: number) => decodeImage(await pictures[i]!.read(), `${listing.name}/${pictures[i]!.path}`);
    const grey = greyInput(modelInputs(model, options.shapes));
    const source: ImageSource = { name: listing.name, size: pictures.length, labels, classes, notes, decode };
    return images(source, model, options, grey ? 'unit' : 'imagenet', listing.name);
  }
  const folders = classify(listing, sounds, names);
  const { labels, classes } = folders.labels ? folders : leadingNumbers(sounds.map((f) => f.path));
  const read = async (i: number) => parseWav(await sounds[i]!.read(), `${listing.name}/${sounds[i]!.path}`);
  const source = { name: listing.name, size: sounds.length, labels, classes, notes: folders.notes, read };
  return audioDataset(source, model, audioSettings(options.preprocess), options.shapes);
}

/** Flat folders of spoken digits and the like: `7_jackson_3.wav` has class 7. Only where every name is of this kind. */
function leadingNumbers(paths: readonly string[]): { labels?: number[]; classes?: string[] } {
  const matches = paths.map((p) => /^(\d{1,4})_.+\.wav$/i.exec(p)?.[1]);
  if (matches.some((m) => m === undefined)) return {};
  const labels = matches.map(Number);
  return { labels, classes: Array.from({ length: Math.max(...labels) + 1 }, (_, i) => String(i)) };
}

const greyInput = (inputs: readonly ModelInput[]) =>
  inputs.length === 1 && inputs[0]!.shape?.length !== 2 && inputs[0]!.shape?.slice(1).includes(1) === true;

function openSound(spec: string, model: Model, options: DataOptions): IndexedDataset {
  const settings = audioSettings(options.preprocess);
  const sound = parseWav(readBytes(spec), spec);
  const length = windowLength(model, settings, options.shapes) ?? sound.samples.length;
  return audioDataset(soundWindows(spec, sound, length), model, settings, options.shapes);
}

function openText(spec: string, kind: string, model: Model, options: DataOptions): IndexedDataset {
  const encoder = openTokenizer(options.tokenizer, spec);
  const source = new TextDecoder().decode(gunzip(readBytes(spec), spec));
  const { shapes } = options;
  if (kind === 'txt' && isLanguageModel(model)) return languageDataset(spec, source, encoder, model, { shapes });
  const classNamesGiven = options.labels === undefined ? undefined : classNames(options.labels);
  const { rows, classes } =
    kind === 'txt'
      ? parseLines(source, spec, classNamesGiven)
      : parseTable(source, kind === 'ndjson' ? 'jsonl' : (kind as TableKind), spec, {
          text: options.text,
          label: options.label,
          classes: classNamesGiven,
        });
  return textDataset(spec, rows, encoder, model, { shapes, classes });
}

function openTokenizer(path: string | undefined, spec: string): TextEncoder {
  if (path === undefined)
    throw usageError(`--data ${spec}: expected --tokenizer tokenizer.json to turn text into token ids, got none`, {
      hint: 'for character models give a JSON array of the characters in id order',
    });
  return textEncoderFrom(readJson(path), path);
}

function readJson(path: string): unknown {
  const text = new TextDecoder().decode(readBytes(path));
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw usageError(`"${path}": expected JSON, got ${cause instanceof Error ? cause.message : String(cause)}`, {
      place: { file: path },
      cause,
    });
  }
}

function classNames(path: string): string[] {
  const lines = new TextDecoder().decode(readBytes(path)).split(/\r?\n/);
  const names = lines.map((l) => l.trim()).filter((l) => l !== '');
  if (names.length === 0) throw usageError(`--labels ${path}: expected one class name per line, got an empty file`);
  return names;
}

function imageSettings(preprocess: string): Preprocess {
  if (!preprocess.endsWith('.json')) return presetNamed(preprocess);
  return parsePreprocess(readJson(preprocess), preprocess);
}

/** Sounds go in as they are unless a JSON file says otherwise. */
function audioSettings(preprocess: string | undefined): AudioSettings {
  if (preprocess === undefined || preprocess === 'none') return parseAudioSettings({ kind: 'waveform' });
  if (!preprocess.endsWith('.json'))
    throw usageError(
      `--preprocess ${preprocess}: expected a JSON file for sounds ({"kind":"waveform"} or {"kind":"logmel", ...}), got a preset for pictures`,
    );
  const json = readJson(preprocess);
  if (!isAudioJson(json)) throw usageError(`${preprocess}: expected "kind": "waveform" or "logmel" for sounds`);
  return parseAudioSettings(json, preprocess);
}
