// Batches read by other threads are the batches read here. Runs the build, because threads start from files.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Batch,
  buildModel,
  encodeModel,
  encodeNpz,
  type PareError,
  parseAugmentations,
  Rng,
  Tensor,
  type TrainingData,
  trainingData,
} from '../src/index.js';
import { openDataset, readModel } from '../src/node/index.js';
import type { PrefetchedTrainingData, PrefetchOptions } from '../src/node/prefetch.js';

type Prefetch = (options: PrefetchOptions) => Promise<PrefetchedTrainingData>;

let folder: string;
let prefetch: Prefetch;
let model: string;
let spec: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-prefetch-'));
  const path = join(import.meta.dirname, '../dist/node/index.js');
  ({ prefetchTrainingData: prefetch } = (await import(pathToFileURL(path).href)) as { prefetchTrainingData: Prefetch });
  const built = buildModel('m', (b) => {
    b.output(b.op('Relu', [b.input('image', 'float', ['n', 1, 8, 8])]), 'logits');
  });
  model = join(folder, 'm.onnx');
  writeFileSync(model, encodeModel(built).bytes);
  const rng = new Rng(1);
  const image = Tensor.from(
    'float',
    [23, 1, 8, 8],
    Array.from({ length: 23 * 64 }, () => rng.normal()),
  );
  const labels = Tensor.from(
    'int64',
    [23],
    Array.from({ length: 23 }, (_, i) => i % 3),
  );
  spec = join(folder, 'data.npz');
  writeFileSync(spec, encodeNpz({ image, labels }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const plain = (b: Batch) => ({
  size: b.size,
  image: Buffer.from(b.inputs.image!.bytes()).toString('hex'),
  labels: [b.labels!.dtype, b.labels!.dims, Array.from(b.labels!.numbers())],
});
async function epochOf(data: TrainingData, epoch: number, from = 0) {
  const out = [];
  for await (const batch of data.epoch(epoch, { batchSize: 5, seed: 3, from })) out.push(plain(batch));
  return out;
}

describe('prefetch', () => {
  it.each([1, 3])('with %i threads answers the batches that are read without', async (workers) => {
    const augment = 'flip,crop:2,noise:0.1,mixup:0.3';
    const here = trainingData(await openDataset(spec, await readModel(model)), { augment: parseAugmentations(augment), classes: 3 });
    const data = await prefetch({ spec, model, training: { augment, classes: 3 }, workers });
    try {
      expect([data.name, data.size, data.hasLabels, data.steps(5)]).toEqual([here.name, 23, true, 5]);
      for (const epoch of [0, 1]) expect(await epochOf(data, epoch)).toEqual(await epochOf(here, epoch));
      expect(await epochOf(data, 1, 3)).toEqual((await epochOf(here, 1)).slice(3));
      // A reader that stops early does not disturb the next one.
      for await (const _ of data.epoch(0, { batchSize: 5, seed: 3 })) break;
      expect(await epochOf(data, 0)).toEqual(await epochOf(here, 0));
    } finally {
      await data.close();
    }
    await expect(epochOf(data, 0)).rejects.toThrow(/closed already/);
  });

  it('tells what goes wrong in a thread as it would be told here', async () => {
    const missing = await prefetch({ spec: join(folder, 'none.npz'), model }).catch((e: unknown) => e as PareError);
    expect((missing as PareError).code).toBe('E_FILE');
    expect((missing as PareError).hint).toContain('expected one of');
    const data = await prefetch({ spec, model, training: { augment: 'mixup:0.2' } });
    await expect(epochOf(data, 0)).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('number of classes') });
    await data.close();
  });
});
