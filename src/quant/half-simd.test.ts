import { describe, expect, it } from 'vitest';
import { Tensor } from '../ir/tensor.js';
import { Rng } from '../util/rng.js';
import { halfTensor } from './half-simd.js';

/** Random bit patterns of all exponents, with the edges of both types among them. */
function patterns(): Float32Array {
  const rng = new Rng(5);
  const bits = Uint32Array.from({ length: 200_003 }, () => rng.uint32());
  const edges = [
    0, 1, 0x33000000, 0x33000001, 0x387fc000, 0x387fe000, 0x38800000, 0x477fefff, 0x477ff000, 0x47800000, 0x7f7fffff, 0x7f800000,
    0x7fc00000,
  ];
  edges.forEach((edge, i) => {
    bits[2 * i] = edge;
    bits[2 * i + 1] = edge | 0x80000000;
  });
  // Halves of the last place, where rounding goes to the even neighbour.
  for (let i = 100; i < 50_000; i++) bits[i] = ((rng.integer(40) + 100) << 23) | (rng.integer(1 << 11) << 12);
  return new Float32Array(bits.buffer);
}

describe('halfTensor', () => {
  for (const dtype of ['float16', 'bfloat16'] as const) {
    it(`gives the bits of the plain conversion to ${dtype}`, () => {
      const data = patterns();
      const tensor = Tensor.of('float', [data.length], data);
      expect(Buffer.compare(Buffer.from(halfTensor(tensor, dtype).bytes()), Buffer.from(tensor.cast(dtype).bytes()))).toBe(0);
    });
  }
});
