// Samples of matrix products: vectors, batches that broadcast, transpositions, integer types, Einsum equations.
import type { OpSample } from '../op-sample.js';
import { given, rand, scalar } from '../tensor-inputs.js';

const scale = (v = 0.05) => scalar(v, 'float');

const matmul: OpSample[] = [
  { op: 'MatMul', inputs: [rand([3, 4]), rand([4, 5])] },
  { op: 'MatMul', label: 'oldest form', opset: 7, inputs: [rand([3, 4]), rand([4, 5])] },
  { op: 'MatMul', label: 'vector on the left', inputs: [rand([4]), rand([4, 5])] },
  { op: 'MatMul', label: 'vector on the right', inputs: [rand([2, 3, 4]), rand([4])] },
  { op: 'MatMul', label: 'two vectors', inputs: [rand([4]), rand([4])] },
  { op: 'MatMul', label: 'vector and batch', inputs: [rand([4]), rand([2, 4, 3])] },
  { op: 'MatMul', label: 'batches', inputs: [rand([2, 3, 4]), rand([2, 4, 5])] },
  { op: 'MatMul', label: 'batches broadcast both ways', inputs: [rand([2, 1, 3, 4]), rand([5, 4, 2])] },
  { op: 'MatMul', label: 'weight without batch', inputs: [rand([2, 3, 4]), rand([4, 5])] },
  { op: 'MatMul', label: 'weight with batch 1', inputs: [rand([2, 3, 4]), rand([1, 4, 5])] },
  { op: 'MatMul', label: 'double', inputs: [rand([3, 4], 'double'), rand([4, 2], 'double')] },
  { op: 'MatMul', label: 'int32', inputs: [rand([3, 4], 'int32'), rand([4, 2], 'int32')] },
  { op: 'MatMul', label: 'empty', inputs: [rand([0, 4]), rand([4, 2])] },
];

const gemm: OpSample[] = [
  { op: 'Gemm', inputs: [rand([3, 4]), rand([4, 5]), rand([5])] },
  { op: 'Gemm', label: 'without C', inputs: [rand([3, 4]), rand([4, 5])], opset: 11 },
  { op: 'Gemm', label: 'transB', inputs: [rand([3, 4]), rand([5, 4]), rand([5])], attributes: { transB: 1 } },
  { op: 'Gemm', label: 'transA', inputs: [rand([4, 3]), rand([4, 5]), rand([3, 1])], attributes: { transA: 1 } },
  {
    op: 'Gemm',
    label: 'both',
    inputs: [rand([4, 3]), rand([5, 4]), rand([3, 5])],
    attributes: { transA: 1, transB: 1, alpha: 0.5, beta: 0.25 },
  },
  { op: 'Gemm', label: 'scalar C', inputs: [rand([3, 4]), rand([4, 5]), rand([])] },
  { op: 'Gemm', label: 'C of one element', inputs: [rand([3, 4]), rand([4, 5]), rand([1])], opset: 9 },
  { op: 'Gemm', label: 'row C', inputs: [rand([3, 4]), rand([4, 5]), rand([1, 5])], opset: 7 },
  { op: 'Gemm', label: 'one row', inputs: [rand([1, 4]), rand([4, 5]), rand([1, 5])] },
];

const integer: OpSample[] = [
  { op: 'MatMulInteger', inputs: [rand([3, 4], 'uint8'), rand([4, 5], 'uint8')] },
  {
    op: 'MatMulInteger',
    label: 'zero points',
    inputs: [rand([3, 4], 'uint8'), rand([4, 5], 'int8'), scalar(3, 'uint8'), scalar(-1, 'int8')],
  },
  {
    op: 'MatMulInteger',
    label: 'zero point per column',
    inputs: [rand([2, 3, 4], 'uint8'), rand([4, 3], 'int8'), scalar(3, 'uint8'), given('int8', [3], [1, 0, -1])],
  },
  {
    op: 'QLinearMatMul',
    inputs: [
      rand([3, 4], 'uint8'),
      scale(),
      scalar(3, 'uint8'),
      rand([4, 5], 'uint8'),
      scale(),
      scalar(2, 'uint8'),
      scale(),
      scalar(9, 'uint8'),
    ],
  },
  {
    op: 'QLinearMatMul',
    label: 'per column, signed',
    inputs: [
      rand([2, 3, 4], 'int8'),
      scale(),
      scalar(0, 'int8'),
      rand([4, 2], 'int8'),
      given('float', [2], [0.1, 0.2]),
      given('int8', [2], [0, 0]),
      scale(),
      scalar(0, 'int8'),
    ],
    opset: 13,
  },
];

const einsum: OpSample[] = (
  [
    [
      'ij,jk->ik',
      [
        [2, 3],
        [3, 4],
      ],
    ],
    [
      'ij,jk',
      [
        [2, 3],
        [3, 4],
      ],
    ],
    [
      'bij,bjk->bik',
      [
        [2, 3, 4],
        [2, 4, 5],
      ],
    ],
    [
      'bhsd,bhtd->bhst',
      [
        [1, 2, 3, 4],
        [1, 2, 5, 4],
      ],
    ],
    [' ij -> ji ', [[2, 3]]],
    ['ij->', [[2, 3]]],
    ['ii->i', [[3, 3]]],
    ['ii', [[3, 3]]],
    ['i,j->ij', [[2], [3]]],
    [
      '...ij,...jk->...ik',
      [
        [2, 4, 2, 3],
        [2, 4, 3, 2],
      ],
    ],
    ['...i->i...', [[2, 3, 4]]],
    [
      'ba,bc',
      [
        [2, 3],
        [2, 4],
      ],
    ],
    [
      'bij,bjk->bik',
      [
        [1, 3, 4],
        [2, 4, 5],
      ],
    ],
    [
      'ij,jk,kl->il',
      [
        [2, 3],
        [3, 4],
        [4, 2],
      ],
    ],
  ] as [string, number[][]][]
).map(([equation, shapes], i) => ({
  op: 'Einsum',
  label: `${equation} ${i}`,
  opset: 12,
  inputs: shapes.map((dims) => rand(dims)),
  attributes: { equation },
}));

export const SAMPLES: readonly OpSample[] = [...matmul, ...gemm, ...integer, ...einsum];
