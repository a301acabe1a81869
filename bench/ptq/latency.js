// Bars of latency: every model of the table quantized with `--optimize latency` for one thread of Node's CPU, timed in turn with its float original.
// `ratio` is the median over rounds of time by the float's time; "no slower" is judged with the noise of two equal sessions allowed for.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { CACHE, pareJson, shared, WORK } from '../lib/pare.js';
import { mobilenetCrops, ultrafaceCrops, yunetCrops } from './data.js';

/** Two sessions of one and the same file differ by up to this on a machine with other work. */
const NOISE = 1.05;

const cifar = (file) => `cifar:${shared(`cifar10/${file}`)}`;

export async function latencyBars() {
  const cases = {
    resnet20: ['resnet20-cifar10/resnet20_cifar10.onnx', 'static', '--data', cifar('train_png_batch0.bin.gz'), '--preprocess', 'imagenet'],
    mnist: ['mnist-cntk/mnist.onnx', 'static', '--data', 'random:16'],
    mobilenet: ['mobilenetv1-025-imagenet/mobilenet_v1_0.25_128.onnx', 'static', '--data', await mobilenetCrops.calibration(100)],
    kws: ['kws-micro/kws_fp32.onnx', 'static', '--data', 'random:16'],
    yunet: ['yunet/yunet_n_320_320.onnx', 'static', '--data', await yunetCrops.calibration(16)],
    ultraface: ['ultraface/version-slim-320.onnx', 'static', '--data', await ultrafaceCrops.calibration(16)],
    'magika-static': ['magika/standard_v1.onnx', 'static', '--data', 'random:16'],
    'magika-dynamic': ['magika/standard_v1.onnx', 'dynamic'],
    silero: ['silero-vad/silero_vad_16k_op15.onnx', 'dynamic'],
    'shakespeare-int4': ['text-models/shakespeare_gpt.onnx', 'weights', '--bits', '4'],
  };
  for (const [name, args] of Object.entries(cases)) {
    if (!wanted(`latency-${name}`)) continue;
    const { latency, plan } = run(...args);
    figure(`  ${name}`, told(latency, plan));
    atMost(`latency-${name}`, latency.ratio, NOISE, 'times the float');
  }
  if (wanted('latency-sst2')) {
    const { latency, plan } = run('text-models/sst2_bert_mini.onnx', 'dynamic');
    figure('  sst2', told(latency, plan));
    atLeast('latency-sst2', 1 / latency.ratio, 1.5, 'times as fast');
  }
  const resnet = join(CACHE, 'resnet50.onnx');
  if (wanted('latency-resnet50') && existsSync(resnet)) {
    const { latency, plan } = quantize(resnet, 'static', '--data', join(CACHE, 'images16.npz'), '--limit', '8');
    figure('  resnet50', told(latency, plan));
    atLeast('latency-resnet50', 1 / latency.ratio, 2.5, 'times as fast');
  }
}

const run = (model, ...rest) => quantize(shared(model), ...rest);

function quantize(model, mode, ...flags) {
  return pareJson(
    'quantize',
    model,
    '-o',
    join(WORK, 'fast.onnx'),
    '--mode',
    mode,
    '--optimize',
    'latency',
    '--threads',
    '1',
    '--limit',
    '16',
    ...flags,
  );
}

const told = (latency, plan) =>
  `${latency.before_ms.toFixed(3)} to ${latency.after_ms.toFixed(3)} ms, ${plan.latency.chosen}; ${plan.latency.candidates.map((c) => `${c.name} ${c.ratio.toFixed(2)}`).join(', ')}`;
