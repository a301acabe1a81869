// A result slower than its original says so before everything else, with the nodes responsible and why; in Node and in WebAssembly.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildModel, encodeModel, Tensor, type Value } from '../../src/index.js';
import { Rng } from '../../src/util/rng.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');

let folder: string;

function pare(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8', cwd: folder });
  return { status, stdout, stderr };
}

/** Two convolutions of little work on large pictures: converting each value costs more than computing it. */
function wide() {
  const rng = new Rng(3);
  const random = (dims: number[]) =>
    Tensor.of(
      'float',
      dims,
      Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal()),
    );
  return buildModel('wide', (b) => {
    const conv = (x: Value, name: string) =>
      b.op('Conv', [x, b.constant(`${name}.w`, random([8, 1, 1, 1])), b.constant(`${name}.b`, random([8]))], { group: 8 }, { name });
    const x = b.input('x', 'float', [1, 8, 112, 112]);
    b.output(b.op('GlobalAveragePool', [conv(b.op('Relu', [conv(x, 'first')]), 'second')], {}, { name: 'pool' }), 'y');
  });
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-slower-'));
  writeFileSync(join(folder, 'wide.onnx'), encodeModel(wide()).bytes);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the table begins with it, names the nodes and why they did not fuse', () => {
  const flags = ['--data', 'random:4', '--activations', 'int16', '--threads', '1'];
  // With --json the table goes to stderr.
  const { status, stdout, stderr } = pare('quantize', 'wide.onnx', '-o', 'slow.onnx', ...flags, '--json');
  expect(status).toBe(0);
  const table = stderr.slice(stderr.indexOf('SLOWER'));
  expect(table).toMatch(/^SLOWER than the original: \d+\.\d\d times the time on onnxruntime-node .*; nodes responsible:\n/);
  expect(table.indexOf('SLOWER')).toBeLessThan(table.indexOf('\nsize '));
  expect(table).toMatch(
    /2 quantized nodes did not fuse and compute in float:\n {2}first \(Conv\): .* is int16: integer kernels take 8 bits/,
  );
  expect(table).toContain('--optimize latency quantizes only what gets faster');
  expect(table).toMatch(/^all QuantizeLinear .* conversions that no kernel took in/m);
  const record = JSON.parse(stdout);
  expect(record.latency.ratio).toBeGreaterThan(1.05);
  expect(record.slower.length).toBeGreaterThan(0);
  expect(record.fusion.unfused.map((u: { node: string }) => u.node)).toEqual(['first', 'second']);
  const compared = pare('compare', 'wide.onnx', 'slow.onnx', '--data', 'random:2', '--threads', '1');
  expect(compared.stdout).toContain('did not fuse and compute in float');
});

test('--optimize latency does not make it slower', () => {
  const run = pare('quantize', 'wide.onnx', '-o', 'fast.onnx', '--data', 'random:4', '--optimize', 'latency', '--threads', '1', '--json');
  const record = JSON.parse(run.stdout);
  expect(record.plan.latency.candidates.find((c: { name: string }) => c.name === record.plan.latency.chosen).ratio).toBeLessThan(1.2);
});

test('--device wasm verifies and times in WebAssembly, for its runtime', () => {
  const run = pare('quantize', 'wide.onnx', '-o', 'web.onnx', '--data', 'random:2', '--device', 'wasm', '--json');
  const record = JSON.parse(run.stdout);
  expect(record.latency.engine).toMatch(/^onnxruntime-web \d+\.\d+/);
  expect(record.recipe[0].options.runtime).toBe('ort-wasm');
});
