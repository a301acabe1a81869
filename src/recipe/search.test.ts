import { expect, test } from 'vitest';
import { searchKept } from './search.js';

/** Layers whose errors add up, some of which cancel. */
function additive(errors: readonly number[], pairs: readonly (readonly [number, number, number])[] = []) {
  return (kept: Iterable<number>) => {
    const set = new Set(kept);
    const alone = errors.reduce((sum, e, i) => sum + (set.has(i) ? 0 : e), 0);
    return pairs.reduce((sum, [a, b, e]) => sum + (set.has(a) || set.has(b) ? 0 : e), alone);
  };
}

const flat = (n: number) => new Array<number>(n).fill(1 / n);

test('nothing is kept where the target holds as it is, after one measurement', async () => {
  const loss = additive([0.1, 0.2]);
  const found = await searchKept({ layers: 2, cost: flat(2), predict: loss, measure: async (kept) => loss(kept), target: 0.5 });
  expect(found.best.kept).toEqual([]);
  expect(found.points).toHaveLength(1);
});

test('finds the smallest set in a few measurements although the prediction is off by a factor', async () => {
  const errors = Array.from({ length: 40 }, (_, i) => (i % 7 === 0 ? 1 : 0.01));
  const loss = additive(errors);
  const found = await searchKept({ layers: 40, cost: flat(40), predict: (k) => 3 * loss(k), measure: async (k) => loss(k), target: 0.4 });
  expect(found.met).toBe(true);
  expect(found.best.kept).toEqual([0, 7, 14, 21, 28, 35]);
  expect(found.points.length).toBeLessThanOrEqual(8);
});

test('errors that cancel are kept or quantized together, where one at a time would keep the wrong layer', async () => {
  // Layers 0 and 1 cancel each other: keeping either alone makes things worse.
  const loss = additive([1, 1, 0.3, 0.3], [[0, 1, -1.9]]);
  const found = await searchKept({ layers: 4, cost: flat(4), predict: loss, measure: async (k) => loss(k), target: 0.15 });
  expect(found.best.kept).toEqual([2, 3]);
});

test('a wrong prediction costs measurements, not the target', async () => {
  const loss = additive([1, 0.1, 0.1, 0.1]);
  const misled = additive([0.1, 1, 1, 1]);
  const found = await searchKept({
    layers: 4,
    cost: flat(4),
    predict: misled,
    measure: async (k) => loss(k),
    target: 0.35,
    maxMeasurements: 16,
  });
  expect(found.met).toBe(true);
  expect(loss(found.best.kept)).toBeLessThanOrEqual(0.35);
});

test('a target out of reach answers the best found, within the measurements allowed', async () => {
  const loss = (kept: Iterable<number>) => 1 + additive([0.5, 0.2])(kept);
  const found = await searchKept({
    layers: 2,
    cost: flat(2),
    predict: loss,
    measure: async (k) => loss(k),
    target: 0.9,
    maxMeasurements: 5,
  });
  expect(found.met).toBe(false);
  expect(found.best.loss).toBeCloseTo(1);
  expect(found.points.length).toBeLessThanOrEqual(5);
});
