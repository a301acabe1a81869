// Rounded matrices in the layout of com.microsoft.MatMulNBits and GatherBlockQuantized. The kernels know 2, 4 and 8 bits: 3-bit codes take 4 bits each.
import { Tensor } from '../ir/tensor.js';
import type { RoundedMatrix, ZeroKind } from './block-rounding.js';

/** Constants of a product or table in block form. */
export interface StoredBlocks {
  /** Bits that a code takes in the file. */
  readonly bits: 2 | 4 | 8;
  readonly block: number;
  /** uint8 [n, blocks, block * bits / 8]. */
  readonly codes: Tensor;
  /** float [n, blocks]; with `scaleSteps` int8 multiples of them. */
  readonly scales: Tensor;
  /** float [n, 1]; null where scales have one level. */
  readonly scaleSteps: Tensor | null;
  /** uint8 packed, or float [n, blocks]; null where the middle code is zero everywhere. */
  readonly zeros: Tensor | null;
}

export function storedBits(bits: 2 | 3 | 4 | 8): 2 | 4 | 8 {
  return bits === 3 ? 4 : bits;
}

export function storeBlocks(rounded: RoundedMatrix, bits: 2 | 3 | 4 | 8, zero: ZeroKind): StoredBlocks {
  const { k, n, block } = rounded;
  const width = storedBits(bits);
  // Codes of narrower grids are shifted so that the middle codes meet: no zero points are needed then.
  const shift = zero === 'absmax' ? 2 ** (width - 1) - 2 ** (bits - 1) : 0;
  const blocks = Math.ceil(k / block);
  const blob = (block * width) / 8;
  const perByte = 8 / width;
  const codes = new Uint8Array(n * blocks * blob);
  const scales = new Float32Array(n * blocks);
  const empty = zero === 'absmax' ? 2 ** (width - 1) : 0;
  for (let c = 0; c < n; c++) {
    for (let b = 0; b < blocks; b++) {
      scales[c * blocks + b] = rounded.scales[b * n + c]!;
      const at = (c * blocks + b) * blob;
      for (let i = 0; i < block; i++) {
        const r = b * block + i;
        const code = r < k ? rounded.codes[r * n + c]! + shift : empty;
        const byte = at + Math.floor(i / perByte);
        codes[byte] = codes[byte]! | (code << ((i % perByte) * width));
      }
    }
  }
  return {
    bits: width,
    block,
    codes: Tensor.of('uint8', [n, blocks, blob], codes),
    ...scaleTensors(scales, rounded.scaleSteps, n, blocks),
    zeros: zero === 'absmax' ? null : zero === 'free' ? freeZeros(rounded, blocks) : wholeZeros(rounded, blocks, width),
  };
}

function scaleTensors(
  scales: Float32Array,
  steps: Float32Array | null,
  n: number,
  blocks: number,
): Pick<StoredBlocks, 'scales' | 'scaleSteps'> {
  if (!steps) return { scales: Tensor.of('float', [n, blocks], scales), scaleSteps: null };
  const multiples = Int8Array.from(scales, (s, i) => Math.round(s / steps[Math.floor(i / blocks)]!));
  return { scales: Tensor.of('int8', [n, blocks], multiples), scaleSteps: Tensor.of('float', [n, 1], steps) };
}

function freeZeros({ n, zeros }: RoundedMatrix, blocks: number): Tensor {
  const out = new Float32Array(n * blocks);
  for (let c = 0; c < n; c++) for (let b = 0; b < blocks; b++) out[c * blocks + b] = zeros[b * n + c]!;
  return Tensor.of('float', [n, blocks], out);
}

function wholeZeros({ n, zeros }: RoundedMatrix, blocks: number, bits: number): Tensor {
  const row = Math.ceil((blocks * bits) / 8);
  const out = new Uint8Array(n * row);
  for (let c = 0; c < n; c++) {
    for (let b = 0; b < blocks; b++) {
      const at = c * row + ((b * bits) >> 3);
      out[at] = out[at]! | (zeros[b * n + c]! << ((b * bits) & 7));
    }
  }
  return Tensor.of('uint8', [n, row], out);
}
