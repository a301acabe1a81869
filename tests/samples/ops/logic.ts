// Samples of comparison, boolean logic and Where.
import type { OpSample } from '../op-sample.js';
import { given, rand } from '../tensor-inputs.js';

export const SAMPLES: readonly OpSample[] = [
  ...['And', 'Or', 'Xor'].flatMap((op): OpSample[] => [
    { op, inputs: [given('bool', [2, 2], [0, 0, 1, 1]), given('bool', [2], [0, 1])] },
    { op, label: 'scalar', opset: 7, inputs: [given('bool', [], [1]), given('bool', [3], [0, 1, 0])] },
  ]),
  { op: 'Not', inputs: [given('bool', [2, 2], [0, 1, 1, 0])] },
  ...['Equal', 'Less', 'Greater', 'LessOrEqual', 'GreaterOrEqual'].flatMap((op): OpSample[] => [
    { op, label: 'int64 contents', inputs: [given('int64', [4], [1, 2, 3, 4]), given('int64', [2, 1], [2, 3])] },
    { op, label: 'float', inputs: [rand([2, 3]), given('float', [], [0])] },
    { op, label: 'int32', inputs: [given('int32', [1, 3], [1, 2, 3]), given('int32', [3, 1], [1, 2, 3])] },
  ]),
  { op: 'Equal', label: 'bool', inputs: [given('bool', [2], [0, 1]), given('bool', [2], [1, 1])] },
  { op: 'Equal', label: 'older', opset: 7, inputs: [given('int64', [3], [1, 2, 3]), given('int64', [], [2])] },
  { op: 'Less', label: 'older', opset: 7, inputs: [rand([2, 3]), rand([3])] },
  { op: 'Greater', label: 'older', opset: 9, inputs: [given('int32', [3], [1, 2, 3]), given('int32', [1], [2])] },
  { op: 'LessOrEqual', label: 'older', opset: 12, inputs: [rand([2, 3]), rand([3])] },
  { op: 'Where', inputs: [given('bool', [2, 1], [1, 0]), rand([3]), rand([2, 3])] },
  { op: 'Where', label: 'scalar operand', inputs: [given('bool', [2, 3], [1, 0, 1, 0, 1, 0]), rand([2, 3]), given('float', [], [-1])] },
  {
    op: 'Where',
    label: 'int64 contents',
    opset: 9,
    inputs: [given('bool', [3], [1, 0, 1]), given('int64', [3], [1, 2, 3]), given('int64', [1], [9])],
  },
];
