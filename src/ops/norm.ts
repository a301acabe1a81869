// Normalization: (x - mean) / sqrt(variance + epsilon) * scale + bias over the batch (BatchNormalization), an instance, groups of channels or the last axes,
// and its relatives without mean (RMSNormalization, LpNormalization) or over neighbouring channels (LRN); Dropout, which does nothing at inference.

import type { DType } from '../ir/dtype.js';
import { dtypeOfCode } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import type { Dim, Shape } from '../ir/type.js';
import { broadcastTerms, letters, sameAxes, sameAxesBut } from './axes-text.js';
import {
  commonDtype,
  divideExactly,
  FLOATS,
  FUNCTION_OF_FIRST,
  nodeAxes,
  opsPerOutput,
  outputs,
  PASSTHROUGH_FIRST,
  requireBroadcastTo,
  requireDtype,
  requireVector,
  unary,
} from './compute-helpers.js';
import { normalizeAxis, requireRankAtLeast, tensorResult, unifyDims } from './infer-helpers.js';
import { normGrads } from './norm-grad.js';
import type { Axes, InferContext, Inferred, OpRecord } from './op.js';

/** Operations per element of a two-pass normalization: mean, difference, square, sum, scaling, and the affine map. */
const TWO_PASS_OPS = 7;

// ---- per channel ----

function batchNormResult(ctx: InferContext): Inferred[] {
  const dtype = requireDtype(ctx, 0, FLOATS);
  // One type for all before opset 14; from 14 on the statistics, from 15 on also scale and bias have types of their own.
  if (ctx.opset < 14) commonDtype(ctx, [0, 1, 2, 3, 4]);
  else {
    commonDtype(ctx, ctx.opset < 15 ? [0, 1, 2] : [1, 2]);
    commonDtype(ctx, [3, 4]);
  }
  requireRankAtLeast(ctx, 0, 1);
  const x = ctx.shape(0);
  const perElement = ctx.opset < 9 && ctx.node.int('spatial', 1) === 0;
  let channels: Dim = x === null ? null : x.length > 1 ? x[1]! : 1;
  if (!perElement) {
    for (const i of [1, 2, 3, 4]) requireVector(ctx, i, channels, 'channels');
    for (const i of [1, 2, 3, 4]) channels = unifyDims(ctx, i, channels, ctx.shape(i)?.[0] ?? null, 'channels');
  }
  const statistics = perElement ? (ctx.shape(3) ?? x?.slice(1) ?? null) : [channels];
  const moved = tensorResult(ctx.dtype(3) ?? (ctx.opset < 14 ? dtype : undefined), statistics);
  return outputs(ctx, tensorResult(dtype, x), moved, moved, moved, moved);
}

function batchNormAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined) return 'opaque';
  const training = node.int('training_mode', 0) !== 0 || node.outputs.length > 1;
  const names = letters(rank);
  // Statistics of the batch depend on every axis but the channels.
  const term = names.map((x, i) => (training && i !== 1 ? '.' : x)).join('');
  const channel = rank > 1 ? names[1]! : '_';
  const own = (inputs[1]?.length ?? 1) > 1 ? term.slice(1) : channel;
  return nodeAxes(node, { 0: term, 1: own, 2: own, 3: own, 4: own }, [term, own, own, own, own]);
}

/** Batch and channels are free; the spatial axes are averaged over. */
function instanceNormAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined || rank < 2) return 'opaque';
  const term = `nc${'.'.repeat(rank - 2)}`;
  return nodeAxes(node, { 0: term, 1: 'c', 2: 'c' }, [term]);
}

function groupNormResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2]);
  requireRankAtLeast(ctx, 0, 3);
  const groups = ctx.node.int('num_groups');
  if (groups === undefined) ctx.failShape(0, 'the attribute num_groups', 'none');
  const x = ctx.shape(0);
  if (x) divideExactly(ctx, 0, x[1]!, groups, 'channels');
  const extent = ctx.opset < 21 ? groups : x ? x[1]! : null;
  for (const i of [1, 2]) requireVector(ctx, i, extent, ctx.opset < 21 ? 'groups' : 'channels');
  return [tensorResult(dtype, x)];
}

/** Whole groups can go (with `num_groups`), channels of a group cannot: they are normalized together. */
function groupNormAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const x = inputs[0];
  if (!x || x.length < 2) return 'opaque';
  const groups = node.int('num_groups', 1);
  // One channel a group is an instance normalization.
  const channel = groups === x[1] ? 'g' : '(g.)';
  const affine = inputs[1]?.[0];
  const own = affine === groups ? 'g' : channel;
  const term = (c: string) => `n${c}${'.'.repeat(x.length - 2)}`;
  // Whether scale and bias are per group or per channel cannot be told without their extent.
  if (typeof affine !== 'number') return nodeAxes(node, { 0: term('.'), 1: '.', 2: '.' }, [term('.')]);
  return nodeAxes(node, { 0: term(channel), 1: own, 2: own }, [term(channel)]);
}

// ---- over the last axes ----

/** Type of the statistics by the attribute stash_type (1 float, 16 bfloat16). */
function stashType(ctx: InferContext): DType {
  return dtypeOfCode(ctx.node.int('stash_type', 1));
}

/** Shape of statistics: the normalized axes have extent 1. */
function statisticsShape(ctx: InferContext, fallback = -1): Shape | null {
  const x = ctx.shape(0);
  if (x === null) return null;
  const axis = normalizeAxis(ctx, ctx.node.int('axis', fallback), x.length);
  return x.map((d, i) => (i < axis ? d : 1));
}

function layerNormResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2]);
  const statistics = statisticsShape(ctx);
  for (const i of [1, 2]) requireBroadcastTo(ctx, i, ctx.shape(0));
  const kept = tensorResult(stashType(ctx), statistics);
  return outputs(ctx, tensorResult(dtype, ctx.shape(0)), kept, kept);
}

/** RMSNormalization: the output has the type of the scale, which may differ from the input's. */
function rmsNormResult(ctx: InferContext): Inferred[] {
  requireDtype(ctx, 0, FLOATS);
  const dtype = requireDtype(ctx, 1, FLOATS);
  const statistics = statisticsShape(ctx);
  requireBroadcastTo(ctx, 1, ctx.shape(0));
  return outputs(ctx, tensorResult(dtype, ctx.shape(0)), tensorResult(stashType(ctx), statistics));
}

/** Axes before `axis` are free unless a scale or bias varies along them in a way that cannot be told. */
function layerNormAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const x = inputs[0];
  if (!x) return 'opaque';
  const axis = node.int('axis', -1);
  const first = axis < 0 ? axis + x.length : axis;
  const affine = inputs.slice(1, 3);
  if (affine.some((s, i) => s === null && node.input(1 + i))) return 'opaque';
  const { operands, result } = broadcastTerms([x, ...affine.map((s) => s ?? [])]);
  const blocked = (terms: readonly string[]) => terms.map((t, i) => (i - terms.length + x.length >= first ? '.' : t)).join('');
  const term = blocked(result);
  const statistics = term;
  return nodeAxes(node, { 0: blocked(operands[0]!), 1: blocked(operands[1]!), 2: blocked(operands[2] ?? []) }, [
    term,
    statistics,
    statistics,
  ]);
}

// ---- others ----

/** The window runs over neighbouring channels. */
function lrnAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  return sameAxesBut(node, inputs, [1]);
}

function dropoutResult(ctx: InferContext): Inferred[] {
  const dtype = requireDtype(ctx, 0, FLOATS);
  if (ctx.has(1)) requireDtype(ctx, 1, FLOATS);
  if (ctx.has(2)) requireDtype(ctx, 2, ['bool']);
  return outputs(ctx, tensorResult(dtype, ctx.shape(0)), tensorResult(ctx.opset < 10 ? dtype : 'bool', ctx.shape(0)));
}

const base = { domain: '', grad: 'none', quant: FUNCTION_OF_FIRST } as const;

export const NORM_OPS: readonly OpRecord[] = [
  {
    ...base,
    opType: 'BatchNormalization',
    grad: normGrads.BatchNormalization,
    since: 1,
    infer: batchNormResult,
    axes: batchNormAxes,
    // At inference scale and bias take the statistics in: one product and one sum per element.
    cost: ({ node, outputs: out }) =>
      opsPerOutput(node.int('training_mode', 0) !== 0 ? TWO_PASS_OPS : 2)({ node, inputs: [], outputs: out }),
  },
  {
    ...base,
    opType: 'InstanceNormalization',
    grad: normGrads.InstanceNormalization,
    since: 1,
    infer(ctx) {
      const dtype = commonDtype(ctx, [0, 1, 2]);
      requireRankAtLeast(ctx, 0, 3);
      for (const i of [1, 2]) requireVector(ctx, i, ctx.shape(0)?.[1] ?? null, 'channels');
      return [tensorResult(dtype, ctx.shape(0))];
    },
    axes: instanceNormAxes,
    cost: opsPerOutput(TWO_PASS_OPS),
  },
  {
    ...base,
    opType: 'GroupNormalization',
    grad: normGrads.GroupNormalization,
    since: 18,
    infer: groupNormResult,
    axes: groupNormAxes,
    cost: opsPerOutput(TWO_PASS_OPS),
  },
  {
    ...base,
    opType: 'LayerNormalization',
    grad: normGrads.LayerNormalization,
    since: 17,
    infer: layerNormResult,
    axes: layerNormAxes,
    cost: opsPerOutput(TWO_PASS_OPS),
  },
  {
    ...base,
    opType: 'RMSNormalization',
    grad: normGrads.RMSNormalization,
    since: 23,
    infer: rmsNormResult,
    axes: layerNormAxes,
    cost: opsPerOutput(4),
  },
  // ONNX Runtime's name for it before ONNX had one; in the default domain too.
  {
    ...base,
    opType: 'SimplifiedLayerNormalization',
    grad: normGrads.RMSNormalization,
    since: 1,
    infer: rmsNormResult,
    axes: layerNormAxes,
    cost: opsPerOutput(4),
  },
  {
    ...base,
    opType: 'LRN',
    grad: normGrads.LRN,
    since: 1,
    infer(ctx) {
      requireRankAtLeast(ctx, 0, 2);
      return unary()(ctx);
    },
    axes: lrnAxes,
    cost: ({ node, inputs, outputs: out }) => opsPerOutput(2 * node.int('size', 1) + 3)({ node, inputs, outputs: out }),
  },
  {
    ...base,
    opType: 'LpNormalization',
    grad: normGrads.LpNormalization,
    since: 1,
    infer(ctx) {
      const x = ctx.shape(0);
      if (x) normalizeAxis(ctx, ctx.node.int('axis', -1), x.length);
      return unary()(ctx);
    },
    axes: (node, inputs) => sameAxesBut(node, inputs, [node.int('axis', -1)]),
    cost: opsPerOutput(3),
  },
  {
    ...base,
    opType: 'MeanVarianceNormalization',
    grad: normGrads.MeanVarianceNormalization,
    since: 9,
    infer(ctx) {
      const x = ctx.shape(0);
      if (x) for (const a of ctx.node.ints('axes', [0, 2, 3])) normalizeAxis(ctx, a, x.length);
      return unary()(ctx);
    },
    axes: (node, inputs) => sameAxesBut(node, inputs, node.ints('axes', [0, 2, 3])),
    cost: opsPerOutput(5),
  },
  {
    ...base,
    opType: 'Dropout',
    grad: normGrads.Dropout,
    since: 1,
    infer: dropoutResult,
    axes: sameAxes,
    quant: PASSTHROUGH_FIRST,
    cost: 'none',
    nondeterministic: true,
  },
];
