// Images as decoded pixels, and their geometry: separable antialiased resizing with the filters of Pillow and torchvision (triangle, Catmull-Rom
// a = -0.5), cropping, and conversion between colour and grey. 8-bit between the two passes, as those libraries do.
import { shapeError } from '../errors.js';

export interface PixelImage {
  readonly width: number;
  readonly height: number;
  /** 1 grey or 3 RGB, interleaved. */
  readonly channels: 1 | 3;
  readonly data: Uint8Array;
}

export type Interpolation = 'nearest' | 'bilinear' | 'bicubic';

const FILTERS: Record<Exclude<Interpolation, 'nearest'>, { support: number; weight: (x: number) => number }> = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight(x) {
      const a = -0.5;
      const t = Math.abs(x);
      if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
      return t < 2 ? ((t - 5) * t + 8) * t * a - 4 * a : 0;
    },
  },
};

/** Where each output pixel reads along one axis: first input pixel and normalised weights. Shrinking widens the filter (antialiasing). */
function taps(from: number, to: number, interpolation: Interpolation): { start: number; weights: Float64Array }[] {
  const scale = from / to;
  if (interpolation === 'nearest')
    return Array.from({ length: to }, (_, i) => ({
      start: Math.min(from - 1, Math.floor((i + 0.5) * scale)),
      weights: Float64Array.of(1),
    }));
  const { support, weight } = FILTERS[interpolation];
  const stretch = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support * stretch + 0.5));
    const end = Math.min(from, Math.trunc(center + support * stretch + 0.5));
    const weights = Float64Array.from({ length: end - start }, (_, k) => weight((start + k - center + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { start, weights: weights.map((w) => w / sum) };
  });
}

const clampByte = (v: number) => (v <= 0 ? 0 : v >= 255 ? 255 : Math.floor(v + 0.5));

/** Resizes to `width` x `height`. */
export function resizeImage(image: PixelImage, width: number, height: number, interpolation: Interpolation = 'bilinear'): PixelImage {
  if (width === image.width && height === image.height) return image;
  if (!(width > 0 && height > 0)) throw shapeError(`resize: expected a size above 0, got ${width}x${height}`);
  const { channels } = image;
  const across = new Uint8Array(width * image.height * channels);
  const columns = taps(image.width, width, interpolation);
  for (let y = 0; y < image.height; y++) {
    const row = y * image.width * channels;
    for (let x = 0; x < width; x++) {
      const { start, weights } = columns[x]!;
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k]! * image.data[row + (start + k) * channels + c]!;
        across[(y * width + x) * channels + c] = clampByte(sum);
      }
    }
  }
  const data = new Uint8Array(width * height * channels);
  const stride = width * channels;
  const sums = new Float64Array(stride);
  for (const [y, { start, weights }] of taps(image.height, height, interpolation).entries()) {
    sums.fill(0);
    for (let k = 0; k < weights.length; k++) {
      const from = (start + k) * stride;
      for (let i = 0; i < stride; i++) sums[i]! += weights[k]! * across[from + i]!;
    }
    for (let i = 0; i < stride; i++) data[y * stride + i] = clampByte(sums[i]!);
  }
  return { width, height, channels, data };
}

/** Resizes so that the shorter side has `size` pixels and the aspect ratio stays, as torchvision does. */
export function resizeShorter(image: PixelImage, size: number, interpolation: Interpolation = 'bilinear'): PixelImage {
  const { width, height } = image;
  const long = Math.trunc((size * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? resizeImage(image, size, long, interpolation) : resizeImage(image, long, size, interpolation);
}

/** The middle `width` x `height` pixels; zeros around where the image is smaller, as torchvision does. */
export function cropCenter(image: PixelImage, width: number, height: number): PixelImage {
  if (width === image.width && height === image.height) return image;
  const { channels } = image;
  const left = roundHalfEven((image.width - width) / 2);
  const top = roundHalfEven((image.height - height) / 2);
  const data = new Uint8Array(width * height * channels);
  for (let y = Math.max(0, -top); y < Math.min(height, image.height - top); y++) {
    const from = Math.max(0, left);
    const to = Math.min(image.width, left + width);
    const row = (y + top) * image.width;
    data.set(image.data.subarray((row + from) * channels, (row + to) * channels), (y * width + from - left) * channels);
  }
  return { width, height, channels, data };
}

/** Python's round(), which torchvision's crop uses. */
function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low & 1) : Math.round(x);
}

/** Grey by ITU-R 601 luma, or RGB by repeating grey. */
export function toChannels(image: PixelImage, channels: 1 | 3): PixelImage {
  if (image.channels === channels) return image;
  const count = image.width * image.height;
  const data = new Uint8Array(count * channels);
  for (let i = 0; i < count; i++) {
    if (channels === 3) data.fill(image.data[i]!, 3 * i, 3 * i + 3);
    else data[i] = (19595 * image.data[3 * i]! + 38470 * image.data[3 * i + 1]! + 7471 * image.data[3 * i + 2]! + 0x8000) >> 16;
  }
  return { width: image.width, height: image.height, channels, data };
}
