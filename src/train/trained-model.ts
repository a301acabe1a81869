// Weights and running statistics back into the graph they came from.
import { bugError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';

/** A copy of the model whose initializers of these names hold copies of these values. */
export function withWeights(source: Model, weights: ReadonlyMap<string, Float32Array>): Model {
  const model = cloneModel(source);
  for (const [name, values] of weights) {
    const value = model.graph.value(name);
    const old = value?.initializer;
    if (!value || !old) throw bugError(`training: the model has no initializer "${name}"`);
    const copy = values.slice();
    value.initializer = new Tensor(old.dtype, old.dims, new Uint8Array(copy.buffer), old.extra);
  }
  return model;
}
