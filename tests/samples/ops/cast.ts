// Samples of type changes.
import type { OpSample } from '../op-sample.js';
import { given, rand } from '../tensor-inputs.js';

export const SAMPLES: readonly OpSample[] = [
  { op: 'Cast', inputs: [rand([2, 3])], attributes: { to: 7 } },
  { op: 'Cast', label: 'int64 to float', inputs: [given('int64', [3], [-1, 0, 16777217])], attributes: { to: 1 } },
  { op: 'Cast', label: 'int64 to int32', inputs: [given('int64', [3], [-1, 0, 9])], attributes: { to: 6 } },
  { op: 'Cast', label: 'to bool', inputs: [given('int64', [3], [-1, 0, 9])], attributes: { to: 9 } },
  { op: 'Cast', label: 'from bool', inputs: [given('bool', [3], [1, 0, 1])], attributes: { to: 7 } },
  { op: 'Cast', label: 'to half', inputs: [rand([2, 3])], attributes: { to: 10 } },
  { op: 'Cast', label: 'to double', opset: 9, inputs: [rand([3])], attributes: { to: 11 } },
  { op: 'Cast', label: 'to string', inputs: [given('int64', [2], [1, 2])], attributes: { to: 8 } },
  { op: 'Cast', label: 'float truncated', opset: 6, inputs: [given('float', [3], [1.7, -1.7, 2])], attributes: { to: 6 } },
  {
    op: 'Cast',
    label: 'type by name',
    opset: 1,
    inputs: [rand([2, 3])],
    attributes: { to: 'INT64' },
    noKernel: 'ONNX Runtime does not load Cast of opset 1',
    expect: ['int64[2,3]'],
  },
  { op: 'CastLike', inputs: [rand([2, 3]), given('int32', [1], [0])] },
  { op: 'CastLike', label: 'older', opset: 15, inputs: [given('int64', [2], [1, 2]), given('float', [], [0])] },
  {
    op: 'BitCast',
    opset: 26,
    inputs: [rand([2, 3])],
    attributes: { to: 6 },
  },
];
