import { expect, test } from 'vitest';
import { MinCut } from './min-cut.js';
import { Rng } from './rng.js';

test('finds the labels of least price, as trying all of them does', () => {
  const rng = new Rng(3);
  for (let round = 0; round < 40; round++) {
    const n = 7;
    const prices = Array.from({ length: n }, () => [rng.uniform(), rng.uniform()] as const);
    const borders = Array.from({ length: 12 }, () => [rng.integer(n), rng.integer(n), rng.uniform() / 2] as const).filter(
      ([a, b]) => a !== b,
    );
    const cut = new MinCut(n);
    for (const [i, [on, off]] of prices.entries()) cut.price(i, on, off);
    for (const [a, b, price] of borders) cut.border(a, b, price);
    const total = (labels: readonly boolean[]) =>
      prices.reduce((sum, [on, off], i) => sum + (labels[i] ? on : off), 0) +
      borders.reduce((sum, [a, b, price]) => sum + (labels[a] && !labels[b] ? price : 0), 0);
    const all = Array.from({ length: 1 << n }, (_, code) => Array.from({ length: n }, (_, i) => ((code >> i) & 1) === 1));
    expect(total(cut.solve())).toBeCloseTo(Math.min(...all.map(total)), 9);
  }
});

test('an infinite price is never paid', () => {
  const cut = new MinCut(2);
  cut.price(0, Number.POSITIVE_INFINITY, 1);
  cut.price(1, 0, 5);
  cut.border(1, 0, 2);
  expect(cut.solve()).toEqual([false, true]);
});
