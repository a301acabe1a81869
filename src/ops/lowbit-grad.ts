// Gradient of a product with packed low-bit weights (com.microsoft.MatMulNBits): Y = X W with W = (codes - zero) * scale. dX = dY W^T; the gradient of a
// scale is the sum of (X^T dY) W over its block, by the scale. W itself is the product with an identity, so every layout of codes is the runtime's own affair.
import { Tensor } from '../ir/tensor.js';
import { dimsOf, dtypeOf } from './grad-builder.js';
import { unbroadcast } from './grad-helpers.js';
import { multiply } from './matmul-grad.js';
import type { GradFn } from './op.js';

export const matmulNBitsGrad: GradFn = (ctx) => {
  const { b, node, wants } = ctx;
  if (wants[3]) ctx.unsupported('zero points');
  const [k, n, block] = [node.int('K', 0), node.int('N', 0), node.int('block_size', 32)];
  const x = ctx.input(0);
  const dims = dimsOf(x);
  const rows = dims.slice(0, -1).reduce((p, d) => p * d, 1);
  const dy = b.reshape(ctx.outputGrad(), [rows, n]);
  const ones = new Float32Array(k * k);
  for (let i = 0; i < k; i++) ones[i * k + i] = 1;
  const identity = b.constant('identity', Tensor.of('float', [k, k], ones).cast(dtypeOf(x)));
  const attributes = Object.fromEntries([...node.attributes].filter(([name]) => name !== 'accuracy_level'));
  const operands = [identity, ...[1, 2, 3, 4].map((i) => node.input(i))];
  const weight = b.op('MatMulNBits', operands, { ...attributes, accuracy_level: 1 }, { domain: 'com.microsoft' });
  const scaleGradient = () => {
    const scale = ctx.input(2);
    const blocks = Math.ceil(k / block);
    const product = b.mul(multiply(b, dy, b.reshape(x, [rows, k]), { transA: true }), b.transposeLast(weight));
    const padded = b.pad(product, [0, 0, 0, blocks * block - k]);
    const sums = b.reduceSum(b.reshape(padded, [n, blocks, block]), [2], false);
    return b.div(b.reshape(sums, dimsOf(scale)), scale);
  };
  return [
    wants[0] ? b.reshape(multiply(b, dy, weight, { transB: true }), dims) : null,
    null,
    wants[2] ? scaleGradient() : null,
    null,
    null,
    wants[5] ? unbroadcast(b, dy, dimsOf(ctx.input(5))) : null,
  ];
};
