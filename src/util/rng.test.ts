import { expect, test } from 'vitest';
import { Rng } from './rng.js';

test('the same seed gives the same numbers, forks differ by label and leave the parent alone', () => {
  const take = (r: Rng) => Array.from({ length: 5 }, () => r.uint32());
  expect(take(new Rng(1))).toEqual(take(new Rng(1)));
  expect(take(new Rng(1))).not.toEqual(take(new Rng(2)));
  const parent = new Rng(3);
  const [a, b] = [parent.fork('a'), parent.fork('b')];
  expect(take(a)).not.toEqual(take(b));
  expect(take(parent)).toEqual(take(new Rng(3)));
});

test('uniform and normal deviates have their moments', () => {
  const rng = new Rng(7);
  const n = 20_000;
  const normals = Array.from({ length: n }, () => rng.normal());
  const mean = normals.reduce((s, x) => s + x, 0) / n;
  const variance = normals.reduce((s, x) => s + (x - mean) ** 2, 0) / n;
  expect(Math.abs(mean)).toBeLessThan(0.03);
  expect(Math.abs(variance - 1)).toBeLessThan(0.05);
  const bins = new Array<number>(10).fill(0);
  for (let i = 0; i < n; i++) bins[rng.integer(10)]!++;
  for (const count of bins) expect(Math.abs(count - n / 10)).toBeLessThan(250);
});

test('shuffle is a permutation', () => {
  const items = Array.from({ length: 50 }, (_, i) => i);
  const shuffled = new Rng(1).shuffle([...items]);
  expect(shuffled).not.toEqual(items);
  expect(shuffled.sort((a, b) => a - b)).toEqual(items);
});
