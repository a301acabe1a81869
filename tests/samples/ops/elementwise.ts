// Samples of element-wise arithmetic: broadcasting both ways, scalars, empty tensors, integer types, forms of older opsets.
import type { OpSample } from '../op-sample.js';
import { given, ints, rand, scalar } from '../tensor-inputs.js';

const positive = (...values: number[]) => given('float', [values.length], values);

const binaries: OpSample[] = ['Add', 'Sub', 'Mul', 'Div'].flatMap((op): OpSample[] => [
  { op, label: 'same shape', inputs: [rand([2, 3]), rand([2, 3])] },
  { op, label: 'broadcast both ways', inputs: [rand([4, 1, 3]), rand([5, 1])] },
  { op, label: 'scalar first', inputs: [given('float', [], [2]), rand([2, 3])] },
  { op, label: 'int64 contents', inputs: [given('int64', [4], [7, -7, 8, 9]), given('int64', [2, 1], [2, -3])] },
  { op, label: 'int32', opset: 13, inputs: [given('int32', [3], [1, 2, 3]), given('int32', [], [4])] },
  { op, label: 'no axis', opset: 7, inputs: [rand([2, 1]), rand([1, 3])] },
]);

const unaries: OpSample[] = [
  ...[
    'Abs',
    'Neg',
    'Sign',
    'Floor',
    'Ceil',
    'Round',
    'Exp',
    'Erf',
    'Sin',
    'Cos',
    'Tan',
    'Asin',
    'Acos',
    'Atan',
    'Sinh',
    'Cosh',
    'Asinh',
    'Atanh',
  ].map((op): OpSample => ({ op, inputs: [rand([2, 3, 2])] })),
  ...['Sqrt', 'Reciprocal', 'Log'].map((op): OpSample => ({ op, inputs: [positive(0.25, 1, 4)] })),
  { op: 'Acosh', inputs: [positive(1, 1.5, 3)] },
  { op: 'Abs', label: 'int64', inputs: [given('int64', [3], [-5, 0, 5])] },
  { op: 'Neg', label: 'int32', opset: 6, inputs: [given('int32', [2], [-5, 3])] },
  { op: 'Sign', label: 'int64', inputs: [given('int64', [3], [-5, 0, 5])] },
  { op: 'Round', label: 'halves to even', inputs: [positive(0.5, 1.5, 2.5, -0.5, -2.5, 2.4)] },
  { op: 'Floor', label: 'scalar', inputs: [given('float', [], [2.7])] },
  { op: 'Sqrt', label: 'empty', inputs: [rand([0, 3])] },
  { op: 'IsNaN', inputs: [given('float', [3], [1, Number.NaN, 2])] },
  { op: 'IsInf', inputs: [given('float', [3], [1, Number.POSITIVE_INFINITY, 2])], attributes: { detect_negative: 0 } },
];

export const SAMPLES: readonly OpSample[] = [
  ...binaries,
  ...unaries,
  { op: 'Add', label: 'empty', inputs: [rand([0, 3]), rand([3])] },
  { op: 'Add', label: 'ones beside nothing', inputs: [rand([0]), { ...rand([1]), constant: true }] },
  {
    op: 'Add',
    label: 'broadcast from axis 1',
    opset: 6,
    inputs: [rand([2, 3, 4, 5]), rand([3, 4])],
    attributes: { broadcast: 1, axis: 1 },
    noKernel: 'ONNX Runtime runs arithmetic from opset 7 on',
    expect: ['float[2,3,4,5]'],
  },
  {
    op: 'Mul',
    label: 'broadcast aligned right',
    opset: 6,
    inputs: [rand([2, 3, 4]), rand([3, 4])],
    attributes: { broadcast: 1 },
    noKernel: 'ONNX Runtime runs arithmetic from opset 7 on',
    expect: ['float[2,3,4]'],
  },
  { op: 'Div', label: 'rounds towards zero', inputs: [given('int32', [4], [7, -7, 7, -7]), given('int32', [4], [2, 2, -2, -2])] },
  { op: 'Mod', label: 'sign of the divisor', inputs: [given('int64', [4], [7, -7, 7, -7]), given('int64', [4], [3, 3, -3, -3])] },
  { op: 'Mod', label: 'fmod', inputs: [given('int64', [4], [7, -7, 7, -7]), given('int64', [4], [3, 3, -3, -3])], attributes: { fmod: 1 } },
  { op: 'Mod', label: 'float', opset: 13, inputs: [rand([2, 3]), positive(0.5, 1, 2)], attributes: { fmod: 1 } },
  { op: 'Pow', inputs: [positive(1, 2, 3), given('float', [2, 1], [2, 0.5])] },
  { op: 'Pow', label: 'integer exponent', inputs: [positive(1, 2, 3), given('int64', [], [3])] },
  { op: 'Pow', label: 'integers', inputs: [given('int64', [3], [1, 2, 3]), given('int64', [1], [4])] },
  { op: 'Pow', label: 'same types', opset: 7, inputs: [positive(1, 2, 3), given('float', [], [2])] },
  ...['Max', 'Min'].flatMap((op): OpSample[] => [
    { op, label: 'three operands', inputs: [rand([2, 3]), rand([3]), rand([2, 1])] },
    { op, label: 'one operand', inputs: [rand([2, 3])] },
    { op, label: 'int64 contents', inputs: [given('int64', [3], [1, 5, 3]), given('int64', [], [2])] },
    { op, label: 'broadcast', opset: 8, inputs: [rand([2, 1]), rand([3])] },
  ]),
  ...['Sum', 'Mean'].flatMap((op): OpSample[] => [
    { op, inputs: [rand([2, 3]), rand([3]), rand([])] },
    { op, label: 'same shapes', opset: 6, inputs: [rand([2, 3]), rand([2, 3])] },
  ]),
  { op: 'BitShift', inputs: [given('uint32', [3], [1, 4, 255]), given('uint32', [1], [2])], attributes: { direction: 'LEFT' } },
  {
    op: 'BitShift',
    label: 'right',
    inputs: [given('uint8', [2, 1], [16, 255]), given('uint8', [3], [1, 2, 3])],
    attributes: { direction: 'RIGHT' },
  },
  ...['BitwiseAnd', 'BitwiseOr', 'BitwiseXor'].map(
    (op): OpSample => ({ op, inputs: [given('int32', [2, 3], [1, 2, 3, 4, 5, 6]), given('int32', [3], [7, 2, 1])] }),
  ),
  { op: 'BitwiseNot', inputs: [given('int32', [3], [0, 1, -2])] },
  { op: 'CumSum', inputs: [rand([2, 3]), scalar(1)] },
  {
    op: 'CumSum',
    label: 'negative axis, reversed, exclusive',
    opset: 11,
    inputs: [rand([2, 3]), scalar(-2, 'int32')],
    attributes: { reverse: 1, exclusive: 1 },
  },
  { op: 'CumSum', label: 'axis fed', inputs: [given('int64', [4], [1, 2, 3, 4]), given('int64', [], [0])] },
  {
    op: 'CumProd',
    opset: 26,
    inputs: [rand([2, 3]), ints(1)],
    noKernel: 'ONNX Runtime 1.30 has no CumProd for the CPU',
    expect: ['float[2,3]'],
  },
  { op: 'Det', inputs: [rand([2, 4, 3, 3])] },
  { op: 'Det', label: 'one matrix', opset: 11, inputs: [rand([2, 2])] },
];
