import { describe, expect, it } from 'vitest';
import { cosine, feedsDataset, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { inferShapes } from '../../analysis/shapes.js';
import { buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { type BlockGrid, roundBySearch, type ZeroKind } from '../../quant/block-rounding.js';
import { dataProbe, LayerStatistics, layerMatrices, layerWeights, linearLayerOf } from '../../quant/layer-probe.js';
import { openSession } from '../../runtime/session.js';
import { scaleChannels } from './awq.js';
import { quantizeCodebook } from './codebook.js';
import { quantizeWeights } from './weights.js';

const WIDTH = 64;

/** Data whose channels depend on each other: normal numbers through a fixed matrix. */
function feeds(count: number, rows: number): Record<string, Tensor>[] {
  const mix = randomTensor([6, WIDTH], 90).floats();
  return Array.from({ length: count }, (_, i) => {
    const z = randomTensor([rows, 6], 100 + i).floats();
    const noise = randomTensor([rows, WIDTH], 200 + i, 0.2).floats();
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < WIDTH; c++) for (let f = 0; f < 6; f++) noise[r * WIDTH + c]! += z[r * 6 + f]! * mix[f * WIDTH + c]!;
    return { x: Tensor.of('float', [rows, WIDTH], noise) };
  });
}

/** A block as in transformers: normalization, Gemm, activation, MatMul with a bias, residual sum. */
const block = () =>
  buildModel('block', (b) => {
    const x = b.input('x', 'float', ['rows', WIDTH]);
    const scale = b.constant('scale', randomTensor([WIDTH], 1));
    const n = b.op('LayerNormalization', [x, scale, b.constant('shift', randomTensor([WIDTH], 2, 0.1))], { axis: -1 });
    const h = b.op('Relu', [
      b.op('Gemm', [n, b.constant('up', randomTensor([128, WIDTH], 3, 0.2)), b.constant('up_bias', randomTensor([128], 4, 0.1))], {
        transB: 1,
      }),
    ]);
    const y = b.op('Add', [
      b.op('MatMul', [h, b.constant('down', randomTensor([128, WIDTH], 5, 0.2))]),
      b.constant('down_bias', randomTensor([WIDTH], 6, 0.1)),
    ]);
    b.output(b.op('Add', [x, y]), 'y');
  });

async function quantized(model: Model, options: Parameters<typeof quantizeWeights>[0], data = feedsDataset(feeds(6, 64))) {
  const result = cloneModel(model);
  const context = await passContext(data);
  await quantizeWeights({ minElements: 16, ...options }).run(result, context);
  verifyModel(result);
  return { result, context };
}

async function errorOf(model: Model, other: Model): Promise<number> {
  let sum = 0;
  for (const feed of feeds(12, 64).slice(6)) {
    const a = (await runModel(model, [feed]))[0]!;
    const b = (await runModel(other, [feed]))[0]!;
    a.forEach((v, i) => {
      sum += (v - b[i]!) ** 2;
    });
  }
  return sum;
}

describe('statistics of a layer in the graph', () => {
  it('H of patches gives the power of a convolution, with pads, strides, dilations and groups', async () => {
    const model = buildModel('conv', (b) => {
      const x = b.input('x', 'float', [2, 6, 9, 8]);
      const w = b.constant('w', randomTensor([8, 3, 3, 2], 1));
      b.output(b.op('Conv', [x, w], { group: 2, pads: [1, 0, 2, 1], strides: [2, 1], dilations: [1, 2] }), 'y');
    });
    inferShapes(model);
    const probed = cloneModel(model);
    const node = probed.graph.nodes[0]!;
    const layer = linearLayerOf(node);
    if (typeof layer !== 'object') throw new Error(String(layer));
    const outputs = dataProbe(probed.graph, layer, node, node.input(0)!).outputs;
    for (const v of outputs) probed.graph.addOutput(v);
    const session = await openSession((await passContext()).engine, probed);
    const results = await session.run({ x: randomTensor([2, 6, 9, 8], 2) });
    await session.release();
    const statistics = new LayerStatistics(layer.k, layer.groups);
    statistics.add(results[outputs[0].name]!, results[outputs[1].name]!, results[outputs[2].name]!);
    const y = results.y!;
    expect(statistics.rows).toBe(y.size / 8);
    let power = 0;
    layerMatrices(layer, model.graph.value('w')!.initializer!.floats()).forEach((w, g) => {
      const h = statistics.gram[g]!;
      for (let c = 0; c < layer.n; c++)
        for (let i = 0; i < layer.k; i++)
          for (let j = 0; j < layer.k; j++) power += h[i * layer.k + j]! * w[i * layer.n + c]! * w[j * layer.n + c]!;
    });
    expect(power / y.floats().reduce((a, v) => a + v * v, 0)).toBeCloseTo(1, 4);
  });
});

describe('methods', () => {
  /** The largest difference of a product quantized by the pass from the product with the matrix that the rounding function restores. */
  async function differenceFromRestored(k: number, options: Parameters<typeof quantizeWeights>[0], grid: BlockGrid & { block: number }) {
    const model = buildModel('product', (b) => {
      const x = b.input('x', 'float', [5, k]);
      b.output(b.op('Gemm', [x, b.constant('w', randomTensor([24, k], 7)), null], { transB: 1 }), 'y');
    });
    const { result } = await quantized(model, options);
    expect(opCounts(result).MatMulNBits).toBe(1);
    const layout = { k, n: 24, groups: 1, transposed: true };
    const [w] = layerMatrices(layout, model.graph.value('w')!.initializer!.floats());
    const rounded = roundBySearch(w!, k, 24, grid);
    const reference = cloneModel(model);
    reference.graph.setInitializer(reference.graph.value('w')!, Tensor.of('float', [24, k], layerWeights(layout, [rounded.values])));
    const feed = { x: randomTensor([5, k], 9) };
    const a = (await runModel(reference, [feed]))[0]!;
    const b = (await runModel(result, [feed]))[0]!;
    const bytes = result.graph.initializers.reduce((sum, v) => sum + v.initializer!.byteLength, 0);
    return { difference: Math.max(...a.map((v, i) => Math.abs(v - b[i]!))), bytes };
  }

  it('write what they decided: the product with the restored matrix, at every width and kind of zero point', async () => {
    const kinds: Record<'none' | 'integer' | 'float', ZeroKind> = { none: 'absmax', integer: 'asymmetric', float: 'free' };
    for (const bits of [2, 3, 4, 5, 6] as const) {
      for (const zeroPoint of ['none', 'integer', 'float'] as const) {
        if (zeroPoint === 'float' && bits > 4) continue;
        for (const k of [64, 50]) {
          const grid = { bits, zero: kinds[zeroPoint], block: 32, twoLevel: true };
          const { difference } = await differenceFromRestored(k, { bits, zeroPoint, method: 'search', block: 32 }, grid);
          expect(difference).toBeLessThan(1e-4);
        }
      }
    }
  });

  it('k-quant stores super-blocks in the bits it says', async () => {
    const k = 1024;
    const bitsPerWeight = { 2: 2 + 17 / 16, 3: 3 + 17 / 16, 4: 4 + 17 / 32, 5: 5 + 8 / 32, 6: 6 + 8 / 16 };
    for (const bits of [2, 3, 4, 5, 6] as const) {
      const grid = {
        bits,
        zero: bits <= 4 ? ('free' as const) : ('absmax' as const),
        block: bits <= 3 || bits === 6 ? 16 : 32,
        twoLevel: true,
        superBlock: 256,
      };
      const { difference, bytes } = await differenceFromRestored(k, { bits, method: 'k-quant' }, grid);
      expect(difference).toBeLessThan(5e-4);
      // Beside codes, multiples and float16 steps: tables of planes, and shapes.
      expect((bytes * 8) / (k * 24)).toBeLessThan(bitsPerWeight[bits] + 0.2 + (8 * 3100) / (k * 24));
    }
  });

  it('gptq beats search, search beats rounding to nearest, on data not seen', async () => {
    const model = block();
    for (const bits of [2, 3, 4] as const) {
      const error = async (method: 'rtn' | 'search' | 'gptq') => errorOf(model, (await quantized(model, { bits, method })).result);
      const [rtn, search, gptq] = [await error('rtn'), await error('search'), await error('gptq')];
      expect(search).toBeLessThan(rtn);
      expect(gptq).toBeLessThan(0.5 * search);
    }
  });

  it('gptq covers grouped convolutions in 4 bits', async () => {
    const model = buildModel('conv', (b) => {
      const x = b.input('x', 'float', ['rows', WIDTH]);
      const image = b.op('Reshape', [x, b.ints('shape', [-1, 4, 4, 4])]);
      const y = b.op('Conv', [image, b.constant('w', randomTensor([8, 2, 3, 3], 3)), b.constant('bias', randomTensor([8], 4))], {
        group: 2,
        pads: [1, 1, 1, 1],
      });
      b.output(y, 'y');
    });
    const { result } = await quantized(model, { method: 'gptq', convBits: 4 });
    expect(result.graph.initializers.some((v) => v.initializer!.dtype === 'int4')).toBe(true);
    const feed = feeds(8, 64)[7]!;
    expect(cosine(await runModel(model, [feed]), await runModel(result, [feed]))).toBeGreaterThan(0.995);
  });

  it('awq scales channels without changing the float model', async () => {
    const model = block();
    inferShapes(model);
    const scaled = cloneModel(model);
    const context = await passContext();
    const options = { bits: 3, zero: 'absmax', block: 32, samples: 6, select: () => undefined, minElements: 1 } as const;
    expect(await scaleChannels(scaled, { ...options, data: feedsDataset(feeds(6, 64)) }, context)).toBeGreaterThan(0);
    expect(await errorOf(model, scaled)).toBeLessThan(1e-4);
    const search = await errorOf(model, (await quantized(model, { bits: 3, method: 'search' })).result);
    expect(await errorOf(model, (await quantized(model, { bits: 3, method: 'awq' })).result)).toBeLessThan(search);
  });

  it('tied tables stay one constant', async () => {
    const model = buildModel('tied', (b) => {
      const ids = b.input('ids', 'int64', [1, 4]);
      const table = b.constant('table', randomTensor([100, 64], 5));
      const rows = b.op('Gather', [table, ids], { axis: 0 });
      b.output(b.op('MatMul', [rows, b.op('Transpose', [table], { perm: [1, 0] })]), 'y');
    });
    for (const bits of [2, 3, 4] as const) {
      const { result } = await quantized(model, { bits, method: 'search', simplify: false });
      expect(opCounts(result)).toMatchObject({ GatherBlockQuantized: 1, MatMulNBits: 1 });
      expect(result.graph.initializers.filter((v) => v.initializer!.byteLength > 1000)).toHaveLength(1);
      const feed = { ids: Tensor.from('int64', [1, 4], [1, 7, 99, 0]) };
      expect(cosine(await runModel(model, [feed]), await runModel(result, [feed]))).toBeGreaterThan(0.98);
    }
  });

  it('gptq chooses signs that leave less error than those of the weights', async () => {
    const model = block();
    const error = async (method: 'rtn' | 'gptq') => {
      const result = cloneModel(model);
      await quantizeCodebook({ codebook: 'sign', method, block: 128, minElements: 16 }).run(
        result,
        await passContext(feedsDataset(feeds(6, 64))),
      );
      verifyModel(result);
      expect(opCounts(result)).toMatchObject({ MatMulNBits: 2, Cast: 2 });
      return errorOf(model, result);
    };
    expect(await error('gptq')).toBeLessThan(0.6 * (await error('rtn')));
  });

  it('refuses data-driven methods without data', async () => {
    const context = await passContext();
    await expect(quantizeWeights({ method: 'gptq', minElements: 16 }).run(block(), context)).rejects.toThrow('expected calibration data');
  });
});
