// Adapters change nothing until they are trained, learn alone, travel apart from the model, and merge into float and 4-bit weights.
import { beforeAll, expect, test } from 'vitest';
import { opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { trainableParameters } from '../../analysis/trainable.js';
import { indexedDataset } from '../../data/indexed.js';
import { trainingData } from '../../data/training.js';
import { buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { nodeEngine } from '../../node/engine.js';
import { decodeModel } from '../../onnx/decode.js';
import { encodeModel } from '../../onnx/encode.js';
import { openSession } from '../../runtime/session.js';
import { lossObjective } from '../../train/objective.js';
import { adam } from '../../train/optimizers/rules.js';
import { train } from '../../train/trainer.js';
import { quantizeWeights } from '../quantize/weights.js';
import { adapterFeeds, addAdapters, applyAdapters } from './add.js';
import { decodeAdapters, encodeAdapters, readAdapters } from './file.js';
import { findAdapters } from './find.js';
import { mergeAdapters } from './merge.js';

const base = buildModel('base', (b) => {
  const x = b.input('x', 'float', ['N', 32]);
  const h = b.op('Add', [
    b.op('MatMul', [x, b.constant('w1', randomTensor([32, 48], 1, 0.2))], {}, { name: 'up' }),
    b.constant('b1', randomTensor([48], 2)),
  ]);
  const g = b.op(
    'Gemm',
    [b.op('Relu', [h]), b.constant('w2', randomTensor([32, 48], 3, 0.2))],
    { transB: 1, alpha: { type: 'float', value: 0.5 } },
    { name: 'middle' },
  );
  b.output(b.op('MatMul', [b.op('Tanh', [g]), b.constant('w3', randomTensor([32, 4], 4, 0.3))], {}, { name: 'head' }), 'y');
});
const feeds = [{ x: randomTensor([6, 32], 9) }];

let low: Model;
beforeAll(async () => {
  low = cloneModel(base);
  await quantizeWeights({ bits: 4, minElements: 64, exclude: ['head'] }).run(low, await passContext());
});

async function adapted(model: Model, options: Parameters<typeof addAdapters>[0] = { rank: 4, alpha: 8 }): Promise<Model> {
  const copy = cloneModel(model);
  await addAdapters(options).run(copy, await passContext());
  verifyModel(copy);
  return copy;
}

/** Some steps of training on targets that the model does not meet. */
async function trained(model: Model): Promise<Model> {
  const x = randomTensor([64, 32], 20);
  const target = randomTensor([64, 4], 21);
  const rows = (t: Tensor, indices: readonly number[]) => {
    const width = t.dims[1]!;
    return Tensor.of(
      'float',
      [indices.length, width],
      Float32Array.from(indices.flatMap((i) => [...t.floats().subarray(i * width, (i + 1) * width)])),
    );
  };
  const data = trainingData(
    indexedDataset({
      name: 'rows',
      size: 64,
      hasLabels: true,
      load: async (indices) => ({ inputs: { x: rows(x, indices) }, labels: rows(target, indices) }),
    }),
  );
  const result = await train({
    engine: await nodeEngine(),
    model,
    data,
    objective: lossObjective('mse'),
    rule: adam(),
    schedule: () => 0.02,
    epochs: 12,
    batchSize: 32,
    seed: 1,
    session: { threads: 1 },
  });
  expect(result.curve.at(-1)!.loss).toBeLessThan(0.8 * result.curve[0]!.loss);
  expect([...result.parameters].every((name) => /\.lora_[ab]$/.test(name))).toBe(true);
  return result.model;
}

function largest(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);
}

test.each(['float', '4-bit'] as const)('%s weights: start as they are, train, merge, apply apart, swap at run time', async (kind) => {
  const model = kind === 'float' ? base : low;
  expect(opCounts(model).MatMulNBits ?? 0).toBe(kind === 'float' ? 0 : 2);
  const [before] = await runModel(model, feeds);
  const fresh = await adapted(model);
  expect(trainableParameters(fresh).map((v) => v.name)).toEqual(
    ['up', 'middle', 'head'].flatMap((layer) => [`${layer}.lora_a`, `${layer}.lora_b`]),
  );
  expect(largest((await runModel(fresh, feeds))[0]!, before!)).toBe(0);

  const learnt = await trained(fresh);
  const [after] = await runModel(learnt, feeds);
  expect(largest(after!, before!)).toBeGreaterThan(0.05);

  const merged = cloneModel(learnt);
  await mergeAdapters().run(merged, await passContext());
  verifyModel(merged);
  expect(findAdapters(merged)).toEqual([]);
  const { MatMulNBits = 0, MatMul = 0, ...others } = opCounts(model);
  expect(opCounts(merged)).toEqual({ ...others, MatMul: MatMul + MatMulNBits });
  expect(merged.graph.outputs.map((v) => v.name)).toEqual(['y']);
  expect(trainableParameters(merged).length).toBe(trainableParameters(base).length);
  expect(largest((await runModel(merged, feeds))[0]!, after!)).toBeLessThan(1e-4);

  const file = decodeAdapters(encodeAdapters(readAdapters(learnt)));
  const again = cloneModel(model);
  applyAdapters(again, file);
  expect(largest((await runModel(again, feeds))[0]!, after!)).toBeLessThan(1e-6);

  const swapping = cloneModel(model);
  applyAdapters(swapping, readAdapters(fresh), { asInputs: true });
  const session = await openSession(await nodeEngine(), decodeModel(encodeModel(swapping).bytes), { threads: 1 });
  expect(largest((await session.run({ ...feeds[0]!, ...adapterFeeds(readAdapters(fresh)) })).y!.floats(), before!)).toBe(0);
  expect(largest((await session.run({ ...feeds[0]!, ...adapterFeeds(file) })).y!.floats(), after!)).toBeLessThan(1e-5);
  await session.release();
});

test('chosen layers only; what does not fit is refused', async () => {
  const model = await adapted(base, { rank: 2, only: ['up', 'head'], exclude: ['head'] });
  expect(findAdapters(model).map((a) => [a.layer, a.k, a.n])).toEqual([['up', 32, 48]]);
  const file = readAdapters(model);
  expect(() => applyAdapters(model, file)).toThrow('without adapters');
  const other = buildModel('other', (b) => {
    const x = b.input('x', 'float', ['N', 16]);
    b.output(b.op('MatMul', [x, b.constant('w', randomTensor([16, 48], 1))], {}, { name: 'up' }), 'y');
  });
  expect(() => applyAdapters(other, file)).toThrow('expected 16 inputs and 48 outputs, got 32 and 48');
  expect(() => applyAdapters(other, { ...file, layers: new Map([['elsewhere', file.layers.get('up')!]]) })).toThrow('called elsewhere');
  await expect(mergeAdapters().run(cloneModel(base), await passContext())).rejects.toMatchObject({ code: 'E_NOTHING_TO_DO' });
  expect(() => decodeAdapters(new Uint8Array(20))).toThrow(/adapter/);
});
