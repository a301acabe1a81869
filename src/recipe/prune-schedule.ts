// How much is removed after each step of iterative pruning: the share of what may go, rising to the share asked for.
// Cubic: Zhu and Gupta 2017 (fast while there is plenty, slow at the end). Lottery: the same share of what is left at each step (Frankle and Carbin 2019).
import { usageError } from '../errors.js';

export const PRUNE_SCHEDULES = ['one-shot', 'linear', 'cubic', 'lottery'] as const;
export type PruneSchedule = (typeof PRUNE_SCHEDULES)[number];

/** Shares removed after steps 1 to n; the last is `target`. Throws E_USAGE for a target outside (0, 1) or fewer than one step. */
export function removedShares(schedule: PruneSchedule, target: number, steps: number): number[] {
  if (!(target > 0 && target < 1)) throw usageError(`pruning: expected a share above 0 and below 1 to remove, got ${target}`);
  if (!(Number.isInteger(steps) && steps >= 1)) throw usageError(`steps of pruning: expected a whole number of at least 1, got ${steps}`);
  const part = { 'one-shot': () => 1, linear: (t: number) => t, cubic: (t: number) => 1 - (1 - t) ** 3 };
  if (schedule === 'one-shot') return [target];
  return Array.from({ length: steps }, (_, i) => {
    const t = (i + 1) / steps;
    if (t === 1) return target;
    return schedule === 'lottery' ? 1 - (1 - target) ** t : target * part[schedule](t);
  });
}
