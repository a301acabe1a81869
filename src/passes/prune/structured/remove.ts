// Removes units of dependency groups: every tied constant is sliced, and what nodes say about extents is written anew. The result computes what
// the graph with these units masked computes.

import { pruneStatement } from '../../../analysis/channel-groups/statement.js';
import type { ChannelGroup, ChannelGroups } from '../../../analysis/channel-groups.js';
import { inferShapes } from '../../../analysis/shapes.js';
import { bugError } from '../../../errors.js';
import type { Node, Value } from '../../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../../ir/model.js';
import { formatType } from '../../../ir/type.js';
import { walkGraphs, walkNodes } from '../../../ir/walk.js';
import type { AxesStatement } from '../../../ops/axes.js';
import { rewriteShapeConstants } from './shape-constants.js';
import { takePositions } from './take.js';

/** Units to remove, by group. At least one of each group must stay. */
export type Removal = ReadonlyMap<ChannelGroup, readonly number[]>;

/** Positions removed along each axis of each value. */
function removedPositions(removal: Removal): Map<Value, Map<number, Set<number>>> {
  const removed = new Map<Value, Map<number, Set<number>>>();
  for (const [group, units] of removal) {
    if (units.length === 0) continue;
    if (new Set(units).size >= group.size) throw bugError(`all ${group.size} units of group ${group.name} would be removed`);
    for (const { value, axis, positions, perUnit } of group.members) {
      const own = removed.get(value) ?? new Map<number, Set<number>>();
      removed.set(value, own);
      const set = own.get(axis) ?? new Set<number>();
      own.set(axis, set);
      for (const u of units) for (let i = 0; i < perUnit; i++) set.add(positions[u * perUnit + i]!);
    }
  }
  return removed;
}

export interface Removed {
  /** Constants that were sliced. */
  readonly constants: number;
}

/**
 * Removes the units in place. The model's types must be those that `groups` were found with; afterwards they are inferred anew.
 * Throws E_BUG where the result contradicts itself, which the dependency analysis is there to rule out.
 */
export async function removeChannels(
  model: Model,
  groups: ChannelGroups,
  removal: Removal,
  options: { readonly normalized?: boolean } = {},
): Promise<Removed> {
  for (const group of removal.keys()) if (!groups.groups.includes(group)) throw bugError(`group ${group.name} is not of this model`);
  const removed = removedPositions(removal);
  const before = (value: Value, axis: number) => {
    const extent = tensorTypeOf(value)?.shape?.[axis];
    return typeof extent === 'number' ? extent : undefined;
  };
  const after = (value: Value, axis: number) => {
    const extent = before(value, axis);
    return extent === undefined ? undefined : extent - (removed.get(value)?.get(axis)?.size ?? 0);
  };
  const edits: [Node, AxesStatement][] = [];
  for (const node of walkNodes(model.graph)) {
    const touched = [...node.inputs, ...node.outputs].some((v) => v && removed.has(v));
    const statement = touched ? pruneStatement(node, { normalized: options.normalized ?? false }) : null;
    if (statement) edits.push([node, statement]);
  }
  // Shapes are still those from before, which the rewriting compares with.
  for (const [node, statement] of edits) rewriteShapeConstants(node, statement, { before, after });
  let constants = 0;
  for (const [value, byAxis] of removed) {
    const data = value.initializer;
    if (!data) continue;
    let tensor = await data.load();
    for (const [axis, set] of byAxis) {
      const kept = Array.from({ length: tensor.dims[axis]! }, (_, i) => i).filter((i) => !set.has(i));
      tensor = takePositions(tensor, axis, kept);
    }
    value.graph.setInitializer(value, tensor);
    constants++;
  }
  for (const [value, byAxis] of removed) {
    const type = tensorTypeOf(value);
    if (value.initializer || !type?.shape) continue;
    value.type = { ...type, shape: type.shape.map((d, axis) => (typeof d === 'number' ? d - (byAxis.get(axis)?.size ?? 0) : d)) };
  }
  for (const graph of walkGraphs(model.graph)) graph.pruneValues();
  inferAgain(model, new Set(edits.map(([node]) => node)), removed);
  return { constants };
}

/** As `removeChannels`, on a copy of the model that the groups were found in: values are met by name. */
export async function removeByName(copy: Model, removal: Removal, options: { readonly normalized?: boolean } = {}): Promise<Removed> {
  const values = new Map<string, Value>();
  for (const graph of walkGraphs(copy.graph)) for (const v of graph.values()) values.set(v.name, v);
  const moved = new Map<ChannelGroup, readonly number[]>();
  for (const [group, units] of removal) {
    moved.set({ ...group, members: group.members.map((m) => ({ ...m, value: values.get(m.value.name)! })) }, units);
  }
  return removeChannels(copy, { groups: [...moved.keys()], frozen: [] }, moved, options);
}

/** Types of sliced values follow the slicing; inference must agree with them. */
function inferAgain(model: Model, touched: ReadonlySet<Node>, removed: ReadonlyMap<Value, unknown>): void {
  const report = inferShapes(model);
  const misfit = report.unknown.find((u) => touched.has(u.node));
  if (misfit) throw bugError(`after removing channels ${misfit.node.label} does not fit any more: ${misfit.reason}`);
  const conflict = report.conflicts.find((c) => removed.has(c.value));
  if (conflict) {
    const [expected, actual] = [formatType(conflict.claimed), formatType(conflict.inferred)];
    throw bugError(`after removing channels "${conflict.value.name}": expected ${expected}, got ${actual}`);
  }
}
