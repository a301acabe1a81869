// Samples of quantization: per tensor, per axis, in blocks; 8, 16 and 4 bits; types from the zero point or output_dtype.
import { DTYPES, type DType } from '../../../src/ir/dtype.js';
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const x = rand([2, 3, 4]);
const scale = scalar(0.1, 'float');
const scales3 = given('float', [3], [0.1, 0.2, 0.3]);
const code = (dtype: DType) => DTYPES[dtype].code;

const quantize: OpSample[] = [
  { op: 'QuantizeLinear', inputs: [x, scale] },
  { op: 'QuantizeLinear', label: 'uint8', opset: 10, inputs: [x, scale, scalar(3, 'uint8')] },
  { op: 'QuantizeLinear', label: 'int8', opset: 13, inputs: [x, scale, scalar(3, 'int8')] },
  { op: 'QuantizeLinear', label: 'per axis', opset: 13, inputs: [x, scales3, given('int8', [3], [0, 1, 2])] },
  {
    op: 'QuantizeLinear',
    label: 'per axis, negative',
    opset: 13,
    inputs: [rand([2, 3]), scales3, given('uint8', [3], [0, 1, 2])],
    attributes: { axis: -1 },
  },
  { op: 'QuantizeLinear', label: 'one element', opset: 19, inputs: [x, given('float', [1], [0.1]), given('int8', [1], [0])] },
  { op: 'QuantizeLinear', label: 'uint16', opset: 21, inputs: [x, scale, scalar(3, 'uint16')] },
  { op: 'QuantizeLinear', label: 'output_dtype', opset: 21, inputs: [x, scale], attributes: { output_dtype: code('int16') } },
  { op: 'QuantizeLinear', label: 'newest', opset: 25, inputs: [x, scale], attributes: { output_dtype: code('int8') } },
  {
    op: 'QuantizeLinear',
    label: 'float16',
    opset: 21,
    inputs: [rand([4], 'float16'), scalar(0.1, 'float16')],
    attributes: { output_dtype: code('int8') },
  },
  {
    op: 'QuantizeLinear',
    label: 'blocks',
    opset: 21,
    inputs: [
      rand([2, 8]),
      { ...given('float', [2, 2], [0.1, 0.2, 0.3, 0.4]), constant: true },
      { ...given('int8', [2, 2], [0, 0, 0, 0]), constant: true },
    ],
    attributes: { axis: 1, block_size: 4 },
  },
  {
    op: 'QuantizeLinear',
    label: 'int4',
    opset: 21,
    inputs: [rand([2, 8]), scale, scalar(0, 'int4')],
  },
  {
    op: 'QuantizeLinear',
    label: 'float8',
    opset: 19,
    inputs: [x, scale, null],
    attributes: { output_dtype: code('float8e4m3fn') },
    noKernel: 'no float8 in this runtime',
    expect: ['float8e4m3fn[2,3,4]'],
  },
];

const dequantize: OpSample[] = [
  { op: 'DequantizeLinear', inputs: [rand([2, 3], 'uint8'), scale] },
  { op: 'DequantizeLinear', label: 'oldest', opset: 10, inputs: [rand([2, 3], 'int8'), scale, scalar(0, 'int8')] },
  { op: 'DequantizeLinear', label: 'int32', opset: 10, inputs: [rand([3], 'int32'), scale] },
  { op: 'DequantizeLinear', label: 'per axis', opset: 13, inputs: [rand([2, 3, 2], 'int8'), scales3, given('int8', [3], [0, 0, 1])] },
  { op: 'DequantizeLinear', label: 'per axis 0', opset: 13, inputs: [rand([3, 2], 'int8'), scales3], attributes: { axis: 0 } },
  { op: 'DequantizeLinear', label: 'int16', opset: 21, inputs: [rand([2, 3], 'int16'), scale] },
  { op: 'DequantizeLinear', label: 'to float16', opset: 19, inputs: [rand([2, 3], 'int8'), scalar(0.1, 'float16')] },
  { op: 'DequantizeLinear', label: 'newest', opset: 25, inputs: [rand([2, 3], 'uint8'), scale] },
  {
    op: 'DequantizeLinear',
    label: 'output_dtype',
    opset: 23,
    inputs: [rand([2, 3], 'uint8'), scale],
    attributes: { output_dtype: code('float16') },
    noKernel: 'output_dtype other than the type of the scale',
    expect: ['float16[2,3]'],
  },
  {
    op: 'DequantizeLinear',
    label: 'int4 in blocks',
    opset: 21,
    inputs: [
      { ...rand([2, 8], 'int4'), constant: true },
      given('float', [2, 2], [0.1, 0.2, 0.3, 0.4]),
      { ...rand([2, 2], 'int4'), constant: true },
    ],
    attributes: { axis: -1, block_size: 4 },
  },
  {
    op: 'DequantizeLinear',
    label: 'last block not full',
    opset: 21,
    inputs: [{ ...rand([7, 3], 'uint8'), constant: true }, rand([2, 3])],
    attributes: { axis: 0, block_size: 4 },
  },
  { op: 'DequantizeLinear', label: 'uint4', opset: 21, inputs: [{ ...rand([5], 'uint4'), constant: true }, scale] },
];

export const SAMPLES: readonly OpSample[] = [
  ...quantize,
  ...dequantize,
  { op: 'DynamicQuantizeLinear', inputs: [x], outputs: 3 },
  { op: 'DynamicQuantizeLinear', label: 'one dimension', opset: 11, inputs: [rand([5])], outputs: 3 },
];
