// Trained networks damaged and brought back: what fine-tuning after pruning or quantization will have to do.

import { trainableParameters } from '../../dist/analysis/trainable.js';
import { adamw, cloneModel, parseAugmentations, Rng, sgd, Tensor } from '../../dist/index.js';
import { readModel } from '../../dist/node/index.js';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { shared } from '../lib/pare.js';
import { lastValue, open, score, trainOn } from './setup.js';
import { withoutTestSentences } from './sst2.js';

const percent = (value) => Number((100 * value).toFixed(2));

export async function fineTuneBars() {
  if (wanted('fine-tune-resnet20')) await pictures();
  if (wanted('fine-tune-sst2')) await sentences();
}

/** A copy with normal noise on every filter and matrix, as large as `part` of the tensor's own deviation. */
function perturbed(model, part, seed) {
  const copy = cloneModel(model);
  for (const value of trainableParameters(copy)) {
    const { initializer: tensor } = value;
    if (tensor.rank < 2) continue;
    const rng = new Rng(seed).fork(value.name);
    const floats = tensor.floats();
    const deviation = Math.sqrt(floats.reduce((sum, v) => sum + v * v, 0) / floats.length);
    value.initializer = Tensor.of(
      'float',
      tensor.dims,
      floats.map((v) => v + part * deviation * rng.normal()),
    );
  }
  return copy;
}

const LOST = 0.2;

async function pictures() {
  const original = await readModel(shared('resnet20-cifar10/resnet20_cifar10.onnx'));
  const cifar = (file) => open(`cifar:${shared(`cifar10/${file}`)}`, original, { preprocess: 'imagenet' });
  const [dataset, test] = [await cifar('train_png_batch0.bin.gz'), await cifar('test_jpg_0-999.bin.gz')];
  const before = await score(original, test, 'top1');
  let model = original;
  let damaged = before;
  let part = 0;
  while (before - damaged < LOST) {
    part += 0.05;
    model = perturbed(original, part, 1);
    damaged = await score(model, test, 'top1');
  }
  const result = await trainOn('fine-tune-resnet20', {
    model,
    dataset,
    test,
    rule: sgd({ momentum: 0.9 }),
    lr: 3e-3,
    epochs: 8,
    batchSize: 50,
    // With those of the batches the figure goes up and down by several points from epoch to epoch, and ends no higher.
    batchNorm: 'frozen',
    augment: parseAugmentations('flip,crop:4'),
  });
  const after = lastValue(result);
  figure(
    '  fine-tune-resnet20',
    `${percent(before)} %, with noise of ${part.toFixed(2)} deviations ${percent(damaged)} %, after ${result.steps} steps on ${dataset.size} pictures ${percent(after)} %`,
  );
  atLeast('fine-tune-resnet20', percent(before - damaged), 100 * LOST, 'points');
  figure('fine-tune-resnet20 recovered', `${percent(after - damaged)} of ${percent(before - damaged)} points`);
}

/** Labels are the words of the data; the rest of the model stays as it is. */
async function sentences() {
  const original = await readModel(shared('text-models/sst2_bert_mini.onnx'));
  const options = { tokenizer: shared('text-models/sst2_tokenizer.json') };
  const test = await open(shared('sst2/test.tsv'), original, options);
  const before = await score(original, test, 'top1');
  const model = cloneModel(original);
  const rng = new Rng(1);
  const classifier = trainableParameters(model).filter((v) => /classifier/.test(v.name));
  for (const value of classifier) {
    const { initializer: tensor } = value;
    value.initializer = Tensor.from(
      'float',
      tensor.dims,
      Array.from({ length: tensor.size }, () => (tensor.rank < 2 ? 0 : 0.02 * rng.normal())),
    );
  }
  const names = classifier.map((v) => v.name);
  const damaged = await score(model, test, 'top1');
  const result = await trainOn('fine-tune-sst2', {
    model,
    dataset: await open(withoutTestSentences('fine-tune-sst2'), model, { ...options, limit: 8000 }),
    test,
    rule: adamw({ weightDecay: 0 }),
    lr: 3e-3,
    epochs: 1,
    batchSize: 64,
    parameters: names,
  });
  const after = lastValue(result);
  figure(
    '  fine-tune-sst2',
    `${percent(before)} %, with a new classifier (${names.join(', ')}) ${percent(damaged)} %, trained ${percent(after)} %`,
  );
  atMost('fine-tune-sst2', percent(before - after), 1, 'points');
}
