// Binding arrays to model inputs: names, shapes, types, fixed batches, models without a batch axis; and the data sets made from them.
import { describe, expect, it } from 'vitest';
import { buildModel } from '../ir/builder.js';
import type { DType } from '../ir/dtype.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import type { Shape } from '../ir/type.js';
import { Rng } from '../util/rng.js';
import { arraysDataset } from './arrays.js';
import { convertTensor } from './convert.js';
import type { Batch, Dataset } from './dataset.js';
import { concatDatasets, limitDataset, shuffleDataset, tensorDataset } from './indexed.js';
import { batchPlan, fitDims } from './inputs.js';

const modelOf = (...inputs: [string, DType, Shape | null][]): Model =>
  buildModel('m', (b) => {
    for (const [name, dtype, shape] of inputs) b.output(b.op('Identity', [b.input(name, dtype, shape)], {}, { outputs: [`${name}_out`] }));
  });
const arrays = (entries: Record<string, Tensor>) => new Map(Object.entries(entries));
const count = (dtype: DType, dims: number[]) =>
  Tensor.from(
    dtype,
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => i),
  );
async function all(dataset: Dataset, batchSize: number, limit?: number): Promise<Batch[]> {
  const found: Batch[] = [];
  for await (const batch of dataset.batches({ batchSize, limit })) found.push(batch);
  return found;
}

describe('arraysDataset', () => {
  it('takes any array for a single input, converts uint8 and finds labels', async () => {
    const data = arraysDataset(
      'd',
      arrays({ pixels: count('uint8', [5, 4]), labels: count('int32', [5, 1]) }),
      modelOf(['x', 'float', ['N', 1, 2, 2]]),
    );
    expect([data.size, data.hasLabels, data.fixedBatch]).toEqual([5, true, undefined]);
    const batches = await all(data, 2);
    expect(batches.map((b) => b.size)).toEqual([2, 2, 1]);
    const x = batches[1]!.inputs.x!;
    expect([x.dtype, x.dims, [...x.floats()]]).toEqual(['float', [2, 1, 2, 2], [8, 9, 10, 11, 12, 13, 14, 15]]);
    expect([batches[1]!.labels!.dtype, batches[1]!.labels!.bigints()]).toEqual(['int64', [2n, 3n]]);
    expect((await all(data, 2, 3)).map((b) => b.size)).toEqual([2, 1]);
  });

  it('binds several inputs by name', async () => {
    const model = modelOf(['ids', 'int64', ['b', 's']], ['mask', 'int32', ['b', 's']]);
    const data = arraysDataset('d', arrays({ mask: count('int64', [2, 3]), ids: count('uint16', [2, 3]), y: count('float', [2]) }), model);
    const { inputs, labels } = await data.at([1]);
    expect([inputs.ids!.dtype, inputs.ids!.bigints(), inputs.mask!.dtype]).toEqual(['int64', [3n, 4n, 5n], 'int32']);
    expect([labels!.dtype, [...labels!.floats()]]).toEqual(['float', [1]]);
  });

  it('repeats the last sample where the model has a fixed batch', async () => {
    const data = arraysDataset('d', arrays({ x: count('float', [5, 2]), labels: count('int64', [5]) }), modelOf(['x', 'float', [2, 2]]));
    const batches = await all(data, 64);
    expect(batches.map((b) => [b.size, b.inputs.x!.dims[0], b.labels!.dims[0]])).toEqual([
      [2, 2, 2],
      [2, 2, 2],
      [1, 2, 1],
    ]);
    expect([...batches[2]!.inputs.x!.floats()]).toEqual([8, 9, 8, 9]);
  });

  it('feeds models without a common first axis one sample at a time', async () => {
    const model = modelOf(['input', 'float', ['b', 's']], ['state', 'float', [2, 'b', 3]], ['sr', 'int64', []]);
    expect(batchPlan(model)).toEqual({ kind: 'whole' });
    const data = arraysDataset(
      'd',
      arrays({ input: count('float', [4, 1, 6]), state: count('float', [4, 2, 1, 3]), sr: Tensor.scalar('int64', 16000) }),
      model,
    );
    const [batch] = await all(data, 8, 1);
    expect([batch!.inputs.input!.dims, batch!.inputs.state!.dims, batch!.inputs.sr!.dims, data.size]).toEqual([[1, 6], [2, 1, 3], [], 4]);
  });

  it('says what was expected and what is there', () => {
    const model = modelOf(['pixel_values', 'float', ['N', 3, 4, 4]]);
    const open =
      (entries: Record<string, Tensor>, m = model, options = {}) =>
      () =>
        arraysDataset('d.npz', arrays(entries), m, options);
    expect(open({ a: count('uint8', [2, 4, 4, 3]) })).toThrow(/"pixel_values" float\[N,3,4,4\].*"a" uint8\[2,4,4,3\]/);
    expect(open({ a: count('float', [2, 1]), b: count('float', [2, 1]) })).toThrow(/"a" float\[2,1\], "b" float\[2,1\]/);
    expect(open({ x: count('float', [3, 3, 4, 4]), labels: count('int64', [2]) })).toThrow(/equally many samples/);
    expect(open({ x: count('float', [3, 3, 4, 4]) }, model, { labels: 'classes' })).toThrow(/labels array "classes"/);
    expect(open({ x: count('float', [0, 3, 4, 4]) })).toThrow(/at least one sample/);
    expect(open({ x: Tensor.strings([1, 3, 4, 4], Array(48).fill('a')) })).toThrow(/expected float, got array "x" string/);
    expect(open({ x: count('float', [1, 3, 4, 4]) }, model, { shapes: { y: [1] } })).toThrow(/--shape y/);
    const two = modelOf(['a', 'float', ['N', 2]], ['b', 'float', ['N', 2]]);
    try {
      open({ a: count('float', [2, 2]) }, two)();
      expect.unreachable();
    } catch (error) {
      expect((error as { hint: string }).hint).toMatch(/no array for "b"/);
    }
  });
});

describe('conversion', () => {
  it('follows the rule', () => {
    expect([...convertTensor(Tensor.from('double', [2], [0.5, 2]), 'float16', 'x').floats()]).toEqual([0.5, 2]);
    expect(convertTensor(Tensor.from('float', [2], [3, 4]), 'int64', 'x').bigints()).toEqual([3n, 4n]);
    expect(() => convertTensor(Tensor.from('float', [2], [3, 4.5]), 'int64', 'x')).toThrow(/got 4.5 at element 1/);
    expect(() => convertTensor(Tensor.from('int64', [1], [300]), 'uint8', 'x')).toThrow(/fit uint8, got 300/);
    expect(() => convertTensor(Tensor.from('int32', [1], [2]), 'bool', 'x')).toThrow(/fit bool, got 2/);
  });

  it('adds and drops axes of one but exchanges none', () => {
    expect(fitDims([28, 28], [1, 28, 28])).toEqual([1, 28, 28]);
    expect(fitDims([28, 28, 1], [1, 28, 28])).toEqual([1, 28, 28]);
    expect(fitDims([28, 28], [784])).toEqual([784]);
    expect(fitDims([784], [1, 28, 28])).toEqual([1, 28, 28]);
    expect(fitDims([32, 32, 3], [3, 32, 32])).toBeUndefined();
    expect(fitDims([5], ['T'])).toEqual([5]);
    expect(fitDims([5, 2], ['T', 3])).toBeUndefined();
  });
});

describe('data sets', () => {
  const data = tensorDataset('t', { x: count('float', [6, 2]) }, count('int64', [6]));
  const order = async (d: Dataset) => (await all(d, 4)).flatMap((b) => b.labels!.bigints().map(Number));

  it('shuffles by seed, limits and joins', async () => {
    const one = await order(shuffleDataset(data, new Rng(1)));
    expect(one).toEqual(await order(shuffleDataset(data, new Rng(1))));
    expect(one).not.toEqual([0, 1, 2, 3, 4, 5]);
    expect([...one].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await order(limitDataset(data, 2))).toEqual([0, 1]);
    expect(await order(concatDatasets([limitDataset(data, 2), data]))).toEqual([0, 1, 0, 1, 2, 3, 4, 5]);
  });

  it('gives rows and labels of the same samples', async () => {
    const { inputs, labels } = await data.at([4, 1]);
    expect([[...inputs.x!.floats()], labels!.bigints()]).toEqual([
      [8, 9, 2, 3],
      [4n, 1n],
    ]);
    await expect(data.at([6])).rejects.toThrow(/below 6, got 6/);
    expect(() => tensorDataset('t', { x: count('float', [2]), y: count('float', [3]) })).toThrow(/x: 2, y: 3/);
  });
});
