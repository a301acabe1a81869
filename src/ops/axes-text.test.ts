import { expect, test } from 'vitest';
import { Builder } from '../ir/builder.js';
import { Graph } from '../ir/graph.js';
import type { Shape } from '../ir/type.js';
import { axesOfNode } from './axes.js';
import { broadcastTerms, regroup } from './axes-text.js';
import { opRecord } from './registry.js';

function text(from: Shape, to: Shape): string {
  return regroup(from, to)
    .map((terms) => terms.join(' '))
    .join(' -> ');
}

test.each<[Shape, Shape, string]>([
  [['b', 's', 768], ['b', 's', 12, 64], 'a b (cd) -> a b c d'],
  [['b', 's', 12, 64], ['b', 's', 768], 'a b c d -> a b (cd)'],
  [['b', 's', 768], ['b*s', 768], 'a b c -> (ab) c'],
  [['b', 16, 4, 4], ['b', 256], 'a b c d -> a (bcd)'],
  [['b', 64, 1, 1], ['b', 64], 'a b . . -> a b'],
  [[8, 3], [4, 6], '(ab) c -> a (bc)'],
  [[6, 4], [4, 6], '. . -> . .'],
  [['b', 6, 4], ['b', 4, 6], 'a . . -> a . .'],
  [[4, 9], [2, 6, 3], '(ab) (cd) -> a (bc) d'],
  [['b', null, 4], ['b', 4, null], 'a . . -> a . .'],
  [[1, 1], [], '. . -> '],
])('regrouping %j as %j', (from, to, expected) => {
  expect(text(from, to)).toBe(expected);
});

test('broadcasting frees only axes whose extents are certainly equal', () => {
  const { operands, result } = broadcastTerms([
    ['n', 8, 'h', 4],
    [8, 1, 1],
    ['m', 1, 'h', 4],
  ]);
  expect(operands.map((t) => t.join(''))).toEqual(['.bcd', 'b..', '..cd']);
  expect(result.join('')).toBe('.bcd');
});

/** Statement of one node as text, with shapes as given. */
function statement(
  op: string,
  shapes: readonly Shape[],
  attributes: Record<string, number | number[] | string>,
  constants: Record<number, number[]> = {},
) {
  const b = new Builder(new Graph('g'));
  const inputs = shapes.map((shape, i) => (constants[i] ? b.ints(`c${i}`, constants[i]) : b.input(`x${i}`, 'float', shape)));
  const node = b.node(op, inputs, attributes);
  const record = opRecord('', op)!;
  expect(axesOfNode(record, node, shapes)).not.toBeNull();
  return typeof record.axes === 'function' ? record.axes(node, shapes) : record.axes;
}

test('statements of single nodes', () => {
  expect(statement('Transpose', [['n', 3, 4]], { perm: [0, 2, 1] })).toBe('abc->acb');
  expect(
    statement(
      'Concat',
      [
        ['n', 3],
        ['n', 5],
      ],
      { axis: -1 },
    ),
  ).toBe('ac,ad->a(c+d)');
  expect(statement('Pad', [['n', 16, 8, 8], [8]], {}, { 1: [0, 8, 0, 1, 0, 8, 0, 0] })).toBe('abcd,_->a(.+b+.)c(.+d)');
  expect(statement('Pad', [[4, 8], [4]], { mode: 'reflect' }, { 1: [0, 1, 0, 0] })).toBe('a.,_->a.');
  expect(statement('Tile', [[4, 8], [2]], {}, { 1: [1, 3] })).toBe('ab,_->a(.b)');
  expect(
    statement(
      'Gather',
      [
        [100, 8],
        ['n', 's'],
      ],
      {},
    ),
  ).toBe('.b,cd->cdb');
  expect(statement('ReduceSum', [['n', 3, 4], [1]], { keepdims: 0 }, { 1: [2] })).toBe('abc,_->ab');
  expect(statement('ReduceMean', [['n', 3, 4]], { axes: [-1] })).toBe('ab.->ab.');
  expect(statement('DepthToSpace', [['n', 16, 8, 8]], { blocksize: 2 })).toBe('n(..c)hw->nc(h.)(w.)');
});
