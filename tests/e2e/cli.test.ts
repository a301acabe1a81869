// The command line as a user meets it: exit codes, JSON contract, files left behind, determinism. Runs bin/pare.js in processes of its own.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeModel, encodeNpz, parseModel, Tensor } from '../../src/index.js';
import { readModel } from '../../src/node/index.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');
const DIGITS = join(import.meta.dirname, '../../examples/digits.onnx');
const PIXELS = 784;

let folder: string;
let calibration: string;
let held: string;

function pare(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8', cwd: folder });
  return { status, stdout, stderr };
}

function pareJson(...args: string[]) {
  const run = pare(...args, '--json');
  expect(run.stderr).not.toContain('E_');
  expect(run.status).toBe(0);
  return JSON.parse(run.stdout);
}

/** Digits of the mnist package: rows `from` to `to` of each class. */
function writeDigits(name: string, from: number, to: number): string {
  const source = join(dirname(createRequire(import.meta.url).resolve('mnist/package.json')), 'src/digits');
  const images: number[] = [];
  const labels: number[] = [];
  for (let digit = 0; digit < 10; digit++) {
    const { data } = JSON.parse(readFileSync(join(source, `${digit}.json`), 'utf8')) as { data: number[] };
    images.push(...data.slice(from * PIXELS, to * PIXELS));
    labels.push(...new Array<number>(to - from).fill(digit));
  }
  const path = join(folder, name);
  const n = labels.length;
  writeFileSync(path, encodeNpz({ image: Tensor.from('float', [n, 1, 28, 28], images), labels: Tensor.from('int64', [n], labels) }));
  return path;
}

function writeText(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, encodeModel(parseModel(text)).bytes);
  return path;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-cli-'));
  calibration = writeDigits('calibration.npz', 0, 5);
  held = writeDigits('held.npz', 800, 820);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('help and usage', () => {
  test('--version and --help', () => {
    expect(pare('--version')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    for (const command of ['profile', 'simplify', 'quantize', 'compare']) {
      const { status, stdout } = pare(command, '--help');
      expect(status).toBe(0);
      expect(stdout).toMatch(/Examples?:\n {2}pare /);
    }
  });

  test.each([
    [['frobnicate'], 'unknown command'],
    [['profile'], 'missing required argument'],
    [['quantize', 'x.onnx', '--mode', 'int1'], 'Allowed choices'],
    [['quantize', 'x.onnx', '--max-drop', 'little'], 'expected a fraction'],
    [['profile', 'missing.onnx'], 'E_FILE'],
  ])('%j is a user error', (args, message) => {
    const run = pare(...args);
    expect(run.status).toBe(1);
    expect(run.stderr).toContain(message);
  });
});

describe('profile', () => {
  test('figures of the digit classifier', () => {
    const p = pareJson('profile', DIGITS);
    expect(p).toMatchObject({ nodes: 15, params: 115_194, opsets: { 'ai.onnx': 17 } });
    // Three convolutions and two dense layers, by hand.
    expect(p.macs).toBe(28 * 28 * 16 * 9 + 28 * 28 * 32 * 16 * 9 + 14 * 14 * 32 * 32 * 9 + 1568 * 64 + 64 * 10);
    expect(p.latency[0].p50).toBeGreaterThan(0);
    expect(p.constants[0]).toMatchObject({ name: 'w4', dims: [1568, 64] });
  });

  test('several models side by side', () => {
    const run = pare('profile', DIGITS, DIGITS, '--no-run');
    expect(run.status).toBe(0);
    expect(run.stdout).toContain('digits.onnx  digits.onnx');
  });
});

describe('quantize', () => {
  test('static: the JSON contract, the file, its metadata', async () => {
    const out = join(folder, 'static.onnx');
    const r = pareJson('quantize', DIGITS, '-o', out, '--data', calibration, '--validation', held, '--metric', 'top1');
    expect(r.input).toMatchObject({ params: 115_194, macs: expect.any(Number), bytes: expect.any(Number) });
    expect(r.output.path).toBe(out);
    expect(r.output.bytes).toBeLessThan(r.input.bytes / 3);
    expect(r.quality).toMatchObject({ metric: 'top1', samples: 200 });
    expect(r.quality.before - r.quality.after).toBeLessThanOrEqual(0.01);
    expect(r.latency).toMatchObject({ before_ms: expect.any(Number), after_ms: expect.any(Number), runs: expect.any(Number) });
    expect(r.passes.length).toBeGreaterThan(0);
    const model = await readModel(out);
    expect(model.graph.nodes.some((n) => n.opType === 'DequantizeLinear')).toBe(true);
    expect(model.metadata.get('pare.verified')).toBe('true');
    expect(JSON.parse(model.metadata.get('pare.recipe')!)).toHaveLength(1);
    expect(model.metadata.get('pare.input_sha256')).toMatch(/^[0-9a-f]{64}$/);
  });

  test('the same command gives the same bytes', () => {
    const [a, b] = ['same-a.onnx', 'same-b.onnx'].map((name) => {
      pareJson('quantize', DIGITS, '-o', join(folder, name), '--data', calibration, '--no-verify');
      return readFileSync(join(folder, name));
    });
    expect(Buffer.compare(a!, b!)).toBe(0);
  });

  test('--calibration-cache: a second run measures nothing, a damaged file is said, the bytes stay', () => {
    const cache = join(folder, 'calibration.json');
    const run = (name: string, ...more: string[]) => {
      const r = pareJson('quantize', DIGITS, '-o', join(folder, name), '--data', calibration, '--no-verify', ...more);
      const notes = r.passes.find((p: { name: string }) => p.name === 'quantize-static').notes;
      return {
        cache: notes.cache,
        warnings: r.warnings.map((w: { message: string }) => w.message),
        bytes: readFileSync(join(folder, name)),
      };
    };
    const plain = run('uncached.onnx');
    expect(plain.cache).toBeUndefined();
    const first = run('cached-1.onnx', '--calibration-cache', cache);
    expect(first.cache).toMatchObject({ found: 0 });
    const second = run('cached-2.onnx', '--calibration-cache', cache);
    expect(second.cache.asked).toBeGreaterThan(0);
    expect(second.cache.found).toBe(second.cache.asked);
    writeFileSync(cache, '{ "kind": ');
    const third = run('cached-3.onnx', '--calibration-cache', cache);
    expect(third.warnings.join()).toContain('is damaged');
    for (const { bytes } of [first, second, third]) expect(Buffer.compare(bytes, plain.bytes)).toBe(0);
  });

  test('--calibration-shards: parts measured apart give the ranges of all data together', () => {
    const parts = [writeDigits('part-1.npz', 0, 2), writeDigits('part-2.npz', 2, 5)];
    const plain = ['--no-equalize', '--no-bias-correction', '--no-verify'];
    const rangesOf = (...args: string[]) => {
      const r = pareJson('quantize', DIGITS, '-o', join(folder, 'sharded.onnx'), ...plain, ...args);
      return r.passes.find((p: { name: string }) => p.name === 'quantize-static').notes.ranges;
    };
    const shards = parts.map((part, i) => {
      const file = join(folder, `shard-${i}.json`);
      rangesOf('--data', part, '--calibration-cache', file);
      return file;
    });
    const merged = rangesOf('--data', parts[0]!, '--calibration-shards', shards.join(','));
    expect(merged).toEqual(rangesOf('--data', calibration));
    expect(merged).not.toEqual(rangesOf('--data', parts[0]!));
    // Shards of other models do not merge.
    const other = pare('quantize', DIGITS, '--data', parts[0]!, '--calibration-shards', shards.join(','), '--observer', 'minmax', ...plain);
    expect(other.status).toBe(1);
    expect(other.stderr).toContain('expected statistics of this model');
  });

  test.each(['dynamic', 'weights', 'fp16', 'bf16'])('%s', (mode) => {
    const r = pareJson('quantize', DIGITS, '-o', join(folder, `${mode}.onnx`), '--mode', mode, '--validation', held, '--metric', 'top1');
    expect(r.output.bytes).toBeLessThan(r.input.bytes * 0.55);
    expect(r.quality.before - r.quality.after).toBeLessThanOrEqual(0.015);
  });

  test.each([
    ['1MB', 'one at a time'],
    ['300kB', 'in blocks'],
  ])('with %s of memory the models are verified %s', (memory, mode) => {
    const r = pareJson('quantize', DIGITS, '-o', join(folder, 'frugal.onnx'), '--mode', 'fp16', '--validation', held, '--memory', memory);
    expect(r.latency).toBeNull();
    expect(r.warnings.map((w: { message: string }) => w.message).join()).toContain(mode);
    expect(r.quality.metric).toBe('top1');
    expect(r.outputs[0].cosine).toBeGreaterThan(0.9999);
  });

  test('--no-verify says so in the table and in the file', async () => {
    const out = join(folder, 'unverified.onnx');
    const run = pare('quantize', DIGITS, '-o', out, '--mode', 'fp16', '--no-verify');
    expect(run.status).toBe(0);
    expect(run.stdout).toContain('not verified');
    expect((await readModel(out)).metadata.get('pare.verified')).toBe('not verified');
  });

  test('arithmetic that no engine here has exits 2, and is written with --no-verify', () => {
    const out = join(folder, 'bf16-compute.onnx');
    const args = ['quantize', DIGITS, '-o', out, '--mode', 'bf16', '--compute', 'bf16'];
    expect(pare(...args)).toMatchObject({ status: 2, stderr: expect.stringContaining('--no-verify') });
    expect(existsSync(out)).toBe(false);
    expect(pare(...args, '--no-verify').status).toBe(0);
    expect(existsSync(out)).toBe(true);
  });

  test('static without data is a user error', () => {
    const run = pare('quantize', DIGITS, '--mode', 'static');
    expect(run.status).toBe(1);
    expect(run.stderr).toMatch(/E_USAGE.*needs calibration data/s);
  });

  test('a broken budget is an error, and the old file stays', () => {
    const out = join(folder, 'budget.onnx');
    writeFileSync(out, 'old');
    const run = pare('quantize', DIGITS, '-o', out, '--mode', 'dynamic', '--max-size', '1kB', '--json');
    expect(run.status).toBe(1);
    expect(JSON.parse(run.stdout).error.code).toBe('E_QUALITY');
    expect(readFileSync(out, 'utf8')).toBe('old');
    expect(readdirSync(folder).filter((f) => f.includes('.tmp'))).toEqual([]);
  });

  test('the input is overwritten only with --force', () => {
    const copy = join(folder, 'copy.onnx');
    writeFileSync(copy, readFileSync(DIGITS));
    expect(pare('quantize', copy, '-o', copy, '--mode', 'fp16')).toMatchObject({ status: 1, stderr: expect.stringContaining('--force') });
    expect(pare('quantize', copy, '-o', copy, '--mode', 'fp16', '--force').status).toBe(0);
    expect(readFileSync(copy).length).toBeLessThan(readFileSync(DIGITS).length);
  });

  test('nothing to quantize, unknown operators and classical models exit 2 and write nothing', () => {
    const header = '<ir_version: 10, opset_import: ["" : 21, "my.ops" : 1, "ai.onnx.ml" : 3]>';
    const models = {
      'relu.onnx': 'g (float[2] x) => (float[2] y) { y = Relu(x) }',
      'custom.onnx': 'g (float[2] x) => (float[2] y) { a = Relu(x) y = my.ops.Swirl(a) }',
      'classical.onnx': 'g (float[2,2] x) => (float[2,2] y) { y = ai.onnx.ml.Scaler<offset = [0.0, 0.0], scale = [1.0, 1.0]>(x) }',
    };
    for (const [name, text] of Object.entries(models)) {
      const path = writeText(name, `${header} ${text}`);
      const out = join(folder, `out-${name}`);
      const run = pare('quantize', path, '-o', out, '--mode', 'dynamic');
      expect(run.status, `${name}: ${run.stderr}`).toBe(2);
      expect(existsSync(out)).toBe(false);
      expect(pare('profile', path).status).toBe(0);
    }
  });
});

test('truncated and foreign files end in a typed error', () => {
  const bytes = readFileSync(DIGITS);
  for (const [name, content] of Object.entries({ cut: bytes.subarray(0, bytes.length / 2), text: 'this is no model', empty: '' })) {
    const path = join(folder, `${name}.onnx`);
    writeFileSync(path, content);
    for (const command of ['profile', 'simplify', 'quantize']) {
      const run = pare(command, path);
      expect(run.status, `${command} ${name}: ${run.stderr}`).toBe(1);
      expect(run.stderr).toMatch(/^E_[A-Z_]+: /);
    }
  }
});

test('compare: contract and report', () => {
  const out = join(folder, 'compared.onnx');
  const report = join(folder, 'compare.html');
  pareJson('quantize', DIGITS, '-o', out, '--mode', 'dynamic', '--no-verify');
  const c = pareJson('compare', DIGITS, out, '--data', held, '--metric', 'top1', '--per-layer', '--report', report);
  expect(c.quality).toMatchObject({
    metric: 'top1',
    before: expect.any(Number),
    after: expect.any(Number),
    agreement: expect.any(Number),
    samples: 200,
  });
  expect(c.outputs[0]).toMatchObject({ name: 'logits', cosine: expect.any(Number) });
  expect(c.layers.length).toBeGreaterThan(3);
  expect(readFileSync(report, 'utf8')).toContain('Error by layer');
});

test('an interrupted run leaves nothing behind', async () => {
  const out = join(folder, 'interrupted.onnx');
  for (const delay of [60, 150, 250, 350, 500]) {
    const child: ChildProcess = spawn(process.execPath, [BIN, 'quantize', DIGITS, '-o', out, '--data', calibration, '--validation', held]);
    const ended = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => setTimeout(resolve, delay));
    child.kill('SIGINT');
    await ended;
    expect(readdirSync(folder).filter((f) => f.includes('.tmp'))).toEqual([]);
    if (existsSync(out)) {
      // It was faster than the signal: then the file is whole.
      expect((await readModel(out)).graph.nodes.length).toBeGreaterThan(0);
      rmSync(out);
    }
  }
});
