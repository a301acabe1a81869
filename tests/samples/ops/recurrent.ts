// Samples of RNN, GRU and LSTM: directions, initial states, peepholes, omitted outputs.
import type { OpSample, SampleInput } from '../op-sample.js';

const SEQ = 4;
const BATCH = 2;
const INPUT = 3;
const HIDDEN = 5;

function f(...dims: number[]): SampleInput {
  return { dtype: 'float', dims };
}

function weights(gates: number, directions: number): SampleInput[] {
  return [
    { ...f(directions, gates * HIDDEN, INPUT), constant: true },
    { ...f(directions, gates * HIDDEN, HIDDEN), constant: true },
  ];
}

function bias(gates: number, directions: number): SampleInput {
  return { ...f(directions, 2 * gates * HIDDEN), constant: true };
}

const LENGTHS: SampleInput = { dtype: 'int32', dims: [BATCH], values: [4, 2] };

export const SAMPLES: readonly OpSample[] = [
  { op: 'RNN', inputs: [f(SEQ, BATCH, INPUT), ...weights(1, 1)], outputs: 2, attributes: { hidden_size: HIDDEN } },
  {
    op: 'RNN',
    label: 'bidirectional',
    inputs: [f(SEQ, BATCH, INPUT), ...weights(1, 2), bias(1, 2), LENGTHS, f(2, BATCH, HIDDEN)],
    outputs: 2,
    attributes: { hidden_size: HIDDEN, direction: 'bidirectional' },
  },
  { op: 'GRU', inputs: [f(SEQ, BATCH, INPUT), ...weights(3, 1), bias(3, 1)], outputs: 2, attributes: { hidden_size: HIDDEN } },
  {
    op: 'GRU',
    label: 'reverse, last state only',
    inputs: [f(SEQ, BATCH, INPUT), ...weights(3, 1), null, null, f(1, BATCH, HIDDEN)],
    outputs: [null, 'h'],
    attributes: { hidden_size: HIDDEN, direction: 'reverse', linear_before_reset: 1 },
  },
  { op: 'GRU', opset: 7, inputs: [f(SEQ, BATCH, INPUT), ...weights(3, 1)], outputs: 1, attributes: { hidden_size: HIDDEN } },
  { op: 'LSTM', inputs: [f(SEQ, BATCH, INPUT), ...weights(4, 1), bias(4, 1)], outputs: 3, attributes: { hidden_size: HIDDEN } },
  {
    op: 'LSTM',
    label: 'bidirectional with states and peepholes',
    inputs: [
      f(SEQ, BATCH, INPUT),
      ...weights(4, 2),
      bias(4, 2),
      null,
      f(2, BATCH, HIDDEN),
      f(2, BATCH, HIDDEN),
      { ...f(2, 3 * HIDDEN), constant: true },
    ],
    outputs: 3,
    attributes: { hidden_size: HIDDEN, direction: 'bidirectional' },
  },
  {
    op: 'LSTM',
    label: 'bidirectional with states',
    inputs: [f(SEQ, BATCH, INPUT), ...weights(4, 2), bias(4, 2), null, f(2, BATCH, HIDDEN), f(2, BATCH, HIDDEN)],
    outputs: 3,
    attributes: { hidden_size: HIDDEN, direction: 'bidirectional' },
  },
  {
    op: 'GRU',
    label: 'bidirectional with states',
    inputs: [f(SEQ, BATCH, INPUT), ...weights(3, 2), bias(3, 2), null, f(2, BATCH, HIDDEN)],
    outputs: 2,
    attributes: { hidden_size: HIDDEN, direction: 'bidirectional' },
  },
  {
    op: 'LSTM',
    label: 'states only',
    opset: 11,
    inputs: [f(SEQ, BATCH, INPUT), ...weights(4, 1)],
    outputs: [null, 'h', 'c'],
    attributes: { hidden_size: HIDDEN },
  },
  {
    op: 'LSTM',
    label: 'batch first',
    inputs: [f(BATCH, SEQ, INPUT), ...weights(4, 1)],
    outputs: 3,
    attributes: { hidden_size: HIDDEN, layout: 1 },
    noKernel: 'no kernel takes layout 1',
    expect: ['float[2,4,1,5]', 'float[2,1,5]', 'float[2,1,5]'],
  },
];
