// Samples of activations: forms of older opsets, limits as attributes and as inputs, slopes that broadcast, axes of Softmax.
import type { OpSample } from '../op-sample.js';
import { rand, scalar } from '../tensor-inputs.js';

const x = rand([2, 3, 4]);

/** Operators of one input and the opsets in which their form changed. */
const SIMPLE: Readonly<Record<string, readonly number[]>> = {
  Relu: [7, 13, 14],
  LeakyRelu: [7, 16],
  ThresholdedRelu: [10, 22],
  Elu: [7, 22],
  Selu: [7, 22],
  Celu: [12],
  Gelu: [20],
  HardSigmoid: [7, 22],
  HardSwish: [14, 22],
  Mish: [18, 22],
  Sigmoid: [7, 13],
  Tanh: [7, 13],
  Softplus: [7, 22],
  Softsign: [7, 22],
  Shrink: [9],
};

const simple: OpSample[] = Object.entries(SIMPLE).flatMap(([op, opsets]) => opsets.map((opset): OpSample => ({ op, opset, inputs: [x] })));

const softmax: OpSample[] = ['Softmax', 'LogSoftmax', 'Hardmax'].flatMap((op): OpSample[] => [
  { op, inputs: [x] },
  { op, label: 'axis 1', inputs: [x], attributes: { axis: 1 } },
  { op, label: 'flattened from axis 1', opset: 11, inputs: [x] },
  { op, label: 'flattened, negative axis', opset: 11, inputs: [x], attributes: { axis: -1 } },
  { op, label: 'one dimension', inputs: [rand([5])] },
]);

export const SAMPLES: readonly OpSample[] = [
  ...simple,
  ...softmax,
  { op: 'Relu', label: 'scalar', inputs: [rand([])] },
  { op: 'Relu', label: 'int32', inputs: [rand([3], 'int32')] },
  { op: 'Relu', label: 'double, empty', inputs: [rand([0, 2], 'double')] },
  { op: 'Gelu', label: 'tanh', opset: 20, inputs: [x], attributes: { approximate: 'tanh' } },
  { op: 'Swish', opset: 24, inputs: [x] },
  { op: 'Shrink', label: 'int8', inputs: [rand([4], 'int8')], attributes: { bias: 1.5, lambd: 1.5 } },
  { op: 'SwiGLU', opset: 28, inputs: [x, x], noKernel: 'opset 28', expect: ['float[2,3,4]'] },
  { op: 'PRelu', inputs: [x, rand([3, 1])] },
  { op: 'PRelu', label: 'one slope', opset: 7, inputs: [x, rand([1])] },
  { op: 'PRelu', label: 'scalar slope', opset: 9, inputs: [x, rand([])] },
  { op: 'PRelu', label: 'full slope', opset: 16, inputs: [x, x] },
  {
    op: 'PRelu',
    label: 'old channel vector',
    opset: 6,
    inputs: [x, rand([3])],
    noKernel: 'no kernel before opset 7',
    expect: ['float[2,3,4]'],
  },
  { op: 'Clip', inputs: [x, scalar(-0.5, 'float'), scalar(0.5, 'float')] },
  { op: 'Clip', label: 'minimum only', opset: 11, inputs: [x, scalar(0, 'float')] },
  { op: 'Clip', label: 'maximum only', opset: 12, inputs: [rand([4], 'int8'), null, scalar(2, 'int8')] },
  { op: 'Clip', label: 'no limits', inputs: [x] },
  {
    op: 'Clip',
    label: 'attributes',
    opset: 6,
    inputs: [x],
    attributes: { min: { type: 'float', value: 0 }, max: { type: 'float', value: 6 } },
  },
  { op: 'Clip', label: 'int64', opset: 13, inputs: [rand([4], 'int64'), scalar(-1), scalar(2)] },
];
