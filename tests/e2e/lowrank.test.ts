// `pare factorize`, `pare train --lora` and `pare adapter` as a user meets them: JSON, report, files, and what is refused.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeNpz } from '../../src/data/npz.js';
import { Tensor } from '../../src/ir/tensor.js';
import { createPreset } from '../../src/nn/index.js';
import { readModel, writeModel } from '../../src/node/files.js';
import { Rng } from '../../src/util/rng.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');
const TIMEOUT = 120_000;
let folder: string;

function pare(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [BIN, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (part: Buffer) => stdout.push(part));
    child.stderr.on('data', (part: Buffer) => stderr.push(part));
    child.on('close', (status) => done({ status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }));
  });
}

async function pareJson(...args: string[]) {
  const run = await pare(...args, '--json', '--threads', '1');
  expect(run.status, run.stderr).toBe(0);
  return JSON.parse(run.stdout);
}

/** Classes by which of four blocks of the input is largest. */
function writeRows(name: string, input: string, seed: number): void {
  const rng = new Rng(seed);
  const n = 256;
  const x = Float32Array.from({ length: n * 32 }, () => rng.normal());
  const labels = Array.from({ length: n }, (_, row) => {
    const sums = [0, 1, 2, 3].map((c) => x.subarray(row * 32 + c * 8, row * 32 + c * 8 + 8).reduce((a, b) => a + b, 0));
    return sums.indexOf(Math.max(...sums));
  });
  writeFileSync(join(folder, name), encodeNpz({ [input]: Tensor.of('float', [n, 32], x), labels: Tensor.from('int64', [n], labels) }));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-lowrank-'));
  const model = createPreset('mlp', { sizes: [32, 64, 4] });
  await writeModel(model, join(folder, 'mlp.onnx'));
  const input = model.graph.inputs[0]!.name;
  writeRows('train.npz', input, 1);
  writeRows('test.npz', input, 2);
}, TIMEOUT);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test(
  'factors on data, trained towards the original, with a report',
  async () => {
    const data = ['--data', 'train.npz', '--validation', 'test.npz'];
    const [plain, trained] = await Promise.all([
      pareJson('factorize', 'mlp.onnx', '--rank-ratio', '0.5', '--report', 'r.html', '-o', 'a.onnx', ...data),
      pareJson('factorize', 'mlp.onnx', '--rank-ratio', '0.5', '--epochs', '4', '--lr', '0.01', '-o', 'b.onnx', ...data, '--metric', 'kl'),
    ]);
    expect(plain.output.macs).toBeLessThan(0.6 * plain.input.macs);
    expect(plain.passes[0].notes.layers[0]).toMatchObject({ op: 'Gemm', shape: [32, 64], method: 'svd' });
    expect(readFileSync(join(folder, 'r.html'), 'utf8')).toContain('Low rank');
    expect(trained.output.macs).toBe(plain.output.macs);
    const curve = trained.passes[1].notes.training.epochs as { loss: number }[];
    expect(curve.at(-1)!.loss).toBeLessThan(curve[0]!.loss);
  },
  TIMEOUT,
);

test(
  'adapters are trained, written apart, and give the same model again',
  async () => {
    const training = ['--lora', '4', '--epochs', '8', '--lr', '0.02', '--data', 'train.npz', '--validation', 'test.npz'];
    const { quality } = await pareJson('train', 'mlp.onnx', '-o', 'lora.onnx', '--adapter', 'x.safetensors', ...training);
    expect(quality.after).toBeGreaterThan(quality.before + 0.2);
    const [merged, swap, refused] = await Promise.all([
      pareJson('adapter', 'mlp.onnx', '--add', 'x.safetensors', '--merge', '-o', 'merged.onnx', '--data', 'test.npz'),
      pareJson('adapter', 'mlp.onnx', '--add', 'x.safetensors', '--as-inputs', '-o', 'swap.onnx', '--no-verify'),
      pare('train', 'mlp.onnx', '--lora-merge', '--data', 'train.npz'),
    ]);
    expect(merged.quality.after).toBeCloseTo(quality.after, 2);
    expect(merged.output.params).toBe(merged.input.params);
    expect(swap.output.params).toBe(merged.input.params);
    const model = await readModel(join(folder, 'swap.onnx'));
    expect(model.graph.inputs.filter((v) => /\.lora_[ab]$/.test(v.name))).toHaveLength(4);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain('expected --lora RANK');
  },
  TIMEOUT,
);
