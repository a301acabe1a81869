// Block-wise quantization of a matrix, fused with packing to the layout of com.microsoft.MatMulNBits: codes [n, ceil(k / block), block * bits / 8]
// with the first element in the low bits, scales [n, ceil(k / block)], zero points [n, ceil(ceil(k / block) * bits / 8)] where asymmetric.
// Codes are unsigned; the symmetric form has its zero at 2^(bits-1) and lets the extreme element land on code 0 (scheme `absmax`).
// Four-bit blocks take a SIMD path with the same results.
import type { Tensor } from '../ir/tensor.js';
import { reserve, type SimdKernels, simdKernels } from './simd-kernels.js';

export interface BlockOptions {
  readonly bits: 2 | 4 | 8;
  /** Elements per block along k: a multiple of 8 / bits. */
  readonly block: number;
  readonly symmetric: boolean;
}

export interface PackedBlocks {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  /** Null where symmetric: the runtime then takes the middle code. */
  readonly zeroPoints: Uint8Array | null;
}

export interface MatrixShape {
  readonly k: number;
  readonly n: number;
  /** True where the data is [n, k], false where it is [k, n]. */
  readonly transposed: boolean;
}

/** Columns per tile: with blocks of 32 a tile takes 8 kB. */
const TILE = 64;
const ROUND = 6755399441055744;
const SMALLEST_SCALE = 1.1754943508222875e-38;

/** Lengths of the three parts in elements. */
export function packedSizes({ k, n }: MatrixShape, { bits, block, symmetric }: BlockOptions) {
  const blocks = Math.ceil(k / block);
  return {
    blocks,
    blob: (block * bits) / 8,
    codes: (n * blocks * block * bits) / 8,
    scales: n * blocks,
    zeroPoints: symmetric ? 0 : n * Math.ceil((blocks * bits) / 8),
  };
}

/** Packs a matrix in memory. */
export function packBlocks(data: Float32Array, shape: MatrixShape, options: BlockOptions): PackedBlocks {
  const kernels = kernelsFor(shape, options);
  if (!kernels) return packScalar(data, shape, options);
  return packSimd(kernels, (from, to, target) => target.set(data.subarray(from, to)), shape, options);
}

/** Packs a float matrix wherever it is; one on disk is read in strips, never whole. */
export function packTensor(tensor: Tensor, shape: MatrixShape, options: BlockOptions): PackedBlocks {
  const { source } = tensor;
  const kernels = tensor.dtype === 'float' && !source.resident && source.synchronous ? kernelsFor(shape, options) : null;
  if (!kernels) return packBlocks(tensor.floats(), shape, options);
  const read: Reader = (from, to, target) => {
    const part = source.slice(from * 4, to * 4);
    const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    if (part.readInto) part.readInto(bytes);
    else bytes.set(part.bytes());
  };
  return packSimd(kernels, read, shape, options);
}

function kernelsFor(shape: MatrixShape, { bits, block }: BlockOptions): SimdKernels | null {
  return bits === 4 && block % 8 === 0 && shape.k % block === 0 ? simdKernels() : null;
}

/** Bytes that are read at once into the memory of the kernels. */
const STRIP_BYTES = 4 << 20;

/** Puts elements `from` to `to` of the matrix into `target`. */
type Reader = (from: number, to: number, target: Float32Array) => void;

function packSimd(kernels: SimdKernels, read: Reader, shape: MatrixShape, options: BlockOptions): PackedBlocks {
  return shape.transposed ? packSimdRows(kernels, read, shape, options) : packSimdColumns(kernels, read, shape, options);
}

/** [k, n]: strips of whole blocks of rows, read once; the lanes are neighbouring columns. */
function packSimdColumns(kernels: SimdKernels, read: Reader, shape: MatrixShape, options: BlockOptions): PackedBlocks {
  const { k, n } = shape;
  const { block, symmetric } = options;
  const { blocks, blob } = packedSizes(shape, options);
  const groups = Math.ceil(n / 4);
  const perStrip = Math.max(1, Math.min(blocks, Math.floor(STRIP_BYTES / (block * n * 4))));
  // Regions: strip (with room for lanes beyond its end), codes, scales, zero points, all for n rounded up to whole groups.
  const codesAt = perStrip * block * n * 4 + 16;
  const scalesAt = codesAt + groups * 4 * blocks * blob;
  const zerosAt = scalesAt + groups * 16 * blocks;
  reserve(kernels, zerosAt + (symmetric ? 0 : groups * 16 * blocks));
  const { buffer } = kernels.memory;
  for (let b0 = 0; b0 < blocks; b0 += perStrip) {
    const b1 = Math.min(blocks, b0 + perStrip);
    const from = b0 * block * n;
    const to = Math.min(k, b1 * block) * n;
    read(from, to, new Float32Array(buffer, 0, to - from));
    for (let b = b0; b < b1; b++) {
      const src = (b - b0) * block * n * 4;
      const dst = [codesAt + b * blob, blocks * blob, scalesAt + b * 4, blocks * 4] as const;
      if (symmetric) kernels.symmetric(src, n * 4, block, groups, ...dst);
      else kernels.asymmetric(src, n * 4, block, groups, ...dst, zerosAt + b * 4);
    }
  }
  return {
    codes: new Uint8Array(buffer, codesAt, n * blocks * blob).slice(),
    scales: new Float32Array(buffer, scalesAt, n * blocks).slice(),
    zeroPoints: symmetric ? null : packZeros(new Float32Array(buffer, zerosAt, n * blocks), n, blocks),
  };
}

/** [n, k]: panels of rows, each tile of four or more rows and one block transposed before it is quantized. */
function packSimdRows(kernels: SimdKernels, read: Reader, shape: MatrixShape, options: BlockOptions): PackedBlocks {
  const { k, n } = shape;
  const { block, symmetric } = options;
  const { blocks, blob, ...sizes } = packedSizes(shape, options);
  const codes = new Uint8Array(sizes.codes);
  const scales = new Float32Array(sizes.scales);
  const zeros = symmetric ? null : new Float32Array(sizes.scales);
  const width = Math.max(4, Math.min(Math.ceil(n / 4) * 4, Math.floor(STRIP_BYTES / k / 16) * 4));
  // Regions: panel, transposed tile, codes, scales, zero points.
  const tileAt = width * k * 4;
  const codesAt = tileAt + width * block * 4;
  const scalesAt = codesAt + width * blocks * blob;
  const zerosAt = scalesAt + width * blocks * 4;
  reserve(kernels, zerosAt + width * blocks * 4);
  const { buffer } = kernels.memory;
  for (let n0 = 0; n0 < n; n0 += width) {
    const columns = Math.min(width, n - n0);
    const groups = Math.ceil(columns / 4);
    read(n0 * k, (n0 + columns) * k, new Float32Array(buffer, 0, columns * k));
    for (let b = 0; b < blocks; b++) {
      kernels.transpose(b * block * 4, k * 4, block, groups, tileAt);
      const dst = [codesAt + b * blob, blocks * blob, scalesAt + b * 4, blocks * 4] as const;
      if (symmetric) kernels.symmetric(tileAt, groups * 16, block, groups, ...dst);
      else kernels.asymmetric(tileAt, groups * 16, block, groups, ...dst, zerosAt + b * 4);
    }
    codes.set(new Uint8Array(buffer, codesAt, columns * blocks * blob), n0 * blocks * blob);
    scales.set(new Float32Array(buffer, scalesAt, columns * blocks), n0 * blocks);
    zeros?.set(new Float32Array(buffer, zerosAt, columns * blocks), n0 * blocks);
  }
  return { codes, scales, zeroPoints: zeros && packZeros(zeros, n, blocks) };
}

function packZeros(zeros: Float32Array, n: number, blocks: number): Uint8Array {
  const row = (blocks + 1) >> 1;
  const out = new Uint8Array(n * row);
  for (let c = 0; c < n; c++) {
    for (let b = 0; b < blocks; b++) {
      const at = c * row + (b >> 1);
      out[at] = out[at]! | (zeros[c * blocks + b]! << ((b & 1) * 4));
    }
  }
  return out;
}

/** The same in plain loops, for every width and block size. */
export function packScalar(data: Float32Array, shape: MatrixShape, options: BlockOptions): PackedBlocks {
  const { k, n, transposed } = shape;
  const { bits, block, symmetric } = options;
  const sizes = packedSizes(shape, options);
  const codes = new Uint8Array(sizes.codes);
  const scales = new Float32Array(sizes.scales);
  const zeroPoints = symmetric ? null : new Uint8Array(sizes.zeroPoints);
  const zeroRow = Math.ceil((sizes.blocks * bits) / 8);
  const scratch = new Float32Array(TILE * block);
  for (let n0 = 0; n0 < n; n0 += TILE) {
    const columns = Math.min(TILE, n - n0);
    for (let b = 0; b < sizes.blocks; b++) {
      const k0 = b * block;
      const rows = Math.min(block, k - k0);
      // Elements beyond k are zero, which every code range holds exactly.
      if (rows < block) scratch.fill(0);
      if (transposed) copyRows(data, scratch, k, n0, columns, k0, rows, block);
      else transposeTile(data, scratch, n, n0, columns, k0, rows, block);
      for (let c = 0; c < columns; c++) {
        const at = (n0 + c) * sizes.blocks + b;
        if (zeroPoints === null) {
          scales[at] = packSymmetric(scratch, c * block, block, bits, codes, at * sizes.blob);
        } else {
          const zero = packAsymmetric(scratch, c * block, block, bits, codes, at * sizes.blob, scales, at);
          const bit = b * bits;
          const byte = (n0 + c) * zeroRow + (bit >> 3);
          zeroPoints[byte] = zeroPoints[byte]! | (zero << (bit & 7));
        }
      }
    }
  }
  return { codes, scales, zeroPoints };
}

function copyRows(
  data: Float32Array,
  out: Float32Array,
  k: number,
  n0: number,
  columns: number,
  k0: number,
  rows: number,
  block: number,
): void {
  for (let c = 0; c < columns; c++) {
    const from = (n0 + c) * k + k0;
    out.set(data.subarray(from, from + rows), c * block);
  }
}

function transposeTile(
  data: Float32Array,
  out: Float32Array,
  n: number,
  n0: number,
  columns: number,
  k0: number,
  rows: number,
  block: number,
): void {
  for (let r = 0; r < rows; r++) {
    const from = (k0 + r) * n + n0;
    for (let c = 0, to = r; c < columns; c++, to += block) out[to] = data[from + c]!;
  }
}

/** Quantizes one block and answers its scale. */
function packSymmetric(data: Float32Array, from: number, block: number, bits: number, out: Uint8Array, to: number): number {
  let lo = 0;
  let hi = 0;
  for (let i = from; i < from + block; i++) {
    const v = data[i]!;
    if (v < lo) lo = v;
    if (v > hi) hi = v;
  }
  const middle = 1 << (bits - 1);
  let scale = Math.fround((-lo >= hi ? lo : hi) / -middle);
  if (!(Math.abs(scale) >= SMALLEST_SCALE)) scale = 1;
  packCodes(data, from, block, bits, scale, middle, out, to);
  return scale;
}

/** Quantizes one block, writes its scale, and answers its zero point. */
function packAsymmetric(
  data: Float32Array,
  from: number,
  block: number,
  bits: number,
  out: Uint8Array,
  to: number,
  scales: Float32Array,
  at: number,
): number {
  let lo = 0;
  let hi = 0;
  for (let i = from; i < from + block; i++) {
    const v = data[i]!;
    if (v < lo) lo = v;
    if (v > hi) hi = v;
  }
  const top = (1 << bits) - 1;
  let scale = Math.fround(Math.fround(hi - lo) / top);
  if (!(scale >= SMALLEST_SCALE)) scale = 1;
  scales[at] = scale;
  const zero = Math.max(0, Math.min(top, Math.fround(-lo / scale) + ROUND - ROUND));
  packCodes(data, from, block, bits, scale, zero, out, to);
  return zero;
}

function packCodes(
  data: Float32Array,
  from: number,
  block: number,
  bits: number,
  scale: number,
  zero: number,
  out: Uint8Array,
  to: number,
): void {
  const top = (1 << bits) - 1;
  if (bits === 4) {
    for (let i = from, o = to; i < from + block; i += 2, o++) {
      const a = Math.fround(data[i]! / scale) + ROUND - ROUND + zero;
      const b = Math.fround(data[i + 1]! / scale) + ROUND - ROUND + zero;
      out[o] = Math.max(0, Math.min(15, a)) | (Math.max(0, Math.min(15, b)) << 4);
    }
    return;
  }
  const perByte = 8 / bits;
  for (let i = 0; i < block; i++) {
    const q = Math.fround(data[from + i]! / scale) + ROUND - ROUND + zero;
    const code = Math.max(0, Math.min(top, q));
    const o = to + Math.floor(i / perByte);
    if (perByte === 1) out[o] = code;
    else out[o] = out[o]! | (code << ((i % perByte) * bits));
  }
}

/** The matrix back as float32 in the order it had: (code - zero point) * scale. */
export function unpackBlocks(packed: PackedBlocks, shape: MatrixShape, options: BlockOptions): Float32Array {
  const { k, n, transposed } = shape;
  const { bits, block } = options;
  const { blocks, blob } = packedSizes(shape, options);
  const data = new Float32Array(k * n);
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const zeroRow = Math.ceil((blocks * bits) / 8);
  for (let c = 0; c < n; c++) {
    for (let r = 0; r < k; r++) {
      const b = Math.floor(r / block);
      const i = r % block;
      const code = (packed.codes[(c * blocks + b) * blob + Math.floor(i / perByte)]! >> ((i % perByte) * bits)) & mask;
      const zero = packed.zeroPoints ? (packed.zeroPoints[c * zeroRow + ((b * bits) >> 3)]! >> ((b * bits) & 7)) & mask : 1 << (bits - 1);
      data[transposed ? c * k + r : r * n + c] = (code - zero) * packed.scales[c * blocks + b]!;
    }
  }
  return data;
}
