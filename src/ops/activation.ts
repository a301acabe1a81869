// Activation functions: one input, the same shape out. Softmax and its relatives work along an axis; Clip, PRelu and SwiGLU take further operands.

import type { DType } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { formatShape, type Shape } from '../ir/type.js';
import { activationGrads as GRADS } from './activation-grad.js';
import { broadcastTerms, sameAxes, sameAxesBut } from './axes-text.js';
import { commonDtype, FLOATS, FUNCTION_OF_FIRST, NUMBERS, nodeAxes, opsPerOutput, requireBroadcastTo, unary } from './compute-helpers.js';
import { normalizeAxis, requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import type { Axes, InferContext, Inferred, OpRecord, QuantFacts } from './op.js';

const CLAMP: QuantFacts = { kind: 'clamp' };

/** An element-wise function of one float input. `ops` counts operations per element, an exponential as one. */
function activation(opType: string, since: number, ops: number, options: Partial<OpRecord> & { types?: readonly DType[] } = {}): OpRecord {
  const { types = FLOATS, ...rest } = options;
  return {
    opType,
    domain: '',
    since,
    infer: unary(types),
    grad: GRADS[opType] ?? 'none',
    axes: sameAxes,
    quant: FUNCTION_OF_FIRST,
    cost: ops === 1 ? 'elementwise' : opsPerOutput(ops),
    ...rest,
  };
}

// ---- along an axis ----

function softmaxResult(ctx: InferContext): Inferred[] {
  const x = ctx.shape(0);
  if (x) {
    const axis = ctx.node.int('axis', ctx.opset < 13 ? 1 : -1);
    // Before opset 13 the axis cuts the shape in two, and may stand behind the last one.
    if (!(ctx.opset < 13 && axis === x.length)) normalizeAxis(ctx, axis, x.length);
  }
  return unary()(ctx);
}

/**
 * The axis itself and, before opset 13, all behind it are normalized together. The opset is not known here, so the axes behind are blocked too;
 * without the attribute the axis is 1 in the old form, the last one in the new.
 */
function softmaxAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length ?? 0;
  const axis = node.int('axis', rank > 1 ? 1 : 0);
  const first = axis < 0 ? axis + rank : axis;
  const blocked = Array.from({ length: rank }, (_, i) => i).filter((i) => i >= first);
  return sameAxesBut(node, inputs, blocked);
}

function alongAxis(opType: string, ops: number): OpRecord {
  return activation(opType, 1, ops, { infer: softmaxResult, axes: softmaxAxes });
}

// ---- with further operands ----

const CLIP_TYPES: readonly DType[] = NUMBERS;

/** Limits are attributes before opset 11, optional scalar inputs since. */
function clipResult(ctx: InferContext): Inferred[] {
  const limits = [1, 2].filter((i) => ctx.has(i));
  const dtype = commonDtype(ctx, [0, ...limits], CLIP_TYPES);
  for (const i of limits) {
    const shape = ctx.shape(i);
    if (shape && shape.length > 0 && !(shape.length === 1 && shape[0] === 1)) ctx.failShape(i, 'a scalar', formatShape(shape));
  }
  return [tensorResult(dtype, ctx.shape(0))];
}

function preluResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1], [...FLOATS, 'uint32', 'uint64', 'int32', 'int64']);
  const [x, slope] = [ctx.shape(0), ctx.shape(1)];
  // Before opset 7 the slope is one number or a vector over the channels.
  if (ctx.opset < 7 && slope) {
    requireRank(ctx, 1, 1);
    if (x && slope[0] !== 1) unifyDims(ctx, 1, x[1] ?? null, slope[0]!, 'channels');
  } else requireBroadcastTo(ctx, 1, x);
  return [tensorResult(dtype, x)];
}

function preluAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [x, slope] = inputs;
  if (!x || !slope) return 'opaque';
  const { operands, result } = broadcastTerms([x, slope]);
  return nodeAxes(node, { 0: operands[0]!.join(''), 1: operands[1]!.join('') }, [result.join('')]);
}

function swigluResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1]);
  const [a, b] = [ctx.shape(0), ctx.shape(1)];
  if (a === null || b === null) return [tensorResult(dtype, a ?? b)];
  requireRank(ctx, 1, a.length);
  return [
    tensorResult(
      dtype,
      a.map((d, i) => unifyDims(ctx, 1, d, b[i]!, `extent ${i}`)),
    ),
  ];
}

export const ACTIVATION_OPS: readonly OpRecord[] = [
  activation('Relu', 1, 1, { quant: CLAMP, types: [...FLOATS, 'int8', 'int16', 'int32', 'int64'] }),
  activation('LeakyRelu', 1, 2),
  activation('PRelu', 1, 2, { infer: preluResult, axes: preluAxes }),
  activation('ThresholdedRelu', 10, 1),
  activation('Elu', 1, 3),
  activation('Selu', 1, 4),
  activation('Celu', 12, 4),
  activation('Gelu', 20, 8),
  activation('HardSigmoid', 1, 4),
  activation('HardSwish', 14, 5),
  activation('Mish', 18, 5),
  activation('Swish', 24, 5),
  activation('Sigmoid', 1, 4),
  activation('Tanh', 1, 5),
  activation('Softplus', 1, 3),
  activation('Softsign', 1, 3),
  activation('Shrink', 9, 3, { types: NUMBERS }),
  activation('Clip', 1, 2, { infer: clipResult, quant: CLAMP }),
  activation('SwiGLU', 28, 6, {
    infer: swigluResult,
    axes: (node, inputs) => sameAxes(node, inputs).replace(/^(\w+),_/, '$1,$1'),
    quant: { kind: 'arithmetic', data: [0, 1] },
  }),
  alongAxis('Softmax', 5),
  alongAxis('LogSoftmax', 5),
  alongAxis('Hardmax', 1),
];
