// Rounded matrices as constants that lead to the operands of com.microsoft.MatMulNBits and GatherBlockQuantized: codes, scales, zero points. Codes of
// widths that the kernels do not know are kept in planes (bit-planes.ts), scales and offsets of two levels as 8-bit multiples with their steps.
import { Tensor } from '../ir/tensor.js';
import { type Plane, packingOf, packPlane } from './bit-planes.js';
import type { RoundedMatrix, WeightBits, ZeroKind } from './block-rounding.js';

/** Numbers [n, blocks] as int8 multiples [n, groups, blocks / groups] of steps [n, groups, 1]; one group: [n, blocks] and [n, 1]. */
export interface TwoLevels {
  readonly multiples: Tensor;
  readonly steps: Tensor;
}

/** Constants of a product or table in block form. */
export interface StoredBlocks {
  /** Bits of a code as the kernel reads it. */
  readonly bits: 2 | 4 | 8;
  /** Bits of a code in the file. */
  readonly fileBits: WeightBits;
  readonly block: number;
  readonly blocks: number;
  readonly n: number;
  /** uint8 [n, blocks, block * bits / 8]; null where codes are in planes. */
  readonly codes: Tensor | null;
  /** uint8 [n, blocks, block * plane.bits / 8] each. */
  readonly planes: readonly { readonly plane: Plane; readonly data: Tensor }[];
  /** float [n, blocks]. */
  readonly scales: Tensor | TwoLevels;
  /** uint8 packed, float [n, blocks], or offsets (zero point times scale) of two levels; null where the middle code is zero everywhere. */
  readonly zeros: Tensor | TwoLevels | null;
}

/** Bits of a code as kernels read it. */
export function storedBits(bits: Exclude<WeightBits, 1>): 2 | 4 | 8 {
  return packingOf(bits).width;
}

export function storeBlocks(rounded: RoundedMatrix, bits: Exclude<WeightBits, 1>, zero: ZeroKind): StoredBlocks {
  const { k, n, block, steps } = rounded;
  const { width, planes } = packingOf(bits);
  const shift = width - bits;
  const blocks = Math.ceil(k / block);
  // Kernel codes, one to a byte. Rows beyond k are the middle code, or 0 where there are zero points.
  const codes = new Uint8Array(n * blocks * block);
  if (zero === 'absmax' || zero === 'middle') codes.fill(2 ** (width - 1));
  for (let c = 0; c < n; c++) {
    for (let r = 0, at = c * blocks * block; r < k; r++, at++) codes[at] = rounded.codes[r * n + c]! << shift;
  }
  const dims = (perCode: number) => [n, blocks, (block * perCode) / 8];
  const byRow = (values: Float32Array) => rowsOf(values, n, blocks);
  const scales = byRow(rounded.scales);
  const factor = 2 ** -shift;
  return {
    bits: width,
    fileBits: bits,
    block,
    blocks,
    n,
    codes: planes.length > 0 ? null : Tensor.of('uint8', dims(width), packPlane(codes, { bits: width, at: 0 })),
    planes: planes.map((plane) => ({ plane, data: Tensor.of('uint8', dims(plane.bits), packPlane(codes, plane)) })),
    scales: steps
      ? twoLevels(scales, steps.scale, steps.blocks, n, factor)
      : Tensor.of(
          'float',
          [n, blocks],
          scales.map((s) => s * factor),
        ),
    zeros: zerosOf(rounded, byRow, zero, width, shift),
  };
}

function zerosOf(
  { n, zeros, scales, block, k, steps }: RoundedMatrix,
  byRow: (values: Float32Array) => Float32Array,
  zero: ZeroKind,
  width: number,
  shift: number,
): StoredBlocks['zeros'] {
  if (zero === 'absmax' || zero === 'middle') return null;
  const blocks = Math.ceil(k / block);
  if (zero === 'asymmetric')
    return wholeZeros(
      byRow(zeros).map((z) => z * 2 ** shift),
      n,
      blocks,
      width,
    );
  if (steps?.offset) return twoLevels(byRow(zeros.map((z, i) => z * scales[i]!)), steps.offset, steps.blocks, n, 1);
  const free = byRow(zeros).map((z) => z * 2 ** shift);
  return Tensor.of('float', [n, blocks], free);
}

/** [blocks, n] as [n, blocks]. */
function rowsOf(values: Float32Array, n: number, blocks: number): Float32Array {
  const out = new Float32Array(n * blocks);
  for (let c = 0; c < n; c++) for (let b = 0; b < blocks; b++) out[c * blocks + b] = values[b * n + c]!;
  return out;
}

/** `values` [n, blocks] as multiples of `steps`, which are then multiplied by a power of two. */
function twoLevels(values: Float32Array, steps: Float32Array, perStep: number, n: number, factor: number): TwoLevels {
  const blocks = values.length / n;
  const groups = blocks / perStep;
  const rows = rowsOf(steps, n, groups);
  const multiples = Int8Array.from(values, (v, i) =>
    Math.round(v / rows[Math.floor(i / blocks) * groups + Math.floor((i % blocks) / perStep)]!),
  );
  const whole = rows.map((s) => s * factor);
  if (groups === 1) return { multiples: Tensor.of('int8', [n, blocks], multiples), steps: Tensor.of('float', [n, 1], whole) };
  const half = Tensor.from('float16', [n, groups, 1], whole);
  const exact = half.floats().every((s, i) => s === whole[i]);
  return {
    multiples: Tensor.of('int8', [n, groups, perStep], multiples),
    steps: exact ? half : Tensor.of('float', [n, groups, 1], whole),
  };
}

function wholeZeros(zeros: Float32Array, n: number, blocks: number, bits: number): Tensor {
  const row = Math.ceil((blocks * bits) / 8);
  const out = new Uint8Array(n * row);
  for (let c = 0; c < n; c++) {
    for (let b = 0; b < blocks; b++) {
      const at = c * row + ((b * bits) >> 3);
      out[at] = out[at]! | (zeros[c * blocks + b]! << ((b * bits) & 7));
    }
  }
  return Tensor.of('uint8', [n, row], out);
}
