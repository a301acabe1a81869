import { expect, test } from 'vitest';
import { feedsDataset, passContext, randomTensor } from '../../tests/pass-context.js';
import { inferShapes } from '../analysis/shapes.js';
import { buildModel } from '../ir/builder.js';
import type { Value } from '../ir/graph.js';
import { cloneModel } from '../ir/walk.js';
import { nodeEngine } from '../node/engine.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { timeLayersAlone } from './layer-times.js';

test('layers are timed alone, in float and from codes to codes, those of one form once', async () => {
  const engine = await nodeEngine();
  const model = buildModel('network', (b) => {
    const conv = (x: Value, name: string, seed: number, kernel: number) =>
      b.op(
        'Conv',
        [
          x,
          b.constant(`${name}.w`, randomTensor([16, 16, kernel, kernel], seed, 0.2)),
          b.constant(`${name}.b`, randomTensor([16], seed + 1)),
        ],
        { pads: kernel === 3 ? [1, 1, 1, 1] : [0, 0, 0, 0] },
        { name },
      );
    const x = b.input('x', 'float', ['N', 16, 24, 24]);
    const a = conv(conv(x, 'c1', 1, 3), 'c2', 3, 3);
    const sum = b.op('Add', [conv(a, 'c3', 5, 1), a], {}, { name: 'sum' });
    const pooled = b.op('Flatten', [b.op('GlobalAveragePool', [conv(sum, 'c4', 7, 3)], {}, { name: 'pool' })], {}, { name: 'flat' });
    b.output(
      b.op(
        'Gemm',
        [pooled, b.constant('w', randomTensor([10, 16], 9)), b.constant('b', randomTensor([10], 10))],
        { transB: 1 },
        { name: 'fc' },
      ),
      'y',
    );
  });
  const quantized = cloneModel(model);
  const feeds = Array.from({ length: 4 }, (_, i) => ({ x: randomTensor([1, 16, 24, 24], 20 + i) }));
  await quantizeStatic({}).run(quantized, await passContext(feedsDataset(feeds)));
  inferShapes(model);
  const loads: number[] = [];
  const counting: typeof engine = {
    ...engine,
    load: (source, options) => {
      loads.push('bytes' in source ? source.bytes.length : 0);
      return engine.load(source, options);
    },
  };
  const names = new Set(['c1', 'c2', 'c3', 'c4', 'sum', 'pool', 'fc']);
  const { float, integer, borderNs } = await timeLayersAlone(model, quantized, names, { engine: counting, session: { threads: 1 } });
  expect(new Set(float.keys())).toEqual(names);
  expect(new Set(integer.keys())).toEqual(names);
  for (const ms of [...float.values(), ...integer.values()]) expect(ms).toBeGreaterThan(0);
  // c1, c2 and c4 are of one form: one pair of sessions for the three, c3, sum, pool, fc, and one for the border.
  expect(loads).toHaveLength(12);
  expect(float.get('c1')).toBe(float.get('c4'));
  // A 3x3 convolution is nine times the work of a 1x1 one.
  expect(float.get('c1')!).toBeGreaterThan(float.get('c3')!);
  expect(borderNs).toBeGreaterThan(0);
});
