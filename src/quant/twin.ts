// Two streams in one graph: the float model, and a twin of every node that depends on weights about to be quantized. With both, a layer can be
// rounded so that the twin comes back to what the float model computes, errors of earlier layers included.
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { cloneModel, cloneNode } from '../ir/walk.js';
import { readsOf } from './staged-run.js';

export interface TwinModel {
  /** A copy of the model with both streams; its outputs are the float stream's. */
  readonly model: Model;
  /** Value of the float stream in `model`, by the name it has in the original. */
  float(name: string): Value;
  /** Its counterpart in the second stream; the same value where nothing before it changes. */
  twin(name: string): Value;
}

/** `weights` are the names of constants of the main graph that get a copy of their own in the second stream. */
export function twinModel(original: Model, weights: ReadonlySet<string>): TwinModel {
  const model = cloneModel(original);
  const { graph } = model;
  const twins = new Map<Value, Value>();
  for (const name of weights) {
    const value = graph.ownValue(name)!;
    twins.set(value, graph.addInitializer(`${name}_twin`, value.initializer!));
  }
  for (const node of [...graph.nodes]) if (readsOf(node).some((v) => twins.has(v))) addTwin(node, twins);
  const float = (name: string) => graph.ownValue(name)!;
  return { model, float, twin: (name) => twins.get(float(name)) ?? float(name) };
}

function addTwin(node: Node, twins: Map<Value, Value>): void {
  const { graph } = node;
  for (const output of node.outputs) {
    if (output) twins.set(output, graph.addValue(graph.freshName(`${output.name}_twin`), output.type));
  }
  // A copy of the map: subgraphs put their own values into it.
  cloneNode(node, graph, new Map(twins)).name = '';
}
