// Published or recorded figures of the models in the shared data folder, reproduced through Pare's own data readers and metrics.
// Prints `NAME: VALUE (expected X)` and exits 1 where one is off by more than rounding. Needs `npm run build` and PARE_DATA.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { evaluateMetrics, METRICS } from '../dist/data/metrics.js';
import { openDataset } from '../dist/node/data.js';
import { nodeEngine } from '../dist/node/engine.js';
import { readModel } from '../dist/node/files.js';
import { openSession } from '../dist/runtime/session.js';

const root = resolve(process.env.PARE_DATA ?? join(import.meta.dirname, '../../shared/data'));
const at = (path) => join(root, path);
if (!existsSync(root)) {
  console.log(`skipped: no shared data at ${root} (set PARE_DATA)`);
  process.exit(0);
}
const work = mkdtempSync(join(tmpdir(), 'pare-baselines-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

/** The last tenth of the play, which the model was not trained on. */
function heldOutText() {
  const text = readFileSync(at('tiny-shakespeare/input.txt'), 'utf8');
  const path = join(work, 'held-out.txt');
  writeFileSync(path, text.slice(Math.floor(text.length * 0.9)));
  return path;
}

/** Class folders numbered as the model's classes: ImageNet's index + 1. */
function photoFolders() {
  const folder = join(work, 'photos');
  for (const [name, index] of Object.entries({ goldfish: 1, kimono: 614, cat: 281 })) {
    mkdirSync(join(folder, String(index + 1)), { recursive: true });
    symlinkSync(at(`photos/${name}.jpg`), join(folder, String(index + 1), `${name}.jpg`));
  }
  return folder;
}

const mnist = `idx:${at('mnist/t10k-images-idx3-ubyte.gz')},${at('mnist/t10k-labels-idx1-ubyte.gz')}`;
const cifar = `cifar:${at('cifar10/test_jpg_0-999.bin.gz')}`;
const CASES = [
  {
    name: 'mnist-cntk top1',
    model: 'mnist-cntk/mnist.onnx',
    data: mnist,
    options: { preprocess: 'none' },
    metric: 'top1',
    expected: 0.9891,
    digits: 4,
  },
  {
    name: 'resnet20-cifar10 top1',
    model: 'resnet20-cifar10/resnet20_cifar10.onnx',
    data: cifar,
    options: { preprocess: 'imagenet' },
    metric: 'top1',
    expected: 0.804,
    digits: 4,
  },
  {
    name: 'cifar10-cnn-tf top1',
    model: 'cifar10-cnn-tf/cifar10_cnn.onnx',
    data: cifar,
    options: { preprocess: 'unit' },
    metric: 'top1',
    expected: 0.689,
    digits: 4,
  },
  {
    name: 'sst2-bert-mini top1',
    model: 'text-models/sst2_bert_mini.onnx',
    data: at('sst2/test.tsv'),
    options: { tokenizer: at('text-models/sst2_tokenizer.json') },
    metric: 'top1',
    expected: 0.797,
    digits: 4,
  },
  {
    name: 'shakespeare-gpt loss',
    model: 'text-models/shakespeare_gpt.onnx',
    data: heldOutText,
    options: { tokenizer: at('text-models/shakespeare_vocab.json') },
    metric: 'loss',
    expected: 1.724,
    digits: 4,
  },
  {
    name: 'mobilenetv1-025 photos top1',
    model: 'mobilenetv1-025-imagenet/mobilenet_v1_0.25_128.onnx',
    data: photoFolders,
    options: { preprocess: 'mobilenet' },
    metric: 'top1',
    expected: 1,
    digits: 4,
  },
];

const engine = await nodeEngine();
const wanted = process.argv.slice(2);
let off = 0;
for (const c of CASES.filter((k) => wanted.length === 0 || wanted.some((w) => k.name.includes(w)))) {
  const start = performance.now();
  const model = await readModel(at(c.model));
  const dataset = await openDataset(typeof c.data === 'string' ? c.data : c.data(), model, c.options);
  const session = await openSession(engine, model);
  const { values, samples } = await evaluateMetrics(session, dataset, [METRICS[c.metric]]);
  await session.release();
  const value = values[c.metric].toFixed(c.digits);
  const ok = value === c.expected.toFixed(c.digits);
  if (!ok) off++;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${c.name}: ${value} (expected ${c.expected.toFixed(c.digits)}, ${samples} samples, ${seconds} s)${ok ? '' : ' OFF'}`);
}
process.exitCode = off > 0 ? 1 : 0;
