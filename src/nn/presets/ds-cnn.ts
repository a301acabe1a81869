// DS-CNN, the keyword spotter of "Hello Edge" (Zhang et al. 2017) in the size of MLPerf Tiny: a 10x4 convolution over time and features, four
// depthwise-separable ones, a mean. Input `features` [batch, 1, frames, features] (10 cepstral coefficients of 49 frames, or log-mel bands), output `logits`.
// MLPerf's count of 23,756 trained parameters has 576 biases before batch normalization, where they do nothing; they are left out.
import { z } from 'zod';
import { dropout } from '../activation.js';
import { convNorm, depthwiseSeparable } from '../conv.js';
import { linear } from '../linear.js';
import { globalAveragePool } from '../pool.js';
import { definePreset, field } from './preset.js';

export const dsCnn = definePreset({
  name: 'ds-cnn',
  summary: 'depthwise-separable keyword spotter on 49 frames of 10 features',
  parameters: 23_180,
  options: z.strictObject({
    classes: field.classes(12),
    frames: field.count.default(49).describe('length of the input in time'),
    features: field.count.default(10).describe('features of each frame'),
    filters: field.count.default(64).describe('channels of every convolution'),
    layers: field.layers(4),
    dropout: field.dropout(0.2),
  }),
  build(scope, { classes, frames, features, filters, layers, dropout: rate }) {
    let h = scope.input('features', 'float', ['batch', 1, frames, features]);
    h = convNorm(scope.at('stem'), h, { channels: filters, kernel: [10, 4], stride: 2 });
    for (let i = 0; i < layers; i++) h = depthwiseSeparable(scope.at('block', i), h, { channels: filters });
    scope.output(linear(scope.at('fc'), dropout(scope, globalAveragePool(scope, h), rate), { features: classes }), 'logits');
  },
});
