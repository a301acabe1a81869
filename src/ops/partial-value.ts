// Following the content of small tensors through shape arithmetic: the element-by-element part of value propagation.
// Items are numbers, symbolic dimensions (integers >= 0 whose value is not known yet) or null. Floats are followed where they are numbers,
// and where they are whole dimensions that passed through a Cast. Movement of items (Slice, Gather ...) is in partial-moves.ts.

import { addDims, equalDims, floorDivDims, maxDims, minDims, mulDims, subDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import { DTYPES, isFloat } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';
import { type Dim, isStatic } from '../ir/type.js';
import { mapValues } from './infer-helpers.js';
import { type InferContext, MAX_PARTIAL_ELEMENTS, type PartialValue } from './op.js';

/** Elements of static dimensions. */
export function sizeOf(dims: readonly number[]): number {
  return dims.reduce((n, d) => n * d, 1);
}

/** A partial value, or undefined where it is too large to follow or nothing in it is known. */
export function partialOf(dtype: DType, dims: readonly number[], items: readonly Dim[]): PartialValue | undefined {
  if (items.length > MAX_PARTIAL_ELEMENTS || (items.length > 0 && items.every((x) => x === null))) return undefined;
  return { dtype, dims, items };
}

/** Every element of an input as a number, where all are known (constants of any size too). */
export function knownNumbers(ctx: InferContext, input: number): number[] | undefined {
  const value = ctx.value(input);
  if (value?.items.every((x) => typeof x === 'number')) return value.items as number[];
  const tensor = ctx.constant(input);
  if (tensor === undefined || tensor.dtype === 'string' || DTYPES[tensor.dtype].kind === 'complex') return undefined;
  return Array.from(tensor.numbers());
}

/** The only element of an input that has exactly one. */
export function scalarItem(ctx: InferContext, input: number): Dim {
  const value = ctx.value(input);
  if (value?.items.length === 1) return value.items[0]!;
  const numbers = knownNumbers(ctx, input);
  return numbers?.length === 1 ? numbers[0]! : null;
}

/** Items of a one-dimensional input that holds a shape; null for each unknown one; undefined where not even their number is known. */
export function shapeItems(ctx: InferContext, input: number): readonly Dim[] | undefined {
  const value = ctx.value(input);
  if (value) return value.items;
  const numbers = knownNumbers(ctx, input);
  if (numbers) return numbers;
  const shape = ctx.shape(input);
  const count = shape?.length === 1 ? shape[0] : undefined;
  return typeof count === 'number' && count <= MAX_PARTIAL_ELEMENTS ? new Array<Dim>(count).fill(null) : undefined;
}

// ---- single items ----------------------------------------------------------------------------------------------

/** True where no value of the symbols makes it negative (symbols stand for extents, so for integers >= 0). */
export function isNonNegative(x: Dim): boolean {
  return typeof x === 'number' ? x >= 0 : x !== null && maxDims(x, 0) === x;
}

/** True where the two are certainly equal, false where certainly not, undefined where it depends. */
export function itemsEqual(a: Dim, b: Dim): boolean | undefined {
  if (a === null || b === null) return undefined;
  if (typeof a === 'number' && typeof b === 'number') return a === b;
  if (!Number.isInteger(a) && !Number.isInteger(b) && a === b) return true;
  if (!wholeOrSymbol(a) || !wholeOrSymbol(b)) return false;
  return equalDims(a, b);
}

/** a < b, where it can be told. */
export function itemLess(a: Dim, b: Dim): boolean | undefined {
  if (a === null || b === null) return undefined;
  if (typeof a === 'number' && typeof b === 'number') return a < b;
  if (!wholeOrSymbol(a) || !wholeOrSymbol(b)) return undefined;
  const ahead = subDims(a, b);
  if (typeof ahead === 'number') return ahead < 0;
  if (isNonNegative(ahead)) return false;
  return isNonNegative(subDims(subDims(b, a), 1)) ? true : undefined;
}

function wholeOrSymbol(x: Dim): boolean {
  return typeof x === 'string' || Number.isInteger(x);
}

/** Applies symbolic arithmetic to whole numbers and symbols, plain arithmetic to numbers. */
function arithmetic(a: Dim, b: Dim, numbers: (x: number, y: number) => number, symbols: (x: Dim, y: Dim) => Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return numbers(a, b);
  if (a === null || b === null) return null;
  return wholeOrSymbol(a) && wholeOrSymbol(b) ? symbols(a, b) : null;
}

export const addItems = (a: Dim, b: Dim): Dim => arithmetic(a, b, (x, y) => x + y, addDims);
export const subItems = (a: Dim, b: Dim): Dim => arithmetic(a, b, (x, y) => x - y, subDims);
export const minItems = (a: Dim, b: Dim): Dim => arithmetic(a, b, Math.min, minDims);
export const maxItems = (a: Dim, b: Dim): Dim => arithmetic(a, b, Math.max, maxDims);

export function mulItems(a: Dim, b: Dim): Dim {
  if (a === 1) return b;
  if (b === 1) return a;
  return arithmetic(a, b, (x, y) => x * y, mulDims);
}

/** Integer division rounds towards zero; for symbols that is the floor, as long as nothing is negative. */
export function divItems(a: Dim, b: Dim, dtype: DType): Dim {
  if (b === 0) return null;
  if (b === 1) return a;
  if (typeof a === 'number' && typeof b === 'number') return isFloat(dtype) ? a / b : Math.trunc(a / b);
  if (a === null || b === null || !wholeOrSymbol(a) || !wholeOrSymbol(b)) return null;
  const quotient = floorDivDims(a, b);
  if (itemsEqual(mulDims(quotient, b), a)) return quotient;
  return !isFloat(dtype) && isNonNegative(a) && isNonNegative(b) ? quotient : null;
}

/** `fmod`: the sign follows the dividend; otherwise the divisor. */
export function modItems(a: Dim, b: Dim, fmod: boolean): Dim {
  if (b === 0) return null;
  if (typeof a === 'number' && typeof b === 'number') return fmod ? a % b : a - Math.floor(a / b) * b;
  if (a === null || b === null || !wholeOrSymbol(a) || !wholeOrSymbol(b)) return null;
  if (!isNonNegative(a) || !isNonNegative(b)) return null;
  return subDims(a, mulDims(floorDivDims(a, b), b));
}

export function absItem(a: Dim): Dim {
  if (typeof a === 'number') return Math.abs(a);
  return isNonNegative(a) ? a : null;
}

/** Rounds to nearest, halves to even; whole dimensions stay. */
export function roundItem(a: Dim): Dim {
  if (typeof a !== 'number') return a;
  const below = Math.floor(a);
  const rest = a - below;
  if (rest !== 0.5) return Math.round(a);
  return below % 2 === 0 ? below : below + 1;
}

export const bool = (x: boolean | undefined): Dim => (x === undefined ? null : x ? 1 : 0);

/** Result of arithmetic as the type holds it: floats rounded to their precision, integers beyond the type's or the safe range unknown. */
export function settle(dtype: DType, x: Dim): Dim {
  if (typeof x !== 'number') return x;
  if (dtype === 'float') return Math.fround(x);
  if (dtype === 'double') return x;
  if (dtype === 'float16' || dtype === 'bfloat16') return Tensor.scalar(dtype, x).floats()[0]!;
  const { kind, bits } = DTYPES[dtype];
  if (kind === 'bool') return x === 0 ? 0 : 1;
  if (!Number.isSafeInteger(x)) return null;
  if (kind === 'uint') return x >= 0 && x < 2 ** bits ? x : null;
  return kind === 'int' && x >= -(2 ** (bits - 1)) && x < 2 ** (bits - 1) ? x : null;
}

// ---- whole values ----------------------------------------------------------------------------------------------

/** Applies `fn` to the contents of the first `count` inputs, broadcast, and rounds as `dtype` does; undefined where any of them is not followed. */
export function combine(ctx: InferContext, dtype: DType, count: number, fn: (...items: Dim[]) => Dim): PartialValue | undefined {
  const values: PartialValue[] = [];
  for (let i = 0; i < count; i++) {
    const value = ctx.value(i);
    if (value === undefined) return undefined;
    values.push(value);
  }
  const out = mapValues(dtype, values, (...items) => settle(dtype, fn(...items)));
  return out && partialOf(dtype, out.dims, out.items);
}

/** Content of an input with all that is not known as null; undefined where it is too large or its shape is not static. */
export function followed(ctx: InferContext, input: number): PartialValue | undefined {
  const value = ctx.value(input);
  if (value !== undefined) return value;
  const dtype = ctx.dtype(input);
  const shape = ctx.shape(input);
  if (dtype === undefined || !isStatic(shape)) return undefined;
  const count = sizeOf(shape);
  return count <= MAX_PARTIAL_ELEMENTS ? { dtype, dims: shape, items: new Array<Dim>(count).fill(null) } : undefined;
}
