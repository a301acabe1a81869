// Quantization-aware training against rounding to nearest: pictures without labels, digits, and a character model in 2 bits and three values. What is lost
// is counted on the exported file, as it runs.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK_RECONSTRUCTION, cloneModel, fakeQuantFormat, reconstructBlocks, simulateWeights } from '../../dist/index.js';
import { readModel } from '../../dist/node/index.js';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';
import { engine, mnist, open, score } from '../train/setup.js';
import { digitsTeacherPath } from './distill.js';

const percent = (value) => Number((100 * value).toFixed(2));
const RECOVERED = 80;
const FORMATS = ['w4a8', 'w2a8', 'ternary-a8'];

export async function qatBars() {
  for (const format of FORMATS) {
    if (wanted(`qat-resnet20-${format}`)) pictures(format);
    if (wanted(`qat-lenet5-${format}`)) await digits(format);
  }
  if (wanted('adaround-resnet20')) await blocks();
  if (wanted('qat-shakespeare-w2')) characters('w2');
  if (wanted('qat-shakespeare-ternary')) characters('ternary');
}

/** Before, rounded alone and trained: quality of the exported files. A learning rate next to nothing leaves the rounding as it starts. */
function compare(name, model, format, { untrained, trained }) {
  const out = (what) => join(WORK, `${name}-${what}.onnx`);
  const run = (what, args) => pareJson('train', model, '-o', out(what), '--force', '--qat', format, ...args);
  const alone = run('alone', [...untrained, '--max-steps', '1', '--epochs', '1', '--lr', '1e-12']);
  const after = run('trained', trained);
  return { before: after.quality.before, alone: alone.quality.after, after: after.quality.after, seconds: after.seconds };
}

function recovered(name, { before, alone, after, seconds }, bar) {
  const lost = before - alone;
  figure(`  ${name}`, `${percent(before)} %, rounded ${percent(alone)} %, trained ${percent(after)} % in ${seconds.toFixed(0)} s`);
  const part = lost > 0 ? Number(((100 * (after - alone)) / lost).toFixed(1)) : 100;
  if (bar) atLeast(name, part, RECOVERED, '% of what rounding lost');
  else figure(name, `${part} % of what rounding lost`);
}

/** 400 pictures, labels not looked at. */
function pictures(format) {
  const cifar = (file) => `cifar:${shared(`cifar10/${file}`)}`;
  const data = ['--data', cifar('train_png_batch0.bin.gz'), '--validation', cifar('test_jpg_0-999.bin.gz'), '--preprocess', 'imagenet'];
  const name = `qat-resnet20-${format}`;
  const settings = [...data, '--augment', 'flip,crop:4', '--batch-size', '50', '--optimizer', 'adam', '--temperature', '4'];
  const few = format === 'w4a8';
  const result = compare(name, shared('resnet20-cifar10/resnet20_cifar10.onnx'), format, {
    untrained: [...settings, '--qat-start', few ? 'minmax' : 'search'],
    trained: [...settings, '--epochs', few ? '8' : '20', '--lr', few ? '1e-4' : '5e-4'],
  });
  recovered(name, result, few);
}

/** Codes of 4 bits chosen block by block on the 400 pictures; activations stay float. */
async function blocks() {
  const original = await readModel(shared('resnet20-cifar10/resnet20_cifar10.onnx'));
  const cifar = (file) => open(`cifar:${shared(`cifar10/${file}`)}`, original, { preprocess: 'imagenet' });
  const [data, test] = [await cifar('train_png_batch0.bin.gz'), await cifar('test_jpg_0-999.bin.gz')];
  const ctx = { engine, data, threads: 2, checkAborted() {}, progress() {}, skip() {}, warn() {}, note() {} };
  const options = { select: () => undefined, block: null, start: 'search', samples: 400, embeddings: true, minElements: 1, simplify: true };
  const simulation = await simulateWeights(cloneModel(original), { ...options, formatOf: () => fakeQuantFormat('w4') }, ctx);
  const before = await score(original, test, 'top1');
  const nearest = await score(simulation.export(simulation.model), test, 'top1');
  const { model } = await reconstructBlocks(simulation, data, BLOCK_RECONSTRUCTION, ctx);
  const after = await score(simulation.export(model), test, 'top1');
  figure('  adaround-resnet20', `${percent(before)} %, nearest ${percent(nearest)} %, learnt ${percent(after)} %`);
  atMost('adaround-resnet20', percent(before - after), 1, 'points below float');
}

/** All 60,000 digits, one epoch. */
async function digits(format) {
  const name = `qat-lenet5-${format}`;
  const settings = ['--data', mnist('train'), '--validation', mnist('t10k'), '--batch-size', '64', '--optimizer', 'adam'];
  const few = format === 'w4a8';
  const result = compare(name, await digitsTeacherPath(), format, {
    untrained: [...settings, '--qat-start', few ? 'minmax' : 'search'],
    trained: [...settings, '--epochs', '1', '--lr', '3e-4'],
  });
  recovered(name, result, few);
}

const MINUTES = 15;

function characters(format) {
  const model = shared('text-models/shakespeare_gpt.onnx');
  const text = readFileSync(shared('tiny-shakespeare/input.txt'), 'utf8');
  const cut = Math.floor(text.length * 0.9);
  const [train, last] = [text.slice(0, cut), text.slice(cut)].map((part, i) => {
    const path = join(WORK, `characters-${i}.txt`);
    writeFileSync(path, part);
    return path;
  });
  const data = ['--data', train, '--validation', last, '--metric', 'loss', '--tokenizer', shared('text-models/shakespeare_vocab.json')];
  const name = `qat-shakespeare-${format}`;
  const block = format === 'w2' ? '32' : '0';
  const settings = [...data, '--qat-block', block, '--batch-size', '8', '--optimizer', 'adam', '--clip-norm', '1'];
  // Time for reading, calibration and the measuring at the end is left out of the training's.
  const length = ['--max-minutes', String(MINUTES - 2), '--max-steps', '1600', '--epochs', '2', '--warmup', '50'];
  const { before, alone, after, seconds } = compare(name, model, format, {
    untrained: settings,
    trained: [...settings, ...length, '--lr', format === 'w2' ? '2e-4' : '1e-3', '--qat-start', format === 'w2' ? 'gptq' : 'search'],
  });
  figure(
    `  ${name}`,
    `loss ${before.toFixed(4)}, rounded + ${(alone - before).toFixed(4)}, trained + ${(after - before).toFixed(4)}, ${seconds.toFixed(0)} s`,
  );
  atMost(`${name}-minutes`, Number((seconds / 60).toFixed(1)), MINUTES, 'minutes');
  if (format === 'ternary') {
    atMost(name, Number((after - before).toFixed(4)), 0.1, 'loss');
    return;
  }
  const gptq = pareJson(
    'quantize',
    model,
    '-o',
    join(WORK, 'gptq.onnx'),
    '--force',
    '--mode',
    'weights',
    '--bits',
    '2',
    '--method',
    'gptq',
    ...data,
  );
  const more = gptq.quality.after - gptq.quality.before;
  atMost(`${name}-of-gptq`, Number(((100 * (after - before)) / more).toFixed(1)), 50, `% of the ${more.toFixed(4)} that GPTQ loses`);
}
