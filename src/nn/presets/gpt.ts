// A small decoder-only language model in the manner of GPT-2 (Radford et al. 2019): blocks normalized before each layer, learned positions, tied output.
// Layers that write into the residual sums start smaller by sqrt(2 layers). Input `input_ids` int64 [batch, sequence], output `logits` [batch, sequence, vocabulary].
import { z } from 'zod';
import { dropout } from '../activation.js';
import { causalMask } from '../attention.js';
import { embedding, positions as positionsOf, tiedOutput } from '../embedding.js';
import { normal } from '../init.js';
import { linear } from '../linear.js';
import { layerNorm } from '../norm.js';
import { decoderBlock } from '../transformer.js';
import { definePreset, field } from './preset.js';

export const gptNano = definePreset({
  name: 'gpt-nano',
  summary: 'GPT-2 style language model of 6 layers and hidden size 192, for characters',
  parameters: 2_706_624,
  options: z.strictObject({
    layers: field.layers(6),
    hidden: field.hidden(192),
    heads: field.heads(6),
    intermediate: field.intermediate(),
    vocabulary: field.vocabulary(65),
    positions: field.positions(128),
    dropout: field.dropout(0),
    tied: z.boolean().default(true).describe('the output layer shares the table of the input'),
  }),
  build(scope, { layers, hidden, heads, intermediate, vocabulary, positions, dropout: rate, tied }) {
    const ids = scope.input('input_ids', 'int64', ['batch', 'sequence']);
    const init = normal(0.02);
    const residualInit = normal(0.02 / Math.sqrt(2 * layers));
    const order = positionsOf(scope.at('positions'), ids);
    const words = embedding(scope.at('word_embeddings'), ids, { size: vocabulary, features: hidden, init });
    const places = embedding(scope.at('position_embeddings'), order, { size: positions, features: hidden, init });
    let h = dropout(scope.at('embeddings'), scope.op('Add', [words.output, places.output], {}, { name: 'embeddings' }), rate);
    const mask = causalMask(scope.at('mask'), order);
    for (let i = 0; i < layers; i++) {
      h = decoderBlock(scope.at('layer', i), h, { heads, intermediate, norm: 'pre', mask, dropout: rate, fused: true, init, residualInit });
    }
    h = layerNorm(scope.at('norm'), h);
    const head = scope.at('head');
    scope.output(tied ? tiedOutput(head, h, words.table) : linear(head, h, { features: vocabulary, bias: false, init }), 'logits');
  },
});
