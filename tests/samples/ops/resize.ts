// Samples of resampling: scales and sizes over the opsets, kept aspect ratios, chosen axes, downsampling with a filter.
import type { OpSample } from '../op-sample.js';
import { fedInts, given, ints, rand } from '../tensor-inputs.js';

const floats = (...values: number[]) => ({ ...given('float', [values.length], values), constant: true });
const IMAGE = rand([1, 2, 4, 5]);

export const SAMPLES: readonly OpSample[] = [
  { op: 'Resize', inputs: [IMAGE, null, floats(1, 1, 2, 3)] },
  { op: 'Resize', label: 'fractions', inputs: [IMAGE, null, floats(1, 1, 0.6, 1.5)], attributes: { mode: 'linear' } },
  { op: 'Resize', label: 'half', inputs: [IMAGE, null, floats(1, 1, 0.5, 0.5)], attributes: { mode: 'cubic' } },
  {
    op: 'Resize',
    label: 'sizes',
    inputs: [IMAGE, null, null, ints(1, 2, 7, 3)],
    attributes: { mode: 'linear', coordinate_transformation_mode: 'align_corners' },
  },
  { op: 'Resize', label: 'sizes fed', inputs: [IMAGE, null, null, fedInts(1, 2, 7, 3)], dataDependent: true },
  { op: 'Resize', label: 'some axes', inputs: [IMAGE, null, null, ints(8, 9)], attributes: { axes: [2, 3] } },
  { op: 'Resize', label: 'some axes, scales', opset: 18, inputs: [IMAGE, null, floats(2, 3)], attributes: { axes: [-1, -2] } },
  {
    op: 'Resize',
    label: 'not larger',
    inputs: [IMAGE, null, null, ints(7, 8)],
    attributes: { axes: [2, 3], keep_aspect_ratio_policy: 'not_larger' },
  },
  {
    op: 'Resize',
    label: 'not smaller',
    inputs: [IMAGE, null, null, ints(7, 8)],
    attributes: { axes: [2, 3], keep_aspect_ratio_policy: 'not_smaller' },
  },
  {
    op: 'Resize',
    label: 'filtered',
    inputs: [rand([1, 1, 8, 8]), null, floats(1, 1, 0.6, 0.6)],
    attributes: { mode: 'linear', antialias: 1 },
  },
  {
    op: 'Resize',
    label: 'cropped',
    inputs: [IMAGE, floats(0, 0, 0.2, 0.2, 1, 1, 0.8, 0.8), null, ints(1, 2, 3, 3)],
    attributes: { mode: 'linear', coordinate_transformation_mode: 'tf_crop_and_resize' },
  },
  {
    op: 'Resize',
    label: 'cropped, scales',
    inputs: [IMAGE, floats(0, 0, 0.25, 0.25, 1, 1, 0.75, 0.75), floats(1, 1, 2, 2)],
    attributes: { mode: 'linear', coordinate_transformation_mode: 'tf_crop_and_resize' },
  },
  { op: 'Resize', label: 'empty scales', opset: 11, inputs: [IMAGE, floats(), floats(), ints(1, 2, 8, 10)] },
  {
    op: 'Resize',
    label: 'scales, opset 11',
    opset: 11,
    inputs: [IMAGE, floats(), floats(1, 1, 2, 2)],
    attributes: { mode: 'nearest', nearest_mode: 'floor' },
  },
  { op: 'Resize', label: 'opset 10', opset: 10, inputs: [IMAGE, floats(1, 1, 2, 2)] },
  { op: 'Upsample', opset: 9, inputs: [IMAGE, floats(1, 1, 2, 3)] },
  {
    op: 'Upsample',
    label: 'attribute',
    opset: 7,
    inputs: [IMAGE],
    attributes: { scales: { type: 'floats', value: [1, 1, 2, 2] }, mode: 'linear' },
  },
  {
    op: 'Upsample',
    label: 'opset 1',
    opset: 1,
    inputs: [IMAGE],
    attributes: { height_scale: { type: 'float', value: 2 }, width_scale: { type: 'float', value: 3 } },
    noKernel: 'ONNX Runtime runs Upsample from opset 7 on',
    expect: ['float[1,2,8,15]'],
  },
  { op: 'GridSample', inputs: [rand([2, 3, 5, 6]), rand([2, 6, 7, 2])] },
  {
    op: 'GridSample',
    label: 'older',
    opset: 16,
    inputs: [rand([1, 1, 4, 4]), rand([1, 2, 3, 2])],
    attributes: { mode: 'nearest', align_corners: 1 },
  },
  { op: 'GridSample', label: 'volumes', inputs: [rand([1, 2, 3, 4, 5]), rand([1, 2, 2, 3, 3])], attributes: { mode: 'linear' } },
  { op: 'AffineGrid', inputs: [rand([2, 2, 3]), ints(2, 3, 4, 5)] },
  { op: 'AffineGrid', label: 'volumes', inputs: [rand([1, 3, 4]), ints(1, 1, 2, 3, 4)], attributes: { align_corners: 1 } },
  { op: 'Col2Im', inputs: [rand([1, 5, 5]), ints(5, 5), ints(1, 5)] },
  { op: 'Col2Im', label: 'strides', opset: 18, inputs: [rand([2, 8, 4]), ints(4, 4), ints(2, 2)], attributes: { strides: [2, 2] } },
  {
    op: 'ImageDecoder',
    inputs: [{ dtype: 'uint8', dims: [10] }],
    attributes: { pixel_format: 'Grayscale' },
    noKernel: 'ONNX Runtime has no ImageDecoder',
    expect: ['uint8[unk_y0_height,unk_y0_width,1]'],
    dataDependent: true,
  },
  { op: 'Resize', label: 'no simple fraction', inputs: [IMAGE, null, floats(1, 1, 1.3333334, 2)], attributes: { mode: 'linear' } },
];
