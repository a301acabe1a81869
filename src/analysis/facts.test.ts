import { expect, test } from 'vitest';
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import { parseModel } from '../ir/text.js';
import { bytesByDtype, constantBytes, constantsOf, countNodes, countParams } from './facts.js';

test('counts weights and not shapes, in subgraphs and Constant nodes too', () => {
  const model = parseModel(`<ir_version: 10, opset_import: ["" : 21]>
    g (float[2,3] x, bool c) => (float[2,4] y) <float[3,4] w = {1,2,3,4,5,6,7,8,9,10,11,12}, int64[2] s = {2,4}> {
      a = MatMul(x, w)
      b = Reshape(a, s)
      y = If(c) <
        then_branch = t () => (float[2,4] r) { k = Constant<value = float[2] {1,2}>() z = Concat<axis = 0>(k, k) r = Add(b, z) },
        else_branch = e () => (float[2,4] q) { q = Identity(b) }
      >
    }`);
  expect(countNodes(model)).toBe(7);
  expect(countParams(model)).toBe(12 + 2);
  expect(bytesByDtype(model)).toEqual({ float: 56, int64: 16 });
  expect(constantBytes(model)).toBe(72);
  expect(constantsOf(model).map((c) => c.name)).toEqual(['w', 's', 'k']);
});

test('packed weights count as the elements they stand for, scales as none', () => {
  const model = buildModel(
    'packed',
    (b) => {
      const x = b.input('x', 'float', [1, 64]);
      const w = b.constant('w', new Tensor('uint8', [8, 2, 16], new Uint8Array(256)));
      const scales = b.floats('s', [8, 2], new Float32Array(16).fill(1));
      const y = b.op('MatMulNBits', [x, w, scales], { K: 64, N: 8, bits: 4, block_size: 32 }, { domain: 'com.microsoft' });
      const table = b.constant('t', new Tensor('int8', [4], new Uint8Array(4)));
      const dq = b.op('DequantizeLinear', [table, b.floats('ts', [], [0.5])]);
      b.output(y, 'y');
      b.output(dq, 'z');
    },
    { opsets: { 'com.microsoft': 1 } },
  );
  expect(countParams(model)).toBe(64 * 8 + 4);
});
