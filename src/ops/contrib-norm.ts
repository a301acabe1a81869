// Normalizations and activations of com.microsoft, fused with a residual sum, a bias or an embedding.

import { floorDivDims } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { formatShape, type Shape } from '../ir/type.js';
import { biasedGeluGrad, geluDerivative, quickGeluGrad, tanhGeluDerivative } from './activation-grad.js';
import { broadcastTerms, letters, sameAxes, sameAxesBut } from './axes-text.js';
import {
  BYTES,
  commonDtype,
  divideExactly,
  FLOATS,
  FUNCTION_OF_FIRST,
  nodeAxes,
  opsPerOutput,
  outputs,
  requireBroadcastTo,
  requireDtype,
  requireVector,
  unary,
} from './compute-helpers.js';
import { decomposeEmbedding } from './decompose-fused.js';
import { requireRank, requireRankAtLeast, tensorResult, unifyDims } from './infer-helpers.js';
import { skipNormGrad } from './norm-grad.js';
import type { Axes, InferContext, Inferred, OpRecord, QuantFacts } from './op.js';

const base = { domain: 'com.microsoft', since: 1, grad: 'none' } as const;
const TWO_INPUTS: QuantFacts = { kind: 'arithmetic', data: [0, 1] };

// ---- residual sum, then layer normalization ----

/** `vectors` are the inputs of the hidden extent: gamma, beta, bias. Outputs: result, mean, inverse deviation, the sum. */
function skipNormResult(vectors: readonly number[]): (ctx: InferContext) => Inferred[] {
  return (ctx) => {
    const dtype = commonDtype(ctx, [0, 1, ...vectors]);
    const x = ctx.shape(0);
    if (x && x.length !== 2 && x.length !== 3) ctx.failShape(0, 'rank 2 or 3', formatShape(x));
    requireBroadcastTo(ctx, 1, x);
    for (const i of vectors) requireVector(ctx, i, x?.at(-1) ?? null, 'hidden extent');
    const statistics = tensorResult('float', x && [...x.slice(0, -1), 1]);
    return outputs(ctx, tensorResult(dtype, x), statistics, statistics, tensorResult(dtype, x));
  };
}

function skipNormAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [x, skip] = inputs;
  if (!x || !skip) return 'opaque';
  const { operands, result } = broadcastTerms([x, skip]);
  const fix = (term: readonly string[]) => [...term.slice(0, -1), '.'].join('');
  const [all, other] = [fix(result), fix(operands[1]!)];
  return nodeAxes(node, { 0: fix(operands[0]!), 1: other, 2: '.', 3: '.', 4: '.' }, [all, all, all, all]);
}

// ---- embeddings ----

/** Word + position (+ segment) rows, then layer normalization. Outputs: result, number of words per sequence, sum before normalization. */
function embedResult(ctx: InferContext): Inferred[] {
  const quantized = ctx.node.opType === 'QEmbedLayerNormalization';
  for (const i of quantized ? [0, 1, 7] : [0, 1, 7, 8]) if (ctx.has(i)) requireDtype(ctx, i, ['int32']);
  const table = quantized ? commonDtype(ctx, [2, 3, 4, 5, 6], BYTES) : commonDtype(ctx, [2, 3, 4, 5, 6], FLOATS);
  const dtype = quantized ? 'float' : table;
  for (const i of [0, 2, 3]) requireRank(ctx, i, 2);
  const ids = ctx.shape(0);
  const hidden = ctx.shape(2)?.[1] ?? null;
  for (const i of [3, 4]) {
    const s = ctx.has(i) ? ctx.shape(i) : null;
    if (s) unifyDims(ctx, i, hidden, s[1]!, 'hidden extent');
  }
  for (const i of [5, 6]) requireVector(ctx, i, hidden, 'hidden extent');
  const shape: Shape = [ids?.[0] ?? null, ids?.[1] ?? null, hidden];
  return outputs(ctx, tensorResult(dtype, shape), tensorResult('int32', [ids?.[0] ?? null]), tensorResult(dtype, shape));
}

// The hidden extent is normalized; rows of the tables and positions of the sequence are looked up.
function embedAxes(node: Node): Axes {
  return nodeAxes(node, { 0: 'b.', 1: 'b.', 2: '..', 3: '..', 4: '..', 5: '.', 6: '.', 7: 'b.' }, ['b..', 'b', 'b..']);
}

// ---- group normalization of diffusion models ----

function groupNormResult(ctx: InferContext): Inferred[] {
  const dtype = requireDtype(ctx, 0, FLOATS);
  commonDtype(ctx, [1, 2]);
  requireRankAtLeast(ctx, 0, 3);
  const x = ctx.shape(0);
  const channels = x ? x[ctx.node.int('channels_last', 1) !== 0 ? x.length - 1 : 1]! : null;
  const groups = ctx.node.int('groups') ?? ctx.failShape(0, 'the attribute groups', 'none');
  divideExactly(ctx, 0, channels, groups, 'channels');
  for (const i of [1, 2, 4]) requireVector(ctx, i, channels, 'channels');
  return outputs(ctx, tensorResult(dtype, x), tensorResult(dtype, x));
}

function groupNormAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  const skip = inputs[3];
  if (!rank || skip?.length === 0) return 'opaque';
  const term = `n${'.'.repeat(rank - 1)}`;
  return nodeAxes(node, { 0: term, 1: '.', 2: '.', 3: skip ? `n${'.'.repeat(skip.length - 1)}` : undefined, 4: '.' }, [term, term]);
}

// ---- activations ----

/** X plus an optional bias over the last axis. */
function biasedResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1]);
  requireVector(ctx, 1, ctx.shape(0)?.at(-1) ?? null, 'last extent');
  return [tensorResult(dtype, ctx.shape(0))];
}

function biasedAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined) return 'opaque';
  const names = letters(rank);
  return nodeAxes(node, { 0: names.join(''), 1: names.at(-1) }, [names.join('')]);
}

/** [N,S,2D] + bias, its left half times GELU of its right half. */
function biasSplitGeluResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1]);
  requireRank(ctx, 0, 3);
  const x = ctx.shape(0);
  requireVector(ctx, 1, x?.[2] ?? null, 'hidden extent');
  const half = typeof x?.[2] === 'number' ? divideExactly(ctx, 0, x[2], 2, 'last extent') : floorDivDims(x?.[2] ?? null, 2);
  return [tensorResult(dtype, x && [x[0]!, x[1]!, half])];
}

function biasAddResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2]);
  const x = ctx.shape(0);
  requireVector(ctx, 1, x?.at(-1) ?? null, 'channels');
  requireBroadcastTo(ctx, 2, x);
  return [tensorResult(dtype, x)];
}

function biasDropoutResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1, 2]);
  requireBroadcastTo(ctx, 1, ctx.shape(0));
  return outputs(ctx, tensorResult(dtype, ctx.shape(0)), tensorResult('bool', ctx.shape(0)));
}

const unaryActivation = { ...base, infer: unary(), axes: sameAxes, quant: FUNCTION_OF_FIRST } as const;
const biased = { ...base, infer: biasedResult, axes: biasedAxes, quant: FUNCTION_OF_FIRST, cost: opsPerOutput(9) } as const;

export const CONTRIB_NORM_OPS: readonly OpRecord[] = [
  {
    ...base,
    opType: 'SkipLayerNormalization',
    grad: skipNormGrad('layer'),
    infer: skipNormResult([2, 3, 4]),
    axes: skipNormAxes,
    quant: TWO_INPUTS,
    cost: opsPerOutput(8),
  },
  {
    ...base,
    opType: 'SkipSimplifiedLayerNormalization',
    grad: skipNormGrad('rms'),
    infer: skipNormResult([2, 3]),
    axes: skipNormAxes,
    quant: TWO_INPUTS,
    cost: opsPerOutput(5),
  },
  {
    ...base,
    opType: 'EmbedLayerNormalization',
    grad: { decompose: decomposeEmbedding },
    infer: embedResult,
    axes: embedAxes,
    quant: 'none',
    cost: opsPerOutput(9),
  },
  { ...base, opType: 'QEmbedLayerNormalization', infer: embedResult, axes: embedAxes, quant: 'none', cost: opsPerOutput(12) },
  { ...base, opType: 'GroupNorm', infer: groupNormResult, axes: groupNormAxes, quant: FUNCTION_OF_FIRST, cost: opsPerOutput(8) },
  { ...base, opType: 'SkipGroupNorm', infer: groupNormResult, axes: groupNormAxes, quant: 'none', cost: opsPerOutput(10) },
  { ...biased, opType: 'BiasGelu', grad: biasedGeluGrad(geluDerivative) },
  { ...biased, opType: 'FastGelu', grad: biasedGeluGrad(tanhGeluDerivative) },
  { ...unaryActivation, opType: 'Gelu', grad: biasedGeluGrad(geluDerivative), cost: opsPerOutput(8) },
  { ...unaryActivation, opType: 'QuickGelu', grad: quickGeluGrad, cost: opsPerOutput(5) },
  {
    ...base,
    opType: 'BiasSplitGelu',
    infer: biasSplitGeluResult,
    axes: (node) => nodeAxes(node, { 0: 'ns.', 1: '.' }, ['ns.']),
    quant: FUNCTION_OF_FIRST,
    cost: opsPerOutput(11),
  },
  {
    ...base,
    opType: 'BiasAdd',
    infer: biasAddResult,
    axes: (node, inputs) => {
      const { operands, result } = broadcastTerms([inputs[0] ?? [], inputs[2] ?? []]);
      if (!inputs[0] || !inputs[2]) return 'opaque';
      return nodeAxes(node, { 0: operands[0]!.join(''), 1: result.at(-1), 2: operands[1]!.join('') }, [result.join('')]);
    },
    quant: 'none',
    cost: opsPerOutput(2),
  },
  {
    ...base,
    opType: 'BiasSoftmax',
    infer(ctx) {
      const dtype = commonDtype(ctx, [0, 1], ['float', 'float16', 'double']);
      return [tensorResult(dtype, ctx.shape(0))];
    },
    // How the bias is repeated depends on an attribute: no axis is sliced.
    axes: (node, inputs) =>
      sameAxesBut(
        node,
        inputs,
        (inputs[0] ?? []).map((_, i) => i),
      ),
    quant: 'none',
    cost: opsPerOutput(6),
  },
  {
    ...base,
    opType: 'BiasDropout',
    infer: biasDropoutResult,
    axes: (node, inputs) => {
      const [x, bias] = inputs;
      if (!x || !bias) return 'opaque';
      const { operands, result } = broadcastTerms([x, bias]);
      const term = result.join('');
      return nodeAxes(node, { 0: operands[0]!.join(''), 1: operands[1]!.join(''), 2: term }, [term, term]);
    },
    quant: 'none',
    cost: opsPerOutput(2),
    nondeterministic: true,
  },
];
