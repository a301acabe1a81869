// Convolutions and pools of com.microsoft: with a fused activation and an added tensor (FusedConv), with channels last (Nhwc*), and in 8 bits.

import type { Node } from '../ir/graph.js';
import type { Shape } from '../ir/type.js';
import { BYTES, commonDtype, elements, nodeAxes, PASSTHROUGH_FIRST, requireDtype } from './compute-helpers.js';
import { CONV_QUANT, convCost, convShape, convTerms, qlinearConvAxes, qlinearConvResult } from './conv.js';
import { decomposeFusedConv } from './decompose-fused.js';
import { requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';
import { poolCost, poolShape } from './pool.js';

const base = { domain: 'com.microsoft', since: 1, grad: 'none' } as const;

/** Conv, plus input 3 of the output's shape, then an activation. */
function fusedConvResult(nhwc: boolean): (ctx: InferContext) => Inferred[] {
  return (ctx) => {
    const dtype = commonDtype(ctx, [0, 1, 2, 3]);
    const shape = convShape(ctx, 0, 1, 2, nhwc);
    const added = ctx.has(3) ? ctx.shape(3) : null;
    if (shape && added) {
      requireRank(ctx, 3, shape.length);
      for (const [i, d] of shape.entries()) unifyDims(ctx, 3, d, added[i]!, `extent ${i}`);
    }
    return [tensorResult(dtype, shape)];
  };
}

function fusedConvAxes(nhwc: boolean): (node: Node, inputs: readonly (Shape | null)[]) => Axes {
  return (node, inputs) => {
    const t = convTerms(node, inputs[0] ?? null, inputs[1] ?? null, nhwc);
    return t ? nodeAxes(node, { 0: t.data, 1: t.weight, 2: t.channel, 3: t.result }, [t.result]) : 'opaque';
  };
}

function fusedConvCost(ctx: CostContext): Work {
  const { macs, ops } = convCost(1, 2)(ctx);
  const out = elements(ctx.outputs[0]);
  return { macs, ops: ops + (ctx.inputs[3] ? out : 0) + (ctx.node.hasAttribute('activation') ? out : 0) };
}

const fused = (nhwc: boolean) =>
  ({ ...base, infer: fusedConvResult(nhwc), axes: fusedConvAxes(nhwc), quant: CONV_QUANT, cost: fusedConvCost }) as const;

export const CONTRIB_CONV_OPS: readonly OpRecord[] = [
  { ...fused(false), opType: 'FusedConv', grad: { decompose: decomposeFusedConv } },
  { ...fused(true), opType: 'NhwcFusedConv' },
  { ...fused(true), opType: 'NhwcConv' },
  { ...base, opType: 'QLinearConv', infer: qlinearConvResult, axes: qlinearConvAxes, quant: 'none', cost: convCost(3, 8) },
  {
    ...base,
    opType: 'NhwcMaxPool',
    infer: (ctx) => [tensorResult(requireDtype(ctx, 0, BYTES), poolShape(ctx, 0, true))],
    axes: (node, inputs) => {
      const rank = inputs[0]?.length;
      if (rank === undefined || rank < 2) return 'opaque';
      const term = `n${'.'.repeat(rank - 2)}c`;
      return nodeAxes(node, { 0: term }, [term]);
    },
    quant: PASSTHROUGH_FIRST,
    cost: poolCost,
  },
];
