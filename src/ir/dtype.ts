// The element types of ONNX: name, number in TensorProto.DataType, width in bits and the typed array that views them.
// Names are ONNX's own, lower case ("float" is 32 bits wide, "double" 64). Sub-byte types pack low bits first.
import { typeError } from '../errors.js';

const TABLE = {
  float: { code: 1, bits: 32, kind: 'float' },
  uint8: { code: 2, bits: 8, kind: 'uint' },
  int8: { code: 3, bits: 8, kind: 'int' },
  uint16: { code: 4, bits: 16, kind: 'uint' },
  int16: { code: 5, bits: 16, kind: 'int' },
  int32: { code: 6, bits: 32, kind: 'int' },
  int64: { code: 7, bits: 64, kind: 'int' },
  string: { code: 8, bits: 0, kind: 'string' },
  bool: { code: 9, bits: 8, kind: 'bool' },
  float16: { code: 10, bits: 16, kind: 'float' },
  double: { code: 11, bits: 64, kind: 'float' },
  uint32: { code: 12, bits: 32, kind: 'uint' },
  uint64: { code: 13, bits: 64, kind: 'uint' },
  complex64: { code: 14, bits: 64, kind: 'complex' },
  complex128: { code: 15, bits: 128, kind: 'complex' },
  bfloat16: { code: 16, bits: 16, kind: 'float' },
  float8e4m3fn: { code: 17, bits: 8, kind: 'float' },
  float8e4m3fnuz: { code: 18, bits: 8, kind: 'float' },
  float8e5m2: { code: 19, bits: 8, kind: 'float' },
  float8e5m2fnuz: { code: 20, bits: 8, kind: 'float' },
  uint4: { code: 21, bits: 4, kind: 'uint' },
  int4: { code: 22, bits: 4, kind: 'int' },
  float4e2m1: { code: 23, bits: 4, kind: 'float' },
  float8e8m0: { code: 24, bits: 8, kind: 'float' },
  uint2: { code: 25, bits: 2, kind: 'uint' },
  int2: { code: 26, bits: 2, kind: 'int' },
  float6e2m3: { code: 27, bits: 6, kind: 'float' },
  float6e3m2: { code: 28, bits: 6, kind: 'float' },
} as const;

export type DType = keyof typeof TABLE;
export type DTypeKind = 'float' | 'int' | 'uint' | 'bool' | 'string' | 'complex';

export interface DTypeInfo {
  /** Number in TensorProto.DataType. */
  readonly code: number;
  /** Width of one element in bits; 0 for strings. */
  readonly bits: number;
  readonly kind: DTypeKind;
}

export const DTYPES: Readonly<Record<DType, DTypeInfo>> = TABLE;

const BY_CODE = new Map<number, DType>((Object.keys(TABLE) as DType[]).map((name) => [TABLE[name].code, name]));

/** Type with this number in TensorProto.DataType; throws E_TYPE for a number ONNX does not define. */
export function dtypeOfCode(code: number): DType {
  const dtype = BY_CODE.get(code);
  if (dtype === undefined) throw typeError(`unknown ONNX data type ${code}: expected 1 to ${BY_CODE.size}`);
  return dtype;
}

/** Bytes that `elements` packed elements of `dtype` take; sub-byte types round up to a whole byte. */
export function byteLengthOf(dtype: DType, elements: number): number {
  return Math.ceil((elements * DTYPES[dtype].bits) / 8);
}

export function isFloat(dtype: DType): boolean {
  return DTYPES[dtype].kind === 'float';
}

/** True for signed and unsigned integers (not bool). */
export function isInteger(dtype: DType): boolean {
  const { kind } = DTYPES[dtype];
  return kind === 'int' || kind === 'uint';
}

/** Smallest and largest value of an integer type of up to 32 bits. */
export function integerRange(dtype: DType): { min: number; max: number } {
  const { bits, kind } = DTYPES[dtype];
  if ((kind !== 'int' && kind !== 'uint') || bits > 32) throw typeError(`expected an integer type of at most 32 bits, got ${dtype}`);
  return kind === 'int' ? { min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 } : { min: 0, max: 2 ** bits - 1 };
}
