// Samples of If, Loop and Scan.
import type { OpSample } from '../op-sample.js';

export const SAMPLES: readonly OpSample[] = [
  {
    op: 'If',
    inputs: [{ dtype: 'bool', dims: [], values: [1] }],
    subgraphs: {
      then_branch: (b) => b.output(b.floats('t', [2, 3], [1, 2, 3, 4, 5, 6])),
      else_branch: (b) => b.output(b.floats('e', [2, 3], [6, 5, 4, 3, 2, 1])),
    },
  },
  {
    op: 'If',
    label: 'branches of two shapes, known condition',
    inputs: [{ dtype: 'bool', dims: [], values: [0], constant: true }],
    subgraphs: {
      then_branch: (b) => b.output(b.floats('t', [2], [1, 2])),
      else_branch: (b) => b.output(b.floats('e', [3], [6, 5, 4])),
    },
  },
  {
    op: 'If',
    label: 'branches of two shapes',
    dataDependent: true,
    inputs: [{ dtype: 'bool', dims: [], values: [0] }],
    subgraphs: {
      then_branch: (b) => b.output(b.floats('t', [2, 3], [1, 2, 3, 4, 5, 6])),
      else_branch: (b) => b.output(b.floats('e', [1, 3], [6, 5, 4])),
    },
  },
  {
    op: 'Loop',
    label: 'for',
    outputs: 2,
    inputs: [{ dtype: 'int64', dims: [], values: [4], constant: true }, null, { dtype: 'float', dims: [2, 3] }],
    subgraphs: {
      body: (b) => {
        b.input('i', 'int64', []);
        const go = b.input('go', 'bool', []);
        const x = b.input('x', 'float', null);
        b.output(b.op('Identity', [go]));
        b.output(b.op('Identity', [x]));
        b.output(b.op('Identity', [x]));
      },
    },
  },
  {
    op: 'Loop',
    label: 'while',
    outputs: 2,
    dataDependent: true,
    inputs: [null, { dtype: 'bool', dims: [], values: [1] }, { dtype: 'float', dims: [3], values: [1, 2, 3] }],
    subgraphs: {
      body: (b) => {
        b.input('i', 'int64', []);
        b.input('go', 'bool', []);
        const x = b.input('x', 'float', null);
        b.output(b.scalar('stop', 'bool', 0));
        b.output(b.op('Identity', [x]));
        b.output(b.op('Identity', [x]));
      },
    },
  },
  {
    op: 'Loop',
    label: 'growing',
    outputs: 1,
    dataDependent: true,
    inputs: [{ dtype: 'int64', dims: [], values: [3] }, null, { dtype: 'float', dims: [1, 2] }],
    subgraphs: {
      body: (b, outer) => {
        b.input('i', 'int64', []);
        const go = b.input('go', 'bool', []);
        const x = b.input('x', 'float', null);
        b.output(b.op('Identity', [go]));
        b.output(b.op('Concat', [x, outer(2)], { axis: 0 }));
      },
    },
  },
  {
    op: 'Scan',
    outputs: 2,
    inputs: [
      { dtype: 'float', dims: [3] },
      { dtype: 'float', dims: [5, 3] },
    ],
    attributes: { num_scan_inputs: 1 },
    subgraphs: {
      body: (b) => {
        const sum = b.input('sum', 'float', [3]);
        const x = b.input('x', 'float', [3]);
        const next = b.op('Add', [sum, x]);
        b.output(next);
        b.output(b.op('Identity', [next]));
      },
    },
  },
  {
    op: 'Scan',
    label: 'axes and reverse',
    outputs: 2,
    inputs: [
      { dtype: 'float', dims: [3] },
      { dtype: 'float', dims: [3, 5] },
    ],
    attributes: { num_scan_inputs: 1, scan_input_axes: [1], scan_output_axes: [-1], scan_input_directions: [1] },
    subgraphs: {
      body: (b) => {
        const sum = b.input('sum', 'float', [3]);
        const x = b.input('x', 'float', [3]);
        const next = b.op('Add', [sum, x]);
        b.output(next);
        b.output(b.op('Identity', [next]));
      },
    },
  },
];
