// What the inference functions of many operators share: axes, broadcasting, sliding windows and arithmetic on partly known contents.
// Nothing here throws for a dimension that may fit: only certain contradictions are errors.

import { addDims, ceilDivDims, equalDims, floorDivDims, maxDims, minDims, mulDims, subDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Dim, Shape, ValueType } from '../ir/type.js';
import { formatShape, tensorType } from '../ir/type.js';
import { type InferContext, type Inferred, MAX_PARTIAL_ELEMENTS, type PartialValue } from './op.js';

// ---- results ----

/** A tensor result; without a known element type nothing is known. */
export function tensorResult(dtype: DType | undefined, shape: Shape | null, value?: PartialValue | undefined): Inferred {
  if (dtype === undefined) return { type: undefined };
  return value === undefined ? { type: tensorType(dtype, shape) } : { type: tensorType(dtype, shape), value };
}

/** infer of an operator whose one output has the type of an input. `value` also hands the content through (Identity). */
export function sameAsInput(input = 0, options: { value?: boolean } = {}): (ctx: InferContext) => Inferred[] {
  return (ctx) => [{ type: ctx.type(input), value: options.value ? ctx.value(input) : undefined }];
}

/** infer of an operator whose one output has the shape of an input and the given element type. */
export function shapeOfInput(dtype: DType, input = 0): (ctx: InferContext) => Inferred[] {
  return (ctx) => [tensorResult(dtype, ctx.shape(input))];
}

// ---- axes ----

/** Axis counted from the front; fails where it lies outside [-rank, rank). `input` is named in the error. */
export function normalizeAxis(ctx: InferContext, axis: number, rank: number, input = 0): number {
  if (axis < -rank || axis >= rank || !Number.isInteger(axis)) ctx.failShape(input, `an axis in [${-rank},${rank - 1}]`, `axis ${axis}`);
  return axis < 0 ? axis + rank : axis;
}

/**
 * Axes given by an input (newer opsets) or an attribute (older ones). undefined where neither is given, null where given but not constant.
 */
export function axesOf(ctx: InferContext, input: number, attribute = 'axes'): number[] | null | undefined {
  if (ctx.has(input)) return integersOf(ctx, input) ?? null;
  return ctx.node.ints(attribute);
}

/** Rank check: fails where the rank is known and another. */
export function requireRank(ctx: InferContext, input: number, rank: number): void {
  const shape = ctx.shape(input);
  if (shape && shape.length !== rank) ctx.failShape(input, `rank ${rank}`, formatShape(shape));
}

export function requireRankAtLeast(ctx: InferContext, input: number, rank: number): void {
  const shape = ctx.shape(input);
  if (shape && shape.length < rank) ctx.failShape(input, `rank ${rank} or more`, formatShape(shape));
}

/** Fails where two dimensions certainly differ; answers the more definite of them. */
export function unifyDims(ctx: InferContext, input: number, a: Dim, b: Dim, what: string): Dim {
  if (equalDims(a, b) === false) ctx.failShape(input, `${what} ${a}`, String(b));
  return moreDefinite(a, b);
}

/** A number before a symbol before nothing. */
export function moreDefinite(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' || b === null) return a;
  if (typeof b === 'number' || a === null) return b;
  return a;
}

/** Element type of the first of these inputs that has one; fails where two of them differ. */
export function sameDtype(ctx: InferContext, inputs: readonly number[]): DType | undefined {
  let found: DType | undefined;
  for (const i of inputs) {
    const dtype = ctx.dtype(i);
    if (dtype === undefined) continue;
    if (found !== undefined && found !== dtype) ctx.failType(i, found, dtype);
    found = dtype;
  }
  return found;
}

// ---- broadcasting ----

/** Multidirectional broadcast of inputs' shapes (NumPy rules); null where a rank is unknown. */
export function broadcastInputs(ctx: InferContext, inputs?: readonly number[]): Shape | null {
  const which = inputs ?? Array.from({ length: ctx.inputCount }, (_, i) => i);
  return which.map((i) => ctx.shape(i)).reduce((a, b, i) => (i === 0 ? b : broadcastShapes(ctx, a, b, which[i])));
}

/** Multidirectional broadcast of two shapes; `input` is named where they do not fit. */
export function broadcastShapes(ctx: InferContext, a: Shape | null, b: Shape | null, input = 1): Shape | null {
  if (a === null || b === null) return null;
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = i < rank - a.length ? 1 : a[i - rank + a.length]!;
    const y = i < rank - b.length ? 1 : b[i - rank + b.length]!;
    const d = broadcastDims(x, y);
    if (d === undefined) ctx.failShape(input, `a shape that broadcasts with ${formatShape(a)}`, formatShape(b));
    return d;
  });
}

/** One broadcast dimension; undefined where the two cannot fit. Two different symbols give their maximum: equal, or one of them is 1. */
export function broadcastDims(a: Dim, b: Dim): Dim | undefined {
  if (a === 1) return b;
  if (b === 1) return a;
  if (typeof a === 'number' && typeof b === 'number') return a === b ? a : undefined;
  // An extent above 1 decides: the other is 1 or the same.
  if (typeof a === 'number') return a;
  if (typeof b === 'number') return b;
  if (a === null || b === null) return null;
  return equalDims(a, b) ? a : maxDims(a, b);
}

// ---- sliding windows (convolution, pooling) ----

type AutoPad = 'NOTSET' | 'SAME_UPPER' | 'SAME_LOWER' | 'VALID';

export interface WindowGeometry {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** All begins, then all ends. */
  readonly pads: readonly number[];
  readonly autoPad: AutoPad;
  readonly ceil: boolean;
}

/** The attributes strides, dilations, pads, auto_pad and ceil_mode with their defaults for `spatialRank` axes. */
export function windowGeometry(ctx: InferContext, spatialRank: number): WindowGeometry {
  const list = (name: string, fill: number, length: number) => {
    const given = ctx.node.ints(name);
    if (given && given.length !== length) ctx.failShape(0, `${length} ${name}`, `[${given.join(',')}]`);
    return given ?? new Array<number>(length).fill(fill);
  };
  return {
    strides: list('strides', 1, spatialRank),
    dilations: list('dilations', 1, spatialRank),
    pads: list('pads', 0, 2 * spatialRank),
    autoPad: (ctx.node.string('auto_pad', 'NOTSET') || 'NOTSET') as AutoPad,
    ceil: ctx.node.int('ceil_mode', 0) !== 0,
  };
}

/**
 * Output extent of spatial axis `axis`: floor((size + padding - dilation*(kernel-1) - 1) / stride) + 1.
 * With ceil_mode a last window may start past the end, but not in the padding alone.
 */
export function windowOutput(size: Dim, kernel: Dim, axis: number, g: WindowGeometry): Dim {
  const stride = g.strides[axis] ?? 1;
  const dilation = g.dilations[axis] ?? 1;
  const extent = addDims(mulDims(subDims(kernel, 1), dilation), 1);
  if (g.autoPad === 'SAME_UPPER' || g.autoPad === 'SAME_LOWER') return ceilDivDims(size, stride);
  const n = g.pads.length / 2;
  const begin = g.autoPad === 'VALID' ? 0 : (g.pads[axis] ?? 0);
  const end = g.autoPad === 'VALID' ? 0 : (g.pads[n + axis] ?? 0);
  const free = subDims(addDims(size, begin + end), extent);
  if (!g.ceil) return addDims(floorDivDims(free, stride), 1);
  const lastStart = floorDivDims(subDims(addDims(size, begin), 1), stride);
  return addDims(minDims(ceilDivDims(free, stride), lastStart), 1);
}

// ---- contents of small integer tensors ----

/** Content of an input where all of it is known numbers. */
export function integersOf(ctx: InferContext, input: number): number[] | undefined {
  const items = ctx.value(input)?.items;
  return items?.every((x) => typeof x === 'number') ? [...(items as number[])] : undefined;
}

/** First element of an input as a number (scalars, one-element tensors). */
export function scalarOf(ctx: InferContext, input: number): number | undefined {
  const first = ctx.value(input)?.items[0];
  return typeof first === 'number' ? first : undefined;
}

/** A known one-dimensional content. */
export function vectorValue(dtype: DType, items: readonly Dim[]): PartialValue {
  return { dtype, dims: [items.length], items };
}

export function scalarValue(dtype: DType, item: Dim): PartialValue {
  return { dtype, dims: [], items: [item] };
}

/** A shape read from the content of an input: fully unknown elements where the content is unknown but its length is not; else null. */
export function shapeFromInput(ctx: InferContext, input: number): Shape | null {
  const items = ctx.value(input)?.items;
  if (items) return items.map((d) => (typeof d === 'number' && d < 0 ? null : d));
  const shape = ctx.shape(input);
  return shape?.length === 1 && typeof shape[0] === 'number' ? new Array<Dim>(shape[0]).fill(null) : null;
}

/** Applies a function element by element with broadcasting; undefined where an operand is unknown or the result too large. */
export function mapValues(
  dtype: DType,
  operands: readonly (PartialValue | undefined)[],
  f: (...items: Dim[]) => Dim,
): PartialValue | undefined {
  const known = operands.filter((x) => x !== undefined);
  if (known.length !== operands.length) return undefined;
  const rank = Math.max(...known.map((v) => v.dims.length));
  const dims: number[] = [];
  for (let i = 0; i < rank; i++) {
    let d = 1;
    for (const v of known) {
      const x = v.dims[i - rank + v.dims.length] ?? 1;
      if (x === 1) continue;
      if (d !== 1 && d !== x) return undefined;
      d = x;
    }
    dims.push(d);
  }
  const size = dims.reduce((a, b) => a * b, 1);
  if (size > MAX_PARTIAL_ELEMENTS) return undefined;
  const strides = known.map((v) => broadcastStrides(v.dims, rank));
  const items = Array.from({ length: size }, (_, flat) => {
    const at = unravel(flat, dims);
    return f(...known.map((v, k) => v.items[at.reduce((s, x, i) => s + x * strides[k]![i]!, 0)]!));
  });
  return { dtype, dims, items };
}

/** Row-major strides of `dims` aligned right to `rank` axes; 0 along broadcast axes. */
function broadcastStrides(dims: readonly number[], rank: number): number[] {
  const out = new Array<number>(rank).fill(0);
  let stride = 1;
  for (let i = dims.length - 1; i >= 0; i--) {
    out[rank - dims.length + i] = dims[i] === 1 ? 0 : stride;
    stride *= dims[i]!;
  }
  return out;
}

/** Multi-dimensional index of a row-major position. */
function unravel(flat: number, dims: readonly number[]): number[] {
  const at = new Array<number>(dims.length);
  for (let i = dims.length - 1; i >= 0; i--) {
    at[i] = flat % dims[i]!;
    flat = Math.floor(flat / dims[i]!);
  }
  return at;
}

/** What is known of a type from two sources: the more definite of each dimension. undefined where they contradict. */
export function refineType(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined | 'conflict' {
  if (a === undefined) return b;
  if (b === undefined) return a;
  if (a.kind !== b.kind) return 'conflict';
  if (a.kind === 'tensor' && b.kind === 'tensor') {
    if (a.dtype !== b.dtype) return 'conflict';
    if (a.shape === null || b.shape === null) return { ...a, shape: a.shape ?? b.shape };
    if (a.shape.length !== b.shape.length) return 'conflict';
    const shape: Dim[] = [];
    for (const [i, d] of a.shape.entries()) {
      if (equalDims(d, b.shape[i]!) === false) return 'conflict';
      shape.push(moreDefinite(d, b.shape[i]!));
    }
    return { ...a, shape };
  }
  if ((a.kind === 'sequence' && b.kind === 'sequence') || (a.kind === 'optional' && b.kind === 'optional')) {
    const element = refineType(a.element ?? undefined, b.element ?? undefined);
    return element === 'conflict' ? 'conflict' : { ...a, element: element ?? null };
  }
  return a;
}

/** What holds of both types (of two branches, of all elements of a sequence): differing dimensions become unknown. */
export function joinTypes(a: ValueType | undefined, b: ValueType | undefined): ValueType | undefined {
  if (a === undefined || b === undefined || a.kind !== b.kind) return undefined;
  if (a.kind === 'tensor' && b.kind === 'tensor') {
    if (a.dtype !== b.dtype) return undefined;
    if (a.shape === null || b.shape === null || a.shape.length !== b.shape.length) return tensorType(a.dtype, null);
    return tensorType(
      a.dtype,
      a.shape.map((d, i) => (equalDims(d, b.shape![i]!) ? d : null)),
    );
  }
  if ((a.kind === 'sequence' && b.kind === 'sequence') || (a.kind === 'optional' && b.kind === 'optional')) {
    return { ...a, element: joinTypes(a.element ?? undefined, b.element ?? undefined) ?? null };
  }
  return a;
}
