import { expect, test } from 'vitest';
import { Tensor } from '../ir/tensor.js';
import { tensorStats } from './tensor-stats.js';

test('moments, zeros and histogram', () => {
  const s = tensorStats('w', Tensor.from('float', [4], [0, 0, 1, 3]), 3)!;
  expect(s).toMatchObject({ min: 0, max: 3, mean: 1, sparsity: 0.5, outliers: 0, histogram: [2, 1, 1] });
  expect(s.std).toBeCloseTo(Math.sqrt(1.5));
});

test('one far value among many is an outlier', () => {
  const values = Array.from({ length: 1000 }, (_, i): number => (i % 2 ? 1 : -1));
  values[7] = 500;
  expect(tensorStats('w', Tensor.from('float', [1000], values))!.outliers).toBe(0.001);
});

test('quantized types are read as their numbers, a constant tensor has one full bin', () => {
  const s = tensorStats('q', Tensor.from('int4', [3], [-8, -8, -8]), 4)!;
  expect(s).toMatchObject({ min: -8, max: -8, std: 0, histogram: [3, 0, 0, 0] });
});

test('strings and empty tensors have none', () => {
  expect(tensorStats('s', Tensor.strings([1], ['a']))).toBeUndefined();
  expect(tensorStats('e', Tensor.from('float', [0], []))).toBeUndefined();
});
