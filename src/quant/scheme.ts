// How numbers are stored as integers: element type, which elements share a scale (granularity), and where zero lies.
// q = clamp(round(x / scale) + zeroPoint, qmin, qmax), x' = (q - zeroPoint) * scale. ONNX QuantizeLinear defines the same.
import { typeError } from '../errors.js';
import type { DType } from '../ir/dtype.js';
import { integerRange } from '../ir/dtype.js';

/** Integer types that a quantized tensor may have. */
export type QuantType = Extract<DType, 'int2' | 'uint2' | 'int4' | 'uint4' | 'int8' | 'uint8' | 'int16' | 'uint16'>;

export const QUANT_TYPES: readonly QuantType[] = ['int2', 'uint2', 'int4', 'uint4', 'int8', 'uint8', 'int16', 'uint16'];

/** Which elements share one scale and zero point. A negative axis counts from the end. */
export type Granularity =
  | { readonly kind: 'tensor' }
  | { readonly kind: 'channel'; readonly axis: number }
  /** Runs of `size` elements along `axis`; the last block may be short. */
  | { readonly kind: 'block'; readonly axis: number; readonly size: number };

export const PER_TENSOR: Granularity = { kind: 'tensor' };

/**
 * Where zero lies.
 * - `asymmetric`: the range is [min, max] widened to hold 0; the zero point is chosen so that 0 is exact.
 * - `symmetric`: the range is [-a, a]; zero point 0 (the middle for unsigned types); the lowest code is not used, so that -a and a are both exact.
 * - `absmax`: as symmetric, but the element of largest magnitude, with its sign, lands on the lowest code: scale = extreme / qmin, which may be
 *   negative. Uses all codes; this is what 4-bit weight quantizers of ONNX Runtime and transformers.js write.
 */
export type Symmetry = 'asymmetric' | 'symmetric' | 'absmax';

export interface Scheme {
  readonly dtype: QuantType;
  readonly granularity: Granularity;
  readonly symmetry: Symmetry;
  /** One bit less than the type has, for kernels whose 16-bit sums of 8-bit products saturate (x86 without VNNI). */
  readonly reduced?: boolean;
}

export interface Codes {
  readonly min: number;
  readonly max: number;
  /** Code of zero in symmetric schemes. */
  readonly middle: number;
}

/** Smallest, largest and middle code that a scheme uses. */
export function codesOf(scheme: Pick<Scheme, 'dtype' | 'symmetry' | 'reduced'>): Codes {
  const full = integerRange(scheme.dtype);
  const signed = full.min < 0;
  const levels = (full.max - full.min + 1) / (scheme.reduced ? 2 : 1);
  const middle = signed ? 0 : (full.max + 1) / 2;
  if (scheme.symmetry === 'asymmetric') {
    // A reduced unsigned type keeps its codes low ([0, 127]); a reduced signed one keeps them around zero ([-64, 63]).
    const min = signed ? -levels / 2 : 0;
    return { min, max: min + levels - 1, middle };
  }
  const half = levels / 2;
  return { min: middle - half + (scheme.symmetry === 'symmetric' ? 1 : 0), max: middle + half - 1, middle };
}

export function isSignedType(dtype: QuantType): boolean {
  return integerRange(dtype).min < 0;
}

/** The quantized integer type of a width; throws E_TYPE for widths that ONNX does not have. */
export function quantTypeOf(bits: number, signed: boolean): QuantType {
  const name = `${signed ? 'int' : 'uint'}${bits}` as QuantType;
  if (!QUANT_TYPES.includes(name)) throw typeError(`expected 2, 4, 8 or 16 bits, got ${bits}`);
  return name;
}
