// Samples of normalizations: training outputs, statistics, forms of older opsets, scales that broadcast.
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const x = rand([2, 4, 3, 5]);
const c = rand([4]);
const positive = given('float', [4], [0.5, 1, 2, 3]);

const batch: OpSample[] = [
  { op: 'BatchNormalization', inputs: [x, c, c, c, positive] },
  { op: 'BatchNormalization', label: 'old', opset: 7, inputs: [x, c, c, c, positive] },
  {
    op: 'BatchNormalization',
    label: 'before types apart',
    opset: 9,
    inputs: [rand([3, 4]), c, c, c, positive],
    attributes: { momentum: 0.5 },
  },
  {
    op: 'BatchNormalization',
    label: 'per element',
    opset: 7,
    inputs: [rand([2, 4]), c, c, c, positive],
    attributes: { spatial: 0 },
  },
  {
    op: 'BatchNormalization',
    label: 'training',
    opset: 14,
    inputs: [x, c, c, c, positive],
    outputs: 3,
    attributes: { training_mode: 1 },
  },
  {
    op: 'BatchNormalization',
    label: 'training, newest',
    opset: 15,
    inputs: [x, c, c, c, positive],
    outputs: 3,
    attributes: { training_mode: 1 },
  },
  {
    op: 'BatchNormalization',
    label: 'double',
    inputs: [rand([2, 4], 'double'), ...[1, 2, 3, 4].map(() => given('double', [4], [1, 2, 3, 4]))],
  },
  {
    op: 'BatchNormalization',
    label: 'training outputs of old',
    opset: 9,
    inputs: [x, c, c, c, positive],
    outputs: 5,
  },
];

const layer: OpSample[] = [
  { op: 'LayerNormalization', inputs: [rand([2, 3, 4]), c, c] },
  { op: 'LayerNormalization', label: 'statistics', inputs: [rand([2, 3, 4]), c, c], outputs: 3 },
  { op: 'LayerNormalization', label: 'statistics, two axes', inputs: [rand([2, 3, 4]), rand([3, 4])], outputs: 3, attributes: { axis: 1 } },
  { op: 'LayerNormalization', label: 'double', inputs: [rand([2, 4], 'double'), rand([4], 'double')] },
  { op: 'LayerNormalization', label: 'inverse deviation only', inputs: [rand([2, 3, 4]), c, c], outputs: ['y', null, 'inv'] },
  { op: 'LayerNormalization', label: 'scale per row', inputs: [rand([2, 3, 4]), rand([3, 4]), rand([3, 1])], attributes: { axis: -1 } },
  { op: 'LayerNormalization', label: 'float16', inputs: [rand([2, 4], 'float16'), rand([4], 'float16')], outputs: 2 },
  { op: 'RMSNormalization', opset: 23, inputs: [rand([2, 3, 4]), c] },
  { op: 'RMSNormalization', label: 'two axes', opset: 23, inputs: [rand([2, 3, 4]), rand([3, 4])], attributes: { axis: 1 } },
  { op: 'SimplifiedLayerNormalization', inputs: [rand([2, 3, 4]), c], attributes: { axis: -1, stash_type: 1 } },
  { op: 'SimplifiedLayerNormalization', label: 'statistics', inputs: [rand([2, 3, 4]), c], outputs: 2, attributes: { axis: -1 } },
];

const others: OpSample[] = [
  { op: 'InstanceNormalization', inputs: [x, c, c] },
  { op: 'InstanceNormalization', label: 'one dimension', opset: 6, inputs: [rand([2, 4, 7]), c, c] },
  { op: 'InstanceNormalization', label: 'newest', opset: 22, inputs: [x, c, c] },
  { op: 'GroupNormalization', label: 'scale per group', opset: 18, inputs: [x, rand([2]), rand([2])], attributes: { num_groups: 2 } },
  { op: 'GroupNormalization', label: 'scale per channel', opset: 21, inputs: [x, c, c], attributes: { num_groups: 2 } },
  { op: 'GroupNormalization', label: 'one channel a group', opset: 21, inputs: [x, c, c], attributes: { num_groups: 4 } },
  { op: 'LRN', inputs: [x], attributes: { size: 3 } },
  { op: 'LRN', label: 'old', opset: 7, inputs: [x], attributes: { size: 5, alpha: 0.001 } },
  { op: 'LpNormalization', inputs: [rand([2, 3, 4])] },
  { op: 'LpNormalization', label: 'p 1', opset: 22, inputs: [rand([2, 3, 4])], attributes: { p: 1, axis: 1 } },
  { op: 'MeanVarianceNormalization', inputs: [x] },
  { op: 'MeanVarianceNormalization', label: 'axes', opset: 9, inputs: [x], attributes: { axes: [0, 1, 2, 3] } },
  { op: 'MeanVarianceNormalization', label: 'negative axes', inputs: [x], attributes: { axes: [-1, -2] } },
];

const dropout: OpSample[] = [
  { op: 'Dropout', inputs: [x] },
  { op: 'Dropout', label: 'mask', inputs: [x, scalar(0.5, 'float')], outputs: 2 },
  { op: 'Dropout', label: 'training', inputs: [x, scalar(0.5, 'float'), scalar(1, 'bool')], outputs: 2, nondeterministic: true },
  { op: 'Dropout', label: 'old', opset: 7, inputs: [x], attributes: { ratio: 0.25 } },
  { op: 'Dropout', label: 'bool mask', opset: 10, inputs: [x], outputs: 2 },
  { op: 'Dropout', label: 'float mask', opset: 7, inputs: [x], outputs: 2 },
  { op: 'Dropout', label: 'newest', opset: 22, inputs: [rand([3], 'double')], outputs: 2 },
];

export const SAMPLES: readonly OpSample[] = [...batch, ...layer, ...others, ...dropout];
