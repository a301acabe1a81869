// Cost of a model as a function of how many units each group keeps, without making the model: extents of the values shrink, and the operators' cost
// facts are asked again. One look takes well under a millisecond a hundred nodes, so budgets can be met unit by unit.
import type { ChannelGroup } from '../../../analysis/channel-groups.js';
import type { CostOptions } from '../../../analysis/cost.js';
import { modelCost } from '../../../analysis/cost.js';
import { specializeShapes } from '../../../analysis/shapes.js';
import { byteLengthOf } from '../../../ir/dtype.js';
import type { Node, Value } from '../../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../../ir/model.js';
import { isStatic } from '../../../ir/type.js';
import { cloneModel, walkGraphs, walkNodes } from '../../../ir/walk.js';
import { axesOfNode, macsOfAxes } from '../../../ops/axes.js';
import { opRecord } from '../../../ops/registry.js';

export interface Cost {
  readonly macs: number;
  readonly params: number;
  /** Bytes of constants. */
  readonly bytes: number;
}

export class WidthCost {
  readonly #dims = new Map<Value, number[]>();
  readonly #original = new Map<Value, readonly number[]>();
  readonly #nodes: { readonly node: Node; readonly runs: number }[] = [];
  readonly #constants: Value[] = [];
  readonly #groups: readonly ChannelGroup[];
  readonly #nodesOf = new Map<ChannelGroup, readonly number[]>();
  readonly #macs: number[] = [];
  /** Multiply-accumulates that do not follow from extents here: of nodes without static shapes. */
  readonly total: Cost;

  /** `model` is the one that `groups` speak of; symbols get the numbers that `modelCost` gives them. */
  constructor(model: Model, groups: readonly ChannelGroup[], options: CostOptions = {}) {
    this.#groups = groups;
    const cost = modelCost(model, options);
    const copy = cloneModel(model);
    specializeShapes(copy, cost.symbols, { inputShapes: options.inputShapes });
    const twins = pairValues(model, copy);
    for (const [value, twin] of twins) {
      const shape = tensorTypeOf(twin)?.shape;
      if (!isStatic(shape)) continue;
      this.#original.set(value, shape);
      this.#dims.set(value, [...shape]);
      if (value.initializer) this.#constants.push(value);
    }
    const runs = new Map(cost.byNode.map((row) => [row.node, row.runs]));
    for (const node of walkNodes(model.graph)) this.#nodes.push({ node, runs: runs.get(node) ?? 0 });
    for (const [i] of this.#nodes.entries()) this.#macs[i] = this.#macsOf(i);
    const index = new Map(this.#nodes.map(({ node }, i) => [node, i]));
    for (const group of groups) {
      const touched = new Set<number>();
      for (const { value } of group.members) {
        for (const node of [value.producer, ...value.users]) if (node && index.has(node)) touched.add(index.get(node)!);
      }
      this.#nodesOf.set(group, [...touched]);
    }
    this.total = this.at(groups.map((g) => g.size));
  }

  /** Cost where group i keeps `kept[i]` units. */
  at(kept: readonly number[]): Cost {
    for (const [value, dims] of this.#dims) {
      const original = this.#original.get(value)!;
      for (let axis = 0; axis < dims.length; axis++) dims[axis] = original[axis]!;
    }
    const stale = new Set<number>();
    this.#groups.forEach((group, i) => {
      const gone = group.size - kept[i]!;
      if (gone === 0) return;
      for (const { value, axis, perUnit } of group.members) {
        const dims = this.#dims.get(value);
        if (dims) dims[axis]! -= gone * perUnit;
      }
      for (const n of this.#nodesOf.get(group)!) stale.add(n);
    });
    let macs = 0;
    for (let i = 0; i < this.#nodes.length; i++) macs += stale.has(i) ? this.#macsOf(i) : this.#macs[i]!;
    let params = 0;
    let bytes = 0;
    for (const value of this.#constants) {
      const count = this.#dims.get(value)!.reduce((a, b) => a * b, 1);
      params += count;
      bytes += byteLengthOf(value.initializer!.dtype, count);
    }
    return { macs, params, bytes };
  }

  #macsOf(index: number): number {
    const { node, runs } = this.#nodes[index]!;
    const record = opRecord(node.domain, node.opType);
    if (!record || record.cost === 'none' || record.cost === 'elementwise' || runs === 0) return 0;
    const inputs = node.inputs.map((v) => (v ? (this.#dims.get(v) ?? null) : null));
    const outputs = node.outputs.map((v) => (v ? (this.#dims.get(v) ?? null) : null));
    if (record.cost !== 'axes') return runs * record.cost({ node, inputs, outputs }).macs;
    const statement = axesOfNode(record, node, inputs);
    return statement ? runs * (macsOfAxes(statement, inputs, outputs) ?? 0) : 0;
  }
}

function pairValues(model: Model, copy: Model): [Value, Value][] {
  const graphs = [...walkGraphs(copy.graph)];
  return [...walkGraphs(model.graph)].flatMap((graph, i) =>
    [...graph.values()].flatMap((v): [Value, Value][] => {
      const twin = graphs[i]!.ownValue(v.name);
      return twin ? [[v, twin]] : [];
    }),
  );
}
