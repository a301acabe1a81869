// Time and peak memory of whole command runs with --no-verify, and beside them the same runs verified. The bars are what Python tools took on
// two cores; the models are built here and kept in .bench-cache.
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeNpz, Tensor } from '../../dist/index.js';
import { writeModel } from '../../dist/node/index.js';
import { atMost, figure, wanted } from '../lib/bars.js';
import { CACHE, pareJson, timed, WORK } from '../lib/pare.js';
import { buildMatMulChain } from '../models/matmul-chain.js';
import { buildResNet50 } from '../models/resnet50.js';
import { buildTransformer } from '../models/transformer.js';
import { normalFiller } from '../models/weights.js';

const RUNS = 5;
const SAMPLES = 16;

async function cached(name, build, options) {
  const path = join(CACHE, name);
  if (!existsSync(path)) {
    mkdirSync(CACHE, { recursive: true });
    await writeModel(build(), path, options);
  }
  return path;
}

function calibrationImages() {
  const path = join(CACHE, 'images16.npz');
  if (!existsSync(path)) {
    const dims = [SAMPLES, 3, 224, 224];
    const pixels = normalFiller(7)(
      dims.reduce((a, d) => a * d, 1),
      1,
    );
    writeFileSync(path, encodeNpz({ image: Tensor.of('float', dims, pixels) }));
  }
  return path;
}

export async function speedBars() {
  const out = join(WORK, 'fast.onnx');
  const measure = (name, seconds, megabytes, args, runs = RUNS) => {
    const fast = timed(runs, ...args, '-o', out, '--no-verify');
    atMost(`${name}-seconds`, fast.seconds, seconds, 's');
    if (megabytes !== undefined) atMost(`${name}-memory`, fast.peakMB, megabytes, 'MB');
    figure(`  ${name} size`, `${fast.last.input.bytes} to ${fast.last.output.bytes} bytes`);
    const checked = pareJson(...args, '-o', out);
    figure(
      `  ${name} verified`,
      `${checked.seconds.toFixed(2)} s, ${checked.peakMB.toFixed(0)} MB, ${checked.quality.metric} ${checked.quality.after}`,
    );
  };
  if (wanted('speed-static')) {
    const resnet = await cached('resnet50.onnx', buildResNet50);
    const args = ['quantize', resnet, '--mode', 'static', '--data', calibrationImages()];
    // The bar is of min-max calibration alone, without repair of accuracy; the defaults do more and are printed beside it.
    measure('speed-static', 2.5, 700, [...args, '--observer', 'minmax', '--no-equalize', '--no-bias-correction']);
    const full = pareJson(...args, '-o', out, '--no-verify');
    figure('  speed-static with equalization and bias correction', `${full.seconds.toFixed(2)} s, ${full.peakMB.toFixed(0)} MB`);
  }
  const transformer = () => cached('transformer.onnx', buildTransformer);
  if (wanted('speed-dynamic')) measure('speed-dynamic', 0.8, 300, ['quantize', await transformer(), '--mode', 'dynamic']);
  if (wanted('speed-fp16')) measure('speed-fp16', 0.8, undefined, ['quantize', await transformer(), '--mode', 'fp16']);
  if (wanted('speed-simplify')) measure('speed-simplify', 1, undefined, ['simplify', await transformer()]);
  if (wanted('speed-int4')) {
    const chain = await cached('matmul-chain.onnx', buildMatMulChain, { external: true });
    figure('  speed-int4 input', `${statSync(`${chain}.data`).size} bytes of external data`);
    measure('speed-int4', 3.5, 600, ['quantize', chain, '--mode', 'weights', '--bits', '4'], 3);
  }
}
