import { expect, test } from 'vitest';
import { divItems, itemLess, itemsEqual, modItems, roundItem, settle } from './partial-value.js';

test('comparisons of symbols are decided only where they hold for all extents', () => {
  expect(itemsEqual('n', -1)).toBe(false);
  expect(itemsEqual('n', 0)).toBeUndefined();
  expect(itemsEqual('n', 'n')).toBe(true);
  expect(itemsEqual('n', 0.5)).toBe(false);
  expect(itemLess('n', 'n+1')).toBe(true);
  expect(itemLess('n', 0)).toBe(false);
  expect(itemLess('n', 5)).toBeUndefined();
});

test('arithmetic of items', () => {
  expect(divItems(-7, 2, 'int64'), 'towards zero').toBe(-3);
  expect(divItems(1, 4, 'float')).toBe(0.25);
  expect(divItems('6*n', 3, 'float'), 'exact').toBe('2*n');
  expect(divItems('n', 2, 'float'), 'a fraction is not followed').toBeNull();
  expect(divItems('n', 2, 'int64')).toBe('floor(n/2)');
  expect(divItems(1, 0, 'int64')).toBeNull();
  expect(modItems(-7, 3, false)).toBe(2);
  expect(modItems(-7, 3, true)).toBe(-1);
  expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4].map(roundItem)).toEqual([0, 2, 2, 0, -2, 2]);
  expect(settle('float', 0.1)).toBe(Math.fround(0.1));
  expect(settle('int32', 2 ** 31), 'wraps in the engine: not followed').toBeNull();
  expect(settle('float16', 1 / 3)).toBeCloseTo(1 / 3, 3);
});
