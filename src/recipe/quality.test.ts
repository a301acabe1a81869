import { expect, test } from 'vitest';
import type { Quality } from '../pass/record.js';
import { checkBudget, collapseWarning, qualityDrop } from './quality.js';

const top1: Quality = { metric: 'top1', before: 0.8, after: 0.79, samples: 100, higherIsBetter: true, synthetic: false };
const loss: Quality = { metric: 'loss', before: 2, after: 2.1, samples: 100, higherIsBetter: false, synthetic: false };

test('drop in points where higher is better, relative increase where lower is', () => {
  expect(qualityDrop(top1)).toBeCloseTo(0.01);
  expect(qualityDrop(loss)).toBeCloseTo(0.05);
  expect(qualityDrop({ ...loss, metric: 'kl', before: 0, after: 0.3 })).toBeCloseTo(0.3);
  expect(qualityDrop({ ...top1, after: 0.85 })).toBeLessThan(0);
});

test('a kept budget passes, every broken one is named', () => {
  const result = { quality: top1, bytes: 1000, latencyMs: 2 };
  expect(() => checkBudget({ maxDrop: 0.011, maxSize: 1000, maxLatency: 2 }, result)).not.toThrow();
  expect(() => checkBudget({ maxDrop: 0.005, maxSize: 999, maxLatency: 1 }, result)).toThrow(
    /top1 drop.*0\.005.*size: expected at most 999.*latency: expected at most 1 ms/,
  );
});

test('a NaN is never within the budget', () => {
  expect(() => checkBudget({ maxDrop: 1 }, { quality: { ...top1, after: Number.NaN }, bytes: 1, latencyMs: null })).toThrow(/drop/);
});

test('a collapse is told, a small loss is not', () => {
  expect(collapseWarning(top1)).toEqual([]);
  expect(collapseWarning({ ...top1, after: 0.1 })[0]!.message).toContain('quality fell far');
  expect(collapseWarning({ ...top1, metric: 'cosine', before: 1, after: 0.5 })).toHaveLength(1);
});
