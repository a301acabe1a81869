// Laying images into a model's input: size, channels and layout decided once per data set, then pixels to numbers by the formula of preprocess.ts.
import { dataError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';
import type { Dim } from '../ir/type.js';
import { describeInput, type ModelInput } from './inputs.js';
import { cropCenter, type PixelImage, resizeImage, resizeShorter, toChannels } from './pixels.js';
import type { Preprocess } from './preprocess.js';

/** Preprocessing with everything decided for one model input. */
export interface ImagePlan {
  readonly settings: Preprocess;
  readonly input: ModelInput;
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  readonly layout: 'nchw' | 'nhwc' | 'nhw' | 'flat';
}

/** Size of images in pixels, and 1 (grey) or 3 (RGB) channels. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
}

const RANKS: Record<ImagePlan['layout'], number> = { nchw: 4, nhwc: 4, nhw: 3, flat: 2 };
const HINT = 'images need an input [N,3,H,W], [N,1,H,W], [N,H,W,3], [N,H,W,1], [N,H,W] or [N,pixels]';
/** Where neither the model nor the settings nor the images say a size. */
const DEFAULT_SIZE = 224;

/**
 * Decides size, channels and layout for an input [N,C,H,W], [N,H,W,C], [N,H,W] or [N,pixels]. `native` is the images' own size, where they all have one.
 * Throws E_DATA where the input takes no images or the settings contradict it.
 */
export function planImages(input: ModelInput, settings: Preprocess, native?: ImageSize): ImagePlan {
  const fail = (got: string) => dataError(`model input ${describeInput(input)}: ${got}`, { hint: HINT });
  const { shape, dtype } = input;
  if (!isFloat(dtype) && dtype !== 'uint8' && dtype !== 'int8')
    throw fail('expected an input that takes pixels (float, uint8 or int8), got images');
  if (settings.dtype !== undefined && settings.dtype !== dtype) throw fail(`"dtype": "${settings.dtype}" was asked for`);
  const layout = shape === null ? undefined : (settings.layout ?? layoutOf(shape));
  if (shape === null || layout === undefined) throw fail('got images');
  if (shape.length !== RANKS[layout]) throw fail(`"layout": "${layout}" was asked for`);
  const colour = settings.channels === undefined ? undefined : settings.channels === 'gray' ? 1 : 3;
  const asked = askedSize(settings);
  if (layout === 'flat') {
    const size = flatSize(shape[1]!, asked ?? native, colour ?? native?.channels);
    if (size === undefined) throw fail(`got images of ${native ? `${native.width}x${native.height} pixels` : 'various sizes'}`);
    if (colour !== undefined && colour !== size.channels) throw fail(`"channels": "${settings.channels}" was asked for`);
    return { settings, input, layout, ...size };
  }
  const [c, h, w] =
    layout === 'nchw' ? [shape[1], shape[2], shape[3]] : layout === 'nhwc' ? [shape[3], shape[1], shape[2]] : [1, shape[1], shape[2]];
  if (typeof c === 'number' && c !== 1 && c !== 3) throw fail(`expected 1 or 3 channels, got ${c}`);
  const channels = c === 1 || c === 3 ? c : (colour ?? native?.channels ?? 3);
  if (colour !== undefined && colour !== channels) throw fail(`"channels": "${settings.channels}" was asked for`);
  const height = typeof h === 'number' ? h : (asked?.height ?? native?.height ?? DEFAULT_SIZE);
  const width = typeof w === 'number' ? w : (asked?.width ?? native?.width ?? DEFAULT_SIZE);
  if (settings.crop !== undefined && (asked?.height !== height || asked.width !== width))
    throw fail(`"crop": ${JSON.stringify(settings.crop)} was asked for`);
  return { settings, input, height, width, channels, layout };
}

function layoutOf(shape: readonly Dim[]): ImagePlan['layout'] | undefined {
  if (shape.length === 2) return 'flat';
  if (shape.length === 3) return 'nhw';
  if (shape.length !== 4) return undefined;
  if (shape[1] === 1 || shape[1] === 3) return 'nchw';
  return shape[3] === 1 || shape[3] === 3 ? 'nhwc' : 'nchw';
}

/** The size that `crop`, or a `resize` to a whole size, asks for. */
function askedSize({ crop, resize }: Preprocess): { width: number; height: number } | undefined {
  if (typeof crop === 'number') return { width: crop, height: crop };
  if (crop !== undefined) return { height: crop[0], width: crop[1] };
  return typeof resize === 'object' && !('fraction' in resize) ? { height: resize[0], width: resize[1] } : undefined;
}

/** Size of images in an input [N,pixels]: the one known, else the square that `dim` stands for. */
function flatSize(dim: Dim, known: { width: number; height: number } | undefined, colour: 1 | 3 | undefined): ImageSize | undefined {
  if (typeof dim !== 'number') return known && { ...known, channels: colour ?? 3 };
  for (const channels of [1, 3] as const) {
    const side = Math.round(Math.sqrt(dim / channels));
    const { width, height } = known ?? { width: side, height: side };
    if (width * height * channels === dim) return { width, height, channels };
  }
  return undefined;
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
  const { dtype } = plan.input;
  if (dtype === 'uint8' || dtype === 'int8') return roundedTensor(dtype, dims, out);
  return Tensor.of('float', dims, out).cast(dtype);
}

/** Value of every byte in channel `c` (of the model's order: mean and std follow the model's channels). */
function valueTable({ scale, offset, mean, std }: Preprocess, c: number): Float32Array {
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
