import { expect, test } from 'vitest';
import { Tensor } from '../ir/tensor.js';
import { DifferenceAccumulator, PERFECT_SQNR } from './difference.js';

const floats = (dims: number[], values: number[]) => Tensor.from('float', dims, values);

test('equal outputs', () => {
  const d = new DifferenceAccumulator('y');
  d.add(floats([2, 2], [1, 2, 3, 4]), floats([2, 2], [1, 2, 3, 4]));
  expect(d.result()).toMatchObject({ maxAbs: 0, meanAbs: 0, cosine: 1, sqnr: PERFECT_SQNR, agreement: 1, kl: 0, nonFinite: 0 });
});

test('figures are those of their definitions, over several batches', () => {
  const d = new DifferenceAccumulator('y');
  d.add(floats([1, 2], [3, 0]), floats([1, 2], [3, 1]));
  d.add(floats([1, 2], [0, 4]), floats([1, 2], [0, 4]));
  const r = d.result();
  expect(r.maxAbs).toBe(1);
  expect(r.meanAbs).toBeCloseTo(0.25);
  expect(r.sqnr).toBeCloseTo(10 * Math.log10(25 / 1));
  expect(r.cosine).toBeCloseTo(25 / Math.sqrt(25 * 26));
  expect(r.agreement).toBe(1);
  const softmax = (a: number, b: number) => 1 / (1 + Math.exp(b - a));
  const [p, q] = [softmax(3, 0), softmax(3, 1)];
  expect(r.kl).toBeCloseTo((p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q))) / 2, 6);
});

test('outputs without a class axis have no agreement', () => {
  const d = new DifferenceAccumulator('boxes');
  d.add(floats([1, 10, 4], new Array(40).fill(1)), floats([1, 10, 4], new Array(40).fill(2)));
  expect(d.result()).toMatchObject({ agreement: null, kl: null, maxAbs: 1 });
});

test('NaN and infinity in one model only are counted, in both they are no difference', () => {
  const d = new DifferenceAccumulator('y');
  d.add(floats([4], [Number.NaN, 1, Number.NEGATIVE_INFINITY, 1]), floats([4], [Number.NaN, Number.NaN, Number.NEGATIVE_INFINITY, 1]));
  expect(d.result()).toMatchObject({ nonFinite: 1, maxAbs: 0 });
});

test('strings agree or do not', () => {
  const d = new DifferenceAccumulator('label');
  d.add(Tensor.strings([2], ['cat', 'dog']), Tensor.strings([2], ['cat', 'cow']));
  expect(d.result().agreement).toBe(0.5);
});

test('another shape is an error that names both', () => {
  const d = new DifferenceAccumulator('y');
  expect(() => d.add(floats([1, 2], [1, 2]), floats([2, 1], [1, 2]))).toThrow('expected [1,2] as the original gives, got [2,1]');
});
