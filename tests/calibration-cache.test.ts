// Calibration results kept on disk: found again without a forward pass, ignored where they do not belong, measured again where damaged, merged from shards.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tensorDataset } from '../src/data/indexed.js';
import { withMeasurements } from '../src/data/measured.js';
import { buildModel } from '../src/ir/builder.js';
import type { Model } from '../src/ir/model.js';
import { Tensor } from '../src/ir/tensor.js';
import { cloneModel } from '../src/ir/walk.js';
import { openCalibrationCache } from '../src/node/calibration-cache.js';
import { encodeModel } from '../src/onnx/encode.js';
import { quantizeStatic } from '../src/passes/quantize/static.js';
import type { Engine } from '../src/runtime/engine.js';
import { passContext, randomTensor } from './pass-context.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-cache-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const model = buildModel('two', (b) => {
  const x = b.input('x', 'float', ['n', 4, 6, 6]);
  const a = b.op('Relu', [b.op('Conv', [x, b.constant('w1', randomTensor([4, 4, 3, 3], 1)), b.constant('b1', randomTensor([4], 2))])]);
  const y = b.op('Conv', [a, b.constant('w2', randomTensor([4, 4, 3, 3], 3)), b.constant('b2', randomTensor([4], 4))]);
  b.output(b.op('ReduceMean', [y, b.ints('axes', [2, 3])], { keepdims: 0 }), 'y');
});

const samples = (from: number, to: number) => {
  const all = randomTensor([32, 4, 6, 6], 7).floats();
  return tensorDataset('samples', { x: Tensor.of('float', [to - from, 4, 6, 6], all.slice(from * 144, to * 144)) });
};

/** Quantizes; answers the result's bytes, the runs of sessions it took, and what the pass said. */
async function quantized(
  data: ReturnType<typeof samples>,
  path: string | undefined,
  options: Parameters<typeof quantizeStatic>[0] = {},
  shards?: readonly string[],
) {
  const store = path === undefined && !shards ? undefined : openCalibrationCache(path, { shards });
  const context = await passContext(store ? withMeasurements(data, store) : data);
  let runs = 0;
  const engine: Engine = {
    ...context.engine,
    name: context.engine.name,
    version: context.engine.version,
    load: async (source, sessionOptions) => {
      const session = await context.engine.load(source, sessionOptions);
      const count =
        <A extends readonly unknown[], R>(call: (...args: A) => R) =>
        (...args: A): R => {
          runs++;
          return call(...args);
        };
      return {
        inputs: session.inputs,
        outputs: session.outputs,
        run: count((feeds, fetches) => session.run(feeds, fetches)),
        ...(session.runInto ? { runInto: count((feeds, into) => session.runInto!(feeds, into)) } : {}),
        endProfiling: () => session.endProfiling(),
        release: () => session.release(),
      };
    },
  };
  const result: Model = cloneModel(model);
  await quantizeStatic({ simplify: false, ...options }).run(result, { ...context, engine });
  return { bytes: Buffer.from(encodeModel(result).bytes).toString('base64'), runs, warnings: context.warnings, cache: context.notes.cache };
}

describe('calibration cache', () => {
  it.each(['one.json', 'folder/'])('a second run measures nothing and gives the same bytes: %s', async (name) => {
    const path = join(folder, name);
    const plain = await quantized(samples(0, 16), undefined);
    const first = await quantized(samples(0, 16), path);
    const second = await quantized(samples(0, 16), path);
    expect([first.bytes, second.bytes]).toEqual([plain.bytes, plain.bytes]);
    expect(first.runs).toBe(plain.runs);
    expect(first.runs).toBeGreaterThan(3);
    expect(second.runs).toBe(0);
    expect(second.cache).toEqual({ found: 4, asked: 4 });
  });

  it('ignores what was measured on other data or under other settings', async () => {
    const path = join(folder, 'stale.json');
    await quantized(samples(0, 16), path);
    const other = await quantized(samples(16, 32), path);
    expect(other.cache).toMatchObject({ found: 0 });
    expect(other.bytes).toBe((await quantized(samples(16, 32), undefined)).bytes);
    expect((await quantized(samples(0, 16), path, { samples: 8 })).bytes).toBe(
      (await quantized(samples(0, 16), undefined, { samples: 8 })).bytes,
    );
    expect((await quantized(samples(0, 16), path)).runs).toBe(0);
  });

  it.each(['{ "kind": "pare-cal', '{"kind":"something else"}', '[]', 'null'])(
    'says so and measures again where the file is damaged: %s',
    async (text) => {
      const path = join(folder, 'damaged.json');
      writeFileSync(path, text);
      const { warnings, bytes } = await quantized(samples(0, 16), path);
      expect(warnings.map((w) => w.message).join()).toMatch(/calibration cache ".*damaged.json" is (damaged|no calibration cache)/);
      expect(bytes).toBe((await quantized(samples(0, 16), undefined)).bytes);
      expect((await quantized(samples(0, 16), path)).runs).toBe(0);
      expect(readdirSync(folder).filter((f) => f.startsWith('damaged'))).toEqual(['damaged.json']);
    },
  );

  it('measures again where an entry has lost its form', async () => {
    const path = join(folder, 'entry.json');
    await quantized(samples(0, 16), path);
    const json = JSON.parse(readFileSync(path, 'utf8')) as { entries: Record<string, unknown> };
    for (const key of Object.keys(json.entries)) json.entries[key] = { x: 'no statistics' };
    writeFileSync(path, JSON.stringify(json));
    expect((await quantized(samples(0, 16), path)).bytes).toBe((await quantized(samples(0, 16), undefined)).bytes);
  });

  it('shards of unequal size, measured apart, give the same file as all data together', async () => {
    const options = { equalize: false, biasCorrection: false };
    const [a, b] = [join(folder, 'a.json'), join(folder, 'b.json')];
    await quantized(samples(0, 5), a, options);
    await quantized(samples(5, 32), b, options);
    const merged = await quantized(samples(0, 8), undefined, options, [a, b]);
    expect(merged.runs).toBe(0);
    expect(merged.bytes).toBe((await quantized(samples(0, 32), undefined, options)).bytes);
    expect(merged.bytes).not.toBe((await quantized(samples(0, 8), undefined, options)).bytes);
  });

  it('refuses shards of other settings, missing ones and damaged ones', async () => {
    const a = join(folder, 'other.json');
    await quantized(samples(0, 8), a, { equalize: false, observer: 'minmax' });
    await expect(quantized(samples(0, 8), undefined, { equalize: false }, [a])).rejects.toThrow(
      /other.json": expected statistics of this model/,
    );
    await expect(quantized(samples(0, 8), undefined, {}, [join(folder, 'none.json')])).rejects.toThrow(/none.json" is not there/);
  });
});
