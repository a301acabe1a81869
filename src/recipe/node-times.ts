// Whose time is it? ONNX Runtime rewrites the graph before it runs it: nodes keep their names, get a prefix, are renamed after their output in
// another memory layout, or vanish in an operator of the runtime's own.
import type { Node } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { walkNodes } from '../ir/walk.js';
import type { NodeTime } from '../runtime/engine.js';

export interface AttributedTimes {
  /** Milliseconds per run, by node of the model. */
  readonly byNode: ReadonlyMap<Node, number>;
  /** Milliseconds per run of the runtime's own operators, by operator. */
  readonly fused: ReadonlyMap<string, number>;
}

/** What the runtime puts behind names: blocked layout, channels-last layout, products merged with their bias. */
const RENAMED = /(_nchwc|_token_\d+|\/MatMulAddFusion|\/GemmAddFusion)+$/;
/** Steps back from a renamed output to the node of the same operator: over BatchNormalization, residual addition and activation. */
const MAX_FUSED_CHAIN = 4;

export function attributeTimes(model: Model, times: readonly NodeTime[]): AttributedTimes {
  const byName = new Map<string, Node>();
  for (const node of walkNodes(model.graph)) if (node.name !== '' && !byName.has(node.name)) byName.set(node.name, node);
  const byNode = new Map<Node, number>();
  const fused = new Map<string, number>();
  for (const time of times) {
    const ms = time.ms / Math.max(1, time.runs);
    const name = time.node.replace(/^fused /, '').replace(RENAMED, '');
    const node = byName.get(time.node) ?? byName.get(name) ?? producerOf(model, time, name);
    if (node) byNode.set(node, (byNode.get(node) ?? 0) + ms);
    else fused.set(time.opType, (fused.get(time.opType) ?? 0) + ms);
  }
  return { byNode, fused };
}

/** `relu1_out_nchwc` names the output of a fused convolution in blocked layout: the convolution is some nodes up. */
function producerOf(model: Model, time: NodeTime, name: string): Node | undefined {
  let node = model.graph.value(name)?.producer;
  for (let step = 0; node && step < MAX_FUSED_CHAIN; step++) {
    if (node.opType === time.opType) return node;
    node = node.inputs[0]?.producer;
  }
  return undefined;
}
