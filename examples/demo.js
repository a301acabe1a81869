// `npm run demo`: the main job on embedded data. Profiles the digit classifier, quantizes it with real digits, verifies it, writes the report.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeNpz, Tensor } from '../dist/index.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = join(HERE, '..', 'demo-output');
const PARE = join(HERE, '..', 'bin', 'pare.js');
const PIXELS = 28 * 28;
/** Digits of each class before this index trained the model; the rest are its test set. */
const TRAINED = 800;
const CALIBRATION_PER_CLASS = 10;

const digitsFolder = join(dirname(createRequire(import.meta.url).resolve('mnist/package.json')), 'src', 'digits');
const classes = Array.from({ length: 10 }, (_, digit) => JSON.parse(readFileSync(join(digitsFolder, `${digit}.json`), 'utf8')).data);

/** Digits number `from` to `to` of every class as an npz file with images and labels. */
function writeDigits(name, from, to) {
  const images = [];
  const labels = [];
  for (const [label, pixels] of classes.entries()) {
    const last = Math.min(to, pixels.length / PIXELS);
    images.push(pixels.slice(from * PIXELS, last * PIXELS));
    labels.push(new Array(last - from).fill(label));
  }
  const count = labels.flat().length;
  const path = join(OUT, name);
  writeFileSync(
    path,
    encodeNpz({
      image: Tensor.from('float', [count, 1, 28, 28], images.flat()),
      labels: Tensor.from('int64', [count], labels.flat()),
    }),
  );
  return path;
}

function pare(...args) {
  console.log(`\n$ npx pare ${args.map((a) => a.replace(`${OUT}/`, 'demo-output/').replace(`${HERE}/`, 'examples/')).join(' ')}\n`);
  const { status } = spawnSync(process.execPath, [PARE, ...args], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

mkdirSync(OUT, { recursive: true });
const model = join(HERE, 'digits.onnx');
const calibration = writeDigits('calibration.npz', 0, CALIBRATION_PER_CLASS);
const test = writeDigits('test.npz', TRAINED, Number.POSITIVE_INFINITY);
const result = join(OUT, 'digits.int8.onnx');
pare('profile', model);
pare(
  'quantize',
  model,
  '-o',
  result,
  '--data',
  calibration,
  '--validation',
  test,
  '--metric',
  'top1',
  '--report',
  join(OUT, 'report.html'),
);
pare('compare', model, result, '--data', test, '--metric', 'top1', '--per-layer');
console.log(`\nOpen ${join('demo-output', 'report.html')} in a browser.`);
