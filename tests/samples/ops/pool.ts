// Samples of pooling: one to three dimensions, ceil_mode, dilations, every way of padding, indices, global forms, unpooling.
import type { OpSample } from '../op-sample.js';
import { ints, rand } from '../tensor-inputs.js';

const x = rand([2, 3, 7, 8]);
const k2 = { kernel_shape: [2, 2] };
const k3 = { kernel_shape: [3, 3] };

const windowed: OpSample[] = ['MaxPool', 'AveragePool', 'LpPool'].flatMap((op): OpSample[] => [
  { op, inputs: [x], attributes: k2 },
  { op, label: 'oldest form', opset: 7, inputs: [x], attributes: { ...k3, strides: [2, 2], pads: [1, 1, 1, 1] } },
  { op, label: 'newest form', opset: 22, inputs: [x], attributes: { ...k3, strides: [2, 2] } },
  { op, label: 'uneven pads', inputs: [x], attributes: { ...k3, pads: [0, 1, 2, 0], strides: [1, 2] } },
  { op, label: 'one dimension', inputs: [rand([1, 2, 9])], attributes: { kernel_shape: [4], strides: [3] } },
  { op, label: 'three dimensions', inputs: [rand([1, 2, 4, 5, 6])], attributes: { kernel_shape: [2, 3, 2], strides: [2, 1, 3] } },
  ...['SAME_UPPER', 'SAME_LOWER', 'VALID'].map(
    (auto_pad): OpSample => ({ op, label: auto_pad, inputs: [x], attributes: { ...k3, auto_pad, strides: [2, 2] } }),
  ),
]);

/** LpPool takes ceil_mode and dilations from opset 18 on, the others earlier. */
const ceiling: OpSample[] = ['MaxPool', 'AveragePool', 'LpPool'].flatMap((op): OpSample[] => [
  { op, label: 'ceil_mode', inputs: [x], attributes: { ...k2, strides: [2, 2], ceil_mode: 1 } },
  {
    op,
    label: 'ceil_mode, last window in the padding',
    inputs: [rand([1, 1, 4, 5])],
    attributes: { ...k2, strides: [3, 3], pads: [1, 1, 1, 1], ceil_mode: 1 },
  },
  { op, label: 'ceil_mode, stride above kernel', inputs: [rand([1, 1, 6, 7])], attributes: { ...k2, strides: [3, 4], ceil_mode: 1 } },
  { op, label: 'ceil_mode, valid', inputs: [x], attributes: { ...k3, strides: [2, 2], ceil_mode: 1, auto_pad: 'VALID' } },
  { op, label: 'dilations', inputs: [x], attributes: { ...k3, dilations: [2, 3] } },
  { op, label: 'dilations and ceil_mode', inputs: [x], attributes: { ...k2, dilations: [2, 3], strides: [2, 2], ceil_mode: 1 } },
]);

const globals: OpSample[] = ['GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool'].flatMap((op): OpSample[] => [
  { op, inputs: [x] },
  { op, label: 'one dimension', opset: 7, inputs: [rand([2, 3, 5])] },
  { op, label: 'three dimensions', opset: op === 'GlobalLpPool' ? 21 : 22, inputs: [rand([1, 2, 3, 4, 5])] },
]);

export const SAMPLES: readonly OpSample[] = [
  ...windowed,
  ...ceiling,
  ...globals,
  { op: 'MaxPool', label: 'indices', inputs: [x], outputs: 2, attributes: { ...k2, strides: [2, 2] } },
  { op: 'MaxPool', label: 'indices, column order', opset: 8, inputs: [x], outputs: 2, attributes: { ...k2, storage_order: 1 } },
  { op: 'MaxPool', label: 'uint8', opset: 12, inputs: [rand([1, 2, 4, 4], 'uint8')], attributes: k2 },
  { op: 'MaxPool', label: 'empty output', inputs: [rand([0, 2, 4, 4])], attributes: k2 },
  { op: 'AveragePool', label: 'padding counted', inputs: [x], attributes: { ...k3, pads: [1, 1, 1, 1], count_include_pad: 1 } },
  { op: 'LpPool', label: 'p 1', inputs: [x], attributes: { ...k2, p: 1 } },
  {
    op: 'MaxUnpool',
    inputs: [rand([1, 1, 2, 2]), { dtype: 'int64', dims: [1, 1, 2, 2], values: [0, 3, 8, 11] }],
    attributes: { ...k2, strides: [2, 2] },
  },
  {
    op: 'MaxUnpool',
    label: 'output_shape',
    opset: 9,
    inputs: [rand([1, 1, 2, 2]), { dtype: 'int64', dims: [1, 1, 2, 2], values: [0, 3, 8, 11] }, ints(1, 1, 5, 5)],
    attributes: { ...k2, strides: [2, 2] },
  },
  {
    op: 'MaxUnpool',
    label: 'pads',
    opset: 22,
    inputs: [rand([1, 2, 3]), { dtype: 'int64', dims: [1, 2, 3], values: [0, 2, 4, 5, 7, 8] }],
    attributes: { kernel_shape: [3], strides: [2], pads: [1, 1] },
  },
];
