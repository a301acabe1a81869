// One bit per weight: its sign, with the mean magnitude of each block as the scale, which is the best one in squared error (Rastegari et al. 2016,
// XNOR-Net). No runtime multiplies by signs, so a table turns each byte of eight signs into eight 2-bit codes as com.microsoft.MatMulNBits reads them
// (1 is -1 and 3 is +1 around the middle code 2).
import type { MatrixShape } from './block-pack.js';

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
