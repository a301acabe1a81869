// Samples of constants, ranges and random numbers.
import { Tensor } from '../../../src/ir/tensor.js';
import type { OpSample } from '../op-sample.js';
import { fedInts, given, ints, rand, scalar } from '../tensor-inputs.js';

const tensor = (value: Tensor) => ({ type: 'tensor', value }) as const;

export const SAMPLES: readonly OpSample[] = [
  { op: 'Constant', inputs: [], attributes: { value: tensor(Tensor.from('int64', [2, 2], [1, 2, 3, 4])) } },
  { op: 'Constant', label: 'int', inputs: [], attributes: { value_int: 5 } },
  { op: 'Constant', label: 'ints', opset: 12, inputs: [], attributes: { value_ints: [1, 2, 3] } },
  { op: 'Constant', label: 'float', inputs: [], attributes: { value_float: 1.5 } },
  { op: 'Constant', label: 'floats', inputs: [], attributes: { value_floats: { type: 'floats', value: [1, 2.5] } } },
  { op: 'Constant', label: 'string', inputs: [], attributes: { value_string: 'abc' } },
  { op: 'Constant', label: 'strings', inputs: [], attributes: { value_strings: ['a', 'bc'] } },
  { op: 'Constant', label: 'older', opset: 7, inputs: [], attributes: { value: tensor(Tensor.from('float', [3], [1, 2, 3])) } },
  {
    // The engine reads a sparse constant as a dense one, but does not hand it out.
    op: 'Constant',
    label: 'sparse',
    inputs: [],
    feeds: { x: rand([3, 4]) },
    build(b) {
      const value = { dims: [3, 4], values: Tensor.from('float', [2], [1, 2]), indices: Tensor.from('int64', [2], [1, 7]) };
      const constant = b.op('Constant', [], { sparse_value: { type: 'sparse_tensor', value } });
      b.output(b.op('Add', [b.input('x', 'float', [3, 4]), constant]));
    },
  },
  { op: 'ConstantOfShape', inputs: [ints(2, 3)] },
  { op: 'ConstantOfShape', label: 'int64', opset: 9, inputs: [ints(3)], attributes: { value: tensor(Tensor.from('int64', [1], [7])) } },
  { op: 'ConstantOfShape', label: 'scalar', inputs: [ints()], attributes: { value: tensor(Tensor.from('int32', [1], [7])) } },
  { op: 'ConstantOfShape', label: 'shape fed', inputs: [fedInts(2, 3)], dataDependent: true },
  { op: 'Range', inputs: [scalar(1), scalar(10), scalar(3)] },
  { op: 'Range', label: 'downwards', inputs: [scalar(10), scalar(4), scalar(-2)] },
  { op: 'Range', label: 'nothing', inputs: [scalar(5), scalar(2), scalar(1)] },
  { op: 'Range', label: 'float', inputs: [scalar(0, 'float'), scalar(1, 'float'), scalar(0.1, 'float')] },
  {
    op: 'Range',
    label: 'fed',
    opset: 11,
    inputs: [given('int64', [], [0]), given('int64', [], [4]), given('int64', [], [1])],
    dataDependent: true,
  },
  {
    op: 'Range',
    label: 'half',
    opset: 27,
    inputs: [scalar(0, 'float16'), scalar(1, 'float16'), scalar(0.25, 'float16')],
    noKernel: 'ONNX Runtime 1.30 reads opsets up to 26',
    expect: ['float16[4]'],
  },
  { op: 'EyeLike', inputs: [rand([3, 4])] },
  { op: 'EyeLike', label: 'typed', opset: 9, inputs: [given('int32', [2, 2], [0, 0, 0, 0])], attributes: { dtype: 11, k: 1 } },
  ...['RandomNormal', 'RandomUniform'].flatMap((op): OpSample[] => [
    { op, inputs: [], attributes: { shape: [2, 3] }, nondeterministic: true },
    { op, label: 'double', opset: 1, inputs: [], attributes: { shape: [4], dtype: 11 }, nondeterministic: true },
    { op: `${op}Like`, inputs: [rand([2, 3])], nondeterministic: true },
    { op: `${op}Like`, label: 'typed', inputs: [given('int64', [3], [1, 2, 3])], attributes: { dtype: 1 }, nondeterministic: true },
  ]),
  { op: 'Bernoulli', inputs: [given('float', [2, 2], [0.1, 0.5, 0.9, 1])], nondeterministic: true },
  {
    op: 'Bernoulli',
    label: 'bool',
    opset: 15,
    inputs: [given('float', [2], [0.1, 0.5])],
    attributes: { dtype: 9 },
    nondeterministic: true,
  },
  { op: 'Multinomial', inputs: [rand([2, 3])], attributes: { sample_size: 4 }, nondeterministic: true },
  { op: 'Multinomial', label: 'int64', opset: 7, inputs: [rand([1, 3])], attributes: { dtype: 7 }, nondeterministic: true },
];
