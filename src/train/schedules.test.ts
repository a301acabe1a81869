import { expect, test } from 'vitest';
import {
  constant,
  cosine,
  EarlyStopping,
  linear,
  oneCycle,
  Plateau,
  SCHEDULES,
  type Schedule,
  scheduleOf,
  stepEvery,
  steps,
  withWarmup,
} from './schedules.js';

const take = (schedule: Schedule, count: number) => Array.from({ length: count }, (_, i) => Math.round(schedule(i) * 1e6) / 1e6);

test('constant, steps and lines', () => {
  expect(take(constant(0.5), 3)).toEqual([0.5, 0.5, 0.5]);
  expect(take(steps(1, [4, 2]), 6)).toEqual([1, 1, 0.1, 0.1, 0.01, 0.01]);
  expect(take(stepEvery(1, 2, 0.5), 5)).toEqual([1, 1, 0.5, 0.5, 0.25]);
  expect(take(linear(1, 4, 0.2), 6)).toEqual([1, 0.8, 0.6, 0.4, 0.2, 0.2]);
});

test('half a cosine', () => {
  expect(take(cosine(1, 4), 6)).toEqual([1, 0.853553, 0.5, 0.146447, 0, 0]);
  expect(take(cosine(1, 2, 0.5), 3)).toEqual([1, 0.75, 0.5]);
});

test('warm-up leads to where the schedule starts', () => {
  expect(take(withWarmup(3, linear(1, 2)), 6)).toEqual([0.25, 0.5, 0.75, 1, 0.5, 0]);
});

test('one cycle rises to the peak and ends far below the start', () => {
  const schedule = oneCycle(1, 10, { rise: 0.5, startDivisor: 10, endDivisor: 100 });
  expect(take(schedule, 10)).toEqual([0.1, 0.231802, 0.55, 0.868198, 1, 0.904604, 0.654854, 0.346146, 0.096396, 0.001]);
});

test('every name has a schedule that stays between zero and the given rate', () => {
  for (const name of SCHEDULES) {
    for (const lr of take(scheduleOf(name, 0.3, 20, 4), 25)) {
      expect(lr).toBeGreaterThanOrEqual(0);
      expect(lr).toBeLessThanOrEqual(0.3);
    }
  }
  expect(() => scheduleOf('cosine', 1, 10, 11)).toThrow(/warm-up: expected 0 to 10 steps, got 11/);
});

test('early stopping waits for as many measurements as it has patience', () => {
  const stop = new EarlyStopping({ better: 'larger', patience: 1, minDelta: 0.01 });
  expect([0.5, 0.505, 0.6, 0.6, Number.NaN].map((v) => stop.update(v))).toEqual([false, false, false, false, true]);
  expect(stop.best).toBe(0.6);
});

test('the rate falls on a plateau, down to a limit, and resumes', () => {
  const options = { better: 'smaller', patience: 1, by: 0.1, least: 0.05 } as const;
  const plateau = new Plateau(options);
  expect([3, 2, 2, 2].map((v) => plateau.update(v))).toEqual([false, false, false, true]);
  expect(plateau.factor).toBeCloseTo(0.1);
  const resumed = new Plateau(options);
  resumed.restore(plateau.state());
  expect([2, 2, 2, 2].map((v) => resumed.update(v))).toEqual([false, true, false, false]);
  expect(resumed.factor).toBe(0.05);
});
