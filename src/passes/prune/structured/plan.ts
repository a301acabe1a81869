// From options to the units that go: groups that may be pruned, their scores, and the budget. Changes nothing.
import { type ChannelGroup, type ChannelGroups, channelGroups } from '../../../analysis/channel-groups.js';
import { usageError } from '../../../errors.js';
import type { Model } from '../../../ir/model.js';
import type { PassContext } from '../../../pass/define.js';
import { type Importance, loadWeights, normalize, type Scorer, type WeightImportance, weightScores } from '../importance.js';
import { activationScores, gradientScores } from '../importance-data.js';
import { keptAfter, type RemovalOrder, removalOrder, stepsForBudget, stepsForRatio, unitsAfter } from './budget.js';
import { nameMatcher, type StructuredOptions } from './options.js';
import type { Removal } from './remove.js';
import { WidthCost } from './widths.js';

export interface PrunePlan {
  readonly all: ChannelGroups;
  /** Groups that take part. */
  readonly groups: readonly ChannelGroup[];
  readonly order: RemovalOrder;
  readonly cost: WidthCost;
}

/** Groups of the model under the options: all of them, and those that take part. */
export function selectGroups(model: Model, options: StructuredOptions): { all: ChannelGroups; groups: ChannelGroup[] } {
  const protect = options.protect.length > 0 ? nameMatcher(options.protect) : undefined;
  const all = channelGroups(model, { normalized: options.embedding, protect });
  const wanted = options.groups.length > 0 ? nameMatcher(options.groups) : undefined;
  const groups = all.groups.filter((g) => {
    if (options.inner && !isInner(g)) return false;
    return !wanted || wanted(g.name) || [...g.producers, ...g.consumers].some(wanted);
  });
  return { all, groups };
}

/** Channels that are made by layers in a row (a depthwise convolution among them) and read by others, with no sum in between. */
function isInner(group: ChannelGroup): boolean {
  return !group.ties.some((t) => t.startsWith('Add ') || t.startsWith('Sum ') || t.startsWith('Concat '));
}

export type ScoreSource = Importance | Scorer;

/** Scores by group, on one scale for global orders. */
export async function scoreGroups(
  model: Model,
  groups: readonly ChannelGroup[],
  source: ScoreSource,
  options: Pick<StructuredOptions, 'aggregate' | 'normalize' | 'samples'>,
  ctx: PassContext,
): Promise<Float64Array[]> {
  const raw = await rawScores(model, groups, source, options, ctx);
  raw.forEach((scores, g) => {
    if (scores.length !== groups[g]!.size)
      throw usageError(`importance of group ${groups[g]!.name}: expected ${groups[g]!.size} scores, got ${scores.length}`);
  });
  return raw.map((scores) => normalize(scores, options.normalize));
}

async function rawScores(
  model: Model,
  groups: readonly ChannelGroup[],
  source: ScoreSource,
  options: Pick<StructuredOptions, 'aggregate' | 'samples'>,
  ctx: PassContext,
): Promise<ArrayLike<number>[]> {
  if (typeof source === 'function') {
    const scores: ArrayLike<number>[] = [];
    for (const [i, group] of groups.entries()) scores.push(await source(group, i));
    return scores;
  }
  const measured = source === 'mean-activation' || source === 'apoz' || source === 'variance';
  if (measured || source === 'taylor' || source === 'fisher') {
    if (!ctx.data) {
      throw usageError(`importance ${source} needs data: expected --data SPEC`, {
        hint: 'a hundred real samples are plenty; labels are used where there are any',
      });
    }
    const run = {
      engine: ctx.engine,
      threads: ctx.threads,
      data: ctx.data,
      samples: options.samples,
      checkAborted: () => ctx.checkAborted(),
    };
    return measured ? activationScores(model, groups, source, run) : gradientScores(model, groups, source, run);
  }
  const weights = await loadWeights(groups);
  return groups.map((group) => weightScores(source as WeightImportance, group, weights, options.aggregate, ctx.rng.fork(group.name)));
}

export async function planRemoval(model: Model, options: StructuredOptions, source: ScoreSource, ctx: PassContext): Promise<PrunePlan> {
  const { all, groups } = selectGroups(model, options);
  const scores = groups.length > 0 ? await scoreGroups(model, groups, source, options, ctx) : [];
  const order = removalOrder(groups, scores, options.scope, options);
  return { all, groups, order, cost: new WidthCost(model, groups) };
}

/** How many steps the asked-for budget takes; undefined where it is one of time. */
export function stepsFor(plan: PrunePlan, options: StructuredOptions): { order: RemovalOrder; count: number } | undefined {
  const { groups, cost, order } = plan;
  const absolute = (target: number, whole: number) => (target <= 1 ? target * whole : target);
  if (options.sparsity !== undefined) {
    // A global ratio is a share of all units; a uniform one is met in every group as nearly as its rounding allows.
    if (options.scope === 'uniform') {
      const own = stepsForRatio(order, groups, options.sparsity);
      return { order: own, count: own.steps.length };
    }
    const total = groups.reduce((n, g) => n + g.size, 0);
    let gone = 0;
    let count = 0;
    while (count < order.steps.length && gone + order.steps[count]!.units.length <= total * options.sparsity)
      gone += order.steps[count++]!.units.length;
    return { order, count };
  }
  for (const kind of ['macs', 'params', 'bytes'] as const) {
    const target = { macs: options.targetMacs, params: options.targetParams, bytes: options.targetBytes }[kind];
    if (target !== undefined) return { order, count: stepsForBudget(order, groups, cost, kind, absolute(target, cost.total[kind])) };
  }
  return undefined;
}

export function removalAfter(plan: PrunePlan, order: RemovalOrder, count: number): Removal {
  const units = unitsAfter(order, plan.groups, count);
  return new Map(plan.groups.map((g, i) => [g, units[i]!]));
}

export function widthsAfter(plan: PrunePlan, order: RemovalOrder, count: number): number[] {
  return keptAfter(order, plan.groups, count);
}
