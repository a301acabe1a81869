// Which constants of a model training may change: float initializers that are no scalars of formulas, running statistics or frozen weights.
import type { Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';

/** Metadata key of an initializer that training must leave as it is, with the value `false`. */
export const TRAINABLE_KEY = 'pare.trainable';

/** Inputs of BatchNormalization from here on are running statistics. */
const FIRST_STATISTIC = 3;

/** In the order of the graph. Constants that are Constant nodes do not count: exporters write formulas with them. */
export function trainableParameters(model: Model): Value[] {
  return model.graph.initializers.filter((value) => {
    const tensor = value.initializer!;
    if (tensor.dtype !== 'float' || tensor.rank === 0 || value.readerCount === 0) return false;
    if (value.metadata?.get(TRAINABLE_KEY) === 'false') return false;
    return !value.uses.every((use) => use.node.opType === 'BatchNormalization' && use.index >= FIRST_STATISTIC);
  });
}

/** Elements of all of them. */
export function countTrainable(model: Model): number {
  return trainableParameters(model).reduce((sum, value) => sum + value.initializer!.size, 0);
}
