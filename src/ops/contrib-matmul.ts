// Products of ONNX Runtime's domain com.microsoft: fused with transposition, scale and activation; with weights in blocks of few bits; and 8-bit forms.
// The quantized weights here are packed: their axes stay whole. See ContribOperators.md of onnxruntime for the layouts.

import { mulDims } from '../ir/dim.js';
import type { DType } from '../ir/dtype.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { BYTES, commonDtype, elements, FLOATS, nodeAxes, requireDtype, requireScalarOrVector, requireVector } from './compute-helpers.js';
import { decomposeFusedGemm } from './decompose-fused.js';
import { integersOf, requireRank, tensorResult, unifyDims } from './infer-helpers.js';
import { matmulNBitsGrad } from './lowbit-grad.js';
import {
  GEMM_QUANT,
  gemmAxes,
  gemmCost,
  gemmShape,
  gemmTerms,
  matmulShape,
  matmulTerms,
  PRODUCT_TYPES,
  productCost,
  quantParameterTerm,
  requireQuantParameter,
} from './matmul.js';
import { fusedMatmulGrad } from './matmul-grad.js';
import type { Axes, CostContext, InferContext, Inferred, OpRecord, QuantFacts, Work } from './op.js';

const domain = 'com.microsoft';

// ---- FusedMatMul ----

/** Order in which the operand's axes are read: batch first (transBatch moves the first axis before the row axis), then the transposition of the last two. */
function fusedOrder(rank: number, trans: boolean, transBatch: boolean): number[] {
  const axes = Array.from({ length: rank }, (_, i) => i);
  if (rank < 2) return axes;
  // [r, b1..bn, c] stands for a matrix with rows r: the batch axes 1..rank-2 come first.
  const moved = transBatch ? [...axes.slice(1, -1), 0, rank - 1] : axes;
  return trans ? [...moved.slice(0, -2), moved[rank - 1]!, moved[rank - 2]!] : moved;
}

function reorder(shape: Shape | null, order: readonly number[]): Shape | null {
  return shape && order.map((i) => shape[i]!);
}

function fusedOrders(node: Node, shapes: readonly (Shape | null | undefined)[]): [number[], number[]] {
  const flag = (name: string) => node.int(name, 0) !== 0;
  return [
    fusedOrder(shapes[0]?.length ?? 0, flag('transA'), flag('transBatchA')),
    fusedOrder(shapes[1]?.length ?? 0, flag('transB'), flag('transBatchB')),
  ];
}

function fusedMatmulResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 1]);
  const [a, b] = [ctx.shape(0), ctx.shape(1)];
  const [orderA, orderB] = fusedOrders(ctx.node, [a, b]);
  return [tensorResult(dtype, matmulShape(ctx, reorder(a, orderA), reorder(b, orderB)))];
}

function fusedMatmulAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const [a, b] = [inputs[0] ?? null, inputs[1] ?? null];
  const [orderA, orderB] = fusedOrders(node, [a, b]);
  const t = matmulTerms(reorder(a, orderA), reorder(b, orderB));
  if (!t) return 'opaque';
  const back = (term: string, order: readonly number[]) => order.map((_, i) => term[order.indexOf(i)]!).join('');
  return nodeAxes(node, { 0: back(t.a, orderA), 1: back(t.b, orderB) }, [t.result]);
}

function fusedMatmulCost({ node, inputs, outputs }: CostContext): Work {
  const a = inputs[0] ?? null;
  const k = reorder(a, fusedOrders(node, inputs)[0])?.at(-1);
  return { macs: elements(outputs[0]) * (typeof k === 'number' ? k : 0), ops: 0 };
}

const FUSED_MATMUL_QUANT: QuantFacts = {
  kind: 'compute',
  data: [0],
  weight: 1,
  bias: null,
  channelAxis: (node, rank) =>
    rank < 2 ? null : fusedOrder(rank, node.int('transB', 0) !== 0, node.int('transBatchB', 0) !== 0)[rank - 1]!,
};

// ---- weights of few bits in blocks ----

/** Result of A [..., K] times a weight described by the attributes K and N. */
function lowBitShape(ctx: InferContext): { shape: Shape | null; k: number; n: number; block: number } {
  const read = (name: string): number => ctx.node.int(name) ?? ctx.failShape(1, `the attribute ${name}`, 'none');
  const [k, n, block] = [read('K'), read('N'), read('block_size')];
  if (block < 16 || !Number.isInteger(Math.log2(block))) ctx.failShape(1, 'block_size a power of two of at least 16', String(block));
  const a = ctx.shape(0);
  if (a?.length === 0) ctx.failShape(0, 'rank 1 or more', formatShape(a));
  if (a) unifyDims(ctx, 0, k, a.at(-1)!, 'last extent (K)');
  return { shape: a && [...a.slice(0, -1), n], k, n, block };
}

/** Extents of a parameter per block, either [N, blocks] or flat. */
function requirePerBlock(ctx: InferContext, input: number, rows: number, columns: number): void {
  const s = ctx.has(input) ? ctx.shape(input) : null;
  if (s === null) return;
  if (s.length === 1) unifyDims(ctx, input, rows * columns, s[0]!, 'elements');
  else {
    requireRank(ctx, input, 2);
    unifyDims(ctx, input, rows, s[0]!, 'rows (N)');
    unifyDims(ctx, input, columns, s[1]!, 'columns');
  }
}

function matmulNBitsResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 2, 5], ['float', 'float16', 'bfloat16']);
  requireDtype(ctx, 1, ['uint8']);
  const { shape, k, n, block } = lowBitShape(ctx);
  const bits = ctx.node.int('bits', 4);
  if (bits < 2 || bits > 8) ctx.failShape(1, 'bits from 2 to 8', String(bits));
  const blocks = Math.ceil(k / block);
  const b = ctx.shape(1);
  if (b && ctx.node.int('weight_prepacked', 0) === 0) {
    requireRank(ctx, 1, 3);
    for (const [i, d] of [n, blocks, (block * bits) / 8].entries()) if (b[i] !== 0) unifyDims(ctx, 1, d, b[i]!, `extent ${i}`);
  }
  requirePerBlock(ctx, 2, n, blocks);
  if (ctx.has(3)) {
    const packed = requireDtype(ctx, 3, ['uint8', 'float', 'float16', 'bfloat16']) === 'uint8';
    if (ctx.dtype(3) !== undefined) requirePerBlock(ctx, 3, n, packed ? Math.ceil((blocks * bits) / 8) : blocks);
  }
  if (ctx.has(4)) requireDtype(ctx, 4, ['int32']);
  requireVector(ctx, 5, n, 'N');
  return [tensorResult(dtype, shape)];
}

function matmulBnb4Result(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 2], ['float', 'float16', 'bfloat16']);
  requireDtype(ctx, 1, ['uint8']);
  if (ctx.node.int('transB', 1) === 0) {
    // The backward product: A is [..., N], the result [..., K].
    const a = ctx.shape(0);
    if (a) unifyDims(ctx, 0, ctx.node.int('N') ?? null, a.at(-1)!, 'last extent (N)');
    return [tensorResult(dtype, a && [...a.slice(0, -1), ctx.node.int('K') ?? null])];
  }
  const { shape, k, n, block } = lowBitShape(ctx);
  // Older files keep the bytes as a column.
  const count = (input: number) => ctx.shape(input)?.reduce<Dim>(mulDims, 1) ?? null;
  unifyDims(ctx, 1, Math.ceil((n * k) / 2), count(1), 'bytes');
  unifyDims(ctx, 2, Math.ceil((n * k) / block), count(2), 'block maxima');
  return [tensorResult(dtype, shape)];
}

/** Leading axes are free, the packed weight is not. */
function lowBitAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const rank = inputs[0]?.length;
  if (rank === undefined) return 'opaque';
  const term = `${[...'abcdefghij'].slice(0, rank - 1).join('')}.`;
  const dots = (i: number) => '.'.repeat(inputs[i]?.length ?? 0);
  return nodeAxes(node, { 0: term, 1: dots(1), 2: dots(2), 3: dots(3), 5: dots(5) }, [term]);
}

// ---- 8 bits ----

function dynamicMatmulResult(ctx: InferContext): Inferred[] {
  const dtype = commonDtype(ctx, [0, 2, 4], ['float']);
  const b = requireDtype(ctx, 1, BYTES);
  if (ctx.has(3) && b !== undefined) requireDtype(ctx, 3, [b]);
  const shape = matmulShape(ctx, ctx.shape(0), ctx.shape(1));
  for (const i of [2, 3]) requireQuantParameter(ctx, i, ctx.shape(1), 'column');
  requireVector(ctx, 4, ctx.shape(1)?.at(-1) ?? null, 'columns');
  return [tensorResult(dtype, shape)];
}

function matmulToFloatResult(ctx: InferContext): Inferred[] {
  const [a, b] = [requireDtype(ctx, 0, BYTES), requireDtype(ctx, 1, BYTES)];
  const dtype = commonDtype(ctx, [2, 3, 6], ['float', 'float16']);
  if (ctx.has(4) && a !== undefined) requireDtype(ctx, 4, [a]);
  if (ctx.has(5) && b !== undefined) requireDtype(ctx, 5, [b]);
  for (const i of [3, 5]) requireQuantParameter(ctx, i, ctx.shape(1), 'column');
  requireVector(ctx, 6, ctx.shape(1)?.at(-1) ?? null, 'columns');
  return [tensorResult(dtype, matmulShape(ctx, ctx.shape(0), ctx.shape(1)))];
}

/** Axes of a product whose operands are inputs 0 and 1; `columns` are the inputs with a number per column of the second. */
function productAxes(columns: readonly number[]): (node: Node, inputs: readonly (Shape | null)[]) => Axes {
  return (node, inputs) => {
    const t = matmulTerms(inputs[0], inputs[1]);
    if (!t) return 'opaque';
    const extra = Object.fromEntries(columns.map((i) => [i, quantParameterTerm(inputs[i], t.b, 'n')]));
    return nodeAxes(node, { 0: t.a, 1: t.b, ...extra }, [t.result]);
  };
}

function qgemmResult(ctx: InferContext): Inferred[] {
  const [a, b] = [requireDtype(ctx, 0, BYTES), requireDtype(ctx, 3, BYTES)];
  for (const i of [1, 4, 7]) if (ctx.has(i)) requireDtype(ctx, i, ['float']);
  if (a !== undefined && ctx.has(2)) requireDtype(ctx, 2, [a]);
  if (b !== undefined && ctx.has(5)) requireDtype(ctx, 5, [b]);
  if (ctx.has(6)) requireDtype(ctx, 6, ['int32']);
  const shape = gemmShape(ctx, 0, 3, 6);
  for (const i of [4, 5]) requireScalarOrVector(ctx, i, shape[1]!, 'columns');
  // Without a zero point of the output the result is real.
  return [tensorResult(ctx.has(8) ? requireDtype(ctx, 8, BYTES) : 'float', shape)];
}

function qgemmAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const t = gemmTerms(node, inputs[0] ?? null, inputs[3] ?? null, node.input(6) ? (inputs[6] ?? null) : undefined);
  if (!t) return 'opaque';
  const n = t.result[1]!;
  const column = (i: number) => quantParameterTerm(inputs[i], t.b, n);
  return nodeAxes(node, { 0: t.a, 3: t.b, 4: column(4), 5: column(5), 6: t.c }, [t.result]);
}

const WORDS: readonly DType[] = ['int16', 'uint16'];

const base = { domain, since: 1, grad: 'none' } as const;
const fused = { ...base, infer: fusedMatmulResult, axes: fusedMatmulAxes, quant: FUSED_MATMUL_QUANT, cost: fusedMatmulCost } as const;
/** K, not N, multiplies the elements of the result: one MAC per result element and contracted index. */
const lowBitCost = ({ node, outputs }: CostContext): Work => ({
  macs: elements(outputs[0]) * node.int('K', 0),
  ops: node.input(5) ? elements(outputs[0]) : 0,
});

export const CONTRIB_MATMUL_OPS: readonly OpRecord[] = [
  { ...fused, opType: 'FusedMatMul', grad: fusedMatmulGrad },
  { ...fused, opType: 'TransposeMatMul', grad: fusedMatmulGrad },
  { ...fused, opType: 'FusedMatMulActivation' },
  {
    ...base,
    opType: 'FusedGemm',
    grad: { decompose: decomposeFusedGemm },
    infer: (ctx) => [tensorResult(commonDtype(ctx, [0, 1, 2], PRODUCT_TYPES), gemmShape(ctx, 0, 1, 2))],
    axes: gemmAxes,
    quant: GEMM_QUANT,
    cost: gemmCost(0, 2),
  },
  {
    ...base,
    opType: 'GemmFastGelu',
    infer(ctx) {
      const dtype = commonDtype(ctx, [0, 1, 2], FLOATS);
      requireVector(ctx, 2, ctx.shape(1)?.at(-1) ?? null, 'columns');
      return [tensorResult(dtype, matmulShape(ctx, ctx.shape(0), ctx.shape(1)))];
    },
    axes: productAxes([2]),
    quant: { kind: 'compute', data: [0], weight: 1, bias: 2, channelAxis: (_, rank) => rank - 1 },
    cost: productCost(0, 2),
  },
  { ...base, opType: 'MatMulNBits', grad: matmulNBitsGrad, infer: matmulNBitsResult, axes: lowBitAxes, quant: 'none', cost: lowBitCost },
  { ...base, opType: 'MatMulBnb4', infer: matmulBnb4Result, axes: lowBitAxes, quant: 'none', cost: lowBitCost },
  {
    ...base,
    opType: 'MatMulFpQ4',
    infer(ctx) {
      const dtype = requireDtype(ctx, 0, ['float']);
      requireDtype(ctx, 1, ['uint8']);
      requireDtype(ctx, 2, ['int64']);
      const b = integersOf(ctx, 2) ?? [null, null];
      return [tensorResult(dtype, matmulShape(ctx, ctx.shape(0), b, [0, 2]))];
    },
    axes: lowBitAxes,
    quant: 'none',
    cost: productCost(0),
  },
  {
    ...base,
    opType: 'MatMulInteger16',
    infer(ctx) {
      const [a, b] = [requireDtype(ctx, 0, WORDS), requireDtype(ctx, 1, WORDS)];
      const dtype = a === 'uint16' && b === 'uint16' ? 'uint32' : 'int32';
      return [tensorResult(dtype, matmulShape(ctx, ctx.shape(0), ctx.shape(1)))];
    },
    axes: productAxes([]),
    quant: 'none',
    cost: productCost(0),
  },
  {
    ...base,
    opType: 'DynamicQuantizeMatMul',
    infer: dynamicMatmulResult,
    axes: (node, inputs) => {
      // The range of A is taken over all of it: only the columns of B are free.
      const t = matmulTerms(inputs[0], inputs[1]);
      if (!t) return 'opaque';
      const fix = (term: string) => term.replace(/[^n]/g, '.');
      const column = (i: number) => quantParameterTerm(inputs[i], fix(t.b), 'n');
      return nodeAxes(node, { 0: fix(t.a), 1: fix(t.b), 2: column(2), 3: column(3), 4: column(4) }, [fix(t.result)]);
    },
    quant: 'none',
    cost: productCost(0, 4),
  },
  {
    ...base,
    opType: 'MatMulIntegerToFloat',
    infer: matmulToFloatResult,
    axes: productAxes([3, 5, 6]),
    quant: 'none',
    cost: productCost(0, 6),
  },
  { ...base, opType: 'QGemm', infer: qgemmResult, axes: qgemmAxes, quant: 'none', cost: gemmCost(0, 6) },
];
