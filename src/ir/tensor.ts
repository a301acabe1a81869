// A tensor: element type, dimensions and bytes (little-endian, row-major, sub-byte types packed low bits first), possibly still on disk.
// Tensors are immutable by contract: passes make new ones and share the bytes of those they do not change.

import { limitError, shapeError, typeError } from '../errors.js';
import { bfloatBitsFromFloatBits, floatBitsFromBfloatBits, floatsFromHalfBits, halfBitsFromFloatBits } from '../util/half.js';
import { byteLengthOf, DTYPES, type DType } from './dtype.js';
import { float4ToNumber, float6ToNumber, float8ToNumber } from './small-floats.js';
import { type ByteSource, MemorySource } from './source.js';

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

type ViewConstructor = { new (buffer: ArrayBufferLike, byteOffset: number, length: number): TypedArray; BYTES_PER_ELEMENT: number };

// Types without a JavaScript array of their own are viewed as their bits: halves as Uint16Array, packed and 8-bit floats as Uint8Array.
const VIEWS: Record<Exclude<DType, 'string'>, ViewConstructor> = {
  float: Float32Array,
  double: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  complex64: Float32Array,
  complex128: Float64Array,
  float8e4m3fn: Uint8Array,
  float8e4m3fnuz: Uint8Array,
  float8e5m2: Uint8Array,
  float8e5m2fnuz: Uint8Array,
  float8e8m0: Uint8Array,
  float4e2m1: Uint8Array,
  uint4: Uint8Array,
  int4: Uint8Array,
  uint2: Uint8Array,
  int2: Uint8Array,
  float6e2m3: Uint8Array,
  float6e3m2: Uint8Array,
};

/** Product of the dimensions (1 for a scalar). Throws E_LIMIT where it is no safe integer, E_SHAPE for a negative dimension. */
export function elementCount(dims: readonly number[]): number {
  let count = 1;
  for (const d of dims) {
    if (!(d >= 0) || !Number.isInteger(d)) throw shapeError(`expected non-negative whole dimensions, got [${dims.join(',')}]`);
    count *= d;
  }
  if (!Number.isSafeInteger(count)) throw limitError(`a tensor of [${dims.join(',')}] has more elements than can be counted`);
  return count;
}

export interface TensorExtra {
  /** Name in the file of a tensor that is an attribute's value (an initializer's name is its value's). */
  readonly name?: string | undefined;
  readonly doc?: string | undefined;
  readonly metadata?: ReadonlyMap<string, string> | undefined;
  /** Protobuf fields that Pare does not know, kept as they were. */
  readonly unknown?: Uint8Array | undefined;
}

export class Tensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly #source: ByteSource;
  readonly #strings: readonly Uint8Array[] | undefined;
  readonly extra: TensorExtra | undefined;

  /** Throws E_SHAPE where the source does not hold exactly the bytes that type and dimensions ask for. */
  constructor(
    dtype: DType,
    dims: readonly number[],
    source: ByteSource | Uint8Array,
    extra?: TensorExtra,
    strings?: readonly Uint8Array[],
  ) {
    this.dtype = dtype;
    this.dims = dims;
    this.#source = source instanceof Uint8Array ? new MemorySource(source) : source;
    this.#strings = strings;
    this.extra = extra;
    const count = elementCount(dims);
    if (dtype === 'string') {
      if (strings?.length !== count)
        throw shapeError(`string tensor of [${dims.join(',')}]: expected ${count} strings, got ${strings?.length ?? 0}`);
    } else if (this.#source.byteLength !== byteLengthOf(dtype, count)) {
      throw shapeError(
        `tensor ${dtype}[${dims.join(',')}]: expected ${byteLengthOf(dtype, count)} bytes, got ${this.#source.byteLength} bytes`,
      );
    }
  }

  /** A tensor over a typed array's memory (no copy). The array's width must be the type's: halves as Uint16Array, int64 as BigInt64Array. */
  static of(dtype: DType, dims: readonly number[], data: TypedArray): Tensor {
    return new Tensor(dtype, dims, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  /** A tensor from plain numbers, converted to `dtype` (rounded to nearest even for halves, truncated for integers). */
  static from(dtype: DType, dims: readonly number[], values: ArrayLike<number>): Tensor {
    return new Tensor(dtype, dims, packNumbers(dtype, values));
  }

  static scalar(dtype: DType, value: number): Tensor {
    return Tensor.from(dtype, [], [value]);
  }

  static strings(dims: readonly number[], values: readonly (string | Uint8Array)[]): Tensor {
    const encoder = new TextEncoder();
    const raw = values.map((v) => (typeof v === 'string' ? encoder.encode(v) : v));
    return new Tensor('string', dims, new Uint8Array(0), undefined, raw);
  }

  /** Number of elements. */
  get size(): number {
    return elementCount(this.dims);
  }

  /** Bytes of the elements, packed. For strings the sum of their UTF-8 lengths. */
  get byteLength(): number {
    return this.#strings ? this.#strings.reduce((sum, s) => sum + s.byteLength, 0) : this.#source.byteLength;
  }

  get rank(): number {
    return this.dims.length;
  }

  get source(): ByteSource {
    return this.#source;
  }

  /** The bytes, read now if they are on disk. Read-only by contract. */
  bytes(): Uint8Array {
    return this.#source.bytes();
  }

  /** The same tensor with its bytes in memory, so that the synchronous views below cost nothing. */
  async load(): Promise<Tensor> {
    if (this.#source.resident) return this;
    return new Tensor(this.dtype, this.dims, await this.#source.load(), this.extra, this.#strings);
  }

  /** The elements in a typed array of the type's own width (bits for halves, packed bytes below 8 bits). A view where aligned, else a copy. */
  view(): TypedArray {
    if (this.dtype === 'string') throw typeError('expected a numeric tensor, got string');
    const bytes = this.#source.bytes();
    const View = VIEWS[this.dtype];
    // A new array, not slice(): that of a Buffer is a view.
    const aligned = bytes.byteOffset % View.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
    return new View(aligned.buffer, aligned.byteOffset, aligned.byteLength / View.BYTES_PER_ELEMENT);
  }

  /** Elements as numbers in float32 precision. Float tensors answer with a view, all others with a converted copy. */
  floats(): Float32Array {
    if (this.dtype === 'float') return this.view() as Float32Array;
    if (this.dtype === 'float16' || this.dtype === 'bfloat16') {
      const out = new Float32Array(this.size);
      const bits = this.view() as Uint16Array;
      if (this.dtype === 'float16') floatsFromHalfBits(bits, out);
      else floatBitsFromBfloatBits(bits, new Uint32Array(out.buffer));
      return out;
    }
    return Float32Array.from(this.numbers());
  }

  /** Elements as JavaScript numbers (int64 loses precision beyond 2^53; use `bigints()` where that matters). */
  numbers(): ArrayLike<number> & Iterable<number> {
    const { kind, bits } = DTYPES[this.dtype];
    if (kind === 'complex' || kind === 'string') throw typeError(`expected a real numeric tensor, got ${this.dtype}`);
    const view = this.view();
    if (this.dtype === 'int64' || this.dtype === 'uint64') return Array.from(view as BigInt64Array, Number);
    if (this.dtype === 'float16' || this.dtype === 'bfloat16') return this.floats();
    if (bits < 8) return unpackSmall(this.dtype, view as Uint8Array, this.size);
    if (kind === 'float' && bits === 8) return Float32Array.from(view as Uint8Array, (b) => float8ToNumber(this.dtype, b));
    return view as Float32Array;
  }

  /** Integer elements without loss of precision. */
  bigints(): bigint[] {
    if (this.dtype === 'int64' || this.dtype === 'uint64') return Array.from(this.view() as BigInt64Array);
    return Array.from(this.numbers(), (n) => BigInt(n));
  }

  /** Raw UTF-8 of a string tensor. */
  stringBytes(): readonly Uint8Array[] {
    if (this.#strings === undefined) throw typeError(`expected a string tensor, got ${this.dtype}`);
    return this.#strings;
  }

  /** Elements of a string tensor, decoded as UTF-8. */
  stringValues(): string[] {
    const decoder = new TextDecoder();
    return this.stringBytes().map((s) => decoder.decode(s));
  }

  /** The same bytes under other dimensions of equal size. */
  reshape(dims: readonly number[]): Tensor {
    return new Tensor(this.dtype, dims, this.#source, this.extra, this.#strings);
  }

  /** A converted copy; the same tensor where the type is already right. */
  cast(dtype: DType): Tensor {
    if (dtype === this.dtype) return this;
    return Tensor.from(
      dtype,
      this.dims,
      dtype === 'int64' || dtype === 'uint64' || dtype === 'double' ? this.numbers() : this.#castable(dtype),
    );
  }

  #castable(dtype: DType): ArrayLike<number> {
    return DTYPES[dtype].kind === 'float' ? this.floats() : this.numbers();
  }
}

function packNumbers(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const { kind, bits } = DTYPES[dtype];
  const n = values.length;
  if (dtype === 'int64' || dtype === 'uint64') {
    const out = dtype === 'int64' ? new BigInt64Array(n) : new BigUint64Array(n);
    for (let i = 0; i < n; i++) out[i] = BigInt(Math.trunc(values[i]!));
    return new Uint8Array(out.buffer);
  }
  if (dtype === 'float16' || dtype === 'bfloat16') {
    const floats = values instanceof Float32Array ? values : Float32Array.from(values);
    const inBits = new Uint32Array(floats.buffer, floats.byteOffset, n);
    const out = new Uint16Array(n);
    if (dtype === 'float16') halfBitsFromFloatBits(inBits, out);
    else bfloatBitsFromFloatBits(inBits, out);
    return new Uint8Array(out.buffer);
  }
  if (dtype === 'bool') return Uint8Array.from(values, (v) => (v ? 1 : 0));
  if (kind === 'string' || kind === 'complex' || (kind === 'float' && bits <= 8))
    throw typeError(`cannot make a ${dtype} tensor from numbers`);
  if (bits < 8) return packSmall(values, bits);
  const View = VIEWS[dtype as Exclude<DType, 'string'>];
  const out = new View(new ArrayBuffer(n * View.BYTES_PER_ELEMENT), 0, n) as Float32Array;
  for (let i = 0; i < n; i++) out[i] = values[i]!;
  return new Uint8Array(out.buffer);
}

/** Packs integers of 2 or 4 bits, first element in the low bits. */
function packSmall(values: ArrayLike<number>, bits: number): Uint8Array {
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const out = new Uint8Array(Math.ceil(values.length / perByte));
  for (let i = 0; i < values.length; i++) out[Math.floor(i / perByte)]! |= (values[i]! & mask) << ((i % perByte) * bits);
  return out;
}

function unpackSmall(dtype: DType, packed: Uint8Array, size: number): Float32Array | Int8Array {
  const { bits, kind } = DTYPES[dtype];
  if (bits === 6) return unpackSixBits(dtype, packed, size);
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const signBit = kind === 'int' ? 1 << (bits - 1) : 0;
  const out = kind === 'float' ? new Float32Array(size) : new Int8Array(size);
  for (let i = 0; i < size; i++) {
    const raw = (packed[Math.floor(i / perByte)]! >> ((i % perByte) * bits)) & mask;
    out[i] = kind === 'float' ? float4ToNumber(raw) : (raw ^ signBit) - signBit;
  }
  return out;
}

/** Four elements of 6 bits take three bytes, low bits first. */
function unpackSixBits(dtype: DType, packed: Uint8Array, size: number): Float32Array {
  const out = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const bit = i * 6;
    const at = Math.floor(bit / 8);
    const pair = packed[at]! | ((packed[at + 1] ?? 0) << 8);
    out[i] = float6ToNumber(dtype, (pair >> (bit % 8)) & 63);
  }
  return out;
}
