// Codes of 3, 5 and 6 bits in a file that takes no more than that: the kernels of com.microsoft.MatMulNBits read 4 and 8 bits, so a code is cut into
// planes of 4, 2 and 1 bits, each packed to whole bytes. A table of 256 rows spreads the bytes of a plane over the kernel's codes, and the planes are
// joined by BitwiseOr; all of it is constant, so the runtime does it once, when it loads the model. The download shrinks, the memory does not.
import { Tensor } from '../ir/tensor.js';
import type { WeightBits } from './block-rounding.js';

/** `bits` of a code that lie `at` bits above the lowest of the kernel's code. */
export interface Plane {
  readonly bits: 1 | 2 | 4 | 8;
  readonly at: number;
}

interface Packing {
  /** Bits of a code as the kernel reads it. */
  readonly width: 2 | 4 | 8;
  /** Empty where codes are stored as the kernel reads them. */
  readonly planes: readonly Plane[];
}

const whole = (width: 2 | 4 | 8): Packing => ({ width, planes: [] });

/** Codes sit in the high bits of the kernel's, so that middle codes meet and no zero points are needed; scales are that much smaller. */
const PACKINGS: Readonly<Record<Exclude<WeightBits, 1>, Packing>> = {
  2: whole(2),
  3: {
    width: 4,
    planes: [
      { bits: 2, at: 2 },
      { bits: 1, at: 1 },
    ],
  },
  4: whole(4),
  5: {
    width: 8,
    planes: [
      { bits: 4, at: 4 },
      { bits: 1, at: 3 },
    ],
  },
  6: {
    width: 8,
    planes: [
      { bits: 4, at: 4 },
      { bits: 2, at: 2 },
    ],
  },
  8: whole(8),
};

export function packingOf(bits: Exclude<WeightBits, 1>): Packing {
  return PACKINGS[bits];
}

/** Cuts one plane out of kernel codes, one to a byte: [rows, length] to uint8 [rows, length * plane.bits / 8], the first in the low bits. */
export function packPlane(codes: Uint8Array, { bits, at }: Plane): Uint8Array {
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const out = new Uint8Array(Math.ceil(codes.length / perByte));
  for (let i = 0; i < codes.length; i++) {
    const byte = Math.floor(i / perByte);
    out[byte] = out[byte]! | (((codes[i]! >> at) & mask) << ((i % perByte) * bits));
  }
  return out;
}

/** [256, bytes]: for each byte of a plane its codes where the kernel of `width` bits reads them, all other bits 0. */
export function planeTable({ bits, at }: Plane, width: 4 | 8): Tensor {
  const codes = 8 / bits;
  const bytes = (codes * width) / 8;
  const perByte = 8 / width;
  const table = new Uint8Array(256 * bytes);
  for (let byte = 0; byte < 256; byte++) {
    for (let i = 0; i < codes; i++) {
      const code = ((byte >> (i * bits)) & ((1 << bits) - 1)) << at;
      const to = byte * bytes + Math.floor(i / perByte);
      table[to] = table[to]! | (code << ((i % perByte) * width));
    }
  }
  return new Tensor('uint8', [256, bytes], table);
}
