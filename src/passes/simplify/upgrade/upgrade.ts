// Brings a model to a newer opset of the default domain, version by version and operator by operator, by the changes that each version made.
// All or nothing: where a node has no exact converter, the model stays at its opset and every such node is named.
import { inferShapes } from '../../../analysis/shapes.js';
import { Builder } from '../../../ir/builder.js';
import type { Graph, Node } from '../../../ir/graph.js';
import type { Model } from '../../../ir/model.js';
import { cloneModel, walkGraphs } from '../../../ir/walk.js';
import { opRecord } from '../../../ops/registry.js';
import { absorbConstants } from '../cleanup.js';
import type { Convert, Converters } from './converter.js';
import { EARLY_CONVERTERS } from './early.js';
import { INPUT_CONVERTERS } from './inputs.js';
import { MEANING_CONVERTERS } from './meaning.js';

const TABLES: readonly Converters[] = [EARLY_CONVERTERS, INPUT_CONVERTERS, MEANING_CONVERTERS];

/** Steps of an operator at a version. Where several tables have one, all apply. */
function stepsOf(opType: string, version: number): Convert[] {
  return TABLES.map((t) => t[opType]?.[version]).filter((c) => c !== undefined);
}

export interface BlockedNode {
  readonly label: string;
  readonly op: string;
  readonly reason: string;
}

export interface UpgradeResult {
  readonly from: number;
  readonly to: number;
  /** Nodes that kept the model where it was; empty after success. */
  readonly blocked: readonly BlockedNode[];
}

/** IR version that came with an opset. */
function irVersionFor(opset: number): number {
  if (opset >= 23) return 11;
  if (opset >= 21) return 10;
  if (opset >= 20) return 9;
  if (opset >= 15) return 8;
  if (opset >= 12) return 7;
  return opset >= 9 ? 4 : 3;
}

/** Upgrades in place. A model without the default domain has nothing to upgrade. */
export function upgradeOpset(model: Model, target: number): UpgradeResult {
  const from = model.opset;
  if (from >= target || !model.opsets.has('')) return { from, to: from, blocked: [] };
  // Converters edit a copy, so that a model that cannot be upgraded as a whole is not upgraded in part.
  const copy = cloneModel(model);
  const graphs = [...walkGraphs(copy.graph), ...copy.functions.flatMap((f) => [...walkGraphs(f.graph)])];
  const blocked = unknownNodes(copy, graphs, from);
  if (blocked.length === 0) {
    absorbConstants(copy);
    inferShapes(copy);
    for (let version = from + 1; version <= target; version++) for (const graph of graphs) blocked.push(...step(graph, version));
  }
  if (blocked.length > 0) return { from, to: from, blocked };
  copy.opsets.set('', target);
  model.graph = copy.graph;
  model.functions = copy.functions.map((f) => ({ ...f, opsets: new Map(f.opsets).set('', target) }));
  model.opsets.set('', target);
  model.irVersion = Math.max(model.irVersion, irVersionFor(target));
  return { from, to: target, blocked: [] };
}

function step(graph: Graph, version: number): BlockedNode[] {
  const blocked: BlockedNode[] = [];
  for (const node of graph.nodes) {
    if (node.domain !== '') continue;
    for (const convert of stepsOf(node.opType, version)) {
      const reason = convert(node, new Builder(graph, { before: node }));
      if (reason !== undefined) blocked.push({ label: node.label, op: node.op, reason });
    }
  }
  return blocked;
}

/** Operators Pare does not know may have changed in ways it does not know either. */
function unknownNodes(model: Model, graphs: readonly Graph[], from: number): BlockedNode[] {
  const blocked: BlockedNode[] = [];
  for (const graph of graphs) {
    for (const node of graph.nodes) {
      const known =
        node.domain !== '' || opRecord('', node.opType) !== undefined || isRetired(node) || model.functionOf(node) !== undefined;
      if (!known) blocked.push({ label: node.label, op: node.op, reason: `operator ${node.opType} is not known` });
    }
  }
  for (const f of model.functions) {
    const own = f.opsets.get('');
    if (own !== undefined && own !== from)
      blocked.push({ label: f.name, op: f.name, reason: `the function is written in opset ${own}, the model in ${from}` });
  }
  return blocked;
}

/** Operators that newer opsets have under another name. */
function isRetired(node: Node): boolean {
  return node.opType === 'Upsample' || node.opType === 'Scatter';
}
