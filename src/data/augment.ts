// Augmentation: batches changed at random, so that a model sees every sample in many forms. Flip and crop as usual since Krizhevsky et al. 2012,
// cutout DeVries and Taylor 2017, mixup Zhang et al. 2018. Images are rank 4, channels first or last, or rank 3 [N,H,W]; all images of a batch's
// inputs (a picture and its depth map) are moved alike. Everything is drawn from generators that the caller seeds.
import { dataError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import { elementCount, Tensor, type TypedArray } from '../ir/tensor.js';
import type { Rng } from '../util/rng.js';
import type { Batch } from './dataset.js';
import { mixup } from './mixup.js';

/** Where randomness comes from, and what is known of the labels. */
export interface Draws {
  /** One generator a sample. */
  readonly samples: readonly Rng[];
  /** One for what samples share. */
  readonly batch: Rng;
  readonly classes: number | undefined;
}

export interface Augmentation {
  /** As `parseAugmentations` reads it: `crop:4`. */
  readonly name: string;
  apply(batch: Batch, draws: Draws): Batch;
}

/** Applies these in order, each with generators of its own. */
export function augmentBatch(batch: Batch, augmentations: readonly Augmentation[], draws: Draws): Batch {
  return augmentations.reduce((current, augmentation, k) => {
    const label = `${k} ${augmentation.name}`;
    return augmentation.apply(current, {
      samples: draws.samples.map((rng) => rng.fork(label)),
      batch: draws.batch.fork(label),
      classes: draws.classes,
    });
  }, batch);
}

/** Sizes of image tensors in elements: `outer` planes of `height` rows of `width` places of `inner` elements a sample. */
interface ImageLayout {
  readonly outer: number;
  readonly height: number;
  readonly width: number;
  readonly inner: number;
}

/** Channels first where the second axis is 1 or 3 or the last is neither, as for pictures read from files; undefined for what is no image. */
function layoutOf({ dims }: Tensor): ImageLayout | undefined {
  const [, a, b, c] = dims as [number, number, number, number];
  if (dims.length === 3) return { outer: 1, height: a, width: b, inner: 1 };
  if (dims.length !== 4) return undefined;
  const last = a !== 1 && a !== 3 && (c === 1 || c === 3);
  return last ? { outer: 1, height: a, width: b, inner: c } : { outer: a, height: b, width: c, inner: 1 };
}

const isPicture = (t: Tensor) => isFloat(t.dtype) || t.dtype === 'uint8' || t.dtype === 'int8';

type Move = (from: TypedArray, to: TypedArray, start: number, layout: ImageLayout, rng: Rng) => void;

/** Every image of the batch through `move`, which writes one sample from `from` to `to` at `start`. */
function moveImages(name: string, batch: Batch, draws: Draws, move: Move, fill?: number): Batch {
  const images = Object.entries(batch.inputs).filter(([, t]) => isPicture(t) && layoutOf(t) !== undefined);
  if (images.length === 0)
    throw dataError(
      `augmentation ${name}: expected images [N,C,H,W], [N,H,W,C] or [N,H,W], got ${Object.entries(batch.inputs)
        .map(([key, t]) => `"${key}" ${t.dtype}[${t.dims}]`)
        .join(', ')}`,
      { hint: 'leave it out; noise and mixup work on other inputs too' },
    );
  const inputs = { ...batch.inputs };
  for (const [key, tensor] of images) {
    const layout = layoutOf(tensor)!;
    const from = tensor.view();
    const out = Tensor.from(tensor.dtype, tensor.dims, new Float32Array(tensor.size).fill(fill ?? 0));
    const to = out.view();
    const each = elementCount(tensor.dims.slice(1));
    // Copies, because every image of a sample is moved by the same draws.
    for (const [i, rng] of draws.samples.entries()) move(from, to, i * each, layout, rng.fork('image'));
    inputs[key] = out;
  }
  return { ...batch, inputs };
}

/** Copies a stretch of a row, or all of it. */
function copy(from: TypedArray, to: TypedArray, at: number, source: number, count: number): void {
  for (let k = 0; k < count; k++) to[at + k] = from[source + k]!;
}

/** Mirrors left and right, with this probability. */
export function horizontalFlip(probability = 0.5): Augmentation {
  if (!(probability >= 0 && probability <= 1)) throw usageError(`augmentation flip: expected a probability, got ${probability}`);
  const name = probability === 0.5 ? 'flip' : `flip:${probability}`;
  return {
    name,
    apply: (batch, draws) =>
      moveImages(name, batch, draws, (from, to, start, { outer, height, width, inner }, rng) => {
        const row = width * inner;
        if (rng.uniform() >= probability) return copy(from, to, start, start, outer * height * row);
        for (let r = 0, at = start; r < outer * height; r++, at += row)
          for (let x = 0; x < width; x++) copy(from, to, at + x * inner, at + (width - 1 - x) * inner, inner);
      }),
  };
}

/** Pads by `padding` pixels of `fill` all around, and cuts the old size out at a random place: moves by up to `padding` each way. */
export function cropWithPadding(padding: number, fill = 0): Augmentation {
  const name = `crop:${padding}${fill === 0 ? '' : `:${fill}`}`;
  requireCount(name, padding);
  return {
    name,
    apply: (batch, draws) =>
      moveImages(
        name,
        batch,
        draws,
        (from, to, start, { outer, height, width, inner }, rng) => {
          const dy = rng.integer(2 * padding + 1) - padding;
          const dx = rng.integer(2 * padding + 1) - padding;
          const left = Math.max(0, -dx);
          const count = Math.max(0, Math.min(width, width - dx) - left);
          for (let p = 0; p < outer; p++)
            for (let y = Math.max(0, -dy); y < Math.min(height, height - dy); y++) {
              const row = start + (p * height + y) * width * inner;
              copy(from, to, row + left * inner, row + (dy * width + left + dx) * inner, count * inner);
            }
        },
        fill,
      ),
  };
}

/** Sets a square of `size` pixels, centred anywhere on the image (so part of it may lie outside), to `fill`. */
export function cutout(size: number, fill = 0): Augmentation {
  const name = `cutout:${size}${fill === 0 ? '' : `:${fill}`}`;
  requireCount(name, size);
  return {
    name,
    apply: (batch, draws) =>
      moveImages(
        name,
        batch,
        draws,
        (from, to, start, { outer, height, width, inner }, rng) => {
          const top = rng.integer(height) - Math.floor(size / 2);
          const left = rng.integer(width) - Math.floor(size / 2);
          const [x0, x1] = [Math.max(0, left), Math.min(width, left + size)];
          for (let p = 0; p < outer; p++)
            for (let y = 0; y < height; y++) {
              const row = start + (p * height + y) * width * inner;
              const inside = y >= top && y < top + size;
              copy(from, to, row, row, (inside ? x0 : width) * inner);
              if (inside) copy(from, to, row + x1 * inner, row + x1 * inner, (width - x1) * inner);
            }
        },
        fill,
      ),
  };
}

/** Adds normal noise of this standard deviation to every element of the float inputs. */
export function gaussianNoise(deviation: number): Augmentation {
  const name = `noise:${deviation}`;
  if (!(deviation > 0)) throw usageError(`augmentation ${name}: expected a standard deviation above 0`);
  return {
    name,
    apply(batch, { samples }) {
      const floats = Object.entries(batch.inputs).filter(([, t]) => isFloat(t.dtype) && t.rank > 0);
      if (floats.length === 0) throw dataError(`augmentation ${name}: expected a float input, got none`);
      const noisy = floats.map(([key, tensor]) => {
        const each = elementCount(tensor.dims.slice(1));
        const out = Float32Array.from(tensor.floats());
        for (const [i, rng] of samples.entries()) {
          const own = rng.fork(key);
          for (let k = 0; k < each; k++) out[i * each + k]! += deviation * own.normal();
        }
        return [key, Tensor.of('float', tensor.dims, out).cast(tensor.dtype)] as const;
      });
      return { ...batch, inputs: { ...batch.inputs, ...Object.fromEntries(noisy) } };
    },
  };
}

function requireCount(name: string, value: number): void {
  if (!(Number.isInteger(value) && value > 0)) throw usageError(`augmentation ${name}: expected a whole number of pixels above 0`);
}

const BY_NAME: Readonly<Record<string, (numbers: readonly number[]) => Augmentation>> = {
  flip: ([probability]) => horizontalFlip(probability),
  crop: ([padding = 4, fill]) => cropWithPadding(padding, fill),
  cutout: ([size = 8, fill]) => cutout(size, fill),
  mixup: ([alpha]) => mixup(alpha),
  noise: ([deviation = 0.01]) => gaussianNoise(deviation),
};

/** `flip,crop:4,cutout:8,mixup:0.2,noise:0.01` as augmentations. Throws E_USAGE for anything else. */
export function parseAugmentations(text: string): Augmentation[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const [kind = '', ...rest] = part.split(':');
      const make = Object.hasOwn(BY_NAME, kind) ? BY_NAME[kind] : undefined;
      const numbers = rest.map(Number);
      if (make === undefined || rest.length > 2 || rest.some((r) => r.trim() === '') || numbers.some((n) => !Number.isFinite(n)))
        throw usageError(`augmentation: expected ${Object.keys(BY_NAME).join(', ')}, each with its number after a colon, got "${part}"`, {
          hint: 'flip,crop:4,cutout:8,mixup:0.2,noise:0.01',
        });
      return make(numbers);
    });
}
