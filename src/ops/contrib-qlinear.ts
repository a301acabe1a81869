// 8-bit operators of com.microsoft: each takes values with scale and zero point and hands out values in the range it is told.
// Also Quantize/DequantizeLinear of that domain, tables of embeddings in blocks of few bits, and the LSTM with 8-bit weights.

import { addDims, ceilDivDims, mulDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { broadcastTerms, letters, sameAxes, sameAxesBut } from './axes-text.js';
import { BYTES, commonDtype, FLOATS, INDICES, nodeAxes, opsPerInput, opsPerOutput, outputs, requireDtype } from './compute-helpers.js';
import { broadcastInputs, broadcastShapes, normalizeAxis, requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';
import { globalPoolShape, poolAxes, poolCost, poolShape } from './pool.js';
import { granularityAxes, QUANTIZE_INFER } from './quantize.js';

const base = { domain: 'com.microsoft', since: 1, grad: 'none', quant: 'none' } as const;

/** A value, its scale and its optional zero point from input `first` on. */
function quantizedOperand(ctx: InferContext, first: number): DType | undefined {
  const dtype = requireDtype(ctx, first, BYTES);
  requireDtype(ctx, first + 1, ['float']);
  if (ctx.has(first + 2) && dtype !== undefined) requireDtype(ctx, first + 2, [dtype]);
  for (const i of [first + 1, first + 2]) {
    const s = ctx.has(i) ? ctx.shape(i) : null;
    if (s && !(s.length === 0 || (s.length === 1 && s[0] === 1))) ctx.failShape(i, 'a scalar', formatShape(s));
  }
  return dtype;
}

function binaryResult(ctx: InferContext): Inferred[] {
  const dtype = quantizedOperand(ctx, 0);
  const other = quantizedOperand(ctx, 3);
  if (dtype && other && dtype !== other) ctx.failType(3, dtype, other);
  return [tensorResult(dtype ?? other, broadcastInputs(ctx, [0, 3]))];
}

/** Two or three operands at the given inputs, broadcast together. */
function broadcastAt(positions: readonly number[]): (node: Node, inputs: readonly (Shape | null)[]) => Axes {
  return (node, inputs) => {
    const shapes = positions.map((i) => inputs[i] ?? null);
    if (shapes.some((s) => s === null)) return 'opaque';
    const { operands, result } = broadcastTerms(shapes as readonly Shape[]);
    return nodeAxes(node, Object.fromEntries(positions.map((p, i) => [p, operands[i]!.join('')])), [result.join('')]);
  };
}

/** One operand; the output's zero point, where given, is of its type. */
function unaryResult(ctx: InferContext): Inferred[] {
  return [tensorResult(quantizedOperand(ctx, 0), ctx.shape(0))];
}

// ---- concatenation ----

/** Scale and zero point of the result, then triples of value, scale and zero point. */
function concatResult(ctx: InferContext): Inferred[] {
  const dtype = requireDtype(ctx, 1, BYTES);
  const values: number[] = [];
  for (let i = 2; i + 2 < ctx.inputCount; i += 3) values.push(i);
  if (values.length === 0 || (ctx.inputCount - 2) % 3 !== 0)
    ctx.failShape(2, 'triples of value, scale and zero point', `${ctx.inputCount - 2} inputs`);
  const first = ctx.shape(values[0]!);
  for (const i of values) requireDtype(ctx, i, BYTES);
  if (first === null) return [tensorResult(dtype, null)];
  const axis = normalizeAxis(ctx, ctx.node.int('axis') ?? ctx.failShape(2, 'the attribute axis', 'none'), first.length, values[0]);
  const shape: Dim[] = [...first];
  for (const i of values.slice(1)) {
    const s = ctx.shape(i);
    requireRank(ctx, i, first.length);
    for (const [k, d] of first.entries()) {
      shape[k] = k === axis ? addDims(shape[k]!, s?.[k] ?? null) : unifyDims(ctx, i, shape[k] ?? d, s?.[k] ?? null, `extent ${k}`);
    }
  }
  return [tensorResult(dtype, shape)];
}

function concatAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[2]?.length;
  if (rank === undefined) return 'opaque';
  const axis = node.int('axis', 0);
  const at = axis < 0 ? axis + rank : axis;
  const values = node.inputs.map((_, i) => i).filter((i) => i >= 2 && (i - 2) % 3 === 0);
  const names = letters(rank + values.length);
  const own = names.slice(rank);
  const terms = values.map((_, k) => names.slice(0, rank).map((n, i) => (i === at ? own[k]! : n)));
  const joined = values.length === 1 ? own[0]! : `(${own.join('+')})`;
  const result = names.slice(0, rank).map((n, i) => (i === at ? joined : n));
  return nodeAxes(node, Object.fromEntries(values.map((v, k) => [v, terms[k]!.join('')])), [result.join('')]);
}

// ---- reduction, selection ----

function reducedAxes(node: Node, rank: number): number[] {
  const axes = node.ints('axes') ?? [];
  return axes.length === 0 ? Array.from({ length: rank }, (_, i) => i) : axes.map((a) => (a < 0 ? a + rank : a));
}

function reduceMeanResult(ctx: InferContext): Inferred[] {
  const dtype = quantizedOperand(ctx, 0);
  const x = ctx.shape(0);
  if (x === null) return [tensorResult(dtype, null)];
  for (const a of ctx.node.ints('axes') ?? []) normalizeAxis(ctx, a, x.length);
  const reduced = reducedAxes(ctx.node, x.length);
  const kept = ctx.node.int('keepdims', 1) !== 0;
  return [tensorResult(dtype, kept ? x.map((d, i) => (reduced.includes(i) ? 1 : d)) : x.filter((_, i) => !reduced.includes(i)))];
}

function reduceMeanAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined) return 'opaque';
  const reduced = reducedAxes(node, rank);
  const names = letters(rank).map((n, i) => (reduced.includes(i) ? '.' : n));
  const result = node.int('keepdims', 1) !== 0 ? names : names.filter((_, i) => !reduced.includes(i));
  return nodeAxes(node, { 0: names.join('') }, [result.join('')]);
}

function whereResult(ctx: InferContext): Inferred[] {
  requireDtype(ctx, 0, ['bool']);
  const dtype = quantizedOperand(ctx, 1);
  quantizedOperand(ctx, 4);
  const values = broadcastShapes(ctx, ctx.shape(1), ctx.shape(4), 4);
  return [tensorResult(dtype, broadcastShapes(ctx, ctx.shape(0), values, 1))];
}

// ---- tables ----

const TABLE_TYPES: readonly DType[] = [
  'int4',
  'uint4',
  'uint8',
  'float8e4m3fn',
  'float8e4m3fnuz',
  'float8e5m2',
  'float8e5m2fnuz',
  'float4e2m1',
];

/** Gather, then dequantization. In uint8 tables of 2 or 4 bits a byte holds several values along the last axis. */
function gatherBlockResult(ctx: InferContext): Inferred[] {
  const table = requireDtype(ctx, 0, TABLE_TYPES);
  requireDtype(ctx, 1, INDICES);
  const dtype = requireDtype(ctx, 2, FLOATS);
  const [data, indices, scales] = [ctx.shape(0), ctx.shape(1), ctx.shape(2)];
  if (data === null || indices === null) return [tensorResult(dtype, null)];
  if (data.length === 0) ctx.failShape(0, 'rank 1 or more', formatShape(data));
  const axis = normalizeAxis(ctx, ctx.node.int('gather_axis', 0), data.length);
  const blocked = normalizeAxis(ctx, ctx.node.int('quantize_axis', 1), data.length);
  const perByte = table === 'uint8' ? 8 / ctx.node.int('bits', 4) : 1;
  const full = data.map((d, i) => (i === data.length - 1 ? mulDims(d, perByte) : d));
  const block = ctx.node.int('block_size', 128);
  if (scales && block > 0) {
    requireRank(ctx, 2, data.length);
    for (const [i, d] of full.entries()) {
      if (i !== blocked && scales[i] === 1) continue;
      unifyDims(ctx, 2, i === blocked ? ceilDivDims(d, block) : d, scales[i]!, i === blocked ? 'blocks' : `extent ${i}`);
    }
  }
  return [tensorResult(dtype, [...full.slice(0, axis), ...indices, ...full.slice(axis + 1)])];
}

function gatherBlockAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [data, indices] = inputs;
  if (!data || !indices) return 'opaque';
  const axis = node.int('gather_axis', 0);
  const at = axis < 0 ? axis + data.length : axis;
  if (at < 0 || at >= data.length) return 'opaque';
  const dots = '.'.repeat(data.length);
  const own = letters(indices.length);
  const result = `${'.'.repeat(at)}${own.join('')}${'.'.repeat(data.length - at - 1)}`;
  return nodeAxes(node, { 0: dots, 1: own.join(''), 2: dots, 3: dots }, [result]);
}

// ---- LSTM ----

/** LSTM with weights [directions, in, 4*hidden] (transposed against ONNX) in 8 bits. */
function lstmResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 3, 5, 6, 7, 8, 10], ['float']);
  for (const i of [1, 2, 9, 11]) requireDtype(ctx, i, BYTES);
  if (ctx.has(4)) requireDtype(ctx, 4, ['int32']);
  for (const i of [0, 1, 2]) requireRank(ctx, i, 3);
  const [x, w, r] = [ctx.shape(0), ctx.shape(1), ctx.shape(2)];
  if (x && w) unifyDims(ctx, 1, x[2]!, w[1]!, 'input size');
  const directions = ctx.node.string('direction', 'forward') === 'bidirectional' ? 2 : 1;
  for (const [i, s] of [
    [1, w],
    [2, r],
  ] as const) {
    if (s) unifyDims(ctx, i, directions, s[0]!, 'directions');
  }
  const hidden = unifyDims(ctx, 2, ctx.node.int('hidden_size') ?? null, r?.[1] ?? null, 'hidden size');
  for (const [i, s] of [
    [1, w],
    [2, r],
  ] as const) {
    if (s) unifyDims(ctx, i, mulDims(hidden, 4), s[2]!, 'gate columns');
  }
  const [seq, batch] = [x?.[0] ?? null, x?.[1] ?? null];
  const state = tensorResult(dtype, [directions, batch, hidden]);
  return outputs(ctx, tensorResult(dtype, [seq, directions, batch, hidden]), state, state);
}

function lstmCost({ inputs: [x, w, r] }: CostContext): Work {
  if (!x || !w || !r) return { macs: 0, ops: 0 };
  const steps = x[0]! * x[1]!;
  return { macs: steps * w[0]! * w[2]! * (w[1]! + r[1]!), ops: steps * w[0]! * w[2]! * 2 };
}

// ---- other products of integers ----

function mulIntegerResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 2], BYTES);
  for (const i of [1, 3]) if (ctx.has(i) && dtype !== undefined) requireDtype(ctx, i, [dtype]);
  return [tensorResult('int32', broadcastInputs(ctx, [0, 2]))];
}

/** Axis of Softmax as in the opset named by the attribute. */
function softmaxAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length ?? 0;
  const axis = node.int('axis', -1);
  const first = axis < 0 ? axis + rank : axis;
  const old = node.int('opset', 13) < 13;
  const blocked = Array.from({ length: rank }, (_, i) => i).filter((i) => i === first || (old && i > first));
  return sameAxesBut(node, inputs, blocked);
}

const unary = { ...base, infer: unaryResult, axes: sameAxes } as const;
const binary = { ...base, infer: binaryResult, axes: broadcastAt([0, 3]) } as const;

export const CONTRIB_QLINEAR_OPS: readonly OpRecord[] = [
  { ...binary, opType: 'QLinearAdd', cost: opsPerOutput(5) },
  { ...binary, opType: 'QLinearMul', cost: opsPerOutput(5) },
  { ...base, opType: 'MulInteger', infer: mulIntegerResult, axes: broadcastAt([0, 2]), cost: opsPerOutput(3) },
  { ...base, opType: 'QLinearConcat', infer: concatResult, axes: concatAxes, cost: opsPerOutput(4) },
  { ...unary, opType: 'QLinearSigmoid', cost: opsPerOutput(6) },
  { ...unary, opType: 'QLinearLeakyRelu', cost: opsPerOutput(5) },
  { ...unary, opType: 'QLinearSoftmax', axes: softmaxAxes, cost: opsPerOutput(8) },
  {
    ...base,
    opType: 'QLinearAveragePool',
    infer: (ctx) => [tensorResult(quantizedOperand(ctx, 0), poolShape(ctx, 0, ctx.node.int('channels_last', 0) !== 0))],
    axes: poolAxes,
    cost: poolCost,
  },
  {
    ...base,
    opType: 'QLinearGlobalAveragePool',
    infer: (ctx) => [tensorResult(quantizedOperand(ctx, 0), globalPoolShape(ctx, 0, ctx.node.int('channels_last', 0) !== 0))],
    axes: poolAxes,
    cost: opsPerInput(1),
  },
  { ...base, opType: 'QLinearReduceMean', infer: reduceMeanResult, axes: reduceMeanAxes, cost: opsPerInput(1) },
  { ...base, opType: 'QLinearWhere', infer: whereResult, axes: broadcastAt([0, 1, 4]), cost: opsPerOutput(4) },
  // Without an axis the parameters are for the whole tensor: axis 0 is then never looked at.
  { ...base, opType: 'QuantizeLinear', infer: QUANTIZE_INFER.quantize, axes: granularityAxes(0), cost: opsPerOutput(3) },
  { ...base, opType: 'DequantizeLinear', infer: QUANTIZE_INFER.dequantize, axes: granularityAxes(0), cost: opsPerOutput(2) },
  { ...base, opType: 'GatherBlockQuantized', infer: gatherBlockResult, axes: gatherBlockAxes, cost: opsPerOutput(2) },
  {
    ...base,
    opType: 'DynamicQuantizeLSTM',
    infer: lstmResult,
    // Inputs are quantized over the whole batch at each step, so not even sequences are independent.
    axes: (node, inputs) =>
      nodeAxes(node, Object.fromEntries(inputs.map((s, i) => [i, '.'.repeat(s?.length ?? 0)])), ['....', '...', '...']),
    cost: lstmCost,
  },
];
