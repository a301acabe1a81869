// Data for the bars of static quantization, made from the shared photos and sounds and from scratch, the same at each run and kept in .bench-cache:
// crops and augmentations of photos (other crops for calibration than for judging), log-mel settings for spoken digits, byte features of many files.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { encodeNpz, Rng, Tensor } from '../../dist/index.js';
import { CACHE, shared } from '../lib/pare.js';
import { variedFiles } from './files.js';

const PHOTOS = ['cat', 'goldfish', 'kimono', 'faces_13', 'faces_2'];

/**
 * The features for the keyword model, whose own front end is not published with it: 30 ms windows each 20 ms, 40 mel bands from 125 to 7,500 Hz, six times
 * the natural logarithm of the magnitude above 1. Of several scalings this is one on which the model decides clearly and for many classes.
 */
export const LOG_MEL = {
  kind: 'logmel',
  sampleRate: 16000,
  window: 480,
  hop: 320,
  mels: 40,
  fmin: 125,
  fmax: 7500,
  power: 1,
  floor: 1,
  gain: 6,
};

async function cached(name, make) {
  const path = join(CACHE, name);
  if (!existsSync(path)) {
    mkdirSync(CACHE, { recursive: true });
    writeFileSync(path, encodeNpz(await make()));
  }
  return path;
}

/** Crops of 45 to 100 % of the shorter side at random places, mirrored, lighter or darker, more or less colourful, some turned a little. */
export async function crops({ width, height, count, seed, photos = PHOTOS }) {
  const rng = new Rng(seed);
  const pixels = new Uint8Array(count * height * width * 3);
  for (let i = 0; i < count; i++) {
    const file = shared(`photos/${photos[i % photos.length]}.jpg`);
    const meta = await sharp(file).metadata();
    const part = 0.45 + 0.55 * rng.uniform();
    const most = Math.min(meta.width, (meta.height * width) / height);
    const w = Math.max(8, Math.floor(most * part));
    const h = Math.max(8, Math.floor((w * height) / width));
    const left = Math.floor(rng.uniform() * (meta.width - w + 1));
    const top = Math.floor(rng.uniform() * (meta.height - h + 1));
    let image = sharp(file)
      .extract({ left, top, width: w, height: Math.min(h, meta.height - top) })
      .removeAlpha();
    if (rng.uniform() < 0.5) image = image.flop();
    image = image.modulate({ brightness: 0.75 + 0.5 * rng.uniform(), saturation: 0.6 + 0.8 * rng.uniform() });
    if (rng.uniform() < 0.3) image = sharp(await image.png().toBuffer()).rotate(20 * rng.uniform() - 10, { background: '#808080' });
    const data = await sharp(await image.png().toBuffer())
      .resize(width, height, { fit: 'fill' })
      .raw()
      .toBuffer();
    pixels.set(data, i * height * width * 3);
  }
  return { pixels, dims: [count, height, width, 3] };
}

/** Interleaved bytes to planes of floats, (x - mean) * scale; `bgr` turns the channels round. */
function planes({ pixels, dims: [n, h, w] }, { mean = 0, scale = 1, bgr = false }) {
  const out = new Float32Array(n * 3 * h * w);
  const size = h * w;
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) {
      const from = bgr ? 2 - c : c;
      for (let p = 0; p < size; p++) out[(i * 3 + c) * size + p] = (pixels[(i * size + p) * 3 + from] - mean) * scale;
    }
  }
  return Tensor.of('float', [n, 3, h, w], out);
}

const imageSet = (model, input, size, values) => ({
  calibration: (count = 100) =>
    cached(`${model}-calibration-${count}.npz`, async () => ({ [input]: planes(await crops({ ...size, count, seed: 11 }), values) })),
  test: (count) =>
    cached(`${model}-test-${count}.npz`, async () => ({ [input]: planes(await crops({ ...size, count, seed: 77 }), values) })),
});

export const mobilenetCrops = imageSet('mobilenet', 'input', { width: 128, height: 128 }, { mean: 127.5, scale: 1 / 127.5 });
export const yunetCrops = imageSet('yunet', 'input', { width: 320, height: 320 }, { bgr: true });
export const ultrafaceCrops = imageSet('ultraface', 'input', { width: 320, height: 240 }, { mean: 127, scale: 1 / 128 });

/** A whole photo as the face detector takes it. */
export async function wholePhoto(name, { width, height }, values) {
  const pixels = await sharp(shared(`photos/${name}.jpg`))
    .removeAlpha()
    .resize(width, height, { fit: 'fill' })
    .raw()
    .toBuffer();
  return planes({ pixels, dims: [1, height, width, 3] }, values);
}

/** Magika's features: 512 bytes from the beginning (after white space), the middle and the end, padded with 256. */
export function byteFeatures(bytes) {
  const size = 512;
  const space = (b) => b === 32 || (b >= 9 && b <= 13);
  const out = new Float32Array(3 * size).fill(256);
  let start = 0;
  while (start < bytes.length && space(bytes[start])) start++;
  let end = bytes.length;
  while (end > start && space(bytes[end - 1])) end--;
  const text = bytes.subarray(start, end);
  out.set(text.subarray(0, size), 0);
  const half = Math.floor(text.length / 2) - size / 2;
  const middle = text.subarray(Math.max(0, half), Math.max(0, half) + size);
  out.set(middle, size + Math.floor((size - middle.length) / 2));
  const last = text.subarray(Math.max(0, text.length - size));
  out.set(last, 3 * size - last.length);
  return out;
}

async function fileSet(seed, perKind) {
  const files = await variedFiles(seed, perKind);
  const out = new Float32Array(files.length * 1536);
  for (const [i, f] of files.entries()) out.set(byteFeatures(f.bytes), i * 1536);
  return { bytes: Tensor.of('float', [files.length, 1536], out) };
}

export const magikaFiles = {
  calibration: () => cached('magika-calibration.npz', () => fileSet(5, 2)),
  training: () => cached('magika-training.npz', () => fileSet(31, 12)),
  test: () => cached('magika-test.npz', () => fileSet(900, 2)),
};
