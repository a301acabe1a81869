// BERT encoders with a classifier on the first token (Devlin et al. 2018), in the small sizes of Turc et al. 2019. Inputs `input_ids`, `attention_mask` and,
// with token types, `token_type_ids`, all int64 [batch, sequence]; output `logits` [batch, classes].
import { z } from 'zod';
import { activation, dropout } from '../activation.js';
import { paddingMask } from '../attention.js';
import { embedding, positions as positionsOf } from '../embedding.js';
import { truncatedNormal } from '../init.js';
import { linear } from '../linear.js';
import { layerNorm } from '../norm.js';
import { encoderBlock } from '../transformer.js';
import { definePreset, field, type Preset } from './preset.js';

const EPSILON = 1e-12;

function bert(name: string, layers: number, hidden: number, heads: number, parameters: number): Preset {
  return definePreset({
    name,
    summary: `BERT classifier of ${layers} layers and hidden size ${hidden}`,
    parameters,
    options: z.strictObject({
      classes: field.classes(2),
      layers: field.layers(layers),
      hidden: field.hidden(hidden),
      heads: field.heads(heads),
      intermediate: field.intermediate(),
      vocabulary: field.vocabulary(30_522),
      positions: field.positions(512),
      tokenTypes: z.int().min(0).default(2).describe('kinds of segments; 0 leaves out the input token_type_ids'),
      dropout: field.dropout(0.1),
    }),
    build(scope, options) {
      const { dropout: rate, hidden: features } = options;
      const init = truncatedNormal(0.02);
      const tokens = ['batch', 'sequence'] as const;
      const ids = scope.input('input_ids', 'int64', tokens);
      const attentionMask = scope.input('attention_mask', 'int64', tokens);
      const parts = scope.at('embeddings');
      const order = positionsOf(parts.at('positions'), ids);
      const words = embedding(parts.at('word_embeddings'), ids, { size: options.vocabulary, features, init });
      const places = embedding(parts.at('position_embeddings'), order, { size: options.positions, features, init });
      let h = parts.op('Add', [words.output, places.output]);
      if (options.tokenTypes > 0) {
        const types = scope.input('token_type_ids', 'int64', tokens);
        h = parts.op('Add', [h, embedding(parts.at('token_type_embeddings'), types, { size: options.tokenTypes, features, init }).output]);
      }
      h = dropout(parts, layerNorm(parts.at('norm'), h, { epsilon: EPSILON }), rate);
      const mask = paddingMask(scope.at('mask'), attentionMask);
      for (let i = 0; i < options.layers; i++) {
        const { heads: count, intermediate } = options;
        h = encoderBlock(scope.at('layer', i), h, { heads: count, intermediate, mask, dropout: rate, epsilon: EPSILON, init });
      }
      const pooler = scope.at('pooler');
      const first = pooler.op('Gather', [h, pooler.int(0)], { axis: 1 }, { name: 'first' });
      const pooled = activation(pooler, linear(pooler, first, { features, init }), 'tanh');
      const classifier = scope.at('classifier');
      scope.output(linear(classifier, dropout(classifier, pooled, rate), { features: options.classes, init }), 'logits');
    },
  });
}

export const bertTiny = bert('bert-tiny', 2, 128, 2, 4_386_178);
export const bertMini = bert('bert-mini', 4, 256, 4, 11_171_074);
