// Dependency groups: which channels of which values must be removed together so that a graph still runs, found from the axes statements of the
// operators alone (the idea of Fang et al. 2023, "DepGraph", with element-wise index maps in place of layer rules). Changes nothing.
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { walkGraphs, walkNodes } from '../ir/walk.js';
import type { AxesStatement } from '../ops/axes.js';
import { Elements } from './channel-groups/elements.js';
import { chooseFactors } from './channel-groups/factors.js';
import { pruneStatement, shapeOf } from './channel-groups/statement.js';
import { type AxisRole, describe, isShapeReader, type Roles, tieNode, tieOpaque } from './channel-groups/tie.js';

export type { AxisRole } from './channel-groups/tie.js';

/** One axis of one value that a group slices. */
export interface GroupMember {
  readonly value: Value;
  readonly axis: number;
  /** Positions along the axis that belong to unit u: entries `u * perUnit` to `(u + 1) * perUnit - 1`. */
  readonly positions: Int32Array;
  readonly perUnit: number;
  /** How nodes read this axis. */
  readonly roles: readonly AxisRole[];
}

/** Units (channels, neurons, heads, hidden units) of equal structure: any of them may be removed, each as a whole. */
export interface ChannelGroup {
  /** Label of the first layer that produces the channels, with the number of further ones. */
  readonly name: string;
  /** Number of units. */
  readonly size: number;
  readonly members: readonly GroupMember[];
  /** Layers that produce the channels, that sum over them, and the nodes that tie several sources together. */
  readonly producers: readonly string[];
  readonly consumers: readonly string[];
  readonly ties: readonly string[];
}

/** Channels of one layer that must stay. */
export interface FrozenChannels {
  readonly layer: string;
  readonly value: string;
  readonly axis: number;
  readonly channels: number;
  readonly of: number;
  readonly reason: string;
}

export interface ChannelGroups {
  readonly groups: readonly ChannelGroup[];
  readonly frozen: readonly FrozenChannels[];
}

export interface ChannelGroupOptions {
  /** Lets the axis that LayerNormalization and its kin run over be pruned (embedding width of transformers). Default false. */
  readonly normalized?: boolean | undefined;
  /** True for values and nodes, by name, whose channels must stay. */
  readonly protect?: ((name: string) => boolean) | undefined;
}

/**
 * Groups of a model whose types are inferred (`inferShapes`). Axes of open extent (batch, sequence) never take part. Graph inputs and outputs keep
 * their axes, as do operands of operators without an axes statement, bodies of loops and calls of local functions.
 */
export function channelGroups(model: Model, options: ChannelGroupOptions = {}): ChannelGroups {
  const statements = new Map<Node, AxesStatement>();
  const opaque = new Map<Node, string>();
  const nodes = [...walkNodes(model.graph)];
  for (const node of nodes) {
    if (isShapeReader(node) || isBranch(node)) continue;
    const statement = pruneStatement(node, { normalized: options.normalized ?? false });
    if (statement) statements.set(node, statement);
    else opaque.set(node, `${describe(node)} says nothing of its axes`);
  }
  const graphs = [...walkGraphs(model.graph)];
  const elements = new Elements(graphs.flatMap((g) => [...g.values()]));
  const pinned = pinnedValues(model, opaque.keys(), nodes);
  const whole = chooseFactors(statements, pinned.keys());
  const roles: Roles = new Map();
  for (const [value, reason] of pinned) elements.freezeValue(value, reason);
  for (const [node, reason] of opaque) tieOpaque(elements, node, reason);
  for (const node of nodes) {
    if (isBranch(node)) tieBranches(elements, node);
    const statement = statements.get(node);
    if (statement) tieNode(elements, roles, node, statement, whole.get(node) ?? NONE);
  }
  if (options.protect) protect(elements, roles, options.protect);
  return collect(elements, roles);
}

const NONE: ReadonlySet<string> = new Set();

function isBranch(node: Node): boolean {
  return node.domain === '' && node.opType === 'If';
}

/** Values whose axes must stay, with the reason. */
function pinnedValues(model: Model, opaque: Iterable<Node>, nodes: readonly Node[]): Map<Value, string> {
  const pinned = new Map<Value, string>();
  for (const v of model.graph.inputs) pinned.set(v, `"${v.name}" is an input of the model`);
  for (const v of model.graph.outputs) pinned.set(v, `"${v.name}" is an output of the model`);
  for (const node of opaque)
    for (const v of [...node.inputs, ...node.outputs]) if (v) pinned.set(v, `${describe(node)} says nothing of its axes`);
  for (const node of nodes) {
    if (isBranch(node)) continue;
    for (const sub of node.subgraphs()) for (const v of [...sub.inputs, ...sub.outputs]) pinned.set(v, `body of ${describe(node)}`);
  }
  return pinned;
}

/** Outputs of both branches are the outputs of the If, axis by axis; where ranks or extents differ they stay. */
function tieBranches(elements: Elements, node: Node): void {
  for (const [i, output] of node.outputs.entries()) {
    if (!output) continue;
    for (const branch of node.subgraphs()) {
      const inner = branch.outputs[i];
      const [a, b] = [shapeOf(output), shapeOf(inner)];
      if (!inner || !a || !b || a.length !== b.length) {
        elements.freezeValue(output, `branches of ${describe(node)} differ`);
        if (inner) elements.freezeValue(inner, `branches of ${describe(node)} differ`);
        continue;
      }
      a.forEach((extent, axis) => {
        if (typeof extent === 'number' && extent === b[axis]) {
          const [x, y] = [elements.base(output, axis), elements.base(inner, axis)];
          for (let k = 0; k < extent; k++) elements.join(x + k, y + k);
        } else {
          elements.freezeAxis(output, axis, `branches of ${describe(node)} differ`);
          elements.freezeAxis(inner, axis, `branches of ${describe(node)} differ`);
        }
      });
    }
  }
}

function protect(elements: Elements, roles: Roles, isProtected: (name: string) => boolean): void {
  for (const [value] of elements.entries()) {
    const byAxis = roles.get(value);
    if (isProtected(value.name)) elements.freezeValue(value, 'protected by name');
    else if (byAxis && value.isConstant) {
      for (const [axis, own] of byAxis)
        if (own.some((r) => r.produces && isProtected(r.node.name))) elements.freezeAxis(value, axis, 'protected by name');
    }
  }
}

/** Slices of one set of joined elements: index of the axis in `axes`, and position along it. */
type Slices = { readonly axis: number; readonly position: number }[];

function collect(elements: Elements, roles: Roles): ChannelGroups {
  const axes: { value: Value; axis: number; roles: readonly AxisRole[] }[] = [];
  const sets = new Map<number, Slices>();
  const frozen: FrozenChannels[] = [];
  for (const [value, bases] of elements.entries()) {
    const shape = shapeOf(value)!;
    for (const [axis, base] of bases.entries()) {
      if (base < 0) continue;
      const own = roles.get(value)?.get(axis) ?? [];
      const at = axes.push({ value, axis, roles: own }) - 1;
      const stay = new Map<string, number>();
      for (let position = 0; position < (shape[axis] as number); position++) {
        const reason = elements.frozen(base + position);
        if (reason !== undefined) stay.set(reason, (stay.get(reason) ?? 0) + 1);
        else {
          const root = elements.find(base + position);
          const set = sets.get(root);
          if (set) set.push({ axis: at, position });
          else sets.set(root, [{ axis: at, position }]);
        }
      }
      const layer = own.find((r) => r.produces)?.node;
      if (layer && value.isConstant && shape.length > 1 && !own.some((r) => r.contracted)) {
        for (const [reason, channels] of stay) {
          if ((shape[axis] as number) > 1)
            frozen.push({ layer: layer.label, value: value.name, axis, channels, of: shape[axis] as number, reason });
        }
      }
    }
  }
  return { groups: groupSets(axes, sets), frozen };
}

function groupSets(
  axes: readonly { value: Value; axis: number; roles: readonly AxisRole[] }[],
  sets: ReadonlyMap<number, Slices>,
): ChannelGroup[] {
  const bySignature = new Map<string, Slices[]>();
  for (const slices of sets.values()) {
    const produced = slices.some(
      ({ axis }) => axes[axis]!.value.isConstant && axes[axis]!.value.initializer!.rank > 1 && axes[axis]!.roles.some((r) => r.produces),
    );
    if (!produced) continue;
    let signature = '';
    let last = -1;
    let count = 0;
    for (const { axis } of slices) {
      if (axis !== last) {
        if (last >= 0) signature += `${last}x${count};`;
        last = axis;
        count = 0;
      }
      count++;
    }
    signature += `${last}x${count}`;
    const own = bySignature.get(signature);
    if (own) own.push(slices);
    else bySignature.set(signature, [slices]);
  }
  const names = new Map<string, number>();
  // A single unit would be all there is.
  const several = [...bySignature.values()].filter((units) => units.length > 1);
  return several.map((units) => {
    const members: GroupMember[] = [];
    let start = 0;
    const first = units[0]!;
    while (start < first.length) {
      const { axis } = first[start]!;
      let end = start;
      while (end < first.length && first[end]!.axis === axis) end++;
      const perUnit = end - start;
      const positions = new Int32Array(units.length * perUnit);
      units.forEach((slices, u) => {
        for (let i = 0; i < perUnit; i++) positions[u * perUnit + i] = slices[start + i]!.position;
      });
      members.push({ ...axes[axis]!, positions, perUnit });
      start = end;
    }
    const described = describeGroup(members);
    const seen = names.get(described.name) ?? 0;
    names.set(described.name, seen + 1);
    return { ...described, name: seen === 0 ? described.name : `${described.name} #${seen + 1}`, size: units.length, members };
  });
}

function describeGroup(members: readonly GroupMember[]): Pick<ChannelGroup, 'name' | 'producers' | 'consumers' | 'ties'> {
  const constants = members.filter((m) => m.value.isConstant && m.value.initializer!.rank > 1);
  const labels = (pick: (r: AxisRole) => boolean) => [...new Set(constants.flatMap((m) => m.roles.filter(pick).map((r) => r.node.label)))];
  const producers = labels((r) => r.produces);
  const read = new Map<Node, number>();
  for (const m of members) {
    if (m.value.isConstant) continue;
    for (const node of new Set(m.roles.map((r) => r.node))) read.set(node, (read.get(node) ?? 0) + 1);
  }
  const ties = [...read].filter(([, n]) => n > 1).map(([node]) => `${node.op} ${node.label}`);
  return {
    name: producers.length > 1 ? `${producers[0]} +${producers.length - 1}` : (producers[0] ?? 'unnamed'),
    producers,
    consumers: labels((r) => r.contracted),
    ties,
  };
}
