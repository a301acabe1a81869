// Samples of reductions: axes as attribute and as input, negative and missing axes, no reduction, empty extents.
import type { OpSample } from '../op-sample.js';
import { fedInts, given, ints, rand, scalar } from '../tensor-inputs.js';

const OPS = [
  'ReduceSum',
  'ReduceMean',
  'ReduceMax',
  'ReduceMin',
  'ReduceProd',
  'ReduceL1',
  'ReduceL2',
  'ReduceLogSum',
  'ReduceLogSumExp',
  'ReduceSumSquare',
];

const reductions: OpSample[] = OPS.flatMap((op): OpSample[] => {
  const data = op === 'ReduceLogSum' ? given('float', [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8]) : rand([2, 3, 4]);
  return [
    { op, label: 'axes input', inputs: [data, ints(1)] },
    { op, label: 'negative axes, dropped', inputs: [data, ints(-1, 0)], attributes: { keepdims: 0 } },
    { op, label: 'all axes', inputs: [data], attributes: { keepdims: 0 } },
    { op, label: 'empty axes', inputs: [data, ints()] },
    { op, label: 'axes attribute', opset: 11, inputs: [data], attributes: { axes: [0, -1] } },
    { op, label: 'axes attribute, dropped', opset: op === 'ReduceSum' ? 12 : 13, inputs: [data], attributes: { axes: [1], keepdims: 0 } },
  ];
});

export const SAMPLES: readonly OpSample[] = [
  ...reductions,
  { op: 'ReduceSum', label: 'nothing to reduce', inputs: [rand([2, 3]), ints()], attributes: { noop_with_empty_axes: 1 } },
  { op: 'ReduceMean', label: 'nothing to reduce', inputs: [rand([2, 3])], attributes: { noop_with_empty_axes: 1 } },
  { op: 'ReduceSum', label: 'axes fed', inputs: [rand([2, 3, 4]), fedInts(1)], attributes: { keepdims: 0 }, dataDependent: true },
  { op: 'ReduceSum', label: 'axes fed, kept', inputs: [rand([2, 3, 4]), fedInts(1)], dataDependent: true },
  { op: 'ReduceSum', label: 'scalar', inputs: [given('float', [], [3])], attributes: { keepdims: 0 } },
  { op: 'ReduceSum', label: 'empty extent', inputs: [rand([2, 0, 3]), ints(1)] },
  ...['ReduceSum', 'ReduceProd', 'ReduceMax', 'ReduceMin'].map(
    (op): OpSample => ({
      op,
      label: 'int64 contents',
      inputs: [given('int64', [2, 3], [1, 2, 3, 4, 5, 6]), ints(1)],
      attributes: { keepdims: 0 },
    }),
  ),
  { op: 'ReduceProd', label: 'int64, all', opset: 13, inputs: [given('int64', [3], [2, 3, 4])], attributes: { keepdims: 0 } },
  { op: 'ReduceMax', label: 'bool', inputs: [given('bool', [2, 2], [0, 1, 0, 0]), ints(1)] },
  ...['ArgMax', 'ArgMin'].flatMap((op): OpSample[] => [
    { op, inputs: [rand([2, 3, 4])] },
    { op, label: 'last axis, dropped', inputs: [rand([2, 3, 4])], attributes: { axis: -1, keepdims: 0 } },
    {
      op,
      label: 'last index',
      opset: 12,
      inputs: [given('int32', [2, 3], [1, 3, 3, 2, 2, 0])],
      attributes: { axis: 1, select_last_index: 1 },
    },
    { op, label: 'older', opset: 11, inputs: [rand([2, 3])], attributes: { axis: 1 } },
  ]),
  { op: 'TopK', inputs: [rand([2, 5]), ints(3)], outputs: 2 },
  {
    op: 'TopK',
    label: 'smallest along axis 0',
    inputs: [rand([4, 3]), ints(2)],
    outputs: 2,
    attributes: { axis: 0, largest: 0, sorted: 1 },
  },
  { op: 'TopK', label: 'k attribute', opset: 9, inputs: [rand([2, 5])], outputs: 2, attributes: { k: 2, axis: 1 } },
  { op: 'TopK', label: 'k input, opset 10', opset: 10, inputs: [rand([2, 5]), ints(5)], outputs: 2 },
  { op: 'TopK', label: 'k fed', inputs: [rand([2, 5]), fedInts(2)], outputs: 2, dataDependent: true },
  { op: 'TopK', label: 'int64', inputs: [given('int64', [4], [3, 1, 4, 1]), { ...scalar(1), dims: [1] }], outputs: 2 },
];
