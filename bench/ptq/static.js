// Bars of static int8 quantization: the same defaults for every model, run through the command line as a user would, judged on data that was not
// calibrated on; memory that does not grow with the samples; time of entropy calibration.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeNpz, Tensor } from '../../dist/index.js';
import { nodeEngine, writeModel } from '../../dist/node/index.js';
import { atLeast, atMost, check, figure, wanted } from '../lib/bars.js';
import { CACHE, pareJson, shared, WORK } from '../lib/pare.js';
import { buildResNet50 } from '../models/resnet50.js';
import { normalFiller } from '../models/weights.js';
import { LOG_MEL, magikaFiles, mobilenetCrops, ultrafaceCrops, wholePhoto, yunetCrops } from './data.js';
import { countFaces } from './faces.js';

const out = join(WORK, 'static.onnx');

/** Quantizes with the defaults; answers the record, with the worst figures over the outputs. */
function quantize(model, data, validation, ...flags) {
  const r = pareJson(
    'quantize',
    shared(model),
    '-o',
    out,
    '--force',
    '--mode',
    'static',
    '--data',
    data,
    '--validation',
    validation,
    ...flags,
  );
  const all = (key) => r.outputs.map((o) => o[key]).filter((v) => v !== null);
  const worst = { cosine: Math.min(...all('cosine')), agreement: 100 * Math.min(...all('agreement')), kl: Math.max(...all('kl')) };
  figure(
    `  ${model}`,
    `${r.quality.metric} ${r.quality.before} to ${r.quality.after}, ${r.quality.samples} samples, cosine ${worst.cosine.toFixed(5)}, ${r.seconds.toFixed(1)} s`,
  );
  return { ...r, worst, bytes: r.output.bytes };
}

export async function staticBars() {
  if (wanted('static-resnet20')) {
    const cifar = (file) => `cifar:${shared(`cifar10/${file}`)}`;
    const flags = ['--preprocess', 'imagenet', '--metric', 'top1'];
    const r = quantize(
      'resnet20-cifar10/resnet20_cifar10.onnx',
      cifar('train_png_batch0.bin.gz'),
      cifar('test_jpg_0-999.bin.gz'),
      ...flags,
    );
    atLeast('static-resnet20-agreement', r.worst.agreement, 98.5, '%');
    atLeast('static-resnet20-cosine', r.worst.cosine, 0.9996);
    atMost('static-resnet20-bytes', r.bytes, 345_000);
  }
  if (wanted('static-mnist')) {
    const idx = (set) => `idx:${shared(`mnist/${set}-images-idx3-ubyte.gz`)},${shared(`mnist/${set}-labels-idx1-ubyte.gz`)}`;
    const r = quantize('mnist-cntk/mnist.onnx', idx('train'), idx('t10k'), '--samples', '200', '--preprocess', 'none', '--metric', 'top1');
    atLeast('static-mnist-top1', 100 * r.quality.after, 98.85, '%');
    atMost('static-mnist-bytes', r.bytes, 19_500);
  }
  if (wanted('static-mobilenet')) {
    const r = quantize(
      'mobilenetv1-025-imagenet/mobilenet_v1_0.25_128.onnx',
      await mobilenetCrops.calibration(100),
      await mobilenetCrops.test(240),
      '--limit',
      '240',
    );
    atLeast('static-mobilenet-agreement', r.worst.agreement, 88, '%');
    atMost('static-mobilenet-kl', r.worst.kl, 0.06);
    atMost('static-mobilenet-bytes', r.bytes, 560_000);
  }
  if (wanted('static-kws')) {
    const settings = join(WORK, 'logmel.json');
    writeFileSync(settings, JSON.stringify(LOG_MEL));
    figure('  kws features', JSON.stringify(LOG_MEL));
    const digits = (file) => shared(`fsdd/${file}.tar.gz`);
    const r = quantize(
      'kws-micro/kws_fp32.onnx',
      digits('fsdd_train_5-7'),
      digits('fsdd_test_0-4'),
      '--preprocess',
      settings,
      '--metric',
      'agreement',
    );
    atLeast('static-kws-agreement', r.worst.agreement, 99, '%');
    atLeast('static-kws-cosine', r.worst.cosine, 0.999);
    atMost('static-kws-bytes', r.bytes, 46_000);
  }
  if (wanted('static-yunet')) {
    const r = quantize('yunet/yunet_n_320_320.onnx', await yunetCrops.calibration(40), await yunetCrops.test(40), '--limit', '40');
    atLeast('static-yunet-cosine', r.worst.cosine, 0.99);
    atMost('static-yunet-bytes', r.bytes, 160_000);
  }
  if (wanted('static-ultraface')) await ultraface();
  if (wanted('static-magika')) {
    const r = quantize('magika/standard_v1.onnx', await magikaFiles.calibration(), await magikaFiles.test(), '--limit', '1000');
    atLeast('static-magika-files', r.quality.samples, 76, 'files');
    atLeast('static-magika-agreement', r.worst.agreement, 97, '%');
    atMost('static-magika-bytes', r.bytes, 300_000);
  }
  if (wanted('static-memory')) memory();
  if (wanted('static-entropy')) await entropy();
}

async function ultraface() {
  const r = quantize(
    'ultraface/version-slim-320.onnx',
    await ultrafaceCrops.calibration(40),
    await ultrafaceCrops.test(40),
    '--limit',
    '40',
  );
  atLeast('static-ultraface-cosine', r.worst.cosine, 0.9999);
  atMost('static-ultraface-bytes', r.bytes, 440_000);
  const engine = await nodeEngine();
  const expected = { faces_13: 2, faces_2: 4 };
  const wrong = [];
  const session = await engine.load({ path: out });
  for (const [photo, count] of Object.entries(expected)) {
    const input = await wholePhoto(photo, { width: 320, height: 240 }, { mean: 127, scale: 1 / 128 });
    const found = countFaces(await session.run({ input }));
    if (found !== count) wrong.push(`${photo}: expected ${count} faces, found ${found}`);
  }
  await session.release();
  check('static-ultraface-faces', wrong);
}

/** Peak memory of calibrating with 1,000 samples against that with 10; data is made as it is asked for, so that only calibration is seen. */
function memory() {
  const peak = (n) => {
    const args = ['quantize', shared('resnet20-cifar10/resnet20_cifar10.onnx'), '-o', out, '--force', '--no-verify', '--mode', 'static'];
    return pareJson(...args, '--data', `random:${n}`, '--shape', 'input=1,3,32,32').peakMB;
  };
  const [few, many] = [peak(10), peak(1000)];
  figure('  static-memory', `${few.toFixed(0)} MB with 10 samples, ${many.toFixed(0)} MB with 1,000`);
  atMost('static-memory-ratio', many / few, 1.3);
}

/** Seconds of a run with entropy calibration beyond those of one with min-max, which runs the same forward passes. */
async function entropy() {
  const model = join(CACHE, 'resnet50.onnx');
  if (!existsSync(model)) {
    mkdirSync(CACHE, { recursive: true });
    await writeModel(buildResNet50(), model);
  }
  const images = join(CACHE, 'images16.npz');
  if (!existsSync(images)) {
    const dims = [16, 3, 224, 224];
    const pixels = normalFiller(7)(
      dims.reduce((a, d) => a * d, 1),
      1,
    );
    writeFileSync(images, encodeNpz({ image: Tensor.of('float', dims, pixels) }));
  }
  const seconds = (observer) => {
    const run = () =>
      pareJson('quantize', model, '-o', out, '--force', '--no-verify', '--mode', 'static', '--data', images, '--observer', observer)
        .seconds;
    run();
    return Math.min(run(), run());
  };
  atMost('static-entropy-seconds', seconds('entropy') - seconds('minmax'), 3, 's');
}
