// Multi-head attention written out (Vaswani et al. 2017): projections reshaped to heads and transposed, scaled product, mask, softmax, product, back.
// Becomes com.microsoft.MultiHeadAttention, which ONNX Runtime alone has: only where the caller allows contrib operators.
import type { Builder } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import { anyOf, matchAt, op, type Pattern, readOutside, scalar, scalarOf, value } from '../../rewrite/pattern.js';
import { type Match, type Miss, miss, type Rule, rule } from '../../rewrite/rule.js';
import { dtypeOf, positiveAxis, rankOf, sameShape, shapeOf } from './facts.js';

const heads = (name: string, perm: readonly number[]): Pattern =>
  op('Transpose', [op('Reshape', [value(name), value(`${name}_shape`)], { out: `${name}_heads` })], { attributes: { perm } });

const product = op('MatMul', [heads('q', [0, 2, 1, 3]), heads('k', [0, 2, 3, 1])]);
const scaled = anyOf(
  op('Mul', [product, scalar(Number.isFinite, 'multiplier')]),
  op('Div', [product, scalar((x) => x !== 0, 'divisor')]),
  product,
);
const masked = anyOf(op('Add', [scaled, value('mask')]), scaled);
const weights = op('Softmax', [masked], { as: 'softmax', out: 'weights' });
const context = op('MatMul', [weights, heads('v', [0, 2, 1, 3])]);
const attention = op('Reshape', [op('Transpose', [context], { attributes: { perm: [0, 2, 1, 3] } }), value('out_shape')]);

interface Facts {
  readonly heads: number;
  readonly scale: number;
  /** The mask lacks the axis of queries: it must be expanded along it. */
  readonly expandMask: boolean;
}

function factsOf(match: Match): Facts | Miss {
  const { q, k, v, mask } = match.values;
  const dtype = dtypeOf(q);
  if (dtype !== 'float' && dtype !== 'float16') return miss(`its inputs are ${dtype ?? 'of unknown type'}`);
  let count: number | undefined;
  for (const [name, input] of Object.entries({ q, k, v })) {
    const [flat, split] = [shapeOf(input), shapeOf(match.values[`${name}_heads`])];
    if (flat?.length !== 3 || split?.length !== 4) return miss(`the shape of "${input!.name}" is not [batch, sequence, width]`);
    const [h, d] = [split[2], split[3]];
    if (typeof h !== 'number' || typeof d !== 'number' || flat[2] !== h * d || !sameShape(flat.slice(0, 2), split.slice(0, 2))) {
      return miss(`"${input!.name}" is not split into heads along its last axis`);
    }
    if (count !== undefined && count !== h) return miss('queries, keys and values have different numbers of heads');
    count = h;
  }
  const out = shapeOf(match.root.outputs[0]);
  if (!sameShape(out?.slice(0, 2) ?? null, shapeOf(q)!.slice(0, 2)) || out?.[2] !== shapeOf(v)![2])
    return miss('its result is not put together again');
  const softmax = match.nodes.softmax!;
  const rank = rankOf(softmax.outputs[0]);
  if (rank !== 4 || positiveAxis(softmax.int('axis', -1), rank) !== 3) return miss('its softmax is not over the keys');
  const scale = scaleOf(match);
  if (!mask) return { heads: count!, scale, expandMask: false };
  const [queries, keys] = [shapeOf(q)![1]!, shapeOf(k)![1]!];
  const shape = shapeOf(mask);
  if (shape?.length !== 4 || shape[3] !== keys)
    return miss(`mask "${mask.name}" is not known to have four axes, the last of which counts keys`);
  const batch = shapeOf(q)![0];
  if ((shape[0] !== 1 && shape[0] !== batch) || (shape[1] !== 1 && shape[1] !== count))
    return miss(`mask "${mask.name}" has other batches or heads`);
  if (shape[2] !== queries && shape[2] !== 1) return miss(`mask "${mask.name}" is not known to have one row for each query`);
  return { heads: count!, scale, expandMask: shape[2] !== queries };
}

function scaleOf(match: Match): number {
  const { multiplier, divisor } = match.values;
  if (multiplier) return scalarOf(multiplier)!;
  return divisor ? 1 / scalarOf(divisor)! : 1;
}

/** The mask with one row for each query: Expand broadcasts [batch, 1, 1, keys] with [1, 1, queries, 1]. */
function expandedMask(b: Builder, mask: Value, q: Value, name: string): Value {
  const queries = shapeOf(q)![1];
  if (typeof queries === 'number') return b.op('Expand', [mask, b.ints(`${name}_rows`, [1, 1, queries, 1])]);
  const rows = b.op('Shape', [q], { start: 1, end: 2 });
  const one = b.ints(`${name}_one`, [1]);
  return b.op('Expand', [mask, b.op('Concat', [one, one, rows, one], { axis: 0 })]);
}

const isMiss = (x: Facts | Miss): x is Miss => 'miss' in x;

const fuseAttention: Rule = rule({
  name: 'fuse-attention',
  roots: ['Reshape'],
  match: (root: Node) => (root.domain === '' ? matchAt(attention, root) : null),
  when(match) {
    const facts = factsOf(match);
    if (isMiss(facts)) return facts;
    const other = readOutside(match);
    return other ? miss(`the result of ${other.label} is also read elsewhere`) : true;
  },
  replace(match, ctx) {
    const facts = factsOf(match) as Facts;
    const { q, k, v, mask } = match.values;
    const bias = mask && facts.expandMask ? expandedMask(ctx.b, mask, q!, match.root.output().name) : mask;
    const inputs = [q!, k!, v!, ...(bias ? [null, null, bias] : [])];
    const attributes = { num_heads: facts.heads, scale: { type: 'float', value: facts.scale } } as const;
    return [ctx.b.op('MultiHeadAttention', inputs, attributes, { domain: 'com.microsoft' })];
  },
});

export const CONTRIB_ATTENTION_RULES: readonly Rule[] = [fuseAttention];
