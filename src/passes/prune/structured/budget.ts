// Which units go: they are put in one order, least important first, and the shortest beginning of it that meets the budget is removed. Uniform
// orders take the same share of each group, global ones compare scores across groups.
import type { ChannelGroup } from '../../../analysis/channel-groups.js';
import { qualityError } from '../../../errors.js';
import type { WidthCost } from './widths.js';

export interface WidthLimits {
  /** Units that each group keeps at least. */
  readonly minWidth: number;
  /** Share of each group that is kept at least, 0 to 1. */
  readonly minKeep: number;
  /** Groups end at multiples of this many units (where their size is one, or exceeds it). */
  readonly roundTo: number;
}

export interface RemovalOrder {
  /** Steps, least important first: each removes the next `units` of a group. */
  readonly steps: readonly { readonly group: number; readonly units: readonly number[] }[];
}

/** Puts the units in order. `scores[g][u]` is the importance of unit u of group g; global orders need them on one scale. */
export function removalOrder(
  groups: readonly ChannelGroup[],
  scores: readonly ArrayLike<number>[],
  scope: 'uniform' | 'global',
  limits: WidthLimits,
): RemovalOrder {
  const steps: { group: number; units: number[]; key: number; at: number }[] = [];
  groups.forEach((group, g) => {
    const order = Array.from({ length: group.size }, (_, u) => u).sort((a, b) => scores[g]![a]! - scores[g]![b]! || a - b);
    const least = Math.min(group.size, Math.max(1, limits.minWidth, Math.ceil(group.size * limits.minKeep - 1e-9)));
    for (const [from, to] of chunks(group.size, least, limits.roundTo)) {
      const units = order.slice(from, to);
      const mean = units.reduce((sum, u) => sum + scores[g]![u]!, 0) / units.length;
      steps.push({ group: g, units, key: scope === 'uniform' ? (from + to) / 2 / group.size : mean, at: from });
    }
  });
  // Within a group the order of removal stays even where means of chunks tie.
  steps.sort((a, b) => a.key - b.key || a.at - b.at || a.group - b.group);
  return { steps };
}

/** Chunks of removals [from, to) that leave multiples of `roundTo`. */
function chunks(size: number, least: number, roundTo: number): [number, number][] {
  const out: [number, number][] = [];
  let left = size;
  while (left > least) {
    const next = roundTo > 1 ? (Math.ceil(left / roundTo) - 1) * roundTo : left - 1;
    if (next < least || next < 1) break;
    out.push([size - left, size - next]);
    left = next;
  }
  return out;
}

/** Units that go after the first `count` steps, by group. */
export function unitsAfter(order: RemovalOrder, groups: readonly ChannelGroup[], count: number): number[][] {
  const units = groups.map((): number[] => []);
  for (const step of order.steps.slice(0, count)) units[step.group]!.push(...step.units);
  return units.map((list) => list.sort((a, b) => a - b));
}

export function keptAfter(order: RemovalOrder, groups: readonly ChannelGroup[], count: number): number[] {
  const kept = groups.map((g) => g.size);
  for (const step of order.steps.slice(0, count)) kept[step.group]! -= step.units.length;
  return kept;
}

export type BudgetKind = 'macs' | 'params' | 'bytes';

/** Number of steps whose cost comes closest to `target`. Throws E_QUALITY where even all of them leave more (by over 3 %). */
export function stepsForBudget(
  order: RemovalOrder,
  groups: readonly ChannelGroup[],
  cost: WidthCost,
  kind: BudgetKind,
  target: number,
): number {
  const costAt = (count: number) => cost.at(keptAfter(order, groups, count))[kind];
  let low = 0;
  let high = order.steps.length;
  const least = costAt(high);
  if (least > target * 1.03) {
    throw qualityError(`expected ${format(target)} ${kind}, got at least ${format(least)}: no more units may be removed`, {
      hint: 'ask for less, lower --min-width or --min-keep, or look at what is frozen with --list-groups',
    });
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (costAt(middle) > target) low = middle;
    else high = middle;
  }
  return Math.abs(costAt(low) - target) < Math.abs(costAt(high) - target) ? low : high;
}

function format(n: number): string {
  return Math.round(n).toLocaleString('en-US');
}

/** Steps of each group until a share of its units is gone: the channel ratio of one-shot pruning. */
export function stepsForRatio(order: RemovalOrder, groups: readonly ChannelGroup[], ratio: number): RemovalOrder {
  const wanted = groups.map((g) => Math.round(g.size * ratio));
  const gone = groups.map(() => 0);
  return {
    steps: order.steps.filter(({ group, units }) => {
      if (gone[group]! + units.length > wanted[group]!) return false;
      gone[group]! += units.length;
      return true;
    }),
  };
}
