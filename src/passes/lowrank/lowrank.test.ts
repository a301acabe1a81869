// Factors of products and convolutions: exact where the weights are of low rank, better on data than without, within budgets.
import { describe, expect, test } from 'vitest';
import { feedsDataset, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { modelCost } from '../../analysis/cost.js';
import { buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { factorize } from './index.js';

/** A weight [rows, columns] of this rank. */
function lowRank(rows: number, columns: number, rank: number, seed: number): Float32Array {
  const a = randomTensor([rows, rank], seed, 0.4).floats();
  const b = randomTensor([rank, columns], seed + 1, 0.4).floats();
  const out = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) for (let r = 0; r < rank; r++) out[i * columns + j]! += a[i * rank + r]! * b[r * columns + j]!;
  return out;
}

async function run(model: Model, options: Parameters<typeof factorize>[0], data?: Parameters<typeof passContext>[0]) {
  const result = cloneModel(model);
  const ctx = await passContext(data);
  await factorize(options).run(result, ctx);
  verifyModel(result);
  return { result, ctx, layers: ctx.notes.layers as { method: string; ranks: number[]; energy: number }[] };
}

function difference(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  let [error, power] = [0, 0];
  a.forEach((x, i) => {
    x.forEach((v, j) => {
      error += (v - b[i]![j]!) ** 2;
      power += v * v;
    });
  });
  return Math.sqrt(error / power);
}

test('a product of low rank becomes two, and computes the same: MatMul, Gemm with bias, transposed and scaled Gemm', async () => {
  const model = buildModel('products', (b) => {
    const x = b.input('x', 'float', ['N', 48]);
    const h = b.op('MatMul', [x, b.constant('w1', Tensor.of('float', [48, 64], lowRank(48, 64, 4, 1)))], {}, { name: 'one' });
    const g = b.op('Gemm', [
      b.op('Relu', [h]),
      b.constant('w2', Tensor.of('float', [64, 40], lowRank(64, 40, 4, 3))),
      b.constant('b2', randomTensor([40], 5)),
    ]);
    const y = b.op('Gemm', [b.op('Tanh', [g]), b.constant('w3', Tensor.of('float', [56, 40], lowRank(56, 40, 4, 6)))], {
      transB: 1,
      alpha: { type: 'float', value: 0.5 },
    });
    b.output(y, 'y');
  });
  const feeds = [{ x: randomTensor([5, 48], 9) }];
  const before = await runModel(model, feeds);
  for (const data of [undefined, feedsDataset([{ x: randomTensor([400, 48], 11) }])]) {
    const { result, layers } = await run(model, { rankEnergy: 0.99999, roundTo: 1 }, data);
    expect(layers.map((l) => l.ranks)).toEqual([[4], [4], [4]]);
    expect(opCounts(result)).toMatchObject({ MatMul: 4, Gemm: 2 });
    expect(difference(before, await runModel(result, feeds))).toBeLessThan(2e-3);
    expect(modelCost(result).macs).toBeLessThan(0.4 * modelCost(model).macs);
  }
});

test('layers whose rank saves nothing stay, and shared weights are left alone', async () => {
  const model = buildModel('full', (b) => {
    const x = b.input('x', 'float', ['N', 16]);
    const shared = b.constant('shared', randomTensor([16, 16], 1));
    const h = b.op('MatMul', [b.op('Relu', [b.op('MatMul', [x, shared])]), shared]);
    b.output(b.op('MatMul', [h, b.constant('full', randomTensor([16, 16], 2))], {}, { name: 'full_rank' }), 'y');
  });
  const { result, ctx } = await run(model, { rankEnergy: 0.999, roundTo: 1 });
  expect(opCounts(result)).toEqual(opCounts(model));
  expect(ctx.skipped.map((s) => s.reason)).toEqual([
    'its weight is shared by several nodes',
    'its weight is shared by several nodes',
    'it would not be smaller at the rank it needs',
  ]);
});

/** A linear layer whose inputs mostly vary along few directions, which plain SVD cannot know. */
function anisotropic(rows: number, seed: number): Tensor {
  const x = randomTensor([rows, 32], seed).floats();
  return Tensor.of(
    'float',
    [rows, 32],
    x.map((v, i) => v * (i % 32 < 8 ? 3 : 0.2) + 0.5),
  );
}

const wide = buildModel('wide', (b) => {
  const x = b.input('x', 'float', ['N', 32]);
  const h = b.op('Gemm', [x, b.constant('w1', randomTensor([32, 48], 1, 0.3)), b.constant('b1', randomTensor([48], 2))]);
  b.output(b.op('MatMul', [b.op('Relu', [h]), b.constant('w2', randomTensor([48, 24], 3, 0.3))]), 'y');
});

test('with data the outputs decide: less error at each rank than by the weights alone', async () => {
  const data = feedsDataset([{ x: anisotropic(300, 5) }]);
  const feeds = [{ x: anisotropic(50, 6) }];
  const before = await runModel(wide, feeds);
  for (const rank of [4, 8, 12]) {
    const plain = await run(wide, { rank, weighted: false }, data);
    const weighted = await run(wide, { rank }, data);
    const [a, b] = [difference(before, await runModel(plain.result, feeds)), difference(before, await runModel(weighted.result, feeds))];
    expect(b).toBeLessThan(0.9 * a);
  }
});

test('budgets of multiply-accumulates and bytes are met and shared out; one that cannot be is refused', async () => {
  const data = feedsDataset([{ x: anisotropic(64, 5) }]);
  const whole = modelCost(wide);
  const { result, ctx } = await run(wide, { targetMacs: 0.5, roundTo: 1 }, data);
  expect(modelCost(result).macs / whole.macs).toBeGreaterThan(0.45);
  expect(modelCost(result).macs / whole.macs).toBeLessThanOrEqual(0.5);
  expect((ctx.notes.importance as { importance: number }[]).every((i) => i.importance > 0)).toBe(true);
  const bytes = await run(wide, { targetBytes: '6kB', roundTo: 1 });
  expect(modelCost(bytes.result).weightBytes).toBeLessThanOrEqual(6000);
  await expect(run(wide, { targetMacs: 0.01 })).rejects.toMatchObject({ code: 'E_QUALITY' });
  await expect(run(wide, { rank: 4, rankRatio: 0.5 })).rejects.toMatchObject({ code: 'E_USAGE' });
  const ratio = await run(wide, { rankRatio: 0.5, roundTo: 1 });
  expect(modelCost(ratio.result).macs / whole.macs).toBeLessThanOrEqual(0.5);
});

describe('convolutions', () => {
  const conv = (weight: Float32Array, dims: number[], attributes: Record<string, number[]> = { pads: [1, 1, 1, 1] }) =>
    buildModel('conv', (b) => {
      const x = b.input('x', 'float', ['N', dims[1]!, 9, 8]);
      b.output(
        b.op('Conv', [x, b.constant('w', Tensor.of('float', dims, weight)), b.constant('b', randomTensor([dims[0]!], 4))], attributes),
        'y',
      );
    });
  const feeds = [{ x: randomTensor([2, 12, 9, 8], 8) }];
  const data = feedsDataset([{ x: randomTensor([20, 12, 9, 8], 9) }]);
  const strided = { pads: [1, 0, 1, 2], strides: [2, 1], dilations: [1, 2] };

  /** Weight [16, 12, 3, 3] that the method can write exactly at rank 3. */
  function exact(method: 'channel' | 'spatial' | 'tucker' | 'cp'): Float32Array {
    const out = new Float32Array(16 * 108);
    const at = (o: number, i: number, y: number, x: number) => ((o * 12 + i) * 3 + y) * 3 + x;
    const rows = lowRank(16, 108, 3, 20);
    const columns = lowRank(36, 48, 3, 30);
    const narrow = lowRank(12, 12, 3, 40);
    const [u, s, v] = [randomTensor([12, 3], 50).floats(), randomTensor([9, 3], 51).floats(), randomTensor([16, 3], 52, 0.3).floats()];
    for (let o = 0; o < 16; o++)
      for (let i = 0; i < 12; i++)
        for (let y = 0; y < 3; y++)
          for (let x = 0; x < 3; x++) {
            let value = 0;
            if (method === 'channel') value = rows[at(o, i, y, x)]!;
            else if (method === 'spatial') value = columns[(i * 3 + y) * 48 + x * 16 + o]!;
            else if (method === 'tucker') for (let j = 0; j < 12; j++) value += narrow[i * 12 + j]! * rows[at(o, j, y, x)]!;
            else for (let r = 0; r < 3; r++) value += u[i * 3 + r]! * s[(y * 3 + x) * 3 + r]! * v[o * 3 + r]!;
            out[at(o, i, y, x)] = value;
          }
    return out;
  }

  test.each(['channel', 'spatial', 'tucker', 'cp'] as const)('%s: a weight of its form is written exactly', async (method) => {
    for (const attributes of [{ pads: [1, 1, 1, 1] }, strided]) {
      const model = conv(exact(method), [16, 12, 3, 3], attributes);
      const before = await runModel(model, feeds);
      for (const source of [undefined, data]) {
        const { result, layers } = await run(model, { rank: 3, conv: [method], roundTo: 1 }, source);
        expect(layers[0]!.method).toBe(method);
        expect(layers[0]!.energy).toBeGreaterThan(0.999);
        expect(opCounts(result).Conv).toBe(method === 'channel' || method === 'spatial' ? 2 : 3);
        expect(difference(before, await runModel(result, feeds))).toBeLessThan(0.02);
        expect(modelCost(result).macs).toBeLessThan(modelCost(model).macs);
      }
    }
  });

  test('separable: 64 to 128 channels of 3x3 take 8,768 weights instead of 73,728, and a weight of that form loses nothing', async () => {
    const depthwise = randomTensor([64, 9], 70).floats();
    const pointwise = randomTensor([128, 64], 71, 0.2).floats();
    const weight = Float32Array.from({ length: 128 * 576 }, (_, i) => {
      const [o, c, s] = [Math.floor(i / 576), Math.floor(i / 9) % 64, i % 9];
      return pointwise[o * 64 + c]! * depthwise[c * 9 + s]!;
    });
    const model = conv(weight, [128, 64, 3, 3]);
    const images = [{ x: randomTensor([2, 64, 9, 8], 72) }];
    const weightsOf = (m: Model) =>
      m.graph.initializers.filter((v) => v.initializer!.rank === 4).reduce((n, v) => n + v.initializer!.size, 0);
    expect(weightsOf(model)).toBe(73_728);
    const { result, layers } = await run(model, { rank: 1, conv: ['separable'] }, feedsDataset([{ x: randomTensor([30, 64, 9, 8], 73) }]));
    expect(weightsOf(result)).toBe(8_768);
    expect(layers[0]!.energy).toBeGreaterThan(0.999);
    expect(difference(await runModel(model, images), await runModel(result, images))).toBeLessThan(0.02);
  });

  test('auto takes the method that loses least; cost is what the model then costs', async () => {
    const model = conv(exact('spatial'), [16, 12, 3, 3]);
    const { result, layers, ctx } = await run(model, { targetMacs: 0.4, roundTo: 1 }, data);
    expect(layers[0]!.method).toBe('spatial');
    const [row] = ctx.notes.layers as { macs: { after: number } }[];
    expect(row!.macs.after).toBe(modelCost(result).macs);
  });

  test('the error that is promised is the error on the data', async () => {
    const model = conv(randomTensor([16, 12, 3, 3], 61, 0.2).floats(), [16, 12, 3, 3]);
    const given = [{ x: randomTensor([20, 12, 9, 8], 9) }];
    const [y] = await runModel(model, given);
    for (const method of ['channel', 'spatial', 'tucker', 'cp', 'separable'] as const) {
      const { result, layers } = await run(model, { rankRatio: 0.5, conv: [method], roundTo: 1 }, data);
      const [z] = await runModel(result, given);
      // Power about the mean of each channel: the bias takes up the rest.
      let [error, power] = [0, 0];
      for (let o = 0; o < 16; o++) {
        const of = (n: number, p: number) => (n * 16 + o) * 72 + p;
        let mean = 0;
        for (let n = 0; n < 20; n++) for (let p = 0; p < 72; p++) mean += y![of(n, p)]! / 1440;
        for (let n = 0; n < 20; n++)
          for (let p = 0; p < 72; p++) {
            error += (y![of(n, p)]! - z![of(n, p)]!) ** 2;
            power += (y![of(n, p)]! - mean) ** 2;
          }
      }
      expect(1 - error / power).toBeCloseTo(layers[0]!.energy, 2);
    }
  });
});
