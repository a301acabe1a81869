import { expect, test } from 'vitest';
import { cosine, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { buildModel } from '../../ir/builder.js';
import { cloneModel } from '../../ir/walk.js';
import { nodeEngine } from '../../node/engine.js';
import { openSession } from '../../runtime/session.js';
import { storeWeights } from './stored.js';

test('weights become int8 codes that the runtime folds back to float when it loads', async () => {
  const model = buildModel('dense', (b) => {
    const x = b.input('x', 'float', [2, 32]);
    const hidden = b.op('Relu', [b.op('MatMul', [x, b.constant('w1', randomTensor([32, 48], 1))], {}, { name: 'm1' })]);
    b.output(b.op('Gemm', [hidden, b.constant('w2', randomTensor([8, 48], 2))], { transB: 1 }, { name: 'm2' }), 'y');
  });
  const feeds = [{ x: randomTensor([2, 32], 3) }];
  const result = cloneModel(model);
  expect(await storeWeights({ simplify: false }).run(result, await passContext())).toBe(true);
  expect(opCounts(result)).toMatchObject({ Cast: 2, Mul: 2 });
  expect(result.graph.initializers.filter((v) => v.initializer!.dtype === 'int8')).toHaveLength(2);
  expect(cosine(await runModel(model, feeds), await runModel(result, feeds))).toBeGreaterThan(0.999);
  const session = await openSession(await nodeEngine(), result, { threads: 1, profile: true });
  await session.run(feeds[0]!);
  const kernels = (await session.endProfiling()).map((t) => t.opType);
  await session.release();
  expect(kernels).not.toContain('Cast');
  expect(kernels).not.toContain('Mul');
});

test('layers left out keep their float weights', async () => {
  const model = buildModel('dense', (b) => {
    const x = b.input('x', 'float', [2, 32]);
    b.output(b.op('MatMul', [x, b.constant('w1', randomTensor([32, 48], 1))], {}, { name: 'm1' }), 'y');
  });
  const context = await passContext();
  expect(await storeWeights({ simplify: false, exclude: ['m1'] }).run(model, context)).toBe(false);
  expect(context.skipped).toMatchObject([{ node: 'm1' }]);
});
