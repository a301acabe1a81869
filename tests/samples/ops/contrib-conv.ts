// Samples of the convolutions and pools of com.microsoft.
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const domain = 'com.microsoft';
const x = rand([1, 4, 6, 5]);
const scale = scalar(0.1, 'float');
const pads = [1, 1, 1, 1];

export const SAMPLES: readonly OpSample[] = [
  { op: 'FusedConv', domain, inputs: [x, rand([3, 4, 3, 3]), rand([3])], attributes: { activation: 'Relu' } },
  {
    op: 'FusedConv',
    domain,
    label: 'added tensor',
    inputs: [x, rand([3, 4, 3, 3]), rand([3]), rand([1, 3, 6, 5])],
    attributes: { activation: 'Relu', pads },
  },
  {
    op: 'FusedConv',
    domain,
    label: 'depthwise, parameters',
    inputs: [x, rand([4, 1, 3, 3])],
    attributes: { activation: 'LeakyRelu', activation_params: { type: 'floats', value: [0.1] }, group: 4, strides: [2, 2] },
  },
  {
    op: 'NhwcFusedConv',
    domain,
    inputs: [rand([1, 6, 5, 4], 'float16'), rand([3, 4, 3, 3], 'float16')],
    noKernel: 'no kernel in builds without half-precision convolutions',
    expect: ['float16[1,4,3,3]'],
  },
  { op: 'NhwcConv', domain, inputs: [rand([1, 6, 5, 4]), rand([3, 4, 3, 3])], noKernel: 'GPU only', expect: ['float[1,4,3,3]'] },
  {
    op: 'QLinearConv',
    domain,
    inputs: [
      rand([1, 5, 5, 2], 'uint8'),
      scale,
      scalar(3, 'uint8'),
      rand([4, 2, 3, 3], 'uint8'),
      scale,
      scalar(0, 'uint8'),
      scale,
      scalar(0, 'uint8'),
    ],
    attributes: { channels_last: 1 },
  },
  {
    op: 'QLinearConv',
    domain,
    label: 'channels second, per channel',
    inputs: [
      rand([1, 2, 5, 5], 'uint8'),
      scale,
      scalar(3, 'uint8'),
      { ...rand([4, 2, 3, 3], 'int8'), constant: true },
      { ...given('float', [4], [0.1, 0.2, 0.3, 0.4]), constant: true },
      { ...given('int8', [4], [0, 0, 0, 0]), constant: true },
      scale,
      scalar(0, 'uint8'),
      { ...rand([4], 'int32'), constant: true },
    ],
    attributes: { strides: [2, 2] },
  },
  { op: 'NhwcMaxPool', domain, inputs: [rand([1, 6, 5, 3], 'uint8')], attributes: { kernel_shape: [2, 2], strides: [2, 2] } },
  {
    op: 'NhwcMaxPool',
    domain,
    label: 'ceil_mode',
    inputs: [rand([1, 6, 5, 3], 'int8')],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 },
  },
];
