// Samples of the attention operators of com.microsoft: merged weights, projected inputs, caches, shared heads, experts.
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const domain = 'com.microsoft';
const heads = { num_heads: 2 };
const x = rand([2, 3, 8]);
const scale = scalar(0.1, 'float');

const merged: OpSample[] = [
  { op: 'Attention', domain, inputs: [x, rand([8, 24]), rand([24])], attributes: heads },
  {
    op: 'Attention',
    domain,
    label: 'mask of lengths',
    inputs: [x, rand([8, 24]), rand([24]), given('int32', [2], [3, 2])],
    attributes: heads,
  },
  {
    op: 'Attention',
    domain,
    label: 'narrow values',
    inputs: [x, rand([8, 20]), rand([20])],
    attributes: { ...heads, qkv_hidden_sizes: [8, 8, 4] },
  },
  {
    op: 'Attention',
    domain,
    label: 'past',
    inputs: [x, rand([8, 24]), rand([24]), null, rand([2, 2, 2, 5, 4])],
    outputs: 2,
    attributes: { ...heads, unidirectional: 1 },
  },
  { op: 'Attention', domain, label: 'present without past', inputs: [x, rand([8, 24]), rand([24])], outputs: 2, attributes: heads },
  {
    op: 'QAttention',
    domain,
    inputs: [rand([2, 3, 8], 'uint8'), rand([8, 24], 'uint8'), rand([24]), scale, scale, null, scalar(1, 'uint8'), scalar(1, 'uint8')],
    attributes: heads,
  },
  {
    op: 'QAttention',
    domain,
    label: 'past',
    inputs: [
      rand([2, 3, 8], 'uint8'),
      rand([8, 24], 'int8'),
      rand([24]),
      scale,
      scale,
      null,
      scalar(1, 'uint8'),
      scalar(1, 'int8'),
      rand([2, 2, 2, 5, 4]),
    ],
    outputs: 2,
    attributes: { ...heads, unidirectional: 1 },
  },
];

const multi: OpSample[] = [
  { op: 'MultiHeadAttention', domain, inputs: [x, x, x], attributes: heads },
  { op: 'MultiHeadAttention', domain, label: 'cross, bias', inputs: [x, rand([2, 5, 8]), rand([2, 5, 6]), rand([22])], attributes: heads },
  {
    op: 'MultiHeadAttention',
    domain,
    label: 'packed',
    inputs: [rand([2, 3, 2, 3, 4])],
    attributes: heads,
    noKernel: 'packed inputs on GPU only',
    expect: ['float[2,3,8]'],
  },
  {
    op: 'MultiHeadAttention',
    domain,
    label: 'packed keys and values',
    inputs: [x, rand([2, 5, 2, 2, 4])],
    attributes: heads,
    noKernel: 'packed inputs on GPU only',
    expect: ['float[2,3,8]'],
  },
  { op: 'MultiHeadAttention', domain, label: 'keys of a cache', inputs: [x, rand([2, 2, 5, 4]), rand([2, 2, 5, 4])], attributes: heads },
  {
    op: 'MultiHeadAttention',
    domain,
    label: 'past',
    inputs: [x, x, x, null, null, null, rand([2, 2, 5, 4]), rand([2, 2, 5, 4])],
    outputs: 3,
    attributes: heads,
  },
  { op: 'MultiHeadAttention', domain, label: 'presents', inputs: [x, x, x], outputs: 3, attributes: heads },
  {
    op: 'MultiHeadAttention',
    domain,
    label: 'scores',
    inputs: [],
    build: (b) => {
      // The type of the scores follows from nothing but the graph's own declaration.
      const outputs = ['y', 'k', 'v', 'scores'];
      const [q, k] = [b.input('q', 'float', [2, 3, 8]), b.input('k', 'float', [2, 5, 8])];
      const node = b.node('MultiHeadAttention', [q, k, k], heads, { domain, outputs });
      for (const i of outputs.keys()) b.output(node.output(i));
    },
    feeds: { q: x, k: rand([2, 5, 8]) },
  },
  {
    op: 'MultiHeadAttention',
    domain,
    label: 'mask and bias',
    inputs: [x, x, x, null, given('int32', [2, 3], [1, 1, 1, 1, 1, 0]), rand([1, 2, 3, 3])],
    attributes: heads,
  },
  {
    op: 'DecoderMaskedMultiHeadAttention',
    domain,
    inputs: [
      rand([2, 1, 8]),
      rand([2, 1, 8]),
      rand([2, 1, 8]),
      null,
      null,
      rand([2, 2, 6, 4]),
      rand([2, 2, 6, 4]),
      given('int32', [1], [4]),
    ],
    outputs: 3,
    attributes: { ...heads, past_present_share_buffer: 1 },
  },
];

const grouped = { num_heads: 4, kv_num_heads: 2 };
const group: OpSample[] = [
  {
    op: 'GroupQueryAttention',
    domain,
    inputs: [rand([2, 3, 32]), rand([2, 3, 16]), rand([2, 3, 16]), null, null, given('int32', [2], [2, 2]), scalar(3, 'int32')],
    outputs: 3,
    attributes: grouped,
  },
  {
    op: 'GroupQueryAttention',
    domain,
    label: 'packed',
    inputs: [rand([2, 3, 64]), null, null, null, null, given('int32', [2], [2, 2]), scalar(3, 'int32')],
    outputs: 3,
    attributes: grouped,
  },
  {
    op: 'GroupQueryAttention',
    domain,
    label: 'past, rotary',
    inputs: [
      rand([2, 1, 64]),
      rand([2, 1, 32]),
      rand([2, 1, 32]),
      rand([2, 2, 5, 16]),
      rand([2, 2, 5, 16]),
      given('int32', [2], [5, 5]),
      scalar(6, 'int32'),
      rand([16, 8]),
      rand([16, 8]),
    ],
    outputs: 3,
    attributes: { ...grouped, do_rotary: 1 },
  },
  {
    op: 'GroupQueryAttention',
    domain,
    label: 'total not known',
    inputs: [
      rand([1, 1, 32]),
      rand([1, 1, 16]),
      rand([1, 1, 16]),
      rand([1, 2, 5, 8]),
      rand([1, 2, 5, 8]),
      given('int32', [1], [5]),
      given('int32', [], [6]),
    ],
    outputs: 3,
    attributes: grouped,
    dataDependent: true,
  },
];

const positions: OpSample[] = [
  {
    op: 'RotaryEmbedding',
    domain,
    inputs: [rand([2, 3, 16]), given('int64', [2, 3], [0, 1, 2, 3, 4, 5]), rand([8, 4]), rand([8, 4])],
  },
  {
    op: 'RotaryEmbedding',
    domain,
    label: 'heads apart, one start',
    inputs: [rand([2, 2, 3, 8]), given('int64', [1], [1]), rand([8, 4]), rand([8, 4])],
    attributes: { interleaved: 1 },
  },
  {
    op: 'RotaryEmbedding',
    domain,
    label: 'part of the width',
    inputs: [rand([2, 3, 16]), given('int64', [2, 3], [0, 1, 2, 3, 4, 5]), rand([8, 2]), rand([8, 2])],
    attributes: { num_heads: 2, rotary_embedding_dim: 4 },
  },
  {
    op: 'RelativePositionBias',
    domain,
    inputs: [
      rand([32, 2]),
      { dtype: 'int64', dims: [1], values: [4], constant: true },
      { dtype: 'int64', dims: [1], values: [4], constant: true },
    ],
    attributes: { max_distance: 128 },
    noKernel: 'GPU only',
    expect: ['float[1,2,4,4]'],
  },
  {
    op: 'GatedRelativePositionBias',
    domain,
    inputs: [x, rand([8]), rand([1, 2, 3, 3]), rand([4, 8]), rand([8]), rand([1, 2, 1, 1])],
    attributes: heads,
    noKernel: 'GPU only',
    expect: ['float[2,2,3,3]'],
  },
];

const others: OpSample[] = [
  {
    op: 'LongformerAttention',
    domain,
    inputs: [rand([1, 4, 8]), rand([8, 24]), rand([24]), rand([1, 4]), rand([8, 24]), rand([24]), given('int32', [1, 4], [1, 0, 0, 0])],
    attributes: { ...heads, window: 2 },
    noKernel: 'GPU only',
    expect: ['float[1,4,8]'],
  },
  {
    op: 'MoE',
    domain,
    inputs: [rand([6, 8]), rand([6, 4]), rand([4, 16, 8]), null, rand([4, 8, 16])],
    attributes: { k: 2, activation_type: 'gelu' },
  },
  {
    op: 'QMoE',
    domain,
    inputs: [
      rand([6, 32]),
      rand([6, 4]),
      { ...rand([4, 32, 16], 'uint8'), constant: true },
      { ...rand([4, 32]), constant: true },
      null,
      { ...rand([4, 32, 16], 'uint8'), constant: true },
      { ...rand([4, 32]), constant: true },
    ],
    attributes: { k: 2, activation_type: 'gelu', expert_weight_bits: 4 },
  },
];

export const SAMPLES: readonly OpSample[] = [...merged, ...multi, ...group, ...positions, ...others];
