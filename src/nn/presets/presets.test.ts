// Every preset: parameters as in the literature, types throughout, runs, the same bytes for the same seed, and signals that neither die nor explode.
import { beforeAll, describe, expect, it, test } from 'vitest';
import { sharedData } from '../../../tests/shared-data.js';
import { countParams } from '../../analysis/facts.js';
import { inferShapes } from '../../analysis/shapes.js';
import { countTrainable } from '../../analysis/trainable.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { formatType } from '../../ir/type.js';
import { nodeEngine } from '../../node/engine.js';
import { readModel } from '../../node/files.js';
import { encodeModel } from '../../onnx/encode.js';
import type { Engine } from '../../runtime/engine.js';
import { randomFeeds } from '../../runtime/inputs.js';
import { openSession } from '../../runtime/session.js';
import { createPreset, PRESETS } from './index.js';

let engine: Engine;
beforeAll(async () => {
  engine = await nodeEngine();
});

/** Small forms, so that a test builds and runs each in a moment. */
const SMALL: Readonly<Record<string, Record<string, unknown>>> = {
  mobilenet: { size: 32, width: 0.25, classes: 10 },
  'bert-tiny': { vocabulary: 100, positions: 32 },
  'bert-mini': { vocabulary: 100, positions: 32, hidden: 64 },
  'gpt-nano': { layers: 2, hidden: 48, heads: 3 },
};

async function outputsOf(model: Model, options: { batch?: number; size?: number; outputs?: readonly string[] } = {}) {
  const session = await openSession(engine, model, { outputs: options.outputs ?? [] });
  try {
    return await session.run(await randomFeeds(model, { batch: options.batch ?? 2, size: options.size ?? 16 }));
  } finally {
    await session.release();
  }
}

describe.each(Object.keys(PRESETS))('%s', (name) => {
  const model = createPreset(name, SMALL[name]);

  it('has types throughout and runs on any batch', async () => {
    expect(model.graph.name).toBe(name);
    const report = inferShapes(model, { strict: true });
    expect([report.unknown, report.inferred]).toEqual([[], report.total]);
    expect(formatType(model.graph.outputs[0]!.type)).toMatch(/^float\[batch,(sequence,)?\d+\]$/);
    const { logits } = await outputsOf(model, { batch: 3 });
    expect(logits!.dims[0]).toBe(3);
    const values = logits!.floats();
    expect(values.every(Number.isFinite)).toBe(true);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const std = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
    expect(std).toBeGreaterThan(0.005);
    expect(std).toBeLessThan(5);
  });

  it('gives the same bytes for the same seed and others for another', () => {
    const bytes = (seed: number) => encodeModel(createPreset(name, SMALL[name], { seed })).bytes;
    // Comparing as arrays of numbers takes seconds.
    expect(Buffer.compare(bytes(0), encodeModel(model).bytes)).toBe(0);
    const other = createPreset(name, SMALL[name], { seed: 1 });
    const matrices = model.graph.initializers.filter((v) => v.initializer!.dtype === 'float' && v.initializer!.rank > 1);
    expect(matrices.length).toBeGreaterThan(1);
    for (const v of matrices) expect(Buffer.compare(other.graph.value(v.name)!.initializer!.bytes(), v.initializer!.bytes())).not.toBe(0);
  });

  it('has as many parameters as it says, and says how it was made', () => {
    const full = createPreset(name);
    expect(countTrainable(full)).toBe(PRESETS[name]!.parameters);
    expect(full.metadata.get('pare.preset')).toBe(name);
    expect(JSON.parse(full.metadata.get('pare.options')!)).toEqual(PRESETS[name]!.parse({}));
  });
});

/** Counts of the literature for the defaults, which the tests above build. */
test.each([
  ['lenet300', 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10],
  // LeCun et al. 1998; Han et al. 2016; He et al. 2015 (0.27, 0.46 and 0.85 million); torchvision's MobileNetV2.
  ['lenet5', 61_706],
  ['lenet5-caffe', 431_080],
  ['resnet20', 269_722],
  ['resnet32', 464_154],
  ['resnet56', 853_018],
  ['mobilenet', 3_504_872],
  // MLPerf Tiny's 23,756 without nine redundant biases of 64.
  ['ds-cnn', 23_756 - 9 * 64],
  // Turc et al. 2019: 4.4 and 11.2 million, plus the classifier.
  ['bert-tiny', 4_385_920 + 2 * 129],
  ['bert-mini', 11_170_560 + 2 * 257],
])('%s: %i parameters by the literature', (name, parameters) => {
  expect(PRESETS[name]!.parameters).toBe(parameters);
});

test.each([
  ['lenet5', { activation: 'tanh', pool: 'average' }, 61_706],
  ['mlp', { sizes: [20, 30, 5] }, 20 * 30 + 30 + 30 * 5 + 5],
  // Two 1x1 convolutions with their normalizations.
  ['resnet20', { shortcut: 'B' }, 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64],
  // torchvision's.
  ['mobilenet', { variant: 'v3-large' }, 5_483_032],
  ['mobilenet', { variant: 'v3-small' }, 2_542_856],
  ['bert-tiny', { tokenTypes: 0, classes: 3, vocabulary: 1000 }, 4_385_920 - 2 * 128 + 3 * 129 - 29_522 * 128],
  ['gpt-nano', { layers: 1, tied: false }, 65 * 192 * 2 + 128 * 192 + 12 * 192 * 192 + 13 * 192 + 2 * 192],
])('%s %j: %i parameters', (name, options, parameters) => {
  expect(countTrainable(createPreset(name, options))).toBe(parameters);
});

describe('signals at the start', () => {
  /** Deviation of each value over its elements. */
  async function deviations(model: Model, values: readonly string[], size = 32) {
    const results = await outputsOf(model, { batch: 8, size, outputs: values });
    return values.map((v) => {
      const x = results[v]!.floats();
      const mean = x.reduce((a, b) => a + b, 0) / x.length;
      return Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length);
    });
  }

  it.each(['resnet20', 'resnet56', 'mobilenet'])('%s: sums of all blocks stay near 1', async (name) => {
    const model = createPreset(name, SMALL[name]);
    const sums = model.graph.nodes.filter((n) => n.opType === 'Add').map((n) => n.output().name);
    const found = await deviations(model, sums);
    expect(Math.min(...found)).toBeGreaterThan(0.2);
    expect(Math.max(...found)).toBeLessThan(4);
  });

  it('bert-mini: normalized streams, branches that matter, soft attention', async () => {
    const model = createPreset('bert-mini', { vocabulary: 1000 });
    const named = (pattern: RegExp) => model.graph.nodes.filter((n) => pattern.test(n.name)).map((n) => n.output().name);
    const [streams, branches, scores] = [named(/_norm$/), named(/(attention\.output|feed_forward\.down)\.Add$/), named(/\.scores$/)];
    expect([streams.length, branches.length, scores.length]).toEqual([8, 8, 4]);
    for (const d of await deviations(model, streams)) expect(d).toBeCloseTo(1, 1);
    for (const d of await deviations(model, branches)) {
      expect(d).toBeGreaterThan(0.02);
      expect(d).toBeLessThan(1);
    }
    for (const d of await deviations(model, scores)) expect(d).toBeLessThan(1);
  });
});

test('gpt-nano reads its table twice, once transposed: one initializer', () => {
  const { graph } = createPreset('gpt-nano', SMALL['gpt-nano']);
  const table = graph.value('word_embeddings.weight')!;
  expect(table.users.map((n) => n.opType).sort()).toEqual(['Gather', 'Transpose']);
  expect(graph.initializers.filter((v) => v.initializer!.dims.includes(65))).toEqual([table]);
});

test('gpt-nano sees no later token', async () => {
  const session = await openSession(engine, createPreset('gpt-nano', SMALL['gpt-nano']));
  const logits = async (ids: number[]) => (await session.run({ input_ids: Tensor.from('int64', [1, ids.length], ids) })).logits!.floats();
  const [a, b] = [await logits([1, 2, 3, 4]), await logits([1, 2, 3, 60])];
  await session.release();
  expect(Array.from(a.subarray(0, 3 * 65))).toEqual(Array.from(b.subarray(0, 3 * 65)));
  expect(a.subarray(3 * 65)).not.toEqual(b.subarray(3 * 65));
});

test('32x32 pictures keep 4x4 pixels to the end of a mobilenet, 224x224 ones 7x7', () => {
  for (const variant of ['v2', 'v3-small', 'v3-large']) {
    for (const [size, last] of [
      [32, 4],
      [224, 7],
    ] as const) {
      const { graph } = createPreset('mobilenet', { variant, size, width: 0.25, classes: 10 });
      const pooled = graph.nodes.findLast((n) => n.opType === 'GlobalAveragePool')!.input(0)!;
      expect(formatType(pooled.type)).toContain(`,${last},${last}]`);
    }
  }
});

const trained = sharedData('text-models/shakespeare_gpt.onnx');
test.skipIf(!trained)('gpt-nano has the size of the trained model of the same shape', async () => {
  const model = await readModel(trained!);
  const mask = model.graph.value('mask')!.initializer!.size;
  const matrices = countParams(model) - mask;
  // Scalars of formulas and the transposed copy of the table are in the file as well.
  expect(Math.abs(matrices - PRESETS['gpt-nano']!.parameters - 65 * 192)).toBeLessThan(200);
});

describe('mistakes', () => {
  it.each([
    ['lenet6', {}, /unknown preset "lenet6": expected one of lenet300, lenet5/],
    ['lenet5', { classes: 0 }, /options of lenet5: classes/],
    ['lenet5', { hidden: 3 }, /options of lenet5: .*hidden/],
    ['mlp', { sizes: [4] }, /options of mlp: sizes/],
    ['lenet5', { size: 4 }, /E_SHAPE|expected/],
    ['bert-tiny', { hidden: 100, heads: 3 }, /heads: expected a divisor of hidden size 100, got 3/],
    ['toString', {}, /unknown preset/],
  ])('%s %j', (name, options, message) => {
    expect(() => createPreset(name, options)).toThrow(message);
  });
});
