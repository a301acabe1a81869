import { expect, test } from 'vitest';
import { parseModel } from '../ir/text.js';
import { quantizeDynamic } from '../passes/quantize/dynamic.js';
import { unmatchedSelections } from './unmatched.js';

test('patterns and operators that fit nothing are named, others are not', () => {
  const model = parseModel('g (float[2,2] x) => (float[2,2] y) <float[2,2] w = random> { [head] a = MatMul(x, w) y = Relu(a) }');
  const warn = (options: Parameters<typeof quantizeDynamic>[0]) =>
    unmatchedSelections([quantizeDynamic(options)], [model]).map((w) => w.message);
  expect(warn({ exclude: ['he*'], opTypes: ['MatMul'] })).toEqual([]);
  expect(warn({ exclude: ['tail'], opTypes: ['Conf'] })).toEqual([
    '--exclude tail fits no node',
    '--op-types Conf: the model has no such operator',
  ]);
});
