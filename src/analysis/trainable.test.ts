import { expect, it } from 'vitest';
import { parseModel } from '../ir/text.js';
import { trainableParameters } from './trainable.js';

const names = (text: string) => trainableParameters(parseModel(`<ir_version: 10, opset_import: ["" : 21]> ${text}`)).map((v) => v.name);

it('takes weights, and no settings of operators', () => {
  const text = `g (float[1,2,4,4] x) => (float[1,2,8,8] y) <float[2,2,1,1] w = {1,2,3,4}, float[2] bias = {0, 0}, float[4] scales = {1,1,2,2},
    float[1] low = {0}, float[1] high = {6}> { a = Conv(x, w, bias) b = Resize(a, , scales) y = Clip(b, low, high) }`;
  expect(names(text)).toEqual(['w', 'bias']);
});

it('takes no single numbers of formulas, but biases of a single feature', () => {
  const text = `g (float[N,4] x) => (float[N,1] y) <float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[1] half = {0.5}, float[1] three = {3},
    float[3,1] v = {1,2,3}, float[1] bias = {0}>
    { a = MatMul(x, w) b = Mul(a, half) c = Pow(b, three) d = MatMul(c, v) y = Add(d, bias) }`;
  expect(names(text)).toEqual(['w', 'v', 'bias']);
});

it('takes a value that is a weight somewhere', () => {
  const text = `g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1,2,3,4}> { a = Pow(x, w) y = MatMul(a, w) }`;
  expect(names(text)).toEqual(['w']);
});
