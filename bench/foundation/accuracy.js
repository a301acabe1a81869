// Accuracy of quantized models on real data, calibrated as a user would.
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { atLeast, atMost, check, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';

const out = join(WORK, 'quantized.onnx');
const points = (q) => (q.before - q.after) * 100;
const show = (r) =>
  `float ${(r.quality.before * 100).toFixed(2)}, quantized ${(r.quality.after * 100).toFixed(2)}, ${r.input.bytes} to ${r.output.bytes} bytes`;

export function accuracyBars() {
  if (wanted('accuracy-resnet20')) {
    const r = quantize(
      'resnet20-cifar10/resnet20_cifar10.onnx',
      'static',
      '--data',
      `cifar:${shared('cifar10/train_png_batch0.bin.gz')}`,
      '--validation',
      `cifar:${shared('cifar10/test_jpg_0-999.bin.gz')}`,
      '--preprocess',
      'imagenet',
    );
    figure('  resnet20 top-1', show(r));
    atMost('accuracy-resnet20', points(r.quality), 0.3, 'points lost');
  }
  if (wanted('accuracy-mnist')) {
    const idx = (set) => `idx:${shared(`mnist/${set}-images-idx3-ubyte.gz`)},${shared(`mnist/${set}-labels-idx1-ubyte.gz`)}`;
    const train = join(WORK, 'mnist');
    mkdirSync(train, { recursive: true });
    const r = quantize(
      'mnist-cntk/mnist.onnx',
      'static',
      '--data',
      idx('train'),
      '--samples',
      '200',
      '--validation',
      idx('t10k'),
      '--preprocess',
      'none',
    );
    figure('  mnist-cntk top-1', show(r));
    atMost('accuracy-mnist', points(r.quality), 0.1, 'points lost');
  }
  if (wanted('accuracy-mobilenet')) photos();
  const text = ['--data', shared('sst2/test.tsv'), '--tokenizer', shared('text-models/sst2_tokenizer.json')];
  if (wanted('accuracy-sst2-dynamic')) {
    const r = quantize('text-models/sst2_bert_mini.onnx', 'dynamic', ...text);
    figure('  sst2_bert_mini dynamic accuracy', show(r));
    atMost('accuracy-sst2-dynamic', points(r.quality), 0.5, 'points lost');
  }
  if (wanted('accuracy-sst2-int4')) {
    const r = quantize('text-models/sst2_bert_mini.onnx', 'weights', '--bits', '4', ...text);
    figure('  sst2_bert_mini int4 accuracy', show(r));
    atMost('accuracy-sst2-int4', points(r.quality), 1.5, 'points lost');
  }
}

function quantize(model, mode, ...flags) {
  return pareJson('quantize', shared(model), '-o', out, '--mode', mode, '--metric', 'top1', ...flags);
}

/** Photos in class folders numbered as the model's 1,001 classes: ImageNet's index + 1. */
function photos() {
  const folder = join(WORK, 'photos');
  const classes = { goldfish: 1, kimono: 614, cat: 281 };
  for (const [name, index] of Object.entries(classes)) {
    mkdirSync(join(folder, String(index + 1)), { recursive: true });
    symlinkSync(shared(`photos/${name}.jpg`), join(folder, String(index + 1), `${name}.jpg`));
  }
  const common = ['--data', shared('photos'), '--validation', folder, '--preprocess', 'mobilenet'];
  const r = quantize('mobilenetv1-025-imagenet/mobilenet_v1_0.25_128.onnx', 'static', ...common);
  atLeast('accuracy-mobilenet', r.quality.after, 1, 'of the photo labels right');
  check(
    'accuracy-mobilenet-agreement',
    r.outputs.filter((o) => o.agreement < 1).map((o) => `${o.name}: ${o.agreement}`),
  );
  figure('  mobilenet output KL', r.outputs[0].kl);
}
