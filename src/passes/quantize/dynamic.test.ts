import { describe, expect, it } from 'vitest';
import { cosine, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { Builder, buildModel } from '../../ir/builder.js';
import { Graph } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel, walkNodes } from '../../ir/walk.js';
import { quantizeDynamic } from './dynamic.js';

async function quantized(model: Model, options: Parameters<typeof quantizeDynamic>[0] = {}) {
  const result = cloneModel(model);
  const context = await passContext();
  await quantizeDynamic({ minElements: 16, ...options }).run(result, context);
  verifyModel(result);
  return { result, context };
}

const FEEDS = [1, 2, 3].map((seed) => ({ x: randomTensor([1, 6, 16], seed) }));
const constantBytes = (model: Model) => model.graph.initializers.reduce((n, v) => n + v.initializer!.byteLength, 0);

describe('quantizeDynamic', () => {
  it('quantizes MatMul and Gemm, one quantized activation for all its readers', async () => {
    const model = buildModel('products', (b) => {
      const x = b.input('x', 'float', [1, 6, 16]);
      const heads = ['q', 'k', 'v'].map((name, i) => b.op('MatMul', [x, b.constant(name, randomTensor([16, 24], i + 5))]));
      const sum = b.op('Reshape', [b.op('Sum', heads), b.ints('shape', [6, 24])]);
      const bias = b.constant('bias', randomTensor([8], 9));
      b.output(
        b.op('Gemm', [sum, b.constant('w', randomTensor([8, 24], 8)), bias], { transB: 1, alpha: { type: 'float', value: 0.5 } }),
        'y',
      );
    });
    const { result } = await quantized(model);
    expect(opCounts(result)).toMatchObject({ DynamicQuantizeLinear: 2, MatMulInteger: 4 });
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.9995);
  });

  it('is exact to the rounding of weights and activations that one channel of ones shows', async () => {
    const model = buildModel('one', (b) => {
      const x = b.input('x', 'float', [1, 6, 16]);
      b.output(b.op('MatMul', [x, b.constant('w', Tensor.from('float', [16, 2], new Array(32).fill(1)))]), 'y');
    });
    const { result } = await quantized(model);
    const [before, after] = [await runModel(model, FEEDS), await runModel(result, FEEDS)];
    before.forEach((y, i) => {
      const x = FEEDS[i]!.x.floats();
      const step = (Math.max(...x) - Math.min(...x)) / 255;
      y.forEach((v, j) => {
        expect(Math.abs(v - after[i]![j]!)).toBeLessThan(16 * step);
      });
    });
  });

  it('keeps a tied embedding tied: one int8 table serves the lookup and the product', async () => {
    const model = buildModel('tied', (b) => {
      const ids = b.input('ids', 'int64', [1, 5]);
      const table = b.constant('table', randomTensor([40, 16], 3));
      const x = b.op('Gather', [table, ids]);
      b.output(b.op('MatMul', [x, b.op('Transpose', [table], { perm: [1, 0] })]), 'y');
    });
    const { result } = await quantized(model, { simplify: false });
    const feeds = [{ ids: Tensor.from('int64', [1, 5], [3, 39, 0, 7, 7]) }];
    expect(constantBytes(result)).toBeLessThan(40 * 16 + 40 * 4 + 64);
    expect(cosine(await runModel(model, feeds), await runModel(result, feeds))).toBeGreaterThan(0.9995);
  });

  it('lets float readers that are left read the quantized constant, so that it is stored once', async () => {
    const model = buildModel('left', (b) => {
      const x = b.input('x', 'float', [1, 6, 16]);
      const w = b.constant('w', randomTensor([16, 16], 3));
      b.output(b.op('Add', [b.op('MatMul', [x, w]), b.op('ReduceSum', [w])]), 'y');
    });
    const { result } = await quantized(model, { simplify: false });
    expect(result.graph.initializers.some((v) => v.initializer!.dtype === 'float' && v.initializer!.size === 256)).toBe(false);
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.999);
  });

  it('turns LSTM into DynamicQuantizeLSTM, inside If too', async () => {
    const lstm = (b: Builder, x: Parameters<Builder['op']>[1][number]) =>
      b.op('LSTM', [x, b.constant('w', randomTensor([1, 32, 16], 4, 0.3)), b.constant('r', randomTensor([1, 32, 8], 5, 0.3))], {
        hidden_size: 8,
      });
    const model = buildModel('branches', (b) => {
      const x = b.input('x', 'float', [1, 6, 16]);
      const branch = (name: string, fill: (inner: Builder) => void) => {
        const graph = new Graph(name, b.graph);
        fill(new Builder(graph));
        return { type: 'graph', value: graph } as const;
      };
      const condition = b.op('Greater', [b.op('ReduceMax', [x], { keepdims: 0 }), b.scalar('limit', 'float', -100)]);
      const y = b.op('If', [condition], {
        then_branch: branch('then', (inner) => inner.output(lstm(inner, x))),
        else_branch: branch('else', (inner) => inner.output(inner.op('Unsqueeze', [b.graph.inputs[0]!, inner.ints('axis', [1])]))),
      });
      b.output(b.op('ReduceMean', [y, b.ints('axes', [0])], { keepdims: 0 }), 'y');
    });
    const { result, context } = await quantized(model);
    expect([...walkNodes(result.graph)].some((n) => n.opType === 'DynamicQuantizeLSTM')).toBe(true);
    expect(result.opsets.get('com.microsoft')).toBe(1);
    expect(context.notes.quantized).toEqual({ LSTM: 1 });
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.999);
  });

  const convolution = () =>
    buildModel('conv', (b) => {
      const x = b.input('x', 'float', [1, 4, 9, 9]);
      const y = b.op('Conv', [x, b.constant('w', randomTensor([4, 2, 3, 3], 2)), b.constant('b', randomTensor([4], 3))], {
        group: 2,
        strides: [2, 2],
      });
      b.output(y, 'y');
    });
  const images = [{ x: randomTensor([1, 4, 9, 9], 8) }];

  it('stores weights of convolutions in 8 bits that the runtime folds at load', async () => {
    const model = convolution();
    const { result, context } = await quantized(model);
    expect(opCounts(result)).toEqual({ Cast: 1, Mul: 1, Conv: 1 });
    expect(result.graph.initializers.find((v) => v.initializer!.size === 72)?.initializer?.dtype).toBe('int8');
    expect(context.notes.quantized).toEqual({ Conv: 1 });
    expect(cosine(await runModel(model, images), await runModel(result, images))).toBeGreaterThan(0.9999);
  });

  it('leaves convolutions float with a reason where that is asked for', async () => {
    await expect(quantized(convolution(), { others: false })).rejects.toMatchObject({
      code: 'E_NOTHING_TO_DO',
      message: expect.stringContaining('ConvInteger is slower'),
    });
  });

  it('writes ConvInteger with unsigned weights per channel', async () => {
    const model = convolution();
    const { result } = await quantized(model, { conv: 'integer' });
    expect(result.graph.initializers.some((v) => v.initializer!.dtype === 'uint8' && v.initializer!.size === 72)).toBe(true);
    expect(cosine(await runModel(model, images), await runModel(result, images))).toBeGreaterThan(0.999);
  });

  it('stores both weights of a GRU of two directions with a scale per gate row', async () => {
    const model = buildModel('gru', (b) => {
      const x = b.input('x', 'float', [5, 1, 16]);
      const w = b.constant('w', randomTensor([2, 24, 16], 4, 0.3));
      const r = b.constant('r', randomTensor([2, 24, 8], 5, 0.3));
      const forward = b.op('GRU', [x, w, r], { hidden_size: 8, direction: 'bidirectional' });
      const again = b.op('GRU', [b.op('Neg', [x]), w, r], { hidden_size: 8, direction: 'bidirectional' });
      b.output(b.op('Add', [forward, again]), 'y');
    });
    const { result, context } = await quantized(model, { simplify: false });
    expect(context.notes.quantized).toEqual({ GRU: 2 });
    const codes = result.graph.initializers.filter((v) => v.initializer!.dtype === 'int8').map((v) => v.initializer!.dims);
    expect(codes).toEqual([
      [2, 24, 16],
      [2, 24, 8],
    ]);
    const sounds = [{ x: randomTensor([5, 1, 16], 8) }];
    expect(cosine(await runModel(model, sounds), await runModel(result, sounds))).toBeGreaterThan(0.9995);
  });

  it('leaves a weight with infinite numbers float', async () => {
    const model = buildModel('infinite', (b) => {
      const w = randomTensor([16, 16], 3);
      w.floats()[5] = Number.NEGATIVE_INFINITY;
      const y = b.op('MatMul', [b.input('x', 'float', [1, 6, 16]), b.constant('w', w)]);
      b.output(b.op('MatMul', [y, b.constant('v', randomTensor([16, 16], 4))]), 'y');
    });
    const { context } = await quantized(model);
    expect(context.skipped.map((s) => s.reason)).toEqual(['its weight holds infinite numbers']);
  });
});
