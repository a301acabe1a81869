import { describe, expect, it } from 'vitest';
import { feedsDataset, passContext, randomTensor } from '../../tests/pass-context.js';
import { buildModel } from '../ir/builder.js';
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import { nodeEngine } from '../node/engine.js';
import { encodeModel } from '../onnx/encode.js';
import type { Fusion } from '../pass/record.js';
import { quantizeDynamic } from '../passes/quantize/dynamic.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { fusionOf } from './fusion.js';

const FEEDS = Array.from({ length: 4 }, (_, i) => ({ x: randomTensor([1, 4, 8, 8], i + 10) }));

function network(): Model {
  return buildModel('network', (b) => {
    const x = b.input('x', 'float', [1, 4, 8, 8]);
    const conv = (input: Value, name: string, seed: number) =>
      b.op(
        'Conv',
        [input, b.constant(`${name}.w`, randomTensor([4, 4, 3, 3], seed)), b.constant(`${name}.b`, randomTensor([4], seed + 1))],
        { pads: [1, 1, 1, 1] },
        { name },
      );
    const sum = b.op('Add', [conv(conv(x, 'c1', 1), 'c2', 3), x], {}, { name: 'sum' });
    const flat = b.op('Flatten', [b.op('GlobalAveragePool', [conv(sum, 'c3', 5)], {}, { name: 'gap' })], {}, { name: 'flat' });
    b.output(b.op('MatMul', [flat, b.constant('w', randomTensor([4, 8], 7))], {}, { name: 'product' }), 'y');
  });
}

async function fusion(model: Model): Promise<Fusion> {
  const found = await fusionOf(await nodeEngine(), model, { bytes: encodeModel(model).bytes }, { session: { threads: 1 } });
  return found!;
}

async function quantized(options: Parameters<typeof quantizeStatic>[0] = {}): Promise<{ model: Model; node(name: string): Node }> {
  const model = cloneModel(network());
  await quantizeStatic(options).run(model, await passContext(feedsDataset(FEEDS)));
  return { model, node: (name) => model.graph.nodes.find((n) => n.name === name)! };
}

const reason = async (model: Model, node: string) => (await fusion(model)).unfused.find((u) => u.node === node)?.reason;

describe('what the runtime fuses', () => {
  it('is all of what static quantization writes', async () => {
    const { model } = await quantized();
    const { kernels, unfused } = await fusion(model);
    expect(unfused).toEqual([]);
    expect(kernels).toMatchObject({ QLinearConv: 3, QLinearAdd: 1, QLinearGlobalAveragePool: 1 });
  });

  it('is nothing between 16-bit values', async () => {
    const { model } = await quantized({ activations: 'int16' });
    expect(await reason(model, 'c2')).toMatch(/its operand .* is int16: integer kernels take 8 bits/);
  });

  it('needs the result in integers only', async () => {
    const { model, node } = await quantized();
    model.graph.addOutput(node('c1').output());
    expect(await reason(model, 'c1')).toMatch(/is an output of the model and stays float/);
    const other = await quantized();
    const reader = other.model.graph.addNode({ opType: 'Exp', name: 'reader', inputs: [other.node('c3').output()], outputs: ['e'] });
    other.model.graph.addOutput(reader.output());
    expect(await reason(other.model, 'c3')).toMatch(/is read in float by .*reader/);
  });

  it('needs biases in int32 and all operands in 8 bits', async () => {
    const bias = await quantized();
    // A constant the runtime would round by itself.
    const { graph } = bias.model;
    const axes = graph.addInitializer('axes', Tensor.from('int64', [3], [0, 2, 3]));
    const mean = graph.addNode(
      { opType: 'ReduceMean', inputs: [graph.inputs[0]!, axes], outputs: ['mean'], attributes: { keepdims: 0 } },
      graph.nodes[0]!,
    );
    bias.node('c2').setInput(2, mean.output());
    expect(await reason(bias.model, 'c2')).toMatch(/its bias is float: the kernel takes int32/);
    const sum = await quantized();
    sum.node('sum').setInput(1, sum.model.graph.addInitializer('float_addend', Tensor.of('float', [1], Float32Array.of(2))));
    expect(await reason(sum.model, 'sum')).toBe('its operand float_addend is float: all operands must come from DequantizeLinear');
    const small = await quantized({ weightBits: 4 });
    expect(await reason(small.model, 'c2')).toBe('its weight is int4: integer kernels take 8 bits');
  });

  it('needs a zero point for the weight of a Gemm', async () => {
    const model = buildModel('dense', (b) => {
      const x = b.input('x', 'float', [2, 32]);
      b.output(
        b.op(
          'Gemm',
          [x, b.constant('w', randomTensor([8, 32], 1)), b.constant('b', randomTensor([8], 2))],
          { transB: 1 },
          { name: 'dense' },
        ),
        'y',
      );
    });
    await quantizeStatic({}).run(model, await passContext(feedsDataset([{ x: randomTensor([2, 32], 3) }])));
    expect((await fusion(model)).kernels).toEqual({ QGemm: 1 });
    model.graph.nodes
      .find((n) => n.name === 'dense')!
      .input(1)!
      .producer!.setInput(2, null);
    expect(await reason(model, 'dense')).toMatch(/has no zero point: Gemm is fused only with one/);
  });

  it('of dynamic quantization is the product with its scaling, unless the sums are read elsewhere', async () => {
    const build = async () => {
      const model = buildModel('product', (b) => {
        const x = b.input('x', 'float', [2, 32]);
        b.output(b.op('MatMul', [x, b.constant('w', randomTensor([32, 48], 1))], {}, { name: 'm' }), 'y');
      });
      await quantizeDynamic({}).run(model, await passContext());
      return model;
    };
    const { kernels, unfused } = await fusion(await build());
    expect(unfused).toEqual([]);
    expect(Object.values(kernels).reduce((a, b) => a + b, 0)).toBe(1);
    const read = await build();
    const sums = read.graph.nodes.find((n) => n.opType === 'MatMulInteger')!;
    read.graph.addOutput(read.graph.addNode({ opType: 'Neg', inputs: [sums.output()], outputs: ['n'] }).output());
    expect(await reason(read, sums.name)).toBe('its sums are read by something else than one Cast');
  });

  it('does not name layers that were left float on purpose', async () => {
    const { model } = await quantized({ exclude: ['c2'] });
    const { kernels, unfused } = await fusion(model);
    expect(kernels).toMatchObject({ QLinearConv: 2 });
    expect(unfused.map((u) => u.node)).not.toContain('c2');
  });

  it('is not asked of float models', async () => {
    const model = network();
    expect(await fusionOf(await nodeEngine(), model, { bytes: encodeModel(model).bytes }, {})).toBeUndefined();
  });
});
