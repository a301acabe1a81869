// Attention written as products, masks and Softmax: y = softmax(scale q kᵀ + bias) v for each head. Serves the operators of ONNX (23) and of com.microsoft.
// Masked scores become the lowest number of the type, as in ONNX Runtime. Caches are concatenated; buffers shared with the past are not written.

import type { DType } from '../ir/dtype.js';
import type { Node, Value } from '../ir/graph.js';
import { dimsOf, dtypeOf, type GradBuilder } from './grad-builder.js';
import { multiply } from './matmul-grad.js';
import type { DecomposeContext, DecomposeFn } from './op.js';
import { rotate } from './rotary.js';

const LOWEST: Partial<Record<DType, number>> = { float16: -65504, double: -1.797_693_134_862_315_7e308 };
const lowestOf = (dtype: DType): number => LOWEST[dtype] ?? -3.402_823_466_385_288_6e38;

/** [batch, length, heads * width] as [batch, heads, length, width]; four axes stay. */
function splitHeads(b: GradBuilder, x: Value, heads: number): Value {
  const dims = dimsOf(x);
  if (dims.length === 4) return x;
  const [batch, length, hidden] = dims as readonly [number, number, number];
  return b.transpose(b.reshape(x, [batch, length, heads, hidden / heads]), [0, 2, 1, 3]);
}

function joinHeads(b: GradBuilder, x: Value): Value {
  const [batch, heads, length, width] = dimsOf(x) as readonly [number, number, number, number];
  return b.reshape(b.transpose(x, [0, 2, 1, 3]), [batch, length, heads * width]);
}

/** Each head `times` times in a row: key-value heads that several query heads share. */
function repeatHeads(b: GradBuilder, x: Value, times: number): Value {
  if (times === 1) return x;
  const [batch, heads, length, width] = dimsOf(x) as readonly [number, number, number, number];
  const spread = b.expand(b.reshape(x, [batch, heads, 1, length, width]), [batch, heads, times, length, width]);
  return b.reshape(spread, [batch, heads * times, length, width]);
}

const column = (b: GradBuilder, count: number): Value => {
  const numbers = b.ints(
    'places',
    Array.from({ length: count }, (_, i) => i),
  );
  return b.reshape(numbers, [count, 1]);
};
const row = (b: GradBuilder, count: number): Value =>
  b.ints(
    'places',
    Array.from({ length: count }, (_, i) => i),
  );

/** [queries, keys]: true where the key is no later than the query, whose first stands at `past`, and within the window. */
function causal(b: GradBuilder, queries: number, keys: number, past: number, window = -1): Value {
  const at = b.shift(column(b, queries), past);
  const before = b.op('LessOrEqual', [row(b, keys), at]);
  return window < 0 ? before : b.op('And', [before, b.op('Greater', [row(b, keys), b.shift(at, -window)])]);
}

/** [batch, 1, 1, keys]: true before the length of each sequence. */
function withinLengths(b: GradBuilder, lengths: Value, keys: number): Value {
  const ends = b.reshape(b.cast(lengths, 'int64'), [dimsOf(lengths)[0]!, 1, 1, 1]);
  return b.op('Less', [row(b, keys), ends]);
}

const allow = (b: GradBuilder, scores: Value, allowed: Value): Value =>
  b.where(allowed, scores, b.number(scores, lowestOf(dtypeOf(scores))));

/** cap * tanh(scores / cap); 0 stands for none. */
const softCap = (b: GradBuilder, scores: Value, cap: number): Value =>
  cap === 0 ? scores : b.scale(b.op('Tanh', [b.scale(scores, 1 / cap)]), cap);

const softmax = (b: GradBuilder, scores: Value): Value => b.op('Softmax', [scores], { axis: -1 });

const scaleOf = (node: Node, width: number): number => node.float('scale', 0) || 1 / Math.sqrt(width);

function join(b: GradBuilder, past: Value | null, x: Value): Value {
  return past && dimsOf(past)[2] !== 0 ? b.concat([past, x], 2) : x;
}

function requireNone(ctx: DecomposeContext, inputs: Readonly<Record<number, string>>): void {
  for (const [i, what] of Object.entries(inputs)) if (ctx.has(Number(i))) ctx.unsupported(`with ${what}`);
}

const optional = (ctx: DecomposeContext, index: number): Value | null => (ctx.has(index) ? ctx.input(index) : null);

// ---- ONNX ----

/** Inputs Q, K, V, mask, past keys, past values, lengths without padding. Outputs: result, keys, values, scores. */
export const decomposeAttention: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  const packed = dimsOf(ctx.input(0)).length === 3;
  const q = splitHeads(b, ctx.input(0), node.int('q_num_heads', 1));
  const keys = join(b, optional(ctx, 4), splitHeads(b, ctx.input(1), node.int('kv_num_heads', 1)));
  const values = join(b, optional(ctx, 5), splitHeads(b, ctx.input(2), node.int('kv_num_heads', 1)));
  const [, heads, queries, width] = dimsOf(q) as readonly [number, number, number, number];
  const [, groups, length] = dimsOf(keys) as readonly [number, number, number];
  const stages: Value[] = [];
  let scores = multiply(b, q, repeatHeads(b, keys, heads / groups), { transB: true, alpha: scaleOf(node, width) });
  stages.push(scores);
  const mask = optional(ctx, 3);
  if (mask && dimsOf(mask).at(-1)! < length) ctx.unsupported('with a mask shorter than the keys');
  const past = ctx.has(4) ? dimsOf(ctx.input(4))[2]! : 0;
  if (mask) scores = dtypeOf(mask) === 'bool' ? allow(b, scores, mask) : b.add(scores, mask);
  if (node.int('is_causal', 0) !== 0) scores = allow(b, scores, causal(b, queries, length, past));
  if (ctx.has(6)) scores = allow(b, scores, withinLengths(b, ctx.input(6), length));
  stages.push(scores);
  const cap = node.float('softcap', 0);
  // Releases differ in whether the mask comes before.
  if (cap !== 0 && scores !== stages[0]) ctx.unsupported('with softcap and a mask');
  scores = softCap(b, scores, cap);
  stages.push(scores);
  const weights = softmax(b, scores);
  stages.push(weights);
  const y = multiply(b, weights, repeatHeads(b, values, heads / groups));
  return [packed ? joinHeads(b, y) : y, keys, values, stages[node.int('qk_matmul_output_mode', 0)] ?? null];
};

// ---- com.microsoft: with merged projections, and on projected inputs ----

/** Adds `mask_filter_value` where the mask of a padded batch is 0. Forms: lengths [batch], [batch, keys], [batch, queries, keys]. */
function addPadding(ctx: DecomposeContext, scores: Value, mask: Value): Value {
  const { b, node } = ctx;
  const [batch, , , keys] = dimsOf(scores) as readonly [number, number, number, number];
  const dims = dimsOf(mask);
  const kept = (): Value => {
    if (dims.length === 1 && dims[0] === batch) return withinLengths(b, mask, keys);
    if (dims.length === 1) return ctx.unsupported(`with a mask of shape [${dims}]`);
    const shape = dims.length === 2 ? [dims[0]!, 1, 1, dims[1]!] : dims.length === 3 ? [dims[0]!, 1, dims[1]!, dims[2]!] : dims;
    if (shape.at(-1) !== keys) return ctx.unsupported(`with a mask of shape [${dims}]`);
    return b.reshape(b.cast(mask, 'bool'), shape);
  };
  return b.add(scores, b.where(kept(), b.number(scores, 0), b.number(scores, node.float('mask_filter_value', -10_000))));
}

interface Extras {
  readonly mask: Value | null;
  readonly bias: Value | null;
  readonly past: number;
}

/** Result [batch, queries, heads * width] and scores of queries, keys and values with a head axis. */
function attendContrib(ctx: DecomposeContext, q: Value, k: Value, v: Value, { mask, bias, past }: Extras): { y: Value; scores: Value } {
  const { b, node } = ctx;
  const [, , queries, width] = dimsOf(q) as readonly [number, number, number, number];
  let scores = multiply(b, q, k, { transB: true, alpha: scaleOf(node, width) });
  if (mask) scores = addPadding(ctx, scores, mask);
  if (bias) scores = b.add(scores, bias);
  if (node.int('unidirectional', 0) !== 0) scores = allow(b, scores, causal(b, queries, dimsOf(k)[2]!, past));
  return { y: joinHeads(b, multiply(b, softmax(b, scores), v)), scores };
}

/** Inputs X, merged weights [in, q+k+v], bias, mask, past [2, batch, heads, past, width], bias of the scores. Outputs: result, state. */
export const decomposeMergedAttention: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  requireNone(ctx, { 6: 'a buffer shared with the past' });
  if (node.int('do_rotary', 0) !== 0) ctx.unsupported('with rotary embedding inside');
  if (node.int('past_present_share_buffer', 0) !== 0) ctx.unsupported('with a buffer shared with the past');
  const heads = node.int('num_heads', 1);
  const merged = dimsOf(ctx.input(1))[1]!;
  const sizes = node.ints('qkv_hidden_sizes') ?? [merged / 3, merged / 3, merged / 3];
  const product = b.op('MatMul', [ctx.input(0), ctx.input(1)]);
  const projected = ctx.has(2) ? b.add(product, ctx.input(2)) : product;
  const split = b.node('Split', [projected, b.ints('sizes', sizes)], { axis: 2 }, { outputs: ['q', 'k', 'v'] }).outputs;
  let [q, k, v] = split.map((x) => splitHeads(b, x!, heads)) as [Value, Value, Value];
  let past = 0;
  if (ctx.has(4)) {
    const state = ctx.input(4);
    const shape = dimsOf(state).slice(1);
    past = dimsOf(state)[3]!;
    const half = (i: number) => b.reshape(b.slice(state, [0], [i], [i + 1]), shape);
    [k, v] = [join(b, half(0), k), join(b, half(1), v)];
  }
  q = splitHeads(b, q, heads);
  const { y } = attendContrib(ctx, q, k, v, { mask: optional(ctx, 3), bias: optional(ctx, 5), past });
  const outer = (x: Value) => b.reshape(x, [1, ...dimsOf(x)]);
  const present = node.outputs[1] ? b.concat([outer(k), outer(v)], 0) : null;
  return [y, present];
};

/** Inputs Q, K, V, bias, mask, bias of the scores, past keys and values. Outputs: result, keys, values, scores. */
export const decomposeMultiHead: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  requireNone(ctx, { 8: 'a buffer shared with the past', 9: 'beams of a cache' });
  if (!ctx.has(1) || !ctx.has(2) || dimsOf(ctx.input(1)).length === 5) return ctx.unsupported('with packed inputs');
  const inputs = [ctx.input(0), ctx.input(1), ctx.input(2)];
  const heads = node.int('num_heads', 1);
  if (ctx.has(3)) {
    if (inputs.some((x) => dimsOf(x).length !== 3)) return ctx.unsupported('with a bias and a cache as keys');
    let from = 0;
    for (const [i, x] of inputs.entries()) {
      const to = from + dimsOf(x)[2]!;
      inputs[i] = b.add(x, b.slice(ctx.input(3), [0], [from], [to]));
      from = to;
    }
  }
  const [q, k, v] = inputs.map((x) => splitHeads(b, x, heads)) as [Value, Value, Value];
  const [keys, values] = [join(b, optional(ctx, 6), k), join(b, optional(ctx, 7), v)];
  const past = ctx.has(6) ? dimsOf(ctx.input(6))[2]! : 0;
  const { y, scores } = attendContrib(ctx, q, keys, values, { mask: optional(ctx, 4), bias: optional(ctx, 5), past });
  return [y, keys, values, scores];
};

// ---- com.microsoft: shared key-value heads ----

/**
 * Inputs Q (or Q, K and V packed), K, V, past keys and values, last places, total length, cosines, sines, positions, bias of the scores, sinks.
 * Whole sequences only, without a past: what training sees. Padding behind a sequence needs no mask, it comes later than what is kept.
 */
export const decomposeGroupQuery: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  requireNone(ctx, { 11: 'sinks' });
  for (const i of [3, 4]) if (ctx.has(i) && dimsOf(ctx.input(i))[2] !== 0) ctx.unsupported('with a past');
  if (node.int('smooth_softmax', 0) > 0) ctx.unsupported('with smooth_softmax');
  const [heads, groups] = [node.int('num_heads', 1), node.int('kv_num_heads', 1)];
  const parts = (): (Value | null)[] => {
    if (ctx.has(1)) return [ctx.input(0), ctx.input(1), ctx.input(2)];
    const width = dimsOf(ctx.input(0))[2]! / (heads + 2 * groups);
    const sizes = b.ints('sizes', [heads * width, groups * width, groups * width]);
    return [...b.node('Split', [ctx.input(0), sizes], { axis: 2 }, { outputs: ['q', 'k', 'v'] }).outputs];
  };
  let [q, k, v] = parts().map((x, i) => splitHeads(b, x!, i === 0 ? heads : groups)) as [Value, Value, Value];
  const [batch, , length, width] = dimsOf(q) as readonly [number, number, number, number];
  const total = ctx.numbers(6)?.[0];
  // Without a past the total is that of the queries, whatever computes it.
  if (total !== undefined && total !== length) ctx.unsupported(`with a total length of ${total} for ${length} queries`);
  if (node.int('do_rotary', 0) !== 0) {
    const positions = ctx.has(9) ? ctx.input(9) : b.expand(b.reshape(row(b, length), [1, length]), [batch, length]);
    const table = (i: number) => b.reshape(b.op('Gather', [ctx.input(i), positions]), [batch, 1, length, dimsOf(ctx.input(i))[1]!]);
    const [cos, sin] = [table(7), table(8)];
    const interleaved = node.int('rotary_interleaved', 0) !== 0;
    [q, k] = [rotate(b, q, cos, sin, interleaved), rotate(b, k, cos, sin, interleaved)];
  }
  let scores = multiply(b, q, repeatHeads(b, k, heads / groups), { transB: true, alpha: scaleOf(node, width) });
  scores = softCap(b, scores, node.float('softcap', 0));
  if (ctx.has(10)) scores = b.add(scores, ctx.input(10));
  scores = allow(b, scores, causal(b, length, length, 0, node.int('local_window_size', -1)));
  const y = joinHeads(b, multiply(b, softmax(b, scores), repeatHeads(b, v, heads / groups)));
  return [y, k, v, null];
};

// ---- com.microsoft: biases by distance ----

/**
 * T5's bias [1, heads, queries, keys] from a table [buckets, heads] (Raffel et al. 2020): one bucket for each small distance, then buckets that grow with its
 * logarithm up to `max_distance`.
 */
export const decomposeRelativeBias: DecomposeFn = (ctx) => {
  const { b, node } = ctx;
  const [queries, keys] = [ctx.numbers(1)?.[0], ctx.numbers(2)?.[0]];
  if (queries === undefined || keys === undefined) return ctx.unsupported('with lengths that are not constant');
  const [buckets, heads] = dimsOf(ctx.input(0)) as readonly [number, number];
  const bucket = bucketOf(buckets, node.int('max_distance', 128), node.int('is_bidirectional', 0) !== 0);
  const indices = Array.from({ length: queries * keys }, (_, i) => bucket((i % keys) - Math.floor(i / keys)));
  const rows = b.op('Gather', [ctx.input(0), b.ints('buckets', indices)]);
  return [b.reshape(b.transpose(rows, [1, 0]), [1, heads, queries, keys])];
};

function bucketOf(buckets: number, maxDistance: number, bidirectional: boolean): (relative: number) => number {
  const count = bidirectional ? buckets / 2 : buckets;
  const exact = Math.floor(count / 2);
  return (relative) => {
    const base = bidirectional && relative > 0 ? count : 0;
    const distance = bidirectional ? Math.abs(relative) : Math.max(-relative, 0);
    if (distance < exact) return base + distance;
    const far = exact + Math.floor((Math.log(distance / exact) / Math.log(maxDistance / exact)) * (count - exact));
    return base + Math.min(far, count - 1);
  };
}
