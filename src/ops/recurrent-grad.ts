// Gradients of LSTM, GRU and RNN through time, over a static number of steps. The forward output holds every hidden state, so the gates of all steps are
// computed anew in one product; only cell states and the backward sums run step by step. The gradients of the weights are one product again.
// For standard activations; not for sequence lengths, peepholes, clipping or batch-first layout.

import type { Value } from '../ir/graph.js';
import { dimsOf, type GradBuilder } from './grad-builder.js';
import { multiply } from './matmul-grad.js';
import type { GradContext, GradFn } from './op.js';

type Kind = 'LSTM' | 'GRU' | 'RNN';

const GATES: Readonly<Record<Kind, number>> = { LSTM: 4, GRU: 3, RNN: 1 };
const ACTIVATIONS: Readonly<Record<Kind, readonly string[]>> = {
  LSTM: ['Sigmoid', 'Tanh', 'Tanh'],
  GRU: ['Sigmoid', 'Tanh'],
  RNN: ['Tanh'],
};

/** One direction of a layer. Values per step are [batch, ...]; lists run in the order of time, whatever the direction. */
interface Direction {
  readonly b: GradBuilder;
  readonly steps: number;
  readonly batch: number;
  readonly hidden: number;
  /** Times in the order in which the layer visits them. */
  readonly order: readonly number[];
  /** [steps*batch, input]. */
  readonly x: Value;
  /** Hidden state before each step, [steps*batch, hidden]. */
  readonly before: Value;
  readonly w: Value;
  readonly r: Value;
  /** [2*gates*hidden], or null. */
  readonly bias: Value | null;
  readonly firstCell: Value | null;
  /** Gradient of each step's output, of the last hidden and of the last cell state. */
  readonly outputGrads: readonly (Value | null)[];
  readonly lastGrad: Value | null;
  readonly lastCellGrad: Value | null;
  readonly linearBeforeReset: boolean;
}

/** Gradients of what the gates are made from. */
interface GateGrads {
  /** At x W' + bias, [steps*batch, gates*hidden]. */
  readonly input: Value;
  /** At h R' + bias where that differs, and the hidden state that R multiplies, by gate blocks. */
  readonly recurrent: Value;
  readonly resetHidden: Value | null;
  readonly firstHidden: Value;
  readonly firstCell: Value | null;
}

const one = (b: GradBuilder, x: Value): Value => b.number(x, 1);
const sigmoidSlope = (b: GradBuilder, s: Value): Value => b.mul(s, b.sub(one(b, s), s));
const tanhSlope = (b: GradBuilder, t: Value): Value => b.sub(one(b, t), b.mul(t, t));
const plus = (b: GradBuilder, x: Value | null, y: Value | null): Value | null => (x && y ? b.add(x, y) : (x ?? y));

/** Pieces of equal or given sizes along an axis. */
function split(b: GradBuilder, x: Value, axis: number, count: number): Value[] {
  const size = dimsOf(x)[axis]! / count;
  if (count === 1) return [x];
  const outputs = Array.from({ length: count }, (_, i) => `${b.prefix}part_${i}`);
  const node = b.node('Split', [x, b.ints('split', new Array<number>(count).fill(size))], { axis }, { outputs });
  return node.outputs.map((v) => v!);
}

/** [steps*batch, n] as one [batch, n] for each step. */
const bySteps = (d: Direction, x: Value): Value[] => split(d.b, x, 0, d.steps);

/** Columns of a gate block. */
const block = (d: Direction, x: Value, axis: number, from: number, to: number): Value =>
  d.b.slice(x, [axis], [from * d.hidden], [to * d.hidden]);

function biasPart(d: Direction, gates: number, recurrent: boolean): Value | null {
  if (!d.bias) return null;
  const start = recurrent ? gates * d.hidden : 0;
  return d.b.slice(d.bias, [0], [start], [start + gates * d.hidden]);
}

const shifted = (b: GradBuilder, x: Value, bias: Value | null): Value => (bias ? b.add(x, bias) : x);

function lstmGates(d: Direction): GateGrads {
  const { b } = d;
  const pre = b.add(multiply(b, d.x, d.w, { transB: true }), multiply(b, d.before, d.r, { transB: true }));
  const biased = shifted(b, shifted(b, pre, biasPart(d, 4, false)), biasPart(d, 4, true));
  const [i, o, f] = split(b, b.op('Sigmoid', [block(d, biased, 1, 0, 3)]), 1, 3).map((g) => bySteps(d, g));
  const c = bySteps(d, b.op('Tanh', [block(d, biased, 1, 3, 4)]));
  const start = d.firstCell ?? b.full(d.x, [d.batch, d.hidden], 0);
  const cells = new Map<number, { before: Value; squashed: Value }>();
  let cell = start;
  for (const t of d.order) {
    const before = cell;
    cell = b.add(b.mul(f![t]!, before), b.mul(i![t]!, c[t]!));
    cells.set(t, { before, squashed: b.op('Tanh', [cell]) });
  }
  const grads = new Array<Value>(d.steps);
  let dh = d.lastGrad;
  let dc = d.lastCellGrad;
  for (const t of d.order.toReversed()) {
    const { before, squashed } = cells.get(t)!;
    const h = plus(b, dh, d.outputGrads[t]!) ?? b.full(d.x, [d.batch, d.hidden], 0);
    const dcell = plus(b, b.mul(b.mul(h, o![t]!), tanhSlope(b, squashed)), dc)!;
    const parts = [
      b.mul(b.mul(dcell, c[t]!), sigmoidSlope(b, i![t]!)),
      b.mul(b.mul(h, squashed), sigmoidSlope(b, o![t]!)),
      b.mul(b.mul(dcell, before), sigmoidSlope(b, f![t]!)),
      b.mul(b.mul(dcell, i![t]!), tanhSlope(b, c[t]!)),
    ];
    grads[t] = b.concat(parts, 1);
    dh = multiply(b, grads[t]!, d.r);
    dc = b.mul(dcell, f![t]!);
  }
  const all = b.concat(grads, 0);
  return { input: all, recurrent: all, resetHidden: null, firstHidden: dh!, firstCell: dc };
}

function gruGates(d: Direction): GateGrads {
  const { b } = d;
  const gates = multiply(b, d.x, d.w, { transB: true });
  const input = shifted(b, gates, biasPart(d, 3, false));
  const rb = biasPart(d, 3, true);
  const [rzr, rh] = [block(d, d.r, 0, 0, 2), block(d, d.r, 0, 2, 3)];
  const zr = shifted(b, multiply(b, d.before, rzr, { transB: true }), rb && block(d, rb, 0, 0, 2));
  const [zAll, rAll] = split(b, b.op('Sigmoid', [b.add(block(d, input, 1, 0, 2), zr)]), 1, 2);
  const resetHidden = b.mul(rAll!, d.before);
  const recurrent = shifted(
    b,
    multiply(b, d.linearBeforeReset ? d.before : resetHidden, rh, { transB: true }),
    rb && block(d, rb, 0, 2, 3),
  );
  const candidate = b.op('Tanh', [b.add(block(d, input, 1, 2, 3), d.linearBeforeReset ? b.mul(rAll!, recurrent) : recurrent)]);
  const [z, r, n, q, before] = [zAll!, rAll!, candidate, recurrent, d.before].map((v) => bySteps(d, v));
  const inputGrads = new Array<Value>(d.steps);
  const recurrentGrads = new Array<Value>(d.steps);
  let dh = d.lastGrad;
  for (const t of d.order.toReversed()) {
    const h = plus(b, dh, d.outputGrads[t]!) ?? b.full(d.x, [d.batch, d.hidden], 0);
    const dz = b.mul(b.mul(h, b.sub(before![t]!, n![t]!)), sigmoidSlope(b, z![t]!));
    const dn = b.mul(b.mul(h, b.sub(one(b, h), z![t]!)), tanhSlope(b, n![t]!));
    const dq = d.linearBeforeReset ? b.mul(dn, r![t]!) : dn;
    const through = multiply(b, dq, rh);
    const dr = b.mul(b.mul(d.linearBeforeReset ? dn : through, (d.linearBeforeReset ? q : before)![t]!), sigmoidSlope(b, r![t]!));
    inputGrads[t] = b.concat([dz, dr, dn], 1);
    recurrentGrads[t] = b.concat([dz, dr, dq], 1);
    const direct = b.add(b.mul(h, z![t]!), multiply(b, b.concat([dz, dr], 1), rzr));
    dh = b.add(direct, d.linearBeforeReset ? through : b.mul(through, r![t]!));
  }
  return {
    input: b.concat(inputGrads, 0),
    recurrent: b.concat(recurrentGrads, 0),
    resetHidden: d.linearBeforeReset ? null : resetHidden,
    firstHidden: dh!,
    firstCell: null,
  };
}

function rnnGates(d: Direction): GateGrads {
  const { b } = d;
  const pre = b.add(multiply(b, d.x, d.w, { transB: true }), multiply(b, d.before, d.r, { transB: true }));
  const h = bySteps(d, b.op('Tanh', [shifted(b, shifted(b, pre, biasPart(d, 1, false)), biasPart(d, 1, true))]));
  const grads = new Array<Value>(d.steps);
  let dh = d.lastGrad;
  for (const t of d.order.toReversed()) {
    const total = plus(b, dh, d.outputGrads[t]!) ?? b.full(d.x, [d.batch, d.hidden], 0);
    grads[t] = b.mul(total, tanhSlope(b, h[t]!));
    dh = multiply(b, grads[t]!, d.r);
  }
  const all = b.concat(grads, 0);
  return { input: all, recurrent: all, resetHidden: null, firstHidden: dh!, firstCell: null };
}

const GATE_GRADS: Readonly<Record<Kind, (d: Direction) => GateGrads>> = { LSTM: lstmGates, GRU: gruGates, RNN: rnnGates };

function requireSupported(ctx: GradContext, kind: Kind): void {
  const { node } = ctx;
  const directions = node.string('direction', 'forward') === 'bidirectional' ? 2 : 1;
  const given = node.strings('activations');
  const standard = new Array(directions).fill(ACTIVATIONS[kind]).flat().join().toLowerCase();
  if (given && given.length > 0 && given.join().toLowerCase() !== standard)
    ctx.unsupported('with other activations than its standard ones');
  if (ctx.has(4)) ctx.unsupported('with sequence lengths');
  if (ctx.has(7)) ctx.unsupported('with peepholes');
  if (node.float('clip', 0) > 0 || node.int('input_forget', 0) !== 0) ctx.unsupported('with clipped or coupled gates');
  if (node.int('layout', 0) !== 0) ctx.unsupported('with the batch first');
}

/** Every hidden state, [steps, directions, batch, hidden]: an output of the node, added where it has none. */
function hiddenStates(ctx: GradContext, dims: readonly number[]): Value {
  const { node } = ctx;
  const known = node.outputs[0];
  if (known) return known;
  const name = node.graph.freshName(`${node.label}_hidden`.replace(/[()]/g, '_'));
  const value = node.graph.addValue(name, { kind: 'tensor', dtype: 'float', shape: dims });
  node._setOutput(0, value);
  return value;
}

function recurrentGrad(kind: Kind): GradFn {
  return (ctx) => {
    requireSupported(ctx, kind);
    const { b, node, wants } = ctx;
    const [steps = 1, batch = 1, inputSize = 1] = dimsOf(ctx.input(0));
    const [directions = 1, , hidden = 1] = dimsOf(ctx.input(2));
    const y = hiddenStates(ctx, [steps, directions, batch, hidden]);
    const x = b.reshape(ctx.input(0), [steps * batch, inputSize]);
    const results = Array.from({ length: directions }, (_, k) => {
      /** Slice k of `v` along an axis, without that axis. */
      const own = (v: Value | null, axis: number): Value | null =>
        v &&
        b.reshape(
          b.slice(v, [axis], [k], [k + 1]),
          dimsOf(v).filter((_d, i) => i !== axis),
        );
      const backward = k === 1 || node.string('direction', 'forward') === 'reverse';
      const times = Array.from({ length: steps }, (_t, t) => t);
      const states = own(y, 1)!;
      const first = b.reshape(own(node.input(5), 0) ?? b.full(x, [batch, hidden], 0), [1, batch, hidden]);
      const rest = steps > 1 ? [b.slice(states, [0], [backward ? 1 : 0], [backward ? steps : steps - 1])] : [];
      const before = b.reshape(b.concat(backward ? [...rest, first] : [first, ...rest], 0), [steps * batch, hidden]);
      const dy = own(ctx.outputGrads[0] ?? null, 1);
      const perStep = dy ? split(b, b.reshape(dy, [steps * batch, hidden]), 0, steps) : times.map(() => null);
      const d: Direction = {
        b,
        steps,
        batch,
        hidden,
        order: backward ? times.toReversed() : times,
        x,
        before,
        w: own(ctx.input(1), 0)!,
        r: own(ctx.input(2), 0)!,
        bias: own(node.input(3), 0),
        firstCell: own(node.input(6), 0),
        outputGrads: perStep,
        lastGrad: own(ctx.outputGrads[1] ?? null, 0),
        lastCellGrad: own(ctx.outputGrads[2] ?? null, 0),
        linearBeforeReset: node.int('linear_before_reset', 0) !== 0,
      };
      return weightGrads(d, GATE_GRADS[kind](d), GATES[kind]);
    });
    const join = (pick: (r: (typeof results)[number]) => Value | null, dims: readonly number[]): Value => {
      const parts = results.map((r) => b.reshape(pick(r)!, [1, ...dims]));
      return b.concat(parts, 0);
    };
    const rows = GATES[kind] * hidden;
    const dx = results.map((r) => r.x).reduce((sum, part) => b.add(sum, part));
    return [
      wants[0] ? b.reshape(dx, [steps, batch, inputSize]) : null,
      wants[1] ? join((r) => r.w, [rows, inputSize]) : null,
      wants[2] ? join((r) => r.r, [rows, hidden]) : null,
      wants[3] ? join((r) => r.bias, [2 * rows]) : null,
      null,
      wants[5] ? join((r) => r.firstHidden, [batch, hidden]) : null,
      wants[6] ? join((r) => r.firstCell, [batch, hidden]) : null,
    ];
  };
}

function weightGrads(d: Direction, g: GateGrads, gates: number) {
  const { b } = d;
  const rows = gates * d.hidden;
  const recurrent = (): Value => {
    if (!g.resetHidden) return multiply(b, g.recurrent, d.before, { transA: true });
    const [zr, n] = [block(d, g.recurrent, 1, 0, 2), block(d, g.recurrent, 1, 2, 3)];
    return b.concat([multiply(b, zr, d.before, { transA: true }), multiply(b, n, g.resetHidden, { transA: true })], 0);
  };
  const sums = (v: Value): Value => b.reshape(b.reduceSum(v, [0], false), [rows]);
  return {
    x: multiply(b, g.input, d.w),
    w: multiply(b, g.input, d.x, { transA: true }),
    r: recurrent(),
    bias: d.bias ? b.concat([sums(g.input), sums(g.recurrent)], 0) : null,
    firstHidden: g.firstHidden,
    firstCell: g.firstCell,
  };
}

export const recurrentGrads: Readonly<Record<Kind, GradFn>> = {
  LSTM: recurrentGrad('LSTM'),
  GRU: recurrentGrad('GRU'),
  RNN: recurrentGrad('RNN'),
};
