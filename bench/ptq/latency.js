// Bars of latency: every model of the table quantized with `--optimize latency` for one thread of Node's CPU and for
// WebAssembly, timed in turn with its float original in the runtime it is for.
// `ratio` is the median over rounds of time by the float's time; "no slower" is judged with the noise of two equal sessions allowed for.
import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { CACHE, pareJson, shared, WORK } from '../lib/pare.js';
import { mobilenetCrops, ultrafaceCrops, yunetCrops } from './data.js';

/** Two sessions of one and the same file differ by up to this on a machine with other work. */
const NOISE = 1.05;

/** Models that integers must make faster by at least this factor on the CPU. */
const FASTER = { sst2: 1.5, resnet50: 2.5 };

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
  cases.sst2 = ['text-models/sst2_bert_mini.onnx', 'dynamic'];
  const resnet = join(CACHE, 'resnet50.onnx');
  if (existsSync(resnet)) cases.resnet50 = [resnet, 'static', '--data', join(CACHE, 'images16.npz'), '--limit', '8'];
  for (const [name, args] of Object.entries(cases)) {
    const faster = FASTER[name];
    if (wanted(`latency-${name}`)) {
      const { latency, plan } = quantize(...args);
      figure(`  ${name}`, told(latency, plan));
      if (faster) atLeast(`latency-${name}`, 1 / latency.ratio, faster, 'times as fast');
      else atMost(`latency-${name}`, latency.ratio, NOISE, 'times the float');
    }
    if (wanted(`latency-wasm-${name}`)) {
      const { latency, plan } = quantize(...args, '--device', 'wasm');
      figure(`  ${name} in WebAssembly`, told(latency, plan));
      atMost(`latency-wasm-${name}`, latency.ratio, NOISE, 'times the float');
    }
  }
}

function quantize(model, mode, ...flags) {
  return pareJson(
    'quantize',
    isAbsolute(model) ? model : shared(model),
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
  `${latency.before_ms.toFixed(3)} to ${latency.after_ms.toFixed(3)} ms, ${plan.latency.chosen} (noise ${plan.latency.noise.toFixed(3)}); ${plan.latency.candidates.map((c) => `${c.name} ${c.ratio.toFixed(2)}`).join(', ')}`;
