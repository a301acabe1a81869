// Values of the 8-bit, 6-bit and 4-bit floating-point types of ONNX, for reading only.
// OCP "8-bit Floating Point Specification" (E4M3FN, E5M2) and "Microscaling Formats" (E8M0, E2M1, E2M3, E3M2); the FNUZ kinds have one zero and one NaN.
import type { DType } from './dtype.js';

interface Layout {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  readonly fnuz: boolean;
  /** Largest exponent code means infinity and NaN, as in IEEE 754. */
  readonly ieee: boolean;
}

const LAYOUTS: Partial<Record<DType, Layout>> = {
  float8e4m3fn: { exponentBits: 4, mantissaBits: 3, bias: 7, fnuz: false, ieee: false },
  float8e4m3fnuz: { exponentBits: 4, mantissaBits: 3, bias: 8, fnuz: true, ieee: false },
  float8e5m2: { exponentBits: 5, mantissaBits: 2, bias: 15, fnuz: false, ieee: true },
  float8e5m2fnuz: { exponentBits: 5, mantissaBits: 2, bias: 16, fnuz: true, ieee: false },
};

/** Value of one byte of a float8 type. */
export function float8ToNumber(dtype: DType, byte: number): number {
  if (dtype === 'float8e8m0') return byte === 255 ? Number.NaN : 2 ** (byte - 127);
  const layout = LAYOUTS[dtype]!;
  const { exponentBits, mantissaBits, bias } = layout;
  if (layout.fnuz && byte === 0x80) return Number.NaN;
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> mantissaBits) & ((1 << exponentBits) - 1);
  const mantissa = byte & ((1 << mantissaBits) - 1);
  const top = (1 << exponentBits) - 1;
  if (layout.ieee && exponent === top) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (!layout.ieee && !layout.fnuz && exponent === top && mantissa === (1 << mantissaBits) - 1) return Number.NaN;
  const scale = 2 ** mantissaBits;
  return exponent === 0 ? sign * (mantissa / scale) * 2 ** (1 - bias) : sign * (1 + mantissa / scale) * 2 ** (exponent - bias);
}

const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** Value of one 4-bit code of float4e2m1. */
export function float4ToNumber(code: number): number {
  const magnitude = E2M1[code & 7]!;
  return code & 8 ? -magnitude : magnitude;
}

/** Value of one 6-bit code of float6e2m3 or float6e3m2; neither has infinity or NaN. */
export function float6ToNumber(dtype: DType, code: number): number {
  const mantissaBits = dtype === 'float6e2m3' ? 3 : 2;
  const bias = dtype === 'float6e2m3' ? 1 : 3;
  const exponent = (code & 31) >> mantissaBits;
  const fraction = (code & ((1 << mantissaBits) - 1)) / 2 ** mantissaBits;
  const magnitude = exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
  return code & 32 ? -magnitude : magnitude;
}
