import { expect, test } from 'vitest';
import { Rng } from './rng.js';
import { symmetricEigen } from './symmetric-eigen.js';

function randomGram(n: number, rank: number, seed: number): Float64Array {
  const rng = new Rng(seed);
  const x = Float64Array.from({ length: rank * n }, () => rng.normal());
  const a = new Float64Array(n * n);
  for (let r = 0; r < rank; r++) for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) a[i * n + j]! += x[r * n + i]! * x[r * n + j]!;
  return a;
}

test.each([
  [1, 1],
  [2, 2],
  [7, 7],
  [60, 60],
  [40, 5],
])('a matrix of %i rows and rank %i is what its eigenvectors make', (n, rank) => {
  const a = randomGram(n, rank, n);
  const { values, vectors } = symmetricEigen(a, n);
  expect([...values].every((v, i) => i === 0 || v <= values[i - 1]!)).toBe(true);
  let worst = 0;
  let skew = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      let dot = 0;
      for (let v = 0; v < n; v++) {
        sum += values[v]! * vectors[v * n + i]! * vectors[v * n + j]!;
        dot += vectors[i * n + v]! * vectors[j * n + v]!;
      }
      worst = Math.max(worst, Math.abs(sum - a[i * n + j]!));
      skew = Math.max(skew, Math.abs(dot - (i === j ? 1 : 0)));
    }
  }
  expect(worst).toBeLessThan(1e-10 * (values[0]! + 1));
  expect(skew).toBeLessThan(1e-11);
  expect(values.slice(rank).every((v) => Math.abs(v) < 1e-10 * (values[0]! + 1))).toBe(true);
});

test('diagonal and zero matrices', () => {
  expect([...symmetricEigen([3, 0, 0, 0, -1, 0, 0, 0, 5], 3).values]).toEqual([5, 3, -1]);
  expect([...symmetricEigen(new Float64Array(16), 4).values]).toEqual([0, 0, 0, 0]);
});
