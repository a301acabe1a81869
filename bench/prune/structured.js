// Structured pruning: sizes of a ResNet-50 with all groups halved, budgets met on real models and on every preset, and repair without labels.
import { join } from 'node:path';
import { PRESETS } from '../../dist/nn/presets/index.js';
import { writeModel } from '../../dist/node/index.js';
import { atLeast, atMost, check, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';
import { buildResNet50 } from '../models/resnet50.js';

const MODELS = {
  resnet20: 'resnet20-cifar10/resnet20_cifar10.onnx',
  cifar10_cnn: 'cifar10-cnn-tf/cifar10_cnn.onnx',
  mobilenetv1: 'mobilenetv1-025-imagenet/mobilenet_v1_0.25_128.onnx',
  ultraface: 'ultraface/version-slim-320.onnx',
  yunet: 'yunet/yunet_n_320_320.onnx',
  openseeface: 'openseeface/mnv3_detection_opt.onnx',
  kws_fp32: 'kws-micro/kws_fp32.onnx',
  magika: 'magika/standard_v1.onnx',
  sst2_bert_mini: 'text-models/sst2_bert_mini.onnx',
  shakespeare_gpt: 'text-models/shakespeare_gpt.onnx',
};

const CIFAR = [
  '--data',
  `cifar:${shared('cifar10/train_png_batch0.bin.gz')}`,
  '--validation',
  `cifar:${shared('cifar10/test_jpg_0-999.bin.gz')}`,
  '--preprocess',
  'imagenet',
  '--metric',
  'top1',
];

export async function structured() {
  if (wanted('resnet50')) await resnet50();
  if (wanted('budgets')) budgets();
  if (wanted('presets')) presets();
  if (wanted('silero')) silero();
  if (wanted('reconstruct')) reconstruct();
}

async function resnet50() {
  const path = join(WORK, 'resnet50.onnx');
  await writeModel(buildResNet50(), path, { force: true });
  const out = join(WORK, 'resnet50.half.onnx');
  const run = pareJson('prune', path, '-o', out, '--force', '--sparsity', '0.5', '--no-verify');
  atMost('resnet50-macs-deviation', Math.abs(run.output.macs / 1.05e9 - 1) * 100, 1, '%');
  atMost('resnet50-params-deviation', Math.abs(run.output.params / 6.92e6 - 1) * 100, 1, '%');
  figure('resnet50-gmacs', `${(run.input.macs / 1e9).toFixed(3)} to ${(run.output.macs / 1e9).toFixed(3)}`);
  figure('resnet50-params', `${(run.input.params / 1e6).toFixed(2)} M to ${(run.output.params / 1e6).toFixed(2)} M`);
  atMost('resnet50-seconds', run.seconds, 5, 's');
  const compared = pareJson('compare', path, out, '--data', 'random:1');
  figure('resnet50-latency-ratio', compared.latency?.ratio?.toFixed(3) ?? 'not measured');
}

/** Deviation of the MACs from half, in percent. */
function halved(path, name) {
  const run = pareJson('prune', path, '-o', join(WORK, `${name}.onnx`), '--force', '--target-macs', '0.5', '--data', 'random:4');
  return Math.abs(run.output.macs / run.input.macs / 0.5 - 1) * 100;
}

function budgets() {
  for (const [name, path] of Object.entries(MODELS)) {
    if (wanted(`budgets-${name}`)) atMost(`budgets-${name}-macs-deviation`, halved(shared(path), name), 3, '%');
  }
}

function presets() {
  for (const name of Object.keys(PRESETS)) {
    const path = join(WORK, `${name}.onnx`);
    pareJson('new', name, '-o', path);
    atMost(`presets-${name}-macs-deviation`, halved(path, name), 3, '%');
  }
}

function silero() {
  const path = shared('silero-vad/silero_vad_16k_op15.onnx');
  const run = pareJson('prune', path, '-o', join(WORK, 'silero.onnx'), '--force', '--sparsity', '0.5', '--no-verify');
  const reasons = run.passes.flatMap((p) => p.skipped.map((s) => s.reason));
  check('silero-reasons', reasons.length > 0 ? [] : ['nothing was said of what stays']);
  atMost('silero-params-ratio', run.output.params / run.input.params, 0.85);
}

function reconstruct() {
  const path = shared(MODELS.resnet20);
  const half = (importance, ...more) =>
    pareJson(
      'prune',
      path,
      '-o',
      join(WORK, 'r20.onnx'),
      '--force',
      '--target-macs',
      '0.5',
      '--inner',
      '--importance',
      importance,
      ...CIFAR,
      ...more,
    );
  let best = 0;
  for (const importance of ['group-l2', 'l2', 'bn-scale', 'fpgm', 'mean-activation', 'taylor', 'fisher']) {
    const plain = half(importance).quality.after * 100;
    const repaired = half(importance, '--reconstruct').quality.after * 100;
    figure(`reconstruct-${importance}`, `${plain.toFixed(1)} % unrepaired, ${repaired.toFixed(1)} % reconstructed`);
    best = Math.max(best, repaired);
  }
  atLeast('reconstruct-resnet20', best, 65, '%');
}
