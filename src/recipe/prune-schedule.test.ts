import { describe, expect, it } from 'vitest';
import { PRUNE_SCHEDULES, removedShares } from './prune-schedule.js';

describe('schedules of pruning', () => {
  it('rise and end at the target', () => {
    for (const schedule of PRUNE_SCHEDULES) {
      const shares = removedShares(schedule, 0.9, 5);
      expect(shares.at(-1)).toBe(0.9);
      shares.slice(1).forEach((s, i) => {
        expect(s).toBeGreaterThan(shares[i]!);
      });
    }
    expect(removedShares('one-shot', 0.9, 5)).toEqual([0.9]);
  });

  it('follow their formulas', () => {
    expect(removedShares('linear', 0.8, 4)).toEqual([0.2, 0.4, expect.closeTo(0.6), 0.8]);
    expect(removedShares('cubic', 0.8, 2)[0]).toBeCloseTo(0.8 * (1 - 1 / 8));
    // A fifth of what is left goes at each step.
    expect(removedShares('lottery', 1 - 0.8 ** 3, 3).map((s) => 1 - s)).toEqual([
      expect.closeTo(0.8),
      expect.closeTo(0.64),
      expect.closeTo(0.512),
    ]);
  });

  it('refuse what cannot be reached', () => {
    expect(() => removedShares('linear', 1, 3)).toThrow(/expected a share above 0 and below 1/);
    expect(() => removedShares('linear', 0.5, 0)).toThrow(/expected a whole number/);
  });
});
