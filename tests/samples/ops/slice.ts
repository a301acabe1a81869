// Samples of Slice: attributes and inputs, negative and huge bounds, steps both ways.
import type { OpSample } from '../op-sample.js';
import { fedInts, given, ints, rand } from '../tensor-inputs.js';

const MAX = Number.MAX_SAFE_INTEGER;
const ints32 = (...values: number[]) => ({ ...ints(...values), dtype: 'int32' as const });

export const SAMPLES: readonly OpSample[] = [
  { op: 'Slice', inputs: [rand([5, 6]), ints(1, 2), ints(4, 100)] },
  { op: 'Slice', label: 'some axes, step', inputs: [rand([5, 6, 7]), ints(1), ints(6), ints(-1), ints(2)] },
  { op: 'Slice', label: 'from the end', inputs: [rand([5, 6]), ints(-3, -2), ints(-1, MAX)] },
  { op: 'Slice', label: 'last', inputs: [rand([5, 6]), ints(-1), ints(MAX), ints(1)] },
  { op: 'Slice', label: 'all but the last', inputs: [rand([5, 6]), ints(0), ints(-1), ints(1)] },
  { op: 'Slice', label: 'all but the first', inputs: [rand([5, 6]), ints(1), ints(MAX), ints(1)] },
  { op: 'Slice', label: 'backwards', inputs: [rand([5, 6]), ints(-1), ints(-MAX), ints(0), ints(-1)] },
  { op: 'Slice', label: 'backwards by two', inputs: [rand([5, 6]), ints(4), ints(0), ints(0), ints(-2)] },
  { op: 'Slice', label: 'nothing left', inputs: [rand([5, 6]), ints(3), ints(2), ints(0)] },
  { op: 'Slice', label: 'beyond the end', inputs: [rand([5, 6]), ints(7), ints(9), ints(0)] },
  { op: 'Slice', label: 'int32 bounds', opset: 10, inputs: [rand([5, 6]), ints32(0, 1), ints32(2, 3), ints32(1, 0)] },
  { op: 'Slice', label: 'attributes', opset: 9, inputs: [rand([5, 6])], attributes: { starts: [1], ends: [-1], axes: [1] } },
  { op: 'Slice', label: 'attributes without axes', opset: 1, inputs: [rand([5, 6])], attributes: { starts: [0, 2], ends: [3, 6] } },
  { op: 'Slice', label: 'int64 contents', inputs: [given('int64', [6], [1, 2, 3, 4, 5, 6]), ints(4), ints(0), ints(0), ints(-2)] },
  { op: 'Slice', label: 'bounds fed', inputs: [rand([5, 6]), fedInts(1), fedInts(3), ints(0)], dataDependent: true },
  { op: 'Slice', label: 'scalar result axis', inputs: [rand([5, 6]), ints(0, 0), ints(1, 1), ints(0, 1), ints(1, 1)] },
];
