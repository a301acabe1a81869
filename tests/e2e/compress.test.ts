// `pare compress --recipe`: a list of passes from a file, from a record and from a model that pare wrote; and `--memory` where a command runs its result.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeNpz } from '../../src/data/npz.js';
import { Tensor } from '../../src/ir/tensor.js';
import { readModel, writeModel } from '../../src/node/index.js';
import { Rng } from '../../src/util/rng.js';
import { classifierModel } from '../samples/variant-models.js';
import { writePackage } from './package-folder.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');
const folder = mkdtempSync(join(tmpdir(), 'pare-compress-'));

function pare(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8', cwd: folder });
  return { status, stdout, stderr };
}

beforeAll(() => writeModel(classifierModel(), join(folder, 'model.onnx')));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the record of a run and its result give the same file again', async () => {
  const made = pare('quantize', 'model.onnx', '-o', 'first.onnx', '--mode', 'weights', '--bits', '4', '--min-elements', '64', '--json');
  expect(made.stderr).not.toContain('E_');
  writeFileSync(join(folder, 'record.json'), made.stdout);
  for (const [from, out] of [
    ['record.json', 'a.onnx'],
    ['first.onnx', 'b.onnx'],
  ] as const) {
    expect(pare('compress', 'model.onnx', '--recipe', from, '-o', out, '--quiet')).toMatchObject({ status: 0, stdout: '' });
    expect(readFileSync(join(folder, out)).equals(readFileSync(join(folder, 'first.onnx')))).toBe(true);
  }
});

test('a list by hand; the schema; what is wrong with a recipe', () => {
  writeFileSync(join(folder, 'own.json'), JSON.stringify(['simplify', { pass: 'fp16', options: { simplify: false } }]));
  const run = JSON.parse(pare('compress', 'model.onnx', '--recipe', 'own.json', '--json').stdout);
  expect(run.passes.map((p: { name: string }) => p.name)).toEqual(['simplify', 'fp16']);
  expect(run.output.path).toMatch(/model\.compress\.onnx$/);
  expect(JSON.parse(pare('compress', '--recipe-schema').stdout).items.anyOf.length).toBeGreaterThan(5);
  writeFileSync(join(folder, 'bad.json'), JSON.stringify([{ pass: 'fp17' }]));
  for (const [args, message] of [
    [['--recipe', 'bad.json'], 'got "fp17"'],
    [['--recipe', 'none.json'], 'cannot read the recipe'],
    [['--recipe', 'model.onnx'], 'holds no recipe'],
    [[], 'expected --recipe FILE'],
  ] as const) {
    const bad = pare('compress', 'model.onnx', '-o', 'x.onnx', ...args);
    expect(bad.stderr).toContain(message);
    expect(bad.status).toBe(1);
  }
  expect(existsSync(join(folder, 'x.onnx'))).toBe(false);
});

test('--memory: what does not fit is written without being run, and says so', async () => {
  const small = JSON.parse(pare('new', 'mlp', '--sizes', '20,30,5', '-o', 'mlp.onnx', '--memory', '1kB', '--json').stdout);
  expect(small).toMatchObject({ verified: false, outputs: [], warnings: [{ fix: 'raise --memory' }] });
  expect((await readModel(join(folder, 'mlp.onnx'))).metadata.get('pare.verified')).toBe('not verified');
  writePackage(join(folder, 'package'), { 'onnx/model.onnx': classifierModel() });
  const run = pare('variants', 'package', '-o', 'out', '--dtypes', 'q8', '--memory', '1kB', '--json');
  const record = JSON.parse(run.stdout);
  expect(record.verified).toBe(false);
  expect(record.warnings[0].fix).toBe('raise --memory');
  expect(record.sessions[0].rows.map((r: { bytes: number; devices: unknown[] }) => [r.bytes > 0, r.devices.length])).toEqual([
    [true, 0],
    [true, 0],
  ]);
  expect(readFileSync(join(folder, 'out/README.md'), 'utf8')).toContain('Not verified');
});

test('prunes, factorizes and trains in one recipe; trainings need data', async () => {
  const run = (...args: string[]) => pare(...args, '--threads', '1');
  expect(run('new', 'mlp', '--sizes', '32,64,64,4', '-o', 'plain.onnx').status).toBe(0);
  const model = await readModel(join(folder, 'plain.onnx'));
  const rng = new Rng(4);
  const x = Float32Array.from({ length: 64 * 32 }, () => rng.normal());
  writeFileSync(join(folder, 'rows.npz'), encodeNpz({ [model.graph.inputs[0]!.name]: Tensor.of('float', [64, 32], x) }));
  const steps = [
    { pass: 'prune-structured', options: { sparsity: 0.25 } },
    { pass: 'factorize', options: { rankRatio: 0.5 } },
    { pass: 'qat', options: { qat: 'w4a8', epochs: 1, batchSize: 16, augment: 'noise:0.01' } },
  ];
  writeFileSync(join(folder, 'steps.json'), JSON.stringify(steps));
  const made = run('compress', 'plain.onnx', '--recipe', 'steps.json', '--data', 'rows.npz', '-o', 'steps.onnx', '--json');
  expect(made.status, made.stderr).toBe(0);
  const record = JSON.parse(made.stdout);
  expect(record.passes.map((p: { name: string }) => p.name)).toEqual(['prune-structured', 'factorize', 'qat']);
  expect(record.output.macs).toBeLessThan(0.6 * record.input.macs);
  expect(record.passes[1].notes.layers.length).toBeGreaterThan(0);
  expect(record.passes[2].notes.training.steps).toBe(4);
  const bare = run('compress', 'plain.onnx', '--recipe', 'steps.json', '-o', 'bare.onnx');
  expect(bare.stderr).toContain('got "qat"');
});
