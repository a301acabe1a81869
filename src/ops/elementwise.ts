// Element-wise arithmetic, mathematical functions and bit operations, with NumPy broadcasting for two and more operands; running sums and Det.
// Comparison and boolean logic are in logic.ts, activation functions in activation.ts.

import { equalDims } from '../ir/dim.js';
import type { Node, Value } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { axesText, letters, sameAxesBut } from './axes-text.js';
import { constantNumbers } from './constant-input.js';
import { addGrad, cumSumGrad, divGrad, extremeGrad, modGrad, mulGrad, powGrad, subGrad, sumGrad } from './element-grad.js';
import { anyNumber, binary, floating, integer, legacyBroadcast, requireType, unary, variadic } from './element-record.js';
import type { GradBuilder } from './grad-builder.js';
import { elementGrad, noFlow } from './grad-helpers.js';
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
  ...binary('Pow', { since: 1, types: anyNumber, grad: powGrad }),
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
    grad: opType === 'CumSum' ? cumSumGrad : 'none',
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

const root = (b: GradBuilder, x: Value): Value => b.op('Sqrt', [x]);

/** 2 / sqrt(pi) * exp(-x^2), the derivative of Erf. */
const bell = (b: GradBuilder, x: Value): Value => b.scale(b.op('Exp', [b.neg(b.mul(x, x))]), 2 / Math.sqrt(Math.PI));

export const ELEMENTWISE_OPS: readonly OpRecord[] = [
  binary('Add', { since: 1, types: anyNumber, quant: ARITHMETIC, item: addItems, grad: addGrad }),
  binary('Sub', { since: 1, types: anyNumber, quant: ARITHMETIC, item: subItems, grad: subGrad }),
  binary('Mul', { since: 1, types: anyNumber, quant: ARITHMETIC, item: mulItems, grad: mulGrad }),
  binary('Div', { since: 1, types: anyNumber, item: divItems, grad: divGrad }),
  binary('Mod', { since: 10, types: anyNumber, grad: modGrad, item: (a, b, _dtype, ctx) => modItems(a, b, ctx.node.int('fmod', 0) !== 0) }),
  pow,
  variadic('Max', { since: 1, types: anyNumber, item: maxItems, quant: amongInputs, grad: extremeGrad }),
  variadic('Min', { since: 1, types: anyNumber, item: minItems, quant: amongInputs, grad: extremeGrad }),
  variadic('Sum', { since: 1, types: floating, item: addItems, grad: sumGrad(false) }),
  variadic('Mean', { since: 1, types: floating, grad: sumGrad(true) }),
  unary('Abs', { since: 1, types: anyNumber, item: absItem, grad: elementGrad((b, dy, x) => b.mul(dy, b.op('Sign', [x]))) }),
  unary('Neg', { since: 1, types: anyNumber, item: (x) => subItems(0, x), grad: elementGrad((b, dy) => b.neg(dy)) }),
  unary('Sign', { since: 9, types: anyNumber, item: onNumber(Math.sign), grad: noFlow }),
  unary('Floor', { since: 1, types: floating, item: wholeStays(Math.floor), grad: noFlow }),
  unary('Ceil', { since: 1, types: floating, item: wholeStays(Math.ceil), grad: noFlow }),
  unary('Round', { since: 11, types: floating, item: roundItem, grad: noFlow }),
  unary('Sqrt', { since: 1, types: floating, item: onNumber(Math.sqrt), grad: elementGrad((b, dy, _x, y) => b.div(b.scale(dy, 0.5), y)) }),
  unary('Reciprocal', {
    since: 1,
    types: floating,
    item: onNumber((x) => 1 / x),
    grad: elementGrad((b, dy, _x, y) => b.neg(b.mul(dy, b.mul(y, y)))),
  }),
  unary('Exp', { since: 1, types: floating, grad: elementGrad((b, dy, _x, y) => b.mul(dy, y)) }),
  unary('Log', { since: 1, types: floating, grad: elementGrad((b, dy, x) => b.div(dy, x)) }),
  unary('Erf', { since: 9, types: anyNumber, grad: elementGrad((b, dy, x) => b.mul(dy, bell(b, x))) }),
  unary('Sin', { since: 7, types: floating, grad: elementGrad((b, dy, x) => b.mul(dy, b.op('Cos', [x]))) }),
  unary('Cos', { since: 7, types: floating, grad: elementGrad((b, dy, x) => b.neg(b.mul(dy, b.op('Sin', [x])))) }),
  unary('Tan', { since: 7, types: floating, grad: elementGrad((b, dy, _x, y) => b.mul(dy, b.shift(b.mul(y, y), 1))) }),
  unary('Asin', { since: 7, types: floating, grad: elementGrad((b, dy, x) => b.div(dy, root(b, b.sub(b.number(x, 1), b.mul(x, x))))) }),
  unary('Acos', {
    since: 7,
    types: floating,
    grad: elementGrad((b, dy, x) => b.neg(b.div(dy, root(b, b.sub(b.number(x, 1), b.mul(x, x)))))),
  }),
  unary('Atan', { since: 7, types: floating, grad: elementGrad((b, dy, x) => b.div(dy, b.shift(b.mul(x, x), 1))) }),
  unary('Sinh', { since: 9, types: floating, grad: elementGrad((b, dy, x) => b.mul(dy, b.op('Cosh', [x]))) }),
  unary('Cosh', { since: 9, types: floating, grad: elementGrad((b, dy, x) => b.mul(dy, b.op('Sinh', [x]))) }),
  unary('Asinh', { since: 9, types: floating, grad: elementGrad((b, dy, x) => b.div(dy, root(b, b.shift(b.mul(x, x), 1)))) }),
  unary('Acosh', { since: 9, types: floating, grad: elementGrad((b, dy, x) => b.div(dy, root(b, b.shift(b.mul(x, x), -1)))) }),
  unary('Atanh', { since: 9, types: floating, grad: elementGrad((b, dy, x) => b.div(dy, b.sub(b.number(x, 1), b.mul(x, x)))) }),
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
