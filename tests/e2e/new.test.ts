// `pare new` as a user meets it: the file, the JSON document, exit codes, and that its result is an input of the other commands.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { nn } from '../../src/index.js';
import { readModel } from '../../src/node/index.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');

let folder: string;

function pare(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8', cwd: folder });
  return { status, stdout, stderr };
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-new-'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('writes a network that other commands take', async () => {
  const run = pare('new', 'lenet5', '-o', 'lenet5.onnx', '--seed', '7', '--classes', '12');
  expect(run).toMatchObject({ status: 0, stderr: '' });
  expect(run.stdout).toContain('parameters to train  61,876');
  expect(run.stdout).toContain('wrote lenet5.onnx');
  const model = await readModel(join(folder, 'lenet5.onnx'));
  expect(model.metadata.get('pare.verified')).toBe('true');
  expect(model.metadata.get('pare.seed')).toBe('7');
  const profile = JSON.parse(pare('profile', 'lenet5.onnx', '--no-run', '--json').stdout);
  expect(profile).toMatchObject({ params: 61_876, macs: 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 12 });
});

test('--json: one document, options as flags, the same bytes again', () => {
  const args = ['new', 'mobilenet', '--size', '32', '--classes', '10', '--width', '0.5', '--variant', 'v3-small', '--json'];
  const [a, b] = ['a.onnx', 'b.onnx'].map((out) => JSON.parse(pare(...args, '-o', out).stdout));
  expect(a).toMatchObject({
    command: 'new',
    preset: 'mobilenet',
    options: { size: 32, classes: 10, width: 0.5, variant: 'v3-small', channels: 3 },
    input: null,
    verified: true,
    inputs: [{ name: 'image', type: 'float[batch,3,32,32]' }],
    outputs: [{ name: 'logits', type: 'float[batch,10]', dims: [1, 10] }],
  });
  expect(a.output).toMatchObject({ path: 'a.onnx', bytes: readFileSync(join(folder, 'a.onnx')).length, opset: 21 });
  expect(a.output.sha256).toBe(b.output.sha256);
});

test('lists of numbers and switches', () => {
  expect(JSON.parse(pare('new', 'mlp', '--sizes', '20,30,5', '-o', 'mlp.onnx', '--json').stdout).output.trainable).toBe(785);
  const small = ['--layers', '1', '--hidden', '32', '--heads', '2', '--no-tied', '--json'];
  const gpt = JSON.parse(pare('new', 'gpt-nano', ...small, '-o', 'gpt.onnx').stdout);
  expect(gpt.options.tied).toBe(false);
});

test('--list and --help show every preset', () => {
  for (const text of [pare('new', '--list').stdout, pare('new', '--help').stdout])
    for (const preset of Object.values(nn.PRESETS)) expect(text).toContain(preset.parameters.toLocaleString('en-US'));
  expect(JSON.parse(pare('new', '--list', '--json').stdout).presets.map((p: { name: string }) => p.name)).toEqual(Object.keys(nn.PRESETS));
});

test.each([
  [['new'], 'expected the name of a preset'],
  [['new', 'lenet6', '-o', 'x.onnx'], 'unknown preset "lenet6"'],
  [['new', 'lenet5'], 'expected -o FILE'],
  [['new', 'lenet5', '-o', 'x.onnx', '--vocabulary', '9'], '--vocabulary: lenet5 has no such option'],
  [['new', 'lenet5', '-o', 'x.onnx', '--classes', 'many'], 'expected a number'],
  [['new', 'lenet5', '-o', 'x.onnx', '--size', '4'], 'E_SHAPE'],
  [['new', 'lenet5', '-o', '.'], 'E_FILE'],
])('%j is a user error and leaves nothing behind', (args, message) => {
  const before = readdirSync(folder);
  const run = pare(...args);
  expect(run.stderr).toContain(message);
  expect(run.status).toBe(1);
  expect(existsSync(join(folder, 'x.onnx'))).toBe(false);
  expect(readdirSync(folder)).toEqual(before);
});
