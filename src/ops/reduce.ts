// Reductions over axes (given by attribute in older opsets, by input in newer ones), ArgMax, ArgMin and TopK.
import { equalDims, minDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import type { Dim, Shape } from '../ir/type.js';
import { axesText, ignored, letters } from './axes-text.js';
import { attributeOrInput } from './constant-input.js';
import { anyNumber, requireType, type TypeTest } from './element-record.js';
import { axesOf, normalizeAxis, tensorResult } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, Inferred, OpRecord, QuantFacts, Work } from './op.js';
import { REDUCERS, reduceItems } from './partial-moves.js';
import { partialOf, scalarItem, settle } from './partial-value.js';
import { REDUCTION_GRADS, topKGrad } from './reduce-grad.js';

const numberOrBool: TypeTest = (d) => d === 'bool' || anyNumber(d);

/** Shape after reducing `axes`; null axes are given but not known. */
function reducedShape(shape: Shape | null, axes: readonly number[] | null, keep: boolean, axisCount?: Dim): Shape | null {
  if (shape === null) return null;
  if (axes === null) {
    if (keep) return shape.map((d) => (d === 1 ? 1 : null));
    return typeof axisCount === 'number' ? new Array<Dim>(Math.max(0, shape.length - axisCount)).fill(null) : null;
  }
  if (keep) return shape.map((d, i) => (axes.includes(i) ? 1 : d));
  return shape.filter((_, i) => !axes.includes(i));
}

function inferReduce(ctx: InferContext, opType: string): Inferred[] {
  requireType(ctx, 0, numberOrBool);
  const dtype = ctx.dtype(0);
  const shape = ctx.shape(0);
  const keep = ctx.node.int('keepdims', 1) !== 0;
  const given = axesOf(ctx, 1);
  if (given === null) {
    const counts = ctx.shape(1);
    return [tensorResult(dtype, reducedShape(shape, null, keep, counts?.length === 1 ? counts[0]! : undefined))];
  }
  const none = given === undefined || given.length === 0;
  const noop = none && ctx.node.int('noop_with_empty_axes', 0) !== 0;
  if (shape === null) return [tensorResult(dtype, !keep && none && !noop ? [] : null)];
  const axes = noop ? [] : none ? shape.map((_, i) => i) : given.map((a) => normalizeAxis(ctx, a, shape.length));
  return [tensorResult(dtype, reducedShape(shape, axes, keep), reducedValue(ctx, opType, axes, keep))];
}

function reducedValue(ctx: InferContext, opType: string, axes: readonly number[], keep: boolean) {
  const value = ctx.value(0);
  if (!value || !(opType in REDUCERS)) return undefined;
  const out = reduceItems(value, axes, keep, REDUCERS[opType as keyof typeof REDUCERS]);
  return partialOf(
    value.dtype,
    out.dims,
    out.items.map((x) => settle(value.dtype, x)),
  );
}

/** Axes that a node reduces, counted from the front; undefined where they are not constant. */
function staticAxes(node: Node, rank: number): number[] | undefined {
  if (node.input(1) && attributeOrInput(node, 'axes', 1) === undefined) return undefined;
  const given = attributeOrInput(node, 'axes', 1) ?? [];
  if (given.length === 0) return node.int('noop_with_empty_axes', 0) ? [] : Array.from({ length: rank }, (_, i) => i);
  return given.map((a) => (a < 0 ? a + rank : a));
}

/** Only a plain sum is a contraction; for the rest (mean, maximum, norms) the reduced axis must stay whole. */
function reduceAxes(node: Node, shape: Shape | null | undefined, contracts: boolean): Axes {
  if (!shape) return 'opaque';
  const axes = staticAxes(node, shape.length);
  if (axes === undefined) return 'opaque';
  const all = letters(shape.length);
  const keep = node.int('keepdims', 1) !== 0;
  const source = all.map((t, i) => (axes.includes(i) && !contracts ? '.' : t));
  const target = keep ? all.map((t, i) => (axes.includes(i) ? '.' : t)) : all.filter((_, i) => !axes.includes(i));
  return axesText([source, ...ignored(node)], [target]);
}

/** One operation per input element. */
function inputWork({ inputs }: CostContext): Work {
  return { macs: 0, ops: inputs[0]?.reduce((n, d) => n * d, 1) ?? 0 };
}

function reduction(opType: string, quant: QuantFacts = 'none'): OpRecord {
  return {
    opType,
    domain: '',
    since: 1,
    infer: (ctx) => inferReduce(ctx, opType),
    grad: REDUCTION_GRADS[opType]!,
    axes: (node, inputs) => reduceAxes(node, inputs[0], opType === 'ReduceSum'),
    quant,
    cost: inputWork,
  };
}

/** ArgMax and ArgMin: int64 positions along one axis. */
function argument(opType: string): OpRecord {
  return {
    opType,
    domain: '',
    since: 1,
    infer(ctx) {
      requireType(ctx, 0, anyNumber);
      const shape = ctx.shape(0);
      const keep = ctx.node.int('keepdims', 1) !== 0;
      const axis = shape && normalizeAxis(ctx, ctx.node.int('axis', 0), shape.length);
      return [tensorResult('int64', axis === null ? null : reducedShape(shape, [axis], keep))];
    },
    grad: 'none',
    axes: (node, inputs) => {
      const rank = inputs[0]?.length;
      if (rank === undefined) return 'opaque';
      const at = node.int('axis', 0);
      const axis = at < 0 ? at + rank : at;
      const source = letters(rank).map((t, i) => (i === axis ? '.' : t));
      return axesText([source], [node.int('keepdims', 1) ? source : source.filter((_, i) => i !== axis)]);
    },
    quant: 'none',
    cost: inputWork,
  };
}

const topK: OpRecord = {
  opType: 'TopK',
  domain: '',
  since: 1,
  infer(ctx) {
    requireType(ctx, 0, anyNumber);
    const shape = ctx.shape(0);
    if (shape === null) return [tensorResult(ctx.dtype(0), null), tensorResult('int64', null)];
    const axis = normalizeAxis(ctx, ctx.node.int('axis', -1), shape.length);
    const k = ctx.opset < 10 ? ctx.node.int('k', 1) : (scalarItem(ctx, 1) ?? ctx.symbol('k'));
    const extent = shape[axis]!;
    if (typeof k === 'number' && (k < 0 || (equalDims(k, extent) === false && equalDims(minDims(k, extent), extent) === true)))
      ctx.failShape(ctx.opset < 10 ? 0 : 1, `k in [0,${extent}]`, String(k));
    const out = shape.map((d, i) => (i === axis ? k : d));
    return [tensorResult(ctx.dtype(0), out), tensorResult('int64', out)].slice(0, Math.max(1, ctx.outputCount));
  },
  grad: topKGrad,
  axes: (node, inputs) => {
    const rank = inputs[0]?.length;
    if (rank === undefined) return 'opaque';
    const at = node.int('axis', -1);
    const terms = letters(rank).map((t, i) => (i === (at < 0 ? at + rank : at) ? '.' : t));
    return axesText(
      [terms, ...ignored(node)],
      node.outputs.map((o) => (o ? terms : null)),
    );
  },
  quant: { kind: 'passthrough', data: [0] },
  cost: inputWork,
};

const PICKS: QuantFacts = { kind: 'passthrough', data: [0] };

export const REDUCE_OPS: readonly OpRecord[] = [
  reduction('ReduceSum'),
  reduction('ReduceMean', { kind: 'function', data: [0] }),
  reduction('ReduceMax', PICKS),
  reduction('ReduceMin', PICKS),
  reduction('ReduceProd'),
  reduction('ReduceL1'),
  reduction('ReduceL2'),
  reduction('ReduceLogSum'),
  reduction('ReduceLogSumExp'),
  reduction('ReduceSumSquare'),
  argument('ArgMax'),
  argument('ArgMin'),
  topK,
];
