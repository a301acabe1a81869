// Decomposed normalizations back to one node: LayerNormalization as PyTorch and TensorFlow export it, RMSNormalization (opset 23),
// and constants multiplied with or added to a LayerNormalization's result folded into its scale and bias.

import type { Node, Value } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { anyOf, matchAt, op, type Pattern, readOutside, scalar, scalarOf, value } from '../../rewrite/pattern.js';
import { type Miss, miss, type Rule, type RuleContext, rule } from '../../rewrite/rule.js';
import { constantOf, dtypeOf, listOf, rankOf, sameShape, shapeOf } from './facts.js';

const smallPositive = (x: number) => x >= 0 && x < 0.1;

const mean = (inner: Pattern, name: string) => op('ReduceMean', [inner], { as: name, moreInputs: true });
const square = (name: string) => anyOf(op('Pow', [value(name), scalar(2)]), op('Mul', [value(name), value(name)]));
const withEpsilon = (inner: Pattern) => op('Add', [inner, scalar(smallPositive, 'epsilon')]);

/** numerator / sqrt(variance + epsilon), in its usual spellings. */
function dividedByRoot(numerator: Pattern, variance: Pattern): Pattern {
  const sum = withEpsilon(variance);
  const root = anyOf(op('Sqrt', [sum]), op('Pow', [sum, scalar(0.5)]));
  const inverse = anyOf(op('Reciprocal', [root]), op('Div', [scalar(1), root]), op('Pow', [sum, scalar(-0.5)]));
  return anyOf(op('Div', [numerator, root]), op('Mul', [numerator, inverse]));
}

/** The inverse root by itself, as TensorFlow multiplies it with the scale first. */
const inverseRoot = (variance: Pattern): Pattern => {
  const sum = withEpsilon(variance);
  const root = anyOf(op('Sqrt', [sum]), op('Pow', [sum, scalar(0.5)]));
  return anyOf(op('Reciprocal', [root]), op('Div', [scalar(1), root]), op('Pow', [sum, scalar(-0.5)]));
};

const centred = op('Sub', [value('x'), mean(value('x'), 'mean')], { out: 'centred' });
const layerNormCore = dividedByRoot(centred, mean(square('centred'), 'variance'));

const difference = anyOf(
  op('Sub', [value('x'), mean(value('x'), 'mean')], { out: 'centred' }),
  op('Sub', [mean(value('x'), 'mean'), value('x')], { out: 'centred' }),
);
const tfVariance = mean(anyOf(op('Pow', [difference, scalar(2)]), op('Mul', [difference, value('centred')])), 'variance');
const tfFactor = op('Mul', [inverseRoot(tfVariance), value('scale')], { out: 'factor' });
const tfLayerNorm = op('Add', [
  op('Mul', [value('x'), tfFactor]),
  op('Sub', [value('bias'), op('Mul', [mean(value('x'), 'mean'), value('factor')])]),
]);

/** Axes of a reduction counted from the front, or undefined where they are not known. */
function reducedAxes(node: Node, rank: number): number[] | undefined {
  const axes = listOf(node, 'axes', 1);
  return axes?.map((a) => (a < 0 ? a + rank : a)).sort((a, b) => a - b);
}

/** First axis of a run of axes that reaches to the last one; a reason where they are no such run. */
function trailingAxis(nodes: readonly Node[], x: Value): number | Miss {
  const rank = rankOf(x);
  if (rank === undefined) return miss(`the rank of "${x.name}" is not known`);
  let first: number | undefined;
  for (const node of nodes) {
    const axes = reducedAxes(node, rank);
    if (!axes || node.int('keepdims', 1) === 0) return miss(`${node.label} does not keep its dimensions or its axes are not constant`);
    if (axes.length === 0 || axes.some((a, i) => a !== rank - axes.length + i)) return miss(`${node.label} does not reduce the last axes`);
    if (first !== undefined && first !== axes[0]) return miss('mean and variance are over different axes');
    first = axes[0];
  }
  return first!;
}

/** Static extents of the normalized axes. */
function normalizedDims(x: Value, axis: number): readonly number[] | Miss {
  const dims = shapeOf(x)!.slice(axis);
  return dims.every((d) => typeof d === 'number') ? dims : miss(`the normalized extent of "${x.name}" is not a number`);
}

const isMiss = (x: unknown): x is Miss => typeof x === 'object' && x !== null && 'miss' in x;

function layerNormFacts(nodes: readonly Node[], x: Value, ctx: RuleContext): { axis: number; dims: readonly number[] } | Miss {
  if (ctx.opset < 17) return miss(`LayerNormalization needs opset 17, the model has ${ctx.opset}`);
  const axis = trailingAxis(nodes, x);
  if (isMiss(axis)) return axis;
  const dims = normalizedDims(x, axis);
  if (isMiss(dims)) return dims;
  const dtype = dtypeOf(x);
  if (dtype !== 'float' && dtype !== 'float16' && dtype !== 'double' && dtype !== 'bfloat16')
    return miss(`its input is ${dtype ?? 'of unknown type'}`);
  return { axis: axis - rankOf(x)!, dims };
}

function filled(dims: readonly number[], dtype: 'float' | 'float16' | 'double' | 'bfloat16', x: number): Tensor {
  return Tensor.from(dtype, dims, new Float32Array(dims.reduce((n, d) => n * d, 1)).fill(x));
}

const fuseLayerNorm: Rule = rule({
  name: 'fuse-layer-norm',
  roots: ['Div', 'Mul'],
  match: (root) => (root.domain === '' ? matchAt(layerNormCore, root) : null),
  when(match, ctx) {
    const facts = layerNormFacts([match.nodes.mean!, match.nodes.variance!], match.values.x!, ctx);
    if (isMiss(facts)) return facts;
    const other = readOutside(match);
    return other ? miss(`the result of ${other.label} is also read elsewhere`) : true;
  },
  replace(match, ctx) {
    const x = match.values.x!;
    const { axis, dims } = layerNormFacts([match.nodes.mean!, match.nodes.variance!], x, ctx) as { axis: number; dims: readonly number[] };
    const dtype = dtypeOf(x) as 'float';
    const scale = ctx.b.constant(`${match.root.output().name}_scale`, filled(dims, dtype, 1));
    const epsilon = { type: 'float', value: scalarOf(match.values.epsilon!)! } as const;
    return [ctx.b.op('LayerNormalization', [x, scale], { axis, epsilon })];
  },
});

const fuseLayerNormTf: Rule = rule({
  name: 'fuse-layer-norm-folded',
  roots: ['Add'],
  match: (root) => (root.domain === '' ? matchAt(tfLayerNorm, root) : null),
  when(match, ctx) {
    const facts = layerNormFacts([match.nodes.mean!, match.nodes.variance!], match.values.x!, ctx);
    if (isMiss(facts)) return facts;
    for (const name of ['scale', 'bias']) {
      const fits = fitsNormalized(constantOf(match.values[name]), facts.dims);
      if (!fits) return miss(`its ${name} "${match.values[name]!.name}" is no constant of [${facts.dims.join(',')}]`);
    }
    const other = readOutside(match);
    return other ? miss(`the result of ${other.label} is also read elsewhere`) : true;
  },
  replace(match, ctx) {
    const { x, scale, bias, epsilon } = match.values;
    const { axis, dims } = layerNormFacts([match.nodes.mean!], x!, ctx) as { axis: number; dims: readonly number[] };
    const flat = (v: Value) => (v.initializer!.rank === dims.length ? v : ctx.b.constant(v.name, v.initializer!.reshape(dims)));
    const attributes = { axis, epsilon: { type: 'float', value: scalarOf(epsilon!)! } as const };
    return [ctx.b.op('LayerNormalization', [x!, flat(scale!), flat(bias!)], attributes)];
  },
});

/** True where a constant has exactly the normalized extents, leading ones aside. */
function fitsNormalized(tensor: Tensor | undefined, dims: readonly number[]): boolean {
  if (!tensor || tensor.rank < dims.length) return false;
  const lead = tensor.rank - dims.length;
  return tensor.dims.every((d, i) => (i < lead ? d === 1 : d === dims[i - lead]));
}

/** LayerNormalization(x) * c, + c, - c with constant c. */
const layerNormAffine: Rule = nodeRule({
  name: 'fold-affine-into-layer-norm',
  roots: ['Mul', 'Add', 'Sub'],
  plan(node, ctx) {
    const isNorm = (v: Value | null) =>
      v?.producer?.domain === '' && v.producer.opType === 'LayerNormalization' && v.producer.outputs[0] === v;
    const index = isNorm(node.input(0)) ? 0 : node.opType !== 'Sub' && isNorm(node.input(1)) ? 1 : undefined;
    if (index === undefined) return null;
    const normed = node.input(index)!;
    const norm = normed.producer!;
    const constant = node.input(1 - index);
    const tensor = constantOf(constant);
    const scale = constantOf(norm.input(1));
    const bias = constantOf(norm.input(2));
    if (!tensor) return null;
    if (!scale || (norm.input(2) && !bias)) return miss('its scale or bias is not constant');
    const rank = rankOf(normed);
    if (rank === undefined || tensor.rank > rank) return null;
    const dims = scale.dims;
    const axis = norm.int('axis', -1);
    const extents = shapeOf(normed)?.slice(axis < 0 ? axis + rank : axis);
    const regular = sameShape(dims, extents ?? null) && (!bias || sameShape(bias.dims, dims));
    if (!regular) return miss('its scale or bias broadcasts');
    if (tensor.size !== 1 && !fitsNormalized(tensor, dims))
      return miss(`the constant [${tensor.dims.join(',')}] is not one value for each of [${dims.join(',')}]`);
    if (normed.readerCount > 1) return miss(`"${normed.name}" is also read elsewhere`);
    return () => {
      const values = tensor.numbers();
      const at = (i: number) => values[tensor.size === 1 ? 0 : i]!;
      // Where nothing has to be computed the constant itself serves, so that tied scales stay tied.
      const own = (name: string, untouched: boolean, compute: (i: number) => number): Value => {
        if (untouched && tensor.size === scale.size) {
          return tensor.rank === dims.length ? constant! : ctx.b.constant(constant!.name, tensor.reshape(dims));
        }
        return ctx.b.constant(
          name,
          Tensor.from(
            scale.dtype,
            dims,
            Float64Array.from({ length: scale.size }, (_, i) => compute(i)),
          ),
        );
      };
      const name = node.output().name;
      const [s, b] = [scale.numbers(), bias?.numbers()];
      const attributes = Object.fromEntries(norm.attributes);
      if (node.opType === 'Mul') {
        const newScale = own(`${name}_scale`, everyOne(s), (i) => s[i]! * at(i));
        const newBias = b ? [own(`${name}_bias`, false, (i) => b[i]! * at(i))] : [];
        return [ctx.b.op('LayerNormalization', [norm.input(0), newScale, ...newBias], attributes)];
      }
      const sign = node.opType === 'Sub' ? -1 : 1;
      const newBias = own(`${name}_bias`, !b && sign === 1, (i) => (b?.[i] ?? 0) + sign * at(i));
      return [ctx.b.op('LayerNormalization', [norm.input(0), norm.input(1), newBias], attributes)];
    };
  },
});

function everyOne(values: ArrayLike<number>): boolean {
  for (let i = 0; i < values.length; i++) if (values[i] !== 1) return false;
  return true;
}

const rmsCore = dividedByRoot(value('x'), mean(square('x'), 'variance'));
const rmsNorm = op('Mul', [rmsCore, value('scale')]);

const fuseRmsNorm: Rule = rule({
  name: 'fuse-rms-norm',
  roots: ['Mul'],
  match: (root) => (root.domain === '' ? matchAt(rmsNorm, root) : null),
  when(match, ctx) {
    const axis = trailingAxis([match.nodes.variance!], match.values.x!);
    if (isMiss(axis)) return axis;
    if (ctx.opset < 23) return miss(`RMSNormalization needs opset 23, the model has ${ctx.opset}`);
    const dims = normalizedDims(match.values.x!, axis);
    if (isMiss(dims)) return dims;
    if (!fitsNormalized(constantOf(match.values.scale), dims)) return miss(`its scale is no constant of [${dims.join(',')}]`);
    const other = readOutside(match);
    return other ? miss(`the result of ${other.label} is also read elsewhere`) : true;
  },
  replace(match, ctx) {
    const { x, scale, epsilon } = match.values;
    const axis = trailingAxis([match.nodes.variance!], x!) as number;
    const dims = normalizedDims(x!, axis) as readonly number[];
    const flat = scale!.initializer!.rank === dims.length ? scale! : ctx.b.constant(scale!.name, scale!.initializer!.reshape(dims));
    const attributes = { axis: axis - rankOf(x!)!, epsilon: { type: 'float', value: scalarOf(epsilon!)! } as const };
    return [ctx.b.op('RMSNormalization', [x!, flat], attributes)];
  },
});

export const NORM_RULES: readonly Rule[] = [fuseLayerNorm, fuseLayerNormTf, layerNormAffine, fuseRmsNorm];
