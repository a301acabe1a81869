// What the gradients of element-wise operators with several operands share: partial derivatives, with the broadcast undone.
import type { Value } from '../ir/graph.js';
import type { GradBuilder } from './grad-builder.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import { unbroadcastTo } from './grad-helpers.js';
import type { GradFn } from './op.js';

type Partial = (b: GradBuilder, dy: Value, x: readonly [Value, Value], y: Value) => Value;

/** Gradient of f(a, c) from dy*df/da and dy*df/dc, each of any shape that broadcasts to the operand's. */
export function binaryGrad(left: Partial, right: Partial): GradFn {
  return (ctx) => {
    const operands = [ctx.input(0), ctx.input(1)] as const;
    return [left, right].map((partial, i) => {
      if (!ctx.wants[i]) return null;
      return unbroadcastTo(ctx.b, partial(ctx.b, ctx.outputGrad(), operands, ctx.node.output(0)), operands[i]!);
    });
  };
}

export const addGrad = binaryGrad(
  (_b, dy) => dy,
  (_b, dy) => dy,
);
export const subGrad = binaryGrad(
  (_b, dy) => dy,
  (b, dy) => b.neg(dy),
);
export const mulGrad = binaryGrad(
  (b, dy, [, c]) => b.mul(dy, c),
  (b, dy, [a]) => b.mul(dy, a),
);
/** d(a/c) = da/c - (a/c) dc/c. */
export const divGrad = binaryGrad(
  (b, dy, [, c]) => b.div(dy, c),
  (b, dy, [, c], y) => b.neg(b.mul(b.div(dy, c), y)),
);
/** a mod c = a - c*q, with the whole number q constant almost everywhere. */
export const modGrad = binaryGrad(
  (_b, dy) => dy,
  (b, dy, [a, c], y) => b.neg(b.mul(dy, b.op('Round', [b.div(b.sub(a, y), c)]))),
);

/** d(a^p) = p a^(p-1) da + a^p ln(a) dp; the latter taken as 0 for a = 0. */
export const powGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const [a, p] = [ctx.input(0), ctx.input(1)];
  const [dy, y] = [ctx.outputGrad(), ctx.node.output(0)];
  const power = ctx.constant(1);
  const known = power?.size === 1 ? Number(power.numbers()[0]) : undefined;
  const exponent = b.cast(p, dtypeOf(a));
  const towardsBase = (): Value => {
    if (known === 0) return b.scale(dy, 0);
    if (known === 1) return dy;
    if (known === 2) return b.mul(dy, b.scale(a, 2));
    if (known === 0.5) return b.div(b.scale(dy, 0.5), y);
    if (known !== undefined) return b.mul(dy, b.scale(b.op('Pow', [a, b.number(a, known - 1)]), known));
    const slope = b.mul(exponent, b.op('Pow', [a, b.shift(exponent, -1)]));
    // 0 * 0^-1 is no number, but x^0 is constant.
    return b.mul(dy, b.where(b.op('Equal', [exponent, b.number(exponent, 0)]), b.number(a, 0), slope));
  };
  const towardsExponent = (): Value => {
    const zero = b.op('Equal', [a, b.number(a, 0)]);
    const log = b.op('Log', [b.where(zero, b.number(a, 1), a)]);
    return b.cast(b.mul(dy, b.mul(y, log)), dtypeOf(p));
  };
  return [ctx.wants[0] ? unbroadcastTo(b, towardsBase(), a) : null, ctx.wants[1] ? unbroadcastTo(b, towardsExponent(), p) : null];
};

/** The gradient goes to the operands that are the extreme, in equal parts where several are. */
export const extremeGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const [dy, y] = [ctx.outputGrad(), node.output(0)];
  const inputs = node.inputs.map((_, i) => ctx.input(i));
  const equal = inputs.map((x) => b.op('Equal', [x, y]));
  const count = equal.map((e) => b.cast(e, dtypeOf(y))).reduce((sum, e) => b.add(sum, e));
  const share = inputs.length === 1 ? dy : b.div(dy, count);
  return inputs.map((x, i) => (ctx.wants[i] ? unbroadcastTo(b, b.mask(equal[i]!, share), x) : null));
};

/** Sum, or mean where `mean`, of all operands. */
export const sumGrad =
  (mean: boolean): GradFn =>
  (ctx) => {
    const { b, node } = ctx;
    const part = b.scale(ctx.outputGrad(), mean ? 1 / node.inputs.length : 1);
    return node.inputs.map((x, i) => (x && ctx.wants[i] ? unbroadcastTo(b, part, x) : null));
  };

export const whereGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const [condition, dy] = [ctx.input(0), ctx.outputGrad()];
  const zero = b.number(dy, 0);
  return [
    null,
    ctx.wants[1] ? unbroadcastTo(b, b.where(condition, dy, zero), ctx.input(1)) : null,
    ctx.wants[2] ? unbroadcastTo(b, b.where(condition, zero, dy), ctx.input(2)) : null,
  ];
};

/** A running sum in the other direction. */
export const cumSumGrad: GradFn = (ctx) => {
  const reverse = ctx.node.int('reverse', 0) ? 0 : 1;
  return [ctx.b.op('CumSum', [ctx.outputGrad(), ctx.input(1)], { exclusive: ctx.node.int('exclusive', 0), reverse })];
};

/** The same elements under another shape. */
export const reshapeGrad: GradFn = (ctx) => [ctx.b.reshape(ctx.outputGrad(), dimsOf(ctx.input(0)))];
