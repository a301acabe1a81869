// Samples of the sequence operators. Sequences cannot cross the border, so each graph ends in a tensor.

import type { AttributeInput } from '../../../src/ir/attribute.js';
import type { Builder } from '../../../src/ir/builder.js';
import { Builder as BodyBuilder } from '../../../src/ir/builder.js';
import type { Value } from '../../../src/ir/graph.js';
import { Graph } from '../../../src/ir/graph.js';
import type { OpSample, SampleInput } from '../op-sample.js';

const X: SampleInput = { dtype: 'float', dims: [2, 3] };
const LONG: SampleInput = { dtype: 'float', dims: [6, 3] };

function pair(b: Builder): Value {
  return b.op('SequenceConstruct', [b.input('p', 'float', [2, 3]), b.input('q', 'float', [2, 3])]);
}

function sample(
  op: string,
  label: string,
  feeds: Record<string, SampleInput>,
  build: (b: Builder) => Value,
  extra: Partial<OpSample> = {},
): OpSample {
  return { op, label, inputs: [], feeds, build: (b) => void b.output(build(b)), ...extra };
}

function concat(b: Builder, sequence: Value, attributes: Record<string, AttributeInput> = { axis: 0 }): Value {
  return b.op('ConcatFromSequence', [sequence], attributes);
}

export const SAMPLES: readonly OpSample[] = [
  sample('SequenceConstruct', 'joined', { p: X, q: X }, (b) => concat(b, pair(b))),
  sample('ConcatFromSequence', 'axis 1', { p: X, q: { dtype: 'float', dims: [2, 5] } }, (b) =>
    concat(b, b.op('SequenceConstruct', [b.input('p', 'float', [2, 3]), b.input('q', 'float', [2, 5])]), { axis: 1 }),
  ),
  sample('ConcatFromSequence', 'new axis', { p: X, q: X }, (b) => concat(b, pair(b), { axis: -1, new_axis: 1 })),
  sample('SequenceAt', 'last', { p: X, q: X }, (b) => b.op('SequenceAt', [pair(b), b.scalar('at', 'int64', -1)])),
  sample('SequenceLength', 'two', { p: X, q: X }, (b) => b.op('SequenceLength', [pair(b)])),
  sample(
    'SequenceEmpty',
    'filled',
    { p: X },
    (b) => concat(b, b.op('SequenceInsert', [b.op('SequenceEmpty', []), b.input('p', 'float', [2, 3])])),
    { dataDependent: true },
  ),
  sample('SequenceInsert', 'front', { p: X, q: X }, (b) =>
    b.op('SequenceLength', [b.op('SequenceInsert', [pair(b), b.graph.value('p')!, b.scalar('at', 'int64', 0)])]),
  ),
  sample('SequenceErase', 'last', { p: X, q: X }, (b) => b.op('SequenceLength', [b.op('SequenceErase', [pair(b)])])),
  sample('SplitToSequence', 'ones', { x: X }, (b) =>
    concat(b, b.op('SplitToSequence', [b.input('x', 'float', [2, 3])], { axis: 1 }), { axis: 1 }),
  ),
  sample('SplitToSequence', 'ones, dropped', { x: X }, (b) =>
    concat(b, b.op('SplitToSequence', [b.input('x', 'float', [2, 3])], { axis: 1, keepdims: 0 }), { axis: 0, new_axis: 1 }),
  ),
  sample('SplitToSequence', 'pairs', { x: LONG }, (b) => {
    const parts = b.op('SplitToSequence', [b.input('x', 'float', [6, 3]), b.scalar('size', 'int64', 2)]);
    return b.op('SequenceAt', [parts, b.scalar('at', 'int64', 1)]);
  }),
  sample('SplitToSequence', 'length', { x: LONG }, (b) => {
    const parts = b.op('SplitToSequence', [b.input('x', 'float', [6, 3]), b.scalar('size', 'int64', 4)]);
    return b.op('SequenceLength', [parts]);
  }),
  sample(
    'SplitToSequence',
    'list of sizes',
    { x: LONG },
    (b) => {
      const parts = b.op('SplitToSequence', [b.input('x', 'float', [6, 3]), b.ints('sizes', [1, 2, 3])]);
      return b.op('SequenceAt', [parts, b.scalar('at', 'int64', 2)]);
    },
    { dataDependent: true },
  ),
  sample('SequenceMap', 'transpose', { p: X, q: X }, (b) => {
    const body = new Graph('body', b.graph);
    const inner = new BodyBuilder(body);
    inner.output(inner.op('Transpose', [inner.input('e', 'float', [2, 3])], { perm: [1, 0] }));
    const mapped = b.op('SequenceMap', [pair(b)], { body: { type: 'graph', value: body } });
    return concat(b, mapped, { axis: 0, new_axis: 1 });
  }),
];
