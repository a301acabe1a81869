// `pare prune` with training in between, as a user meets it: table, JSON and report; a promise that cannot be kept writes nothing.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeNpz, Tensor } from '../../src/index.js';

const ROOT = join(import.meta.dirname, '../..');
const PIXELS = 784;

let folder: string;

function pare(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'bin/pare.js'), ...args], { encoding: 'utf8', cwd: folder });
  return { status, stdout, stderr };
}

/** Rows `from` to `to` of each digit of the mnist package. */
function writeDigits(name: string, from: number, to: number, labelled: boolean): void {
  const source = join(dirname(createRequire(import.meta.url).resolve('mnist/package.json')), 'src/digits');
  const images: number[] = [];
  const labels: number[] = [];
  for (let digit = 0; digit < 10; digit++) {
    const { data } = JSON.parse(readFileSync(join(source, `${digit}.json`), 'utf8')) as { data: number[] };
    for (const v of data.slice(from * PIXELS, to * PIXELS)) images.push(v);
    for (let row = from; row < to; row++) labels.push(digit);
  }
  const n = labels.length;
  const image = Tensor.from('float', [n, 1, 28, 28], images);
  writeFileSync(join(folder, name), encodeNpz(labelled ? { image, labels: Tensor.from('int64', [n], labels) } : { image }));
}

const MODEL = join(ROOT, 'examples/digits.onnx');
const COMMON = [
  '--data',
  'train.npz',
  '--validation',
  'test.npz',
  '--optimizer',
  'adam',
  '--lr',
  '1e-3',
  '--batch-size',
  '20',
  '--threads',
  '2',
];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-steps-'));
  writeDigits('train.npz', 0, 20, false);
  writeDigits('test.npz', 800, 810, true);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('single weights in steps, from data without labels', () => {
  const kind = ['--unstructured', '--sparsity', '0.8', '--scope', 'global', '--schedule', 'cubic', '--steps', '2', '--epochs', '2'];
  const run = pare('prune', MODEL, '-o', 'sparse.onnx', ...kind, ...COMMON, '--report', 'report.html', '--json');
  expect(run.stderr).not.toContain('E_');
  const record = JSON.parse(run.stdout);
  const note = record.passes.at(-1).notes.pruning;
  expect(note.points.map((p: { removed: number }) => p.removed)).toEqual([0, expect.closeTo(0.7), 0.8]);
  expect(note.points.at(-1).sparsity).toBeCloseTo(0.8, 2);
  expect(record.quality.after).toBeGreaterThan(record.quality.before - 0.1);
  expect(record.recipe.at(-1).options).toMatchObject({ sparsity: 0.8, schedule: 'cubic', steps: 2, epochs: 2, loss: 'distill' });
  expect(readFileSync(join(folder, 'report.html'), 'utf8')).toContain('Pruning and recovery');
});

test('channels in steps, with the table of the course', () => {
  const run = pare('prune', MODEL, '-o', 'narrow.onnx', '--target-macs', '0.5', '--steps', '2', '--epochs', '1', ...COMMON);
  expect(run.status).toBe(0);
  expect(run.stdout).toMatch(/step +removed +zeros +params +MACs +pruned +trained/);
  expect(run.stdout).toMatch(/2 \(result\) +50\.0 %/);
});

test('a promise that no step keeps: exit 1 and no file', () => {
  const kind = ['--unstructured', '--sparsity', '0.99', '--schedule', 'one-shot', '--epochs', '1', '--max-drop', '1%'];
  const run = pare('prune', MODEL, '-o', 'none.onnx', ...kind, ...COMMON);
  expect(run.status).toBe(1);
  expect(run.stderr).toMatch(/no step keeps the quality: expected a drop of top1 of at most 0\.01, got 0\.\d+ at 99\.0 % removed/);
  expect(existsSync(join(folder, 'none.onnx'))).toBe(false);
});

test('what is missing is said', () => {
  expect(pare('prune', MODEL, '--sparsity', '0.5', '--epochs', '1').stderr).toMatch(
    /pruning in steps trains in between: expected --data SPEC, got none/,
  );
  expect(pare('prune', MODEL, '--epochs', '1', ...COMMON).stderr).toMatch(/iterative pruning: expected one budget, got none/);
});
