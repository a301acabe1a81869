// Gradients of NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: for scores s with probabilities p, weight w of the label and the gradient g
// of the element's loss, ds = g w (p - onehot(label)).
import type { Value } from '../ir/graph.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';

interface Labels {
  /** 1 at the label's class, 0 elsewhere and where the label is ignored; of the shape of the scores. */
  readonly hot: Value;
  /** Weight of each element [n,1,d..]. */
  readonly weight: Value;
  /** Gradient of each element's loss, before its weight; [n,1,d..] or a scalar. */
  readonly gradient: Value;
  readonly total: Value | undefined;
}

function labelsOf(ctx: GradContext, scores: Value): Labels {
  const { b, node } = ctx;
  const dims = dimsOf(scores);
  const per = [dims[0]!, 1, ...dims.slice(2)];
  const ignored = node.int('ignore_index');
  const labels = ctx.input(1);
  const keep = ignored === undefined ? undefined : b.op('Not', [b.op('Equal', [labels, b.number(labels, ignored)])]);
  const safe = keep ? b.mask(keep, labels) : labels;
  const pair = b.constant('pair', Tensor.from(dtypeOf(scores), [2], [0, 1]));
  const all = b.op('OneHot', [safe, b.ints('depth', [dims[1]!]), pair], { axis: 1 });
  const hot = keep ? b.mask(b.reshape(keep, per), all) : all;
  const byClass = ctx.has(2) ? b.reshape(ctx.input(2), [1, dims[1]!, ...dims.slice(2).map(() => 1)]) : undefined;
  const weight = b.reduceSum(byClass ? b.mul(hot, byClass) : hot, [1]);
  const reduction = node.string('reduction', 'mean');
  const dy = ctx.outputGrad();
  if (reduction === 'none') return { hot, weight, gradient: b.reshape(dy, per), total: undefined };
  if (reduction === 'sum') return { hot, weight, gradient: dy, total: undefined };
  const total = b.reduceSum(b.reshape(weight, [elementCount(per)]), [0], false);
  return { hot, weight, gradient: b.div(dy, total), total };
}

/** Gradient of the class weights: of each element its loss, less the mean where the loss is divided by the sum of weights. */
function weightGrad(ctx: GradContext, l: Labels, logs: Value): Value {
  const { b } = ctx;
  const dims = dimsOf(logs);
  const centred = l.total ? b.add(logs, ctx.node.output(0)) : logs;
  const axes = dims.flatMap((_, i) => (i === 1 ? [] : [i]));
  return b.neg(b.reduceSum(b.mul(l.hot, b.mul(l.gradient, centred)), axes, false));
}

export const nllLossGrad: GradFn = (ctx) => {
  const { b } = ctx;
  const logs = ctx.input(0);
  const l = labelsOf(ctx, logs);
  return [ctx.wants[0] ? b.neg(b.mul(l.hot, b.mul(l.gradient, l.weight))) : null, null, ctx.wants[2] ? weightGrad(ctx, l, logs) : null];
};

export const softmaxLossGrad: GradFn = (ctx) => {
  const { b, node } = ctx;
  const scores = ctx.input(0);
  const logs = node.outputs[1] ?? b.op('LogSoftmax', [scores], { axis: 1 });
  const probabilities = b.op('Exp', [logs]);
  const parts: Value[] = [];
  let weights: Value | null = null;
  if (ctx.outputGrads[0]) {
    const l = labelsOf(ctx, scores);
    parts.push(b.mul(b.sub(probabilities, l.hot), b.mul(l.gradient, l.weight)));
    if (ctx.wants[2]) weights = weightGrad(ctx, l, logs);
  }
  const logGrad = ctx.outputGrads[1];
  if (logGrad) parts.push(b.sub(logGrad, b.mul(probabilities, b.reduceSum(logGrad, [1]))));
  return [parts.reduce((a, p) => b.add(a, p)), null, weights];
};
