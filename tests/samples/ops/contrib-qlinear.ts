// Samples of the 8-bit operators of com.microsoft, its quantization operators, tables of few bits and the 8-bit LSTM.
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const domain = 'com.microsoft';
const scale = scalar(0.1, 'float');
const zero = scalar(3, 'uint8');
const u8 = (...dims: number[]) => rand(dims, 'uint8');
const fixed = (dims: readonly number[], dtype: 'int8' | 'uint8' | 'int4' | 'uint4' | 'float') => ({ ...rand(dims, dtype), constant: true });

const elementwise: OpSample[] = ['QLinearAdd', 'QLinearMul'].flatMap((op): OpSample[] => [
  { op, domain, inputs: [u8(2, 3), scale, zero, u8(2, 3), scale, zero, scale, zero] },
  { op, domain, label: 'broadcast', inputs: [u8(4, 1, 3), scale, zero, u8(2, 1), scale, zero, scale, zero] },
  {
    op,
    domain,
    label: 'signed, no zero point of the result',
    inputs: [rand([3], 'int8'), scale, scalar(0, 'int8'), rand([3], 'int8'), scale, scalar(0, 'int8'), scale],
  },
]);

const functions: OpSample[] = [
  { op: 'QLinearSigmoid', domain, inputs: [u8(2, 3), scale, zero, scale, zero] },
  { op: 'QLinearLeakyRelu', domain, inputs: [u8(2, 3), scale, zero, scale, zero], attributes: { alpha: 0.1 } },
  { op: 'QLinearSoftmax', domain, inputs: [u8(2, 3), scale, zero, scale, zero], attributes: { opset: 13, axis: -1 } },
  { op: 'QLinearSoftmax', domain, label: 'flattened', inputs: [u8(2, 3, 2), scale, zero, scale, zero], attributes: { opset: 11, axis: 1 } },
  {
    op: 'QLinearReduceMean',
    domain,
    inputs: [u8(2, 3, 4), scale, zero, scale, zero],
    attributes: { axes: [1, 2], keepdims: 1 },
    noKernel: 'no kernel',
    expect: ['uint8[2,1,1]'],
  },
  {
    op: 'QLinearReduceMean',
    domain,
    label: 'dropped',
    inputs: [u8(2, 3, 4), scale, zero, scale, zero],
    attributes: { axes: [-1], keepdims: 0 },
    noKernel: 'no kernel',
    expect: ['uint8[2,3]'],
  },
  {
    op: 'QLinearAveragePool',
    domain,
    inputs: [u8(1, 3, 6, 5), scale, zero, scale, zero],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 },
  },
  {
    op: 'QLinearAveragePool',
    domain,
    label: 'channels last',
    inputs: [u8(1, 6, 5, 3), scale, zero, scale, zero],
    attributes: { kernel_shape: [2, 2], pads: [1, 1, 0, 0], channels_last: 1 },
  },
  { op: 'QLinearGlobalAveragePool', domain, inputs: [u8(1, 3, 6, 5), scale, zero, scale, zero] },
  {
    op: 'QLinearGlobalAveragePool',
    domain,
    label: 'channels last',
    inputs: [u8(1, 6, 5, 3), scale, zero, scale, zero],
    attributes: { channels_last: 1 },
  },
  {
    op: 'QLinearWhere',
    domain,
    inputs: [rand([2, 1], 'bool'), { ...u8(2, 3), constant: true }, scale, zero, { ...u8(3), constant: true }, scale, zero, scale, zero],
  },
  { op: 'MulInteger', domain, inputs: [u8(2, 3), zero, u8(3), zero], noKernel: 'no kernel', expect: ['int32[2,3]'] },
  { op: 'QLinearConcat', domain, inputs: [scale, zero, u8(2, 3), scale, zero, u8(2, 2), scale, zero], attributes: { axis: 1 } },
  {
    op: 'QLinearConcat',
    domain,
    label: 'three, negative axis',
    inputs: [scale, zero, u8(1, 3), scale, zero, u8(2, 3), scale, zero, u8(4, 3), scale, zero],
    attributes: { axis: -2 },
  },
];

const conversions: OpSample[] = [
  { op: 'QuantizeLinear', domain, inputs: [rand([2, 3]), scale, zero] },
  { op: 'QuantizeLinear', domain, label: 'uint16', inputs: [rand([2, 3]), scale, scalar(9, 'uint16')] },
  {
    op: 'QuantizeLinear',
    domain,
    label: 'per axis',
    inputs: [rand([2, 3]), rand([3]), given('int8', [3], [0, 0, 0])],
    attributes: { axis: 1 },
  },
  { op: 'QuantizeLinear', domain, label: 'no zero point', inputs: [rand([2, 3]), scale] },
  { op: 'DequantizeLinear', domain, inputs: [u8(2, 3), scale, zero] },
  { op: 'DequantizeLinear', domain, label: 'int16', inputs: [rand([2, 3], 'int16'), scale, scalar(0, 'int16')] },
  {
    op: 'DequantizeLinear',
    domain,
    label: 'per axis',
    inputs: [rand([2, 3], 'int8'), rand([2]), given('int8', [2], [0, 0])],
    attributes: { axis: 0 },
  },
  { op: 'DequantizeLinear', domain, label: 'int4', inputs: [fixed([2, 3], 'int4'), scale, { ...scalar(0, 'int4') }] },
];

const tables: OpSample[] = [
  {
    op: 'GatherBlockQuantized',
    domain,
    inputs: [fixed([5, 32], 'uint4'), given('int64', [2, 3], [0, 1, 2, 3, 4, 0]), fixed([5, 2], 'float')],
    attributes: { block_size: 16, gather_axis: 0, quantize_axis: 1 },
  },
  {
    op: 'GatherBlockQuantized',
    domain,
    label: 'zero points, other axes',
    inputs: [fixed([16, 5], 'int4'), given('int32', [2], [4, 1]), fixed([1, 5], 'float'), fixed([1, 5], 'int4')],
    attributes: { block_size: 16, gather_axis: 1, quantize_axis: 0 },
  },
  {
    op: 'GatherBlockQuantized',
    domain,
    label: 'two values a byte',
    inputs: [fixed([5, 16], 'uint8'), given('int64', [2], [0, 4]), fixed([5, 1], 'float')],
    attributes: { block_size: 32, gather_axis: 0, quantize_axis: 1, bits: 4 },
  },
  {
    op: 'GatherBlockQuantized',
    domain,
    label: '8 bits, scalar index',
    inputs: [fixed([5, 32], 'uint8'), given('int64', [], [2]), fixed([5, 2], 'float')],
    attributes: { block_size: 16, gather_axis: 0, quantize_axis: 1, bits: 8 },
  },
];

const lstm: OpSample[] = [
  {
    op: 'DynamicQuantizeLSTM',
    domain,
    inputs: [
      rand([3, 2, 4]),
      fixed([1, 4, 20], 'int8'),
      fixed([1, 5, 20], 'int8'),
      rand([1, 40]),
      null,
      null,
      null,
      null,
      given('float', [1], [0.1]),
      given('int8', [1], [0]),
      given('float', [1], [0.1]),
      given('int8', [1], [0]),
    ],
    outputs: 3,
    attributes: { hidden_size: 5 },
  },
  {
    op: 'DynamicQuantizeLSTM',
    domain,
    label: 'both directions, per column, states',
    inputs: [
      rand([3, 2, 4]),
      fixed([2, 4, 12], 'int8'),
      fixed([2, 3, 12], 'int8'),
      null,
      null,
      rand([2, 2, 3]),
      rand([2, 2, 3]),
      null,
      fixed([2, 12], 'float'),
      { ...given('int8', [2, 12], new Array(24).fill(0)), constant: true },
      fixed([2, 12], 'float'),
      { ...given('int8', [2, 12], new Array(24).fill(0)), constant: true },
    ],
    outputs: ['y', 'h', 'c'],
    attributes: { hidden_size: 3, direction: 'bidirectional' },
  },
];

export const SAMPLES: readonly OpSample[] = [...elementwise, ...functions, ...conversions, ...tables, ...lstm];
