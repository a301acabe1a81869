// Detection heads: non-maximum suppression and the pooling of regions of interest.
import type { Dim } from '../ir/type.js';
import { requireRank, scalarOf, tensorResult, unifyDims } from './infer-helpers.js';
import type { CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';

/** boxes [batch, boxes, 4], scores [batch, classes, boxes] -> selected [k, 3]; k depends on the data. */
function inferNms(ctx: InferContext): Inferred[] {
  requireRank(ctx, 0, 3);
  requireRank(ctx, 1, 3);
  const boxes = ctx.shape(0);
  const scores = ctx.shape(1);
  if (boxes && scores) {
    unifyDims(ctx, 1, boxes[0]!, scores[0]!, 'batch');
    unifyDims(ctx, 1, boxes[1]!, scores[2]!, 'boxes');
  }
  // Without a limit nothing is selected.
  const limit = ctx.has(2) ? scalarOf(ctx, 2) : 0;
  return [tensorResult('int64', [limit === 0 ? 0 : ctx.symbol('selected'), 3])];
}

/** Pairwise overlaps: at worst each box against each kept one, about 10 operations a pair. */
function nmsCost({ inputs: [boxes, scores] }: CostContext): Work {
  if (!boxes || !scores) return { macs: 0, ops: 0 };
  return { macs: 0, ops: 10 * scores[0]! * scores[1]! * boxes[1]! };
}

function inferRoiAlign(ctx: InferContext): Inferred[] {
  requireRank(ctx, 0, 4);
  requireRank(ctx, 1, 2);
  const channels: Dim = ctx.shape(0)?.[1] ?? null;
  const rois: Dim = ctx.shape(1)?.[0] ?? ctx.shape(2)?.[0] ?? null;
  return [tensorResult(ctx.dtype(0), [rois, channels, ctx.node.int('output_height', 1), ctx.node.int('output_width', 1)])];
}

function inferMaxRoiPool(ctx: InferContext): Inferred[] {
  requireRank(ctx, 0, 4);
  const pooled = ctx.node.ints('pooled_shape') ?? [];
  return [tensorResult(ctx.dtype(0), [ctx.shape(1)?.[0] ?? null, ctx.shape(0)?.[1] ?? null, pooled[0] ?? null, pooled[1] ?? null])];
}

/** Each output averages sampling_ratio^2 bilinear samples of 4 points (2 a side where the ratio adapts). */
function roiAlignCost({ node, outputs: [y] }: CostContext): Work {
  const samples = (node.int('sampling_ratio', 0) || 2) ** 2;
  return { macs: (y?.reduce((a, b) => a * b, 1) ?? 0) * samples * 4, ops: 0 };
}

export const DETECTION_OPS: readonly OpRecord[] = [
  { opType: 'NonMaxSuppression', domain: '', since: 10, infer: inferNms, grad: 'none', axes: 'opaque', quant: 'none', cost: nmsCost },
  {
    opType: 'RoiAlign',
    domain: '',
    since: 10,
    infer: inferRoiAlign,
    grad: 'none',
    axes: '.c..,r.,r->rc..',
    quant: { kind: 'function', data: [0] },
    cost: roiAlignCost,
  },
  {
    opType: 'MaxRoiPool',
    domain: '',
    since: 1,
    infer: inferMaxRoiPool,
    grad: 'none',
    axes: '.c..,r.->rc..',
    quant: { kind: 'passthrough', data: [0] },
    cost: 'elementwise',
  },
];
