// Element-wise arithmetic, mathematical functions and bit operations, with NumPy broadcasting for two and more operands; running sums and Det.
// Comparison and boolean logic are in logic.ts, activation functions in activation.ts.

import { equalDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { axesText, letters, sameAxesBut } from './axes-text.js';
import { constantNumbers } from './constant-input.js';
import { anyNumber, binary, floating, integer, legacyBroadcast, requireType, unary, variadic } from './element-record.js';
import { broadcastInputs, normalizeAxis, requireRankAtLeast, scalarOf, tensorResult } from './infer-helpers.js';
import type { OpRecord, QuantFacts } from './op.js';
import { absItem, addItems, combine, divItems, maxItems, minItems, modItems, mulItems, roundItem, subItems } from './partial-value.js';

const ARITHMETIC: QuantFacts = { kind: 'arithmetic', data: [0, 1] };

/** Applies a function to known numbers only. */
const onNumber =
  (f: (x: number) => number) =>
  (x: Dim): Dim =>
    typeof x === 'number' ? f(x) : null;

/** Rounding leaves symbols alone: they stand for whole numbers. */
const wholeStays =
  (f: (x: number) => number) =>
  (x: Dim): Dim =>
    typeof x === 'number' ? f(x) : x;

const pow: OpRecord = {
  ...binary('Pow', { since: 1, types: anyNumber }),
  // The exponent may be of another type than the base (opset 12), which decides the result's.
  infer(ctx) {
    requireType(ctx, 0, anyNumber);
    requireType(ctx, 1, anyNumber);
    const dtype = ctx.dtype(0);
    const legacy = legacyBroadcast(ctx);
    const power = (a: Dim, b: Dim) => (typeof a === 'number' && typeof b === 'number' ? a ** b : b === 1 ? a : null);
    const value = dtype && legacy === undefined ? combine(ctx, dtype, 2, (a, b) => power(a!, b!)) : undefined;
    return [tensorResult(dtype, legacy === undefined ? broadcastInputs(ctx, [0, 1]) : legacy, value)];
  },
};

/** Running sum or product along the axis that input 1 gives. */
function cumulative(opType: string, since: number): OpRecord {
  return {
    opType,
    domain: '',
    since,
    infer(ctx) {
      requireType(ctx, 0, anyNumber);
      requireType(ctx, 1, integer);
      const shape = ctx.shape(0);
      const axis = scalarOf(ctx, 1);
      if (shape && axis !== undefined) normalizeAxis(ctx, axis, shape.length, 0);
      return [tensorResult(ctx.dtype(0), shape)];
    },
    grad: 'none',
    axes: (node: Node, inputs: readonly (Shape | null)[]) => {
      const axis = constantNumbers(node, 1)?.[0];
      return axis === undefined ? 'opaque' : sameAxesBut(node, inputs, [axis]);
    },
    quant: 'none',
    cost: 'elementwise',
  };
}

const det: OpRecord = {
  opType: 'Det',
  domain: '',
  since: 11,
  infer(ctx) {
    requireType(ctx, 0, floating);
    requireRankAtLeast(ctx, 0, 2);
    const shape = ctx.shape(0);
    if (shape && equalDims(shape.at(-1)!, shape.at(-2)!) === false) ctx.failShape(0, 'square matrices', formatShape(shape));
    return [tensorResult(ctx.dtype(0), shape ? shape.slice(0, -2) : null)];
  },
  grad: 'none',
  axes: (_node, inputs) => {
    const rank = inputs[0]?.length;
    if (rank === undefined) return 'opaque';
    const outer = letters(rank - 2);
    return axesText([[...outer, '.', '.']], [outer]);
  },
  quant: 'none',
  cost: ({ inputs }) => {
    const dims = inputs[0] ?? [];
    const n = dims.at(-1) ?? 0;
    // LU decomposition.
    return { macs: Math.round((dims.reduce((p, d) => p * d, 1) * n) / 3), ops: 0 };
  },
};

export const ELEMENTWISE_OPS: readonly OpRecord[] = [
  binary('Add', { since: 1, types: anyNumber, quant: ARITHMETIC, item: addItems }),
  binary('Sub', { since: 1, types: anyNumber, quant: ARITHMETIC, item: subItems }),
  binary('Mul', { since: 1, types: anyNumber, quant: ARITHMETIC, item: mulItems }),
  binary('Div', { since: 1, types: anyNumber, item: divItems }),
  binary('Mod', { since: 10, types: anyNumber, item: (a, b, _dtype, ctx) => modItems(a, b, ctx.node.int('fmod', 0) !== 0) }),
  pow,
  variadic('Max', { since: 1, types: anyNumber, item: maxItems, quant: amongInputs }),
  variadic('Min', { since: 1, types: anyNumber, item: minItems, quant: amongInputs }),
  variadic('Sum', { since: 1, types: floating, item: addItems }),
  variadic('Mean', { since: 1, types: floating }),
  unary('Abs', { since: 1, types: anyNumber, item: absItem }),
  unary('Neg', { since: 1, types: anyNumber, item: (x) => subItems(0, x) }),
  unary('Sign', { since: 9, types: anyNumber, item: onNumber(Math.sign) }),
  unary('Floor', { since: 1, types: floating, item: wholeStays(Math.floor) }),
  unary('Ceil', { since: 1, types: floating, item: wholeStays(Math.ceil) }),
  unary('Round', { since: 11, types: floating, item: roundItem }),
  unary('Sqrt', { since: 1, types: floating, item: onNumber(Math.sqrt) }),
  unary('Reciprocal', { since: 1, types: floating, item: onNumber((x) => 1 / x) }),
  ...['Exp', 'Log'].map((name) => unary(name, { since: 1, types: floating })),
  unary('Erf', { since: 9, types: anyNumber }),
  ...['Sin', 'Cos', 'Tan', 'Asin', 'Acos', 'Atan'].map((name) => unary(name, { since: 7, types: floating })),
  ...['Sinh', 'Cosh', 'Asinh', 'Acosh', 'Atanh'].map((name) => unary(name, { since: 9, types: floating })),
  unary('IsNaN', { since: 9, types: floating, result: 'bool' }),
  unary('IsInf', { since: 10, types: floating, result: 'bool' }),
  binary('BitShift', { since: 11, types: integer }),
  ...['BitwiseAnd', 'BitwiseOr', 'BitwiseXor'].map((name) => binary(name, { since: 18, types: integer })),
  unary('BitwiseNot', { since: 18, types: integer }),
  cumulative('CumSum', 11),
  cumulative('CumProd', 26),
  det,
];

/** Results are picked from the operands, element by element. */
function amongInputs(node: Node): QuantFacts {
  return { kind: 'passthrough', data: node.inputs.map((_, i) => i) };
}
