// Samples of convolutions: one to three dimensions, groups, strides, dilations, every way of padding, omitted bias, 8-bit forms.
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const x = rand([2, 4, 7, 6]);
const w = rand([6, 4, 3, 3]);
const q = (dims: readonly number[], dtype: 'uint8' | 'int8' = 'uint8') => rand(dims, dtype);
const scale = (v = 0.05) => scalar(v, 'float');
const zero = (dtype: 'uint8' | 'int8' = 'uint8', v = 0) => scalar(v, dtype);

const conv: OpSample[] = [
  { op: 'Conv', label: 'bias', inputs: [x, w, rand([6])] },
  { op: 'Conv', label: 'oldest form', opset: 7, inputs: [x, w], attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] } },
  { op: 'Conv', label: 'newest form', opset: 22, inputs: [x, w], attributes: { pads: [1, 0, 2, 1] } },
  { op: 'Conv', label: 'strides', inputs: [x, w], attributes: { strides: [2, 3], pads: [1, 1, 1, 1] } },
  { op: 'Conv', label: 'dilations', inputs: [x, w], attributes: { dilations: [2, 2], pads: [2, 2, 2, 2] } },
  { op: 'Conv', label: 'groups', inputs: [x, rand([6, 2, 3, 3]), rand([6])], attributes: { group: 2 } },
  { op: 'Conv', label: 'depthwise', inputs: [x, rand([4, 1, 3, 3])], attributes: { group: 4, strides: [2, 2] } },
  { op: 'Conv', label: 'depthwise, two outputs a channel', inputs: [x, rand([8, 1, 3, 3]), rand([8])], attributes: { group: 4 } },
  {
    op: 'Conv',
    label: 'depthwise, many samples of small maps',
    inputs: [rand([7, 3, 5, 4]), rand([3, 1, 2, 3])],
    attributes: { group: 3, pads: [1, 0, 0, 2], strides: [2, 1], dilations: [1, 2] },
  },
  {
    op: 'Conv',
    label: 'depthwise, larger maps',
    inputs: [rand([2, 3, 12, 9]), rand([3, 1, 3, 2])],
    attributes: { group: 3, pads: [1, 0, 2, 1], dilations: [2, 1] },
  },
  {
    op: 'Conv',
    label: 'depthwise, larger maps, strides',
    inputs: [rand([2, 2, 17, 16]), rand([2, 1, 3, 3])],
    attributes: { group: 2, pads: [1, 1, 0, 1], strides: [2, 1] },
  },
  {
    op: 'Conv',
    label: 'depthwise, wide maps',
    inputs: [rand([2, 2, 3, 70]), rand([2, 1, 3, 3])],
    attributes: { group: 2, pads: [1, 1, 1, 1] },
  },
  {
    op: 'Conv',
    label: 'depthwise, long, strides and dilations',
    inputs: [rand([2, 2, 130]), rand([2, 1, 3])],
    attributes: { group: 2, pads: [1, 1], strides: [2], dilations: [2] },
  },
  { op: 'Conv', label: 'one output a group', inputs: [x, rand([2, 2, 1, 1])], attributes: { group: 2 } },
  ...['SAME_UPPER', 'SAME_LOWER', 'VALID', 'NOTSET'].map(
    (auto_pad): OpSample => ({ op: 'Conv', label: auto_pad, inputs: [x, w], attributes: { auto_pad, strides: [2, 2] } }),
  ),
  { op: 'Conv', label: 'SAME_UPPER, even kernel', inputs: [x, rand([1, 4, 2, 4])], attributes: { auto_pad: 'SAME_UPPER' } },
  { op: 'Conv', label: 'one dimension', inputs: [rand([1, 3, 9]), rand([5, 3, 4])], attributes: { strides: [2], pads: [1, 2] } },
  {
    op: 'Conv',
    label: 'three dimensions',
    inputs: [rand([1, 2, 4, 5, 6]), rand([3, 2, 2, 3, 2])],
    attributes: { pads: [0, 1, 0, 1, 1, 0] },
  },
  { op: 'Conv', label: 'empty batch', inputs: [rand([0, 4, 7, 6]), w] },
];

const transposed: OpSample[] = [
  { op: 'ConvTranspose', inputs: [x, rand([4, 3, 3, 3]), rand([3])] },
  { op: 'ConvTranspose', label: 'newest form', opset: 22, inputs: [x, rand([4, 3, 3, 3])] },
  { op: 'ConvTranspose', label: 'strides and pads', inputs: [x, rand([4, 3, 3, 3])], attributes: { strides: [2, 3], pads: [1, 0, 1, 1] } },
  {
    op: 'ConvTranspose',
    label: 'output_padding',
    opset: 7,
    inputs: [x, rand([4, 3, 3, 3])],
    attributes: { strides: [2, 2], output_padding: [1, 1], pads: [1, 1, 1, 1] },
  },
  { op: 'ConvTranspose', label: 'output_shape', inputs: [x, rand([4, 3, 3, 3])], attributes: { strides: [2, 2], output_shape: [15, 12] } },
  { op: 'ConvTranspose', label: 'groups', inputs: [x, rand([4, 3, 2, 2]), rand([6])], attributes: { group: 2 } },
  { op: 'ConvTranspose', label: 'depthwise', inputs: [x, rand([4, 1, 2, 2])], attributes: { group: 4, strides: [2, 2] } },
  { op: 'ConvTranspose', label: 'dilations', inputs: [x, rand([4, 3, 3, 2])], attributes: { dilations: [2, 3] } },
  { op: 'ConvTranspose', label: 'SAME_UPPER', inputs: [x, rand([4, 3, 3, 3])], attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] } },
  { op: 'ConvTranspose', label: 'SAME_LOWER', inputs: [x, rand([4, 3, 3, 3])], attributes: { auto_pad: 'SAME_LOWER', strides: [2, 2] } },
  { op: 'ConvTranspose', label: 'VALID', inputs: [x, rand([4, 3, 3, 3])], attributes: { auto_pad: 'VALID', strides: [2, 2] } },
  { op: 'ConvTranspose', label: 'one dimension', inputs: [rand([1, 2, 5]), rand([2, 3, 4])], attributes: { strides: [3] } },
  { op: 'ConvTranspose', label: 'three dimensions', inputs: [rand([1, 2, 3, 2, 2]), rand([2, 1, 2, 2, 3])] },
];

const deformable: OpSample[] = [
  { op: 'DeformConv', inputs: [rand([1, 4, 5, 5]), rand([3, 4, 2, 2]), rand([1, 8, 4, 4])] },
  {
    op: 'DeformConv',
    label: 'bias, mask, groups',
    inputs: [rand([1, 4, 5, 5]), rand([6, 2, 3, 3]), rand([1, 36, 5, 5]), rand([6]), rand([1, 18, 5, 5])],
    attributes: { group: 2, offset_group: 2, pads: [1, 1, 1, 1] },
  },
  {
    op: 'DeformConv',
    label: 'newest form',
    opset: 22,
    inputs: [rand([1, 2, 6, 5]), rand([3, 2, 2, 2]), rand([1, 8, 3, 4]), null, rand([1, 4, 3, 4])],
    attributes: { strides: [2, 1] },
  },
];

const integer: OpSample[] = [
  { op: 'ConvInteger', inputs: [q([1, 2, 5, 5]), q([3, 2, 3, 3])] },
  { op: 'ConvInteger', label: 'zero points', inputs: [q([1, 2, 5, 5]), q([3, 2, 3, 3]), zero('uint8', 3), zero('uint8', 2)] },
  { op: 'ConvInteger', label: 'padded', inputs: [q([1, 2, 5, 5]), q([3, 2, 3, 3]), zero('uint8', 3)], attributes: { pads: [1, 1, 1, 1] } },
  {
    op: 'QLinearConv',
    inputs: [q([1, 2, 5, 5]), scale(), zero('uint8', 3), q([4, 2, 3, 3]), scale(), zero(), scale(), zero()],
  },
  {
    op: 'QLinearConv',
    label: 'per channel, bias',
    inputs: [
      q([1, 2, 5, 5], 'int8'),
      scale(),
      zero('int8'),
      { ...q([4, 2, 3, 3], 'int8'), constant: true },
      { ...given('float', [4], [0.1, 0.2, 0.3, 0.4]), constant: true },
      { ...given('int8', [4], [0, 0, 0, 0]), constant: true },
      scale(0.2),
      zero('int8'),
      { ...rand([4], 'int32'), constant: true },
    ],
    attributes: { strides: [2, 2], pads: [1, 1, 1, 1] },
  },
  {
    op: 'QLinearConv',
    label: 'groups',
    inputs: [q([1, 4, 5, 5]), scale(), zero(), q([4, 2, 3, 3], 'int8'), scale(), zero('int8'), scale(), zero('uint8', 100)],
    attributes: { group: 2 },
  },
];

const causal: OpSample[] = [
  {
    op: 'CausalConvWithState',
    opset: 27,
    inputs: [rand([2, 3, 6]), rand([3, 1, 4]), rand([3]), rand([2, 3, 3])],
    outputs: 2,
    noKernel: 'opset 27',
    expect: ['float[2,3,6]', 'float[2,3,3]'],
  },
  {
    op: 'CausalConvWithState',
    label: 'without state',
    opset: 27,
    inputs: [rand([2, 3, 6]), rand([3, 1, 4])],
    outputs: 2,
    noKernel: 'opset 27',
    expect: ['float[2,3,6]', 'float[2,3,3]'],
  },
];

export const SAMPLES: readonly OpSample[] = [...conv, ...transposed, ...deformable, ...integer, ...causal];
