// Sounds as a data set: waveforms or log-mel features laid into the model's input, cut or zero-padded to its length.
import { z } from 'zod';
import { dataError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import type { Dim } from '../ir/type.js';
import type { IndexedDataset } from './dataset.js';
import { indexedDataset } from './indexed.js';
import { batchPlan, describeInput, fitDims, type ModelInput, modelInputs } from './inputs.js';
import { frameCount, type MelSettings, melExtractor } from './mel.js';
import { resample, type Sound } from './wav.js';

const common = {
  /** Hertz; sounds at other rates are resampled. Default: their own. */
  sampleRate: z.int().positive().optional(),
  /** Samples per input, where the model leaves the length open. */
  samples: z.int().positive().optional(),
  /** y = x * gain + offset, on samples or on features. */
  gain: z.number().default(1),
  offset: z.number().default(0),
};

export const audioSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('waveform'), ...common }),
  z.strictObject({
    kind: z.literal('logmel'),
    ...common,
    window: z.int().positive(),
    hop: z.int().positive(),
    fft: z.int().positive().optional(),
    mels: z.int().positive(),
    fmin: z.number().min(0).default(0),
    fmax: z.number().positive().optional(),
    melScale: z.enum(['htk', 'slaney']).default('htk'),
    norm: z.enum(['none', 'slaney']).default('none'),
    power: z.union([z.literal(1), z.literal(2)]).default(2),
    log: z.enum(['natural', 'log10', 'db', 'none']).default('natural'),
    floor: z.number().positive().default(1e-6),
    center: z.boolean().default(false),
    order: z.enum(['frames-mels', 'mels-frames']).optional(),
  }),
]);

export type AudioSettings = z.infer<typeof audioSchema>;

/** True for JSON that is meant for sounds. */
export const isAudioJson = (json: unknown): boolean =>
  typeof json === 'object' && json !== null && 'kind' in json && (json.kind === 'waveform' || json.kind === 'logmel');

/** Settings from parsed JSON. Throws E_USAGE naming the field that is wrong. */
export function parseAudioSettings(json: unknown, file = 'preprocess JSON'): AudioSettings {
  const parsed = audioSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw usageError(`${file}: ${issue.path.join('.') || 'settings'}: ${issue.message}`, {
      hint: '{"kind":"waveform","sampleRate":16000} or {"kind":"logmel","sampleRate":16000,"window":480,"hop":320,"mels":40}',
    });
  }
  const s = parsed.data;
  const size = s.kind === 'logmel' ? (s.fft ?? nextPowerOfTwo(s.window)) : 2;
  if (s.kind === 'logmel' && (size < s.window || nextPowerOfTwo(size) !== size))
    throw usageError(`${file}: fft: expected a power of two of at least ${s.window}, got ${size}`);
  return s;
}

const nextPowerOfTwo = (n: number) => 2 ** Math.ceil(Math.log2(n));

export interface SoundSource {
  readonly name: string;
  readonly size: number;
  readonly labels?: readonly number[] | undefined;
  readonly classes?: readonly string[] | undefined;
  readonly notes?: readonly string[] | undefined;
  readonly read: (index: number) => Sound | Promise<Sound>;
}

/** Samples one input takes: what the model fixes, else the settings, else undefined (as long as the sound). */
export function windowLength(
  model: Model,
  settings: AudioSettings,
  shapes?: Readonly<Record<string, readonly number[]>>,
): number | undefined {
  if (settings.kind === 'logmel') return settings.samples;
  const { input } = audioInput(modelInputs(model, shapes), 'sounds');
  const open = (input.shape ?? []).slice(1).filter((d) => d !== 1);
  return open.length === 1 && typeof open[0] === 'number' ? open[0] : settings.samples;
}

/**
 * Throws E_DATA where the model has no input that takes sounds. Besides the sound, a sample rate is fed by its name (`sr`), and recurrent states
 * as zeros.
 */
export function audioDataset(
  source: SoundSource,
  model: Model,
  settings: AudioSettings,
  shapes?: Readonly<Record<string, readonly number[]>>,
): IndexedDataset {
  const inputs = modelInputs(model, shapes);
  const { input, others } = audioInput(inputs, `sounds "${source.name}"`);
  const plan = batchPlan(model);
  const { labels } = source;
  const build = settings.kind === 'logmel' ? featureBuilder(input, settings) : waveBuilder(input, settings);
  return indexedDataset({
    name: source.name,
    size: source.size,
    hasLabels: labels !== undefined,
    classes: source.classes,
    notes: source.notes,
    fixedBatch: plan.kind === 'rows' ? plan.fixed : 1,
    async load(indices) {
      const sounds = await Promise.all(
        indices.map(async (i) => {
          const sound = await source.read(i);
          return settings.sampleRate === undefined ? sound : resample(sound, settings.sampleRate);
        }),
      );
      const feeds: Record<string, Tensor> = { [input.name]: build(sounds) };
      for (const other of others) feeds[other.name] = companion(other, sounds);
      return {
        inputs: feeds,
        labels:
          labels &&
          Tensor.from(
            'int64',
            [indices.length],
            indices.map((i) => labels[i]!),
          ),
      };
    },
  });
}

function audioInput(inputs: readonly ModelInput[], what: string): { input: ModelInput; others: readonly ModelInput[] } {
  const isCompanion = (i: ModelInput) => !isFloat(i.dtype) || /state|hidden|cell|^[hc]0?$/i.test(i.name);
  const candidates = inputs.filter((i) => !isCompanion(i));
  const [input] = candidates;
  if (candidates.length !== 1 || input === undefined)
    throw dataError(`${what}: expected a model with one float input for the sound, got ${inputs.map(describeInput).join(', ')}`, {
      hint: 'give the arrays by input name in an .npz file',
    });
  return { input, others: inputs.filter((i) => i !== input) };
}

function companion(input: ModelInput, sounds: readonly Sound[]): Tensor {
  const dims = (input.shape ?? []).map((d) => (typeof d === 'number' ? d : sounds.length));
  const count = dims.reduce((a, b) => a * b, 1);
  const isRate = /^sr$|sample_?rate/i.test(input.name);
  return Tensor.from(input.dtype, dims, new Float64Array(count).fill(isRate ? sounds[0]!.sampleRate : 0));
}

function laidOut(input: ModelInput, data: Float32Array, rows: number, dims: readonly number[], shape: readonly Dim[] | null): Tensor {
  const fitted = fitDims(dims, shape);
  if (fitted === undefined)
    throw dataError(`model input ${describeInput(input)}: got sounds as float[${['N', ...dims].join(',')}]`, {
      hint: 'set samples, mels, window or hop in the --preprocess JSON so that they give what the model takes',
    });
  return Tensor.of('float', [rows, ...fitted], data).cast(input.dtype);
}

function waveBuilder(input: ModelInput, settings: AudioSettings): (sounds: readonly Sound[]) => Tensor {
  const row = input.shape === null ? null : input.shape.slice(1);
  const open = row?.filter((d) => d !== 1) ?? [null];
  const fixed = open.length === 1 && typeof open[0] === 'number' ? open[0] : settings.samples;
  return (sounds) => {
    const length = fixed ?? sounds.reduce((max, s) => Math.max(max, s.samples.length), 1);
    const out = new Float32Array(sounds.length * length);
    for (const [i, { samples }] of sounds.entries()) {
      const count = Math.min(length, samples.length);
      for (let k = 0; k < length; k++) out[i * length + k] = (k < count ? samples[k]! : 0) * settings.gain + settings.offset;
    }
    return laidOut(input, out, sounds.length, [length], row);
  };
}

function featureBuilder(input: ModelInput, settings: Extract<AudioSettings, { kind: 'logmel' }>): (sounds: readonly Sound[]) => Tensor {
  const { mels, gain, offset, window, hop } = settings;
  const row = input.shape === null ? null : input.shape.slice(1);
  const open = (row ?? []).filter((d) => d !== 1);
  const melsFirst =
    settings.order === undefined ? open.length === 2 && open[0] === mels && open[1] !== mels : settings.order === 'mels-frames';
  const frameDim = open.length === 1 ? (typeof open[0] === 'number' ? open[0] / mels : undefined) : open[melsFirst ? 1 : 0];
  const wanted = typeof frameDim === 'number' && Number.isInteger(frameDim) ? frameDim : undefined;
  let extract: { rate: number; run: ReturnType<typeof melExtractor>; mel: MelSettings } | undefined;
  return (sounds) => {
    const rate = sounds[0]!.sampleRate;
    if (sounds.some((s) => s.sampleRate !== rate))
      throw dataError('sounds: expected one sample rate, got several', { hint: 'set sampleRate in the --preprocess JSON to resample' });
    if (extract?.rate !== rate) {
      const { fmin, melScale: scale, norm, power, log, floor, center } = settings;
      const fft = settings.fft ?? nextPowerOfTwo(window);
      const mel = {
        sampleRate: rate,
        window,
        hop,
        mels,
        fft,
        fmin,
        fmax: settings.fmax ?? rate / 2,
        scale,
        norm,
        power,
        log,
        floor,
        center,
      };
      extract = { rate, mel, run: melExtractor(mel) };
    }
    const { run, mel } = extract;
    const length =
      settings.samples ??
      (wanted === undefined ? sounds.reduce((max, s) => Math.max(max, s.samples.length), window) : (wanted - 1) * hop + window);
    const frames = wanted ?? frameCount(length, mel);
    const out = new Float32Array(sounds.length * frames * mels);
    for (const [i, { samples }] of sounds.entries()) {
      const padded = new Float32Array(length);
      padded.set(samples.subarray(0, length));
      const result = run(padded);
      for (let t = 0; t < Math.min(frames, result.frames); t++)
        for (let m = 0; m < mels; m++) {
          const at = melsFirst ? m * frames + t : t * mels + m;
          out[i * frames * mels + at] = result.features[t * mels + m]! * gain + offset;
        }
    }
    return laidOut(input, out, sounds.length, melsFirst ? [mels, frames] : [frames, mels], row);
  };
}

/** One long sound as neighbouring windows of `length` samples; the rest that fills none is left out. */
export function soundWindows(name: string, sound: Sound, length: number): SoundSource {
  const size = Math.floor(sound.samples.length / length);
  if (size < 1) throw dataError(`"${name}": expected at least ${length} samples, got ${sound.samples.length}`);
  return {
    name,
    size,
    read: (i) => ({ sampleRate: sound.sampleRate, samples: sound.samples.subarray(i * length, (i + 1) * length) }),
  };
}
