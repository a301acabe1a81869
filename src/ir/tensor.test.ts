import { expect, test } from 'vitest';
import type { DType } from './dtype.js';
import { elementCount, Tensor } from './tensor.js';

test('halves round to nearest even, both ways', () => {
  const values = [0, -0, 1, 1 / 3, 65504, 65519, 65520, 6e-8, 2.98e-8, -2.5, Number.NaN, Number.NEGATIVE_INFINITY];
  const half = Tensor.from('float16', [values.length], values);
  expect([...(half.view() as Uint16Array)].map((b) => b.toString(16))).toEqual([
    '0',
    '8000',
    '3c00',
    '3555',
    '7bff',
    '7bff',
    '7c00',
    '1',
    '0',
    'c100',
    '7e00',
    'fc00',
  ]);
  expect([...half.floats()].slice(2, 5)).toEqual([1, 0.333251953125, 65504]);
});

test('bfloat16 rounds to nearest even and keeps NaN', () => {
  const b = Tensor.from('bfloat16', [4], [1, 1.00390625, 1.01171875, Number.NaN]);
  expect([...(b.view() as Uint16Array)].map((x) => x.toString(16))).toEqual(['3f80', '3f80', '3f82', '7fc0']);
  expect([...b.floats()].slice(0, 3)).toEqual([1, 1, 1.015625]);
});

test('small integers pack low bits first', () => {
  const t = Tensor.from('int4', [3], [-8, 7, -1]);
  expect([...t.bytes()]).toEqual([0x78, 0x0f]);
  expect([...t.numbers()]).toEqual([-8, 7, -1]);
  expect([...Tensor.from('uint2', [5], [0, 1, 2, 3, 1]).bytes()]).toEqual([0b11100100, 1]);
});

test('8-, 6- and 4-bit floats have the values of their formats', () => {
  const value = (dtype: DType, ...bytes: number[]) => [
    ...new Tensor(
      dtype,
      [(bytes.length * 8) / ({ float4e2m1: 4, float6e2m3: 6, float6e3m2: 6 }[dtype as string] ?? 8)],
      Uint8Array.from(bytes),
    ).numbers(),
  ];
  expect(value('float8e4m3fn', 0x7e, 0x38, 0x01, 0xb8)).toEqual([448, 1, 2 ** -9, -1]);
  expect(value('float8e5m2', 0x7b, 0x7c, 0x3c)).toEqual([57344, Number.POSITIVE_INFINITY, 1]);
  expect(value('float8e4m3fnuz', 0x80, 0x7f)).toEqual([Number.NaN, 240]);
  expect(value('float8e8m0', 127, 128, 0)).toEqual([1, 2, 2 ** -127]);
  expect(value('float4e2m1', 0xf7)).toEqual([6, -6]);
  // Codes 011111, 000001, 100000, 001000, packed four to three bytes.
  const packed = [0b01011111, 0b00000000, 0b00100010];
  expect(value('float6e2m3', ...packed)).toEqual([7.5, 0.125, -0, 1]);
  expect(value('float6e3m2', ...packed)).toEqual([28, 0.0625, -0, 0.5]);
});

test('a tensor holds exactly the bytes its type and dimensions ask for', () => {
  expect(() => new Tensor('float', [2, 2], new Uint8Array(15))).toThrow('expected 16 bytes, got 15 bytes');
  expect(() => Tensor.strings([2], ['a'])).toThrow('expected 2 strings, got 1');
  expect(() => elementCount([1e9, 1e9])).toThrow('more elements than can be counted');
  expect(() => elementCount([-1])).toThrow('expected non-negative');
});

test('views are views where aligned and copies where not', () => {
  const bytes = new Uint8Array(9);
  expect(new Tensor('float', [2], bytes.subarray(0, 8)).view().buffer).toBe(bytes.buffer);
  expect(new Tensor('float', [2], bytes.subarray(1, 9)).view().buffer).not.toBe(bytes.buffer);
});
