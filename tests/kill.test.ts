// A process that is killed while it writes models leaves the old file or a new one, never a partial one; after a signal that it can
// catch no temporary file remains. The child runs the build in dist/, and replaces one model by another again and again.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readModel, sha256File } from '../src/node/files.js';
import { Rng } from '../src/util/rng.js';

const DIST = resolve(import.meta.dirname, '../dist');
const folder = mkdtempSync(join(tmpdir(), 'pare-kill-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const CHILD = `
import { buildModel } from '${DIST}/ir/builder.js';
import { Tensor } from '${DIST}/ir/tensor.js';
import { sha256File, writeModel } from '${DIST}/node/files.js';
const [target, external] = process.argv.slice(2);
const model = (fill) => buildModel('m', (b) => {
  const x = b.input('x', 'float', ['n', 1024]);
  const w = Array.from({ length: 6 }, (_, i) => b.constant('w' + i, Tensor.of('float', [1024, 1024], new Float32Array(2 ** 20).fill(fill + i))));
  b.output(b.op('Sum', [x, ...w]), 'y');
});
const models = [model(1), model(100)];
const options = { force: true, external: external === 'external' };
for (const m of models) { await writeModel(m, target, options); console.log(await sha256File(target)); }
console.log('ready');
for (let i = 0; ; i++) await writeModel(models[i % 2], target, options);
`;
writeFileSync(join(folder, 'child.mjs'), CHILD);

/** Starts the child, kills it after a while, and answers how it ended and the hashes of the whole files it had written. */
async function killed(target: string, signal: NodeJS.Signals, afterMs: number, mode: string) {
  const child = spawn(process.execPath, [join(folder, 'child.mjs'), target, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  let text = '';
  // A child that does not end by itself must not outlive the test.
  const deadline = setTimeout(() => child.kill('SIGKILL'), 30_000);
  for await (const part of child.stdout) {
    text += String(part);
    if (text.includes('ready')) break;
  }
  await new Promise((done) => setTimeout(done, afterMs));
  child.kill(signal);
  const [, by] = await ended;
  clearTimeout(deadline);
  return { by, whole: text.trim().split('\n').slice(0, -1) };
}

describe.each(['SIGKILL', 'SIGINT', 'SIGTERM'] as const)('%s while writing', (signal) => {
  it.each(['single', 'external'])('leaves a whole model (%s)', async (mode) => {
    const rng = new Rng(7).fork(signal + mode);
    for (let round = 0; round < 2; round++) {
      const place = mkdtempSync(join(folder, 'round-'));
      const target = join(place, 'model.onnx');
      const { by, whole } = await killed(target, signal, rng.integer(60), mode);
      expect(by).toBe(signal);
      const names = readdirSync(place).sort();
      const results = mode === 'single' ? ['model.onnx'] : ['model.onnx', 'model.onnx.data'];
      // What a kill that cannot be caught leaves behind cannot be taken for a result.
      const left = names.filter((name) => !results.includes(name));
      if (signal === 'SIGKILL') expect(left.filter((name) => !/^\..*\.tmp$/.test(name))).toEqual([]);
      else expect(left).toEqual([]);
      expect(whole).toContain(await sha256File(target));
      const model = await readModel(target);
      expect(model.graph.value('w5')!.initializer!.floats().length).toBe(2 ** 20);
      rmSync(place, { recursive: true });
    }
  });
});
