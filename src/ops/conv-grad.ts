// Gradients of convolutions. Input: a convolution with the flipped weight, or a transposed one where the stride is more than 1; a product of matrices
// for small depthwise maps. Weight: in the form that conv-weight-grad.ts chooses.

import type { Value } from '../ir/graph.js';
import { weightGrad } from './conv-weight-grad.js';
import { depthwiseInputGrad, runsBlocked } from './depthwise-grad.js';
import { dimsOf, dtypeOf, type GradBuilder, sameDims } from './grad-builder.js';
import type { GradContext, GradFn } from './op.js';
import { type StaticWindow, staticWindow } from './window-static.js';

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

/** All axes but the channels. */
const notChannels = (rank: number): number[] => Array.from({ length: rank }, (_, i) => i).filter((i) => i !== 1);

/** The weight of the convolution that gives the input's gradient: input and output channels exchanged within groups, taps in reverse order. */
function flipped(b: GradBuilder, weight: Value, group: number): Value {
  const [out = 1, perGroup = 1, ...kernel] = dimsOf(weight);
  const taps = product(kernel);
  const split = b.transpose(b.reshape(weight, [group, out / group, perGroup, taps]), [0, 2, 1, 3]);
  const reversed = taps === 1 ? split : b.slice(split, [3], [-1], [-taps - 1], [-1]);
  return b.reshape(reversed, [group * perGroup, out / group, ...kernel]);
}

/** Gradient of the input of dimensions `dims`. */
function inputGrad(b: GradBuilder, dims: readonly number[], weight: Value, dy: Value, w: StaticWindow, group: number): Value {
  const sizes = dims.slice(2);
  const outputs = dimsOf(dy).slice(2);
  const depthwise = group > 1 && group === dims[1] && group === dimsOf(dy)[1];
  const convolved = runsBlocked(b, dy) && w.strides.every((s) => s === 1);
  const small = depthwise && !convolved ? depthwiseInputGrad(b, dims, weight, dy, w) : undefined;
  if (small) return small;
  // Input elements behind the last window are not read.
  const read = outputs.map((o, i) => (o - 1) * w.strides[i]! + w.extents[i]! - w.begins[i]! - w.ends[i]!);
  const begins = w.extents.map((e, i) => e - 1 - w.begins[i]!);
  const ends = w.extents.map((e, i) => e - 1 - w.ends[i]!);
  const attributes = { group, dilations: w.dilations, kernel_shape: w.kernel };
  if (w.strides.every((s) => s === 1) && [...begins, ...ends].every((p) => p >= 0)) {
    return b.op('Conv', [dy, flipped(b, weight, group)], { ...attributes, pads: [...begins, ...ends] });
  }
  const pads = [...w.begins, ...w.ends];
  const left = sizes.map((s, i) => s - read[i]!);
  // Transposed convolutions can add less than a stride at the end by themselves.
  const within = left.every((l, i) => l >= 0 && l < w.strides[i]!);
  const grad = b.op('ConvTranspose', [dy, weight], {
    ...attributes,
    strides: w.strides,
    pads,
    ...(within ? { output_padding: left } : {}),
  });
  return within ? grad : b.pad(grad, [0, 0, ...sizes.map(() => 0), 0, 0, ...left]);
}

function requireFloat(ctx: GradContext): void {
  if (dtypeOf(ctx.input(0)) === 'float16' || dtypeOf(ctx.input(0)) === 'bfloat16') ctx.unsupported('in half precision');
}

export const convGrad: GradFn = (ctx) => {
  requireFloat(ctx);
  const { b, node, wants } = ctx;
  const [x, weight, dy] = [ctx.input(0), ctx.input(1), ctx.outputGrad()];
  const group = node.int('group', 1);
  const dims = dimsOf(x);
  const w = staticWindow(node, dimsOf(weight).slice(2), dims.slice(2), dimsOf(dy).slice(2));
  const dx = wants[0] ? inputGrad(b, dims, weight, dy, w, group) : null;
  const dw = wants[1] ? weightGrad(b, x, dy, w, group) : null;
  const bias = wants[2] ? b.reduceSum(dy, notChannels(dims.length), false) : null;
  return [dx, dw, bias];
};

/** Window of the convolution that a transposed one is the gradient of: from its output to its input. */
function transposedWindow(ctx: GradContext, output: readonly number[]): StaticWindow {
  const { node } = ctx;
  const sizes = dimsOf(ctx.input(0)).slice(2);
  const kernel = dimsOf(ctx.input(1)).slice(2);
  const n = kernel.length;
  const strides = node.ints('strides') ?? new Array<number>(n).fill(1);
  const dilations = node.ints('dilations') ?? new Array<number>(n).fill(1);
  const extra = node.ints('output_padding') ?? new Array<number>(n).fill(0);
  const extents = kernel.map((k, i) => dilations[i]! * (k - 1) + 1);
  const auto = node.string('auto_pad', 'NOTSET') || 'NOTSET';
  const shaped = (node.ints('output_shape')?.length ?? 0) > 0;
  const pads = node.ints('pads') ?? new Array<number>(2 * n).fill(0);
  const begins: number[] = [];
  const ends: number[] = [];
  for (let i = 0; i < n; i++) {
    const total = (sizes[i]! - 1) * strides[i]! + extra[i]! + extents[i]! - output[i]!;
    const resolved = shaped || auto === 'SAME_UPPER' || auto === 'SAME_LOWER';
    const half = auto === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2);
    const begin = resolved ? (total < 0 ? 0 : half) : auto === 'VALID' ? 0 : pads[i]!;
    begins.push(begin);
    // What the convolution reads behind the output's end.
    ends.push((sizes[i]! - 1) * strides[i]! + extents[i]! - output[i]! - begin);
  }
  return { kernel, strides, dilations, begins, ends, extents };
}

export const convTransposeGrad: GradFn = (ctx) => {
  requireFloat(ctx);
  const { b, node, wants } = ctx;
  const [x, weight, dy] = [ctx.input(0), ctx.input(1), ctx.outputGrad()];
  const group = node.int('group', 1);
  const dims = dimsOf(dy);
  const w = transposedWindow(ctx, dims.slice(2));
  const inside = w.ends.map((e) => Math.max(e, 0));
  // Output elements that no window reaches only have a bias.
  const reached = b.pad(dy, [...dims.map(() => 0), 0, 0, ...w.ends.map((e) => Math.min(e, 0))]);
  const window = { ...w, ends: inside };
  const attributes = { group, dilations: w.dilations, strides: w.strides, kernel_shape: w.kernel, pads: [...w.begins, ...inside] };
  const dx = wants[0] ? b.op('Conv', [reached, weight], attributes) : null;
  if (dx && !sameDims(dimsOf(dx), dimsOf(x))) return ctx.unsupported('its padding cuts whole windows off');
  const dw = wants[1] ? weightGrad(b, reached, x, window, group) : null;
  const bias = wants[2] ? b.reduceSum(dy, notChannels(dims.length), false) : null;
  return [dx, dw, bias];
};
