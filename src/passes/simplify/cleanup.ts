// Housekeeping before and after the rules: Constant nodes become initializers, defaults of inputs become constants,
// dead nodes, unread outputs, unread constants and unused opset imports go.

import type { Attribute } from '../../ir/attribute.js';
import type { Graph, Node } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { walkGraphs, walkNodes } from '../../ir/walk.js';

/** Turns Constant nodes into initializers of the same name. Returns how many. */
export function absorbConstants(model: Model): number {
  let count = 0;
  for (const graph of walkGraphs(model.graph)) {
    for (const node of graph.nodes) {
      if (node.domain !== '' || node.opType !== 'Constant') continue;
      const tensor = constantTensor(node);
      const output = node.outputs[0];
      if (!tensor || !output) continue;
      // A graph output must come from a node: there the Constant stays.
      if (output.isGraphOutput) continue;
      const name = output.name;
      const value = graph.addInitializer(`${name}_value`, tensor);
      graph.replaceValue(output, value);
      graph.removeNode(node);
      graph.rename(value, name);
      count++;
    }
  }
  return count;
}

/** The tensor a Constant node stands for; undefined for sparse ones. */
function constantTensor(node: Node): Tensor | undefined {
  const [name, attribute] = [...node.attributes][0] ?? [];
  if (name === undefined || attribute === undefined) return undefined;
  return tensorOfAttribute(attribute);
}

function tensorOfAttribute(attribute: Attribute): Tensor | undefined {
  switch (attribute.type) {
    case 'tensor':
      return attribute.value;
    case 'float':
      return Tensor.scalar('float', attribute.value);
    case 'floats':
      return Tensor.from('float', [attribute.value.length], attribute.value);
    case 'int':
      return Tensor.of('int64', [], BigInt64Array.of(attribute.value));
    case 'ints':
      return Tensor.of('int64', [attribute.value.length], BigInt64Array.from(attribute.value));
    case 'string':
      return Tensor.strings([], [attribute.value]);
    case 'strings':
      return Tensor.strings([attribute.value.length], attribute.value);
    default:
      return undefined;
  }
}

/**
 * Makes constants of inputs that carry a default value. Returns their names.
 */
export function fixInputDefaults(model: Model): string[] {
  const fixed: string[] = [];
  for (const input of [...model.graph.inputs]) {
    if (input.initializer === null && input.sparse === null) continue;
    model.graph.removeInput(input);
    fixed.push(input.name);
  }
  return fixed;
}

/** Removes nodes none of whose outputs is read, last to first, then unread trailing outputs and unread constants. Returns the number of nodes. */
export function removeDeadCode(model: Model): number {
  return removeDeadIn(model.graph);
}

function removeDeadIn(graph: Graph): number {
  let removed = 0;
  for (const node of [...graph.nodes].reverse()) {
    if (node.outputs.every((o) => o === null || o.readerCount === 0)) {
      graph.removeNode(node);
      removed++;
      continue;
    }
    for (const sub of node.subgraphs()) removed += removeDeadIn(sub);
    dropUnreadOutputs(node);
  }
  graph.pruneValues();
  return removed;
}

/** Operators whose outputs beyond the first are optional, so that unread ones can be omitted. */
const OPTIONAL_OUTPUTS: ReadonlySet<string> = new Set([
  'Dropout',
  'MaxPool',
  'LayerNormalization',
  'LSTM',
  'GRU',
  'RNN',
  'Unique',
  'BatchNormalization',
  'SkipLayerNormalization',
  'SimplifiedLayerNormalization',
  'SkipSimplifiedLayerNormalization',
  'EmbedLayerNormalization',
]);

function dropUnreadOutputs(node: Node): void {
  if (!OPTIONAL_OUTPUTS.has(node.opType)) return;
  for (let i = node.outputs.length - 1; i > 0; i--) {
    const output = node.outputs[i];
    if (output && output.readerCount === 0) node.dropOutput(i);
  }
}

/** Removes imports of domains that no node uses. The default domain stays. Returns the domains. */
export function removeUnusedOpsets(model: Model): string[] {
  const used = new Set(['']);
  for (const graph of [model.graph, ...model.functions.map((f) => f.graph)]) for (const node of walkNodes(graph)) used.add(node.domain);
  const removed = [...model.opsets.keys()].filter((domain) => !used.has(domain));
  for (const domain of removed) model.opsets.delete(domain);
  return removed;
}

/** Removes local functions that no node calls, repeatedly (functions call functions). */
export function removeUnusedFunctions(model: Model): void {
  for (let before = -1; before !== model.functions.length; ) {
    before = model.functions.length;
    const called = new Set<string>();
    const key = (n: { domain: string; opType: string; overload: string }) => `${n.domain}\0${n.opType}\0${n.overload}`;
    for (const node of walkNodes(model.graph)) called.add(key(node));
    for (const f of model.functions) {
      for (const node of walkNodes(f.graph)) if (node.opType !== f.name || node.domain !== f.domain) called.add(key(node));
    }
    model.functions = model.functions.filter((f) => called.has(key({ domain: f.domain, opType: f.name, overload: f.overload })));
  }
}
