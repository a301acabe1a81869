// Samples of the fused normalizations and activations of com.microsoft.
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const domain = 'com.microsoft';
const x = rand([2, 3, 8]);
const h = rand([8]);
const ids = given('int32', [2, 3], [0, 1, 2, 3, 4, 5]);
const table = rand([6, 8]);
const byte = (dims: readonly number[]) => rand(dims, 'uint8');
const scale = scalar(0.1, 'float');
const zero = scalar(0, 'uint8');

export const SAMPLES: readonly OpSample[] = [
  { op: 'SkipLayerNormalization', domain, inputs: [x, x, h, h] },
  { op: 'SkipLayerNormalization', domain, label: 'bias and sum', inputs: [x, x, h, h, h], outputs: ['y', null, null, 'sum'] },
  { op: 'SkipLayerNormalization', domain, label: 'skip for all sequences', inputs: [x, rand([3, 8]), h] },
  { op: 'SkipLayerNormalization', domain, label: 'skip with batch 1', inputs: [x, rand([1, 3, 8]), h] },
  {
    op: 'SkipLayerNormalization',
    domain,
    label: 'statistics',
    inputs: [x, x, h],
    outputs: 3,
  },
  { op: 'SkipSimplifiedLayerNormalization', domain, inputs: [x, x, h] },
  { op: 'SkipSimplifiedLayerNormalization', domain, label: 'bias and sum', inputs: [x, x, h, h], outputs: ['y', null, null, 'sum'] },
  { op: 'SkipSimplifiedLayerNormalization', domain, label: 'tokens', inputs: [rand([5, 8]), rand([5, 8]), h] },
  { op: 'EmbedLayerNormalization', domain, inputs: [ids, ids, table, table, table, h, h], outputs: 2 },
  {
    op: 'EmbedLayerNormalization',
    domain,
    label: 'mask, sum, no segments',
    inputs: [ids, null, table, table, null, h, h, given('int32', [2, 3], [1, 1, 0, 1, 1, 1])],
    outputs: 3,
    attributes: { mask_index_type: 1 },
  },
  {
    op: 'QEmbedLayerNormalization',
    domain,
    inputs: [
      ids,
      ids,
      byte([6, 8]),
      byte([6, 8]),
      byte([6, 8]),
      byte([8]),
      byte([8]),
      null,
      scale,
      scale,
      scale,
      scale,
      scale,
      zero,
      zero,
      zero,
      zero,
      zero,
    ],
    outputs: 2,
  },
  {
    op: 'GroupNorm',
    domain,
    inputs: [rand([1, 4, 4, 8]), h, h],
    attributes: { groups: 2, activation: 0 },
    noKernel: 'GPU only',
    expect: ['float[1,4,4,8]'],
  },
  {
    op: 'SkipGroupNorm',
    domain,
    inputs: [rand([1, 4, 4, 8]), h, h, rand([1, 8]), h],
    outputs: 2,
    attributes: { groups: 2, activation: 1 },
    noKernel: 'GPU only',
    expect: ['float[1,4,4,8]', 'float[1,4,4,8]'],
  },
  { op: 'BiasGelu', domain, inputs: [x, h] },
  { op: 'FastGelu', domain, inputs: [x] },
  { op: 'FastGelu', domain, label: 'bias', inputs: [x, h] },
  { op: 'Gelu', domain, inputs: [x] },
  { op: 'QuickGelu', domain, inputs: [x], attributes: { alpha: 1.5 } },
  { op: 'BiasSplitGelu', domain, inputs: [x, h], noKernel: 'GPU only', expect: ['float[2,3,4]'] },
  { op: 'BiasAdd', domain, inputs: [x, h, x], noKernel: 'GPU only', expect: ['float[2,3,8]'] },
  {
    op: 'BiasSoftmax',
    domain,
    inputs: [x, rand([1, 3, 8])],
    attributes: { axis: 2, is_inner_broadcast: 0 },
    noKernel: 'GPU only',
    expect: ['float[2,3,8]'],
  },
  { op: 'BiasDropout', domain, inputs: [x, h, x], outputs: 2, noKernel: 'training on GPU only', expect: ['float[2,3,8]', 'bool[2,3,8]'] },
];
