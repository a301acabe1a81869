import { describe, expect, test } from 'vitest';
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import { openSession } from '../runtime/session.js';
import { Rng } from '../util/rng.js';
import { packFourBitFloats, QUANT_TYPE, unpackFourBitFloats } from './bnb4.js';

const K = 48;
const N = 10;
const BLOCK = 64;

describe.each(['nf4', 'fp4'] as const)('%s', (kind) => {
  const rng = new Rng(3);
  const weights = Float32Array.from({ length: K * N }, () => rng.normal());
  const packed = packFourBitFloats(weights, BLOCK, kind);

  test('every weight takes the nearest level; the largest of each block is kept', () => {
    const back = unpackFourBitFloats(packed, weights.length, BLOCK, kind);
    for (const [b, largest] of packed.largest.entries()) {
      const part = weights.subarray(b * BLOCK, (b + 1) * BLOCK);
      expect(largest).toBe(Math.max(...part.map(Math.abs)));
    }
    // Gaps between levels: at most 1/3 of the block's largest, so no error passes half of it.
    weights.forEach((w, i) => {
      expect(Math.abs(w - back[i]!)).toBeLessThanOrEqual(packed.largest[Math.floor(i / BLOCK)]! * (1 / 6 + 1e-6));
    });
    expect(packFourBitFloats(back, BLOCK, kind).codes).toEqual(packed.codes);
  });

  test('ONNX Runtime reads the same weights', async () => {
    const model = buildModel(
      'm',
      (b) => {
        const x = b.input('x', 'float', [K, K]);
        const codes = b.constant('codes', Tensor.of('uint8', [packed.codes.length], packed.codes));
        const largest = b.constant('largest', Tensor.of('float', [packed.largest.length], packed.largest));
        const attributes = { K, N, block_size: BLOCK, quant_type: QUANT_TYPE[kind] };
        b.output(b.op('MatMulBnb4', [x, codes, largest], attributes, { domain: 'com.microsoft' }), 'y');
      },
      { opsets: { 'com.microsoft': 1 } },
    );
    const session = await openSession(await nodeEngine(), model);
    const identity = new Float32Array(K * K);
    for (let i = 0; i < K; i++) identity[i * K + i] = 1;
    const { y } = await session.run({ x: Tensor.of('float', [K, K], identity) });
    const back = unpackFourBitFloats(packed, weights.length, BLOCK, kind);
    const got = y!.floats();
    for (let k = 0; k < K; k++) for (let n = 0; n < N; n++) expect(got[k * N + n]).toBeCloseTo(back[n * K + k]!, 5);
    await session.release();
  });
});

test('zeros and odd lengths', () => {
  const packed = packFourBitFloats(new Float32Array(5), 4, 'nf4');
  expect([...packed.codes]).toEqual([0x77, 0x77, 0x77]);
  expect([...unpackFourBitFloats(packed, 5, 4, 'nf4')]).toEqual([0, 0, 0, 0, 0]);
});
