import { expect, test } from 'vitest';
import type { Dim } from '../ir/type.js';
import { sliceExtent } from './slice.js';

const END = Number.MAX_SAFE_INTEGER;

test.each<[string, Dim, Dim, Dim, number, Dim]>([
  ['x[:]', 'n', 0, END, 1, 'n'],
  ['x[:n]', 'n', 0, 'n', 1, 'n'],
  ['x[:1]', 'n', 0, 1, 1, 1],
  ['x[-1:]', 'n', -1, END, 1, 1],
  ['x[:-1]', 'n', 0, -1, 1, 'n-1'],
  ['x[1:]', 'n', 1, END, 1, 'n-1'],
  ['x[2:]', 'n', 2, END, 1, 'max(0,n-2)'],
  ['x[-3:]', 'n', -3, END, 1, 'min(3,n)'],
  ['x[::2]', 'n', 0, END, 2, 'floor((n+1)/2)'],
  ['x[::-1]', 'n', -1, -END, -1, 'n'],
  ['a table cut to a length', 512, 0, 'seq', 1, 'min(512,seq)'],
  ['what follows the past', 'past+seq', 'past', 'past+seq', 1, 'seq'],
  ['a start of unknown sign', 'n', 'a-1*b', END, 1, null],
  ['an unknown end', 'n', 0, null, 1, null],
  ['numbers', 10, -4, -1, 1, 3],
  ['nothing', 10, 5, 2, 1, 0],
  ['numbers backwards', 10, 8, 1, -3, 3],
])('%s', (_, extent, start, end, step, expected) => {
  expect(sliceExtent(extent, start, end, step)).toBe(expected);
});
