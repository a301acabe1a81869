// Losses of ONNX's training operators: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss on scores [n,c,d1..dk] and labels [n,d1..dk].
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { axesText, letters } from './axes-text.js';
import { floating, integer, requireType } from './element-record.js';
import { requireRank, requireRankAtLeast, tensorResult, unifyDims } from './infer-helpers.js';
import { nllLossGrad, softmaxLossGrad } from './loss-grad.js';
import type { InferContext, OpRecord } from './op.js';

/** Shape of the loss: the labels' with `reduction` none, else a scalar. */
function lossShape(ctx: InferContext): Shape | null {
  requireType(ctx, 0, floating);
  requireType(ctx, 1, integer);
  requireRankAtLeast(ctx, 0, 2);
  const scores = ctx.shape(0);
  const labels = ctx.shape(1);
  let shape: Shape | null = labels;
  if (scores && labels) {
    const expected: Dim[] = [scores[0]!, ...scores.slice(2)];
    if (labels.length !== expected.length) ctx.failShape(1, formatShape(expected), formatShape(labels));
    shape = expected.map((d, i) => unifyDims(ctx, 1, d, labels[i]!, `at axis ${i}`));
  }
  if (ctx.has(2)) {
    requireRank(ctx, 2, 1);
    const weights = ctx.shape(2);
    if (scores && weights) unifyDims(ctx, 2, scores[1]!, weights[0]!, 'one weight a class:');
  }
  return ctx.node.string('reduction', 'mean') === 'none' ? shape : [];
}

/** The class axis must stay whole; without reduction the others are free, a mean or sum over them must not be cut. */
const lossAxes: OpRecord['axes'] = (node, inputs) => {
  const rank = inputs[0]?.length;
  if (rank === undefined || node.string('reduction', 'mean') !== 'none') return 'opaque';
  const scores = letters(rank).map((t, i) => (i === 1 ? '.' : t));
  const labels = scores.filter((_, i) => i !== 1);
  return axesText([scores, labels, ...(node.input(2) ? [['.']] : [])], [labels, ...(node.outputs.length > 1 ? [scores] : [])]);
};

const loss = { domain: '', since: 12, axes: lossAxes, quant: 'none' } as const;

/** `perElement` operations for each score. */
const workPerScore =
  (perElement: number): OpRecord['cost'] =>
  ({ inputs }) => ({ macs: 0, ops: perElement * (inputs[0]?.reduce((n, d) => n * d, 1) ?? 0) });

export const LOSS_OPS: readonly OpRecord[] = [
  {
    ...loss,
    opType: 'NegativeLogLikelihoodLoss',
    grad: nllLossGrad,
    infer: (ctx) => [tensorResult(ctx.dtype(0), lossShape(ctx))],
    cost: workPerScore(1),
  },
  {
    ...loss,
    opType: 'SoftmaxCrossEntropyLoss',
    grad: softmaxLossGrad,
    infer: (ctx) =>
      [tensorResult(ctx.dtype(0), lossShape(ctx)), tensorResult(ctx.dtype(0), ctx.shape(0))].slice(0, Math.max(1, ctx.outputCount)),
    cost: workPerScore(4),
  },
];
