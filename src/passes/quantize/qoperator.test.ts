import { describe, expect, it } from 'vitest';
import { cosine, feedsDataset, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { buildModel } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { quantizeStatic } from './static.js';

const FEEDS = Array.from({ length: 8 }, (_, i) => ({ x: randomTensor([1, 4, 8, 8], i + 10) }));

/** A depthwise and a dense convolution, sum, product, concatenation, pooling and two matrix products. */
function network(): Model {
  return buildModel('network', (b) => {
    const x = b.input('x', 'float', [1, 4, 8, 8]);
    const conv = (input: Value, name: string, seed: number, group = 1) =>
      b.op(
        'Conv',
        [
          input,
          b.constant(`${name}.w`, randomTensor([4, 4 / group, 3, 3], seed, 0.3)),
          b.constant(`${name}.b`, randomTensor([4], seed + 1)),
        ],
        { pads: [1, 1, 1, 1], group },
        { name },
      );
    const a = b.op('Relu', [conv(x, 'c1', 1)]);
    const deep = conv(a, 'c2', 3, 4);
    const sum = b.op('Add', [deep, a], {}, { name: 'sum' });
    const joined = b.op('Concat', [conv(sum, 'c3', 5), sum], { axis: 1 }, { name: 'joined' });
    const pooled = b.op('MaxPool', [joined], { kernel_shape: [2, 2], strides: [2, 2] }, { name: 'pool' });
    const wide = b.op(
      'Conv',
      [pooled, b.constant('c4.w', randomTensor([6, 8, 1, 1], 15, 0.3)), b.constant('c4.b', randomTensor([6], 16))],
      {},
      { name: 'c4' },
    );
    const flat = b.op('Flatten', [b.op('GlobalAveragePool', [wide], {}, { name: 'gap' })], {}, { name: 'flat' });
    const hidden = b.op('MatMul', [flat, b.constant('m.w', randomTensor([6, 12], 17))], {}, { name: 'm' });
    b.output(
      b.op(
        'Gemm',
        [hidden, b.constant('fc.w', randomTensor([5, 12], 7)), b.constant('fc.b', randomTensor([5], 8))],
        { transB: 1 },
        { name: 'fc' },
      ),
      'y',
    );
  });
}

async function quantized(options: Parameters<typeof quantizeStatic>[0]) {
  const result = cloneModel(network());
  const context = await passContext(feedsDataset(FEEDS));
  await quantizeStatic(options).run(result, context);
  verifyModel(result);
  return { result, context };
}

describe('QOperator form', () => {
  it('has operators on integers from input to output and computes what the Q/DQ form does', async () => {
    const qdq = await quantized({});
    const { result, context } = await quantized({ format: 'qoperator' });
    const counts = opCounts(result);
    expect(counts).toMatchObject({
      QLinearConv: 4,
      QLinearAdd: 1,
      MaxPool: 1,
      QLinearGlobalAveragePool: 1,
      QLinearMatMul: 1,
      QGemm: 1,
      QuantizeLinear: 1,
    });
    expect(counts.DequantizeLinear).toBeUndefined();
    expect(counts.Conv).toBeUndefined();
    expect((counts.Concat ?? 0) + (counts.QLinearConcat ?? 0)).toBe(1);
    expect(context.notes.qoperator).toMatchObject({ QLinearConv: 4, QGemm: 1 });
    expect(result.opsets.get('com.microsoft')).toBe(1);
    const [a, b, float] = [await runModel(qdq.result, FEEDS), await runModel(result, FEEDS), await runModel(network(), FEEDS)];
    expect(cosine(a, b)).toBeGreaterThan(0.9999);
    expect(cosine(float, b)).toBeGreaterThan(0.998);
  });

  it('with int8 activations', async () => {
    const { result } = await quantized({ format: 'qoperator', activations: 'int8' });
    expect(opCounts(result)).toMatchObject({ QLinearConv: 4, QGemm: 1 });
    expect(cosine(await runModel(network(), FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.998);
  });

  it('says what stays in Q/DQ form: weights of 4 bits have no operators', async () => {
    const { result, context } = await quantized({ format: 'qoperator', weightBits: 4 });
    expect(opCounts(result).Conv).toBe(4);
    expect(context.skipped.find((s) => s.node === 'c1')?.reason).toContain('no integer operator for this Conv');
  });

  it('is refused for runtimes and types that have none of it', async () => {
    await expect(quantized({ format: 'qoperator', runtime: 'tensorrt' })).rejects.toMatchObject({ code: 'E_USAGE' });
    await expect(quantized({ format: 'qoperator', activations: 'int16' })).rejects.toMatchObject({ code: 'E_USAGE' });
  });
});
