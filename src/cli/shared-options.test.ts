import { expect, test } from 'vitest';
import { parseBytes, parseFraction, parseShape } from './shared-options.js';

test('sizes', () => {
  expect(parseBytes('500kB')).toBe(500_000);
  expect(parseBytes('5MB')).toBe(5_000_000);
  expect(parseBytes('1.5 GiB')).toBe(1.5 * 2 ** 30);
  expect(parseBytes('1234')).toBe(1234);
  expect(() => parseBytes('five')).toThrow('expected a size');
});

test('fractions and percentages', () => {
  expect(parseFraction('0.5%')).toBeCloseTo(0.005);
  expect(parseFraction('.02')).toBeCloseTo(0.02);
  expect(() => parseFraction('5')).toThrow('did you mean 5%?');
  expect(() => parseFraction('-1')).toThrow('expected a fraction');
});

test('shapes, with names that hold an equals sign or a slash', () => {
  expect(parseShape('input_ids=1,128')).toEqual({ input_ids: [1, 128] });
  expect(parseShape('a=b/c:0=1x3x224x224')).toEqual({ 'a=b/c:0': [1, 3, 224, 224] });
  expect(() => parseShape('x=1,-2')).toThrow('expected name=');
  expect(() => parseShape('=1')).toThrow('expected name=');
});
