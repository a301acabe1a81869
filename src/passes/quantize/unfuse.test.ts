import { expect, test } from 'vitest';
import { buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { nodeEngine } from '../../node/engine.js';
import { randomFeeds } from '../../runtime/inputs.js';
import { openSession } from '../../runtime/session.js';
import { Rng } from '../../util/rng.js';
import { unfuseConvolutions } from './unfuse.js';

function fused(activation: string, params: number[], withSum = false): Model {
  const rng = new Rng(1);
  const random = (n: number) => Array.from({ length: n }, () => rng.normal());
  return buildModel(
    'fused',
    (b) => {
      const x = b.input('x', 'float', [1, 2, 4, 4]);
      const w = b.floats('w', [2, 2, 3, 3], random(36));
      const attributes = {
        activation,
        pads: [1, 1, 1, 1],
        ...(params.length > 0 ? { activation_params: { type: 'floats' as const, value: params } } : {}),
      };
      const y = b.op('FusedConv', [x, w, b.floats('b', [2], random(2)), withSum ? x : null], attributes, {
        domain: 'com.microsoft',
        name: 'f',
      });
      b.output(y, 'y');
    },
    { opsets: { 'com.microsoft': 1 } },
  );
}

test.each([
  ['Relu', [], false],
  ['Relu', [], true],
  ['LeakyRelu', [0.2], false],
  ['Clip', [-0.5, 0.5], false],
  ['HardSigmoid', [0.2, 0.5], false],
  ['Sigmoid', [], false],
])('%s taken apart computes the same', async (activation, params, withSum) => {
  const model = fused(activation as string, params as number[], withSum as boolean);
  const plain = cloneModel(model);
  expect(unfuseConvolutions(plain)).toBe(1);
  verifyModel(plain);
  expect(plain.graph.nodes.some((n) => n.domain !== '')).toBe(false);
  expect(plain.graph.outputs.map((v) => v.name)).toEqual(['y']);
  const feeds = await randomFeeds(model);
  const engine = await nodeEngine();
  const results: Float32Array[] = [];
  for (const m of [model, plain]) {
    const session = await openSession(engine, m);
    results.push((await session.run(feeds)).y!.floats());
    await session.release();
  }
  results[0]!.forEach((v, i) => {
    expect(results[1]![i]).toBeCloseTo(v, 5);
  });
});
