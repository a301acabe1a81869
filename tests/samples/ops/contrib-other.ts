// Samples of the remaining operators of com.microsoft.
import type { OpSample } from '../op-sample.js';
import { given, ints, rand, scalar } from '../tensor-inputs.js';

const domain = 'com.microsoft';

export const SAMPLES: readonly OpSample[] = [
  { op: 'Inverse', domain, inputs: [given('float', [2, 2, 2], [1, 2, 3, 5, 2, 0, 0, 4])] },
  {
    op: 'Trilu',
    domain,
    inputs: [rand([2, 3, 4]), scalar(1)],
    attributes: { upper: 0 },
  },
  { op: 'CDist', domain, inputs: [rand([3, 4]), rand([5, 4])], attributes: { metric: 'euclidean' } },
  { op: 'ExpandDims', domain, inputs: [rand([2, 3]), scalar(1, 'int32')] },
  { op: 'ExpandDims', domain, label: 'negative axis', inputs: [rand([2, 3]), scalar(-1, 'int32')] },
  { op: 'Pad', domain, inputs: [rand([2, 3]), ints(0, 1, 2, 0)] },
  { op: 'Pad', domain, label: 'negative, value', inputs: [rand([4, 3]), ints(1, -1, -2, 0), scalar(0.5, 'float')] },
  {
    op: 'Rfft',
    domain,
    inputs: [rand([2, 8])],
    attributes: { normalized: 0, onesided: 1, signal_ndim: 1 },
    noKernel: 'GPU only',
    expect: ['float[2,5,2]'],
  },
  {
    op: 'Irfft',
    domain,
    inputs: [rand([2, 5, 2])],
    attributes: { normalized: 0, onesided: 1, signal_ndim: 1 },
    noKernel: 'GPU only',
    expect: ['float[2,8]'],
  },
  { op: 'GridSample', domain, inputs: [rand([1, 2, 4, 5]), rand([1, 3, 2, 2])] },
  {
    op: 'LinearAttention',
    domain,
    inputs: [rand([2, 3, 8]), rand([2, 3, 8]), rand([2, 3, 6]), rand([2, 2, 4, 3])],
    outputs: 2,
    attributes: { q_num_heads: 2, kv_num_heads: 2, update_rule: 'linear' },
  },
  { op: 'CausalConvWithState', domain, inputs: [rand([2, 3, 6]), rand([3, 1, 4]), rand([3]), rand([2, 3, 3])], outputs: 2 },
];
