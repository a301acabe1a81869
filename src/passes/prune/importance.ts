// How much each unit of a dependency group matters: norms of its weights (Li et al. 2017), of everything tied to it (Fang et al. 2023), BatchNormalization
// scales (Liu et al. 2017), distance to the other filters (FPGM, He et al. 2019) or scores that data gave. Higher is more important.
import type { ChannelGroup, GroupMember } from '../../analysis/channel-groups.js';
import { DTYPES } from '../../ir/dtype.js';
import type { Value } from '../../ir/graph.js';
import type { Rng } from '../../util/rng.js';

export const WEIGHT_IMPORTANCES = ['l1', 'l2', 'group-l1', 'group-l2', 'bn-scale', 'fpgm', 'random'] as const;
export const DATA_IMPORTANCES = ['mean-activation', 'apoz', 'variance', 'taylor', 'fisher'] as const;
export const IMPORTANCES = [...WEIGHT_IMPORTANCES, ...DATA_IMPORTANCES] as const;
export type Importance = (typeof IMPORTANCES)[number];
export type WeightImportance = (typeof WEIGHT_IMPORTANCES)[number];

/** How the scores of a group's weights become one, and how groups are made comparable. */
export const AGGREGATIONS = ['mean', 'sum', 'max', 'min', 'product', 'first'] as const;
export const NORMALIZATIONS = ['none', 'mean', 'sum', 'max', 'standard', 'lamp'] as const;
export type Aggregation = (typeof AGGREGATIONS)[number];
export type Normalization = (typeof NORMALIZATIONS)[number];

/** One score a unit. A function of the user's own may take the place of a named importance. */
export type Scorer = (group: ChannelGroup, index: number) => ArrayLike<number> | Promise<ArrayLike<number>>;

/** Float constants of a group: weights (rank above 1) unless `all`. */
export function weightMembers(group: ChannelGroup, roles: 'producing' | 'consuming' | 'both', all = false): GroupMember[] {
  return group.members.filter((m) => {
    const data = m.value.initializer;
    if (!data || !m.value.isConstant || DTYPES[data.dtype].kind === 'string' || (data.rank < 2 && !all)) return false;
    if (roles === 'both') return m.roles.some((r) => r.produces || r.contracted) || all;
    return m.roles.some((r) => (roles === 'producing' ? r.produces : r.contracted));
  });
}

/** Sums of `elements` (of the member's constant) over each unit. */
export function sumByUnit(member: GroupMember, size: number, elements: ArrayLike<number>): Float64Array {
  const { dims } = member.value.initializer!;
  const extent = dims[member.axis]!;
  const inner = dims.slice(member.axis + 1).reduce((a, b) => a * b, 1);
  const sums = new Float64Array(extent);
  for (let i = 0, block = 0; i < elements.length; block++) {
    let sum = 0;
    for (const end = i + inner; i < end; i++) sum += elements[i]!;
    sums[block % extent]! += sum;
  }
  return positionsToUnits(member, size, sums);
}

/** Sums of what stands at a unit's positions along the axis. */
export function positionsToUnits(member: GroupMember, size: number, byPosition: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: size }, (_, u) => {
    let sum = 0;
    for (let i = 0; i < member.perUnit; i++) sum += byPosition[member.positions[u * member.perUnit + i]!]!;
    return sum;
  });
}

/** Weights by value, loaded. */
export type Weights = ReadonlyMap<Value, Float32Array>;

export async function loadWeights(groups: readonly ChannelGroup[]): Promise<Weights> {
  const weights = new Map<Value, Float32Array>();
  for (const group of groups) {
    for (const { value } of weightMembers(group, 'both', true)) {
      if (!weights.has(value)) weights.set(value, (await value.initializer!.load()).floats());
    }
  }
  return weights;
}

export function weightScores(
  method: WeightImportance,
  group: ChannelGroup,
  weights: Weights,
  aggregation: Aggregation,
  rng: Rng,
): Float64Array {
  if (method === 'random') return Float64Array.from({ length: group.size }, () => rng.uniform());
  if (method === 'bn-scale') {
    const scales = group.members.filter(
      (m) => m.value.isConstant && m.roles.some((r) => r.node.opType === 'BatchNormalization' && r.input === 1),
    );
    if (scales.length > 0)
      return aggregate(
        scales.map((m) => sumByUnit(m, group.size, weights.get(m.value)!.map(Math.abs))),
        aggregation,
      );
  }
  const roles = method.startsWith('group-') ? 'both' : 'producing';
  const members = weightMembers(group, roles);
  if (method === 'fpgm')
    return aggregate(
      members.map((m) => medianDistances(m, group.size, weights.get(m.value)!)),
      aggregation,
    );
  // Where a group has no BatchNormalization its scale stands for the norm of the weights.
  const power = method === 'l1' || method === 'group-l1' ? 1 : 2;
  const norms = members.map((m) => {
    const sums = sumByUnit(m, group.size, weights.get(m.value)!.map(power === 1 ? Math.abs : (v) => v * v));
    return power === 1 ? sums : sums.map(Math.sqrt);
  });
  return aggregate(norms, aggregation);
}

export function aggregate(scores: readonly Float64Array[], how: Aggregation): Float64Array {
  const [first, ...rest] = scores;
  if (!first) return new Float64Array(0);
  if (how === 'first' || rest.length === 0) return first;
  const join = { mean: add, sum: add, max: Math.max, min: Math.min, product: (a: number, b: number) => a * b }[how];
  return first.map((v, i) => rest.reduce((sum, s) => join(sum, s[i]!), v) / (how === 'mean' ? scores.length : 1));
}

const add = (a: number, b: number) => a + b;

/** Scores of a group on a scale that other groups share. */
export function normalize(scores: ArrayLike<number>, how: Normalization): Float64Array {
  const list = Float64Array.from(scores);
  const n = list.length;
  const sum = list.reduce(add, 0);
  if (how === 'none' || n === 0) return list;
  if (how === 'standard') {
    const mean = sum / n;
    const deviation = Math.sqrt(list.reduce((s, v) => s + (v - mean) ** 2, 0) / n) || 1;
    return list.map((v) => (v - mean) / deviation);
  }
  if (how === 'lamp') return lamp(list);
  const scale = how === 'mean' ? sum / n : how === 'sum' ? sum : Math.max(...list);
  return scale > 0 ? list.map((v) => v / scale) : list;
}

/** Each score by the sum of those not below it (LAMP, Lee et al. 2021). */
function lamp(scores: Float64Array): Float64Array {
  const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const out = new Float64Array(scores.length);
  let sum = 0;
  for (const i of order) {
    sum += scores[i]!;
    out[i] = sum > 0 ? scores[i]! / sum : 0;
  }
  return out;
}

/** Units compared with each other at most: beyond, distances are to an even sample of them. */
const FPGM_SAMPLE = 256;

/** Sum of the distances of each unit's weights to the other units': a filter near the median of all can be replaced by them. */
function medianDistances(member: GroupMember, size: number, weights: Float32Array): Float64Array {
  const rows = unitRows(member, size, weights);
  const step = Math.max(1, Math.ceil(size / FPGM_SAMPLE));
  return Float64Array.from({ length: size }, (_, u) => {
    let total = 0;
    for (let v = 0; v < size; v += step) {
      let squares = 0;
      for (let i = 0; i < rows[u]!.length; i++) squares += (rows[u]![i]! - rows[v]![i]!) ** 2;
      total += Math.sqrt(squares);
    }
    return total;
  });
}

/** Weights of each unit in one row. */
export function unitRows(member: GroupMember, size: number, weights: Float32Array): Float32Array[] {
  const { dims } = member.value.initializer!;
  const extent = dims[member.axis]!;
  const inner = dims.slice(member.axis + 1).reduce((a, b) => a * b, 1);
  const outer = weights.length / (extent * inner);
  return Array.from({ length: size }, (_, u) => {
    const row = new Float32Array(outer * member.perUnit * inner);
    let at = 0;
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < member.perUnit; i++) {
        const start = (o * extent + member.positions[u * member.perUnit + i]!) * inner;
        row.set(weights.subarray(start, start + inner), at);
        at += inner;
      }
    }
    return row;
  });
}
