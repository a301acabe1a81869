// Samples of Fourier transforms, windows and the mel filter bank.
import type { OpSample, SampleInput } from '../op-sample.js';

function scalar(value: number, dtype: 'int64' | 'float' = 'int64'): SampleInput {
  return { dtype, dims: [], values: [value], constant: true };
}

function window(op: string): OpSample[] {
  return [
    { op, inputs: [scalar(10)] },
    {
      op,
      label: 'symmetric double',
      inputs: [{ dtype: 'int64', dims: [], values: [7] }],
      dataDependent: true,
      attributes: { periodic: 0, output_datatype: 11 },
    },
  ];
}

export const SAMPLES: readonly OpSample[] = [
  { op: 'DFT', opset: 17, inputs: [{ dtype: 'float', dims: [2, 8, 1] }] },
  { op: 'DFT', label: 'one-sided', opset: 17, inputs: [{ dtype: 'float', dims: [2, 9, 1] }], attributes: { onesided: 1, axis: 1 } },
  { op: 'DFT', label: 'default axis', inputs: [{ dtype: 'float', dims: [2, 3, 8, 2] }] },
  {
    op: 'DFT',
    label: 'axis and length',
    inputs: [{ dtype: 'float', dims: [2, 8, 1] }, scalar(16), scalar(1)],
    attributes: { onesided: 1 },
  },
  { op: 'STFT', inputs: [{ dtype: 'float', dims: [2, 64, 1] }, scalar(8), { dtype: 'float', dims: [16] }] },
  {
    op: 'STFT',
    label: 'two-sided by length',
    inputs: [{ dtype: 'float', dims: [1, 61, 1] }, scalar(10), null, scalar(20)],
    attributes: { onesided: 0 },
  },
  ...window('HannWindow'),
  ...window('HammingWindow'),
  ...window('BlackmanWindow'),
  { op: 'MelWeightMatrix', inputs: [scalar(8), scalar(64), scalar(8000), scalar(0, 'float'), scalar(4000, 'float')] },
];
