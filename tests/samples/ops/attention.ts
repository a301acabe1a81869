// Samples of attention in the default domain: both layouts, shared key-value heads, caches, masks; rotary embedding; linear attention.
import type { OpSample } from '../op-sample.js';
import { given, rand } from '../tensor-inputs.js';

const heads = { q_num_heads: 4, kv_num_heads: 2 };
const q = rand([2, 4, 3, 8]);
const k = rand([2, 2, 5, 8]);
const v = rand([2, 2, 5, 6]);

const attention: OpSample[] = [
  { op: 'Attention', opset: 23, inputs: [rand([2, 4, 3, 8]), rand([2, 4, 3, 8]), rand([2, 4, 3, 8])] },
  { op: 'Attention', label: 'shared heads, wide values', opset: 23, inputs: [q, k, v] },
  { op: 'Attention', label: 'packed heads', opset: 23, inputs: [rand([2, 3, 32]), rand([2, 5, 16]), rand([2, 5, 12])], attributes: heads },
  {
    op: 'Attention',
    label: 'packed heads of equal number',
    opset: 23,
    inputs: [rand([2, 3, 16]), rand([2, 5, 16]), rand([2, 5, 12])],
    attributes: { q_num_heads: 2, kv_num_heads: 2 },
  },
  { op: 'Attention', label: 'causal, scale', opset: 23, inputs: [q, k, v], attributes: { is_causal: 1, scale: 0.25 } },
  { op: 'Attention', label: 'mask', opset: 23, inputs: [q, k, v, rand([3, 5])] },
  { op: 'Attention', label: 'bool mask', opset: 23, inputs: [q, k, v, rand([2, 1, 3, 5], 'bool')] },
  {
    op: 'Attention',
    label: 'cache',
    opset: 23,
    inputs: [q, k, v, null, rand([2, 2, 4, 8]), rand([2, 2, 4, 6])],
    outputs: 3,
  },
  {
    op: 'Attention',
    label: 'packed heads, cache, scores',
    opset: 23,
    inputs: [rand([2, 3, 32]), rand([2, 5, 16]), rand([2, 5, 12]), null, rand([2, 2, 4, 8]), rand([2, 2, 4, 6])],
    outputs: 4,
    attributes: heads,
  },
  { op: 'Attention', label: 'presents without a cache', opset: 23, inputs: [q, k, v], outputs: 3 },
  { op: 'Attention', label: 'scores alone', opset: 24, inputs: [q, k, v], outputs: ['y', null, null, 'scores'] },
  {
    op: 'Attention',
    label: 'lengths',
    opset: 24,
    inputs: [q, k, v, null, null, null, given('int64', [2], [5, 4])],
  },
];

const positions: OpSample[] = [
  {
    op: 'RotaryEmbedding',
    opset: 23,
    inputs: [rand([2, 3, 4, 8]), rand([10, 4]), rand([10, 4]), given('int64', [2, 4], [0, 1, 2, 3, 4, 5, 6, 7])],
  },
  { op: 'RotaryEmbedding', label: 'caches per position', opset: 23, inputs: [rand([2, 3, 4, 8]), rand([2, 4, 4]), rand([2, 4, 4])] },
  {
    op: 'RotaryEmbedding',
    label: 'packed heads, interleaved',
    opset: 23,
    inputs: [rand([2, 4, 24]), rand([10, 4]), rand([10, 4]), given('int64', [2, 4], [0, 1, 2, 3, 4, 5, 6, 7])],
    attributes: { num_heads: 3, interleaved: 1 },
  },
  {
    op: 'RotaryEmbedding',
    label: 'part of the width',
    opset: 23,
    inputs: [rand([2, 3, 4, 8]), rand([10, 2]), rand([10, 2]), given('int64', [2, 4], [0, 1, 2, 3, 4, 5, 6, 7])],
    attributes: { rotary_embedding_dim: 4, num_heads: 3 },
  },
];

const linear: OpSample[] = [
  {
    op: 'LinearAttention',
    opset: 27,
    inputs: [rand([2, 3, 16]), rand([2, 3, 8]), rand([2, 3, 6]), rand([2, 2, 4, 3]), rand([2, 3, 2]), rand([2, 3, 2])],
    outputs: 2,
    attributes: heads,
    noKernel: 'opset 27',
    expect: ['float[2,3,12]', 'float[2,2,4,3]'],
  },
  {
    op: 'LinearAttention',
    label: 'without state',
    opset: 27,
    inputs: [rand([2, 3, 8]), rand([2, 3, 8]), rand([2, 3, 6])],
    outputs: 2,
    attributes: { q_num_heads: 2, kv_num_heads: 2, update_rule: 'linear' },
    noKernel: 'opset 27',
    expect: ['float[2,3,6]', 'float[2,2,4,3]'],
  },
];

export const SAMPLES: readonly OpSample[] = [...attention, ...positions, ...linear];
