import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cosine, opCounts, passContext, randomTensor, runModel } from '../../../tests/pass-context.js';
import { buildModel } from '../../ir/builder.js';
import type { Model } from '../../ir/model.js';
import { MemorySource } from '../../ir/source.js';
import { Tensor } from '../../ir/tensor.js';
import { verifyModel } from '../../ir/verify.js';
import { cloneModel } from '../../ir/walk.js';
import { type BlockOptions, packBlocks, packScalar, packTensor, unpackBlocks } from '../../quant/block-pack.js';
import { quantizeWeights } from './weights.js';

async function quantized(model: Model, options: Parameters<typeof quantizeWeights>[0] = {}) {
  const result = cloneModel(model);
  const context = await passContext();
  await quantizeWeights({ minElements: 16, ...options }).run(result, context);
  verifyModel(result);
  return { result, context };
}

const product = (k: number, n: number, transposed: boolean) =>
  buildModel('product', (b) => {
    const x = b.input('x', 'float', [3, k]);
    const w = b.constant('w', randomTensor(transposed ? [n, k] : [k, n], 7));
    const bias = b.constant('bias', randomTensor([n], 8));
    b.output(b.op('Gemm', [x, w, bias], transposed ? { transB: 1 } : {}), 'y');
  });

/** A source that says it is on disk. */
class DistantSource extends MemorySource {
  override readonly resident = false as true;
  override slice(start: number, end: number): MemorySource {
    return new DistantSource(this.bytes().subarray(start, end));
  }
}

describe('quantizeWeights', () => {
  it('MatMulNBits gives the product with the dequantized matrix, at every width, symmetry and layout', async () => {
    const cases = fc.record({
      k: fc.constantFrom(32, 64, 96, 50),
      n: fc.integer({ min: 1, max: 40 }),
      bits: fc.constantFrom(4 as const, 8 as const),
      block: fc.constantFrom(16, 32),
      symmetric: fc.boolean(),
      transposed: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ k, n, bits, block, symmetric, transposed }) => {
        const model = product(k, n, transposed);
        const w = model.graph.value('w')!.initializer!.floats();
        const shape = { k, n, transposed };
        const options: BlockOptions = { bits, block, symmetric };
        const restored = unpackBlocks(packBlocks(w, shape, options), shape, options);
        const reference = cloneModel(model);
        reference.graph.setInitializer(
          reference.graph.value('w')!,
          Tensor.of('float', model.graph.value('w')!.initializer!.dims, restored),
        );
        const { result } = await quantized(model, { bits, block, symmetric, minElements: 1 });
        expect(opCounts(result).MatMulNBits).toBe(1);
        const feeds = [{ x: randomTensor([3, k], 4) }];
        const [a, b] = [(await runModel(reference, feeds))[0]!, (await runModel(result, feeds))[0]!];
        a.forEach((v, i) => {
          expect(Math.abs(v - b[i]!)).toBeLessThan(1e-3 * Math.max(1, Math.abs(v)));
        });
      }),
      { numRuns: 25 },
    );
  });

  it('packs with SIMD, from disk and in plain loops to the same bits', () => {
    const cases = fc.record({
      k: fc.integer({ min: 1, max: 9 }).map((b) => b * 32),
      n: fc.integer({ min: 1, max: 70 }),
      symmetric: fc.boolean(),
      transposed: fc.boolean(),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(cases, ({ k, n, symmetric, transposed, seed }) => {
        const data = randomTensor([k * n], seed).floats();
        data.fill(0, 0, 32);
        const shape = { k, n, transposed };
        const options: BlockOptions = { bits: 4, block: 32, symmetric };
        const plain = packScalar(data, shape, options);
        expect(packBlocks(data, shape, options)).toEqual(plain);
        const distant = new Tensor('float', [k * n], new DistantSource(new Uint8Array(data.buffer)));
        expect(packTensor(distant, shape, options)).toEqual(plain);
      }),
      { numRuns: 60 },
    );
  });

  it('serves a tied embedding from one packed table', async () => {
    const model = buildModel('tied', (b) => {
      const ids = b.input('ids', 'int64', [1, 5]);
      const table = b.constant('table', randomTensor([40, 64], 3));
      const x = b.op('Reshape', [b.op('Gather', [table, ids]), b.ints('shape', [5, 64])]);
      b.output(b.op('Gemm', [x, table], { transB: 1 }), 'y');
    });
    const feeds = [{ ids: Tensor.from('int64', [1, 5], [3, 39, 0, 7, 7]) }];
    for (const symmetric of [true, false]) {
      const { result } = await quantized(model, { symmetric });
      expect(opCounts(result)).toMatchObject({ GatherBlockQuantized: 1, MatMulNBits: 1 });
      const packed = result.graph.initializers.filter((v) => v.initializer!.dtype === 'uint8' && v.initializer!.byteLength === 40 * 32);
      expect(packed).toHaveLength(1);
      expect(cosine(await runModel(model, feeds), await runModel(result, feeds))).toBeGreaterThan(0.99);
    }
  });

  it('uses standard operators only in format qdq, and covers convolutions, batched constants and recurrent weights', async () => {
    const model = buildModel('others', (b) => {
      const x = b.input('x', 'float', [2, 4, 32]);
      const y = b.op('MatMul', [x, b.constant('batched', randomTensor([2, 32, 8], 2))]);
      const z = b.op('Conv', [y, b.constant('kernel', randomTensor([6, 4, 3], 3))], { pads: [1, 1] });
      const [w, r] = [b.constant('gw', randomTensor([1, 24, 8], 4, 0.3)), b.constant('gr', randomTensor([1, 24, 8], 5, 0.3))];
      b.output(b.op('GRU', [z, w, r], { hidden_size: 8 }), 'y');
    });
    const feeds = [{ x: randomTensor([2, 4, 32], 6) }];
    const { result, context } = await quantized(model, { format: 'qdq', bits: 8 });
    expect(opCounts(result).DequantizeLinear).toBe(4);
    expect(result.graph.nodes.every((n) => n.domain === '')).toBe(true);
    expect(context.notes.quantized).toEqual({ MatMul: 1, Conv: 1, GRU: 1 });
    const plain = await runModel(model, feeds);
    expect(cosine(plain, await runModel(result, feeds))).toBeGreaterThan(0.999);
    // Elsewhere channels come back by Cast and Mul, which the runtime folds at load: the same numbers.
    const folded = (await quantized(model, { bits: 8 })).result;
    expect(opCounts(folded)).toMatchObject({ DequantizeLinear: 1, Cast: 3, Mul: 3 });
    expect(cosine(await runModel(result, feeds), await runModel(folded, feeds))).toBeGreaterThan(0.999999);
  });

  it('computes weights on disk only when they are written', async () => {
    const model = product(64, 16, false);
    const w = model.graph.value('w')!;
    let reads = 0;
    class CountedSource extends DistantSource {
      override slice(start: number, end: number): MemorySource {
        reads++;
        return super.slice(start, end);
      }
    }
    w.initializer = new Tensor('float', [64, 16], new CountedSource(w.initializer!.bytes()));
    const { result } = await quantized(model, { simplify: false });
    expect(reads).toBe(0);
    const codes = result.graph.initializers.find((v) => v.initializer!.dtype === 'uint8')!.initializer!;
    const expected = packBlocks(w.initializer.floats(), { k: 64, n: 16, transposed: false }, { bits: 4, block: 32, symmetric: true });
    expect(Array.from(codes.bytes())).toEqual(Array.from(expected.codes));
    expect(reads).toBeGreaterThan(0);
  });

  it('says what it left and why', async () => {
    const model = buildModel('left', (b) => {
      const x = b.input('x', 'float', [3, 32]);
      const y = b.op('MatMul', [x, b.constant('small', randomTensor([32, 4], 1))], {}, { name: 'small' });
      b.output(b.op('MatMul', [y, b.constant('large', randomTensor([4, 512], 2))], {}, { name: 'large' }), 'y');
    });
    const { context } = await quantized(model, { minElements: 1024 });
    expect(context.skipped).toEqual([{ node: 'small', op: 'MatMul', reason: 'its weight has only 128 elements' }]);
  });
});
