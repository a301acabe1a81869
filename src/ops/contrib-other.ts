// What else of com.microsoft is met in exported models: matrix functions, Fourier transforms, and forms that ONNX itself took over later.

import { addDims, floorDivDims, mulDims, subDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { formatShape, type Shape } from '../ir/type.js';
import { ATTENTION_OPS } from './attention.js';
import { sameAxesBut } from './axes-text.js';
import { commonDtype, elements, FUNCTION_OF_FIRST, nodeAxes, PASSTHROUGH_FIRST, requireDtype } from './compute-helpers.js';
import { CONV_OPS } from './conv.js';
import { decomposeDistances, decomposeExpandDims, decomposeToStandard } from './decompose-fused.js';
import { integersOf, requireRank, requireRankAtLeast, scalarOf, tensorResult, unifyDims } from './infer-helpers.js';
import { inverseGrad } from './matmul-grad.js';
import type { Axes, InferContext, Inferred, OpRecord } from './op.js';

const base = { domain: 'com.microsoft', since: 1, grad: 'none', quant: 'none' } as const;
const REALS: readonly DType[] = ['float', 'float16', 'double'];

/** The last two axes belong together. */
function matrixAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  return sameAxesBut(node, inputs, [-1, -2]);
}

/** Checks that the last two axes are a matrix, square where asked for. */
function requireMatrix(ctx: InferContext, square: boolean): Shape | null {
  requireRankAtLeast(ctx, 0, 2);
  const x = ctx.shape(0);
  if (x && square) unifyDims(ctx, 0, x.at(-2)!, x.at(-1)!, 'extent of a square matrix');
  return x;
}

function inverseResult(ctx: InferContext): Inferred[] {
  return [tensorResult(requireDtype(ctx, 0, REALS), requireMatrix(ctx, true))];
}

function triluResult(ctx: InferContext): Inferred[] {
  if (ctx.has(1)) requireDtype(ctx, 1, ['int64']);
  return [tensorResult(ctx.dtype(0), requireMatrix(ctx, false))];
}

/** Pairs of rows of [m,n] and [k,n]. */
function cdistResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1], ['float', 'double']);
  for (const i of [0, 1]) requireRank(ctx, i, 2);
  const [a, b] = [ctx.shape(0), ctx.shape(1)];
  if (a && b) unifyDims(ctx, 1, a[1]!, b[1]!, 'extent of a row');
  return [tensorResult(dtype, [a?.[0] ?? null, b?.[0] ?? null])];
}

function expandDimsResult(ctx: InferContext): Inferred[] {
  requireDtype(ctx, 1, ['int32']);
  const x = ctx.shape(0);
  const axis = scalarOf(ctx, 1);
  if (x === null || axis === undefined) return [tensorResult(ctx.dtype(0), x && new Array(x.length + 1).fill(null))];
  if (axis < -x.length - 1 || axis > x.length) ctx.failShape(1, `an axis in [${-x.length - 1},${x.length}]`, String(axis));
  return [tensorResult(ctx.dtype(0), x.toSpliced(axis < 0 ? axis + x.length + 1 : axis, 0, 1))];
}

/** Pads by an input [2*rank], or [1, 2*rank], of begins and ends. */
function padResult(ctx: InferContext): Inferred[] {
  const dtype = requireDtype(ctx, 0, REALS);
  requireDtype(ctx, 1, ['int64']);
  const x = ctx.shape(0);
  const pads = integersOf(ctx, 1);
  if (x && pads && pads.length !== 2 * x.length) ctx.failShape(1, `${2 * x.length} pads`, String(pads.length));
  const shape = x?.map((d, i) => (pads ? addDims(d, pads[i]! + pads[i + x.length]!) : null));
  return [tensorResult(dtype, shape ?? null)];
}

/** Real [..., n] to complex [..., n/2+1, 2], and back. */
function rfftResult(inverse: boolean): (ctx: InferContext) => Inferred[] {
  return (ctx) => {
    const dtype = requireDtype(ctx, 0, REALS);
    const signal = ctx.node.int('signal_ndim', 1);
    requireRankAtLeast(ctx, 0, signal + (inverse ? 1 : 0));
    const x = ctx.shape(0);
    if (x === null) return [tensorResult(dtype, null)];
    if (!inverse) return [tensorResult(dtype, [...x.slice(0, -1), addDims(floorDivDims(x.at(-1)!, 2), 1), 2])];
    if (typeof x.at(-1) === 'number' && x.at(-1) !== 2) ctx.failShape(0, 'a last extent of 2 (real, imaginary)', formatShape(x));
    return [tensorResult(dtype, [...x.slice(0, -2), mulDims(subDims(x.at(-2)!, 1), 2)])];
  };
}

function rfftAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (!rank) return 'opaque';
  const inverse = node.opType === 'Irfft';
  const free = [...'abcdefghij'].slice(0, Math.max(0, rank - node.int('signal_ndim', 1) - (inverse ? 1 : 0))).join('');
  const input = free + '.'.repeat(rank - free.length);
  const output = free + '.'.repeat(rank + (inverse ? -1 : 1) - free.length);
  return nodeAxes(node, { 0: input }, [output]);
}

/** Images [n,c,h,w] sampled at the points of a grid [n,h,w,2]. */
function gridSampleResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1], REALS);
  for (const i of [0, 1]) requireRank(ctx, i, 4);
  const [x, grid] = [ctx.shape(0), ctx.shape(1)];
  if (grid) unifyDims(ctx, 1, 2, grid[3]!, 'coordinates');
  const batch = unifyDims(ctx, 1, x?.[0] ?? null, grid?.[0] ?? null, 'batch');
  return [tensorResult(dtype, [batch, x?.[1] ?? null, grid?.[1] ?? null, grid?.[2] ?? null])];
}

/** Five operations per element and doubling. */
const fftCost: OpRecord['cost'] = ({ node, inputs, outputs }) => {
  const [signal, n] = node.opType === 'Irfft' ? [outputs[0], outputs[0]?.at(-1)] : [inputs[0], inputs[0]?.at(-1)];
  return { macs: 0, ops: Math.round(2.5 * elements(signal) * Math.log2(Math.max(n ?? 1, 2))) };
};

/** The same operator as in the default domain. */
function alsoHere(list: readonly OpRecord[], opType: string): OpRecord {
  return { ...list.find((r) => r.opType === opType)!, domain: 'com.microsoft', since: 1 };
}

export const CONTRIB_OTHER_OPS: readonly OpRecord[] = [
  {
    ...base,
    opType: 'Inverse',
    grad: inverseGrad,
    infer: inverseResult,
    axes: matrixAxes,
    cost: ({ inputs: [x] }) => ({ macs: x ? elements(x) * x.at(-1)! : 0, ops: 0 }),
  },
  {
    ...base,
    opType: 'Trilu',
    grad: { decompose: decomposeToStandard },
    infer: triluResult,
    axes: matrixAxes,
    quant: PASSTHROUGH_FIRST,
    cost: 'none',
  },
  {
    ...base,
    opType: 'CDist',
    grad: { decompose: decomposeDistances },
    infer: cdistResult,
    // Square roots and products of rows stand between: the extent of the rows stays.
    axes: (node) => nodeAxes(node, { 0: 'm.', 1: 'k.' }, ['mk']),
    cost: ({ inputs: [a], outputs: [y] }) => ({ macs: elements(y) * (a?.[1] ?? 0), ops: elements(y) }),
  },
  {
    ...base,
    opType: 'ExpandDims',
    grad: { decompose: decomposeExpandDims },
    infer: expandDimsResult,
    axes: 'opaque',
    quant: PASSTHROUGH_FIRST,
    cost: 'none',
  },
  {
    ...base,
    opType: 'Pad',
    grad: { decompose: decomposeToStandard },
    infer: padResult,
    axes: (node, inputs) =>
      sameAxesBut(
        node,
        inputs,
        (inputs[0] ?? []).map((_, i) => i),
      ),
    quant: PASSTHROUGH_FIRST,
    cost: 'none',
  },
  { ...base, opType: 'Rfft', infer: rfftResult(false), axes: rfftAxes, cost: fftCost },
  { ...base, opType: 'Irfft', infer: rfftResult(true), axes: rfftAxes, cost: fftCost },
  alsoHere(ATTENTION_OPS, 'LinearAttention'),
  alsoHere(CONV_OPS, 'CausalConvWithState'),
  {
    ...base,
    opType: 'GridSample',
    infer: gridSampleResult,
    axes: (node) => nodeAxes(node, { 0: 'nc..', 1: 'nhw.' }, ['nchw']),
    quant: FUNCTION_OF_FIRST,
    cost: ({ outputs: [y] }) => ({ macs: 4 * elements(y), ops: 0 }),
  },
];
