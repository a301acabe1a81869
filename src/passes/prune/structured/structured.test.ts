// Structured pruning beyond the laws: hidden units of an LSTM, residual blocks, budgets, importances of the caller's own, repair by least squares.
import { expect, test } from 'vitest';
import { passContext, randomTensor, runModel } from '../../../../tests/pass-context.js';
import { channelGroups } from '../../../analysis/channel-groups.js';
import { modelCost } from '../../../analysis/cost.js';
import { inferShapes } from '../../../analysis/shapes.js';
import type { Dataset } from '../../../data/dataset.js';
import { buildModel } from '../../../ir/builder.js';
import type { Model } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import { verifyModel } from '../../../ir/verify.js';
import { cloneModel } from '../../../ir/walk.js';
import { removeBlocks, residualBlocks } from './blocks.js';
import { pruneModel, structuredOptions } from './index.js';
import { removeByName } from './remove.js';

const HIDDEN = 6;

test('hidden units of an LSTM that are zero go without a trace', async () => {
  const gone = [1, 4];
  const zeroed = (dims: readonly number[], seed: number) => {
    const t = randomTensor(dims, seed, 0.5);
    const values = t.floats().slice();
    const inner = dims.slice(2).reduce((a, b) => a * b, 1);
    for (let row = 0; row < dims[1]!; row++) if (gone.includes(row % HIDDEN)) values.fill(0, row * inner, (row + 1) * inner);
    return Tensor.of('float', dims, values);
  };
  const model = buildModel('lstm', (b) => {
    const x = b.input('x', 'float', ['seq', 'batch', 3]);
    const w = b.constant('w', zeroed([1, 4 * HIDDEN, 3], 1));
    const r = b.constant('r', zeroed([1, 4 * HIDDEN, HIDDEN], 2));
    const bias = b.constant('b', zeroed([1, 8 * HIDDEN], 3));
    const y = b.op('LSTM', [x, w, r, bias], { hidden_size: HIDDEN });
    const flat = b.op('Squeeze', [y, b.ints('one', [1])]);
    b.output(b.op('MatMul', [flat, b.constant('head', randomTensor([HIDDEN, 2], 4))]), 'y');
  });
  inferShapes(model);
  const { groups } = channelGroups(model);
  expect(groups.map((g) => g.size)).toEqual([HIDDEN]);
  const pruned = cloneModel(model);
  await removeByName(pruned, new Map([[groups[0]!, gone]]));
  verifyModel(pruned);
  expect(pruned.graph.nodes.find((n) => n.opType === 'LSTM')!.int('hidden_size')).toBe(HIDDEN - gone.length);
  const feeds = [{ x: randomTensor([5, 2, 3], 7) }];
  const [before] = await runModel(model, feeds);
  const [after] = await runModel(pruned, feeds);
  after!.forEach((v, i) => {
    expect(v).toBeCloseTo(before![i]!, 5);
  });
});

/** Three residual blocks of two products each. */
function residual(width = 8, inner = 16): Model {
  return buildModel('residual', (b) => {
    let x = b.op('MatMul', [b.input('x', 'float', ['N', 4]), b.constant('in', randomTensor([4, width], 1, 0.5))]);
    for (let i = 0; i < 3; i++) {
      const h = b.op('Relu', [
        b.op('MatMul', [x, b.constant(`up${i}`, randomTensor([width, inner], 10 + i, 0.3))], {}, { name: `up${i}` }),
      ]);
      const f = b.op('MatMul', [h, b.constant(`down${i}`, randomTensor([inner, width], 20 + i, 0.3))], {}, { name: `down${i}` });
      x = b.op('Add', [x, f], {}, { name: `sum${i}` });
    }
    b.output(b.op('MatMul', [x, b.constant('out', randomTensor([width, 3], 5))]), 'y');
  });
}

test('residual blocks are found and taken out', async () => {
  const model = residual();
  inferShapes(model);
  expect(residualBlocks(model).map((b) => b.name)).toEqual(['sum0', 'sum1', 'sum2']);
  removeBlocks(model, ['sum1']);
  verifyModel(model);
  expect(model.graph.ownValue('up1')).toBeUndefined();
  expect(model.graph.nodes.filter((n) => n.opType === 'MatMul')).toHaveLength(6);
  const [y] = await runModel(model, [{ x: randomTensor([2, 4], 3) }]);
  expect(y).toHaveLength(6);
  expect(() => removeBlocks(model, ['sum9'])).toThrow(/expected one of sum0, sum2, got sum9/);
});

test('an importance of the caller decides which units stay', async () => {
  const model = residual();
  const options = structuredOptions.parse({ sparsity: 0.5, inner: true });
  const kept = Array.from({ length: 16 }, (_, u) => u).filter((u) => u % 2 === 1);
  const before = model.graph.ownValue('up0')!.initializer!.floats().slice();
  await pruneModel(model, options, await passContext(), (group) => Array.from({ length: group.size }, (_, u) => u % 2));
  const up = model.graph.ownValue('up0')!.initializer!;
  expect(up.dims).toEqual([8, 8]);
  expect(Array.from(up.floats().subarray(0, 8))).toEqual(kept.map((u) => before[u]!));
  expect(model.graph.ownValue('in')!.initializer!.dims).toEqual([4, 8]);
});

test('budgets are met, or refused with what is possible', async () => {
  const model = residual(16, 64);
  const whole = modelCost(model).macs;
  await pruneModel(model, structuredOptions.parse({ targetMacs: '0.5', scope: 'global', importance: 'l1' }), await passContext());
  expect(modelCost(model).macs / whole).toBeCloseTo(0.5, 1);
  await expect(pruneModel(residual(), structuredOptions.parse({ targetMacs: 0.001 }), await passContext())).rejects.toMatchObject({
    code: 'E_QUALITY',
  });
  await expect(pruneModel(residual(), structuredOptions.parse({}), await passContext())).rejects.toMatchObject({ code: 'E_USAGE' });
});

test('least squares makes good what redundant units carried', async () => {
  const rows = randomTensor([256, 4], 11);
  const data: Dataset = {
    name: 'rows',
    size: 256,
    hasLabels: false,
    synthetic: true,
    async *batches() {
      yield { inputs: { x: rows }, size: 256 };
    },
  };
  const error = async (reconstruct: boolean) => {
    const model = residual();
    const [wanted] = await runModel(model, [{ x: rows }]);
    await pruneModel(model, structuredOptions.parse({ sparsity: 0.4, inner: true, reconstruct, damping: 1e-4 }), await passContext(data));
    const [got] = await runModel(model, [{ x: rows }]);
    return got!.reduce((sum, v, i) => sum + (v - wanted![i]!) ** 2, 0);
  };
  expect(await error(true)).toBeLessThan(0.5 * (await error(false)));
});
