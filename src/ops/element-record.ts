// Records of element-wise operators differ in a name, the types they take and how a single element is computed: the shared rest is here.
import type { DType } from '../ir/dtype.js';
import { isFloat, isInteger } from '../ir/dtype.js';
import type { Dim, Shape } from '../ir/type.js';
import { axesText, broadcastAxes, broadcastTerms, sameAxes } from './axes-text.js';
import { broadcastInputs, sameDtype, tensorResult } from './infer-helpers.js';
import type { Axes, GradFn, InferContext, Inferred, OpRecord, QuantFacts } from './op.js';
import { combine } from './partial-value.js';

export type TypeTest = (dtype: DType) => boolean;

export const anyNumber: TypeTest = (d) => isFloat(d) || isInteger(d);
export const floating: TypeTest = isFloat;
export const integer: TypeTest = isInteger;
export const boolean: TypeTest = (d) => d === 'bool';
export const anyType: TypeTest = () => true;

/** What a type test accepts, in words for messages. */
const WORDS = new Map<TypeTest, string>([
  [anyNumber, 'a real number type'],
  [floating, 'a floating-point type'],
  [integer, 'an integer type'],
  [boolean, 'bool'],
]);

/** Fails where the element type of an input is known and not accepted. */
export function requireType(ctx: InferContext, input: number, test: TypeTest): void {
  const dtype = ctx.dtype(input);
  if (dtype !== undefined && !test(dtype)) ctx.failType(input, WORDS.get(test) ?? 'another type', dtype);
}

interface UnarySpec {
  readonly since: number;
  readonly types: TypeTest;
  readonly quant?: QuantFacts;
  /** Element type of the result where it is not the input's. */
  readonly result?: DType;
  readonly item?: (x: Dim, dtype: DType) => Dim;
  readonly grad?: GradFn;
}

export function unary(opType: string, spec: UnarySpec): OpRecord {
  return {
    opType,
    domain: '',
    since: spec.since,
    infer(ctx) {
      requireType(ctx, 0, spec.types);
      const dtype = spec.result ?? ctx.dtype(0);
      const { item } = spec;
      const value = item && dtype && combine(ctx, dtype, 1, (x) => item(x!, dtype));
      return [tensorResult(dtype, ctx.shape(0), value)];
    },
    grad: spec.grad ?? 'none',
    axes: sameAxes,
    quant: spec.quant ?? 'none',
    cost: 'elementwise',
  };
}

interface BinarySpec {
  readonly since: number;
  readonly types: TypeTest;
  readonly quant?: QuantFacts;
  readonly result?: DType;
  readonly item?: (a: Dim, b: Dim, dtype: DType, ctx: InferContext) => Dim;
  readonly grad?: GradFn;
}

export function binary(opType: string, spec: BinarySpec): OpRecord {
  return {
    opType,
    domain: '',
    since: spec.since,
    infer(ctx) {
      requireType(ctx, 0, spec.types);
      const operand = sameDtype(ctx, [0, 1]);
      const dtype = spec.result ?? operand;
      const { item } = spec;
      const legacy = legacyBroadcast(ctx);
      const value =
        item && dtype && operand && legacy === undefined ? combine(ctx, dtype, 2, (a, b) => item(a!, b!, operand, ctx)) : undefined;
      return [tensorResult(dtype, legacy === undefined ? broadcastInputs(ctx, [0, 1]) : legacy, value)];
    },
    grad: spec.grad ?? 'none',
    axes: (node, inputs) =>
      node.hasAttribute('broadcast') && node.int('broadcast') ? legacyAxes(node.int('axis'), inputs) : broadcastAxes(node, inputs),
    quant: spec.quant ?? 'none',
    cost: 'elementwise',
  };
}

/**
 * Before opset 7 the second operand is broadcast to the first only where `broadcast` is set, from `axis` on (default: aligned right).
 * Answers the result's shape where that form is used, undefined otherwise.
 */
export function legacyBroadcast(ctx: InferContext): Shape | null | undefined {
  if (ctx.opset >= 7 || ctx.node.int('broadcast', 0) === 0) return undefined;
  const a = ctx.shape(0);
  const b = ctx.shape(1);
  if (a === null || b === null) return a;
  const axis = ctx.node.int('axis', a.length - b.length);
  const start = axis < 0 ? axis + a.length : axis;
  const fits = start >= 0 && start + b.length <= a.length;
  const agrees = fits && b.every((d, i) => d === 1 || typeof d !== 'number' || typeof a[start + i] !== 'number' || d === a[start + i]);
  if (!agrees) ctx.failShape(1, `a shape that broadcasts to [${a.join(',')}] from axis ${start} on`, `[${b.join(',')}]`);
  return a;
}

function legacyAxes(axis: number | undefined, inputs: readonly (Shape | null)[]): Axes {
  const [a, b] = inputs;
  if (!a || !b) return 'opaque';
  const start = axis === undefined ? a.length - b.length : axis < 0 ? axis + a.length : axis;
  const trailing = new Array<Dim>(Math.max(0, a.length - start - b.length)).fill(1);
  const { operands, result } = broadcastTerms([a, [...b, ...trailing]]);
  return axesText([operands[0]!, operands[1]!.slice(0, b.length)], [result]);
}

interface VariadicSpec {
  readonly since: number;
  readonly types: TypeTest;
  readonly quant?: OpRecord['quant'];
  readonly item?: (a: Dim, b: Dim) => Dim;
  readonly grad?: GradFn;
}

export function variadic(opType: string, spec: VariadicSpec): OpRecord {
  return {
    opType,
    domain: '',
    since: spec.since,
    infer(ctx): Inferred[] {
      const all = Array.from({ length: ctx.inputCount }, (_, i) => i);
      for (const i of all) requireType(ctx, i, spec.types);
      const dtype = sameDtype(ctx, all);
      const { item } = spec;
      const value = item && dtype && combine(ctx, dtype, ctx.inputCount, (...items) => items.reduce((a, b) => item(a, b)));
      return [tensorResult(dtype, broadcastInputs(ctx, all), value)];
    },
    grad: spec.grad ?? 'none',
    axes: broadcastAxes,
    quant: spec.quant ?? 'none',
    cost: (ctx) => {
      const size = ctx.outputs[0]?.reduce((n, d) => n * d, 1) ?? 0;
      return { macs: 0, ops: size * Math.max(1, ctx.inputs.length - 1) };
    },
  };
}
