// Classical machine learning (domain ai.onnx.ml): tree ensembles, linear models, support vectors, encoders and feature tables.
// Enough to know the types around them; nothing in them is compressed.

import { sizeOf } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Dim, Shape, ValueType } from '../ir/type.js';
import { sameAsInput, shapeOfInput, tensorResult } from './infer-helpers.js';
import type { CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';

/** Rows of a feature table; a vector is one row. */
function rows(ctx: InferContext): Dim {
  const shape = ctx.shape(0);
  if (shape === null) return null;
  return shape.length < 2 ? 1 : shape[0]!;
}

/** Labels and one score a class. Scores of an unclear number are left open. */
function inferClassifier(strings: string, integers: string, scores: (ctx: InferContext, classes: number) => Dim) {
  return (ctx: InferContext): Inferred[] => {
    const names = ctx.node.strings(strings) ?? [];
    const numbers = ctx.node.ints(integers) ?? [];
    const n = rows(ctx);
    return [
      tensorResult(names.length > 0 ? 'string' : 'int64', [n]),
      tensorResult('float', [n, scores(ctx, Math.max(names.length, numbers.length))]),
    ];
  };
}

function inferTargets(attribute: string) {
  return (ctx: InferContext): Inferred[] => [tensorResult('float', [rows(ctx), ctx.node.int(attribute, 1)])];
}

function inferTreeEnsemble(ctx: InferContext): Inferred[] {
  return [tensorResult(ctx.dtype(0), [rows(ctx), ctx.node.int('n_targets', 1)])];
}

function inferZipMap(ctx: InferContext): Inferred[] {
  const key: DType = (ctx.node.strings('classlabels_strings') ?? []).length > 0 ? 'string' : 'int64';
  const value: ValueType = { kind: 'tensor', dtype: 'float', shape: [] };
  return [{ type: { kind: 'sequence', element: { kind: 'map', key, value } } }];
}

/** Label to label: the element type follows from the attribute that holds the values (`classes_strings` in version 1). */
function inferLabelEncoder(ctx: InferContext): Inferred[] {
  const { node } = ctx;
  const tensor = node.hasAttribute('values_tensor') ? node.tensor('values_tensor') : undefined;
  let dtype: DType | undefined = tensor?.dtype;
  if (node.hasAttribute('values_strings')) dtype = 'string';
  else if (node.hasAttribute('values_int64s')) dtype = 'int64';
  else if (node.hasAttribute('values_floats')) dtype = 'float';
  else if (dtype === undefined) dtype = swapText(ctx);
  return [tensorResult(dtype, ctx.shape(0))];
}

/** Strings become integers and integers strings. */
function swapText(ctx: InferContext): DType | undefined {
  const from = ctx.dtype(0);
  return from === undefined ? undefined : from === 'string' ? 'int64' : 'string';
}

function inferOneHot(ctx: InferContext): Inferred[] {
  const categories = Math.max(ctx.node.strings('cats_strings')?.length ?? 0, ctx.node.ints('cats_int64s')?.length ?? 0);
  const shape = ctx.shape(0);
  return [tensorResult('float', shape && [...shape, categories])];
}

function inferFeatureVectorizer(ctx: InferContext): Inferred[] {
  const widths = ctx.node.ints('inputdimensions');
  return [tensorResult('float', [rows(ctx), widths ? widths.reduce((a, b) => a + b, 0) : null])];
}

/** X [..., n] indexed along its last axis by Y; a vector counts as one row. */
function inferExtractor(ctx: InferContext): Inferred[] {
  const shape = ctx.shape(0);
  const picked = sizeOf(ctx.shape(1));
  const leading: Shape | null = shape && (shape.length <= 1 ? [1] : shape.slice(0, -1));
  return [tensorResult(ctx.dtype(0), leading && [...leading, picked])];
}

function inferDictVectorizer(ctx: InferContext): Inferred[] {
  const words = ctx.node.strings('string_vocabulary')?.length ?? ctx.node.ints('int64_vocabulary')?.length ?? null;
  const type = ctx.type(0);
  const value = type?.kind === 'map' && type.value?.kind === 'tensor' ? type.value.dtype : undefined;
  return [tensorResult(value, [1, words])];
}

function inferCastMap(ctx: InferContext): Inferred[] {
  const target = { TO_FLOAT: 'float', TO_STRING: 'string', TO_INT64: 'int64' } as const;
  const to = ctx.node.string('cast_to', 'TO_FLOAT') as keyof typeof target;
  const sparse = ctx.node.string('map_form', 'DENSE') === 'SPARSE';
  return [tensorResult(target[to], [1, sparse ? ctx.node.int('max_map', 1) : null])];
}

/** Scores of a support vector classifier: one a class where probabilities are made; otherwise it depends on the kernel's mode. */
function svmScores(ctx: InferContext, classes: number): Dim {
  return (ctx.node.floats('prob_a') ?? []).length > 0 ? classes : null;
}

/** Comparisons on the way down: rows * trees * depth of a balanced tree. */
function treeCost({ node, outputs: [y] }: CostContext): Work {
  const ids = node.ints('nodes_treeids') ?? [];
  const trees = new Set(ids).size;
  const depth = Math.ceil(Math.log2(ids.length / Math.max(trees, 1) + 1));
  return { macs: 0, ops: (y?.[0] ?? 1) * trees * depth };
}

function linearCost({ inputs: [x], node }: CostContext): Work {
  const features = x?.at(-1) ?? 1;
  const n = x && x.length > 1 ? x[0]! : 1;
  return { macs: (n * (node.floats('coefficients')?.length ?? 0) * features) / Math.max(features, 1), ops: 0 };
}

function svmCost({ inputs: [x], node }: CostContext): Work {
  const n = x && x.length > 1 ? x[0]! : 1;
  const vectors = node.floats('support_vectors')?.length ?? 0;
  return { macs: n * (vectors + (node.floats('coefficients')?.length ?? 0)), ops: 0 };
}

type Facts = Partial<Pick<OpRecord, 'axes' | 'cost'>>;

function record(opType: string, infer: (ctx: InferContext) => Inferred[], facts: Facts = {}): OpRecord {
  return { opType, domain: 'ai.onnx.ml', since: 1, infer, grad: 'none', axes: 'opaque', quant: 'none', cost: 'elementwise', ...facts };
}

export const CLASSIC_OPS: readonly OpRecord[] = [
  record(
    'TreeEnsembleClassifier',
    inferClassifier('classlabels_strings', 'classlabels_int64s', (_, classes) => classes),
    { cost: treeCost },
  ),
  record('TreeEnsembleRegressor', inferTargets('n_targets'), { cost: treeCost }),
  { ...record('TreeEnsemble', inferTreeEnsemble, { cost: treeCost }), since: 5 },
  record(
    'LinearClassifier',
    inferClassifier('classlabels_strings', 'classlabels_ints', (_, classes) => classes),
    { cost: linearCost },
  ),
  record('LinearRegressor', inferTargets('targets'), { cost: linearCost }),
  record('SVMClassifier', inferClassifier('classlabels_strings', 'classlabels_ints', svmScores), { cost: svmCost }),
  record('SVMRegressor', (ctx) => [tensorResult('float', [rows(ctx), 1])], { cost: svmCost }),
  record('ZipMap', inferZipMap, { cost: 'none' }),
  record('Scaler', shapeOfInput('float')),
  record('Normalizer', shapeOfInput('float')),
  record('Binarizer', sameAsInput(0)),
  record('Imputer', sameAsInput(0)),
  record('LabelEncoder', inferLabelEncoder, { cost: 'none' }),
  record('CategoryMapper', (ctx) => [tensorResult(swapText(ctx), ctx.shape(0))], { cost: 'none' }),
  record('OneHotEncoder', inferOneHot, { cost: 'none' }),
  record('FeatureVectorizer', inferFeatureVectorizer, { cost: 'none' }),
  record('ArrayFeatureExtractor', inferExtractor, { cost: 'none' }),
  record('DictVectorizer', inferDictVectorizer, { cost: 'none' }),
  record('CastMap', inferCastMap, { cost: 'none' }),
];
