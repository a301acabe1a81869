// How pixels become a model's numbers: presets by name, or JSON. y = (x * scale + offset - mean) / std per channel, x in 0..255.
// Size, layout and number of channels come from the model's input where the settings leave them open.
import { z } from 'zod';
import { dataError, usageError } from '../errors.js';
import { DTYPES, type DType, isFloat } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';
import { describeInput, type ModelInput } from './inputs.js';
import { cropCenter, type PixelImage, resizeImage, resizeShorter, toChannels } from './pixels.js';

const size = z.int().positive();
const perChannel = z.union([z.number(), z.array(z.number()).min(1)]);

const SHAPE = {
  /** Whole picture to [height, width], or its shorter side to this many pixels. A fraction f in (0, 1]: shorter side to crop / f. */
  resize: z.union([size, z.tuple([size, size]), z.object({ fraction: z.number().positive().max(1) }), z.literal('none')]),
  /** Middle square, or [height, width]; default the model's size. */
  crop: z.union([size, z.tuple([size, size])]),
  interpolation: z.enum(['nearest', 'bilinear', 'bicubic']),
  scale: z.number(),
  offset: z.number(),
  mean: perChannel,
  std: perChannel,
  layout: z.enum(['nchw', 'nhwc']),
  channels: z.enum(['rgb', 'bgr', 'gray']),
  dtype: z.enum(Object.keys(DTYPES) as [DType, ...DType[]]),
};

export const preprocessSchema = z
  .strictObject({ preset: z.enum(['imagenet', 'mobilenet', 'cifar', 'mnist', 'unit', 'none']), ...SHAPE })
  .partial();

/** Settings as a JSON file gives them; every field may be left out. */
export type PreprocessInput = z.infer<typeof preprocessSchema>;

export interface Preprocess {
  readonly resize: number | readonly [number, number] | { readonly fraction: number } | 'none';
  readonly crop?: number | readonly [number, number] | undefined;
  readonly interpolation: 'nearest' | 'bilinear' | 'bicubic';
  readonly scale: number;
  readonly offset: number;
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
  readonly layout?: 'nchw' | 'nhwc' | undefined;
  readonly channels?: 'rgb' | 'bgr' | 'gray' | undefined;
  readonly dtype?: DType | undefined;
}

const BASE = { resize: 'none', interpolation: 'bilinear', scale: 1 / 255, offset: 0, mean: 0, std: 1 } as const;

/**
 * `imagenet`: torchvision's evaluation (shorter side to size/0.875, middle crop, ImageNet mean and deviation). `mobilenet`: the same crop, values in [-1,1].
 * `cifar`: mean and deviation of CIFAR-10. `mnist`: those of MNIST. `unit`: x/255. `none`: pixels 0..255.
 */
export const PRESETS: Readonly<Record<NonNullable<PreprocessInput['preset']>, Preprocess>> = {
  imagenet: { ...BASE, resize: { fraction: 0.875 }, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  mobilenet: { ...BASE, resize: { fraction: 0.875 }, scale: 1 / 127.5, offset: -1 },
  cifar: { ...BASE, mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] },
  mnist: { ...BASE, mean: 0.1307, std: 0.3081 },
  unit: BASE,
  none: { ...BASE, scale: 1 },
};

/** A preset by name. Throws E_USAGE with the list of names. */
export function presetNamed(name: string): Preprocess {
  const preset = Object.entries(PRESETS).find(([key]) => key === name)?.[1];
  if (preset === undefined)
    throw usageError(`--preprocess: expected ${Object.keys(PRESETS).join(', ')} or a JSON file, got "${name}"`, {
      hint: 'a JSON file may hold preset, resize, crop, interpolation, scale, offset, mean, std, layout, channels, dtype',
    });
  return preset;
}

/** Settings from parsed JSON, over its `preset` (default: x/255). Throws E_USAGE naming the field that is wrong. */
export function parsePreprocess(json: unknown, file = 'preprocess JSON'): Preprocess {
  const parsed = preprocessSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw usageError(`${file}: ${issue.path.join('.') || 'settings'}: ${issue.message}`, {
      hint: 'fields: preset, resize, crop, interpolation, scale, offset, mean, std, layout, channels, dtype',
    });
  }
  const { preset, ...fields } = parsed.data;
  const set = Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined));
  const settings: Preprocess = { ...PRESETS[preset ?? 'unit'], ...set };
  for (const key of ['mean', 'std'] as const) {
    const value = settings[key];
    if (Array.isArray(value) && value.length !== 1 && value.length !== 3)
      throw usageError(`${file}: ${key}: expected one number or three, got ${value.length}`);
  }
  if ([settings.std].flat().some((s) => s === 0)) throw usageError(`${file}: std: expected numbers other than 0, got ${settings.std}`);
  return settings;
}

/** Preprocessing with everything decided for one model input. */
export interface ImagePlan {
  readonly settings: Preprocess;
  readonly input: ModelInput;
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  readonly layout: 'nchw' | 'nhwc' | 'nhw' | 'flat';
}

const pair = (v: number | readonly [number, number]): readonly [number, number] => (typeof v === 'number' ? [v, v] : v);

/**
 * Decides size, channels and layout for an input [N,C,H,W], [N,H,W,C], [N,H,W] or [N,pixels]. `native` is the images' own size, where they all have one.
 * Throws E_DATA where the input takes no images or the settings contradict it.
 */
export function planImages(
  input: ModelInput,
  settings: Preprocess,
  native?: { width: number; height: number; channels: 1 | 3 },
): ImagePlan {
  const shape = input.shape;
  const wanted = describeInput(input);
  if (!isFloat(input.dtype) && input.dtype !== 'uint8' && input.dtype !== 'int8')
    throw dataError(`model input ${wanted}: expected an input that takes pixels (float, uint8 or int8), got images`);
  const fail = (got: string) =>
    dataError(`model input ${wanted}: ${got}`, {
      hint: 'images need an input [N,3,H,W], [N,1,H,W], [N,H,W,3], [N,H,W,1], [N,H,W] or [N,pixels]',
    });
  if (shape === null) throw fail('the model does not say its shape, so images cannot be laid out');
  const colour = settings.channels === undefined ? undefined : settings.channels === 'gray' ? 1 : 3;
  const layout = settings.layout ?? layoutOf(shape);
  if (layout === undefined) throw fail('got images');
  const [c, h, w] =
    layout === 'nchw'
      ? [shape[1], shape[2], shape[3]]
      : layout === 'nhwc'
        ? [shape[3], shape[1], shape[2]]
        : layout === 'nhw'
          ? [1, shape[1], shape[2]]
          : [];
  if (shape.length !== { nchw: 4, nhwc: 4, nhw: 3, flat: 2 }[layout]) throw fail(`layout ${layout} was asked for`);
  const fixedChannels = typeof c === 'number' ? c : undefined;
  if (fixedChannels !== undefined && fixedChannels !== 1 && fixedChannels !== 3)
    throw fail(`expected 1 or 3 channels, got ${fixedChannels}`);
  if (fixedChannels !== undefined && colour !== undefined && fixedChannels !== colour)
    throw fail(`"channels": "${settings.channels}" was asked for`);
  const flat = layout === 'flat' ? flatSize(shape[1], native, colour) : undefined;
  if (layout === 'flat' && flat === undefined) throw fail(`got images ${native ? `${native.width}x${native.height}` : 'of various sizes'}`);
  const crop = settings.crop === undefined ? undefined : pair(settings.crop);
  const own = Array.isArray(settings.resize) ? (settings.resize as unknown as readonly [number, number]) : undefined;
  const pick = (dim: unknown, i: 0 | 1, fallback: number | undefined) =>
    typeof dim === 'number' ? dim : (crop?.[i] ?? own?.[i] ?? fallback);
  const height = flat?.height ?? pick(h, 0, native?.height) ?? 224;
  const width = flat?.width ?? pick(w, 1, native?.width) ?? 224;
  if (crop && (crop[0] !== height || crop[1] !== width)) throw fail(`"crop": [${crop}] was asked for`);
  const channels = flat?.channels ?? ((fixedChannels ?? colour ?? native?.channels ?? 3) as 1 | 3);
  return { settings, input, height, width, channels, layout };
}

function layoutOf(shape: readonly unknown[]): ImagePlan['layout'] | undefined {
  if (shape.length === 2) return 'flat';
  if (shape.length === 3) return 'nhw';
  if (shape.length !== 4) return undefined;
  if (shape[1] === 1 || shape[1] === 3) return 'nchw';
  return shape[3] === 1 || shape[3] === 3 ? 'nhwc' : 'nchw';
}

function flatSize(dim: unknown, native: { width: number; height: number; channels: 1 | 3 } | undefined, colour: 1 | 3 | undefined) {
  if (native === undefined) return undefined;
  const pixels = native.width * native.height;
  const channels = colour ?? (dim === pixels ? 1 : native.channels);
  return typeof dim !== 'number' || dim === pixels * channels ? { ...native, channels } : undefined;
}

/** One image brought to the plan's size and channels. Images that have the size already are left as they are. */
export function shapeImage(image: PixelImage, plan: ImagePlan): PixelImage {
  const { width, height, settings } = plan;
  let out = toChannels(image, plan.channels);
  if (out.width === width && out.height === height) return out;
  const { resize, interpolation } = settings;
  if (resize === 'none') return resizeImage(out, width, height, interpolation);
  if (typeof resize === 'number') out = resizeShorter(out, resize, interpolation);
  else if ('fraction' in resize) out = resizeToCover(out, width, height, resize.fraction, interpolation);
  else out = resizeImage(out, resize[1], resize[0], interpolation);
  return cropCenter(out, width, height);
}

/** Shorter side to crop/fraction; for targets that are not square, the smallest size that covers them. */
function resizeToCover(image: PixelImage, width: number, height: number, fraction: number, interpolation: Preprocess['interpolation']) {
  if (width === height) return resizeShorter(image, Math.round(width / fraction), interpolation);
  const scale = Math.max(width / image.width, height / image.height) / fraction;
  return resizeImage(image, Math.round(image.width * scale), Math.round(image.height * scale), interpolation);
}

/** Images as one tensor in the plan's layout and the input's type (or the settings' own). */
export function imagesToTensor(images: readonly PixelImage[], plan: ImagePlan): Tensor {
  const { width, height, channels, layout, settings } = plan;
  const pixels = width * height;
  const tables = Array.from({ length: channels }, (_, c) => valueTable(settings, c));
  const swap = channels === 3 && settings.channels === 'bgr';
  const planar = layout === 'nchw' || layout === 'nhw' || (layout === 'flat' && channels === 1);
  const out = new Float32Array(images.length * pixels * channels);
  for (const [n, source] of images.entries()) {
    const { data } = shapeImage(source, plan);
    const base = n * pixels * channels;
    for (let c = 0; c < channels; c++) {
      const from = swap ? 2 - c : c;
      const table = tables[c]!;
      if (planar) for (let i = 0, at = base + c * pixels; i < pixels; i++) out[at + i] = table[data[i * channels + from]!]!;
      else for (let i = 0; i < pixels; i++) out[base + i * channels + c] = table[data[i * channels + from]!]!;
    }
  }
  const n = images.length;
  const dims = {
    nchw: [n, channels, height, width],
    nhwc: [n, height, width, channels],
    nhw: [n, height, width],
    flat: [n, pixels * channels],
  }[layout];
  const dtype = settings.dtype ?? plan.input.dtype;
  if (dtype === 'uint8' || dtype === 'int8') return roundedTensor(dtype, dims, out);
  return Tensor.of('float', dims, out).cast(dtype);
}

/** Value of every byte in channel `c` (of the model's order: mean and std follow the model's channels). */
export function valueTable({ scale, offset, mean, std }: Preprocess, c: number): Float32Array {
  const at = (v: number | readonly number[]) => (typeof v === 'number' ? v : (v[c] ?? v[0]!));
  return Float32Array.from({ length: 256 }, (_, x) => (x * scale + offset - at(mean)) / at(std));
}

function roundedTensor(dtype: 'uint8' | 'int8', dims: readonly number[], values: Float32Array): Tensor {
  const [low, high] = dtype === 'uint8' ? [0, 255] : [-128, 127];
  return Tensor.from(
    dtype,
    dims,
    values.map((v) => Math.min(high, Math.max(low, Math.round(v)))),
  );
}

/**
 * The same formula on arrays that hold pixel values 0..255 already in the model's layout (rows of a float input). Sizes are not changed: a `resize` is
 * taken as done. Throws E_DATA for inputs that are no float images.
 */
export function normalizeRows(input: ModelInput, rows: Tensor, settings: Preprocess): Tensor {
  if (!isFloat(rows.dtype)) throw dataError(`model input ${describeInput(input)}: preprocessing needs a float input, got ${rows.dtype}`);
  const layout = settings.layout ?? layoutOf(rows.dims);
  const axis = layout === 'nchw' ? 1 : layout === 'nhwc' ? 3 : undefined;
  const channels = axis === undefined ? 1 : rows.dims[axis]!;
  const inner = axis === undefined ? 1 : rows.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const { scale, offset, mean, std } = settings;
  const at = (v: number | readonly number[], c: number) => (typeof v === 'number' ? v : (v[c] ?? v[0]!));
  const values = rows.floats();
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const c = Math.floor(i / inner) % channels;
    out[i] = (values[i]! * scale + offset - at(mean, c)) / at(std, c);
  }
  return Tensor.of('float', rows.dims, out).cast(rows.dtype);
}
