// Gradient of Resize. Each axis is resampled by a matrix [out, in] that follows from the attributes; the gradient is the product with its transpose.
// Formulas of the coordinates and weights from the ONNX operator documentation. Cubic interpolation with antialiasing is not covered.

import type { Value } from '../ir/graph.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import { constantNumbers } from './constant-input.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';

interface AxisPlan {
  readonly axis: number;
  readonly from: number;
  readonly to: number;
  readonly scale: number;
  /** Part of the input for tf_crop_and_resize, as fractions. */
  readonly crop: readonly [number, number];
}

/** The axes that change, with their scales. */
function axisPlans(ctx: GradContext): AxisPlan[] {
  const { node } = ctx;
  const dims = dimsOf(ctx.input(0));
  const out = dimsOf(node.output(0));
  const axes = (node.ints('axes') ?? dims.map((_, i) => i)).map((a) => (a < 0 ? a + dims.length : a));
  // Scales and region are float constants, but nothing to train: read past the choice of parameters.
  const given = constantNumbers(node, 2);
  if (ctx.has(2) && given === undefined) ctx.unsupported('scales that are not constant');
  const roi = constantNumbers(node, 1);
  const crops = node.string('coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize';
  if (crops && !roi) ctx.unsupported('a region that is not constant');
  const policy = node.string('keep_aspect_ratio_policy', 'stretch');
  const ratios = axes.map((a) => out[a]! / dims[a]!);
  const sizes = given?.length ? undefined : ctx.numbers(3);
  const kept = sizes && policy !== 'stretch' ? axes.map((a, i) => sizes[i]! / dims[a]!) : undefined;
  const common = kept && (policy === 'not_larger' ? Math.min(...kept) : Math.max(...kept));
  return axes
    .map((axis, i): AxisPlan => {
      const scale = given?.length ? Number(given[i]) : (common ?? ratios[i]!);
      return {
        axis,
        from: dims[axis]!,
        to: out[axis]!,
        scale,
        crop: roi && crops ? [Number(roi[i]), Number(roi[axes.length + i])] : [0, 1],
      };
    })
    .filter((p) => crops || p.scale !== 1 || p.from !== p.to);
}

/** Where an output element lies on the input's axis. */
function coordinate(mode: string, x: number, { from, to, scale, crop }: AxisPlan): number | undefined {
  switch (mode) {
    case 'half_pixel':
      return (x + 0.5) / scale - 0.5;
    case 'half_pixel_symmetric':
      return (from / 2) * (1 - to / (scale * from)) + (x + 0.5) / scale - 0.5;
    case 'pytorch_half_pixel':
      return to > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case 'align_corners':
      return to === 1 ? 0 : (x * (from - 1)) / (to - 1);
    case 'asymmetric':
      return x / scale;
    case 'tf_crop_and_resize': {
      const [start, end] = crop;
      return to > 1 ? start * (from - 1) + (x * (end - start) * (from - 1)) / (to - 1) : 0.5 * (start + end) * (from - 1);
    }
    default:
      return undefined;
  }
}

/** Rounding of `nearest`, in float32 as ONNX Runtime has it. */
const NEAREST: Readonly<Record<string, (x: number) => number>> = {
  round_prefer_floor: (x) => Math.ceil(x - 0.5),
  round_prefer_ceil: (x) => Math.floor(x + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

/** Weights of the four neighbours at distances 1 + t, t, 1 - t, 2 - t (Keys 1981). */
function cubicWeights(t: number, a: number): number[] {
  const near = (d: number) => ((a + 2) * d - (a + 3)) * d * d + 1;
  const far = (d: number) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return [far(1 + t), near(t), near(1 - t), far(2 - t)];
}

/** Input elements that make up an output element, with their weights; elements outside stand for the border unless excluded. */
function taps(ctx: GradContext, x: number, plan: AxisPlan): readonly (readonly [at: number, weight: number])[] {
  const { node } = ctx;
  const mode = node.string('coordinate_transformation_mode', 'half_pixel');
  const at = coordinate(mode, x, plan) ?? ctx.unsupported(`coordinates "${mode}"`);
  const last = plan.from - 1;
  if (mode === 'tf_crop_and_resize' && (at < 0 || at > last)) return [];
  const method = node.string('mode', 'nearest');
  if (method === 'nearest') {
    const round = NEAREST[node.string('nearest_mode', 'round_prefer_floor')] ?? ctx.unsupported('nearest_mode');
    return [[round(Math.fround(at)), 1]];
  }
  if (node.int('antialias', 0) && plan.scale < 1) {
    if (method !== 'linear') ctx.unsupported('cubic interpolation with antialiasing');
    const reach = 1 / plan.scale;
    const low = Math.floor(at - reach + 1);
    const count = Math.floor(at + reach) - low + 1;
    const hat = Array.from({ length: count }, (_, i) => [low + i, Math.max(0, 1 - Math.abs(low + i - at) / reach)] as const);
    return normalized(node.int('exclude_outside', 0) ? hat.filter(([i]) => i >= 0 && i <= last) : hat);
  }
  if (method === 'linear') {
    const inside = Math.min(Math.max(at, 0), last);
    const low = Math.floor(inside);
    return [
      [low, 1 - (inside - low)],
      [low + 1, inside - low],
    ];
  }
  const low = Math.floor(at);
  const four = cubicWeights(at - low, node.float('cubic_coeff_a', -0.75)).map((w, i) => [low - 1 + i, w] as const);
  return node.int('exclude_outside', 0) ? normalized(four.filter(([i]) => i >= 0 && i <= last)) : four;
}

function normalized(list: readonly (readonly [number, number])[]): readonly (readonly [number, number])[] {
  const total = list.reduce((sum, [, w]) => sum + w, 0);
  return list.map(([i, w]) => [i, w / total]);
}

/** The product of the gradient with the transposed matrix, along one axis. */
function backAlong(ctx: GradContext, grad: Value, plan: AxisPlan): Value {
  const { b } = ctx;
  const { axis, from, to } = plan;
  const dims = dimsOf(grad);
  const lastAxis = elementCount(dims.slice(axis + 1)) === 1;
  const matrix = new Float64Array(from * to);
  for (let x = 0; x < to; x++) {
    for (const [i, w] of taps(ctx, x, plan)) {
      const inside = Math.min(Math.max(i, 0), from - 1);
      matrix[lastAxis ? x * from + inside : inside * to + x]! += w;
    }
  }
  const weights = b.constant('resample', Tensor.from(dtypeOf(grad), lastAxis ? [to, from] : [from, to], matrix));
  const pre = elementCount(dims.slice(0, axis));
  const product = lastAxis
    ? b.op('MatMul', [b.reshape(grad, [pre, to]), weights])
    : b.op('MatMul', [weights, b.reshape(grad, [pre, to, elementCount(dims.slice(axis + 1))])]);
  return b.reshape(
    product,
    dims.map((d, i) => (i === axis ? from : d)),
  );
}

export const resizeGrad: GradFn = (ctx) => {
  let grad = ctx.outputGrad();
  for (const plan of axisPlans(ctx).toReversed()) grad = backAlong(ctx, grad, plan);
  return [grad];
};
