// The first convolution of a model on pictures or features: with one to three input channels its integer kernel is no faster than the float one
// (measured with ONNX Runtime: equal on ResNet-20, slower on MobileNet and YuNet), while rounding the input costs more than rounding any other activation,
// since pictures have 256 levels per channel that one scale for all channels does not meet. It holds next to none of the weights.
import type { Node, Value } from '../ir/graph.js';
import { requiredInputs } from '../ir/model.js';

const MOST_CHANNELS = 3;
/** Share of the model's constants that the weight may be. */
const MOST_SHARE = 0.1;

const MOVES = new Set(['Reshape', 'Transpose', 'Squeeze', 'Unsqueeze', 'Identity', 'Cast']);

/** Why a node should stay float as the model's input layer, or undefined where it is none. */
export function inputLayerReason(node: Node): string | undefined {
  if (node.opType !== 'Conv' || node.domain !== '' || node.graph.parent) return undefined;
  const weight = node.input(1)?.initializer;
  if (!weight || weight.rank < 3 || weight.dims[1]! > MOST_CHANNELS || node.int('group', 1) !== 1) return undefined;
  if (!isInput(node.input(0))) return undefined;
  let total = 0;
  for (const value of node.graph.initializers) if (value.initializer!.dtype === 'float') total += value.initializer!.size;
  if (weight.size > MOST_SHARE * total) return undefined;
  return `it reads the model's input of ${weight.dims[1]} channel${weight.dims[1] === 1 ? '' : 's'}: in int8 it would be no faster and cost the most accuracy`;
}

/** The value is fed by the caller, possibly moved on the way. */
function isInput(value: Value | null): boolean {
  for (let at = value; at; at = at.producer.input(0)) {
    if (!at.producer) return requiredInputs(at.graph).includes(at);
    if (!MOVES.has(at.producer.opType)) return false;
  }
  return false;
}
