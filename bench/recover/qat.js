// Quantization-aware training against rounding to nearest: pictures without labels, digits, and a character model in 2 bits and three values. What is lost
// is counted on the exported file, as it runs, by rows that took no part: what is written is the last epoch, not the best one.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK_RECONSTRUCTION, cloneModel, fakeQuantFormat, reconstructBlocks, simulateWeights } from '../../dist/index.js';
import { readModel } from '../../dist/node/index.js';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';
import { denseDigits } from '../prune/dense.js';
import { engine, mnist, open, score } from '../train/setup.js';

const percent = (value) => Number((100 * value).toFixed(2));
const RECOVERED = 80;
const FORMATS = ['w4a8', 'w2a8', 'ternary-a8'];

export async function qatBars() {
  for (const format of FORMATS) {
    if (wanted(`qat-resnet20-${format}`)) await pictures(format);
    if (wanted(`qat-lenet5-${format}`)) await digits(format);
  }
  if (wanted('adaround-resnet20')) await blocks();
  if (wanted('qat-shakespeare-w2')) await characters('w2');
  if (wanted('qat-shakespeare-ternary')) await characters('ternary');
}

/**
 * Quality before, rounded alone and trained, judged by `judge` on the files. Without verification the command measures nothing, and writes the weights that
 * the training ends with. A learning rate next to nothing leaves the rounding as it starts.
 */
async function compare(name, model, format, judge, { untrained, trained }) {
  const out = (what) => join(WORK, `${name}-${what}.onnx`);
  const run = async (what, args) => {
    const { seconds } = pareJson('train', model, '-o', out(what), '--force', '--no-verify', '--qat', format, ...args);
    return { seconds, quality: await judge(await readModel(out(what))) };
  };
  const none = ['--max-steps', '1', '--epochs', '1', '--lr', '1e-12'];
  const { quality: alone } = await run('alone', [...untrained, ...none]);
  const { quality: after, seconds } = await run('trained', trained);
  return { before: await judge(await readModel(model)), alone, after, seconds };
}

function recovered(name, { before, alone, after, seconds }, bar) {
  const lost = before - alone;
  figure(`  ${name}`, `${percent(before)} %, rounded ${percent(alone)} %, trained ${percent(after)} % in ${seconds.toFixed(0)} s`);
  const part = lost > 0 ? Number(((100 * (after - alone)) / lost).toFixed(1)) : 100;
  if (bar) atLeast(name, part, RECOVERED, '% of what rounding lost');
  else figure(name, `${part} % of what rounding lost`);
}

/** 400 pictures, labels not looked at. */
async function pictures(format) {
  const cifar = (file) => `cifar:${shared(`cifar10/${file}`)}`;
  const data = ['--data', cifar('train_png_batch0.bin.gz'), '--preprocess', 'imagenet'];
  const path = shared('resnet20-cifar10/resnet20_cifar10.onnx');
  const test = await open(cifar('test_jpg_0-999.bin.gz'), await readModel(path), { preprocess: 'imagenet' });
  const name = `qat-resnet20-${format}`;
  const settings = [...data, '--augment', 'flip,crop:4', '--batch-size', '50', '--optimizer', 'adam', '--temperature', '4'];
  const few = format === 'w4a8';
  const result = await compare(name, path, format, (model) => score(model, test, 'top1'), {
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
  const { path } = await denseDigits('lenet5');
  const test = await open(mnist('t10k'), await readModel(path));
  const settings = ['--data', mnist('train'), '--batch-size', '64', '--optimizer', 'adam'];
  const few = format === 'w4a8';
  const result = await compare(name, path, format, (model) => score(model, test, 'top1'), {
    untrained: [...settings, '--qat-start', few ? 'minmax' : 'search'],
    trained: [...settings, '--epochs', '1', '--lr', '3e-4'],
  });
  recovered(name, result, few);
}

const MINUTES = 15;

async function characters(format) {
  const model = shared('text-models/shakespeare_gpt.onnx');
  const text = readFileSync(shared('tiny-shakespeare/input.txt'), 'utf8');
  const cut = Math.floor(text.length * 0.9);
  const [train, last] = [text.slice(0, cut), text.slice(cut)].map((part, i) => {
    const path = join(WORK, `characters-${i}.txt`);
    writeFileSync(path, part);
    return path;
  });
  const tokenizer = shared('text-models/shakespeare_vocab.json');
  const data = ['--data', train, '--tokenizer', tokenizer];
  const held = await open(last, await readModel(model), { tokenizer });
  const loss = (m) => score(m, held, 'loss', 16);
  const name = `qat-shakespeare-${format}`;
  const block = format === 'w2' ? '32' : '0';
  const settings = [...data, '--qat-block', block, '--batch-size', '8', '--optimizer', 'adam', '--clip-norm', '1'];
  // Time for reading and calibration is left out of the training's.
  const length = ['--max-minutes', String(MINUTES - 2), '--max-steps', '1600', '--epochs', '2', '--warmup', '50'];
  const { before, alone, after, seconds } = await compare(name, model, format, loss, {
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
  const gptq = join(WORK, 'gptq.onnx');
  pareJson('quantize', model, '-o', gptq, '--force', '--no-verify', '--mode', 'weights', '--bits', '2', '--method', 'gptq', ...data);
  const more = (await loss(await readModel(gptq))) - before;
  atMost(`${name}-of-gptq`, Number(((100 * (after - before)) / more).toFixed(1)), 50, `% of the ${more.toFixed(4)} that GPTQ loses`);
}
