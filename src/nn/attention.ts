// Multi-head attention (Vaswani et al. 2017): softmax(q k^T / sqrt(d) + mask) v for each head, then one projection; d = hidden / heads.
// Written as plain operators, which every runtime, quantizer and gradient knows. Masks are additive: 0 to look, -10000 not to (exp of it is 0 even in float16).
import { usageError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import { dropout } from './activation.js';
import { type Initializer, xavier } from './init.js';
import { linear } from './linear.js';
import type { Scope } from './scope.js';

const MASKED = -10_000;

/** Additive mask [batch, 1, 1, keys] from an attention mask [batch, keys] of 1 (a token) and 0 (padding). */
export function paddingMask(scope: Scope, attentionMask: Value): Value {
  scope.requireRank(attentionMask, [2], '[batch, keys]');
  const mask = scope.op('Cast', [attentionMask], { to: 1 });
  const absent = scope.op('Sub', [scope.scalar(1), scope.op('Unsqueeze', [mask, scope.ints([1, 2])])]);
  return scope.op('Mul', [absent, scope.scalar(MASKED)]);
}

/** Additive mask [length, length] that lets a position look at itself and those before, from `positions`. */
export function causalMask(scope: Scope, positions: Value): Value {
  const query = scope.op('Unsqueeze', [positions, scope.ints([1])]);
  const key = scope.op('Unsqueeze', [positions, scope.ints([0])]);
  return scope.op('Where', [scope.op('LessOrEqual', [key, query]), scope.scalar(0), scope.scalar(MASKED)]);
}

export interface AttentionOptions {
  readonly heads: number;
  /** Where keys and values come from, [batch, keys, features]; default the input itself. */
  readonly memory?: Value | undefined;
  /** Sum of additive masks that broadcasts to [batch, heads, queries, keys]; see `paddingMask` and `causalMask`. */
  readonly mask?: Value | undefined;
  /** Dropout on the weights of attention while training. */
  readonly dropout?: number | undefined;
  /** One product `qkv` instead of `query`, `key` and `value`; without `memory` only. */
  readonly fused?: boolean | undefined;
  readonly init?: Initializer | undefined;
  /** Of the projection `output`. */
  readonly outputInit?: Initializer | undefined;
}

/** [batch, queries, hidden] to the same. Linear layers `query`, `key`, `value` (or `qkv`) and `output`. */
export function multiHeadAttention(scope: Scope, x: Value, options: AttentionOptions): Value {
  const { heads, memory = x, mask, dropout: rate = 0, fused = false, init = xavier(), outputInit = init } = options;
  scope.requireRank(x, [3], '[batch, sequence, hidden]');
  const hidden = scope.size(x, 2, 'hidden size');
  if (hidden % heads !== 0) throw usageError(`layer ${scope.label}: heads: expected a divisor of hidden size ${hidden}, got ${heads}`);
  if (fused && memory !== x) throw usageError(`layer ${scope.label}: fused attention reads queries, keys and values from one input`);
  const size = hidden / heads;
  const [q, k, v] = fused
    ? splitThree(scope, linear(scope.at('qkv'), x, { features: 3 * hidden, init }))
    : [
        linear(scope.at('query'), x, { features: hidden, init }),
        linear(scope.at('key'), memory, { features: hidden, init }),
        linear(scope.at('value'), memory, { features: hidden, init }),
      ];
  // Scaling the queries is cheaper than scaling the scores, of which there are keys / size times as many.
  const scaled = scope.op('Mul', [q, scope.scalar(1 / Math.sqrt(size))], {}, { name: 'scale' });
  const toHeads = (value: Value, name: string, perm: readonly number[]) => {
    const split = scope.op('Reshape', [value, scope.ints([0, 0, heads, size])], {}, { name: `${name}_split` });
    return scope.op('Transpose', [split], { perm }, { name: `${name}_heads` });
  };
  const queries = toHeads(scaled, 'query', [0, 2, 1, 3]);
  const keys = toHeads(k, 'key', [0, 2, 3, 1]);
  const values = toHeads(v, 'value', [0, 2, 1, 3]);
  const product = scope.op('MatMul', [queries, keys], {}, { name: 'scores' });
  const scores = mask ? scope.op('Add', [product, mask], {}, { name: 'masked' }) : product;
  const weights = dropout(scope, scope.op('Softmax', [scores], { axis: -1 }), rate);
  const context = scope.op('MatMul', [weights, values], {}, { name: 'context' });
  const joined = scope.op('Transpose', [context], { perm: [0, 2, 1, 3] }, { name: 'context_heads' });
  const merged = scope.op('Reshape', [joined, scope.ints([0, 0, hidden])], {}, { name: 'context_join' });
  return linear(scope.at('output'), merged, { features: hidden, init: outputInit });
}

function splitThree(scope: Scope, qkv: Value): [Value, Value, Value] {
  const node = scope.node('Split', [qkv], { axis: -1, num_outputs: 3 }, { outputs: 3 });
  return [node.output(0), node.output(1), node.output(2)];
}
