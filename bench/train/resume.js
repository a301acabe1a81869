// Trainings killed at a random moment and taken up again: the weights must be those of the training that nobody disturbed, to the bit.
// Run as `node bench/train/resume.js child OUT CHECKPOINT` it is one such training.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Rng } from '../../dist/index.js';
import { check, figure, wanted } from '../lib/bars.js';
import { DATA, WORK } from '../lib/pare.js';

const PROGRAM = fileURLToPath(import.meta.url);
const TRIALS = 10;

/** A residual network with everything that has a state: momentum, running statistics, averaged weights, accumulation, augmentation, a schedule. */
async function child(out, checkpoint) {
  const { encodeModel, nn, parseAugmentations, sgd } = await import('../../dist/index.js');
  const { checkpointFile } = await import('../../dist/node/index.js');
  const { open, trainOn } = await import('./setup.js');
  const model = nn.createPreset('resnet8', {}, { seed: 1 });
  const cifar = (file) => open(`cifar:${join(DATA, 'cifar10', file)}`, model);
  const { last } = await trainOn('resume', {
    model,
    dataset: await cifar('train_png_batch0.bin.gz'),
    test: await cifar('train_png_batch0.bin.gz'),
    rule: sgd({ momentum: 0.9, weightDecay: 1e-4 }),
    lr: 0.05,
    warmup: 5,
    epochs: 3,
    batchSize: 24,
    accumulate: 2,
    optimizer: { clipNorm: 5, emaDecay: 0.9 },
    augment: parseAugmentations('flip,crop:4,cutout:8,mixup:0.2,noise:0.01'),
    checkpoint: checkpointFile(checkpoint),
    checkpointEvery: 1,
    resume: true,
    // One character a step: by these the moment of the end is chosen.
    onStep: () => writeSync(1, '.'),
  });
  writeFileSync(out, encodeModel(last).bytes);
}

const hash = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

export async function resumeBars() {
  if (!wanted('resume')) return;
  const env = { ...process.env };
  delete env.PARE_BENCH_CHECKPOINTS;
  const argumentsFor = (name) => [PROGRAM, 'child', join(WORK, `${name}.onnx`), join(WORK, `${name}.safetensors`)];
  const whole = (name) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, argumentsFor(name), { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`training ${name} ended with ${status}: ${stderr}`);
    return stdout.split('\n').reduce((steps, line) => steps + (/^\.*/.exec(line)?.[0].length ?? 0), 0);
  };
  const steps = whole('undisturbed');
  const expected = hash(join(WORK, 'undisturbed.onnx'));
  const rng = new Rng(7);
  const failures = [];
  const moments = [];
  for (let trial = 0; trial < TRIALS; trial++) {
    const name = `killed-${trial}`;
    const last = 1 + rng.integer(steps - 2);
    const later = 60 * rng.uniform();
    const signal = await killAfter(spawn(process.execPath, argumentsFor(name), { env, stdio: ['ignore', 'pipe', 'ignore'] }), last, later);
    if (signal !== 'SIGKILL') failures.push(`${name}: it had ended before it was to be killed`);
    const rest = whole(name);
    moments.push(`${steps - rest}`);
    if (hash(join(WORK, `${name}.onnx`)) !== expected) failures.push(`${name}: other weights`);
  }
  figure('  resume', `killed after ${moments.join(', ')} of ${steps} steps`);
  check('resume', failures);
}

/** Kills a training this many milliseconds after it has taken so many steps; answers the signal that ended it. */
async function killAfter(child, steps, ms) {
  const ended = new Promise((done) => child.once('exit', (_, signal) => done(signal)));
  const reached = new Promise((done) => {
    let seen = 0;
    child.stdout.on('data', (part) => {
      // Epoch lines hold points too: they only make it sooner.
      seen += String(part).split('.').length - 1;
      if (seen >= steps) done(sleep(ms));
    });
  });
  await Promise.race([reached, ended]);
  child.kill('SIGKILL');
  return ended;
}

const [, main, mode, out, checkpoint] = process.argv;
if (main !== undefined && import.meta.url === pathToFileURL(main).href && mode === 'child') await child(out, checkpoint);
