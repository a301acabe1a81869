// The law of quantization-aware training: the model that is trained and the file that is written answer the same, for every grid, also with other
// weights and scales than those at the start.
import { describe, expect, it } from 'vitest';
import { cosine, feedsDataset, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { type Builder, buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { cloneModel } from '../../ir/walk.js';
import { createPreset } from '../../nn/index.js';
import { codesOfFake, insertFakeWeight, startScales, valuesOfFake } from '../../quant/fake-quant.js';
import { fakeQuantFormat } from '../../quant/fake-quant-format.js';
import { layoutOf } from '../../quant/layout.js';
import { Rng } from '../../util/rng.js';
import { BLOCK_RECONSTRUCTION, reconstructBlocks } from './block-reconstruction.js';
import { keepFactors, type Simulation } from './qat.js';
import { simulateStatic } from './qat-static.js';
import { simulateWeights } from './qat-weights.js';
import { quantizeStatic } from './static.js';

/** Conv, Relu, Conv, residual, Clip, average, Gemm. */
function pictures(): Model {
  return buildModel('pictures', (b) => {
    const x = b.input('x', 'float', ['n', 4, 8, 8]);
    const w = (name: string, dims: number[], seed: number) => b.constant(name, randomTensor(dims, seed, 0.3));
    const h = b.op('Relu', [b.op('Conv', [x, w('w1', [8, 4, 3, 3], 1), w('b1', [8], 2)], { pads: [1, 1, 1, 1] })]);
    const g = b.op('Conv', [h, w('w2', [8, 8, 3, 3], 3), w('b2', [8], 4)], { pads: [1, 1, 1, 1] });
    const c = b.op('Clip', [b.op('Add', [g, h]), b.scalar('lo', 'float', 0), b.scalar('hi', 'float', 6)]);
    const f = b.op('Flatten', [b.op('GlobalAveragePool', [c])]);
    b.output(b.op('Gemm', [f, w('w3', [5, 8], 5), w('b3', [5], 6)], { transB: 1 }), 'y');
  });
}

/** Lookup, two products with biases, one of them transposed. */
function words(): Model {
  return buildModel('words', (b) => {
    const ids = b.input('ids', 'int64', ['n', 6]);
    const w = (name: string, dims: number[], seed: number) => b.constant(name, randomTensor(dims, seed, 0.2));
    const h = b.op('Gather', [w('table', [20, 64], 1), ids]);
    const p = b.op('Relu', [b.op('Add', [b.op('MatMul', [h, w('w1', [64, 96], 2)]), w('b1', [96], 3)])]);
    const q = b.op('Reshape', [p, b.ints('rows', [-1, 96])]);
    b.output(b.op('Gemm', [q, w('w2', [24, 96], 4), w('b2', [24], 5)], { transB: 1 }), 'y');
  });
}

const images = Array.from({ length: 4 }, (_, i) => ({ x: randomTensor([1, 4, 8, 8], 50 + i) }));
const ids = [{ ids: Tensor.from('int64', [2, 6], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 19]) }];
const everything = () => undefined;

async function pictureSimulation(format: string): Promise<Simulation> {
  const ctx = await passContext(feedsDataset(images));
  return simulateStatic(
    pictures(),
    {
      formatOf: (node) => fakeQuantFormat(node.opType === 'Gemm' ? 'w8a8' : format),
      select: everything,
      runtime: 'ort-x86',
      inputLayer: 'int8',
      observer: 'minmax',
      start: 'search',
      simplify: true,
    },
    ctx,
  );
}

async function wordSimulation(format: string, block: number | null, start: 'search' | 'gptq' = 'search'): Promise<Simulation> {
  const ctx = await passContext(feedsDataset(ids));
  return simulateWeights(
    words(),
    {
      formatOf: () => fakeQuantFormat(format),
      select: everything,
      block,
      start,
      samples: 1,
      embeddings: true,
      minElements: 64,
      simplify: true,
    },
    ctx,
  );
}

/** As a training leaves it: weights and factors moved a little, differently each. */
function moved(simulation: Simulation): Model {
  const model = cloneModel(simulation.model);
  for (const name of simulation.parameters) {
    const value = model.graph.value(name)!;
    const rng = new Rng(7).fork(name);
    const tensor = value.initializer!;
    const by = simulation.factors.has(name) ? 0.1 : 0.3;
    model.graph.setInitializer(
      value,
      Tensor.of(
        'float',
        tensor.dims,
        tensor.floats().map((v) => v * (1 + by * (2 * rng.uniform() - 1))),
      ),
    );
  }
  const parameters = new Map([...simulation.factors.keys()].map((name) => [name, model.graph.value(name)!.initializer!.floats()]));
  keepFactors(simulation)({ parameters });
  for (const [name, values] of parameters) {
    const value = model.graph.value(name)!;
    model.graph.setInitializer(value, Tensor.of('float', value.initializer!.dims, values));
  }
  return model;
}

function largestDifference(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  return Math.max(...a.flatMap((x, i) => Array.from(x, (v, k) => Math.abs(v - b[i]![k]!))));
}

describe('rounded activations', () => {
  it.each(['w8a8', 'w4a8', 'w2a8', 'ternary-a8', 'binary-a8', 'w8a16'])('%s: simulation and exported model agree', async (format) => {
    const simulation = await pictureSimulation(format);
    for (const model of [simulation.model, moved(simulation)]) {
      const [a, b] = [await runModel(model, images), await runModel(simulation.export(model), images)];
      // Integer kernels round sums of products once where the simulation rounds floats: now and then a value falls to the next code.
      expect(cosine(a, b)).toBeGreaterThan(0.9995);
      expect(largestDifference(a, b)).toBeLessThan(0.05);
    }
  });

  it('writes what post-training quantization writes: pairs around integer nodes, clamps gone', async () => {
    const simulation = await pictureSimulation('w4a8');
    const counts = opCounts(simulation.export(simulation.model));
    expect(counts.Clip).toBeUndefined();
    expect(counts.Relu).toBeUndefined();
    expect(counts.DequantizeLinear).toBeGreaterThan(counts.QuantizeLinear!);
    expect(simulation.rounded.weights).toBe(3);
  });

  it('does not let the range behind a removed clamp grow', async () => {
    const simulation = await pictureSimulation('w4a8');
    expect([...simulation.factors.values()].some((f) => f.most === 1)).toBe(true);
  });
});

describe('rounded weights', () => {
  it.each([
    ['w4', 32],
    ['w3', 32],
    ['w2', 32],
    ['w2', null],
    ['ternary', null],
    ['ternary', 16],
    ['binary', null],
    ['w8', 32],
  ] as const)('%s in blocks of %s: simulation and exported model agree', async (format, block) => {
    const simulation = await wordSimulation(format, block);
    for (const model of [simulation.model, moved(simulation)]) {
      const [a, b] = [await runModel(model, ids), await runModel(simulation.export(model), ids)];
      expect(largestDifference(a, b)).toBeLessThan(1e-4);
    }
    expect(opCounts(simulation.export(simulation.model))).toMatchObject({ MatMulNBits: 2, GatherBlockQuantized: 1 });
  });

  it('starts from the codes of GPTQ, which keep the outputs closer', async () => {
    const float = await runModel(words(), ids);
    const errors = await Promise.all(
      (['search', 'gptq'] as const).map(async (start) => {
        const out = await runModel((await wordSimulation('w2', 32, start)).model, ids);
        return float.reduce((sum, x, i) => sum + x.reduce((s, v, k) => s + (v - out[i]![k]!) ** 2, 0), 0);
      }),
    );
    expect(errors[1]!).toBeLessThan(errors[0]!);
  });
});

describe('the primitive', () => {
  it.each(['w4', 'w2', 'ternary', 'binary'])('%s: codes are those that the engine computes, bit for bit', async (name) => {
    const { weights: levels } = fakeQuantFormat(name);
    const tensor = randomTensor([64, 12], 9, 0.1);
    const granularity = { kind: 'block', axis: 0, size: 16 } as const;
    const start = startScales(tensor.floats(), layoutOf(tensor.dims, granularity), levels, 'search', true);
    let fake: ReturnType<typeof insertFakeWeight> | undefined;
    const model = buildModel('primitive', (b: Builder) => {
      const w = b.constant('w', tensor);
      const y = b.op('Add', [b.input('zero', 'float', []), w]);
      fake = insertFakeWeight(w, granularity, levels, start);
      b.output(y, 'y');
    });
    const [values] = await runModel(model, [{ zero: Tensor.scalar('float', 0) }]);
    const { codes, scales } = codesOfFake(fake!, tensor.floats(), new Float32Array(start.length).fill(1));
    // Plus zero makes one zero of two.
    expect(valuesOfFake(fake!, codes, scales).map((v) => v + 0)).toEqual(values!.map((v) => v + 0));
    expect(Math.min(...codes)).toBeGreaterThanOrEqual(levels.lo);
    expect(Math.max(...codes)).toBeLessThanOrEqual(levels.hi);
  });

  it('refuses formats that there are not', () => {
    expect(() => fakeQuantFormat('w5a8')).toThrow(/expected w8, w4/);
    expect(() => fakeQuantFormat('w4a3')).toThrow(/w4a3/);
  });
});

describe('block reconstruction', () => {
  it.each(['block', 'layer'] as const)('by %s: codes keep the output closer than the nearest ones, and are exported', async (unit) => {
    const rows = Array.from({ length: 64 }, (_, i) => ({ x: randomTensor([1, 4, 8, 8], 100 + i) }));
    const data = feedsDataset(rows);
    const ctx = await passContext(data);
    const simulation = await simulateWeights(
      pictures(),
      {
        formatOf: () => fakeQuantFormat('w3'),
        select: everything,
        block: null,
        start: 'search',
        samples: 1,
        embeddings: true,
        minElements: 1,
        simplify: true,
      },
      ctx,
    );
    const { model, blocks } = await reconstructBlocks(simulation, data, { ...BLOCK_RECONSTRUCTION, unit, steps: 150, batchSize: 16 }, ctx);
    const float = await runModel(pictures(), images);
    const error = (out: Float32Array[]) =>
      float.reduce((sum, x, i) => sum + x.reduce((s: number, v, k) => s + (v - out[i]![k]!) ** 2, 0), 0);
    const [nearest, learnt] = [await runModel(simulation.model, images), await runModel(model, images)];
    expect(error(learnt)).toBeLessThan(0.8 * error(nearest));
    expect(largestDifference(learnt, await runModel(simulation.export(model), images))).toBeLessThan(1e-4);
    expect(blocks.flatMap((b) => b.weights)).toHaveLength(3);
    expect(blocks.every((b) => b.moved < 0.6)).toBe(true);
  });

  it('layer by layer takes a transformer of several inputs; blocks say that they do not', async () => {
    const model = createPreset(
      'bert-tiny',
      { vocabulary: 20, layers: 1, hidden: 16, heads: 2, intermediate: 32, positions: 8 },
      { seed: 1 },
    );
    const rng = new Rng(3);
    const row = () =>
      Tensor.from(
        'int64',
        [1, 8],
        Array.from({ length: 8 }, () => rng.integer(20)),
      );
    const ones = Tensor.from('int64', [1, 8], new Array(8).fill(1));
    const inputs = model.graph.inputs.map((v) => v.name);
    const rows = Array.from({ length: 12 }, () =>
      Object.fromEntries(inputs.map((name) => [name, /ids/.test(name) && !/type/.test(name) ? row() : ones])),
    );
    const ctx = await passContext(feedsDataset(rows));
    const settings = { weightBits: 4, roundingSteps: 5, equalize: false, biasCorrection: false } as const;
    const result = cloneModel(model);
    await quantizeStatic({ ...settings, rounding: 'adaround' }).run(result, ctx);
    expect((ctx.notes.rounding as { weights: string[] }[]).length).toBeGreaterThan(4);
    expect(result.graph.initializers.filter((v) => v.initializer!.dtype === 'int4').length).toBeGreaterThan(4);
    expect((await runModel(result, rows))[0]!.every(Number.isFinite)).toBe(true);
    await expect(quantizeStatic({ ...settings, rounding: 'brecq' }).run(cloneModel(model), ctx)).rejects.toThrow(
      /one input and one output/,
    );
  });

  it('in static quantization: better than its nearest codes, refused with 8 bits', async () => {
    const rows = Array.from({ length: 32 }, (_, i) => ({ x: randomTensor([1, 4, 8, 8], 100 + i) }));
    const float = await runModel(pictures(), images);
    const errors: number[] = [];
    for (const roundingSteps of [1, 150]) {
      const ctx = await passContext(feedsDataset(rows));
      const model = pictures();
      await quantizeStatic({ weightBits: 4, rounding: 'brecq', roundingSteps, equalize: false, biasCorrection: false }).run(model, ctx);
      expect(opCounts(model)).toMatchObject({ Conv: 2, Gemm: 1 });
      const out = await runModel(model, images);
      errors.push(float.reduce((sum, x, i) => sum + x.reduce((s: number, v, k) => s + (v - out[i]![k]!) ** 2, 0), 0));
    }
    expect(errors[1]).toBeLessThan(0.9 * errors[0]!);
    expect(() => quantizeStatic({ rounding: 'adaround' })).toThrow(/--weight-bits 4/);
  });
});
