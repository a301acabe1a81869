import { describe, expect, it } from 'vitest';
import { cosine, feedsDataset, passContext, randomTensor, runModel } from '../../tests/pass-context.js';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import { verifyModel } from '../ir/verify.js';
import { cloneModel } from '../ir/walk.js';
import { nodeEngine } from '../node/engine.js';
import { quantizeDynamic } from '../passes/quantize/dynamic.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { openSession } from '../runtime/session.js';
import { RUNTIME_NAMES, RUNTIMES } from './runtimes.js';

const FEEDS = Array.from({ length: 8 }, (_, i) => ({ x: randomTensor([1, 4, 8, 8], i + 10) }));

function network(): Model {
  return buildModel('network', (b) => {
    const x = b.input('x', 'float', [1, 4, 8, 8]);
    const c1 = b.op(
      'Conv',
      [x, b.constant('w1', randomTensor([8, 4, 3, 3], 1, 0.3)), b.constant('b1', randomTensor([8], 2))],
      {},
      { name: 'c1' },
    );
    const relu = b.op('Relu', [c1], {}, { name: 'relu' });
    const up = b.op('ConvTranspose', [relu, b.constant('w2', randomTensor([8, 4, 2, 2], 3, 0.3))], { strides: [2, 2] }, { name: 'up' });
    const c3 = b.op(
      'Conv',
      [up, b.constant('w3', randomTensor([4, 4, 3, 3], 4, 0.3)), b.constant('b3', randomTensor([4], 5))],
      {},
      { name: 'c3' },
    );
    const flat = b.op('Flatten', [b.op('GlobalAveragePool', [c3])]);
    b.output(
      b.op(
        'Gemm',
        [flat, b.constant('w4', randomTensor([5, 4], 6)), b.constant('b4', randomTensor([5], 7))],
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

/** Operators that ONNX Runtime runs the model with, and the type of each one's first operand where the profile says it. */
async function kernels(model: Model): Promise<string[]> {
  const session = await openSession(await nodeEngine(), model, { threads: 1, profile: true });
  await session.run(FEEDS[0]!);
  const times = await session.endProfiling();
  await session.release();
  return times.map((t) => t.opType);
}

/** Types of zero points of activations, and all their values. */
function zeroPoints(model: Model) {
  const found = model.graph.nodes.filter((n) => n.opType === 'QuantizeLinear').map((n) => n.input(2)!.initializer!);
  return { types: new Set(found.map((z) => z.dtype)), values: found.flatMap((z) => Array.from(z.numbers(), Number)) };
}

describe('runtimes', () => {
  it('each have an activation type that they take, and kernels that say what they need', () => {
    for (const name of RUNTIME_NAMES) {
      const runtime = RUNTIMES[name];
      expect(runtime.name).toBe(name);
      expect(runtime.activations).toContain(runtime.activation);
      for (const type of runtime.integerActivations) expect(runtime.activations).toContain(type);
      if (Object.keys(runtime.compute).length > 0) expect(runtime.integerActivations).toContain(runtime.activation);
    }
  });

  it.each(['ort-x86', 'ort-arm', 'ort-wasm'] as const)(
    '%s: uint8, codes of 8 bits, transposed convolutions float with the reason',
    async (runtime) => {
      const { result, context } = await quantized({ runtime });
      expect(zeroPoints(result).types).toEqual(new Set(['uint8']));
      expect(context.skipped.find((s) => s.node === 'up')?.reason).toBe(`${runtime} has no int8 kernel for ConvTranspose`);
      expect((await kernels(result)).filter((k) => k === 'QLinearConv' || k === 'QGemm')).toHaveLength(3);
    },
  );

  it('x86 without VNNI: weights of 7 bits', async () => {
    const { result } = await quantized({ runtime: 'ort-x86-avx2' });
    const codes = result.graph.value('w1_q')!.initializer!;
    expect(Math.max(...Array.from(codes.numbers(), (c) => Math.abs(Number(c))))).toBeLessThanOrEqual(64);
    expect(cosine(await runModel(network(), FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.998);
  });

  it('TensorRT: symmetric int8, no zero points, float biases, transposed convolutions too', async () => {
    const { result, context } = await quantized({ runtime: 'tensorrt' });
    const { types, values } = zeroPoints(result);
    expect(types).toEqual(new Set(['int8']));
    expect(new Set(values)).toEqual(new Set([0]));
    expect(context.skipped.filter((s) => s.node === 'up')).toEqual([]);
    for (const name of ['c1', 'c3', 'fc'])
      expect(result.graph.nodes.find((n) => n.name === name)!.input(2)!.initializer?.dtype).toBe('float');
    for (const value of result.graph.initializers.filter((v) => v.initializer!.dtype === 'int8'))
      expect(Math.min(...Array.from(value.initializer!.numbers(), Number))).toBeGreaterThanOrEqual(-127);
    expect(cosine(await runModel(network(), FEEDS), await runModel(result, FEEDS))).toBeGreaterThan(0.998);
    await expect(quantized({ runtime: 'tensorrt', activations: 'uint8' })).rejects.toMatchObject({
      code: 'E_USAGE',
      message: expect.stringContaining('takes activations in int8, not uint8'),
    });
  });

  it('WebGPU: no integer arithmetic, with what to do instead', async () => {
    await expect(quantized({ runtime: 'ort-webgpu' })).rejects.toMatchObject({
      code: 'E_NOTHING_TO_DO',
      message: expect.stringContaining('mode weights (4-bit products) and fp16'),
    });
    const model = cloneModel(network());
    await quantizeDynamic({ runtime: 'ort-webgpu', minElements: 16 }).run(model, await passContext());
    expect(model.graph.nodes.some((n) => n.opType === 'MatMulInteger')).toBe(false);
    expect(cosine(await runModel(network(), FEEDS), await runModel(model, FEEDS))).toBeGreaterThan(0.999);
  });

  it.each(['int16', 'uint16'] as const)(
    '%s activations are finer than 8 bits, in float between conversions, and it is said',
    async (activations) => {
      const [fine, coarse] = [await quantized({ activations }), await quantized({})];
      expect(zeroPoints(fine.result).types).toEqual(new Set([activations]));
      expect(fine.context.warnings.map((w) => w.message)).toContainEqual(expect.stringContaining('no integer kernels for'));
      expect((await kernels(fine.result)).filter((k) => k.startsWith('QLinear'))).toEqual([]);
      const float = await runModel(network(), FEEDS);
      const errorOf = async (m: Model) => 1 - cosine(float, await runModel(m, FEEDS));
      expect(await errorOf(fine.result)).toBeLessThan(await errorOf(coarse.result));
    },
  );
});
