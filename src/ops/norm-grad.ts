// Gradients of normalizations. For x̂ = (x - mean) / std over some axes and g the gradient at x̂:
// dx = (g - mean(g) - x̂ mean(g x̂)) / std. Sums over channels are taken before the products they allow to avoid.

import type { Value } from '../ir/graph.js';
import { dimsOf, dtypeOf, type GradBuilder } from './grad-builder.js';
import { unbroadcast, unbroadcastTo } from './grad-helpers.js';
import type { GradContext, GradFn } from './op.js';

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
const notChannels = (rank: number): number[] => range(0, rank).filter((i) => i !== 1);

/** 1 / sqrt(variance + epsilon). */
const inverseRoot = (b: GradBuilder, variance: Value, epsilon: number): Value =>
  b.op('Reciprocal', [b.op('Sqrt', [b.shift(variance, epsilon)])]);

/** x * scale + bias with one number per channel, in one pass over x. */
function channelAffine(b: GradBuilder, x: Value, scale: Value, bias: Value | null): Value {
  const dims = dimsOf(x);
  const channels = dims[1] ?? 1;
  const [zero, one] = [b.full(x, [channels], 0), b.full(x, [channels], 1)];
  if (bias === null || dims.length < 3) {
    const shape = [1, channels, ...dims.slice(2).map(() => 1)];
    const product = b.mul(x, b.reshape(scale, shape));
    return bias === null ? product : b.add(product, b.reshape(bias, shape));
  }
  return b.op('BatchNormalization', [x, scale, bias, zero, one], { epsilon: { type: 'float', value: 0 } });
}

function requireFirstOutputOnly(ctx: GradContext): void {
  if (ctx.outputGrads.some((g, i) => i > 0 && g)) ctx.unsupported('through its statistics');
}

// ---- batch normalization ----

function batchNormGrad(ctx: GradContext): (Value | null)[] {
  const { b, node, wants } = ctx;
  const [x, scale, dy] = [ctx.input(0), ctx.input(1), ctx.outputGrad()];
  const dims = dimsOf(x);
  if (dims.length < 2) return ctx.unsupported('of a vector');
  requireFirstOutputOnly(ctx);
  const axes = notChannels(dims.length);
  const training = node.int('training_mode', 0) !== 0;
  const [mean, variance] = training ? batchStatistics(ctx, axes) : [ctx.input(3), ctx.input(4)];
  const inverse = inverseRoot(b, variance, node.float('epsilon', 1e-5));
  const a = b.mul(scale, inverse);
  const dbias = b.reduceSum(dy, axes, false);
  // sum(dy x̂), from sums of dy x and dy alone.
  const moved = () => b.mul(inverse, b.sub(b.reduceSum(b.mul(dy, x), axes, false), b.mul(mean, dbias)));
  const needsMoved = wants[1] || wants[4] || (training && wants[0]);
  const dscale = needsMoved ? moved() : null;
  const dx = (): Value => {
    if (!training) return channelAffine(b, dy, a, null);
    // a dy - k x + (k mean - a dbias / n), k = a dscale inverse / n.
    const n = product(dims) / dims[1]!;
    const k = b.scale(b.mul(b.mul(a, inverse), dscale!), 1 / n);
    const offset = b.sub(b.mul(k, mean), b.scale(b.mul(a, dbias), 1 / n));
    return b.sub(channelAffine(b, dy, a, offset), channelAffine(b, x, k, null));
  };
  return [
    wants[0] ? dx() : null,
    wants[1] ? dscale : null,
    wants[2] ? dbias : null,
    wants[3] && !training ? b.neg(b.mul(a, dbias)) : null,
    wants[4] && !training ? b.scale(b.mul(b.mul(scale, b.mul(inverse, inverse)), dscale!), -0.5) : null,
  ];
}

/** Mean and variance of the batch: with momentum 0 the node's own outputs, else computed. */
function batchStatistics(ctx: GradContext, axes: readonly number[]): [Value, Value] {
  const { b, node } = ctx;
  const [mean, variance] = [node.outputs[1], node.outputs[2]];
  if (mean && variance && node.float('momentum', 0.9) === 0) return [mean, variance];
  const x = ctx.input(0);
  const m = b.reduceMean(x, axes);
  const centred = b.sub(x, m);
  const channels = [dimsOf(x)[1]!];
  return [b.reshape(m, channels), b.reduceMean(b.mul(centred, centred), axes, false)];
}

// ---- over given axes ----

/** Mean, 1/std and x̂ of x over some axes, computed anew. */
function normalized(b: GradBuilder, x: Value, axes: readonly number[], epsilon: number): { xhat: Value; inverse: Value } {
  const centred = b.sub(x, b.reduceMean(x, axes));
  const inverse = inverseRoot(b, b.reduceMean(b.mul(centred, centred), axes), epsilon);
  return { xhat: b.mul(centred, inverse), inverse };
}

/** dx from the gradient g at x̂. */
function throughNorm(b: GradBuilder, g: Value, xhat: Value, inverse: Value, axes: readonly number[]): Value {
  const along = b.mul(xhat, b.reduceMean(b.mul(g, xhat), axes));
  return b.mul(inverse, b.sub(b.sub(g, b.reduceMean(g, axes)), along));
}

/** The same where no mean is taken off. */
function throughRms(b: GradBuilder, g: Value, xhat: Value, inverse: Value, axes: readonly number[]): Value {
  return b.mul(inverse, b.sub(g, b.mul(xhat, b.reduceMean(b.mul(g, xhat), axes))));
}

/** Scale and bias that broadcast to x as `shape` [1,C,1..]. */
function perChannelGrads(
  ctx: GradContext,
  xhat: Value,
  inverse: Value,
  axes: readonly number[],
  back: (v: Value) => Value,
): (Value | null)[] {
  const { b, wants } = ctx;
  const dy = ctx.outputGrad();
  const dims = dimsOf(ctx.input(0));
  const shape = [1, dims[1]!, ...dims.slice(2).map(() => 1)];
  const sums = notChannels(dims.length);
  const g = b.mul(dy, b.reshape(ctx.input(1), shape));
  return [
    wants[0] ? b.reshape(throughNorm(b, back(g), xhat, inverse, axes), dims) : null,
    wants[1] ? b.reduceSum(b.mul(dy, b.reshape(xhat, dims)), sums, false) : null,
    wants[2] ? b.reduceSum(dy, sums, false) : null,
  ];
}

function instanceNormGrad(ctx: GradContext): (Value | null)[] {
  const axes = range(2, dimsOf(ctx.input(0)).length);
  const { xhat, inverse } = normalized(ctx.b, ctx.input(0), axes, ctx.node.float('epsilon', 1e-5));
  return perChannelGrads(ctx, xhat, inverse, axes, (v) => v);
}

/** Scale and bias are per group before opset 21, per channel since. */
function groupNormGrad(ctx: GradContext): (Value | null)[] {
  const { b, node } = ctx;
  const x = ctx.input(0);
  const dims = dimsOf(x);
  const groups = node.int('num_groups', 1);
  if (dimsOf(ctx.input(1))[0] !== dims[1]) return ctx.unsupported('with a scale per group; upgrade the model to opset 21');
  const grouped = [dims[0]!, groups, product(dims) / (dims[0]! * groups)];
  const { xhat, inverse } = normalized(b, b.reshape(x, grouped), [2], node.float('epsilon', 1e-5));
  return perChannelGrads(ctx, xhat, inverse, [2], (v) => b.reshape(v, grouped));
}

/** First normalized axis, counted from the front. */
function firstAxis(ctx: GradContext): number {
  const axis = ctx.node.int('axis', -1);
  return axis < 0 ? axis + dimsOf(ctx.input(0)).length : axis;
}

/** An output of statistics of the forward node, added where it has none. */
function statistics(ctx: GradContext, index: number, what: string, dims: readonly number[]): Value {
  const { node } = ctx;
  const known = node.outputs[index];
  if (known) return known;
  const name = node.graph.freshName(`${node.output(0).name}_${what}`);
  const value = node.graph.addValue(name, { kind: 'tensor', dtype: 'float', shape: dims });
  node._setOutput(index, value);
  return value;
}

function layerNormGrad(ctx: GradContext): (Value | null)[] {
  requireFirstOutputOnly(ctx);
  const { b, node, wants } = ctx;
  const [x, scale, dy] = [ctx.input(0), ctx.input(1), ctx.outputGrad()];
  const dims = dimsOf(x);
  const first = firstAxis(ctx);
  const axes = range(first, dims.length);
  const epsilon = node.float('epsilon', 1e-5);
  const kept = dims.map((d, i) => (i < first ? d : 1));
  // The forward node has both statistics at hand; in other types than float they would be rounded.
  const own = () => {
    const inverse = statistics(ctx, 2, 'inverse_std', kept);
    return { xhat: b.mul(b.sub(x, statistics(ctx, 1, 'mean', kept)), inverse), inverse };
  };
  const { xhat, inverse } = dtypeOf(x) === 'float' ? own() : normalized(b, x, axes, epsilon);
  const dbias = ctx.has(2) && wants[2] ? unbroadcastTo(b, dy, ctx.input(2)) : null;
  return [
    wants[0] ? throughNorm(b, b.mul(dy, scale), xhat, inverse, axes) : null,
    wants[1] ? unbroadcastTo(b, b.mul(dy, xhat), scale) : null,
    dbias,
  ];
}

function rmsNormGrad(ctx: GradContext): (Value | null)[] {
  requireFirstOutputOnly(ctx);
  const { b, node, wants } = ctx;
  const [x, scale, dy] = [ctx.input(0), ctx.input(1), ctx.outputGrad()];
  const axes = range(firstAxis(ctx), dimsOf(x).length);
  const inverse = inverseRoot(b, b.reduceMean(b.mul(x, x), axes), node.float('epsilon', 1e-5));
  const xhat = b.mul(x, inverse);
  return [
    wants[0] ? throughRms(b, b.mul(dy, scale), xhat, inverse, axes) : null,
    wants[1] ? unbroadcast(b, b.mul(dy, xhat), dimsOf(scale)) : null,
  ];
}

/**
 * ONNX Runtime's normalization of x + skip (+ bias) over the last axis, whose fourth output is that sum. Inputs: x, skip, scale, then
 * for `layer` the offset, then the bias.
 */
export function skipNormGrad(kind: 'layer' | 'rms'): GradFn {
  return (ctx) => {
    const { b, node, wants } = ctx;
    if (ctx.outputGrads[1] || ctx.outputGrads[2]) return ctx.unsupported('through its statistics');
    const [x, skip, scale, dy, past] = [ctx.input(0), ctx.input(1), ctx.input(2), ctx.outputGrads[0], ctx.outputGrads[3]];
    const at = kind === 'layer' ? 4 : 3;
    const plain = b.add(x, skip);
    const sum = node.outputs[3] ?? (ctx.has(at) ? b.add(plain, ctx.input(at)) : plain);
    const axes = [dimsOf(x).length - 1];
    const epsilon = node.float('epsilon', 1e-12);
    const parts = () => {
      if (kind === 'layer') return normalized(b, sum, axes, epsilon);
      const inverse = inverseRoot(b, b.reduceMean(b.mul(sum, sum), axes), epsilon);
      return { xhat: b.mul(sum, inverse), inverse };
    };
    const { xhat, inverse } = parts();
    const g = dy ? b.mul(dy, scale) : null;
    const through = g && (kind === 'layer' ? throughNorm(b, g, xhat, inverse, axes) : throughRms(b, g, xhat, inverse, axes));
    const ds = through && past ? b.add(through, past) : (through ?? past!);
    const tail = [wants[at] ? unbroadcastTo(b, ds, ctx.input(at)) : null];
    if (kind === 'layer') tail.unshift(wants[3] && dy ? unbroadcastTo(b, dy, ctx.input(3)) : null);
    return [ds, wants[1] ? unbroadcastTo(b, ds, skip) : null, wants[2] && dy ? unbroadcastTo(b, b.mul(dy, xhat), scale) : null, ...tail];
  };
}

/** (dy - y' sum(dy y)) / norm, with y' = y for the Euclidean norm and sign(x) for the sum of magnitudes. */
function lpNormGrad(ctx: GradContext): (Value | null)[] {
  const { b, node } = ctx;
  const [x, y, dy] = [ctx.input(0), node.output(0), ctx.outputGrad()];
  const axes = [node.int('axis', -1)];
  const euclidean = node.int('p', 2) === 2;
  const norm = euclidean ? b.op('Sqrt', [b.reduceSum(b.mul(x, x), axes)]) : b.reduceSum(b.op('Abs', [x]), axes);
  const along = b.mul(euclidean ? y : b.op('Sign', [x]), b.reduceSum(b.mul(dy, y), axes));
  return [b.div(b.sub(dy, along), norm)];
}

/** y = x s^-β, s = bias + α/size Σ x² over neighbouring channels: dx = dy s^-β - 2αβ/size x Σ dy y / s. */
function lrnGrad(ctx: GradContext): (Value | null)[] {
  const { b, node } = ctx;
  const [x, y, dy] = [ctx.input(0), node.output(0), ctx.outputGrad()];
  const size = node.int('size', 1);
  const [alpha, beta] = [node.float('alpha', 0.0001), node.float('beta', 0.75)];
  const dims = dimsOf(x);
  const [under, over] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)];
  const windowSum = (v: Value, before: number, after: number): Value => {
    const pads = dims.map((_, i) => (i === 1 ? before : 0));
    const padded = b.pad(v, [...pads, ...dims.map((_, i) => (i === 1 ? after : 0))]);
    const parts = range(0, size).map((start) => b.slice(padded, [1], [start], [start + dims[1]!]));
    return parts.reduce((sum, part) => b.add(sum, part));
  };
  const s = b.shift(b.scale(windowSum(b.mul(x, x), under, over), alpha / size), node.float('bias', 1));
  const direct = b.mul(dy, b.op('Pow', [s, b.number(s, -beta)]));
  const shared = windowSum(b.div(b.mul(dy, y), s), over, under);
  return [b.sub(direct, b.scale(b.mul(x, shared), (2 * alpha * beta) / size))];
}

export const normGrads = {
  BatchNormalization: batchNormGrad,
  InstanceNormalization: instanceNormGrad,
  GroupNormalization: groupNormGrad,
  LayerNormalization: layerNormGrad,
  RMSNormalization: rmsNormGrad,
  LpNormalization: lpNormGrad,
  LRN: lrnGrad,
  MeanVarianceNormalization: (ctx) => {
    const axes = ctx.node.ints('axes', [0, 2, 3]);
    const { xhat, inverse } = normalized(ctx.b, ctx.input(0), axes, 1e-9);
    return [throughNorm(ctx.b, ctx.outputGrad(), xhat, inverse, axes)];
  },
  /** At inference it hands its input on; in training it is a product with a mask before gradients are taken. */
  Dropout: (ctx) => [ctx.outputGrad()],
} as const satisfies Record<string, GradFn>;
