// One bit per weight: its sign, with the mean magnitude of each block as the scale, which is the best one in squared error (Rastegari et al. 2016,
// XNOR-Net). No runtime multiplies by signs, so a table turns each byte of eight signs into eight 2-bit codes as com.microsoft.MatMulNBits reads them
// (1 is -1 and 3 is +1 around the middle code 2).
import type { MatrixShape } from './block-pack.js';
import type { RoundedMatrix } from './block-rounding.js';

export interface PackedSigns {
  /** [n, blocks, block / 8]; a set bit is a weight of 0 or above, the first element in the lowest bit. */
  readonly bits: Uint8Array;
  /** [n, blocks] */
  readonly scales: Float32Array;
}

/** Packs a matrix. `block` is a multiple of 8; elements beyond k count as absent. */
export function packSigns(data: Float32Array, { k, n, transposed }: MatrixShape, block: number): PackedSigns {
  const blocks = Math.ceil(k / block);
  const blob = block / 8;
  const bits = new Uint8Array(n * blocks * blob);
  const scales = new Float32Array(n * blocks);
  const [rowStep, columnStep] = transposed ? [k, 1] : [1, n];
  for (let row = 0; row < n; row++) {
    for (let b = 0; b < blocks; b++) {
      const end = Math.min(k, (b + 1) * block);
      const at = row * blocks + b;
      let sum = 0;
      for (let i = b * block; i < end; i++) {
        const w = data[row * rowStep + i * columnStep]!;
        sum += Math.abs(w);
        const byte = at * blob + ((i - b * block) >> 3);
        if (w >= 0) bits[byte] = bits[byte]! | (1 << (i & 7));
      }
      scales[at] = sum / (end - b * block);
    }
  }
  return { bits, scales };
}

/** Packs codes of one bit that were decided elsewhere: 0 is minus half the scale, 1 plus half of it. */
export function packRoundedSigns({ k, n, block, codes, scales }: RoundedMatrix): PackedSigns {
  const blocks = Math.ceil(k / block);
  const bits = new Uint8Array((n * blocks * block) / 8);
  const magnitudes = new Float32Array(n * blocks);
  for (let c = 0; c < n; c++) {
    for (let b = 0; b < blocks; b++) {
      // A negative scale exchanges the two codes.
      const scale = scales[b * n + c]!;
      magnitudes[c * blocks + b] = Math.abs(scale) / 2;
      for (let r = b * block; r < Math.min(k, (b + 1) * block); r++) {
        const at = (c * blocks + b) * block + (r - b * block);
        if ((codes[r * n + c] === 1) === scale > 0) bits[at >> 3] = bits[at >> 3]! | (1 << (at & 7));
      }
    }
  }
  return { bits, scales: magnitudes };
}

/** [256, 2]: for each byte of signs its eight 2-bit codes, low bits first. */
export function signTable(): Uint8Array {
  const table = new Uint8Array(512);
  for (let byte = 0; byte < 256; byte++) {
    for (let i = 0; i < 8; i++) {
      const code = (byte >> i) & 1 ? 3 : 1;
      const at = byte * 2 + (i >> 2);
      table[at] = table[at]! | (code << ((i & 3) * 2));
    }
  }
  return table;
}
