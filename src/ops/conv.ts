// Convolutions: y[n,o,i] = sum over c,k of x[n,c,i*stride-pad+k*dilation] * w[o,c,k], in groups of channels; transposed, deformable and integer forms.
// Weights are [out, in/group, kernel...] and for ConvTranspose [in, out/group, kernel...].

import { addDims, mulDims, subDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import {
  BYTES,
  commonDtype,
  divideExactly,
  elements,
  nodeAxes,
  requireDtype,
  requireScalarOrVector,
  requireVector,
} from './compute-helpers.js';
import { convGrad, convTransposeGrad } from './conv-grad.js';
import { requireRank, requireRankAtLeast, tensorResult, unifyDims, windowGeometry, windowOutput } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, OpRecord, QuantFacts, Work } from './op.js';

/** Number of groups; fails for zero and negative ones. */
function groupOf(ctx: InferContext): number {
  const group = ctx.node.int('group', 1);
  if (group < 1) ctx.failShape(1, 'group of 1 or more', String(group));
  return group;
}

/** Extents of the kernel: from the weight, checked against the attribute kernel_shape. */
function kernelOf(ctx: InferContext, weight: number, spatialRank: number): Dim[] {
  const given = ctx.node.ints('kernel_shape');
  const w = ctx.shape(weight);
  if (given && given.length !== spatialRank) ctx.failShape(weight, `kernel_shape of ${spatialRank} extents`, `[${given.join(',')}]`);
  return Array.from({ length: spatialRank }, (_, i) =>
    unifyDims(ctx, weight, given?.[i] ?? null, w ? w[2 + i]! : null, `kernel extent ${i}`),
  );
}

/** Common rank of data and weight: null where neither is known. */
function convRank(ctx: InferContext, data: number, weight: number): number | null {
  requireRankAtLeast(ctx, data, 3);
  const rank = ctx.shape(data)?.length ?? ctx.shape(weight)?.length ?? null;
  if (rank !== null) requireRank(ctx, weight, rank);
  return rank;
}

/** A window that does not fit into the padded input is an error; an empty output is not. */
function requireExtent(ctx: InferContext, data: number, out: Dim, kernel: Dim): Dim {
  if (typeof out === 'number' && out < 0) {
    ctx.failShape(data, `padded spatial extents of at least the kernel (${kernel})`, formatShape(ctx.shape(data)));
  }
  return out;
}

/** Output shape of a convolution with channels second (or last in data and output, `nhwc`). */
export function convShape(ctx: InferContext, data: number, weight: number, bias: number, nhwc = false): Shape | null {
  const group = groupOf(ctx);
  const rank = convRank(ctx, data, weight);
  if (rank === null) return null;
  const x = ctx.shape(data);
  const w = ctx.shape(weight);
  const channel = nhwc ? rank - 1 : 1;
  if (x && w) unifyDims(ctx, weight, divideExactlyOrNull(ctx, data, x[channel]!, group), w[1]!, 'input channels per group');
  const out = w ? w[0]! : null;
  divideExactly(ctx, weight, out, group, 'output channels');
  requireVector(ctx, bias, out, 'output channels');
  const g = windowGeometry(ctx, rank - 2);
  const kernel = kernelOf(ctx, weight, rank - 2);
  const spatial = kernel.map((k, i) => {
    const size = x ? x[(nhwc ? 1 : 2) + i]! : null;
    return requireExtent(ctx, data, windowOutput(size, k, i, g), k);
  });
  const batch = x ? x[0]! : null;
  return nhwc ? [batch, ...spatial, out] : [batch, out, ...spatial];
}

function divideExactlyOrNull(ctx: InferContext, input: number, dim: Dim, by: number): Dim {
  return by === 1 ? dim : divideExactly(ctx, input, dim, by, 'input channels');
}

/** Terms of data, weight, per-output-channel operands and result. */
interface ConvTerms {
  readonly data: string;
  readonly weight: string;
  readonly channel: string;
  readonly result: string;
}

/** Axes of a convolution; null where not even the rank is known. Without static weight extents the channels of grouped forms are blocked. */
export function convTerms(node: Node, x: Shape | null, w: Shape | null, nhwc = false): ConvTerms | null {
  const rank = x?.length ?? w?.length;
  if (rank === undefined || rank < 2) return null;
  const dots = '.'.repeat(rank - 2);
  const term = (channel: string) => (nhwc ? `n${dots}${channel}` : `n${channel}${dots}`);
  const group = node.int('group', 1);
  const terms = (input: string, weightOut: string, weightIn: string, output: string): ConvTerms => ({
    data: term(input),
    weight: `${weightOut}${weightIn}${dots}`,
    channel: output,
    result: term(output),
  });
  if (group === 1) return terms('c', 'o', 'c', 'o');
  const [out, perGroup] = w ?? [];
  if (typeof out !== 'number' || typeof perGroup !== 'number') return terms('.', '.', '.', '.');
  if (perGroup === 1) return out === group ? terms('c', 'c', '.', 'c') : terms('g', '(go)', '.', '(go)');
  return out === group ? terms('(gc)', 'g', 'c', 'g') : terms('(gc)', '(go)', 'c', '(go)');
}

function convAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = convTerms(node, inputs[0] ?? null, inputs[1] ?? null);
  return t ? nodeAxes(node, { 0: t.data, 1: t.weight, 2: t.channel }, [t.result]) : 'opaque';
}

/** Each output element sums over the weight of one output channel; a bias adds one operation per element. */
export function convCost(weight: number, bias: number): (ctx: CostContext) => Work {
  return ({ inputs, outputs }) => {
    const out = elements(outputs[0]);
    const w = inputs[weight];
    return { macs: w ? out * elements(w.slice(1)) : 0, ops: inputs[bias] ? out : 0 };
  };
}

export const CONV_QUANT: QuantFacts = { kind: 'compute', data: [0], weight: 1, bias: 2, channelAxis: () => 0 };

// ---- transposed ----

/** Output extents: stride*(size-1) + output_padding + dilation*(kernel-1) + 1 - padding, or as output_shape says. */
function convTransposeShape(ctx: InferContext): Shape | null {
  const group = groupOf(ctx);
  const rank = convRank(ctx, 0, 1);
  if (rank === null) return null;
  const n = rank - 2;
  const [x, w] = [ctx.shape(0), ctx.shape(1)];
  if (x && w) unifyDims(ctx, 1, x[1]!, w[0]!, 'input channels');
  if (w) divideExactly(ctx, 1, w[0]!, group, 'input channels');
  const out = w ? mulDims(w[1]!, group) : null;
  requireVector(ctx, 2, out, 'output channels');
  const g = windowGeometry(ctx, n);
  const kernel = kernelOf(ctx, 1, n);
  const extra = ctx.node.ints('output_padding') ?? [];
  const wanted = ctx.node.ints('output_shape');
  if (wanted && wanted.length !== n && wanted.length !== rank) {
    ctx.failShape(0, `output_shape of ${n} extents`, `[${wanted.join(',')}]`);
  }
  const spatial = kernel.map((k, i): Dim => {
    if (wanted && wanted.length > 0) return wanted[wanted.length - n + i]!;
    const size = x ? x[2 + i]! : null;
    const stride = g.strides[i]!;
    if (g.autoPad === 'SAME_UPPER' || g.autoPad === 'SAME_LOWER') return mulDims(size, stride);
    const padding = g.autoPad === 'VALID' ? 0 : g.pads[i]! + g.pads[n + i]!;
    const extent = addDims(mulDims(subDims(k, 1), g.dilations[i]!), 1 + (extra[i] ?? 0) - padding);
    return requireExtent(ctx, 0, addDims(mulDims(subDims(size, 1), stride), extent), k);
  });
  return [x ? x[0]! : null, out, ...spatial];
}

function convTransposeAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [x, w] = [inputs[0] ?? null, inputs[1] ?? null];
  const rank = x?.length ?? w?.length;
  if (rank === undefined || rank < 2) return 'opaque';
  const dots = '.'.repeat(rank - 2);
  const group = node.int('group', 1);
  const [input, weightIn, weightOut, output] = (() => {
    if (group === 1) return ['c', 'c', 'o', 'o'];
    const [channels, perGroup] = w ?? [];
    if (typeof channels !== 'number' || typeof perGroup !== 'number') return ['.', '.', '.', '.'];
    if (perGroup === 1) return channels === group ? ['c', 'c', '.', 'c'] : ['(gc)', '(gc)', '.', 'g'];
    return channels === group ? ['g', 'g', 'o', '(go)'] : ['(gc)', '(gc)', 'o', '(go)'];
  })();
  return nodeAxes(node, { 0: `n${input}${dots}`, 1: `${weightIn}${weightOut}${dots}`, 2: output! }, [`n${output}${dots}`]);
}

// ---- deformable ----

/** Convolution at sampling points moved by `offset` (Dai et al., 2017), weighted by `mask` (Zhu et al., 2018). */
function deformConvShape(ctx: InferContext): Shape | null {
  const shape = convShape(ctx, 0, 1, 3);
  if (shape === null) return null;
  const n = shape.length - 2;
  const groups = ctx.node.int('offset_group', 1);
  const x = ctx.shape(0);
  if (x) divideExactly(ctx, 0, x[1]!, groups, 'input channels');
  const taps = kernelOf(ctx, 1, n).reduce<Dim>(mulDims, groups);
  for (const [input, channels] of [
    [2, mulDims(taps, n)],
    [4, taps],
  ] as const) {
    const s = ctx.has(input) ? ctx.shape(input) : null;
    if (s === null) continue;
    requireRank(ctx, input, n + 2);
    unifyDims(ctx, input, shape[0]!, s[0]!, 'batch');
    unifyDims(ctx, input, channels, s[1]!, 'sampling channels');
    for (let i = 0; i < n; i++) unifyDims(ctx, input, shape[2 + i]!, s[2 + i]!, `output extent ${i}`);
  }
  return shape;
}

function deformConvAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const x = inputs[0] ?? null;
  const t = convTerms(node, x, inputs[1] ?? null);
  if (!t) return 'opaque';
  const sampled = `n${'.'.repeat(t.data.replace(/\(\w+\)/g, 'c').length - 1)}`;
  // With several offset groups an input channel belongs to its group of offsets: only the output channels stay free.
  const fixed = node.int('offset_group', 1) > 1;
  const free = !fixed || node.int('group', 1) === 1;
  const data = fixed ? `n.${'.'.repeat(sampled.length - 2)}` : t.data;
  const weight = fixed ? `${free ? 'o' : '.'}.${'.'.repeat(sampled.length - 2)}` : t.weight;
  const channel = fixed ? (free ? 'o' : '.') : t.channel;
  return nodeAxes(node, { 0: data, 1: weight, 2: sampled, 3: channel, 4: sampled }, [`n${channel}${'.'.repeat(sampled.length - 2)}`]);
}

function deformConvCost(ctx: CostContext): Work {
  const { macs, ops } = convCost(1, 3)(ctx);
  const [x, w] = ctx.inputs;
  const out = ctx.outputs[0];
  if (!x || !w || !out) return { macs, ops };
  // Every input channel is interpolated from 2^n neighbours at every tap of every output position.
  const samples = x[0]! * x[1]! * elements(w.slice(2)) * elements(out.slice(2));
  return { macs: macs + samples * 2 ** (x.length - 2), ops: ops + (ctx.inputs[4] ? samples : 0) };
}

// ---- integers ----

function convIntegerResult(ctx: InferContext) {
  const [x, w] = [requireDtype(ctx, 0, BYTES), requireDtype(ctx, 1, BYTES)];
  if (ctx.has(2) && x !== undefined) requireDtype(ctx, 2, [x]);
  if (ctx.has(3) && w !== undefined) requireDtype(ctx, 3, [w]);
  requireScalarOrVector(ctx, 2, 1, 'zero point of the tensor');
  const shape = convShape(ctx, 0, 1, -1);
  requireScalarOrVector(ctx, 3, shape ? shape[1]! : null, 'output channels');
  return [tensorResult('int32', shape)];
}

/** x, its scale and zero point, w, its scale and zero point, y's scale and zero point, bias in int32; `com.microsoft` adds channels_last. */
export function qlinearConvResult(ctx: InferContext) {
  const [x, w] = [requireDtype(ctx, 0, BYTES), requireDtype(ctx, 3, BYTES)];
  for (const i of [1, 4, 6]) requireDtype(ctx, i, ['float']);
  if (x !== undefined) requireDtype(ctx, 2, [x]);
  if (w !== undefined) requireDtype(ctx, 5, [w]);
  if (ctx.has(8)) requireDtype(ctx, 8, ['int32']);
  for (const i of [1, 2, 6, 7]) requireScalarOrVector(ctx, i, 1, 'scalar of the tensor');
  const nhwc = ctx.node.int('channels_last', 0) !== 0;
  const shape = convShape(ctx, 0, 3, 8, nhwc);
  const channels = shape ? shape[nhwc ? shape.length - 1 : 1]! : null;
  for (const i of [4, 5]) requireScalarOrVector(ctx, i, channels, 'output channels');
  return [tensorResult(requireDtype(ctx, 7, BYTES), shape)];
}

/** Term of a scale or zero point that is per output channel or for the whole tensor. */
export function perChannel(shape: Shape | null | undefined, channel: string): string {
  if (shape?.length !== 1 || shape[0] === 1) return '_';
  return channel;
}

export function qlinearConvAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = convTerms(node, inputs[0] ?? null, inputs[3] ?? null, node.int('channels_last', 0) !== 0);
  if (!t) return 'opaque';
  const [scale, zero] = [perChannel(inputs[4], t.channel), perChannel(inputs[5], t.channel)];
  return nodeAxes(node, { 0: t.data, 3: t.weight, 4: scale, 5: zero, 8: t.channel }, [t.result]);
}

function convIntegerAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = convTerms(node, inputs[0] ?? null, inputs[1] ?? null);
  if (!t) return 'opaque';
  return nodeAxes(node, { 0: t.data, 1: t.weight, 3: perChannel(inputs[3], t.channel) }, [t.result]);
}

// ---- causal, with carried state ----

/** Depthwise along the last axis, looking back k-1 positions; the last k-1 inputs are handed to the next call. */
function causalConvResult(ctx: InferContext) {
  const dtype = commonDtype(ctx, [0, 1, 2, 3]);
  const [x, w, past] = [ctx.shape(0), ctx.shape(1), ctx.has(3) ? ctx.shape(3) : null];
  for (const i of [0, 1]) requireRank(ctx, i, 3);
  const channels = unifyDims(ctx, 1, x ? x[1]! : null, w ? w[0]! : null, 'channels');
  if (w) unifyDims(ctx, 1, 1, w[1]!, 'input channels per group');
  requireVector(ctx, 2, channels, 'channels');
  const batch = x ? x[0]! : null;
  let carry = w ? subDims(w[2]!, 1) : null;
  if (past) {
    requireRank(ctx, 3, 3);
    unifyDims(ctx, 3, batch, past[0]!, 'batch');
    unifyDims(ctx, 3, channels, past[1]!, 'channels');
    carry = unifyDims(ctx, 3, carry, past[2]!, 'carried positions');
  }
  const state: Shape = [batch, channels, carry];
  return [tensorResult(dtype, x ? [batch, channels, x[2]!] : null), tensorResult(dtype, state)].slice(0, ctx.outputCount);
}

export const CONV_OPS: readonly OpRecord[] = [
  {
    opType: 'Conv',
    domain: '',
    since: 1,
    infer: (ctx) => [tensorResult(commonDtype(ctx, [0, 1, 2]), convShape(ctx, 0, 1, 2))],
    grad: convGrad,
    axes: convAxes,
    quant: CONV_QUANT,
    cost: convCost(1, 2),
  },
  {
    opType: 'ConvTranspose',
    domain: '',
    since: 1,
    infer: (ctx) => [tensorResult(commonDtype(ctx, [0, 1, 2]), convTransposeShape(ctx))],
    grad: convTransposeGrad,
    axes: convTransposeAxes,
    // In groups no single axis of the weight runs over the output channels.
    quant: (node) => ({ kind: 'compute', data: [0], weight: 1, bias: 2, channelAxis: () => (node.int('group', 1) === 1 ? 1 : null) }),
    cost: ({ inputs, outputs }) => {
      const w = inputs[1];
      return { macs: w ? elements(inputs[0]) * elements(w.slice(1)) : 0, ops: inputs[2] ? elements(outputs[0]) : 0 };
    },
  },
  {
    opType: 'DeformConv',
    domain: '',
    since: 19,
    infer: (ctx) => [tensorResult(commonDtype(ctx, [0, 1, 2, 3, 4]), deformConvShape(ctx))],
    grad: 'none',
    axes: deformConvAxes,
    quant: { kind: 'compute', data: [0], weight: 1, bias: 3, channelAxis: () => 0 },
    cost: deformConvCost,
  },
  {
    opType: 'ConvInteger',
    domain: '',
    since: 10,
    infer: convIntegerResult,
    grad: 'none',
    axes: convIntegerAxes,
    quant: 'none',
    cost: convCost(1, -1),
  },
  {
    opType: 'QLinearConv',
    domain: '',
    since: 10,
    infer: qlinearConvResult,
    grad: 'none',
    axes: qlinearConvAxes,
    quant: 'none',
    cost: convCost(3, 8),
  },
  {
    opType: 'CausalConvWithState',
    domain: '',
    since: 27,
    infer: causalConvResult,
    grad: 'none',
    axes: (node) => nodeAxes(node, { 0: 'nc.', 1: 'c..', 2: 'c', 3: 'nc.' }, ['nc.', 'nc.']),
    quant: 'none',
    cost: ({ inputs, outputs }) => ({ macs: elements(outputs[0]) * (inputs[1]?.[2] ?? 0), ops: inputs[2] ? elements(outputs[0]) : 0 }),
  },
];
