// Elements of tensors as text, both ways and exact: shortest decimals that read back as the same bits (but for the payload of a NaN).
// Complex elements are two numbers; float8, float6 and float4 are written as their values.
import { typeError } from '../errors.js';
import { Rng } from '../util/rng.js';
import { DTYPES, type DType } from './dtype.js';
import { elementCount, Tensor } from './tensor.js';

/** Elements of a tensor as words, in row-major order. At most `limit` of them. */
export function elementTexts(tensor: Tensor, limit = Number.POSITIVE_INFINITY): string[] {
  const { dtype } = tensor;
  if (dtype === 'string')
    return tensor
      .stringValues()
      .slice(0, limit)
      .map((s) => JSON.stringify(s));
  if (DTYPES[dtype].kind === 'complex')
    return take(tensor.view() as Float32Array, limit * 2, dtype === 'complex64' ? float32Text : floatText);
  if (dtype === 'int64' || dtype === 'uint64') return take(tensor.view() as BigInt64Array, limit, String);
  const isFloat32 = DTYPES[dtype].kind === 'float' && dtype !== 'double';
  return take(tensor.numbers(), limit, isFloat32 ? float32Text : floatText);
}

function take<T>(items: ArrayLike<T>, limit: number, text: (item: T) => string): string[] {
  const out: string[] = [];
  for (let i = 0; i < items.length && i < limit; i++) out.push(text(items[i]!));
  return out;
}

function floatText(x: number): string {
  if (Number.isNaN(x)) return 'nan';
  if (!Number.isFinite(x)) return x > 0 ? 'inf' : '-inf';
  return Object.is(x, -0) ? '-0.0' : String(x);
}

/** Fewest digits that give the same float32. */
export function float32Text(x: number): string {
  if (Number.isInteger(x) && Math.abs(x) < 2 ** 24) return floatText(x);
  for (let digits = 6; digits < 9; digits++) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === x) return floatText(Number(text));
  }
  return Number.isFinite(x) ? floatText(Number(x.toPrecision(9))) : floatText(x);
}

/** How a float attribute is written: always with a point or exponent, so that it does not read as an int. */
export function floatLiteral(x: number): string {
  const text = float32Text(x);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

export function parseFloatWord(word: string): number {
  const lower = word.toLowerCase();
  if (/^[+-]?inf(inity)?$/.test(lower)) return lower.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return /^[+-]?nan$/.test(lower) ? Number.NaN : Number(word);
}

/** A tensor from words. Throws E_TYPE or E_SHAPE where they do not fit. */
export function tensorFromTexts(dtype: DType, dims: readonly number[], words: readonly string[]): Tensor {
  const { kind, bits } = DTYPES[dtype];
  if (dtype === 'string') return Tensor.strings(dims, words);
  if (kind === 'complex')
    return Tensor.of(
      dtype,
      dims,
      dtype === 'complex64' ? Float32Array.from(words, parseFloatWord) : Float64Array.from(words, parseFloatWord),
    );
  if (dtype === 'int64') return Tensor.of(dtype, dims, BigInt64Array.from(words, toBigInt));
  if (dtype === 'uint64') return Tensor.of(dtype, dims, BigUint64Array.from(words, toBigInt));
  const numbers = words.map((word) => (word === 'true' ? 1 : word === 'false' ? 0 : parseFloatWord(word)));
  if (kind === 'int' || kind === 'uint') for (const x of numbers) checkRange(dtype, x);
  if (kind === 'float' && bits <= 8) return smallFloats(dtype, dims, numbers);
  return Tensor.from(dtype, dims, numbers);
}

function toBigInt(word: string): bigint {
  if (!/^[+-]?\d+$/.test(word)) throw typeError(`expected a whole number, got "${word}"`);
  return BigInt(word);
}

function checkRange(dtype: DType, x: number): void {
  const { kind, bits } = DTYPES[dtype];
  const min = kind === 'int' ? -(2 ** (bits - 1)) : 0;
  const max = 2 ** (kind === 'int' ? bits - 1 : bits) - 1;
  if (!Number.isInteger(x) || x < min || x > max) throw typeError(`expected ${dtype} values from ${min} to ${max}, got ${x}`);
}

/** Values to codes of a type of at most 8 bits, by looking for the nearest value among all codes. */
function smallFloats(dtype: DType, dims: readonly number[], values: readonly number[]): Tensor {
  const { bits } = DTYPES[dtype];
  const table = codeValues(dtype);
  const packed = new Uint8Array(Math.ceil((values.length * bits) / 8));
  values.forEach((x, i) => {
    const code = nearestCode(table, x);
    const bit = i * bits;
    const shifted = code << (bit % 8);
    const at = Math.floor(bit / 8);
    packed[at]! |= shifted & 255;
    if (shifted > 255) packed[at + 1]! |= shifted >> 8;
  });
  return new Tensor(dtype, dims, packed);
}

/** Value of every code of a small float type. */
function codeValues(dtype: DType): number[] {
  const { bits } = DTYPES[dtype];
  const count = 2 ** bits;
  const packed = new Uint8Array(Math.ceil((count * bits) / 8));
  for (let code = 0; code < count; code++) {
    const bit = code * bits;
    const shifted = code << (bit % 8);
    packed[Math.floor(bit / 8)]! |= shifted & 255;
    if (shifted > 255) packed[Math.floor(bit / 8) + 1]! |= shifted >> 8;
  }
  return Array.from(new Tensor(dtype, [count], packed).numbers());
}

function nearestCode(table: readonly number[], x: number): number {
  const exact = table.findIndex((value) => Object.is(value, x));
  if (exact >= 0) return exact;
  let best = 0;
  for (let code = 1; code < table.length; code++) {
    if (Math.abs(table[code]! - x) < Math.abs(table[best]! - x)) best = code;
  }
  return best;
}

/** `fill(v)`: every element the same. */
export function filledTensor(dtype: DType, dims: readonly number[], value: number): Tensor {
  const words = new Array<string>(elementCount(dims) * (DTYPES[dtype].kind === 'complex' ? 2 : 1)).fill(String(value));
  return tensorFromTexts(dtype, dims, words);
}

/**
 * `random(scale)`: the same content for the same name. Floats are uniform in [-scale, scale), integers whole in [0, scale),
 * bools fair coins.
 */
export function randomTensor(dtype: DType, dims: readonly number[], name: string, scale: number): Tensor {
  const { kind } = DTYPES[dtype];
  const rng = new Rng(1).fork(name);
  const count = elementCount(dims) * (kind === 'complex' ? 2 : 1);
  const numbers = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    numbers[i] =
      kind === 'bool' ? rng.integer(2) : kind === 'int' || kind === 'uint' ? rng.integer(scale) : (2 * rng.uniform() - 1) * scale;
  }
  if (dtype === 'float' || dtype === 'double' || dtype === 'float16' || dtype === 'bfloat16') return Tensor.from(dtype, dims, numbers);
  return tensorFromTexts(dtype, dims, Array.from(numbers, String));
}
