// Residual networks for 32x32 pictures (He et al. 2015, section 4.2): 6n + 2 layers in three stages of 16, 32 and 64 channels.
// Shortcut A (the paper's for CIFAR) has no parameters; B projects, which structured pruning can cut through. Input `image`, output `logits`.
import { z } from 'zod';
import { convNorm } from '../conv.js';
import { linear } from '../linear.js';
import { globalAveragePool } from '../pool.js';
import { residualBlock } from '../residual.js';
import { definePreset, field, type Preset } from './preset.js';

const STAGES = 3;

function resnet(depth: number, parameters: number): Preset {
  const blocks = (depth - 2) / 6;
  return definePreset({
    name: `resnet${depth}`,
    summary: `residual network of ${depth} layers for 32x32 pictures`,
    parameters,
    options: z.strictObject({
      classes: field.classes(10),
      channels: field.channels(3),
      size: field.size(32),
      filters: field.count.default(16).describe('channels of the first stage'),
      shortcut: z.enum(['A', 'B']).default('A').describe('A: identity and zeros, B: 1x1 convolution'),
    }),
    build(scope, { classes, channels, size, filters, shortcut }) {
      const image = scope.input('image', 'float', ['batch', channels, size, size]);
      let h = convNorm(scope.at('stem'), image, { channels: filters });
      for (let stage = 0; stage < STAGES; stage++) {
        for (let block = 0; block < blocks; block++) {
          h = residualBlock(scope.at('stage', stage, block), h, {
            channels: filters * 2 ** stage,
            stride: stage > 0 && block === 0 ? 2 : 1,
            shortcut,
            gain: 1 / Math.sqrt(STAGES * blocks),
          });
        }
      }
      scope.output(linear(scope.at('fc'), globalAveragePool(scope, h), { features: classes }), 'logits');
    },
  });
}

export const resnet8 = resnet(8, 75_290);
export const resnet20 = resnet(20, 269_722);
export const resnet32 = resnet(32, 464_154);
export const resnet56 = resnet(56, 853_018);
