// Images as a data set: decoded one batch at a time by a function of the caller's, or already in memory (IDX, CIFAR records).
import { dataError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import type { IndexedDataset } from './dataset.js';
import { gunzip } from './gzip.js';
import { imagesToTensor, planImages, shapeImage } from './image-plan.js';
import { indexedDataset } from './indexed.js';
import { batchPlan, modelInputs, singleInput } from './inputs.js';
import type { PixelImage } from './pixels.js';
import type { Preprocess } from './preprocess.js';

export interface ImageSource {
  readonly name: string;
  readonly size: number;
  /** Size of every image, where they are all alike. */
  readonly native?: { readonly width: number; readonly height: number; readonly channels: 1 | 3 } | undefined;
  readonly labels?: readonly number[] | undefined;
  readonly classes?: readonly string[] | undefined;
  readonly notes?: readonly string[] | undefined;
  readonly decode: (index: number) => PixelImage | Promise<PixelImage>;
}

const DECODERS = 4;

/** `map` over the items with at most `width` promises under way; results in order. */
async function mapLimited<T, R>(items: readonly T[], width: number, map: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await map(items[at]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}

/** Throws E_DATA where the model's only input takes no images, or it has several inputs. */
export function imageDataset(
  source: ImageSource,
  model: Model,
  settings: Preprocess,
  shapes?: Readonly<Record<string, readonly number[]>>,
): IndexedDataset {
  const input = singleInput(modelInputs(model, shapes), `images "${source.name}"`);
  const plan = planImages(input, settings, source.native);
  const batching = batchPlan(model);
  const { labels } = source;
  return indexedDataset({
    name: source.name,
    size: source.size,
    hasLabels: labels !== undefined,
    classes: source.classes,
    notes: source.notes,
    fixedBatch: batching.kind === 'rows' ? batching.fixed : 1,
    async load(indices) {
      // Brought to the model's size at once, a few at a time: large photos are never all in memory.
      const images = await mapLimited(indices, DECODERS, async (i) => shapeImage(await source.decode(i), plan));
      return {
        inputs: { [input.name]: imagesToTensor(images, plan) },
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

/** Pixels [N,H,W] or [N,H,W,1|3] in memory as an image source. Throws E_DATA for other types and shapes. */
export function pixelSource(name: string, pixels: Tensor, labels?: Tensor): ImageSource {
  const [size, height, width, channels = 1] = pixels.dims as [number, number, number, number?];
  if (pixels.dtype !== 'uint8' || pixels.rank < 3 || pixels.rank > 4 || (channels !== 1 && channels !== 3))
    throw dataError(`images "${name}": expected uint8[N,H,W] or uint8[N,H,W,1 or 3], got ${pixels.dtype}[${pixels.dims}]`);
  if (labels && (labels.rank !== 1 || labels.dims[0] !== size))
    throw dataError(`labels of "${name}": expected ${size} class indices, one per image, got ${labels.dtype}[${labels.dims}]`);
  const data = pixels.bytes();
  const each = height * width * channels;
  return {
    name,
    size,
    native: { width, height, channels },
    labels: labels && Array.from(labels.numbers()),
    decode: (i) => ({ width, height, channels, data: data.subarray(i * each, (i + 1) * each) }),
  };
}

const CIFAR_PIXELS = 32 * 32;

/** CIFAR-10's binary records (1 label byte, then 1,024 red, green and blue bytes), plain or gzipped. Throws E_DATA where the length does not fit. */
export function cifarSource(name: string, bytes: Uint8Array): ImageSource {
  const records = gunzip(bytes, name);
  const each = 1 + 3 * CIFAR_PIXELS;
  if (records.length === 0 || records.length % each !== 0)
    throw dataError(`"${name}": expected records of ${each} bytes (label, then 32x32 red, green, blue), got ${records.length} bytes`);
  const size = records.length / each;
  return {
    name,
    size,
    native: { width: 32, height: 32, channels: 3 },
    labels: Array.from({ length: size }, (_, i) => records[i * each]!),
    classes: ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'],
    decode(i) {
      const data = new Uint8Array(3 * CIFAR_PIXELS);
      const start = i * each + 1;
      for (let c = 0; c < 3; c++) for (let p = 0; p < CIFAR_PIXELS; p++) data[3 * p + c] = records[start + c * CIFAR_PIXELS + p]!;
      return { width: 32, height: 32, channels: 3, data };
    },
  };
}
