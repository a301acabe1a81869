import { describe, expect, it } from 'vitest';
import { cosine, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { verifyModel } from '../../ir/verify.js';
import { nodeEngine } from '../../node/engine.js';
import { openSession } from '../../runtime/session.js';
import { unfoldBlocks } from './unfold-blocks.js';
import { quantizeWeights } from './weights.js';

const FEEDS = [1, 2].map((seed) => ({ x: randomTensor([3, 80], seed) }));

const dense = () =>
  buildModel('dense', (b) => {
    const x = b.input('x', 'float', [3, 80]);
    const hidden = b.op('Relu', [b.op('MatMul', [x, b.constant('w1', randomTensor([80, 48], 3))], {}, { name: 'm1' })]);
    b.output(
      b.op(
        'Gemm',
        [hidden, b.constant('w2', randomTensor([40, 48], 4)), b.constant('b2', randomTensor([40], 5))],
        { transB: 1 },
        { name: 'm2' },
      ),
      'y',
    );
  });

const bytesOf = (model: Model) => model.graph.initializers.reduce((n, v) => n + v.initializer!.byteLength, 0);

describe('unfoldBlocks', () => {
  it.each([
    { bits: 2, symmetric: true },
    { bits: 4, symmetric: true },
    { bits: 4, symmetric: false },
    { bits: 8, symmetric: true },
  ] as const)('computes what MatMulNBits does: $bits bits, symmetric $symmetric', async ({ bits, symmetric }) => {
    const model = dense();
    await quantizeWeights({ bits, symmetric, minElements: 16 }).run(model, await passContext());
    const [expected, before] = [await runModel(model, FEEDS), bytesOf(model)];
    expect(opCounts(model).MatMulNBits).toBe(2);
    expect(await unfoldBlocks({}).run(model, await passContext())).toBe(true);
    verifyModel(model);
    expect(opCounts(model).MatMulNBits).toBeUndefined();
    expect(cosine(expected, await runModel(model, FEEDS))).toBeGreaterThan(0.99999);
    // A table and shapes are all that is added.
    expect(bytesOf(model) - before).toBeLessThan(256 * 4 * (8 / bits) * (symmetric ? 1 : 2) + 1200);
  });

  it('is done when the model is loaded: only products and their neighbours are left to run', async () => {
    const model = dense();
    await quantizeWeights({ bits: 4, minElements: 16 }).run(model, await passContext());
    await unfoldBlocks({}).run(model, await passContext());
    const session = await openSession(await nodeEngine(), model, { threads: 1, profile: true });
    await session.run(FEEDS[0]!);
    const kernels = (await session.endProfiling()).map((t) => t.opType);
    await session.release();
    for (const op of ['Cast', 'Gather', 'Reshape', 'Transpose', 'Mul']) expect(kernels).not.toContain(op);
  });
});
