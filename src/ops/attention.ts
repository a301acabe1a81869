// Scaled dot-product attention softmax(Q K^T * scale + bias) V with its key-value cache, rotary position embedding and linear attention.
// Heads are either an axis of their own (rank 4) or packed into the last axis, heads outermost (rank 3).

import { addDims, mulDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import {
  commonDtype,
  divideExactly,
  FLOATS,
  FUNCTION_OF_FIRST,
  nodeAxes,
  opsPerOutput,
  outputs,
  requireDtype,
  requireVector,
} from './compute-helpers.js';
import { decomposeAttention } from './decompose-attention.js';
import { requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';
import { decomposeOnnxRotary } from './rotary.js';

/** Softmax: maximum, difference, exponential, sum, quotient; plus scaling and bias. */
const SCORE_OPS = 7;

/** Work of attention from batch, query heads, query and key lengths and the widths of keys and values. */
export function attentionWork(batch: number, heads: number, queries: number, keys: number, keyWidth: number, valueWidth: number): Work {
  const scores = batch * heads * queries * keys;
  return { macs: scores * (keyWidth + valueWidth), ops: SCORE_OPS * scores };
}

interface Heads {
  readonly batch: Dim;
  readonly heads: Dim;
  readonly length: Dim;
  readonly width: Dim;
}

/** Batch, heads, length and width per head of Q, K or V in either layout; null where the rank is unknown. */
function headsOf(ctx: InferContext, input: number, attribute: string): Heads | null {
  const s = ctx.shape(input);
  if (s === null) return null;
  if (s.length === 4) return { batch: s[0]!, heads: s[1]!, length: s[2]!, width: s[3]! };
  if (s.length !== 3) ctx.failShape(input, 'rank 3 or 4', formatShape(s));
  const heads = ctx.node.int(attribute);
  if (heads === undefined) ctx.failShape(input, `the attribute ${attribute} with rank 3`, 'none');
  return { batch: s[0]!, heads, length: s[1]!, width: divideExactly(ctx, input, s[2]!, heads, 'last extent') };
}

function attentionResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 4]);
  const valueType = commonDtype(ctx, [2, 5]);
  if (ctx.has(6)) requireDtype(ctx, 6, ['int64']);
  const q = headsOf(ctx, 0, 'q_num_heads');
  const k = headsOf(ctx, 1, 'kv_num_heads');
  const v = headsOf(ctx, 2, 'kv_num_heads');
  if (q && k) {
    unifyDims(ctx, 1, q.batch, k.batch, 'batch');
    unifyDims(ctx, 1, q.width, k.width, 'width of a head');
    if (typeof k.heads === 'number') divideExactly(ctx, 0, q.heads, k.heads, 'query heads');
  }
  if (k && v) {
    unifyDims(ctx, 2, k.heads, v.heads, 'heads');
    unifyDims(ctx, 2, k.length, v.length, 'length');
  }
  requireVector(ctx, 6, q?.batch ?? null, 'batch');
  const past = ctx.has(4) ? ctx.shape(4) : ([null, null, 0, null] as const);
  const pastValue = ctx.has(5) ? ctx.shape(5) : past;
  for (const i of [4, 5]) if (ctx.has(i)) requireRank(ctx, i, 4);
  const batch = q?.batch ?? k?.batch ?? v?.batch ?? null;
  const pastLength = past === null ? null : unifyDims(ctx, 5, past[2]!, pastValue?.[2] ?? null, 'cached length');
  const keys = addDims(pastLength, k?.length ?? v?.length ?? null);
  const packed = ctx.shape(0)?.length === 3;
  const y: Shape | null =
    q && (packed ? [q.batch, q.length, mulDims(q.heads, v?.width ?? null)] : [q.batch, q.heads, q.length, v?.width ?? null]);
  return outputs(
    ctx,
    tensorResult(dtype, y),
    tensorResult(dtype, [batch, k?.heads ?? null, keys, k?.width ?? null]),
    tensorResult(valueType, [batch, v?.heads ?? null, keys, v?.width ?? null]),
    tensorResult(dtype, [batch, q?.heads ?? null, q?.length ?? null, keys]),
  );
}

/**
 * Key-value heads `g`, each with its query heads `r`. The width of keys stays: the default scale follows it,
 * and softmax stands between it and the output.
 */
function attentionAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [q, k, v] = inputs;
  if (!q || !k || !v) return 'opaque';
  const heads = (s: Shape, name: string) => (s.length === 4 ? s[1] : node.int(name));
  const [queryHeads, groups] = [heads(q, 'q_num_heads'), heads(k, 'kv_num_heads')];
  const same = queryHeads === groups && queryHeads != null;
  // Heads of equal number are one axis; else each key-value head serves `r` query heads.
  const h = same ? 'g' : '(gr)';
  const flat = (term: string) => term.replace(/[()]/g, '');
  const write = (s: Shape, length: string, head: string, width: string) =>
    s.length === 4 ? `b${head}${length}${width}` : `b${length}(${flat(head)}${width})`;
  // Under a causal mask a query's place counts.
  const seq = node.int('is_causal', 0) !== 0 ? '.' : 's';
  // A mask may have extents of 1 anywhere: where there is one, only the widths of the heads stay free.
  const masked = Boolean(node.input(3)) || Boolean(node.input(6));
  const fix = (term: string) => (masked ? maskedTerm(term) : term);
  return nodeAxes(
    node,
    {
      0: fix(write(q, seq, h, '.')),
      1: fix(write(k, '.', 'g', '.')),
      2: fix(write(v, '.', 'g', 'e')),
      3: '.'.repeat(inputs[3]?.length ?? 0),
      4: fix('bg..'),
      5: fix('bg.e'),
      6: '.',
    },
    [fix(write(q, seq, h, 'e')), fix('bg..'), fix('bg.e'), fix(`b${h}${seq}.`)],
  );
}

function maskedTerm(term: string): string {
  return term.replace(/\([^)]*\)/g, '.').replace(/[bgs]/g, '.');
}

function attentionCost({ node, inputs, outputs: out }: CostContext): Work {
  const [q, k, v] = inputs;
  if (!q || !k || !v) return { macs: 0, ops: 0 };
  const heads = q.length === 4 ? q[1]! : node.int('q_num_heads', 1);
  const kvHeads = k.length === 4 ? k[1]! : node.int('kv_num_heads', 1);
  const lengthOf = (s: readonly number[]) => s[s.length === 4 ? 2 : 1]!;
  const keys = out[1]?.[2] ?? lengthOf(k) + (inputs[4]?.[2] ?? 0);
  const width = q.length === 4 ? q[3]! : q[2]! / heads;
  const valueWidth = v.length === 4 ? v[3]! : v[2]! / kvHeads;
  return attentionWork(q[0]!, heads, lengthOf(q), keys, width, valueWidth);
}

// ---- positions ----

function rotaryResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2]);
  if (ctx.has(3)) requireDtype(ctx, 3, ['int64']);
  const x = ctx.shape(0);
  if (x && x.length !== 3 && x.length !== 4) ctx.failShape(0, 'rank 3 or 4', formatShape(x));
  for (const i of [1, 2]) requireRank(ctx, i, ctx.has(3) ? 2 : 3);
  const [cos, sin] = [ctx.shape(1), ctx.shape(2)];
  if (cos && sin) for (const [i, d] of cos.entries()) unifyDims(ctx, 2, d, sin[i]!, `extent ${i}`);
  const rotated = ctx.node.int('rotary_embedding_dim', 0);
  if (rotated > 0 && cos) unifyDims(ctx, 1, rotated / 2, cos.at(-1)!, 'half of the rotated width');
  return [tensorResult(dtype, x)];
}

function rotaryAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined) return 'opaque';
  const positions = Boolean(node.input(3));
  // With caches per position instead of indices, batch and sequence are axes of the caches.
  const [table, ids] = positions ? ['..', 'bs'] : ['bs.', '_'];
  const term = rank === 4 ? 'bhs.' : 'bs.';
  return nodeAxes(node, { 0: term, 1: table, 2: table, 3: ids }, [term]);
}

// ---- linear attention ----

/** The state [batch, heads, key width, value width] replaces the growing cache (gated delta rule: Yang et al., 2024). */
function linearAttentionResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2, 4, 5]);
  const [queryHeads, heads] = [ctx.node.int('q_num_heads'), ctx.node.int('kv_num_heads')];
  if (!queryHeads || !heads) ctx.failShape(0, 'the attributes q_num_heads and kv_num_heads', 'none');
  for (const i of [0, 1, 2]) requireRank(ctx, i, 3);
  const [q, k, v] = [ctx.shape(0), ctx.shape(1), ctx.shape(2)];
  const keyWidth = k ? divideExactly(ctx, 1, k[2]!, heads, 'last extent') : null;
  const valueWidth = v ? divideExactly(ctx, 2, v[2]!, heads, 'last extent') : null;
  if (q) unifyDims(ctx, 0, divideExactly(ctx, 0, q[2]!, queryHeads, 'last extent'), keyWidth, 'width of a key head');
  if (q && k) for (const i of [0, 1]) unifyDims(ctx, 1, q[i]!, k[i]!, `extent ${i}`);
  if (ctx.has(3)) {
    requireDtype(ctx, 3, FLOATS);
    requireRank(ctx, 3, 4);
  }
  const state: Shape = [q?.[0] ?? null, heads, keyWidth, valueWidth];
  const y: Shape | null = q && [q[0]!, q[1]!, mulDims(valueWidth, queryHeads)];
  return outputs(ctx, tensorResult(dtype, y), tensorResult(ctx.has(3) ? ctx.dtype(3) : dtype, state));
}

function linearAttentionCost({ node, inputs, outputs: out }: CostContext): Work {
  const state = out[1];
  const q = inputs[0];
  if (!state || !q) return { macs: 0, ops: 0 };
  // Per position: the state is read by each query head, written by an outer product and, with delta rules, read once more for the correction.
  const [heads, area] = [state[1]!, state[2]! * state[3]!];
  const delta = node.string('update_rule', 'gated_delta').includes('delta');
  const gated = node.string('update_rule', 'gated_delta').includes('gated');
  const positions = q[0]! * q[1]!;
  const macs = positions * area * (node.int('q_num_heads', heads) + heads * (delta ? 2 : 1));
  return { macs, ops: gated ? positions * heads * area : 0 };
}

export const ATTENTION_OPS: readonly OpRecord[] = [
  {
    opType: 'Attention',
    domain: '',
    since: 23,
    infer: attentionResult,
    grad: { decompose: decomposeAttention },
    axes: attentionAxes,
    quant: 'none',
    cost: attentionCost,
  },
  {
    opType: 'RotaryEmbedding',
    domain: '',
    since: 23,
    infer: rotaryResult,
    grad: { decompose: decomposeOnnxRotary },
    axes: rotaryAxes,
    quant: FUNCTION_OF_FIRST,
    cost: opsPerOutput(3),
  },
  {
    opType: 'LinearAttention',
    domain: '',
    since: 27,
    infer: linearAttentionResult,
    grad: 'none',
    axes: (node) => nodeAxes(node, { 0: 'b..', 1: 'b..', 2: 'b..', 3: 'b...', 4: 'b..', 5: 'b..' }, ['b..', 'b...']),
    quant: 'none',
    cost: linearAttentionCost,
  },
];
