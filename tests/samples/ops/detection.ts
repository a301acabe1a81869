// Samples of non-maximum suppression and region pooling.
import type { OpSample } from '../op-sample.js';

const BOXES = { dtype: 'float', dims: [1, 3, 4], values: [0, 0, 1, 1, 0, 0.1, 1, 1.1, 0, 10, 1, 11] } as const;
const SCORES = { dtype: 'float', dims: [1, 2, 3], values: [0.9, 0.75, 0.6, 0.1, 0.2, 0.3] } as const;
const ROIS = { dtype: 'float', dims: [2, 4], values: [0, 0, 4, 4, 1, 1, 6, 7] } as const;

export const SAMPLES: readonly OpSample[] = [
  {
    op: 'NonMaxSuppression',
    dataDependent: true,
    inputs: [
      BOXES,
      SCORES,
      { dtype: 'int64', dims: [1], values: [2], constant: true },
      { dtype: 'float', dims: [1], values: [0.5], constant: true },
      { dtype: 'float', dims: [1], values: [0], constant: true },
    ],
  },
  { op: 'NonMaxSuppression', label: 'no limit given', inputs: [BOXES, SCORES] },
  {
    op: 'RoiAlign',
    inputs: [{ dtype: 'float', dims: [1, 3, 8, 8] }, ROIS, { dtype: 'int64', dims: [2], values: [0, 0] }],
    attributes: { output_height: 2, output_width: 3, sampling_ratio: 2 },
  },
  {
    op: 'MaxRoiPool',
    inputs: [
      { dtype: 'float', dims: [1, 3, 8, 8] },
      { dtype: 'float', dims: [2, 5], values: [0, 0, 0, 4, 4, 0, 1, 1, 6, 7] },
    ],
    attributes: { pooled_shape: [2, 3] },
  },
];
