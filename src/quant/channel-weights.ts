// Weights of operators that multiply by a constant and have no block-wise or dynamic kernel: which inputs they are, and along which axis each element
// has a scale of its own (output channels; gate rows of recurrent layers).
import type { Node } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import type { Granularity } from './scheme.js';

export interface ChannelWeights {
  readonly inputs: readonly number[];
  readonly axis: (node: Node) => number;
}

export const CHANNEL_WEIGHTS: Readonly<Record<string, ChannelWeights>> = {
  Conv: { inputs: [1], axis: () => 0 },
  ConvTranspose: { inputs: [1], axis: (node) => (node.int('group', 1) === 1 ? 1 : 0) },
  LSTM: { inputs: [1, 2], axis: () => 1 },
  GRU: { inputs: [1, 2], axis: () => 1 },
  RNN: { inputs: [1, 2], axis: () => 1 },
};

/** One scale per element of an axis; for tensors with leading axes (directions of LSTM) one per block of a whole row. */
export function scalesAlong(tensor: Tensor, axis: number): Granularity {
  if (axis === 0 || tensor.rank < 3 || tensor.dims[0] === 1) return { kind: 'channel', axis };
  return { kind: 'block', axis: tensor.rank - 1, size: tensor.dims.at(-1)! };
}
