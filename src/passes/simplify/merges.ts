// Chains of the same kind that become one node: Cast of Cast, Slice of Slice, Concat of Concat, constants added or multiplied twice, Clip of Relu.
import { DTYPES, type DType } from '../../ir/dtype.js';
import type { Node, Value } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { scalarOf } from '../../rewrite/pattern.js';
import { miss, type Rule } from '../../rewrite/rule.js';
import { constantOf, dtypeOf, intsOf, positiveAxis, rankOf, sameShape, shapeOf } from './facts.js';

/** Mantissa and exponent bits, sign included in neither. */
const FLOATS: Partial<Record<DType, readonly [mantissa: number, exponent: number]>> = {
  double: [52, 11],
  float: [23, 8],
  float16: [10, 5],
  bfloat16: [7, 8],
};

/** True where every value of `from` is a value of `to`. */
function isLosslessCast(from: DType, to: DType): boolean {
  if (from === to) return true;
  const [a, b] = [DTYPES[from], DTYPES[to]];
  if (from === 'bool') return b.kind !== 'string' && b.kind !== 'complex';
  const [fa, fb] = [FLOATS[from], FLOATS[to]];
  if (fa && fb) return fa[0] <= fb[0] && fa[1] <= fb[1];
  if ((a.kind === 'int' || a.kind === 'uint') && fb) return (a.kind === 'int' ? a.bits - 1 : a.bits) <= fb[0] + 1 && a.bits <= 16;
  if (a.kind === 'uint') return b.kind === 'uint' ? a.bits <= b.bits : b.kind === 'int' && a.bits < b.bits;
  return a.kind === 'int' && b.kind === 'int' && a.bits <= b.bits;
}

const castChain: Rule = nodeRule({
  name: 'merge-casts',
  roots: ['Cast'],
  plan(node, ctx) {
    const inner = node.input(0)?.producer;
    if (inner?.domain !== '' || inner.opType !== 'Cast') return null;
    const [from, via, to] = [dtypeOf(inner.input(0)), dtypeOf(inner.outputs[0]), dtypeOf(node.outputs[0])];
    if (!from || !via || !to) return null;
    if (!isLosslessCast(from, via)) return miss(`the cast from ${from} to ${via} in between loses precision`);
    return () => [ctx.b.op('Cast', [inner.input(0)], { to: DTYPES[to].code })];
  },
});

interface SliceSpec {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly axes: readonly number[];
  readonly steps: readonly number[];
}

function sliceSpec(node: Node): SliceSpec | undefined {
  const rank = rankOf(node.input(0));
  const [starts, ends] = [intsOf(node.input(1)), intsOf(node.input(2))];
  if (rank === undefined || !starts || !ends) return undefined;
  const axes = node.input(3) === null ? starts.map((_, i) => i) : intsOf(node.input(3));
  const steps = node.input(4) === null ? starts.map(() => 1) : intsOf(node.input(4));
  return axes && steps ? { starts, ends, axes: axes.map((a) => positiveAxis(a, rank)), steps } : undefined;
}

const sliceChain: Rule = nodeRule({
  name: 'merge-slices',
  roots: ['Slice'],
  plan(node, ctx) {
    const inner = node.input(0)?.producer;
    if (ctx.opset < 10 || !inner || inner.domain !== '' || inner.opType !== 'Slice') return null;
    if (inner.output().readerCount > 1) return null;
    const [a, b] = [sliceSpec(inner), sliceSpec(node)];
    if (!a || !b) return miss('starts, ends, axes or steps are not constant');
    if (b.axes.some((axis) => a.axes.includes(axis))) return miss('both slice the same axis');
    return () => {
      const name = node.output().name;
      const list = (what: keyof SliceSpec) => ctx.b.constant(`${name}_${what}`, int64s([...a[what], ...b[what]]));
      const steps = [...a.steps, ...b.steps].every((s) => s === 1) ? [] : [list('steps')];
      return [ctx.b.op('Slice', [inner.input(0), list('starts'), list('ends'), list('axes'), ...steps])];
    };
  },
});

/** Slice ends may be 2^63-1, which no number holds: what lies beyond the safe range means "to the end" and is cut to that range. */
function int64s(values: readonly number[]): Tensor {
  const cut = (v: number) => BigInt(Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, v)));
  return Tensor.of('int64', [values.length], BigInt64Array.from(values, cut));
}

const concatChain: Rule = nodeRule({
  name: 'merge-concats',
  roots: ['Concat'],
  plan(node, ctx) {
    const axis = node.int('axis');
    const rank = rankOf(node.outputs[0]);
    if (axis === undefined || rank === undefined) return null;
    const nested = (v: Value | null): Node | undefined => {
      const inner = v?.producer;
      if (inner?.domain !== '' || inner.opType !== 'Concat' || inner.graph !== node.graph || v?.readerCount !== 1) return undefined;
      return positiveAxis(inner.int('axis', 0), rank) === positiveAxis(axis, rank) ? inner : undefined;
    };
    if (!node.inputs.some((v) => nested(v))) return null;
    return () => [
      ctx.b.op(
        'Concat',
        node.inputs.flatMap((v) => nested(v)?.inputs ?? [v]),
        { axis },
      ),
    ];
  },
});

/** (x + a) + b, (x * a) * b with scalar float constants. */
const scalarChain: Rule = nodeRule({
  name: 'merge-scalar-arithmetic',
  roots: ['Add', 'Mul'],
  plan(node, ctx) {
    const own = scalarSide(node);
    const inner = own?.other.producer;
    if (!own || !inner || inner.domain !== '' || inner.opType !== node.opType || own.other.readerCount > 1) return null;
    const first = scalarSide(inner);
    const dtype = dtypeOf(node.outputs[0]);
    if (!first || (dtype !== 'float' && dtype !== 'double')) return null;
    if (!sameShape(shapeOf(first.other), shapeOf(node.outputs[0]))) return null;
    const x = node.opType === 'Add' ? first.x + own.x : first.x * own.x;
    if (!Number.isFinite(Math.fround(x)) || (node.opType === 'Mul' && Math.abs(x) < 1e-30))
      return miss('the two constants together overflow or vanish');
    return () => [ctx.b.op(node.opType, [first.other, ctx.b.scalar(`${node.output().name}_scalar`, dtype, x)])];
  },
});

function scalarSide(node: Node): { readonly other: Value; readonly x: number } | undefined {
  for (const index of [1, 0]) {
    const x = scalarOf(node.input(index));
    const other = node.input(1 - index);
    if (x !== undefined && other && !constantOf(other)) return { other, x };
  }
  return undefined;
}

/** Clip whose lower bound is at least 0 makes a Relu before it idle; Relu after such a Clip likewise. */
const reluClip: Rule = nodeRule({
  name: 'merge-relu-clip',
  roots: ['Clip', 'Relu'],
  plan(node, ctx) {
    const inner = node.input(0)?.producer;
    if (inner?.domain !== '' || ctx.opset < 11) return null;
    if (node.opType === 'Relu') {
      if (inner.opType !== 'Clip' || (scalarOf(inner.input(1)) ?? -1) < 0) return null;
      const clipped = node.input(0)!;
      return node.output().isGraphOutput ? null : () => [clipped];
    }
    if (inner.opType !== 'Relu') return null;
    const low = scalarOf(node.input(1));
    const high = node.input(2);
    if (node.input(1) !== null && low === undefined) return miss('its lower bound is not constant');
    if (low !== undefined && low >= 0) return () => [ctx.b.op('Clip', [inner.input(0), node.input(1), high])];
    const dtype = dtypeOf(node.outputs[0]);
    // max(x, 0) and then min(high): one Clip from 0, right as long as high is not below 0.
    if (dtype === undefined || high === null || (scalarOf(high) ?? -1) < 0) return null;
    return () => [ctx.b.op('Clip', [inner.input(0), ctx.b.scalar(`${node.output().name}_min`, dtype, 0), high])];
  },
});

export const MERGE_RULES: readonly Rule[] = [castChain, sliceChain, concatChain, scalarChain, reluClip];
