// The engine and the sessions over the IR on real models: the same outputs from the file, from the re-encoded model and with weights placed on disk.
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PareError } from '../src/errors.js';
import { requiredInputs } from '../src/ir/model.js';
import { nodeEngine } from '../src/node/engine.js';
import { readModel } from '../src/node/files.js';
import type { Engine } from '../src/runtime/engine.js';
import { findFeeds, randomFeeds } from '../src/runtime/inputs.js';
import { openSession } from '../src/runtime/session.js';
import { sharedData, sharedModels } from './shared-data.js';

/** Models that no release of the runtime takes without extension libraries. */
const REFUSED = new Set(['supres/supres_extensions_op18.onnx']);

describe('shared models', () => {
  it.each(sharedModels())('%s: sessions over the IR give what the file gives', async (path) => {
    const file = sharedData(path)!;
    const engine = await nodeEngine();
    const model = await readModel(file);
    if (REFUSED.has(path)) {
      const error = await openSession(engine, model).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(PareError);
      expect((error as PareError).code).toBe('E_RUNTIME');
      expect((error as PareError).hint).toBeDefined();
      return;
    }
    const session = await openSession(engine, model, { threads: 1 });
    const { feeds } = await findFeeds(session, model);
    expect(session.inputs.map((i) => i.name).sort()).toEqual(expect.arrayContaining(requiredInputs(model.graph).map((v) => v.name)));
    const results = await session.run(feeds);
    await session.release();
    expect(Object.keys(results).length).toBeGreaterThan(0);
    const direct = await engine.load({ path: file }, { threads: 1 });
    const expected = await direct.run(feeds);
    await direct.release();
    for (const [name, tensor] of Object.entries(expected)) {
      expect(results[name]!.dims).toEqual(tensor.dims);
      if (tensor.dtype === 'string') expect(results[name]!.stringValues()).toEqual(tensor.stringValues());
      else expect(Buffer.compare(results[name]!.bytes(), tensor.bytes()), name).toBe(0);
    }
  });

  const gpt = sharedData('text-models/shakespeare_gpt.onnx');
  it.skipIf(!gpt)('weights placed on disk give the same outputs, and nothing is left behind', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pare-test-'));
    const before = temporary();
    try {
      const path = join(folder, 'm.onnx');
      copyFileSync(gpt!, path);
      const engine = await nodeEngine();
      const model = await readModel(path);
      const feeds = await randomFeeds(model);
      const inline = await openSession({ ...engine, placeOnDisk: undefined } as unknown as Engine, model, { threads: 1 });
      const placed = await openSession(engine, model, { threads: 1, placeAbove: 0 });
      const frugal = await openSession(engine, model, { threads: 1, placeAbove: 0, frugal: true });
      const [a, b, c] = [await inline.run(feeds), await placed.run(feeds), await frugal.run(feeds)];
      expect(b.logits!.bytes()).toEqual(a.logits!.bytes());
      const difference = Math.max(...Array.from(c.logits!.floats(), (v, i) => Math.abs(v - a.logits!.floats()[i]!)));
      expect(difference).toBeLessThan(1e-3);
      await Promise.all([inline, placed, frugal].map((s) => s.release()));
      expect(temporary()).toEqual(before);
      // The file is replaced, as an output written over its input would be: the model still reads what it was opened on.
      renameSync(path, join(folder, 'old.onnx'));
      writeFileSync(path, new Uint8Array(readFileSync(gpt!).byteLength));
      const late = await openSession(engine, model, { threads: 1, placeAbove: 0 });
      expect((await late.run(feeds)).logits!.bytes()).toEqual(a.logits!.bytes());
      await late.release();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const vad = sharedData('silero-vad/silero_vad_16k_op15.onnx');
  it.skipIf(!vad)('profiles by node, also inside branches, and removes its file', async () => {
    const before = temporary();
    const model = await readModel(vad!);
    const session = await openSession(await nodeEngine(), model, { profile: true, threads: 1 });
    const feeds = await randomFeeds(model, { shapes: { input: [1, 576] } });
    for (let i = 0; i < 3; i++) await session.run(feeds);
    const times = await session.endProfiling();
    await session.release();
    expect(times.find((t) => t.opType === 'LSTM')).toMatchObject({ runs: 3, provider: 'CPUExecutionProvider' });
    expect(times.filter((t) => t.opType.includes('Conv')).length).toBeGreaterThan(2);
    expect(times.every((t, i) => t.ms >= 0 && (i === 0 || t.ms <= times[i - 1]!.ms))).toBe(true);
    expect(temporary()).toEqual(before);
  });
});

function temporary(): string[] {
  // Of this process alone: other tests run beside this one.
  return readdirSync(tmpdir()).filter((name) => name.startsWith('.pare-') && name.includes(`.${process.pid}.`));
}

describe('truncated models', () => {
  const mnist = sharedData('mnist-cntk/mnist.onnx');
  it.skipIf(!mnist)('end in E_RUNTIME with the words of the runtime', async () => {
    const bytes = readFileSync(mnist!);
    const error = await (await nodeEngine()).load({ bytes: bytes.subarray(0, 1000) }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'E_RUNTIME', message: expect.stringContaining('protobuf parsing failed') });
  });
});
