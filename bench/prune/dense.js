// Dense digit classifiers that pruning starts from: trained once on the whole of MNIST with the settings of the training bars and kept in the cache.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { adam, nn, parseAugmentations } from '../../dist/index.js';
import { readModel, writeModel } from '../../dist/node/index.js';
import { figure } from '../lib/bars.js';
import { CACHE } from '../lib/pare.js';
import { mnist, open, score, trainOn } from '../train/setup.js';

const RECIPES = {
  lenet300: { rule: adam(), lr: 2e-3, schedule: 'one-cycle', epochs: 15, batchSize: 100, augment: parseAugmentations('crop:1') },
  lenet5: { rule: adam(), lr: 3e-3, schedule: 'one-cycle', epochs: 5, batchSize: 64, augment: parseAugmentations('crop:2') },
  'lenet5-caffe': { rule: adam(), lr: 2e-3, schedule: 'one-cycle', epochs: 4, batchSize: 100, augment: parseAugmentations('crop:2') },
};

/** Path of the trained preset, and its accuracy on the 10,000 test digits. */
export async function denseDigits(preset) {
  mkdirSync(CACHE, { recursive: true });
  const path = join(CACHE, `digits-${preset}.onnx`);
  const fresh = nn.createPreset(preset, {}, { seed: 1 });
  const test = await open(mnist('t10k'), fresh);
  if (!existsSync(path)) {
    const dataset = await open(mnist('train'), fresh);
    const { last } = await trainOn(`dense-${preset}`, { model: fresh, dataset, test, ...RECIPES[preset] });
    await writeModel(last, path, { force: true });
  }
  const top1 = await score(await readModel(path), test, 'top1');
  figure(`  ${preset} dense`, `${(100 * top1).toFixed(2)} %`);
  return { path, top1 };
}
