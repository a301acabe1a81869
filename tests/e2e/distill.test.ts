// `pare distill` as a user meets it: students by name, data with and without labels, further samples, the report; and rounding that is learnt by
// `pare quantize`. Small networks on made-up rows.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeNpz } from '../../src/data/npz.js';
import { Tensor } from '../../src/ir/tensor.js';
import { readModel } from '../../src/node/files.js';
import { Rng } from '../../src/util/rng.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');
const TIMEOUT = 120_000;
let folder: string;

function pare(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [BIN, ...args, '--threads', '1'], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (part: Buffer) => stdout.push(part));
    child.stderr.on('data', (part: Buffer) => stderr.push(part));
    child.on('close', (status) => done({ status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }));
  });
}

async function pareJson(...args: string[]) {
  const run = await pare(...args, '--json');
  expect(run.status, run.stderr).toBe(0);
  return JSON.parse(run.stdout);
}

/** Classes by which of four blocks of the input is largest. */
function writeRows(name: string, input: string, n: number, seed: number, labelled = true): void {
  const rng = new Rng(seed);
  const x = Float32Array.from({ length: n * 32 }, () => rng.normal());
  const labels = Array.from({ length: n }, (_, row) => {
    const sums = [0, 1, 2, 3].map((c) => x.subarray(row * 32 + c * 8, row * 32 + c * 8 + 8).reduce((a, b) => a + b, 0));
    return sums.indexOf(Math.max(...sums));
  });
  const rows = Tensor.of('float', [n, 32], x);
  writeFileSync(join(folder, name), encodeNpz(labelled ? { [input]: rows, labels: Tensor.from('int64', [n], labels) } : { [input]: rows }));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-distill-'));
  expect((await pare('new', 'mlp', '--sizes', '32,64,4', '-o', 'new.onnx')).status).toBe(0);
  const input = (await readModel(join(folder, 'new.onnx'))).graph.inputs[0]!.name;
  writeRows('train.npz', input, 256, 1);
  writeRows('test.npz', input, 256, 2);
  writeRows('bare.npz', input, 256, 3, false);
  const training = ['--data', 'train.npz', '--epochs', '10', '--optimizer', 'adam', '--lr', '0.01', '--no-verify'];
  expect((await pare('train', 'new.onnx', '-o', 'teacher.onnx', ...training)).status).toBe(0);
}, TIMEOUT);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const TRAINING = [
  '--epochs',
  '20',
  '--batch-size',
  '16',
  '--optimizer',
  'adam',
  '--lr',
  '0.01',
  '--validation',
  'test.npz',
  '--metric',
  'top1',
];

test(
  'a small student by name, from labels and further samples, or from no labels at all',
  async () => {
    const student = ['--teacher', 'teacher.onnx', '--student', 'mlp:sizes=32,12,4', ...TRAINING];
    const [both, none] = await Promise.all([
      pareJson('distill', ...student, '--data', 'train.npz', '--unlabelled', 'bare.npz', '-o', 'a.onnx', '--report', 'a.html'),
      pareJson('distill', ...student, '--data', 'bare.npz', '-o', 'b.onnx'),
    ]);
    for (const { quality, output, input } of [both, none]) {
      expect(quality).toMatchObject({ metric: 'top1', samples: 256 });
      expect(quality.before).toBeGreaterThan(0.75);
      expect(quality.after).toBeGreaterThan(quality.before - 0.15);
      expect(output.params).toBeLessThan(0.3 * input.params);
    }
    expect(both.passes[0].notes.distillation).toMatchObject({ teachers: 1, samples: { given: 256, unlabelled: 256 } });
    expect(both.passes[0].notes.training.epochs).toHaveLength(20);
    expect(none.passes[0].notes.distillation.samples).toEqual({ given: 256, unlabelled: 0 });
    const report = readFileSync(join(folder, 'a.html'), 'utf8');
    for (const text of [
      '<h2>Training</h2>',
      '<h3>Distillation</h3>',
      'Student mlp:sizes=32,12,4; 1 teacher',
      '256 labelled by the teacher',
    ])
      expect(report.includes(text), text).toBe(true);
    expect(existsSync(join(folder, 'a.onnx.checkpoint'))).toBe(false);
  },
  TIMEOUT,
);

test(
  'layers of the teacher: copy:1 is the teacher itself, copy:2 half of it',
  async () => {
    const text = 'the quick brown fox jumps over the lazy dog. '.repeat(40);
    writeFileSync(join(folder, 'text.txt'), text);
    writeFileSync(join(folder, 'vocabulary.json'), JSON.stringify([...new Set(text)].sort()));
    const size = ['--vocabulary', String(new Set(text).size), '--layers', '2', '--hidden', '16', '--heads', '2', '--positions', '16'];
    expect((await pare('new', 'gpt-nano', '-o', 'gpt.onnx', ...size)).status).toBe(0);
    const data = [
      '--data',
      'text.txt',
      '--tokenizer',
      'vocabulary.json',
      '--metric',
      'kl',
      '--epochs',
      '1',
      '--max-steps',
      '2',
      '--lr',
      '1e-9',
    ];
    const [all, half] = await Promise.all(
      ['copy:1', 'copy:2'].map((student, i) =>
        pareJson('distill', '--teacher', 'gpt.onnx', '--student', student, ...data, '-o', `gpt${i}.onnx`),
      ),
    );
    expect(all.passes[0].notes.distillation.layers).toEqual([0, 1]);
    expect(all.output.params).toBe(all.input.params);
    expect(all.quality.after).toBeLessThan(1e-6);
    expect(half.passes[0].notes.distillation.layers).toHaveLength(1);
    expect(half.output.params).toBeLessThan(all.output.params);
  },
  TIMEOUT,
);

test(
  'says what is missing',
  async () => {
    const [teacher, student, data, form] = await Promise.all([
      pare('distill', '--student', 'self', '--data', 'train.npz'),
      pare('distill', '--teacher', 'teacher.onnx', '--data', 'train.npz'),
      pare('distill', '--teacher', 'teacher.onnx', '--student', 'self'),
      pare('distill', '--teacher', 'teacher.onnx', '--student', 'smaller', '--data', 'train.npz', '-o', 'x.onnx'),
    ]);
    expect(teacher.stderr).toContain('expected --teacher MODEL, got none');
    expect(student.stderr).toContain('expected --student, got none');
    expect(data.stderr).toContain('expected --data SPEC, got none');
    expect(form.stderr).toContain('got "smaller"');
    expect([teacher, student, data, form].map((r) => r.status)).toEqual([1, 1, 1, 1]);
    expect(existsSync(join(folder, 'x.onnx'))).toBe(false);
  },
  TIMEOUT,
);

test(
  'rounding to 4 bits learnt layer by layer and block by block',
  async () => {
    const four = ['--mode', 'static', '--weight-bits', '4', '--data', 'bare.npz', '--validation', 'test.npz', '--rounding-steps', '60'];
    const [layers, blocks, refused] = await Promise.all([
      pareJson('quantize', 'teacher.onnx', ...four, '--rounding', 'adaround', '-o', 'ada.onnx'),
      pareJson('quantize', 'teacher.onnx', ...four, '--rounding', 'brecq', '-o', 'brecq.onnx'),
      pare('quantize', 'teacher.onnx', '--mode', 'static', '--data', 'bare.npz', '--rounding', 'brecq', '-o', 'x.onnx'),
    ]);
    for (const { passes, quality } of [layers, blocks]) {
      expect(passes[0].notes.rounding.flatMap((r: { weights: string[] }) => r.weights)).toHaveLength(2);
      expect(quality.after).toBeGreaterThan(quality.before - 0.05);
    }
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain('--weight-bits 4');
  },
  TIMEOUT,
);
