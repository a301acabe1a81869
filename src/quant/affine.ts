// The affine primitive: scales and zero points, quantize, dequantize and error, for every granularity and integer type alike.
// Bit for bit what ONNX Runtime's QuantizeLinear and DequantizeLinear compute: float32 division, round half to even, saturation.
// The loops run over whole groups; nothing is called per element.
import type { Layout } from './layout.js';
import { forEachGroup } from './layout.js';
import { codesOf, type QuantType, type Scheme } from './scheme.js';

/** Ranges of the groups of a layout; `max[i] < min[i]` only for empty groups. */
export interface Ranges {
  readonly min: Float32Array;
  readonly max: Float32Array;
}

/** Scale and zero point of each group. */
export interface AffineParameters {
  readonly dtype: QuantType;
  /** float32 values, as they are stored. */
  readonly scale: Float32Array;
  readonly zeroPoint: Int32Array;
  /** Smallest and largest code used. */
  readonly codes: { readonly min: number; readonly max: number };
}

/** Adding and taking away 1.5 * 2^52 rounds a double to the nearest whole number, halves to even. */
const ROUND = 6755399441055744;
/** Smallest normal float32: a scale below it would divide to infinity. */
const SMALLEST_SCALE = 1.1754943508222875e-38;

/** Rounds half to even; exact below 2^51. */
export function roundHalfEven(x: number): number {
  return x + ROUND - ROUND;
}

/** Smallest and largest element of each group. NaN elements are passed over. */
export function rangesOf(data: Float32Array, layout: Layout): Ranges {
  const min = new Float32Array(layout.count).fill(Number.POSITIVE_INFINITY);
  const max = new Float32Array(layout.count).fill(Number.NEGATIVE_INFINITY);
  const { length, vector } = layout;
  forEachGroup(layout, (start, rows, s) => {
    if (vector) {
      for (let r = 0; r < rows; r++) rowRanges(data, start + r * length, length, min, max, s);
    } else {
      runRange(data, start, start + rows * length, min, max, s);
    }
  });
  return { min, max };
}

function runRange(data: Float32Array, from: number, to: number, min: Float32Array, max: Float32Array, s: number): void {
  let lo = min[s]!;
  let hi = max[s]!;
  for (let i = from; i < to; i++) {
    const v = data[i]!;
    if (v < lo) lo = v;
    if (v > hi) hi = v;
  }
  min[s] = lo;
  max[s] = hi;
}

function rowRanges(data: Float32Array, from: number, length: number, min: Float32Array, max: Float32Array, s: number): void {
  for (let i = 0; i < length; i++) {
    const v = data[from + i]!;
    if (v < min[s + i]!) min[s + i] = v;
    if (v > max[s + i]!) max[s + i] = v;
  }
}

/** Scales and zero points from ranges. Groups that are empty or all zero get scale 1. */
export function affineParameters(ranges: Ranges, scheme: Pick<Scheme, 'dtype' | 'symmetry' | 'reduced'>): AffineParameters {
  const codes = codesOf(scheme);
  const n = ranges.min.length;
  const scale = new Float32Array(n);
  const zeroPoint = new Int32Array(n);
  for (let i = 0; i < n; i++) {
    // Zero must be exact: padding and ReLU depend on it.
    const lo = Math.min(ranges.min[i]!, 0);
    const hi = Math.max(ranges.max[i]!, 0);
    let s: number;
    if (scheme.symmetry === 'asymmetric') s = (hi - lo) / (codes.max - codes.min);
    else if (scheme.symmetry === 'symmetric') s = Math.max(-lo, hi) / (codes.max - codes.middle);
    else s = (-lo >= hi ? lo : hi) / (codes.min - codes.middle);
    s = Math.fround(s);
    if (!(Math.abs(s) >= SMALLEST_SCALE)) s = 1;
    scale[i] = s;
    const zero = scheme.symmetry === 'asymmetric' ? roundHalfEven(codes.min - lo / s) : codes.middle;
    zeroPoint[i] = Math.min(codes.max, Math.max(codes.min, zero));
  }
  return { dtype: scheme.dtype, scale, zeroPoint, codes: { min: codes.min, max: codes.max } };
}

/** Array that holds one code per element: 16 bits wide for 16-bit types, else 8. Unsigned codes are kept as their bit pattern. */
export type CodeArray = Int8Array | Int16Array;

export function newCodes(dtype: QuantType, size: number): CodeArray {
  return dtype === 'int16' || dtype === 'uint16' ? new Int16Array(size) : new Int8Array(size);
}

/** Quantizes into one code per element (see CodeArray). */
export function quantize(data: Float32Array, layout: Layout, parameters: AffineParameters, out?: CodeArray): CodeArray {
  const codes = out ?? newCodes(parameters.dtype, data.length);
  const { scale, zeroPoint } = parameters;
  const { min, max } = parameters.codes;
  const { length, vector } = layout;
  forEachGroup(layout, (start, rows, s) => {
    if (vector) {
      for (let r = 0; r < rows; r++) quantizeRow(data, start + r * length, length, codes, scale, zeroPoint, s, min, max);
    } else {
      quantizeRun(data, start, start + rows * length, codes, scale[s]!, zeroPoint[s]!, min, max);
    }
  });
  return codes;
}

function quantizeRun(
  data: Float32Array,
  from: number,
  to: number,
  out: CodeArray,
  scale: number,
  zero: number,
  min: number,
  max: number,
): void {
  const lo = min - zero;
  const hi = max - zero;
  for (let i = from; i < to; i++) {
    const v = Math.fround(data[i]! / scale);
    out[i] = (v < lo ? lo : v > hi ? hi : v + ROUND - ROUND) + zero;
  }
}

function quantizeRow(
  data: Float32Array,
  from: number,
  length: number,
  out: CodeArray,
  scale: Float32Array,
  zeroPoint: Int32Array,
  s: number,
  min: number,
  max: number,
): void {
  for (let i = 0; i < length; i++) {
    const v = Math.fround(data[from + i]! / scale[s + i]!);
    const zero = zeroPoint[s + i]!;
    const q = v + ROUND - ROUND + zero;
    out[from + i] = Math.max(min, Math.min(max, q));
  }
}

/** Codes back to float32: (q - zeroPoint) * scale. */
export function dequantize(codes: CodeArray, layout: Layout, parameters: AffineParameters, out?: Float32Array): Float32Array {
  const data = out ?? new Float32Array(codes.length);
  const { scale, zeroPoint } = parameters;
  const { length, vector } = layout;
  // Unsigned codes sit in signed arrays as bit patterns: the mask brings them back, and is all ones (no effect) for signed types.
  const mask = parameters.dtype === 'uint16' ? 0xffff : parameters.dtype.startsWith('uint') ? 0xff : -1;
  forEachGroup(layout, (start, rows, s) => {
    if (vector) {
      for (let r = 0; r < rows; r++) {
        const from = start + r * length;
        for (let i = 0; i < length; i++) data[from + i] = ((codes[from + i]! & mask) - zeroPoint[s + i]!) * scale[s + i]!;
      }
    } else {
      const to = start + rows * length;
      const step = scale[s]!;
      const zero = zeroPoint[s]!;
      for (let i = start; i < to; i++) data[i] = ((codes[i]! & mask) - zero) * step;
    }
  });
  return data;
}

/** Bytes of the codes as ONNX stores them: sub-byte types packed, first element in the low bits. */
export function packCodes(codes: CodeArray, dtype: QuantType): Uint8Array {
  if (dtype === 'int2' || dtype === 'uint2') return pack2(codes as Int8Array);
  if (dtype === 'int4' || dtype === 'uint4') return pack4(codes as Int8Array);
  return new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
}

function pack4(codes: Int8Array): Uint8Array {
  const n = codes.length;
  const out = new Uint8Array((n + 1) >> 1);
  const even = n & ~1;
  for (let i = 0, o = 0; i < even; i += 2, o++) out[o] = (codes[i]! & 15) | (codes[i + 1]! << 4);
  if (even < n) out[even >> 1] = codes[even]! & 15;
  return out;
}

function pack2(codes: Int8Array): Uint8Array {
  const n = codes.length;
  const out = new Uint8Array((n + 3) >> 2);
  for (let i = 0; i < n; i++) out[i >> 2] = out[i >> 2]! | ((codes[i]! & 3) << ((i & 3) * 2));
  return out;
}

/** What rounding did to the values. */
export interface QuantizationError {
  readonly maxAbs: number;
  /** Mean of the squared differences. */
  readonly mse: number;
  /** 10 log10(signal power / noise power) in dB; infinite where nothing was lost. */
  readonly sqnr: number;
}

/** Compares values with what dequantization gives back. */
export function quantizationError(data: Float32Array, restored: Float32Array): QuantizationError {
  let noise = 0;
  let signal = 0;
  let maxAbs = 0;
  for (let i = 0; i < data.length; i++) {
    const v = data[i]!;
    const d = Math.abs(v - restored[i]!);
    if (d > maxAbs) maxAbs = d;
    noise += d * d;
    signal += v * v;
  }
  return {
    maxAbs,
    mse: data.length === 0 ? 0 : noise / data.length,
    sqnr: noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise),
  };
}
