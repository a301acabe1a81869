// Samples of the products of com.microsoft.
import type { OpSample, SampleInput } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const domain = 'com.microsoft';
const fixed = (dims: readonly number[], dtype: SampleInput['dtype'] = 'float'): SampleInput => ({ ...rand(dims, dtype), constant: true });
const scale = scalar(0.1, 'float');

const fused: OpSample[] = [
  { op: 'FusedMatMul', domain, inputs: [rand([3, 4]), rand([4, 5])] },
  { op: 'FusedMatMul', domain, label: 'transB, alpha', inputs: [rand([2, 3, 4]), rand([2, 5, 4])], attributes: { transB: 1, alpha: 0.5 } },
  { op: 'FusedMatMul', domain, label: 'transA', inputs: [rand([2, 4, 3]), rand([4, 5])], attributes: { transA: 1 } },
  { op: 'FusedMatMul', domain, label: 'transBatchA', inputs: [rand([3, 2, 6, 4]), rand([2, 6, 4, 5])], attributes: { transBatchA: 1 } },
  {
    op: 'FusedMatMul',
    domain,
    label: 'transBatch of both, transB',
    inputs: [rand([3, 2, 4]), rand([5, 2, 4])],
    attributes: { transBatchA: 1, transBatchB: 1, transB: 1 },
  },
  { op: 'FusedMatMul', domain, label: 'vector', inputs: [rand([4]), rand([2, 4, 3])] },
  { op: 'TransposeMatMul', domain, inputs: [rand([4, 3]), rand([4, 5])], attributes: { transA: 1 } },
  {
    op: 'FusedMatMulActivation',
    domain,
    inputs: [rand([3, 4]), rand([4, 5])],
    attributes: { activation: 'Relu' },
    noKernel: 'DirectML only',
    expect: ['float[3,5]'],
  },
  { op: 'FusedGemm', domain, inputs: [rand([3, 4]), rand([5, 4]), rand([5])], attributes: { transB: 1, activation: 'Relu' } },
  { op: 'FusedGemm', domain, label: 'without C', inputs: [rand([4, 3]), rand([4, 5])], attributes: { transA: 1, activation: 'Tanh' } },
  { op: 'GemmFastGelu', domain, inputs: [rand([2, 3, 4]), rand([4, 5]), rand([5])], noKernel: 'ROCm only', expect: ['float[2,3,5]'] },
];

const lowBit: OpSample[] = [
  {
    op: 'MatMulNBits',
    domain,
    inputs: [rand([2, 3, 40]), fixed([6, 2, 16], 'uint8'), fixed([6, 2])],
    attributes: { K: 40, N: 6, bits: 4, block_size: 32 },
  },
  {
    op: 'MatMulNBits',
    domain,
    label: 'flat scales, zero points',
    inputs: [rand([3, 64]), fixed([4, 2, 16], 'uint8'), fixed([8]), fixed([4], 'uint8')],
    attributes: { K: 64, N: 4, bits: 4, block_size: 32 },
  },
  {
    op: 'MatMulNBits',
    domain,
    label: '8 bits, zero points, bias',
    inputs: [rand([3, 64]), fixed([4, 2, 32], 'uint8'), fixed([4, 2]), fixed([4, 2], 'uint8'), null, fixed([4])],
    attributes: { K: 64, N: 4, bits: 8, block_size: 32 },
  },
  {
    op: 'MatMulNBits',
    domain,
    label: '2 bits',
    inputs: [rand([3, 64]), fixed([4, 2, 8], 'uint8'), fixed([4, 2])],
    attributes: { K: 64, N: 4, bits: 2, block_size: 32 },
  },
  {
    op: 'MatMulBnb4',
    domain,
    inputs: [rand([2, 64]), fixed([96], 'uint8'), fixed([3])],
    attributes: { K: 64, N: 3, block_size: 64, quant_type: 1 },
  },
  {
    op: 'MatMulFpQ4',
    domain,
    inputs: [rand([2, 32]), fixed([80], 'uint8'), { dtype: 'int64', dims: [2], values: [32, 4], constant: true }],
    attributes: { blk_quant_type: 0 },
  },
];

const eight: OpSample[] = [
  { op: 'MatMulInteger16', domain, inputs: [rand([3, 4], 'int16'), rand([4, 5], 'int16')] },
  { op: 'DynamicQuantizeMatMul', domain, inputs: [rand([3, 4]), rand([4, 5], 'uint8'), scale] },
  {
    op: 'DynamicQuantizeMatMul',
    domain,
    label: 'per column, bias',
    inputs: [rand([2, 3, 4]), fixed([4, 2], 'int8'), given('float', [2], [0.1, 0.2]), given('int8', [2], [0, 1]), rand([2])],
  },
  { op: 'MatMulIntegerToFloat', domain, inputs: [rand([3, 4], 'uint8'), rand([4, 5], 'int8'), scale, scale] },
  {
    op: 'MatMulIntegerToFloat',
    domain,
    label: 'per column, bias',
    inputs: [
      rand([2, 3, 4], 'uint8'),
      rand([4, 2], 'int8'),
      scale,
      given('float', [2], [0.1, 0.2]),
      scalar(1, 'uint8'),
      given('int8', [2], [0, 1]),
      rand([2]),
    ],
  },
  { op: 'QGemm', domain, inputs: [rand([3, 4], 'uint8'), scale, scalar(1, 'uint8'), rand([4, 5], 'int8'), scale, scalar(0, 'int8')] },
  {
    op: 'QGemm',
    domain,
    label: 'quantized result, bias, transB',
    inputs: [
      rand([3, 4], 'uint8'),
      scale,
      scalar(1, 'uint8'),
      rand([2, 4], 'int8'),
      given('float', [2], [0.1, 0.2]),
      given('int8', [2], [0, 0]),
      rand([2], 'int32'),
      scale,
      scalar(5, 'uint8'),
    ],
    attributes: { transB: 1 },
  },
];

export const SAMPLES: readonly OpSample[] = [...fused, ...lowBit, ...eight];
