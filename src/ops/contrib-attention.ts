// Attention of com.microsoft: with merged projection weights (Attention, QAttention), on projected inputs (MultiHeadAttention), with shared key-value
// heads and a cache (GroupQueryAttention), local (LongformerAttention); rotary embedding, position biases and mixtures of experts.

import { addDims, maxDims, mulDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { attentionWork } from './attention.js';
import {
  BYTES,
  commonDtype,
  divideExactly,
  elements,
  FLOATS,
  FUNCTION_OF_FIRST,
  nodeAxes,
  opsPerOutput,
  outputs,
  requireDtype,
  requireVector,
} from './compute-helpers.js';
import { decomposeGroupQuery, decomposeMergedAttention, decomposeMultiHead, decomposeRelativeBias } from './decompose-attention.js';
import { requireRank, scalarOf, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';
import { decomposeContribRotary } from './rotary.js';

const base = { domain: 'com.microsoft', since: 1, grad: 'none', quant: 'none' } as const;

function headCount(ctx: InferContext, attribute = 'num_heads'): number {
  return ctx.node.int(attribute) ?? ctx.failShape(0, `the attribute ${attribute}`, 'none');
}

// ---- merged projection weights ----

interface Merged {
  /** Inputs of the past state and, with a shared buffer, of its length. */
  readonly past: number;
}

/** X [batch, seq, in] times W [in, q+k+v]: result [batch, seq, v], state [2, batch, heads, past+seq, width]. */
function mergedShapes(ctx: InferContext, { past }: Merged): { y: Shape; state: Shape } {
  requireRank(ctx, 0, 3);
  requireRank(ctx, 1, 2);
  const heads = headCount(ctx);
  const [x, w] = [ctx.shape(0), ctx.shape(1)];
  if (x && w) unifyDims(ctx, 1, x[2]!, w[0]!, 'input extent');
  const sizes = ctx.node.ints('qkv_hidden_sizes');
  if (sizes && sizes.length !== 3) ctx.failShape(1, '3 qkv_hidden_sizes', `[${sizes}]`);
  const merged = w ? w[1]! : null;
  if (sizes) unifyDims(ctx, 1, sizes[0]! + sizes[1]! + sizes[2]!, merged, 'merged extent');
  const hidden = sizes ? sizes[2]! : divideExactly(ctx, 1, merged, 3, 'merged extent');
  const width = divideExactly(ctx, 1, sizes ? sizes[0]! : hidden, heads, 'hidden extent');
  requireVector(ctx, 2, merged, 'merged extent');
  const s = ctx.has(past) ? ctx.shape(past) : null;
  if (s) {
    requireRank(ctx, past, 5);
    for (const [i, d] of [2, x?.[0] ?? null, heads, null, width].entries()) unifyDims(ctx, past, d, s[i]!, `extent ${i}`);
  }
  const shared = ctx.node.int('past_present_share_buffer', 0) !== 0;
  const cached = ctx.has(past) ? (s?.[3] ?? null) : 0;
  const total = shared && ctx.has(past) ? cached : addDims(cached, x?.[1] ?? null);
  const batch = x?.[0] ?? null;
  return { y: [batch, x?.[1] ?? null, hidden], state: [2, batch, heads, total, width] };
}

function attentionResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2, 4, 5]);
  for (const i of [3, 6]) if (ctx.has(i)) requireDtype(ctx, i, ['int32']);
  const { y, state } = mergedShapes(ctx, { past: 4 });
  return outputs(ctx, tensorResult(dtype, y), tensorResult(dtype, state));
}

function qattentionResult(ctx: InferContext): Inferred[] {
  for (const i of [0, 1]) requireDtype(ctx, i, BYTES);
  const dtype = commonDtype(ctx, [2, 3, 4, 8], ['float', 'float16']);
  if (ctx.has(5)) requireDtype(ctx, 5, ['int32']);
  const { y, state } = mergedShapes(ctx, { past: 8 });
  return outputs(ctx, tensorResult(dtype, y), tensorResult(dtype, state));
}

/**
 * The merged weight holds three projections beside each other and every head uses all of them: the input features are free, heads are not.
 * In 8 bits a missing feature is not a zero but a zero point, so there nothing but the batch is free.
 */
function mergedAxes(past: number): (node: Node, inputs: readonly (Shape | null)[]) => Axes {
  return (node, inputs) => {
    const alone = node.inputs.every((v, i) => v === null || i < 3 || i === past);
    const b = alone ? 'b' : '.';
    const features = node.opType === 'Attention' ? 'i' : '.';
    const rest = Object.fromEntries(node.inputs.map((_, i) => [i, '.'.repeat(inputs[i]?.length ?? 0)]));
    return nodeAxes(node, { ...rest, 0: `${b}.${features}`, 1: `${features}.`, 2: '.', [past]: `.${b}...` }, [`${b}..`, `.${b}...`]);
  };
}

function mergedCost(past: number): (ctx: CostContext) => Work {
  return ({ node, inputs }) => {
    const [x, w] = inputs;
    if (!x || !w) return { macs: 0, ops: 0 };
    const [batch, seq, input] = x as [number, number, number];
    const heads = node.int('num_heads', 1);
    const [q, , v] = node.ints('qkv_hidden_sizes') ?? [w[1]! / 3, w[1]! / 3, w[1]! / 3];
    const scores = attentionWork(batch, heads, seq, seq + (inputs[past]?.[3] ?? 0), q! / heads, v! / heads);
    return { macs: scores.macs + batch * seq * input * w[1]!, ops: scores.ops + batch * seq * w[1]! };
  };
}

// ---- projected inputs ----

/** Batch, length and width per head of keys or values: [b,s,hidden], a cache [b,heads,s,width], or packed with others in rank 5. */
function projected(ctx: InferContext, input: number, heads: number): { batch: Dim; length: Dim; width: Dim } | null {
  const s = ctx.has(input) ? ctx.shape(input) : null;
  if (s === null) return null;
  if (s.length === 3) return { batch: s[0]!, length: s[1]!, width: divideExactly(ctx, input, s[2]!, heads, 'hidden extent') };
  if (s.length === 4) return { batch: s[0]!, length: s[2]!, width: s[3]! };
  if (s.length === 5) return { batch: s[0]!, length: s[1]!, width: s[4]! };
  return ctx.failShape(input, 'rank 3, 4 or 5', formatShape(s));
}

interface MultiHeadInputs {
  readonly bias: number;
  readonly past: number;
}

function multiHeadResult({ bias, past }: MultiHeadInputs): (ctx: InferContext) => Inferred[] {
  return (ctx) => {
    const dtype = commonDtype(ctx, [0, 1, 2, bias, past, past + 1]);
    const heads = headCount(ctx);
    const q = projected(ctx, 0, heads);
    const k = ctx.has(1) ? projected(ctx, 1, heads) : q;
    // Values packed with the keys share their width.
    const v = ctx.has(2) ? projected(ctx, 2, heads) : k;
    if (q && k) {
      unifyDims(ctx, 1, q.batch, k.batch, 'batch');
      unifyDims(ctx, 1, q.width, k.width, 'width of a head');
    }
    if (k && v && ctx.has(2)) unifyDims(ctx, 2, k.length, v.length, 'length');
    const cache = ctx.has(past) ? ctx.shape(past) : null;
    if (cache) requireRank(ctx, past, 4);
    const shared = ctx.has(past) && (ctx.node.int('past_present_share_buffer', 0) !== 0 || ctx.has(past + 2));
    const cached: Dim = ctx.has(past) ? (cache?.[2] ?? null) : 0;
    const total = shared ? cached : addDims(cached, k?.length ?? null);
    const batch = q?.batch ?? null;
    const y: Shape | null = q && [q.batch, q.length, mulDims(v?.width ?? null, heads)];
    const state = (width: Dim) => tensorResult(dtype, [batch, heads, total, width]);
    const scores = tensorResult(dtype, [batch, heads, q?.length ?? null, total]);
    return outputs(ctx, tensorResult(dtype, y), state(k?.width ?? null), state(v?.width ?? null), scores);
  };
}

/** Batch is free where no mask, bias or cache is given besides; heads with it where Q, K and V are plain and have no bias. */
function multiHeadAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rest = Object.fromEntries(node.inputs.map((_, i) => [i, '.'.repeat(inputs[i]?.length ?? 0)]));
  const alone = node.inputs.every((v, i) => v === null || i < 3);
  const ranks = [0, 1, 2].map((i) => inputs[i]?.length);
  if (inputs[0] === null) return 'opaque';
  const b = alone ? 'b' : '.';
  const term = (rank: number | undefined) => (!rank ? undefined : `${b}${'.'.repeat(rank - 1)}`);
  return nodeAxes(node, { ...rest, 0: term(ranks[0]), 1: term(ranks[1]), 2: term(ranks[2]) }, [`${b}..`, `${b}...`, `${b}...`, `${b}...`]);
}

function multiHeadCost({ past }: MultiHeadInputs): (ctx: CostContext) => Work {
  return ({ node, inputs, outputs: out }) => {
    const y = out[0];
    const q = inputs[0];
    if (!y || !q) return { macs: 0, ops: 0 };
    const heads = node.int('num_heads', 1);
    const k = inputs[1] ?? q;
    const fresh = k.length === 4 ? k[2]! : k[1]!;
    const width = q.length === 5 ? q[4]! : q[2]! / heads;
    return attentionWork(y[0]!, heads, y[1]!, fresh + (inputs[past]?.[2] ?? 0), width, y[2]! / heads);
  };
}

// ---- shared key-value heads ----

function groupQueryResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2, 7, 8, 10]);
  const cacheType = commonDtype(ctx, [3, 4], [...FLOATS, ...BYTES, 'float8e4m3fn']) ?? dtype;
  for (const i of [5, 6]) requireDtype(ctx, i, ['int32']);
  requireRank(ctx, 0, 3);
  const [heads, kvHeads] = [headCount(ctx), headCount(ctx, 'kv_num_heads')];
  if (kvHeads < 1 || heads % kvHeads !== 0) ctx.failShape(0, `num_heads a multiple of kv_num_heads (${kvHeads})`, String(heads));
  const [q, k] = [ctx.shape(0), ctx.has(1) ? ctx.shape(1) : null];
  const packed = !ctx.has(1);
  const width = divideExactly(ctx, 0, q?.[2] ?? null, packed ? heads + 2 * kvHeads : heads, 'last extent');
  if (k) {
    requireRank(ctx, 1, 3);
    unifyDims(ctx, 1, mulDims(width, kvHeads), k[2]!, 'last extent (kv_num_heads heads)');
  }
  const batch = q?.[0] ?? null;
  requireVector(ctx, 5, null, 'batch');
  const past = ctx.has(3) ? ctx.shape(3) : null;
  if (past) requireRank(ctx, 3, 4);
  // The cache grows to the total length unless its buffer is longer already.
  const total = ctx.value(6)?.items[0] ?? null;
  const cached: Dim = ctx.has(3) ? (past?.[2] ?? null) : 0;
  const length = cached === 0 ? total : total === null || cached === null ? ctx.symbol('total') : maxDims(cached, total);
  const cacheWidth = past?.[3] ?? width;
  const state = tensorResult(cacheType, [batch, kvHeads, length, cacheWidth]);
  const y: Shape | null = q && [q[0]!, q[1]!, mulDims(width, heads)];
  return outputs(ctx, tensorResult(dtype, y), state, state, tensorResult(dtype, [batch, heads, q?.[1] ?? null, total]));
}

function groupQueryCost({ node, inputs, outputs: out }: CostContext): Work {
  const [y, state] = out;
  const q = inputs[0];
  if (!y || !q) return { macs: 0, ops: 0 };
  const heads = node.int('num_heads', 1);
  const width = y[2]! / heads;
  const keys = state?.[2] ?? (inputs[3]?.[2] ?? 0) + (inputs[1]?.[1] ?? q[1]!);
  return attentionWork(y[0]!, heads, y[1]!, keys, width, width);
}

/** Everything is tied to the lengths of the cache: nothing is sliced. */
function blockedAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined) return 'opaque';
  const terms = Object.fromEntries(node.inputs.map((_, i) => [i, '.'.repeat(inputs[i]?.length ?? 0)]));
  const results = node.outputs.map((_, i) => '.'.repeat(i === 0 ? rank : 4));
  return nodeAxes(node, terms, results);
}

// ---- positions ----

function rotaryResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 2, 3]);
  requireDtype(ctx, 1, ['int64']);
  const x = ctx.shape(0);
  if (x && x.length !== 3 && x.length !== 4) ctx.failShape(0, 'rank 3 or 4', formatShape(x));
  for (const i of [2, 3]) requireRank(ctx, i, 2);
  const [cos, sin] = [ctx.shape(2), ctx.shape(3)];
  if (cos && sin) for (const [i, d] of cos.entries()) unifyDims(ctx, 3, d, sin[i]!, `extent ${i}`);
  const rotated = ctx.node.int('rotary_embedding_dim', 0);
  if (rotated > 0 && cos) unifyDims(ctx, 2, rotated / 2, cos[1]!, 'half of the rotated width');
  return [tensorResult(dtype, x)];
}

function rotaryAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [x, ids] = inputs;
  if (!x || !ids) return 'opaque';
  // One start position serves all sequences; a matrix of positions has batch and sequence as axes.
  const [b, s] = ids.length === 2 ? ['b', 's'] : ['b', '.'];
  const term = x.length === 4 ? `${b}h${s}.` : `${b}${s}.`;
  return nodeAxes(node, { 0: term, 1: ids.length === 2 ? 'bs' : '_', 2: '..', 3: '..' }, [term]);
}

function longformerResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2, 3, 4, 5], ['float', 'float16']);
  requireDtype(ctx, 6, ['int32']);
  requireRank(ctx, 0, 3);
  const x = ctx.shape(0);
  const hidden = x?.[2] ?? null;
  for (const i of [1, 4]) {
    requireRank(ctx, i, 2);
    const w = ctx.shape(i);
    if (w) unifyDims(ctx, i, hidden, w[0]!, 'hidden extent');
    if (w) unifyDims(ctx, i, mulDims(hidden, 3), w[1]!, 'merged extent');
  }
  return [tensorResult(dtype, x)];
}

function relativeBiasResult(ctx: InferContext): Inferred[] {
  const dtype = requireDtype(ctx, 0, ['float', 'float16']);
  for (const i of [1, 2]) requireDtype(ctx, i, ['int64']);
  requireRank(ctx, 0, 2);
  const length = (i: number) => ctx.value(i)?.items[0] ?? scalarOf(ctx, i) ?? ctx.symbol(i === 1 ? 'queries' : 'keys');
  return [tensorResult(dtype, [1, ctx.shape(0)?.[1] ?? null, length(1), length(2)])];
}

function gatedBiasResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2, 3, 4, 5], ['float', 'float16']);
  const heads = headCount(ctx);
  const q = ctx.shape(0);
  const offsets = ctx.has(6) ? ctx.shape(6) : null;
  const batch = offsets?.[0] ?? (q?.length === 3 ? q[0]! : null);
  const seq = offsets?.[1] ?? (q?.length === 3 ? q[1]! : null);
  return [tensorResult(dtype, [batch, heads, seq, seq])];
}

// ---- mixtures of experts ----

function expertsResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1]);
  const x = ctx.shape(0);
  if (x && x.length !== 2 && x.length !== 3) ctx.failShape(0, 'rank 2 or 3', formatShape(x));
  for (const i of [1, 14]) if (ctx.has(i)) requireRank(ctx, i, 2);
  return [tensorResult(dtype, x)];
}

/** Each token passes k experts of two or three products. */
function expertsCost(second: number, third: number, packed: boolean): (ctx: CostContext) => Work {
  return ({ node, inputs }) => {
    const x = inputs[0];
    const [w1, w2, w3] = [inputs[2], inputs[second], inputs[third]];
    if (!x || !w1 || !w2) return { macs: 0, ops: 0 };
    const tokens = elements(x) / x.at(-1)!;
    const perByte = packed ? 8 / node.int('expert_weight_bits', 4) : 1;
    const weights = [w1, w2, w3].reduce((n, w) => n + (w ? elements(w.slice(1)) * perByte : 0), 0);
    return { macs: tokens * node.int('k', 1) * weights, ops: 0 };
  };
}

const multiHead = { bias: 3, past: 6 };
const decoder = { bias: 10, past: 5 };

export const CONTRIB_ATTENTION_OPS: readonly OpRecord[] = [
  {
    ...base,
    opType: 'Attention',
    grad: { decompose: decomposeMergedAttention },
    infer: attentionResult,
    axes: mergedAxes(4),
    quant: { kind: 'compute', data: [0], weight: 1, bias: 2, channelAxis: () => 1 },
    cost: mergedCost(4),
  },
  { ...base, opType: 'QAttention', infer: qattentionResult, axes: mergedAxes(8), cost: mergedCost(8) },
  {
    ...base,
    opType: 'MultiHeadAttention',
    grad: { decompose: decomposeMultiHead },
    infer: multiHeadResult(multiHead),
    axes: multiHeadAxes,
    cost: multiHeadCost(multiHead),
  },
  { ...base, opType: 'DecoderMaskedMultiHeadAttention', infer: multiHeadResult(decoder), axes: blockedAxes, cost: multiHeadCost(decoder) },
  {
    ...base,
    opType: 'GroupQueryAttention',
    grad: { decompose: decomposeGroupQuery },
    infer: groupQueryResult,
    axes: blockedAxes,
    cost: groupQueryCost,
  },
  {
    ...base,
    opType: 'RotaryEmbedding',
    grad: { decompose: decomposeContribRotary },
    infer: rotaryResult,
    axes: rotaryAxes,
    quant: FUNCTION_OF_FIRST,
    cost: opsPerOutput(3),
  },
  {
    ...base,
    opType: 'LongformerAttention',
    infer: longformerResult,
    axes: blockedAxes,
    cost: ({ node, inputs: [x] }) => {
      if (!x) return { macs: 0, ops: 0 };
      const [batch, seq, hidden] = x as [number, number, number];
      const heads = node.int('num_heads', 1);
      // Each token attends to a window on both sides; global tokens depend on data.
      const local = attentionWork(batch, heads, seq, Math.min(seq, 2 * node.int('window', 0)), hidden / heads, hidden / heads);
      return { macs: local.macs + batch * seq * hidden * 3 * hidden, ops: local.ops };
    },
  },
  {
    ...base,
    opType: 'RelativePositionBias',
    grad: { decompose: decomposeRelativeBias },
    infer: relativeBiasResult,
    axes: (node) => nodeAxes(node, { 0: '.h' }, ['.h..']),
    cost: 'none',
  },
  { ...base, opType: 'GatedRelativePositionBias', infer: gatedBiasResult, axes: blockedAxes, cost: opsPerOutput(3) },
  { ...base, opType: 'MoE', infer: expertsResult, axes: blockedAxes, cost: expertsCost(4, 6, false) },
  { ...base, opType: 'QMoE', infer: expertsResult, axes: blockedAxes, cost: expertsCost(5, 8, true) },
];
