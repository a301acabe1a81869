// Repairs of static quantization, each on a small model where what it must do is known.
import { describe, expect, it } from 'vitest';
import { feedsDataset, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { inferShapes } from '../../analysis/shapes.js';
import type { Dataset } from '../../data/dataset.js';
import { buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { cloneModel } from '../../ir/walk.js';
import { annotate } from '../../quant/annotate.js';
import { inputLayerReason } from '../../quant/input-layer.js';
import { layoutOf } from '../../quant/layout.js';
import { RUNTIMES } from '../../quant/runtimes.js';
import { groupErrors, leastSquaresWeightRanges } from '../../quant/weight-clipping.js';
import { absorbHighBiases } from './absorb.js';
import { equalize } from './equalize.js';
import { quantizeStatic } from './static.js';

const FEEDS = Array.from({ length: 8 }, (_, i) => ({ x: randomTensor([1, 4, 6, 6], i + 20) }));

/** conv1 -> clamp -> conv2 with channel c of conv1 made 10^-c times as large and read 10^c times as strongly. */
function uneven(clamp: 'Relu' | 'Relu6', group = 1, spread = 10): Model {
  return buildModel('uneven', (b) => {
    const x = b.input('x', 'float', [1, 4, 6, 6]);
    const w1 = randomTensor([4, 4, 1, 1], 1, 0.3).floats().slice();
    const w2 = randomTensor([4, 4 / group, 3, 3], 2, 0.3)
      .floats()
      .slice();
    const perReader = w2.length / 4;
    for (let c = 0; c < 4; c++) {
      const f = spread ** -c;
      for (let i = 0; i < 4; i++) w1[c * 4 + i]! *= f;
      for (let i = 0; i < w2.length; i++) {
        const channel = group === 1 ? Math.floor(i / 9) % 4 : Math.floor(i / perReader);
        if (channel === c) w2[i]! /= f;
      }
    }
    const c1 = b.op(
      'Conv',
      [x, b.constant('w1', Tensor.of('float', [4, 4, 1, 1], w1)), b.constant('b1', randomTensor([4], 5, 1e-4))],
      {},
      { name: 'c1' },
    );
    const a =
      clamp === 'Relu'
        ? b.op('Relu', [c1])
        : b.op('Clip', [
            c1,
            b.constant('lo', Tensor.of('float', [], Float32Array.of(0))),
            b.constant('hi', Tensor.of('float', [], Float32Array.of(6))),
          ]);
    const c2 = b.op(
      'Conv',
      [a, b.constant('w2', Tensor.of('float', [4, 4 / group, 3, 3], w2)), b.constant('b2', randomTensor([4], 6))],
      { group },
      { name: 'c2' },
    );
    b.output(b.op('ReduceMean', [c2, b.ints('axes', [2, 3])], { keepdims: 0 }), 'y');
  });
}

async function outputsOf(model: Model, feeds: Record<string, Tensor>[]): Promise<number[]> {
  return (await runModel(model, feeds)).flatMap((o) => Array.from(o));
}

async function error(
  model: Model,
  options: Parameters<typeof quantizeStatic>[0],
  feeds: Record<string, Tensor>[] = FEEDS,
): Promise<number> {
  const result = cloneModel(model);
  const context = await passContext(feedsDataset(feeds));
  await quantizeStatic(options).run(result, context);
  const [a, b] = [await outputsOf(model, feeds), await outputsOf(result, feeds)];
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(sum / a.length);
}

const PLAIN = { equalize: false, biasCorrection: false, observer: 'minmax' } as const;

function annotated(model: Model) {
  inferShapes(model);
  return annotate(model.graph, {
    runtime: RUNTIMES['ort-x86'],
    select: () => undefined,
    asymmetric: true,
    outputs: false,
    activationProducts: false,
  });
}

describe('equalization', () => {
  it.each([
    ['ReLU', uneven('Relu')],
    ['ReLU6', uneven('Relu6')],
    ['depthwise readers', uneven('Relu', 4)],
  ])('makes channels of uneven size even: %s', async (_, model) => {
    const [without, with_] = [await error(model, PLAIN), await error(model, { ...PLAIN, equalize: true })];
    expect(with_).toBeLessThan(without / 3);
  });

  it('leaves the function as it is, also where a channel is at the bound of a Clip', async () => {
    const model = uneven('Relu6');
    const strong = FEEDS.map(({ x }) => ({
      x: Tensor.of(
        'float',
        x.dims,
        x.floats().map((v) => 30 * v),
      ),
    }));
    const changed = cloneModel(model);
    const context = await passContext(feedsDataset(strong));
    const done = await equalize(changed, annotated(changed), {
      engine: context.engine,
      data: feedsDataset(strong),
      samples: 8,
      activationSteps: 255,
      weightSteps: 254,
      symmetric: false,
      perChannel: true,
    });
    expect(done).toHaveLength(1);
    const [a, b] = [await outputsOf(model, strong), await outputsOf(changed, strong)];
    a.forEach((v, i) => {
      expect(b[i]).toBeCloseTo(v, 2);
    });
  });

  it('SmoothQuant: an outlier channel behind a norm moves into the weights', async () => {
    const model = buildModel('norm', (b) => {
      const x = b.input('x', 'float', [1, 5, 16]);
      const scale = Float32Array.from({ length: 16 }, (_, i) => (i === 3 ? 60 : 1));
      const n = b.op('LayerNormalization', [
        x,
        b.constant('g', Tensor.of('float', [16], scale)),
        b.constant('o', randomTensor([16], 3, 0.1)),
      ]);
      const w = randomTensor([16, 8], 4, 0.2);
      b.output(b.op('ReduceMean', [b.op('MatMul', [n, b.constant('w', w)], {}, { name: 'm' }), b.ints('axes', [1])], { keepdims: 0 }), 'y');
    });
    const feeds = Array.from({ length: 8 }, (_, i) => ({ x: randomTensor([1, 5, 16], 40 + i) }));
    const [without, with_] = [await error(model, PLAIN, feeds), await error(model, { ...PLAIN, equalize: true }, feeds)];
    expect(with_).toBeLessThan(without / 1.5);
  });
});

/** A layer of positive inputs whose weights all round the same way: only the mean moves. */
function biased(samples: number | string = 1): Model {
  return buildModel('biased', (b) => {
    const x = b.input('x', 'float', [samples, 4, 6, 6]);
    const w = Float32Array.from({ length: 64 }, (_, i) => (i % 16 === 0 ? 127 : 10.4 + (Math.floor(i / 16) % 2) * 0.2));
    const c1 = b.op(
      'Conv',
      [b.op('Abs', [x]), b.constant('w', Tensor.of('float', [4, 4, 2, 2], w)), b.constant('b', randomTensor([4], 9))],
      {},
      { name: 'c1' },
    );
    b.output(b.op('ReduceMean', [b.op('Relu', [c1]), b.ints('axes', [2, 3])], { keepdims: 0 }), 'y');
  });
}

describe('bias correction', () => {
  it.each(['empirical', 'analytic'] as const)('%s: takes the shift out that one-sided rounding causes', async (biasMethod) => {
    const [without, with_] = [await error(biased(), PLAIN), await error(biased(), { ...PLAIN, biasCorrection: true, biasMethod })];
    expect(with_).toBeLessThan(without / 3);
  });

  it.each(['empirical', 'analytic'] as const)('%s: counts samples, not batches', async (biasMethod) => {
    const quantized = async (sizes: readonly number[]) => {
      const all = randomTensor([12, 4, 6, 6], 30).floats();
      const data: Dataset = {
        ...feedsDataset([]),
        size: 12,
        async *batches() {
          let at = 0;
          for (const size of sizes) {
            yield { inputs: { x: Tensor.of('float', [size, 4, 6, 6], all.slice(at * 144, (at + size) * 144)) }, size };
            at += size;
          }
        },
      };
      const result = biased('n');
      const context = await passContext(data);
      await quantizeStatic({ ...PLAIN, biasCorrection: true, biasMethod }).run(result, context);
      const layer = result.graph.nodes.find((n) => n.name === 'c1')!;
      return Array.from(layer.input(2)!.producer!.input(0)!.initializer!.numbers(), Number);
    };
    const even = await quantized([4, 4, 4]);
    const uneven = await quantized([8, 3, 1]);
    // Codes of biases: sums in another order may differ in the last place.
    even.forEach((v, i) => {
      expect(Math.abs(uneven[i]! - v)).toBeLessThanOrEqual(1);
    });
  });

  it('absorbs a high bias into the next layer: the function stays, the range shrinks', async () => {
    const model = buildModel('high', (b) => {
      const x = b.input('x', 'float', [1, 4, 6, 6]);
      const bias = Float32Array.of(40, 0, 25, 0);
      const a = b.op('Relu', [
        b.op(
          'Conv',
          [x, b.constant('w1', randomTensor([4, 4, 1, 1], 1)), b.constant('b1', Tensor.of('float', [4], bias))],
          {},
          { name: 'c1' },
        ),
      ]);
      const c2 = b.op(
        'Conv',
        [a, b.constant('w2', randomTensor([4, 4, 3, 3], 2)), b.constant('b2', randomTensor([4], 3))],
        {},
        { name: 'c2' },
      );
      b.output(b.op('ReduceMean', [c2, b.ints('axes', [2, 3])], { keepdims: 0 }), 'y');
    });
    const changed = cloneModel(model);
    const { engine } = await passContext(feedsDataset(FEEDS));
    const done = await absorbHighBiases(changed, annotated(changed), { engine, data: feedsDataset(FEEDS) });
    expect(done).toMatchObject([{ producer: 'c1', readers: ['c2'], channels: 2 }]);
    expect(changed.graph.ownValue('b1')!.initializer!.floats()[0]).toBeLessThan(10);
    const [a, b] = [await outputsOf(model, FEEDS), await outputsOf(changed, FEEDS)];
    a.forEach((v, i) => {
      expect(b[i]).toBeCloseTo(v, 3);
    });
    expect(await error(model, { ...PLAIN, absorbBias: true })).toBeLessThan((await error(model, PLAIN)) / 1.5);
  });
});

describe('weight clipping', () => {
  const scheme = { dtype: 'int4', symmetry: 'symmetric' } as const;

  it('cuts one outlier among many weights, and nothing of an even spread', () => {
    const many = randomTensor([256], 7, 0.1).floats().slice();
    many[0] = 1;
    const layout = layoutOf([256], { kind: 'tensor' });
    const cut = leastSquaresWeightRanges(many, layout, scheme);
    expect(cut.max[0]).toBeLessThan(0.8);
    const whole = { min: Float32Array.of(Math.min(...many)), max: Float32Array.of(1) };
    expect(groupErrors(many, layout, cut, scheme)[0]).toBeLessThan(groupErrors(many, layout, whole, scheme)[0]! * 0.9);
    const even = Float32Array.from({ length: 15 }, (_, i) => (i - 7) / 7);
    expect(leastSquaresWeightRanges(even, layoutOf([15], { kind: 'tensor' }), scheme).max[0]).toBe(1);
  });

  it('searches each channel by itself, on the last axis too', () => {
    const data = randomTensor([64, 2], 8, 0.1).floats().slice();
    data[1] = 2;
    const layout = layoutOf([64, 2], { kind: 'channel', axis: 1 });
    const cut = leastSquaresWeightRanges(data, layout, scheme);
    expect(cut.max[1]).toBeLessThan(2);
    expect(cut.max[1]).toBeGreaterThan(cut.max[0]!);
  });
});

describe('input layer', () => {
  it('stays float where it reads a picture and holds few of the weights; int8 on demand', async () => {
    const model = buildModel('input', (b) => {
      const x = b.input('x', 'float', [1, 3, 6, 6]);
      const first = b.op('Conv', [x, b.constant('w1', randomTensor([4, 3, 1, 1], 1))], {}, { name: 'first' });
      const second = b.op('Conv', [first, b.constant('w2', randomTensor([64, 4, 3, 3], 2))], {}, { name: 'second' });
      b.output(b.op('ReduceMean', [second, b.ints('axes', [2, 3])], { keepdims: 0 }), 'y');
    });
    const [first, second] = ['first', 'second'].map((name) => model.graph.nodes.find((n) => n.name === name)!);
    expect(inputLayerReason(first!)).toMatch(/input of 3 channels/);
    expect(inputLayerReason(second!)).toBeUndefined();
    const feeds = FEEDS.map((_, i) => ({ x: randomTensor([1, 3, 6, 6], i) }));
    const weightOf = async (inputLayer: 'float' | 'int8') => {
      const result = cloneModel(model);
      await quantizeStatic({ inputLayer }).run(result, await passContext(feedsDataset(feeds)));
      return result.graph.nodes.find((n) => n.name === 'first')!.input(1)!.isConstant;
    };
    expect([await weightOf('float'), await weightOf('int8')]).toEqual([true, false]);
  });
});
