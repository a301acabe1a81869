// `pare train` as a user meets it: JSON, report and files; killed or interrupted and resumed to the same bytes; errors that say what is missing.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeNpz } from '../../src/data/npz.js';
import { Tensor } from '../../src/ir/tensor.js';
import { readModel } from '../../src/node/files.js';
import { Rng } from '../../src/util/rng.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');
const PIXELS = 784;
const TRAINING = ['--data', 'train.npz', '--validation', 'test.npz', '--optimizer', 'adam', '--batch-size', '48', '--threads', '1'];

let folder: string;

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs that do not wait for each other are started together: most of their time is that of starting. */
function pare(...args: string[]): Promise<Ended> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [BIN, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (part: Buffer) => stdout.push(part));
    child.stderr.on('data', (part: Buffer) => stderr.push(part));
    child.on('close', (status) => done({ status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }));
  });
}

async function pareJson(...args: string[]) {
  const run = await pare(...args, '--json');
  expect(run.stderr).not.toContain('E_');
  expect(run.status, run.stderr).toBe(0);
  return JSON.parse(run.stdout);
}

/** Digits of the mnist package: rows `from` to `to` of each class, halved in width and height. */
function writeDigits(name: string, from: number, to: number, labelled = true): void {
  const source = join(dirname(createRequire(import.meta.url).resolve('mnist/package.json')), 'src/digits');
  const images: number[] = [];
  const labels: number[] = [];
  for (let digit = 0; digit < 10; digit++) {
    const { data } = JSON.parse(readFileSync(join(source, `${digit}.json`), 'utf8')) as { data: number[] };
    for (let row = from; row < to; row++) {
      for (let y = 0; y < 28; y += 2) for (let x = 0; x < 28; x += 2) images.push(data[row * PIXELS + y * 28 + x]!);
      labels.push(digit);
    }
  }
  const n = labels.length;
  const image = Tensor.from('float', [n, 1, 14, 14], images);
  writeFileSync(join(folder, name), encodeNpz(labelled ? { image, labels: Tensor.from('int64', [n], labels) } : { image }));
}

const bytes = (name: string) => readFileSync(join(folder, name));
/** Files that a training must not leave; those of killed processes do not count. */
const leftovers = () =>
  readdirSync(folder).filter((name) => !name.includes('killed') && (name.endsWith('.tmp') || name.endsWith('.checkpoint')));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-train-'));
  writeDigits('train.npz', 0, 60);
  writeDigits('test.npz', 800, 820);
  writeDigits('bare.npz', 0, 2, false);
  expect((await pare('new', 'mlp', '-o', 'mlp.onnx', '--sizes', '196,32,10', '--seed', '1')).status).toBe(0);
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('learns, proves it on other data, and gives the same bytes again', async () => {
  const options = [
    'train',
    'mlp.onnx',
    ...TRAINING,
    '--threads',
    '2',
    '--epochs',
    '10',
    '--lr',
    '0.01',
    '--label-smoothing',
    '0.1',
    '--ema',
    '0.8',
    '--clip-norm',
    '1',
  ];
  const record = await pareJson(...options, '-o', 'a.onnx', '--report', 'a.html');
  const again = await pare(...options, '-o', 'b.onnx', '--quiet');
  expect(record.quality).toMatchObject({ metric: 'top1', samples: 200, higherIsBetter: true });
  expect(record.quality.before).toBeLessThan(0.4);
  expect(record.quality.after).toBeGreaterThan(0.7);
  expect(record.output).toMatchObject({ path: 'a.onnx', params: record.input.params, macs: record.input.macs });
  expect(record.latency.runs).toBeGreaterThan(0);
  const { training } = record.passes[0].notes;
  expect(training.memory).toMatchObject({ parameters: 6634 * 4, gradients: 6634 * 4, optimizer: 6634 * 8, states: 0, recomputed: 0 });
  expect(training.memory.kept[0].bytes).toBe(48 * 196 * 4);
  expect(training).toMatchObject({
    loss: 'cross-entropy',
    metric: 'top1',
    steps: 130,
    stopped: 'epochs',
    parameters: { trained: 4, frozen: 0 },
  });
  expect(training.epochs).toHaveLength(10);
  expect(training.curve.at(-1).loss).toBeLessThan(training.curve[0].loss / 2);
  expect(training.best.value).toBe(record.quality.after);
  const report = readFileSync(join(folder, 'a.html'), 'utf8');
  expect(report).toContain('<h2>Training</h2>');
  expect(report).toContain('<svg class="lines"');
  expect(report).toContain('a step holds');
  expect(again.stdout).toBe('');
  expect(bytes('b.onnx').equals(bytes('a.onnx'))).toBe(true);
  expect(leftovers()).toEqual([]);
  const [before, after] = [await readModel(join(folder, 'mlp.onnx')), await readModel(join(folder, 'a.onnx'))];
  expect(after.graph.nodes.map((n) => n.op)).toEqual(before.graph.nodes.map((n) => n.op));
  expect(JSON.parse(after.metadata.get('pare.recipe')!)[0]).toMatchObject({ pass: 'train', options: { labelSmoothing: 0.1, epochs: 10 } });
  expect(after.metadata.get('pare.input_sha256')).toBe(record.input.sha256);
});

test('the same bytes with reading threads and augmentation', async () => {
  const options = ['train', 'mlp.onnx', ...TRAINING, '--epochs', '2', '--augment', 'mixup:0.2,noise:0.05', '--quiet'];
  const [here, threads] = await Promise.all([
    pare(...options, '-o', 'here.onnx'),
    pare(...options, '-o', 'threads.onnx', '--workers', '2'),
  ]);
  expect(here.status, here.stderr).toBe(0);
  expect(threads.stderr).toBe('');
  expect(bytes('threads.onnx').equals(bytes('here.onnx'))).toBe(true);
});

/** Starts a training, waits until its checkpoint is there and some more, then sends a signal. Answers the exit code or signal. */
function interrupted(args: readonly string[], checkpoint: string, signal: NodeJS.Signals, delayMs: number) {
  return new Promise<{ ended: number | string | null; stderr: string }>((done) => {
    const child = spawn(process.execPath, [BIN, ...args], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (part) => {
      stderr += part;
    });
    const timer = setInterval(() => {
      if (!existsSync(join(folder, checkpoint))) return;
      clearInterval(timer);
      setTimeout(() => child.kill(signal), delayMs);
    }, 5);
    child.on('exit', (code, by) => {
      clearInterval(timer);
      done({ ended: code ?? by, stderr });
    });
  });
}

test('killed at random moments and resumed: the bytes of the training that was left alone', async () => {
  const args = [
    'train',
    'mlp.onnx',
    ...TRAINING,
    '--epochs',
    '15',
    '--checkpoint-every',
    '1',
    '--accumulate',
    '2',
    '--no-verify',
    '--ema',
    '0.9',
  ];
  const whole = pare(...args, '-o', 'whole.onnx');
  const rng = new Rng(Date.now());
  let kills = 0;
  for (let round = 0; round < 2; round++) {
    const delay = rng.integer(250);
    const { ended } = await interrupted(
      [...args, '-o', 'killed.onnx', ...(round > 0 ? ['--resume'] : [])],
      'killed.onnx.checkpoint',
      'SIGKILL',
      delay,
    );
    if (ended === 'SIGKILL') kills++;
    if (ended === 0) break;
  }
  expect(kills).toBeGreaterThan(0);
  if (!existsSync(join(folder, 'killed.onnx'))) expect((await pare(...args, '-o', 'killed.onnx', '--resume')).status).toBe(0);
  expect((await whole).status).toBe(0);
  expect(bytes('killed.onnx').equals(bytes('whole.onnx'))).toBe(true);
  expect(existsSync(join(folder, 'killed.onnx.checkpoint'))).toBe(false);
});

test('Ctrl-C leaves the checkpoint and nothing else', async () => {
  const args = ['train', 'mlp.onnx', ...TRAINING, '--epochs', '15', '--no-verify', '-o', 'stopped.onnx', '--checkpoint', 'stopped.state'];
  const whole = args.map((a) => (a === 'stopped.onnx' ? 'plain.onnx' : a)).filter((a) => a !== '--checkpoint' && a !== 'stopped.state');
  const plain = pare(...whole);
  const { ended, stderr } = await interrupted([...args, '--checkpoint-every', '1'], 'stopped.state', 'SIGINT', 50);
  expect(ended).toBe(130);
  expect(stderr).toContain('checkpoint: stopped.state; --resume goes on from it');
  expect(existsSync(join(folder, 'stopped.onnx'))).toBe(false);
  const [resumed, other] = await Promise.all([
    pare(...args, '--resume'),
    pare(...args.map((a) => (a === 'stopped.onnx' ? 'other.onnx' : a)), '--resume', '--seed', '5'),
  ]);
  expect(resumed.status, resumed.stderr).toBe(0);
  expect(existsSync(join(folder, 'stopped.state'))).toBe(true);
  expect((await plain).status).toBe(0);
  expect(bytes('stopped.onnx').equals(bytes('plain.onnx'))).toBe(true);
  expect(other.status).toBe(1);
  expect(other.stderr).toContain('E_DATA: checkpoint of another training: seed: expected 5, got 0');
});

test('freezes by name', async () => {
  const record = await pareJson(
    'train',
    'mlp.onnx',
    ...TRAINING,
    '--epochs',
    '1',
    '--freeze',
    '*weight',
    '--freeze',
    'nosuch',
    '-o',
    'frozen.onnx',
  );
  expect(record.warnings.map((w: { message: string }) => w.message)).toContain('--freeze nosuch fits no parameter');
  const [before, after] = [await readModel(join(folder, 'mlp.onnx')), await readModel(join(folder, 'frozen.onnx'))];
  for (const value of before.graph.initializers.filter((v) => v.initializer!.dtype === 'float')) {
    const same = Buffer.from(value.initializer!.bytes()).equals(after.graph.value(value.name)!.initializer!.bytes());
    expect(same, value.name).toBe(value.name.endsWith('weight'));
  }
});

test('folds BatchNormalization first where that is asked for', async () => {
  expect((await pare('new', 'resnet8', '-o', 'resnet.onnx', '--channels', '1', '--size', '14')).stderr).toBe('');
  const record = await pareJson(
    'train',
    'resnet.onnx',
    ...TRAINING,
    '--epochs',
    '1',
    '--max-steps',
    '2',
    '--fold-batch-norm',
    '-o',
    'folded.onnx',
  );
  expect(record.quality.samples).toBeGreaterThan(0);
  const [before, after] = [await readModel(join(folder, 'resnet.onnx')), await readModel(join(folder, 'folded.onnx'))];
  const kinds = (model: typeof before) => new Set(model.graph.nodes.map((n) => n.opType));
  expect(kinds(before).has('BatchNormalization')).toBe(true);
  expect(kinds(after).has('BatchNormalization')).toBe(false);
});

test('a language model learns from running text', async () => {
  const text = 'the quick brown fox jumps over the lazy dog. '.repeat(60);
  writeFileSync(join(folder, 'text.txt'), text);
  writeFileSync(join(folder, 'vocabulary.json'), JSON.stringify([...new Set(text)].sort()));
  const size = ['--vocabulary', String(new Set(text).size), '--layers', '1', '--hidden', '32', '--heads', '2', '--positions', '16'];
  expect((await pare('new', 'gpt-nano', '-o', 'gpt.onnx', ...size)).stderr).toBe('');
  const record = await pareJson(
    'train',
    'gpt.onnx',
    '--data',
    'text.txt',
    '--tokenizer',
    'vocabulary.json',
    '--epochs',
    '4',
    '--batch-size',
    '16',
    '--lr',
    '0.01',
  );
  expect(record.quality.metric).toBe('loss');
  expect(record.quality.after).toBeLessThan(record.quality.before / 2);
});

test('says what is missing', async () => {
  const train = (...args: string[]) => pare('train', 'mlp.onnx', ...args);
  const data = ['--data', 'train.npz'];
  const [bare, none, hinge, weights, all] = await Promise.all([
    train('--data', 'bare.npz'),
    train(),
    train(...data, '--loss', 'hinge'),
    train(...data, '--class-weights', '1,2', '-o', 'weights.onnx'),
    train(...data, '--freeze', '*', '-o', 'all.onnx'),
  ]);
  expect(bare.status, bare.stderr).toBe(1);
  expect(bare.stderr).toContain('E_USAGE: training: expected labelled data, got "bare.npz" without labels');
  expect(none.stderr).toContain('train needs labelled data: expected --data SPEC, got none');
  expect(hinge.stderr).toContain('cross-entropy, bce, mse, l1, huber, kl, cosine');
  expect(weights.stderr).toContain('class weights: expected 10, one a class, got 2');
  expect(all.stderr).toContain('all are frozen');
  expect(leftovers()).toEqual([]);
});
