// Samples of ONNX's losses.
import type { OpSample } from '../op-sample.js';
import { given, rand } from '../tensor-inputs.js';

const LABELS = given('int64', [3], [0, 4, 2]);
const IMAGE_LABELS = given('int64', [1, 2, 2], [0, 1, 2, 0]);

export const SAMPLES: readonly OpSample[] = ['NegativeLogLikelihoodLoss', 'SoftmaxCrossEntropyLoss'].flatMap((op): OpSample[] => [
  { op, inputs: [rand([3, 5]), LABELS], opset: 13 },
  { op, label: 'no reduction', inputs: [rand([1, 3, 2, 2]), IMAGE_LABELS], attributes: { reduction: 'none' } },
  {
    op,
    label: 'weights, sum',
    opset: 12,
    inputs: [rand([3, 5]), LABELS, given('float', [5], [1, 2, 1, 2, 1])],
    attributes: { reduction: 'sum' },
  },
  ...(op === 'SoftmaxCrossEntropyLoss' ? [{ op, label: 'with log probabilities', inputs: [rand([3, 5]), LABELS], outputs: 2 }] : []),
]);
