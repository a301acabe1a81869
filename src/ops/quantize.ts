// Quantization: q = saturate(round(x / scale) + zero_point), x = (q - zero_point) * scale, with one scale for the tensor, one per index of an axis,
// or one per block of `block_size` along an axis; DynamicQuantizeLinear finds scale and zero point itself.

import { ceilDivDims } from '../ir/dim.js';
import { type DType, dtypeOfCode } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { formatShape, type Shape } from '../ir/type.js';
import { letters } from './axes-text.js';
import { commonDtype, nodeAxes, opsPerOutput, outputs, requireDtype } from './compute-helpers.js';
import { normalizeAxis, requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, InferContext, Inferred, OpRecord } from './op.js';
import { dequantizeGrad, quantizeGrad } from './quantize-grad.js';

const REALS: readonly DType[] = ['float', 'float16', 'bfloat16'];
const SMALL_FLOATS: readonly DType[] = [
  'float8e4m3fn',
  'float8e4m3fnuz',
  'float8e5m2',
  'float8e5m2fnuz',
  'float6e2m3',
  'float6e3m2',
  'float4e2m1',
];
const SMALL_INTS: readonly DType[] = ['int8', 'uint8', 'int16', 'uint16', 'int4', 'uint4', 'int2', 'uint2'];
/** Types that QuantizeLinear writes. */
const QUANTIZED_TYPES: readonly DType[] = [...SMALL_INTS, ...SMALL_FLOATS];

/** Checks scale and zero point (inputs 1 and 2) against the tensor: per tensor, per axis or in blocks. */
function requireGranularity(ctx: InferContext, defaultAxis: number): void {
  const [x, scale] = [ctx.shape(0), ctx.shape(1)];
  const zero = ctx.has(2) ? ctx.shape(2) : null;
  if (scale && zero) {
    // A scalar and a vector of one element mean the same.
    const single = (s: Shape) => s.length === 0 || (s.length === 1 && s[0] === 1);
    if (!(single(scale) && single(zero))) {
      if (zero.length !== scale.length) ctx.failShape(2, `the scale's shape ${formatShape(scale)}`, formatShape(zero));
      for (const [i, d] of scale.entries()) unifyDims(ctx, 2, d, zero[i]!, `the scale's extent ${i}`);
    }
  }
  if (scale === null || x === null || scale.length === 0) return;
  const block = ctx.node.int('block_size', 0);
  if (block > 0) {
    requireRank(ctx, 1, x.length);
    const axis = normalizeAxis(ctx, ctx.node.int('axis', defaultAxis), x.length);
    for (const [i, d] of x.entries()) {
      const wanted = i === axis ? ceilDivDims(d, block) : d;
      unifyDims(ctx, 1, wanted, scale[i]!, i === axis ? `blocks of ${block} along axis ${axis}:` : `extent ${i}`);
    }
    return;
  }
  requireRank(ctx, 1, 1);
  if (scale[0] === 1) return;
  const axis = normalizeAxis(ctx, ctx.node.int('axis', defaultAxis), x.length);
  unifyDims(ctx, 1, x[axis]!, scale[0]!, `extent of axis ${axis}:`);
}

/** Type from the zero point, the attribute output_dtype, or uint8. */
function quantizeResult(ctx: InferContext): Inferred[] {
  const x = requireDtype(ctx, 0, [...REALS, 'int32']);
  // From opset 19 on the scale had the input's type, from 23 on one of its own.
  const scale = requireDtype(ctx, 1, ctx.node.domain === '' && ctx.opset < 19 ? ['float'] : [...REALS, 'int32', 'float8e8m0']);
  if (ctx.node.domain === '' && ctx.opset >= 19 && ctx.opset < 23 && x && scale && x !== scale) ctx.failType(1, x, scale);
  const zero = ctx.has(2) ? requireDtype(ctx, 2, QUANTIZED_TYPES) : undefined;
  requireGranularity(ctx, 1);
  const code = ctx.node.int('output_dtype', 0);
  const asked = code === 0 ? undefined : dtypeOfCode(code);
  if (asked && zero && asked !== zero) ctx.failType(2, asked, zero);
  const dtype = ctx.has(2) ? (zero ?? asked) : (asked ?? 'uint8');
  return [tensorResult(dtype, ctx.shape(0))];
}

/** Type of the scale, or of the attribute output_dtype (opset 23 and later). */
function dequantizeResult(ctx: InferContext): Inferred[] {
  commonDtype(ctx, [0, 2], [...QUANTIZED_TYPES, 'int32']);
  const scale = requireDtype(ctx, 1, [...REALS, 'float8e8m0']);
  requireGranularity(ctx, 1);
  const code = ctx.node.int('output_dtype', 0);
  return [tensorResult(code === 0 ? scale : dtypeOfCode(code), ctx.shape(0))];
}

/** The scale follows the axis it belongs to; in blocks that axis is a product of blocks and their content. */
export function granularityAxes(defaultAxis: number): (node: Node, inputs: readonly (Shape | null)[]) => Axes {
  return (node, inputs) => {
    const [x, scale] = inputs;
    if (!x) return 'opaque';
    const names = letters(x.length);
    const axis = node.int('axis', defaultAxis);
    const at = axis < 0 ? axis + x.length : axis;
    const inBlocks = node.int('block_size', 0) > 0;
    if (scale === null || scale === undefined) {
      // Whether the scale has axes is not known.
      const term = names.map(() => '.').join('');
      return nodeAxes(node, { 0: term }, [term]);
    }
    if (inBlocks && scale.length === x.length) {
      const [even, size] = [x[at], node.int('block_size', 0)];
      // A last block that is not full cannot be written as a product.
      const whole = typeof even === 'number' && even % size === 0;
      const wide = names.map((n, i) => (i === at ? (whole ? `(${n}z)` : '.') : n)).join('');
      const narrow = names.map((n, i) => (i === at && !whole ? '.' : n)).join('');
      return nodeAxes(node, { 0: wide, 1: narrow, 2: narrow }, [wide]);
    }
    const own = scale.length === 1 && scale[0] !== 1 ? names[at] : '_';
    const term = names.join('');
    return nodeAxes(node, { 0: term, 1: own, 2: own }, [term]);
  };
}

export const QUANTIZE_OPS: readonly OpRecord[] = [
  {
    opType: 'QuantizeLinear',
    domain: '',
    since: 10,
    infer: quantizeResult,
    grad: quantizeGrad,
    axes: granularityAxes(1),
    quant: 'none',
    cost: opsPerOutput(3),
  },
  {
    opType: 'DequantizeLinear',
    domain: '',
    since: 10,
    infer: dequantizeResult,
    grad: dequantizeGrad,
    axes: granularityAxes(1),
    quant: 'none',
    cost: opsPerOutput(2),
  },
  {
    opType: 'DynamicQuantizeLinear',
    domain: '',
    since: 11,
    infer(ctx) {
      requireDtype(ctx, 0, ['float']);
      return outputs(ctx, tensorResult('uint8', ctx.shape(0)), tensorResult('float', []), tensorResult('uint8', []));
    },
    grad: 'none',
    // The range is taken over the whole tensor.
    axes: (node, inputs) => {
      const x = inputs[0];
      if (!x) return 'opaque';
      const term = '.'.repeat(x.length);
      return nodeAxes(node, { 0: term }, [term]);
    },
    quant: 'none',
    cost: opsPerOutput(5),
  },
];

/** The same two in `com.microsoft`, where axis has no default and 16-bit and 4-bit types came earlier. */
export const QUANTIZE_INFER = { quantize: quantizeResult, dequantize: dequantizeResult } as const;
