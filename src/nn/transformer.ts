// Transformer blocks (Vaswani et al. 2017): attention and a feed-forward net, each with a residual sum and layer normalization, either after
// the sum (post: BERT) or before the layer (pre: GPT-2; Xiong et al. 2020).
import type { Value } from '../ir/graph.js';
import { type Activation, activation, dropout } from './activation.js';
import { type AttentionOptions, multiHeadAttention } from './attention.js';
import { type Initializer, truncatedNormal } from './init.js';
import { linear } from './linear.js';
import { layerNorm } from './norm.js';
import type { Scope } from './scope.js';

export interface TransformerOptions {
  readonly heads: number;
  /** Width of the feed-forward net; default four times the hidden size. */
  readonly intermediate?: number | undefined;
  /** Default gelu. */
  readonly activation?: Activation | undefined;
  /** Where layers are normalized; default post. A stack of pre blocks needs one more layerNorm at its end. */
  readonly norm?: 'pre' | 'post' | undefined;
  readonly epsilon?: number | undefined;
  /** Additive mask of the self-attention. */
  readonly mask?: Value | undefined;
  /** While training, on attention weights and before each residual sum. */
  readonly dropout?: number | undefined;
  readonly fused?: boolean | undefined;
  /** Of weights; default truncated normal with deviation 0.02. */
  readonly init?: Initializer | undefined;
  /** Of the two layers that write into the residual sums; default as `init`. */
  readonly residualInit?: Initializer | undefined;
}

export interface DecoderOptions extends TransformerOptions {
  /** Output of an encoder, [batch, keys, hidden], for cross-attention; none for a language model. */
  readonly memory?: Value | undefined;
  /** Additive mask of the cross-attention. */
  readonly memoryMask?: Value | undefined;
}

/** [batch, sequence, hidden] to the same. Parameters under `attention`, `attention_norm`, `feed_forward.up`, `feed_forward.down`, `feed_forward_norm`. */
export function encoderBlock(scope: Scope, x: Value, options: TransformerOptions): Value {
  const h = attentionLayer(scope, 'attention', x, options, { mask: options.mask, fused: options.fused });
  return feedForwardLayer(scope, h, options);
}

/** As `encoderBlock`, with a `cross_attention` to `memory` in between where there is one. Causal by its `mask`: see `causalMask`. */
export function decoderBlock(scope: Scope, x: Value, options: DecoderOptions): Value {
  const { memory, memoryMask } = options;
  let h = attentionLayer(scope, 'attention', x, options, { mask: options.mask, fused: options.fused });
  if (memory) h = attentionLayer(scope, 'cross_attention', h, options, { mask: memoryMask, memory });
  return feedForwardLayer(scope, h, options);
}

function attentionLayer(
  scope: Scope,
  name: string,
  x: Value,
  options: TransformerOptions,
  attention: Pick<AttentionOptions, 'mask' | 'memory' | 'fused'>,
): Value {
  const { heads, init = truncatedNormal(0.02), residualInit = init, dropout: rate } = options;
  return residual(scope, name, x, options, (h) =>
    multiHeadAttention(scope.at(name), h, { ...attention, heads, init, outputInit: residualInit, dropout: rate }),
  );
}

function feedForwardLayer(scope: Scope, x: Value, options: TransformerOptions): Value {
  const { activation: kind = 'gelu', init = truncatedNormal(0.02), residualInit = init } = options;
  const hidden = scope.size(x, -1, 'hidden size');
  const inner = scope.at('feed_forward');
  return residual(scope, 'feed_forward', x, options, (h) => {
    const up = linear(inner.at('up'), h, { features: options.intermediate ?? 4 * hidden, init });
    return linear(inner.at('down'), activation(inner, up, kind), { features: hidden, init: residualInit });
  });
}

/** x + layer(norm(x)), or norm(x + layer(x)). */
function residual(scope: Scope, name: string, x: Value, options: TransformerOptions, layer: (x: Value) => Value): Value {
  const { norm = 'post', epsilon, dropout: rate = 0 } = options;
  const normalize = (value: Value) => layerNorm(scope.at(`${name}_norm`), value, { epsilon });
  const h = dropout(scope.at(`${name}_sum`), layer(norm === 'pre' ? normalize(x) : x), rate);
  const sum = scope.op('Add', [x, h], {}, { name: `${name}_sum` });
  return norm === 'pre' ? sum : normalize(sum);
}
