import { expect, test } from 'vitest';
import type { LayerEvidence } from './cause.js';
import { CAUSES, findCauses } from './causes.js';

const healthy: LayerEvidence = {
  node: 'conv1',
  op: 'Conv',
  output: 'y',
  kind: 'integer',
  errorIn: 35,
  errorOut: 33,
  own: 40,
  ownExact: 40,
  weight: { name: 'w', sqnr: 42, perTensor: false, spread: 20, largest: 3, depthwise: false },
  input: { name: 'x', sqnr: 45, range: [-1, 1], min: -1, max: 1, common: 0.8, typical: 0.3, channelSpread: 2, channel: 0 },
  nonFinite: 0,
  outputPeak: 5,
  split: null,
};

const poorInput = { ...healthy.input!, sqnr: 15 };

const SICK: readonly [string, LayerEvidence, RegExp][] = [
  [
    'per-tensor-weight',
    { ...healthy, weight: { ...healthy.weight!, perTensor: true, depthwise: true, sqnr: 20 } },
    /depthwise weight w .*channel 3 is 20 times/,
  ],
  ['range-collapse', { ...healthy, input: { ...poorInput, range: [0, 100], common: 2 } }, /reaches 100 .*below 2 /],
  [
    'range-collapse',
    { ...healthy, op: 'Sqrt', own: 12, ownExact: null, weight: null, input: { ...healthy.input!, range: [0, 100], typical: 0.1 } },
    /Sqrt reads x.*0 of 256 codes.*45 dB.*12 dB/,
  ],
  ['clipped-range', { ...healthy, input: { ...poorInput, max: 3 } }, /values from -1 to 3, range -1 to 1/],
  ['outlier-channel', { ...healthy, input: { ...poorInput, channelSpread: 30, channel: 7 } }, /channel 7 peaks at 30 times/],
  ['saturation', { ...healthy, own: 20, ownExact: 38 }, /20 dB .* 38 dB/],
  ['fp16-overflow', { ...healthy, kind: 'half', nonFinite: 4, outputPeak: 1e5 }, /reach 100000/],
  ['coarse-weight', { ...healthy, kind: 'stored', weight: { ...healthy.weight!, sqnr: 14 } }, /rounded to 14 dB/],
  [
    'tied-weights-split',
    { ...healthy, split: { weight: 'emb', names: ['emb_a', 'emb_b'], bytes: 20, bytesBefore: 40 } },
    /emb \(40 bytes\).*emb_a, emb_b/,
  ],
  ['unquantizable', { ...healthy, kind: 'float' }, /computes in float/],
];

test('a healthy layer has no cause', () => {
  expect(findCauses([healthy])).toEqual([]);
});

test.each(SICK)('%s is found alone, with its numbers', (cause, layer, evidence) => {
  const found = findCauses([layer]);
  expect(found.map((f) => f.cause)).toEqual([cause]);
  expect(found[0]!.evidence).toMatch(evidence);
});

test('every cause has a sample here, and the layer that loses most comes first', () => {
  expect(new Set(SICK.map(([cause]) => cause))).toEqual(new Set(CAUSES.map((c) => c.name)));
  const worse = { ...SICK[1]![1], node: 'conv2', own: 5, ownExact: 5 };
  expect(findCauses([SICK[0]![1], worse]).map((f) => f.node)).toEqual(['conv2', 'conv1']);
});
