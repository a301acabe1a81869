// Samples of the classical machine learning operators (ai.onnx.ml).
import type { AttributeInput } from '../../../src/ir/attribute.js';
import { Tensor } from '../../../src/ir/tensor.js';
import type { OpSample, SampleInput } from '../op-sample.js';

const X: SampleInput = { dtype: 'float', dims: [4, 3] };

function floats(...value: number[]): AttributeInput {
  return { type: 'floats', value };
}

/** One split at feature 0, two leaves. */
const TREE: Record<string, AttributeInput> = {
  nodes_treeids: [0, 0, 0],
  nodes_nodeids: [0, 1, 2],
  nodes_featureids: [0, 0, 0],
  nodes_values: floats(0, 0, 0),
  nodes_modes: ['BRANCH_LEQ', 'LEAF', 'LEAF'],
  nodes_truenodeids: [1, 0, 0],
  nodes_falsenodeids: [2, 0, 0],
};

function ml(op: string, attributes: Record<string, AttributeInput>, extra: Partial<OpSample> = {}): OpSample {
  return { op, domain: 'ai.onnx.ml', opsets: { 'ai.onnx.ml': 3 }, inputs: [X], attributes, ...extra };
}

/** Maps and sequences of maps cannot be handed over: types are checked against the standard. */
const NO_MAPS = 'results or inputs are no tensors';

export const SAMPLES: readonly OpSample[] = [
  ml(
    'TreeEnsembleClassifier',
    {
      ...TREE,
      class_treeids: [0, 0],
      class_nodeids: [1, 2],
      class_ids: [0, 1],
      class_weights: floats(1, 1),
      classlabels_strings: ['no', 'yes'],
      post_transform: 'NONE',
    },
    { outputs: 2 },
  ),
  ml('TreeEnsembleRegressor', {
    ...TREE,
    n_targets: 2,
    target_treeids: [0, 0],
    target_nodeids: [1, 2],
    target_ids: [0, 1],
    target_weights: floats(0.5, 1.5),
  }),
  ml(
    'TreeEnsemble',
    {
      tree_roots: [0],
      n_targets: 2,
      nodes_featureids: [0],
      nodes_splits: { type: 'tensor', value: Tensor.from('float', [1], [0.1]) },
      nodes_modes: { type: 'tensor', value: Tensor.from('uint8', [1], [0]) },
      nodes_truenodeids: [0],
      nodes_trueleafs: [1],
      nodes_falsenodeids: [1],
      nodes_falseleafs: [1],
      leaf_targetids: [0, 1],
      leaf_weights: { type: 'tensor', value: Tensor.from('float', [2], [0.5, 1.5]) },
    },
    { opsets: { 'ai.onnx.ml': 5 } },
  ),
  ml(
    'LinearClassifier',
    { coefficients: floats(1, 2, 3, -1, -2, -3), intercepts: floats(0, 0), classlabels_ints: [3, 7], post_transform: 'SOFTMAX' },
    { outputs: 2 },
  ),
  ml('LinearRegressor', { coefficients: floats(1, 2, 3, -1, -2, -3), intercepts: floats(0, 1), targets: 2 }),
  ml(
    'SVMClassifier',
    {
      classlabels_ints: [0, 1],
      coefficients: floats(1, -1),
      kernel_params: floats(0.5, 0, 3),
      kernel_type: 'RBF',
      prob_a: floats(-1),
      prob_b: floats(0),
      rho: floats(0.1),
      support_vectors: floats(1, 2, 3, -1, -2, -3),
      vectors_per_class: [1, 1],
    },
    { outputs: 2 },
  ),
  ml('SVMRegressor', {
    coefficients: floats(1, -1),
    kernel_params: floats(0.5, 0, 3),
    kernel_type: 'RBF',
    n_supports: 2,
    rho: floats(0.1),
    support_vectors: floats(1, 2, 3, -1, -2, -3),
  }),
  ml('ZipMap', { classlabels_strings: ['a', 'b', 'c'] }, { noKernel: NO_MAPS, expect: ['seq(map(string,float[]))'] }),
  ml('Scaler', { offset: floats(1, 2, 3), scale: floats(2, 2, 2) }),
  ml('Normalizer', { norm: 'L2' }),
  ml('Binarizer', { threshold: { type: 'float', value: 0.1 } }),
  ml('Imputer', { imputed_value_floats: floats(1, 2, 3), replaced_value_float: { type: 'float', value: 0.5 } }),
  ml('LabelEncoder', { keys_floats: floats(1, 2), values_strings: ['a', 'b'] }),
  ml(
    'LabelEncoder',
    { keys_strings: ['a', 'b'], values_int64s: [4, 5] },
    { label: 'of strings', inputs: [{ dtype: 'string', dims: [2, 2] }] },
  ),
  ml('CategoryMapper', { cats_int64s: [1, 2], cats_strings: ['a', 'b'] }, { inputs: [{ dtype: 'string', dims: [2, 2] }] }),
  ml('OneHotEncoder', { cats_int64s: [0, 1, 2], zeros: 1 }, { inputs: [{ dtype: 'int64', dims: [4], values: [0, 2, 1, 0] }] }),
  ml('FeatureVectorizer', { inputdimensions: [3, 2] }, { inputs: [X, { dtype: 'float', dims: [4, 2] }] }),
  ml('ArrayFeatureExtractor', {}, { inputs: [X, { dtype: 'int64', dims: [2], values: [0, 2] }] }),
  ml(
    'ArrayFeatureExtractor',
    {},
    {
      label: 'of a vector',
      inputs: [
        { dtype: 'float', dims: [5] },
        { dtype: 'int64', dims: [1, 2], values: [0, 2] },
      ],
    },
  ),
  {
    ...ml('DictVectorizer', {}, { noKernel: NO_MAPS, expect: ['float[1,3]'] }),
    build: (b) => {
      const map = b.graph.addInput('x', { kind: 'map', key: 'string', value: { kind: 'tensor', dtype: 'float', shape: [] } });
      b.output(b.op('DictVectorizer', [map], { string_vocabulary: ['a', 'b', 'c'] }, { domain: 'ai.onnx.ml' }));
    },
  },
  {
    ...ml('CastMap', {}, { noKernel: NO_MAPS, expect: ['float[1,?]'] }),
    build: (b) => {
      const map = b.graph.addInput('x', { kind: 'map', key: 'int64', value: { kind: 'tensor', dtype: 'float', shape: [] } });
      b.output(b.op('CastMap', [map], { cast_to: 'TO_FLOAT' }, { domain: 'ai.onnx.ml' }));
    },
  },
];
