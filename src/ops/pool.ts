// Pooling: a window slides over the spatial axes of [N,C,D1..Dn] and is reduced to one number; global forms reduce all of them.
// Batch and channels stay apart: both can be sliced freely.

import { addDims, mulDims, subDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { BYTES, elements, FLOATS, FUNCTION_OF_FIRST, nodeAxes, outputs, PASSTHROUGH_FIRST, requireDtype } from './compute-helpers.js';
import { requireRank, requireRankAtLeast, shapeFromInput, tensorResult, unifyDims, windowGeometry, windowOutput } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';
import { poolGrads } from './pool-grad.js';

const MAX_TYPES: readonly DType[] = [...FLOATS, ...BYTES];

/** Shape of a pooled input; `nhwc` has the channels last. */
export function poolShape(ctx: InferContext, input = 0, nhwc = false): Shape | null {
  requireRankAtLeast(ctx, input, 3);
  const kernel = ctx.node.ints('kernel_shape');
  if (!kernel) ctx.failShape(input, 'the attribute kernel_shape', 'none');
  const x = ctx.shape(input);
  if (x === null) return [...new Array<Dim>(kernel.length + 2).fill(null)];
  if (kernel.length !== x.length - 2) ctx.failShape(input, `rank ${kernel.length + 2} (kernel_shape + 2)`, formatShape(x));
  const g = windowGeometry(ctx, kernel.length);
  const first = nhwc ? 1 : 2;
  const spatial = kernel.map((k, i) => {
    const out = windowOutput(x[first + i]!, k, i, g);
    if (typeof out === 'number' && out < 0)
      ctx.failShape(input, `padded spatial extents of at least the kernel [${kernel}]`, formatShape(x));
    return out;
  });
  return nhwc ? [x[0]!, ...spatial, x.at(-1)!] : [x[0]!, x[1]!, ...spatial];
}

/** Every spatial axis shrinks to 1. */
export function globalPoolShape(ctx: InferContext, input = 0, nhwc = false): Shape | null {
  requireRankAtLeast(ctx, input, 3);
  const x = ctx.shape(input);
  return x?.map((d, i) => (i === 0 || i === (nhwc ? x.length - 1 : 1) ? d : 1)) ?? null;
}

/** Batch and channel axes are free, spatial ones are not. */
export function poolAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined || rank < 2) return 'opaque';
  const dots = '.'.repeat(rank - 2);
  const term = node.int('channels_last', 0) !== 0 ? `n${dots}c` : `nc${dots}`;
  return nodeAxes(
    node,
    { 0: term },
    node.outputs.map(() => term),
  );
}

/** Indices that a MaxPool hands out count through the whole input, batch and channels included: with them nothing may be sliced. */
function maxPoolAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (!node.outputs[1] || rank === undefined) return poolAxes(node, inputs);
  const dots = '.'.repeat(rank);
  return nodeAxes(node, { 0: dots }, [dots, dots]);
}

/** One operation for each element under each window. */
export function poolCost({ node, outputs: out }: CostContext): Work {
  return { macs: 0, ops: elements(out[0]) * elements(node.ints('kernel_shape')) };
}

/** Shape of what was pooled: stride*(size-1) + kernel - padding, or the content of the third input. */
function unpoolShape(ctx: InferContext): Shape | null {
  const x = ctx.shape(0);
  const indices = ctx.shape(1);
  if (x && indices) {
    requireRank(ctx, 1, x.length);
    for (const [i, d] of x.entries()) unifyDims(ctx, 1, d, indices[i]!, `extent ${i}`);
  }
  if (ctx.has(2)) return shapeFromInput(ctx, 2) ?? x?.map(() => null) ?? null;
  const kernel = ctx.node.ints('kernel_shape');
  if (!kernel) ctx.failShape(0, 'the attribute kernel_shape', 'none');
  if (x === null) return null;
  if (kernel.length !== x.length - 2) ctx.failShape(0, `rank ${kernel.length + 2} (kernel_shape + 2)`, formatShape(x));
  const g = windowGeometry(ctx, kernel.length);
  const spatial = kernel.map((k, i) => addDims(mulDims(subDims(x[2 + i]!, 1), g.strides[i]!), k - g.pads[i]! - g.pads[kernel.length + i]!));
  return [x[0]!, x[1]!, ...spatial];
}

const base = { domain: '', grad: 'none', quant: FUNCTION_OF_FIRST } as const;
const windowed = { ...base, axes: poolAxes, cost: poolCost } as const;
const floatPool = (ctx: InferContext): Inferred[] => [tensorResult(requireDtype(ctx, 0, FLOATS), poolShape(ctx))];

/** Each input element is read once. */
const globally = {
  ...base,
  since: 1,
  infer: (ctx: InferContext): Inferred[] => [tensorResult(requireDtype(ctx, 0, FLOATS), globalPoolShape(ctx))],
  axes: poolAxes,
  cost: ({ inputs }: CostContext): Work => ({ macs: 0, ops: elements(inputs[0]) }),
} as const;

export const POOL_OPS: readonly OpRecord[] = [
  {
    ...windowed,
    opType: 'MaxPool',
    grad: poolGrads.MaxPool,
    since: 1,
    infer(ctx) {
      const dtype = requireDtype(ctx, 0, MAX_TYPES);
      const shape = poolShape(ctx);
      return outputs(ctx, tensorResult(dtype, shape), tensorResult('int64', shape));
    },
    axes: maxPoolAxes,
    quant: PASSTHROUGH_FIRST,
  },
  { ...windowed, opType: 'AveragePool', grad: poolGrads.AveragePool, since: 1, infer: floatPool },
  {
    ...windowed,
    opType: 'LpPool',
    grad: poolGrads.LpPool,
    since: 1,
    infer: floatPool,
    // A power and a sum per element, a root per result.
    cost: (ctx) => ({ macs: 0, ops: 2 * poolCost(ctx).ops + elements(ctx.outputs[0]) }),
  },
  { ...globally, opType: 'GlobalAveragePool', grad: poolGrads.GlobalAveragePool },
  { ...globally, opType: 'GlobalMaxPool', grad: poolGrads.GlobalMaxPool, quant: PASSTHROUGH_FIRST },
  { ...globally, opType: 'GlobalLpPool', grad: poolGrads.GlobalLpPool, cost: ({ inputs }) => ({ macs: 0, ops: 2 * elements(inputs[0]) }) },
  {
    ...base,
    opType: 'MaxUnpool',
    grad: poolGrads.MaxUnpool,
    since: 9,
    infer(ctx) {
      requireDtype(ctx, 1, ['int64']);
      return [tensorResult(requireDtype(ctx, 0, FLOATS), unpoolShape(ctx))];
    },
    axes: (node, inputs) => {
      const dots = '.'.repeat(inputs[0]?.length ?? 0);
      return dots === '' ? 'opaque' : nodeAxes(node, { 0: dots, 1: dots }, [dots]);
    },
    quant: PASSTHROUGH_FIRST,
    cost: 'none',
  },
];
