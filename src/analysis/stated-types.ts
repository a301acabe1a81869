// Which types the file itself states, so that types inferred while working on it need not be written.
import type { Model } from '../ir/model.js';
import { walkGraphs } from '../ir/walk.js';

/** Names of the values whose types the file states. */
export function typedNames(model: Model): Set<string> {
  const names = new Set<string>();
  for (const graph of walkGraphs(model.graph)) for (const value of graph.values()) if (value.type) names.add(value.name);
  return names;
}

/**
 * Forgets the inferred types of values inside that the file said nothing about: it need not grow by them, runtimes infer for themselves,
 * and what ONNX Runtime fuses when it loads the model stays what it was. Types in subgraphs and of inputs, outputs and constants stay.
 */
export function forgetAddedTypes(model: Model, stated: ReadonlySet<string>): void {
  for (const value of model.graph.values()) {
    if (value.producer && !value.isGraphOutput && !stated.has(value.name)) value.type = undefined;
  }
}
