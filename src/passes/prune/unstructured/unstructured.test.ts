import { describe, expect, it } from 'vitest';
import { cosine, feedsDataset, passContext, randomTensor, runModel } from '../../../../tests/pass-context.js';
import { densify, makeMasksPermanent, masksOf } from '../../../analysis/masks.js';
import { buildModel } from '../../../ir/builder.js';
import type { Model } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import { verifyModel } from '../../../ir/verify.js';
import { cloneModel } from '../../../ir/walk.js';
import { decodeModel } from '../../../onnx/decode.js';
import { encodeModel } from '../../../onnx/encode.js';
import { erkSparsities, sparsitiesByError } from './allocation.js';
import { pruneUnstructured, runUnstructured, unstructuredOptions } from './index.js';
import { cellsOf, parsePattern, weightLayout } from './layout.js';

const WIDTH = 32;

/** Convolution with a normalization, one in groups, then two products; channels of the data depend on each other. */
const network = () =>
  buildModel('network', (b) => {
    const x = b.input('x', 'float', ['batch', 8, 6, 6]);
    const c = b.op('Conv', [x, b.constant('conv', randomTensor([16, 8, 3, 3], 1, 0.2))], { pads: [1, 1, 1, 1] }, { name: 'conv' });
    const one = (seed: number) =>
      b.constant(
        `n${seed}`,
        Tensor.of(
          'float',
          [16],
          randomTensor([16], seed, 0.2)
            .floats()
            .map((v) => Math.abs(v) + 0.5),
        ),
      );
    const n = b.op('BatchNormalization', [
      c,
      one(2),
      b.constant('beta', randomTensor([16], 3, 0.2)),
      b.constant('mean', randomTensor([16], 4, 0.1)),
      one(5),
    ]);
    const g = b.op(
      'Conv',
      [b.op('Relu', [n]), b.constant('grouped', randomTensor([16, 4, 3, 3], 6, 0.2))],
      { group: 4 },
      { name: 'grouped' },
    );
    const flat = b.op('Reshape', [b.op('Relu', [g]), b.ints('flat', [0, 256])]);
    const up = b.op(
      'Gemm',
      [flat, b.constant('up', randomTensor([WIDTH, 256], 7, 0.1)), b.constant('bias', randomTensor([WIDTH], 8, 0.1))],
      { transB: 1 },
      { name: 'up' },
    );
    b.output(b.op('MatMul', [b.op('Relu', [up]), b.constant('down', randomTensor([WIDTH, 12], 9, 0.2))], {}, { name: 'down' }), 'y');
  });

function feeds(count: number, seed = 100): Record<string, Tensor>[] {
  const mix = randomTensor([3, 8], 90).floats();
  return Array.from({ length: count }, (_, i) => {
    const z = randomTensor([3, 36], seed + i).floats();
    const x = randomTensor([8, 36], seed + 1000 + i, 0.2).floats();
    for (let f = 0; f < 3; f++) for (let c = 0; c < 8; c++) for (let p = 0; p < 36; p++) x[c * 36 + p]! += z[f * 36 + p]! * mix[f * 8 + c]!;
    return { x: Tensor.of('float', [1, 8, 6, 6], x) };
  });
}

const WEIGHTS = ['conv', 'grouped', 'up', 'down'];
const data = feedsDataset(feeds(64));
const probe = feeds(8, 5000);

type Options = Parameters<typeof pruneUnstructured>[0];

async function prune(options: Options): Promise<Model> {
  const model = network();
  await pruneUnstructured(options).run(model, await passContext(data));
  verifyModel(model);
  return model;
}

const weightsOf = (model: Model, name: string) => model.graph.ownValue(name)!.initializer!.floats();
const zerosOf = (model: Model, name: string) => weightsOf(model, name).filter((v) => v === 0).length / weightsOf(model, name).length;
const allZeros = (model: Model) => {
  const all = WEIGHTS.map((name) => weightsOf(model, name));
  return all.reduce((n, w) => n + w.filter((v) => v === 0).length, 0) / all.reduce((n, w) => n + w.length, 0);
};
async function likeness(model: Model): Promise<number> {
  const [a, b] = [await runModel(network(), probe), await runModel(model, probe)];
  return cosine(a, b);
}

describe('unstructured pruning', () => {
  it('takes the smallest weights of each layer, or of all', async () => {
    const layer = await prune({ sparsity: 0.5 });
    for (const name of WEIGHTS) expect(zerosOf(layer, name)).toBeCloseTo(0.5, 2);
    const before = weightsOf(network(), 'up').map(Math.abs);
    const after = weightsOf(layer, 'up');
    const smallestKept = Math.min(...before.filter((_, i) => after[i] !== 0));
    expect(Math.max(...before.filter((_, i) => after[i] === 0))).toBeLessThanOrEqual(smallestKept);
    const global = await prune({ sparsity: 0.7, scope: 'global', minKeep: 0.1 });
    expect(allZeros(global)).toBeCloseTo(0.7, 2);
    // Weights of `up` are half the size of the others.
    expect(zerosOf(global, 'up')).toBeGreaterThan(zerosOf(global, 'down'));
    expect(zerosOf(global, 'up')).toBeLessThanOrEqual(0.9);
  });

  it.each(['random', 'taylor', 'fisher', 'wanda', 'sparsegpt'] as const)('%s reaches the sparsity asked for', async (method) => {
    const model = await prune({ sparsity: 0.5, method });
    for (const name of WEIGHTS) expect(zerosOf(model, name)).toBeCloseTo(0.5, 1);
    expect(await likeness(model)).toBeGreaterThan(method === 'random' ? 0.2 : 0.7);
  });

  it('loses less with the Hessian than by size, and least when what is left is fitted', async () => {
    const magnitude = await likeness(await prune({ sparsity: 0.6 }));
    const hessian = await likeness(await prune({ sparsity: 0.6, method: 'sparsegpt' }));
    const fitted = await prune({ sparsity: 0.6, reconstruct: true });
    expect(hessian).toBeGreaterThan(magnitude);
    expect(await likeness(fitted)).toBeGreaterThan(magnitude);
    // The fit moves what is left and leaves the zeros alone.
    const plain = await prune({ sparsity: 0.6 });
    for (const name of WEIGHTS) {
      expect(weightsOf(fitted, name).map((v) => Number(v === 0))).toEqual(weightsOf(plain, name).map((v) => Number(v === 0)));
      expect(weightsOf(fitted, name)).not.toEqual(weightsOf(plain, name));
    }
  });

  it.each(['magnitude', 'wanda', 'sparsegpt'] as const)('%s keeps two of each four inputs', async (method) => {
    const model = await prune({ pattern: '2:4', method });
    for (const name of WEIGHTS) {
      const node = model.graph.ownValue(name)!.users[0]!;
      const { members } = cellsOf(weightLayout(node, 1, model.graph.ownValue(name)!.initializer!.dims, false)!);
      const w = weightsOf(model, name);
      for (let i = 0; i < members.length; i += 4) expect([0, 1, 2, 3].filter((j) => w[members[i + j]!] !== 0)).toHaveLength(2);
    }
  });

  it.each([
    ['4x1', 'magnitude'],
    ['1x4', 'magnitude'],
    ['4x1', 'sparsegpt'],
    ['1x4', 'sparsegpt'],
  ] as const)('%s blocks by %s go whole', async (pattern, method) => {
    const model = await prune({ pattern, sparsity: 0.5, method });
    for (const name of WEIGHTS) {
      const value = model.graph.ownValue(name)!;
      const { members, size } = cellsOf(weightLayout(value.users[0]!, 1, value.initializer!.dims, false)!, parsePattern(pattern));
      const w = weightsOf(model, name);
      let empty = 0;
      for (let i = 0; i < members.length; i += size) {
        const kept = Array.from({ length: size }, (_, j) => w[members[i + j]!] !== 0).filter(Boolean).length;
        expect([0, size]).toContain(kept);
        if (kept === 0) empty++;
      }
      expect(empty / (members.length / size)).toBeCloseTo(0.5, 1);
    }
  });

  it('spreads zeros by layer', async () => {
    const erk = await prune({ sparsity: 0.7, layerSparsity: 'erk' });
    expect(allZeros(erk)).toBeCloseTo(0.7, 2);
    expect(zerosOf(erk, 'up')).toBeGreaterThan(zerosOf(erk, 'down'));
    const measured = await prune({ sparsity: 0.7, layerSparsity: 'sensitivity' });
    expect(allZeros(measured)).toBeCloseTo(0.7, 2);
    expect(await likeness(measured)).toBeGreaterThan(await likeness(await prune({ sparsity: 0.7 })));
  });

  it('remembers masks through a file until they are made permanent', async () => {
    const model = decodeModel(encodeModel(await prune({ sparsity: 0.5 })).bytes);
    const masks = masksOf(model);
    expect([...masks.keys()].sort()).toEqual([...WEIGHTS].sort());
    expect(masks.get('up')).toEqual(Uint8Array.from(weightsOf(model, 'up'), (v) => Number(v !== 0)));
    expect(makeMasksPermanent(model)).toBe(4);
    expect(masksOf(model).size).toBe(0);
    expect(masksOf(await prune({ sparsity: 0.5, permanent: true })).size).toBe(0);
  });

  it('stores weights sparsely where that is smaller, and ONNX Runtime reads them', async () => {
    const dense = await prune({ sparsity: 0.9 });
    const sparse = await prune({ sparsity: 0.9, sparseStorage: true });
    expect(sparse.graph.ownValue('up')!.sparse).not.toBeNull();
    expect(encodeModel(sparse).bytes.byteLength).toBeLessThan(0.5 * encodeModel(dense).bytes.byteLength);
    const copy = decodeModel(encodeModel(sparse).bytes);
    expect(await runModel(copy, probe)).toEqual(await runModel(dense, probe));
    expect(masksOf(copy)).toEqual(masksOf(dense));
    expect(densify(copy)).toBe(4);
    expect(weightsOf(copy, 'up')).toEqual(weightsOf(dense, 'up'));
    const refused = await passContext();
    await pruneUnstructured({ sparsity: 0.5, sparseStorage: true }).run(network(), refused);
    expect(refused.skipped.map((s) => s.reason)).toContainEqual(expect.stringMatching(/instead of/));
  });

  it('says what is wrong', async () => {
    await expect(prune({})).rejects.toThrow(/expected a sparsity/);
    await expect(prune({ pattern: '2:4', sparsity: 0.7 })).rejects.toThrow(/expected sparsity 0.5/);
    await expect(prune({ sparsity: 0.5, scope: 'global', layerSparsity: 'erk' })).rejects.toThrow(/expected layer scope/);
    expect(() => pruneUnstructured({ pattern: '4:2' })).toThrow(/pattern/);
    const none = await passContext();
    await expect(pruneUnstructured({ sparsity: 0.5, method: 'wanda' }).run(network(), none)).rejects.toThrow(/expected data/);
    await expect(prune({ sparsity: 0.5, protect: ['*'] })).rejects.toThrow(/nothing to prune/);
  });

  it('takes scores of the caller', async () => {
    const model = cloneModel(network());
    const options = unstructuredOptions.parse({ sparsity: 0.25 });
    await runUnstructured(model, options, await passContext(), (_, w) => w.map((_, i) => i));
    const w = weightsOf(model, 'down');
    expect(w.slice(0, w.length / 4).every((v) => v === 0)).toBe(true);
    expect(w.slice(w.length / 4).some((v) => v === 0)).toBe(false);
  });
});

describe('allocation', () => {
  const layout = (outs: number, ins: number, taps = 1) => ({
    outer: { size: 1, stride: 0 },
    outs: { size: outs, stride: ins * taps },
    ins: { size: ins, stride: taps },
    taps: { size: taps, stride: 1 },
  });

  it('keeps small layers denser (Erdos-Renyi-kernel) and the sum exact', () => {
    const layouts = [layout(8, 3, 9), layout(64, 64, 9), layout(10, 64)];
    const found = erkSparsities(layouts, [[3, 3], [3, 3], []], 0.8);
    expect(found[0]).toBe(0);
    expect(found[1]).toBeGreaterThan(0.8);
    const sizes = [216, 36864, 640];
    const zeros = found.reduce((sum, s, i) => sum + s * sizes[i]!, 0);
    expect(zeros / (216 + 36864 + 640)).toBeCloseTo(0.8, 9);
  });

  it('takes zeros where they cost least', () => {
    const cheap = [
      { sparsity: 0.5, error: 0.1 },
      { sparsity: 0.9, error: 0.3 },
    ];
    const dear = [
      { sparsity: 0.5, error: 1 },
      { sparsity: 0.9, error: 8 },
    ];
    expect(sparsitiesByError([100, 100], [cheap, dear], 0.45)).toEqual([0.9, 0]);
    const [a, b] = sparsitiesByError([100, 100], [cheap, dear], 0.6);
    expect(a).toBeCloseTo(0.9, 9);
    expect(b).toBeCloseTo(0.3, 9);
  });
});
