// Operators that compute: operands that do not fit are errors, symbolic dimensions come through, and the facts for pruning, quantization and cost are right.
import { describe, expect, test } from 'vitest';
import { inferShapes } from '../src/analysis/shapes.js';
import { PareError } from '../src/errors.js';
import type { AttributeInput } from '../src/ir/attribute.js';
import { buildModel } from '../src/ir/builder.js';
import type { DType } from '../src/ir/dtype.js';
import type { Node } from '../src/ir/graph.js';
import { formatType, isStatic, type Shape } from '../src/ir/type.js';
import { opRecord } from '../src/ops/registry.js';

type Operand = { readonly dtype?: DType; readonly shape: Shape | null } | null;
type Attributes = Record<string, AttributeInput>;

const at = (...shape: (number | string | null)[]): Operand => ({ shape });
const of = (dtype: DType, ...shape: (number | string | null)[]): Operand => ({ dtype, shape });

/** One node with graph inputs of these types, inferred strictly. `op` may carry the domain: "com.microsoft:FusedConv". */
function build(op: string, operands: readonly Operand[], attributes: Attributes = {}, opset = 21): Node {
  const [opType, domain] = op.split(':').reverse() as [string, string?];
  let node: Node | undefined;
  const model = buildModel(
    'm',
    (b) => {
      const inputs = operands.map((o, i) => o && b.input(`x${i}`, o.dtype ?? 'float', o.shape));
      node = b.node(opType, inputs, attributes, { name: 'tested', ...(domain === undefined ? {} : { domain }) });
      b.output(node.output());
    },
    { opset, opsets: { 'com.microsoft': 1 } },
  );
  inferShapes(model, { strict: true });
  return node!;
}

function misfit(...args: Parameters<typeof build>): PareError {
  try {
    const node = build(...args);
    throw new Error(`expected an error, got ${formatType(node.output().type)}`);
  } catch (error) {
    if (error instanceof PareError) return error;
    throw error;
  }
}

const x = at(1, 4, 8, 8);

test.each<[string, string, readonly Operand[], Attributes, RegExp, number?]>([
  ['E_SHAPE', 'Conv', [x, at(8, 3, 3, 3)], {}, /input 1.*input channels per group 4, got 3/],
  ['E_SHAPE', 'Conv', [x, at(8, 4, 3)], {}, /input 1.*rank 4, got \[8,4,3\]/],
  ['E_SHAPE', 'Conv', [x, at(8, 4, 3, 3), at(7)], {}, /input 2.*output channels 8, got 7/],
  ['E_SHAPE', 'Conv', [x, at(9, 2, 3, 3)], { group: 2 }, /output channels divisible by 2, got 9/],
  ['E_SHAPE', 'Conv', [x, at(8, 4, 3, 3)], { kernel_shape: [3, 5] }, /kernel extent 1 5, got 3/],
  ['E_SHAPE', 'Conv', [x, at(8, 4, 3, 3)], { pads: [1, 1] }, /4 pads, got \[1,1\]/],
  ['E_SHAPE', 'Conv', [x, at(8, 4, 10, 10)], {}, /at least the kernel/],
  ['E_TYPE', 'Conv', [x, of('double', 8, 4, 3, 3)], {}, /input 1.*expected float, got double/],
  ['E_TYPE', 'Conv', [of('int32', 1, 4, 8, 8), of('int32', 8, 4, 3, 3)], {}, /input 0.*got int32/],
  ['E_SHAPE', 'ConvTranspose', [x, at(3, 8, 3, 3)], {}, /input channels 4, got 3/],
  ['E_SHAPE', 'MatMul', [at(2, 3), at(4, 5)], {}, /input 1.*rows \(the columns of input 0\) 3, got 4/],
  ['E_SHAPE', 'MatMul', [at(2, 5, 3), at(3, 3, 5)], {}, /batch axes that broadcast/],
  ['E_SHAPE', 'MatMul', [at(), at(3)], {}, /rank 1 or more/],
  ['E_TYPE', 'MatMul', [of('int8', 2, 3), of('int8', 3, 4)], {}, /got int8/],
  ['E_SHAPE', 'Gemm', [at(2, 3), at(3, 4), at(3)], {}, /input 2.*broadcasts to \[2,4\], got \[3\]/],
  ['E_SHAPE', 'Gemm', [at(2, 3), at(3, 4)], { transB: 1 }, /contracted extent \(of input 0\) 3, got 4/],
  ['E_SHAPE', 'Einsum', [at(2, 3), at(4, 5)], { equation: 'ij,jk->ik' }, /extent 3 for "j"/],
  ['E_TYPE', 'Einsum', [at(2, 3)], { equation: 'ij->k' }, /equation/],
  ['E_SHAPE', 'MaxPool', [x], { kernel_shape: [2] }, /rank 3/],
  ['E_SHAPE', 'AveragePool', [x], { kernel_shape: [10, 10] }, /at least the kernel/],
  ['E_SHAPE', 'BatchNormalization', [x, at(4), at(4), at(5), at(4)], {}, /input 3.*channels 4, got 5/],
  ['E_SHAPE', 'GroupNormalization', [x, at(4), at(4)], { num_groups: 3 }, /channels divisible by 3, got 4/],
  ['E_SHAPE', 'LayerNormalization', [at(2, 8), at(4)], {}, /input 1.*broadcasts to \[2,8\]/],
  ['E_SHAPE', 'Softmax', [at(2, 8)], { axis: 2 }, /axis in \[-2,1\], got axis 2/],
  ['E_SHAPE', 'Clip', [at(2), at(2)], {}, /a scalar, got \[2\]/],
  ['E_SHAPE', 'PRelu', [at(2, 3), at(4)], {}, /input 1/],
  ['E_SHAPE', 'QuantizeLinear', [at(2, 3), at(2)], {}, /extent of axis 1: 3, got 2/],
  ['E_SHAPE', 'DequantizeLinear', [of('int8', 8, 4), at(3, 4)], { axis: 0, block_size: 4 }, /blocks of 4 along axis 0: 2, got 3/],
  ['E_TYPE', 'QuantizeLinear', [at(2), at(), of('int32')], {}, /input 2/],
  ['E_SHAPE', 'Attention', [at(1, 3, 8), at(1, 5, 8), at(1, 5, 8)], {}, /q_num_heads/, 23],
  ['E_SHAPE', 'Attention', [at(1, 2, 3, 8), at(1, 2, 5, 4), at(1, 2, 5, 8)], {}, /width of a head 8, got 4/, 23],
  [
    'E_SHAPE',
    'com.microsoft:MatMulNBits',
    [at(2, 64), of('uint8', 4, 2, 8), at(4, 2)],
    { K: 64, N: 4, bits: 4, block_size: 32 },
    /extent 2 16, got 8/,
  ],
  ['E_SHAPE', 'com.microsoft:MultiHeadAttention', [at(1, 3, 9), at(1, 3, 9), at(1, 3, 9)], { num_heads: 2 }, /divisible by 2, got 9/],
  ['E_SHAPE', 'com.microsoft:SkipLayerNormalization', [at(1, 3, 8), at(1, 3, 8), at(7)], {}, /hidden extent 8, got 7/],
])('%s: %s', (code, op, operands, attributes, message, opset) => {
  const error = misfit(op, operands, attributes, opset);
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
  expect(error.place.node).toBe('tested');
});

test.each<[string, readonly Operand[], Attributes, string, number?]>([
  ['Conv', [at('n', 3, 'h', 'w'), at(8, 3, 3, 3)], { pads: [1, 1, 1, 1] }, 'float[n,8,h,w]'],
  ['Conv', [at('n', 3, 'h', 'w'), at(8, 3, 3, 3)], { pads: [1, 1, 1, 1], strides: [2, 2] }, 'float[n,8,floor((h+1)/2),floor((w+1)/2)]'],
  ['Conv', [at('n', 3, 'h', 'w'), at(8, 3, 3, 3)], { auto_pad: 'SAME_UPPER', strides: [2, 1] }, 'float[n,8,floor((h+1)/2),w]'],
  ['Conv', [{ shape: null }, at(8, 3, 3, 3)], {}, 'float[?,8,?,?]'],
  ['Conv', [{ shape: null }, { shape: null }], {}, 'float'],
  ['ConvTranspose', [at('n', 4, 'h', 5), at(4, 2, 2, 2)], { strides: [2, 2] }, 'float[n,2,2*h,10]'],
  ['MaxPool', [at('n', 3, 'h', 'w')], { kernel_shape: [2, 2], strides: [2, 2] }, 'float[n,3,floor(h/2),floor(w/2)]'],
  ['GlobalAveragePool', [at('n', 'c', 'h', 'w')], {}, 'float[n,c,1,1]'],
  ['MatMul', [at('b', 's', 'k'), at('k', 4)], {}, 'float[b,s,4]'],
  ['MatMul', [at('b', 1, 's', 8), at(2, 8, 't')], {}, 'float[b,2,s,t]'],
  ['Gemm', [at('n', 'k'), at(4, 'k'), at(4)], { transB: 1 }, 'float[n,4]'],
  ['Einsum', [at('b', 'h', 's', 8), at('b', 'h', 't', 8)], { equation: 'bhsd,bhtd->bhst' }, 'float[b,h,s,t]'],
  ['LayerNormalization', [at('b', 's', 8), at(8)], {}, 'float[b,s,8]'],
  ['Attention', [at('b', 's', 32), at('b', 't', 16), at('b', 't', 16)], { q_num_heads: 4, kv_num_heads: 2 }, 'float[b,s,32]', 23],
  [
    'com.microsoft:MatMulNBits',
    [at('b', 's', 64), of('uint8', 4, 2, 16), at(4, 2)],
    { K: 64, N: 4, bits: 4, block_size: 32 },
    'float[b,s,4]',
  ],
  ['com.microsoft:Attention', [at('b', 's', 8), at(8, 24), at(24)], { num_heads: 2 }, 'float[b,s,8]'],
])('%s keeps symbols: %#', (op, operands, attributes, expected, opset) => {
  expect(formatType(build(op, operands, attributes, opset).output().type)).toBe(expected);
});

/** Work of a node with static shapes. */
function work(op: string, operands: readonly Operand[], attributes: Attributes = {}, opset = 21) {
  const node = build(op, operands, attributes, opset);
  const record = opRecord(node.domain, node.opType)!;
  const shapes = (values: Node['inputs']) =>
    values.map((v) => (v?.type?.kind === 'tensor' && isStatic(v.type.shape) ? v.type.shape : null));
  if (typeof record.cost !== 'function') throw new Error(`${op} has no cost of its own`);
  return record.cost({ node, inputs: shapes(node.inputs), outputs: shapes(node.outputs) });
}

describe('cost', () => {
  test.each<[string, readonly Operand[], Attributes, number, number?]>([
    // 8 output channels x 64 positions x 4 input channels x 9 taps.
    ['Conv', [x, at(8, 4, 3, 3)], { pads: [1, 1, 1, 1] }, 8 * 64 * 4 * 9],
    ['Conv', [x, at(4, 1, 3, 3)], { pads: [1, 1, 1, 1], group: 4 }, 4 * 64 * 9],
    ['com.microsoft:FusedConv', [x, at(8, 4, 1, 1)], { activation: 'Relu' }, 8 * 64 * 4],
    ['ConvTranspose', [x, at(4, 8, 2, 2)], { strides: [2, 2] }, 4 * 64 * 8 * 4],
    ['MatMul', [at(2, 3, 4), at(4, 5)], {}, 2 * 3 * 4 * 5],
    ['MatMul', [at(4), at(4)], {}, 4],
    ['Gemm', [at(4, 3), at(5, 4)], { transA: 1, transB: 1 }, 3 * 4 * 5],
    ['Einsum', [at(2, 3, 4), at(2, 4, 5)], { equation: 'bij,bjk->bik' }, 2 * 3 * 4 * 5],
    ['com.microsoft:FusedMatMul', [at(2, 4, 3), at(2, 4, 5)], { transA: 1 }, 2 * 3 * 4 * 5],
    ['com.microsoft:MatMulNBits', [at(3, 64), of('uint8', 4, 2, 16), at(4, 2)], { K: 64, N: 4, bits: 4, block_size: 32 }, 3 * 64 * 4],
    // Q K^T and the product with V: each 2 batches x 4 heads x 3 queries x 5 keys x 8.
    ['Attention', [at(2, 4, 3, 8), at(2, 2, 5, 8), at(2, 2, 5, 8)], {}, 2 * (2 * 4 * 3 * 5 * 8), 23],
    ['Attention', [at(2, 3, 32), at(2, 5, 16), at(2, 5, 16)], { q_num_heads: 4, kv_num_heads: 2 }, 2 * (2 * 4 * 3 * 5 * 8), 23],
    ['com.microsoft:MultiHeadAttention', [at(2, 3, 8), at(2, 5, 8), at(2, 5, 8)], { num_heads: 2 }, 2 * (2 * 2 * 3 * 5 * 4)],
    // The merged projection [8 -> 24] and attention within 3 tokens.
    ['com.microsoft:Attention', [at(2, 3, 8), at(8, 24)], { num_heads: 2 }, 2 * 3 * 8 * 24 + 2 * (2 * 2 * 3 * 3 * 4)],
  ])('MACs of %s: %#', (op, operands, attributes, macs, opset) => {
    expect(work(op, operands, attributes, opset).macs).toBe(macs);
  });

  test('a bias is one operation per output element', () => {
    expect(work('Conv', [x, at(8, 4, 1, 1), at(8)]).ops).toBe(8 * 64);
    expect(work('Gemm', [at(3, 4), at(4, 5), at(5)]).ops).toBe(15);
  });

  test('pooling reads every element under the window', () => {
    expect(work('MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2] })).toEqual({ macs: 0, ops: 4 * 16 * 4 });
  });
});

describe('quantization facts', () => {
  const channelAxis = (op: string, operands: readonly Operand[], attributes: Attributes = {}) => {
    const node = build(op, operands, attributes);
    const { quant } = opRecord(node.domain, node.opType)!;
    const facts = typeof quant === 'function' ? quant(node) : quant;
    const type = node.input(1)!.type;
    const rank = type?.kind === 'tensor' ? type.shape!.length : 0;
    return facts !== 'none' && facts.kind === 'compute' ? facts.channelAxis(node, rank) : undefined;
  };

  test.each<[string, readonly Operand[], Attributes, number | null]>([
    ['Conv', [x, at(8, 4, 3, 3)], {}, 0],
    ['ConvTranspose', [x, at(4, 8, 2, 2)], {}, 1],
    ['ConvTranspose', [x, at(4, 2, 2, 2)], { group: 2 }, null],
    ['MatMul', [at(2, 3), at(3, 4)], {}, 1],
    ['MatMul', [at(2, 3), at(3)], {}, null],
    ['MatMul', [at(2, 2, 3), at(2, 3, 4)], {}, 2],
    ['Gemm', [at(2, 3), at(3, 4)], {}, 1],
    ['Gemm', [at(2, 3), at(4, 3)], { transB: 1 }, 0],
    ['Einsum', [at(2, 3), at(4, 3)], { equation: 'ij,kj->ik' }, 0],
    ['Einsum', [at(2, 2, 3), at(2, 3, 4)], { equation: 'bij,bjk->bik' }, 2],
    ['com.microsoft:FusedMatMul', [at(2, 3), at(4, 3)], { transB: 1 }, 0],
    ['com.microsoft:Attention', [at(1, 2, 8), at(8, 24)], { num_heads: 2 }, 1],
  ])('channel axis of %s: %#', (op, operands, attributes, axis) => {
    expect(channelAxis(op, operands, attributes)).toBe(axis);
  });
});

describe('axes', () => {
  const axes = (op: string, operands: readonly Operand[], attributes: Attributes = {}, opset = 21) => {
    const node = build(op, operands, attributes, opset);
    const record = opRecord(node.domain, node.opType)!;
    const shapes = node.inputs.map((v) => (v?.type?.kind === 'tensor' ? v.type.shape : null));
    return typeof record.axes === 'function' ? record.axes(node, shapes) : record.axes;
  };

  test.each<[string, readonly Operand[], Attributes, string, number?]>([
    ['Conv', [at('n', 4, 'h', 'w'), at(8, 4, 3, 3), at(8)], {}, 'nc..,oc..,o->no..'],
    ['Conv', [x, at(4, 1, 3, 3), at(4)], { group: 4 }, 'nc..,c...,c->nc..'],
    ['Conv', [x, at(8, 2, 3, 3), at(8)], { group: 2 }, 'n(gc)..,(go)c..,(go)->n(go)..'],
    ['Conv', [x, at(8, 1, 3, 3)], { group: 4 }, 'ng..,(go)...->n(go)..'],
    ['ConvTranspose', [x, at(4, 8, 2, 2)], {}, 'nc..,co..->no..'],
    ['MatMul', [at('b', 's', 8), at(8, 4)], {}, 'amk,kn->amn'],
    ['MatMul', [at(1, 3, 8), at(2, 8, 4)], {}, '.mk,akn->amn'],
    ['MatMul', [at('b', 3, 8), at('c', 8, 4)], {}, '.mk,.kn->.mn'],
    ['Gemm', [at(2, 3), at(4, 3), at(4)], { transB: 1 }, 'mk,nk,n->mn'],
    ['BatchNormalization', [x, at(4), at(4), at(4), at(4)], {}, 'abcd,b,b,b,b->abcd'],
    ['LayerNormalization', [at('b', 's', 8), at(8), at(8)], {}, 'ab.,.,.->ab.'],
    ['Softmax', [at('b', 'h', 's', 's')], { axis: -1 }, 'abc.->abc.'],
    ['GlobalAveragePool', [x], {}, 'nc..->nc..'],
    ['GroupNormalization', [x, at(4), at(4)], { num_groups: 2 }, 'n(g.)..,(g.),(g.)->n(g.)..'],
    [
      'Attention',
      [at('b', 's', 32), at('b', 't', 16), at('b', 't', 16)],
      { q_num_heads: 4, kv_num_heads: 2 },
      'bs(gr.),b.(g.),b.(ge)->bs(gre)',
      23,
    ],
    ['DequantizeLinear', [of('int8', 8, 4), at(2, 4)], { axis: 0, block_size: 4 }, '(az)b,ab->(az)b'],
  ])('%s: %#', (op, operands, attributes, expected, opset) => {
    expect(axes(op, operands, attributes, opset)).toBe(expected);
  });
});
