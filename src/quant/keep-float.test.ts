import { expect, test } from 'vitest';
import { feedsDataset, passContext, randomTensor } from '../../tests/pass-context.js';
import { buildModel } from '../ir/builder.js';
import type { Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { openSession } from '../runtime/session.js';

test('an excluded layer between integer layers is computed in float: the runtime does not round it after all', async () => {
  // Channels of very different size: one scale for the tensor, as the runtime would take, ruins the small ones.
  const sizes = [100, 1, 0.1, 0.05];
  const wide = Tensor.of(
    'float',
    [4, 4, 1, 1],
    randomTensor([4, 4, 1, 1], 2)
      .floats()
      .map((v, i) => v * sizes[i >> 2]!),
  );
  const evened = Tensor.of(
    'float',
    [4, 4, 1, 1],
    randomTensor([4, 4, 1, 1], 3)
      .floats()
      .map((v, i) => v / sizes[i & 3]!),
  );
  const model = buildModel('three', (b) => {
    const conv = (x: Value, name: string, w: Tensor) => b.op('Conv', [x, b.constant(`${name}.w`, w)], {}, { name });
    const x = b.input('x', 'float', [1, 4, 6, 6]);
    const middle = b.op('Relu', [conv(conv(x, 'c1', randomTensor([4, 4, 1, 1], 1)), 'c2', wide)]);
    b.output(b.op('Sigmoid', [conv(middle, 'c3', evened)]), 'y');
  });
  const feeds = Array.from({ length: 4 }, (_, i) => ({ x: randomTensor([1, 4, 6, 6], i + 5) }));
  await quantizeStatic({ exclude: ['c2'], simplify: false }).run(model, await passContext(feedsDataset(feeds)));
  expect(model.graph.nodes.filter((n) => n.opType === 'LeakyRelu')).toHaveLength(1);
  const run = async (optimization: 'all' | 'disabled') => {
    const session = await openSession(await nodeEngine(), model, { threads: 1, optimization });
    const out = Object.values(await session.run(feeds[0]!))[0]!.floats();
    await session.release();
    return out;
  };
  const fused = await run('all');
  const plain = await run('disabled');
  for (let i = 0; i < plain.length; i++) expect(Math.abs(fused[i]! - plain[i]!)).toBeLessThan(0.02);
});
