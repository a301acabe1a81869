// MatMul followed by the addition of a constant vector becomes Gemm where everything has two dimensions; a Gemm takes a
// transposed constant or a transposed operand as its transA/transB.
import type { Value } from '../../ir/graph.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { miss, type Rule } from '../../rewrite/rule.js';
import { constantOf, dtypeOf, isQuantizer, rankOf, sameShape, shapeOf } from './facts.js';

const matmulAdd: Rule = nodeRule({
  name: 'matmul-add-to-gemm',
  roots: ['Add'],
  plan(node, ctx) {
    if (ctx.opset < 7) return null;
    for (const index of [0, 1]) {
      const product = node.input(index);
      const matmul = product?.producer;
      const bias = node.input(1 - index);
      if (!product || !matmul || matmul.domain !== '' || matmul.opType !== 'MatMul' || matmul.graph !== node.graph) continue;
      const tensor = constantOf(bias);
      if (!bias || (!tensor && !isBroadcastTerm(bias, product))) continue;
      if (rankOf(matmul.input(0)) !== 2 || rankOf(matmul.input(1)) !== 2) return miss('its operands do not have two dimensions each');
      // Quantized products are recognised as MatMul between quantizers: their form is kept.
      if (matmul.inputs.some((v) => isQuantizer(v?.producer ?? null))) return miss('it is part of a quantized model');
      const dtype = dtypeOf(product);
      if (dtype !== 'float' && dtype !== 'double' && dtype !== 'float16')
        return miss(`Gemm of ${dtype ?? 'an unknown type'} is not common`);
      const columns = shapeOf(matmul.input(1))![1]!;
      const fits = !tensor || (tensor.rank <= 2 && (tensor.dims.at(-1) ?? 1) === columns && tensor.size === columns);
      if (!fits) return miss(`the constant [${tensor.dims.join(',')}] is not one row of ${columns}`);
      if (product.readerCount > 1) return miss(`"${product.name}" is also read elsewhere`);
      return () => {
        const row = !tensor || tensor.rank === 1 ? bias : ctx.b.constant(bias.name, tensor.reshape([tensor.size]));
        return [ctx.b.op('Gemm', [matmul.input(0), matmul.input(1), row], {}, { name: matmul.name || node.name })];
      };
    }
    return null;
  },
});

/** An activation that is as large as the product, so that adding it inside Gemm broadcasts nothing. */
function isBroadcastTerm(term: Value, product: Value): boolean {
  return term.producer?.opType !== 'DequantizeLinear' && sameShape(shapeOf(term), shapeOf(product));
}

const gemmTranspose: Rule = nodeRule({
  name: 'fold-transpose-into-gemm',
  roots: ['Gemm'],
  plan(node) {
    for (const [index, attribute] of [
      [0, 'transA'],
      [1, 'transB'],
    ] as const) {
      const transpose = node.input(index)?.producer;
      if (transpose?.domain !== '' || transpose.opType !== 'Transpose' || transpose.graph !== node.graph) continue;
      const perm = transpose.ints('perm') ?? [1, 0];
      if (perm.length !== 2 || perm[0] !== 1) continue;
      return () => {
        node.setInput(index, transpose.input(0));
        node.setAttribute(attribute, 1 - node.int(attribute, 0));
        return 'edited';
      };
    }
    return null;
  },
});

export const GEMM_RULES: readonly Rule[] = [matmulAdd, gemmTranspose];
