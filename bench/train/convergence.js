// Networks trained from their initial weights, judged on data that they were not trained on. The figure is that of the end of training, not the best on the way.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { adam, adamw, nn, parseAugmentations, sgd, withoutDecay } from '../../dist/index.js';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { shared, WORK } from '../lib/pare.js';
import { lastValue, mnist, open, settingsFile, trainOn } from './setup.js';
import { withoutTestSentences } from './sst2.js';

const percent = (value) => Number((100 * value).toFixed(2));

export async function convergenceBars() {
  if (wanted('convergence-lenet5')) await lenet5();
  if (wanted('convergence-lenet300')) await lenet300();
  if (wanted('convergence-fsdd')) await spokenDigits();
  if (wanted('convergence-sst2')) await sentences();
  if (wanted('convergence-shakespeare')) await shakespeare();
}

/** Full MNIST: 60,000 digits to train on, 10,000 to judge. */
async function digits(name, preset, settings) {
  const model = nn.createPreset(preset, {}, { seed: 1 });
  const [dataset, test] = [await open(mnist('train'), model), await open(mnist('t10k'), model)];
  const result = await trainOn(name, { model, dataset, test, ...settings });
  return percent(lastValue(result));
}

async function lenet5() {
  const top1 = await digits('convergence-lenet5', 'lenet5', {
    rule: adam(),
    lr: 3e-3,
    schedule: 'one-cycle',
    epochs: 5,
    batchSize: 64,
    augment: parseAugmentations('crop:2'),
  });
  atLeast('convergence-lenet5', top1, 99, '%');
}

async function lenet300() {
  const top1 = await digits('convergence-lenet300', 'lenet300', {
    rule: adam(),
    lr: 2e-3,
    schedule: 'one-cycle',
    epochs: 15,
    batchSize: 100,
    augment: parseAugmentations('crop:1'),
  });
  atLeast('convergence-lenet300', top1, 98.3, '%');
}

/** 32 mel bands by 32 frames of 16 ms: half a second, as a picture of one channel. */
const LOG_MEL = {
  kind: 'logmel',
  sampleRate: 8000,
  window: 256,
  hop: 128,
  mels: 32,
  fmin: 60,
  gain: 0.25,
  offset: 1,
  order: 'mels-frames',
};

async function spokenDigits() {
  const model = nn.createPreset('resnet8', { channels: 1 }, { seed: 1 });
  const preprocess = settingsFile('fsdd.json', LOG_MEL);
  const dataset = await open(shared('fsdd/fsdd_train_5-7.tar.gz'), model, { preprocess });
  const test = await open(shared('fsdd/fsdd_test_0-4.tar.gz'), model, { preprocess });
  const result = await trainOn('convergence-fsdd', {
    model,
    dataset,
    test,
    rule: sgd({ momentum: 0.9, nesterov: true, weightDecay: 1e-3 }),
    lr: 0.1,
    warmup: 20,
    epochs: 30,
    batchSize: 32,
    augment: parseAugmentations('crop:3:-2.45,noise:0.1,mixup:0.2'),
    classes: 10,
  });
  figure(
    `convergence-fsdd`,
    `${percent(lastValue(result))} % top-1 of ${test.size} spoken digits, trained on ${dataset.size} (chance 10 %)`,
  );
}

async function sentences() {
  const model = nn.createPreset('bert-mini', { vocabulary: 8000, positions: 64, tokenTypes: 0 }, { seed: 1 });
  const options = { tokenizer: shared('text-models/sst2_tokenizer.json') };
  const dataset = await open(withoutTestSentences('convergence-sst2'), model, options);
  const test = await open(shared('sst2/test.tsv'), model, options);
  const result = await trainOn('convergence-sst2', {
    model,
    dataset,
    test,
    rule: adamw({ weightDecay: 0.01 }),
    lr: 5e-4,
    warmup: 500,
    schedule: 'linear',
    epochs: 4,
    batchSize: 64,
    optimizer: { clipNorm: 1, groups: [withoutDecay(/embeddings/)] },
  });
  atLeast('convergence-sst2', percent(lastValue(result)), 78, '%');
}

const MINUTES = 10;

async function shakespeare() {
  const model = nn.createPreset('gpt-nano', {}, { seed: 1 });
  const source = readFileSync(shared('tiny-shakespeare/input.txt'), 'utf8');
  const cut = Math.floor(source.length * 0.9);
  const [train, held] = [source.slice(0, cut), source.slice(cut)].map((part, i) => {
    const path = join(WORK, `shakespeare-${i}.txt`);
    writeFileSync(path, part);
    return path;
  });
  const options = { tokenizer: shared('text-models/shakespeare_vocab.json') };
  const start = performance.now();
  const result = await trainOn('convergence-shakespeare', {
    model,
    dataset: await open(train, model, options),
    test: await open(held, model, options),
    metric: 'loss',
    rule: adamw({ beta2: 0.99, weightDecay: 0.1 }),
    lr: 2e-3,
    warmup: 100,
    schedule: 'cosine',
    epochs: 2,
    batchSize: 16,
    maxMs: MINUTES * 60_000,
    optimizer: { clipNorm: 1, groups: [withoutDecay()] },
  });
  const minutes = (performance.now() - start) / 60_000;
  figure('  convergence-shakespeare steps', `${result.steps} of ${result.msPerStep.toFixed(0)} ms, ${minutes.toFixed(1)} minutes in all`);
  atMost('convergence-shakespeare', Number(lastValue(result).toFixed(4)), 2.1, 'nats');
}
