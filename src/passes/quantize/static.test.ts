import { describe, expect, it } from 'vitest';
import { cosine, feedsDataset, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { buildModel } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { parseModel } from '../../ir/text.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { quantizeStatic } from './static.js';

const FEEDS = Array.from({ length: 6 }, (_, i) => ({ x: randomTensor([1, 4, 8, 8], i + 10) }));

/** Two convolutions with a residual sum, a pooled head and a dense layer: the shapes of a small ResNet. */
function residual(): Model {
  return buildModel('residual', (b) => {
    const x = b.input('x', 'float', [1, 4, 8, 8]);
    const conv = (input: Value, name: string, seed: number) =>
      b.op(
        'Conv',
        [input, b.constant(`${name}.w`, randomTensor([4, 4, 3, 3], seed, 0.3)), b.constant(`${name}.b`, randomTensor([4], seed + 1))],
        {
          pads: [1, 1, 1, 1],
        },
        { name },
      );
    const a = b.op('Relu', [conv(x, 'c1', 1)]);
    const sum = b.op('Relu', [b.op('Add', [conv(a, 'c2', 3), a])]);
    const pooled = b.op('MaxPool', [sum], { kernel_shape: [2, 2], strides: [2, 2] });
    const flat = b.op('Flatten', [b.op('GlobalAveragePool', [conv(pooled, 'c3', 5)])]);
    b.output(
      b.op(
        'Gemm',
        [flat, b.constant('fc.w', randomTensor([5, 4], 7)), b.constant('fc.b', randomTensor([5], 8))],
        { transB: 1 },
        { name: 'fc' },
      ),
      'y',
    );
  });
}

async function quantized(model: Model, options: Parameters<typeof quantizeStatic>[0] = {}, feeds: Record<string, Tensor>[] = FEEDS) {
  const result = cloneModel(model);
  const context = await passContext(feedsDataset(feeds));
  await quantizeStatic(options).run(result, context);
  verifyModel(result);
  return { result, context };
}

describe('quantizeStatic', () => {
  it('quantizes a residual network end to end: clamps absorbed, one range across MaxPool, float output', async () => {
    const model = residual();
    const { result, context } = await quantized(model);
    const counts = opCounts(result);
    expect(counts.Relu).toBeUndefined();
    expect(context.notes.quantized).toMatchObject({ weights: 4, biases: 4, absorbed: 2, weightOnlyNodes: 0 });
    expect(cosine(await runModel(model, FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.999);
    expect(result.graph.outputs.map((v) => v.name)).toEqual(['y']);
    expect(result.graph.outputs[0]!.producer!.opType).toBe('Gemm');
    const pool = result.graph.nodes.find((n) => n.opType === 'MaxPool')!;
    const scaleIn = pool.input(0)!.producer!.input(1);
    const scaleOut = pool.output().uses[0]!.node.input(1);
    expect(scaleIn).toBe(scaleOut);
    // Biases are counted in steps of data scale times weight scale.
    const conv = result.graph.nodes.find((n) => n.name === 'c2')!;
    const [data, weight, bias] = [0, 1, 2].map((i) => conv.input(i)!.producer!.input(1)!.initializer!.floats());
    expect(Array.from(bias!)).toEqual(Array.from(weight!, (s) => Math.fround(s * data![0]!)));
  });

  it('gives the same bytes at each run', async () => {
    const model = residual();
    const [a, b] = [await quantized(model), await quantized(model)];
    const dump = (m: Model) => m.graph.initializers.map((v) => [v.name, Array.from(v.initializer!.bytes())]);
    expect(dump(a.result)).toEqual(dump(b.result));
  });

  it('leaves what the user excludes float and says so', async () => {
    const { result, context } = await quantized(residual(), { exclude: ['c2'] });
    const conv = result.graph.nodes.find((n) => n.name === 'c2')!;
    expect(conv.input(1)!.isConstant).toBe(true);
    expect(context.skipped).toContainEqual({ node: 'c2', op: 'Conv', reason: 'excluded by "c2"' });
  });

  it('quantizes a weight shared by two nodes once and keeps it shared', async () => {
    const model = buildModel('tied', (b) => {
      const x = b.input('x', 'float', [1, 4, 8, 8]);
      const w = b.constant('w', randomTensor([4, 4, 1, 1], 2));
      const y = b.op('Conv', [b.op('Conv', [x, w], {}, { name: 'a' }), w], {}, { name: 'b' });
      b.output(b.op('ReduceMean', [y, b.ints('axes', [2, 3])], { keepdims: 0 }), 'y');
    });
    const { result } = await quantized(model);
    const [a, b] = ['a', 'b'].map((name) => result.graph.nodes.find((n) => n.name === name)!.input(1));
    expect(a).toBe(b);
    expect(result.graph.initializers.filter((v) => v.initializer!.dtype === 'int8' && v.initializer!.size === 16)).toHaveLength(1);
  });

  it('raises the scale of a channel of zeros so that its bias fits', async () => {
    const weight = randomTensor([4, 4, 1, 1], 2);
    weight.floats().fill(0, 0, 4);
    weight.floats().fill(1e-12, 4, 8);
    const model = buildModel('dead', (b) => {
      const x = b.input('x', 'float', [1, 4, 8, 8]);
      const y = b.op('Conv', [x, b.constant('w', weight), b.constant('b', Tensor.from('float', [4], [0.7, -3, 1, 2]))]);
      b.output(b.op('ReduceMean', [y, b.ints('axes', [2, 3])], { keepdims: 0 }), 'y');
    });
    const { result } = await quantized(model);
    const before = await runModel(model, FEEDS);
    const after = await runModel(result, FEEDS);
    for (const [i, y] of after.entries()) {
      expect(y[0]!).toBeCloseTo(before[i]![0]!, 1);
      expect(y[1]!).toBeCloseTo(before[i]![1]!, 1);
    }
  });

  it('stores only the weight of a convolution whose output is the model output, with the reason', async () => {
    const model = buildModel('head', (b) => {
      const x = b.input('x', 'float', [1, 4, 8, 8]);
      b.output(b.op('Conv', [x, b.constant('w', randomTensor([4, 4, 3, 3], 2))], {}, { name: 'head' }), 'y');
    });
    const { result, context } = await quantized(model);
    expect(opCounts(result)).toEqual({ DequantizeLinear: 1, Conv: 1 });
    expect(context.skipped[0]!.reason).toContain('output of the model');
    const { result: whole } = await quantized(model, { quantizeOutputs: true });
    expect(opCounts(whole).QuantizeLinear).toBe(2);
  });

  it('stores embedding tables by rows, and leaves tied ones float with the reason', async () => {
    const model = (tied: boolean) =>
      buildModel('text', (b) => {
        const table = b.constant('table', randomTensor([40, 32], 3));
        const x = b.op('Gather', [table, b.input('ids', 'int64', [1, 5])]);
        const y = b.op('MatMul', [x, b.constant('w', randomTensor([32, 32], 4))]);
        b.output(tied ? b.op('MatMul', [y, b.op('Transpose', [table], { perm: [1, 0] })]) : y, 'y');
      });
    const feeds = [{ ids: Tensor.from('int64', [1, 5], [3, 39, 0, 7, 7]) }];
    const { result } = await quantized(model(false), {}, feeds);
    expect(result.graph.initializers.some((v) => v.initializer!.dtype === 'float' && v.initializer!.size === 40 * 32)).toBe(false);
    expect(cosine(await runModel(model(false), feeds), await runModel(result, feeds))).toBeGreaterThan(0.999);
    const { context } = await quantized(model(true), { simplify: false }, feeds);
    expect(context.skipped.map((s) => s.reason).join()).toContain('tied weights');
  });

  it('recognises a model that is quantized already, and one with nothing to quantize', async () => {
    const { result, context } = await quantized(residual());
    await expect(quantizeStatic().run(result, context)).rejects.toMatchObject({ code: 'E_NOTHING_TO_DO', kind: 'unsupported' });
    const plain = buildModel('plain', (b) => b.output(b.op('Relu', [b.input('x', 'float', [1, 4, 8, 8])]), 'y'));
    await expect(quantized(plain)).rejects.toMatchObject({ code: 'E_NOTHING_TO_DO' });
  });

  it('warns where one scale serves channels that differ widely', async () => {
    const weight = randomTensor([4, 4, 3, 3], 2, 0.01);
    weight.floats().fill(5, 0, 36);
    const model = buildModel('spread', (b) => {
      const x = b.input('x', 'float', [1, 4, 8, 8]);
      b.output(b.op('GlobalAveragePool', [b.op('Conv', [x, b.constant('w', weight)])]), 'y');
    });
    const { context } = await quantized(model, { perChannel: false });
    expect(context.warnings.map((w) => w.message).join()).toMatch(/one scale although its channels differ by a factor of \d+/);
  });

  it('enters subgraphs: weights there are stored in 8 bits, captured ones stay whole', async () => {
    const model =
      parseModel(`g (float[1,16] x, bool c) => (float[1,16] y) <float[16,16] w = random(0.3), float[16,16] outer = random(0.3)> {
      a = MatMul(x, w)
      y = If(c) <
        then_branch = t () => (float[1,16] r) <float[16,16] inner = random(0.3)> { b = MatMul(a, inner) r = Relu(b) },
        else_branch = e () => (float[1,16] q) { q = MatMul(a, outer) }
      >
    }`);
    const feeds = [0, 1].map((i) => ({ x: randomTensor([1, 16], i), c: new Tensor('bool', [], Uint8Array.from([i])) }));
    const { result, context } = await quantized(model, { simplify: false }, feeds);
    const branch = result.graph.nodes.find((n) => n.opType === 'If')!.subgraph('then_branch')!;
    expect(branch.nodes.map((n) => n.opType)).toEqual(['DequantizeLinear', 'MatMul', 'Relu']);
    expect(branch.initializers.find((v) => v.initializer!.dims.join() === '16,16')!.initializer!.dtype).toBe('int8');
    expect(result.graph.ownValue('outer')!.initializer!.dtype).toBe('float');
    expect(context.skipped.map((s) => s.reason).join()).toContain('inside a subgraph');
    expect(cosine(await runModel(model, feeds), await runModel(result, feeds))).toBeGreaterThan(0.999);
  });
});
