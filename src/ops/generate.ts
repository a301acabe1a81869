// Operators that make tensors from nothing or from a shape: constants, ranges, identity matrices and random numbers.
import { ceilDivDims, maxDims, subDims } from '../ir/dim.js';
import { DTYPES, type DType, dtypeOfCode } from '../ir/dtype.js';
import type { Tensor } from '../ir/tensor.js';
import { type Dim, formatShape, isStatic, type Shape } from '../ir/type.js';
import { axesText, letters } from './axes-text.js';
import { constantTensor } from './constant-input.js';
import { anyNumber, floating, requireType } from './element-record.js';
import { noFlow } from './grad-helpers.js';
import { requireRank, sameDtype, shapeFromInput, tensorResult } from './infer-helpers.js';
import { type InferContext, type Inferred, MAX_PARTIAL_ELEMENTS, type OpRecord, type PartialValue } from './op.js';
import { addItems, isNonNegative, mulItems, partialOf, scalarItem, settle, sizeOf } from './partial-value.js';

const made = { domain: '', grad: 'none', axes: 'opaque', quant: 'none', cost: 'none' } as const;

/** A small numeric tensor as followed content. */
function contentOf(tensor: Tensor): PartialValue | undefined {
  const { kind } = DTYPES[tensor.dtype];
  if (kind === 'string' || kind === 'complex' || tensor.size > MAX_PARTIAL_ELEMENTS || !tensor.source.synchronous) return undefined;
  const clamp = (n: number) => Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, n));
  return partialOf(tensor.dtype, tensor.dims, kind === 'float' ? Array.from(tensor.numbers()) : Array.from(tensor.numbers(), clamp));
}

const constant: OpRecord = {
  ...made,
  opType: 'Constant',
  since: 1,
  infer(ctx) {
    const sparse = ctx.node.attribute('sparse_value');
    if (sparse?.type === 'sparse_tensor') return [tensorResult(sparse.value.values.dtype, sparse.value.dims)];
    const tensor = constantTensor(ctx.node);
    // Inside a function the attribute may refer to the caller's: the type is then not known.
    return [tensor ? tensorResult(tensor.dtype, tensor.dims, contentOf(tensor)) : { type: undefined }];
  },
};

const constantOfShape: OpRecord = {
  ...made,
  opType: 'ConstantOfShape',
  since: 9,
  infer(ctx) {
    const fill = ctx.node.tensor('value');
    if (fill && fill.size !== 1) ctx.failShape(0, 'one element in "value"', `${fill.dtype}${formatShape(fill.dims)}`);
    const dtype = fill?.dtype ?? 'float';
    const shape = shapeFromInput(ctx, 0);
    if (!isStatic(shape) || sizeOf(shape) > MAX_PARTIAL_ELEMENTS) return [tensorResult(dtype, shape)];
    const item = fill ? (contentOf(fill)?.items[0] ?? null) : 0;
    return [tensorResult(dtype, shape, partialOf(dtype, shape, new Array<Dim>(sizeOf(shape)).fill(item)))];
  },
};

/** Number of elements of Range: max(ceil((limit - start) / delta), 0). */
function rangeLength(start: Dim, limit: Dim, delta: Dim, dtype: DType): Dim {
  if (typeof start === 'number' && typeof limit === 'number' && typeof delta === 'number') {
    const span = settle(dtype, limit - start);
    if (delta === 0 || typeof span !== 'number') return null;
    return Math.max(0, Math.ceil(span / delta));
  }
  if (typeof delta !== 'number' || !Number.isInteger(delta) || delta === 0) return null;
  const whole = (d: Dim) => typeof d === 'string' || Number.isInteger(d);
  if (!whole(start) || !whole(limit)) return null;
  const span = delta > 0 ? subDims(limit, start) : subDims(start, limit);
  return ceilDivDims(isNonNegative(span) ? span : maxDims(span, 0), Math.abs(delta));
}

const range: OpRecord = {
  ...made,
  opType: 'Range',
  since: 11,
  infer(ctx) {
    requireType(ctx, 0, anyNumber);
    const dtype = sameDtype(ctx, [0, 1, 2]);
    const [start, limit, delta] = [scalarItem(ctx, 0), scalarItem(ctx, 1), scalarItem(ctx, 2)];
    if (delta === 0) ctx.failShape(2, 'a delta other than 0', '0');
    const length = (dtype && rangeLength(start, limit, delta, dtype)) ?? ctx.symbol('length');
    if (!dtype || typeof length !== 'number' || length > MAX_PARTIAL_ELEMENTS) return [tensorResult(dtype, [length])];
    const items = Array.from({ length }, (_, i) => settle(dtype, addItems(start, mulItems(i, delta))));
    return [tensorResult(dtype, [length], partialOf(dtype, [length], items))];
  },
  cost: 'elementwise',
};

/** Element type that a `dtype` attribute names, or the fallback. */
function declaredType(ctx: InferContext, fallback: DType | undefined): DType | undefined {
  const code = ctx.node.int('dtype');
  return code === undefined ? fallback : dtypeOfCode(code);
}

const eyeLike: OpRecord = {
  ...made,
  grad: noFlow,
  opType: 'EyeLike',
  since: 9,
  infer(ctx) {
    requireRank(ctx, 0, 2);
    return [tensorResult(declaredType(ctx, ctx.dtype(0)), ctx.shape(0))];
  },
};

/** Random numbers; each call answers others, whatever the seed. */
function random(opType: string, since: number, infer: (ctx: InferContext) => Inferred[], axes: OpRecord['axes'] = 'opaque'): OpRecord {
  return { ...made, grad: noFlow, opType, since, infer, axes, cost: 'elementwise', nondeterministic: true };
}

function ofShapeAttribute(ctx: InferContext): Inferred[] {
  const shape = ctx.node.ints('shape');
  if (shape === undefined) ctx.failShape(0, 'an attribute "shape"', 'none');
  return [tensorResult(declaredType(ctx, 'float'), shape)];
}

function likeInput(ctx: InferContext): Inferred[] {
  return [tensorResult(declaredType(ctx, ctx.dtype(0)), ctx.shape(0))];
}

/** Slicing a random tensor gives a random tensor: axes are those of the input. */
const likeAxes = (_node: unknown, inputs: readonly (Shape | null)[]): string =>
  inputs[0] ? axesText([letters(inputs[0].length)], [letters(inputs[0].length)]) : 'opaque';

export const GENERATE_OPS: readonly OpRecord[] = [
  constant,
  constantOfShape,
  range,
  eyeLike,
  random('RandomNormal', 1, ofShapeAttribute),
  random('RandomUniform', 1, ofShapeAttribute),
  random('RandomNormalLike', 1, likeInput, likeAxes),
  random('RandomUniformLike', 1, likeInput, likeAxes),
  random(
    'Bernoulli',
    15,
    (ctx) => {
      requireType(ctx, 0, floating);
      return likeInput(ctx);
    },
    likeAxes,
  ),
  random('Multinomial', 7, (ctx) => {
    requireType(ctx, 0, floating);
    requireRank(ctx, 0, 2);
    return [tensorResult(declaredType(ctx, 'int32'), [ctx.shape(0)?.[0] ?? null, ctx.node.int('sample_size', 1)])];
  }),
];
