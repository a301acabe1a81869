// Samples of the operators on optional values; each graph ends in a tensor.
import type { OpSample, SampleInput } from '../op-sample.js';

const X: SampleInput = { dtype: 'float', dims: [2, 3] };

export const SAMPLES: readonly OpSample[] = [
  {
    op: 'Optional',
    inputs: [],
    feeds: { x: X },
    build: (b) => void b.output(b.op('OptionalGetElement', [b.op('Optional', [b.input('x', 'float', [2, 3])])])),
  },
  {
    op: 'OptionalGetElement',
    label: 'of a tensor',
    inputs: [X],
  },
  {
    op: 'OptionalHasElement',
    inputs: [],
    feeds: { x: X },
    build: (b) => void b.output(b.op('OptionalHasElement', [b.op('Optional', [b.input('x', 'float', [2, 3])])])),
  },
];
