// What the operators that compute (convolutions, products, norms, attention) share: checks of operands and writing axes statements.
// Checks fail only for certain contradictions; unknown ranks and dimensions pass.

import { equalDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, formatType, type Shape } from '../ir/type.js';
import { sameDtype, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, Inferred, QuantFacts, Work } from './op.js';

export const FLOATS: readonly DType[] = ['float', 'float16', 'double', 'bfloat16'];
export const BYTES: readonly DType[] = ['int8', 'uint8'];
export const INDICES: readonly DType[] = ['int64', 'int32'];
/** Numeric types without the small ones that only quantization uses. */
export const NUMBERS: readonly DType[] = [...FLOATS, 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64'];

// ---- checks ----

/** Element type of a tensor input; fails where it is none of `allowed`, or no tensor. */
export function requireDtype(ctx: InferContext, input: number, allowed: readonly DType[]): DType | undefined {
  const type = ctx.type(input);
  if (type !== undefined && type.kind !== 'tensor') ctx.failType(input, 'a tensor', formatType(type));
  const dtype = ctx.dtype(input);
  if (dtype !== undefined && !allowed.includes(dtype)) ctx.failType(input, allowed.join(' or '), dtype);
  return dtype;
}

/** One element type for all of these inputs (omitted ones are skipped), out of `allowed`. */
export function commonDtype(ctx: InferContext, inputs: readonly number[], allowed: readonly DType[] = FLOATS): DType | undefined {
  const present = inputs.filter((i) => ctx.has(i));
  for (const i of present) requireDtype(ctx, i, allowed);
  return sameDtype(ctx, present);
}

/** Checks that an input, where present, is one-dimensional with `extent` elements. */
export function requireVector(ctx: InferContext, input: number, extent: Dim, what: string): void {
  if (!ctx.has(input)) return;
  const shape = ctx.shape(input);
  if (shape === null) return;
  if (shape.length !== 1) ctx.failShape(input, `one dimension (${what})`, formatShape(shape));
  unifyDims(ctx, input, extent, shape[0]!, what);
}

/** Checks that an input, where present, is a scalar, a vector of one element, or a vector of `extent` elements. */
export function requireScalarOrVector(ctx: InferContext, input: number, extent: Dim, what: string): void {
  const shape = ctx.has(input) ? ctx.shape(input) : null;
  if (shape === null || shape.length === 0 || (shape.length === 1 && shape[0] === 1)) return;
  if (shape.length > 1) ctx.failShape(input, `a scalar or a vector (${what})`, formatShape(shape));
  unifyDims(ctx, input, extent, shape[0]!, what);
}

/** Checks that an input, where present, broadcasts to `target` without enlarging it. */
export function requireBroadcastTo(ctx: InferContext, input: number, target: Shape | null): void {
  const shape = ctx.has(input) ? ctx.shape(input) : null;
  if (shape === null || target === null) return;
  const skip = target.length - shape.length;
  const fits = skip >= 0 && shape.every((d, i) => d === 1 || equalDims(d, target[skip + i]!) !== false);
  if (!fits) ctx.failShape(input, `a shape that broadcasts to ${formatShape(target)}`, formatShape(shape));
}

/** Output of the type of input `input`, which must be of an allowed type. */
export function unary(allowed: readonly DType[] = FLOATS, input = 0): (ctx: InferContext) => Inferred[] {
  return (ctx) => [tensorResult(requireDtype(ctx, input, allowed), ctx.shape(input))];
}

/** The dimension divided by a number; fails where it leaves a remainder. */
export function divideExactly(ctx: InferContext, input: number, dim: Dim, by: number, what: string): Dim {
  if (typeof dim !== 'number') return null;
  if (by <= 0 || dim % by !== 0) ctx.failShape(input, `${what} divisible by ${by}`, String(dim));
  return dim / by;
}

/** The whole shape with some outputs appended only where the node asks for them. */
export function outputs(ctx: InferContext, ...all: Inferred[]): Inferred[] {
  return all.slice(0, Math.max(ctx.outputCount, 1));
}

// ---- axes ----

/** Terms of the inputs (`_` where not given or without axes) and of the outputs as one statement, in the node's order. */
export function nodeAxes(node: Node, inputs: Readonly<Record<number, string | undefined>>, results: readonly string[]): Axes {
  const operands = node.inputs.map((_, i) => inputs[i] || '_');
  return `${operands.join(',')}->${node.outputs.map((o, i) => (o && results[i]) || '_').join(',')}`;
}

// ---- quantization and cost ----

export const FUNCTION_OF_FIRST: QuantFacts = { kind: 'function', data: [0] };
export const PASSTHROUGH_FIRST: QuantFacts = { kind: 'passthrough', data: [0] };

export function elements(dims: readonly number[] | null | undefined): number {
  return dims ? dims.reduce((a, b) => a * b, 1) : 0;
}

/** Cost of `perElement` operations for each element of an output. */
export function opsPerOutput(perElement: number): (ctx: CostContext) => Work {
  return (ctx) => ({ macs: 0, ops: perElement * elements(ctx.outputs[0]) });
}

/** Cost of `perElement` operations for each element of an input. */
export function opsPerInput(perElement: number, input = 0): (ctx: CostContext) => Work {
  return (ctx) => ({ macs: 0, ops: perElement * elements(ctx.inputs[input]) });
}
