// Nodes that hand their input through unchanged: Identity, inference Dropout, casts to the same type, movements that move nothing,
// arithmetic with a neutral constant. Types and shapes must prove it; where only a name differs at a graph output, the node stays.
import type { Node, Value } from '../../ir/graph.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { type Miss, miss, type Rule, type RuleContext } from '../../rewrite/rule.js';
import { allEqual, canReplace, constantOf, dtypeOf, intsOf, listOf, positiveAxis, rankOf, sameShape, shapeOf } from './facts.js';

/** A rule that replaces a node's first output by an existing value where `find` gives one. */
function forward(name: string, roots: readonly string[], find: (node: Node, ctx: RuleContext) => Value | Miss | null): Rule {
  return nodeRule({
    name,
    roots,
    plan(node, ctx) {
      const found = find(node, ctx);
      if (found === null || 'miss' in found) return found;
      const output = node.outputs[0];
      if (!output || node.outputs.some((o, i) => i > 0 && o !== null && o.readerCount > 0)) return null;
      if (!canReplace(output, found)) {
        return miss(
          `output "${output.name}" of the graph must keep its name, and ${found.producer ? 'the value has another' : 'the value is no node output'}`,
        );
      }
      return () => [found];
    },
  });
}

const identity = forward('remove-identity', ['Identity'], (node) => node.input(0));

const dropout = forward('remove-dropout', ['Dropout'], (node, ctx) => {
  const training = node.input(2);
  if (ctx.opset >= 12 && training !== null && !allEqual(constantOf(training), 0)) return miss('training_mode is not constantly false');
  if (ctx.opset < 7 && node.int('is_test', 0) === 0) return miss('is_test is 0: the node drops at random');
  const mask = node.outputs[1];
  if (mask && mask.readerCount > 0) return miss(`its mask "${mask.name}" is read`);
  return node.input(0);
});

const cast = forward('remove-cast', ['Cast', 'CastLike'], (node) => {
  const from = dtypeOf(node.input(0));
  const to = dtypeOf(node.outputs[0]);
  return from !== undefined && from === to ? node.input(0) : null;
});

const SAME_SHAPE_IS_SAME_VALUE = ['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Expand'];

const reshape = forward('remove-reshape', SAME_SHAPE_IS_SAME_VALUE, (node) =>
  sameShape(shapeOf(node.input(0)), shapeOf(node.outputs[0])) ? node.input(0) : null,
);

const tile = forward('remove-tile', ['Tile'], (node) => {
  const repeats = intsOf(node.input(1));
  return repeats?.every((r) => r === 1) ? node.input(0) : null;
});

const transpose = forward('remove-transpose', ['Transpose'], (node) => {
  const rank = rankOf(node.input(0)) ?? node.ints('perm')?.length;
  if (rank === undefined) return null;
  const perm = node.ints('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  if (perm.every((p, i) => p === i)) return node.input(0);
  const shape = shapeOf(node.input(0));
  if (shape === null) return null;
  const moved = perm.filter((p) => shape[p] !== 1);
  const keepsOrder = moved.every((p, i) => i === 0 || p > moved[i - 1]!);
  return keepsOrder && sameShape(shape, shapeOf(node.outputs[0])) ? node.input(0) : null;
});

const slice = forward('remove-slice', ['Slice'], (node) => {
  const starts = listOf(node, 'starts', 1);
  const ends = listOf(node, 'ends', 2);
  const steps = node.input(4) === null ? [] : intsOf(node.input(4));
  if (!starts || steps === undefined || steps.some((s) => s !== 1)) return null;
  const same = sameShape(shapeOf(node.input(0)), shapeOf(node.outputs[0]));
  if (same || (starts.every((s) => s === 0) && ends?.every((e) => e >= 0x7fffffff))) return node.input(0);
  return null;
});

const pad = forward('remove-pad', ['Pad'], (node) => {
  const pads = listOf(node, 'pads', 1);
  return pads?.every((p) => p === 0) ? node.input(0) : null;
});

const single = forward('remove-single', ['Concat', 'Sum', 'Max', 'Min', 'Mean'], (node) =>
  node.inputs.length === 1 ? node.input(0) : null,
);

const split = forward('remove-split', ['Split'], (node) =>
  node.outputs.length === 1 && sameShape(shapeOf(node.input(0)), shapeOf(node.outputs[0])) ? node.input(0) : null,
);

const REDUCTIONS_OF_ONE = ['ReduceMean', 'ReduceSum', 'ReduceMax', 'ReduceMin', 'ReduceProd'];

const reduce = forward('remove-reduce', REDUCTIONS_OF_ONE, (node) => {
  const axes = listOf(node, 'axes', 1);
  if (axes === undefined) return null;
  if (axes === null || axes.length === 0) return node.int('noop_with_empty_axes', 0) === 1 ? node.input(0) : null;
  const shape = shapeOf(node.input(0));
  if (shape === null || node.int('keepdims', 1) === 0) return null;
  return axes.every((a) => shape[positiveAxis(a, shape.length)] === 1) ? node.input(0) : null;
});

const clip = forward('remove-clip', ['Clip'], (node, ctx) => {
  const unbounded = node.input(1) === null && node.input(2) === null;
  if (ctx.opset >= 11) return unbounded ? node.input(0) : null;
  return node.hasAttribute('min') || node.hasAttribute('max') ? null : node.input(0);
});

/** Operators with a neutral element: on either side, or only on the right. */
const NEUTRAL: Record<string, { readonly x: number; readonly left: boolean }> = {
  Mul: { x: 1, left: true },
  Div: { x: 1, left: false },
  Add: { x: 0, left: true },
  Sub: { x: 0, left: false },
  Pow: { x: 1, left: false },
  And: { x: 1, left: true },
  Or: { x: 0, left: true },
};

const neutral = forward('remove-neutral-arithmetic', Object.keys(NEUTRAL), (node) => {
  const { x, left } = NEUTRAL[node.opType]!;
  for (const index of left ? [1, 0] : [1]) {
    if (!allEqual(constantOf(node.input(index)), x)) continue;
    const kept = node.input(1 - index);
    if (kept === null || dtypeOf(kept) !== dtypeOf(node.outputs[0])) return null;
    if (keepsShape(kept, node.input(index)!, node.outputs[0]!)) return kept;
    return miss('the constant may broadcast its neighbour to a larger shape');
  }
  return null;
});

/** True where broadcasting `kept` with `other` gives `kept`'s own shape. */
function keepsShape(kept: Value, other: Value, out: Value): boolean {
  if (sameShape(shapeOf(kept), shapeOf(out))) return true;
  const dims = constantOf(other)?.dims;
  const rank = rankOf(kept);
  if (dims?.length === 0) return true;
  return dims !== undefined && rank !== undefined && dims.length <= rank && dims.every((d) => d === 1);
}

const where = forward('remove-where', ['Where'], (node) => {
  const condition = constantOf(node.input(0));
  if (condition === undefined) return null;
  const kept = allEqual(condition, 1) ? node.input(1) : allEqual(condition, 0) ? node.input(2) : null;
  if (kept === null) return null;
  return sameShape(shapeOf(kept), shapeOf(node.outputs[0])) ? kept : miss('the condition or the other branch may broadcast the result');
});

const INVOLUTIONS = ['Not', 'Neg'];

const involution = forward('remove-double-negation', INVOLUTIONS, (node) => {
  const inner = node.input(0)?.producer;
  return inner && inner.domain === '' && inner.opType === node.opType ? inner.input(0) : null;
});

const IDEMPOTENT = ['Relu', 'Abs', 'Ceil', 'Floor', 'Round', 'Sign'];

const idempotent = forward('remove-repeated', IDEMPOTENT, (node) => {
  const inner = node.input(0)?.producer;
  return inner && inner.domain === '' && inner.opType === node.opType ? node.input(0) : null;
});

export const IDENTITY_RULES: readonly Rule[] = [
  identity,
  dropout,
  cast,
  reshape,
  tile,
  transpose,
  slice,
  pad,
  single,
  split,
  reduce,
  clip,
  neutral,
  where,
  involution,
  idempotent,
];
