// MobileNetV2 (Sandler et al. 2018) and V3 (Howard et al. 2019) with a width multiplier. For pictures of up to 64 pixels the stem and the first block with a
// stride keep the size, so that 32x32 ends as 4x4. Input `image`, output `logits`.
import { z } from 'zod';
import type { Value } from '../../ir/graph.js';
import { type Activation, activation, dropout } from '../activation.js';
import { convNorm } from '../conv.js';
import { kaiming } from '../init.js';
import { invertedResidual, roundChannels } from '../inverted-residual.js';
import { linear } from '../linear.js';
import { globalAveragePool } from '../pool.js';
import type { Scope } from '../scope.js';
import { definePreset, field } from './preset.js';

/** Up to this size pictures are small ones. */
const SMALL = 64;

interface Block {
  readonly kernel: number;
  /** Channels after expansion: a factor of the input's (V2), or a number that the width scales (V3). */
  readonly expand: { readonly factor: number } | { readonly channels: number };
  readonly channels: number;
  readonly gate: boolean;
  readonly activation: Activation;
  readonly stride: number;
}

interface Layout {
  readonly stem: { readonly channels: number; readonly activation: Activation };
  readonly blocks: readonly Block[];
  /** Channels of the last convolution from the last block's and the width. */
  readonly last: (channels: number, width: number) => number;
  /** A dense layer before the classifier, 0 for none. */
  readonly dense: number;
  readonly activation: Activation;
  readonly norm: { readonly epsilon: number; readonly momentum: number };
}

/** Expansion, channels, repeats, stride of the first. */
const V2_STAGES = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

const V2: Layout = {
  stem: { channels: 32, activation: 'relu6' },
  blocks: V2_STAGES.flatMap(([factor, channels, repeats, stride]) =>
    Array.from(
      { length: repeats },
      (_, i): Block => ({ kernel: 3, expand: { factor }, channels, gate: false, activation: 'relu6', stride: i === 0 ? stride : 1 }),
    ),
  ),
  last: (_, width) => roundChannels(1280 * Math.max(1, width)),
  dense: 0,
  activation: 'relu6',
  norm: { epsilon: 1e-5, momentum: 0.9 },
};

/** Kernel, expanded channels, channels, gate, activation, stride. */
type V3Row = readonly [number, number, number, 0 | 1, 'relu' | 'hard-swish', number];

const V3_LARGE: readonly V3Row[] = [
  [3, 16, 16, 0, 'relu', 1],
  [3, 64, 24, 0, 'relu', 2],
  [3, 72, 24, 0, 'relu', 1],
  [5, 72, 40, 1, 'relu', 2],
  [5, 120, 40, 1, 'relu', 1],
  [5, 120, 40, 1, 'relu', 1],
  [3, 240, 80, 0, 'hard-swish', 2],
  [3, 200, 80, 0, 'hard-swish', 1],
  [3, 184, 80, 0, 'hard-swish', 1],
  [3, 184, 80, 0, 'hard-swish', 1],
  [3, 480, 112, 1, 'hard-swish', 1],
  [3, 672, 112, 1, 'hard-swish', 1],
  [5, 672, 160, 1, 'hard-swish', 2],
  [5, 960, 160, 1, 'hard-swish', 1],
  [5, 960, 160, 1, 'hard-swish', 1],
];

const V3_SMALL: readonly V3Row[] = [
  [3, 16, 16, 1, 'relu', 2],
  [3, 72, 24, 0, 'relu', 2],
  [3, 88, 24, 0, 'relu', 1],
  [5, 96, 40, 1, 'hard-swish', 2],
  [5, 240, 40, 1, 'hard-swish', 1],
  [5, 240, 40, 1, 'hard-swish', 1],
  [5, 120, 48, 1, 'hard-swish', 1],
  [5, 144, 48, 1, 'hard-swish', 1],
  [5, 288, 96, 1, 'hard-swish', 2],
  [5, 576, 96, 1, 'hard-swish', 1],
  [5, 576, 96, 1, 'hard-swish', 1],
];

function v3(rows: readonly V3Row[], dense: number): Layout {
  return {
    stem: { channels: 16, activation: 'hard-swish' },
    blocks: rows.map(([kernel, expanded, channels, gate, kind, stride]) => ({
      kernel,
      expand: { channels: expanded },
      channels,
      gate: gate === 1,
      activation: kind,
      stride,
    })),
    last: (channels) => 6 * channels,
    dense,
    activation: 'hard-swish',
    norm: { epsilon: 1e-3, momentum: 0.99 },
  };
}

const LAYOUTS = { v2: V2, 'v3-small': v3(V3_SMALL, 1024), 'v3-large': v3(V3_LARGE, 1280) };

function features(scope: Scope, image: Value, layout: Layout, width: number, small: boolean): Value {
  const { norm, stem } = layout;
  const scaled = (channels: number) => roundChannels(channels * width);
  let h = convNorm(scope.at('stem'), image, {
    channels: scaled(stem.channels),
    stride: small ? 1 : 2,
    activation: stem.activation,
    norm,
  });
  const firstStride = layout.blocks.findIndex((b) => b.stride > 1);
  layout.blocks.forEach((block, i) => {
    const { expand, channels, kernel, gate, activation: kind } = block;
    const inputs = scope.size(h, 1, 'number of channels');
    h = invertedResidual(scope.at('block', i), h, {
      channels: scaled(channels),
      hidden: 'factor' in expand ? inputs * expand.factor : scaled(expand.channels),
      kernel,
      stride: small && i === firstStride ? 1 : block.stride,
      activation: kind,
      squeezeExcite: gate,
      norm,
    });
  });
  const last = layout.last(scope.size(h, 1, 'number of channels'), width);
  return convNorm(scope.at('last'), h, { channels: last, kernel: 1, activation: layout.activation, norm });
}

export const mobilenet = definePreset({
  name: 'mobilenet',
  summary: 'MobileNetV2 or V3 with a width multiplier, for 224x224 or 32x32 pictures',
  parameters: 3_504_872,
  options: z.strictObject({
    classes: field.classes(1000),
    channels: field.channels(3),
    size: field.size(224),
    variant: z.enum(['v2', 'v3-small', 'v3-large']).default('v2').describe('V3 has squeeze-and-excitation and hard-swish'),
    width: z.number().positive().max(4).default(1).describe('factor of all channels'),
    dropout: field.dropout(0.2),
  }),
  build(scope, { classes, channels, size, variant, width, dropout: rate }) {
    const layout: Layout = LAYOUTS[variant];
    const image = scope.input('image', 'float', ['batch', channels, size, size]);
    let h = globalAveragePool(scope, features(scope, image, layout, width, size <= SMALL));
    if (layout.dense > 0) {
      const dense = scope.at('dense');
      h = activation(dense, linear(dense, h, { features: layout.dense, init: kaiming() }), layout.activation);
    }
    scope.output(linear(scope.at('classifier'), dropout(scope, h, rate), { features: classes }), 'logits');
  },
});
