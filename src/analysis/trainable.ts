// Which constants of a model training may change: float initializers that are no settings or scalars of formulas, running statistics or frozen weights.
import type { Use, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';

/** Metadata key of an initializer that training must leave as it is, with the value `false`. */
export const TRAINABLE_KEY = 'pare.trainable';

/** Inputs that say how, not what, to compute, by operator: sizes, limits, windows, tables of angles; running statistics; scales of quantization. */
const SETTINGS: Readonly<Record<string, readonly number[]>> = {
  Resize: [1, 2],
  Upsample: [1],
  Clip: [1, 2],
  Pad: [2],
  Pow: [1],
  OneHot: [2],
  STFT: [2],
  GridSample: [1],
  RoiAlign: [1],
  BatchNormalization: [3, 4],
  QuantizeLinear: [1],
  DequantizeLinear: [1],
  RotaryEmbedding: [1, 2],
  'com.microsoft.RotaryEmbedding': [2, 3],
  'com.microsoft.GroupQueryAttention': [7, 8],
};

/** Element-wise operators in which a single number for all elements belongs to a formula. */
const ARITHMETIC = new Set([
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Max',
  'Min',
  'Mod',
  'Where',
  'Equal',
  'Less',
  'Greater',
  'LessOrEqual',
  'GreaterOrEqual',
]);

/** In the order of the graph. Constants that are Constant nodes do not count: exporters write formulas with them. */
export function trainableParameters(model: Pick<Model, 'graph'>): Value[] {
  return model.graph.initializers.filter((value) => {
    const tensor = value.initializer!;
    if (tensor.dtype !== 'float' || tensor.rank === 0 || value.readerCount === 0) return false;
    if (value.metadata?.get(TRAINABLE_KEY) === 'false') return false;
    const { uses } = value;
    return uses.length === 0 || !uses.every((use) => isSetting(use) || (tensor.size === 1 && isFormula(use)));
  });
}

const isSetting = ({ node, index }: Use): boolean => SETTINGS[node.op]?.includes(index) ?? false;

/** True where one number meets many features: a bias of a single feature meets one. */
function isFormula({ node, index }: Use): boolean {
  return node.domain === '' && ARITHMETIC.has(node.opType) && !node.inputs.some((v, i) => v && i !== index && lastExtent(v) === 1);
}

/** Of the value's type, or of the matrix that made it. */
function lastExtent(value: Value): number | undefined {
  const known = tensorTypeOf(value)?.shape?.at(-1);
  if (typeof known === 'number') return known;
  const { producer } = value;
  const matrix = producer && /MatMul$/.test(producer.opType) ? producer.input(1) : null;
  return matrix?.initializer?.dims.at(-1);
}

/** Elements of all of them. */
export function countTrainable(model: Model): number {
  return trainableParameters(model).reduce((sum, value) => sum + value.initializer!.size, 0);
}
