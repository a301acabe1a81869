// A scalar that multiplies a product of two activations (the 1/sqrt(d) of attention) moves into the constant projection that
// made one of them, through the Reshape, Transpose and Split in between: one pass over the scores less for each layer.
import type { Node, Value } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { scalarOf } from '../../rewrite/pattern.js';
import { type Miss, miss, type Rule } from '../../rewrite/rule.js';
import { constantOf, dtypeOf, intsOf, positiveAxis, rankOf } from './facts.js';

/** A projection x W + b, and the columns of its result that reach the product. */
interface Projection {
  readonly matmul: Node;
  readonly add: Node | null;
  /** Index of the bias among the inputs of `add`. */
  readonly biasIndex: number;
  readonly columns: readonly [from: number, to: number] | null;
}

function projectionOf(value: Value, graph: Value['graph']): Projection | Miss | null {
  let current = value;
  let columns: Projection['columns'] = null;
  for (let hops = 0; hops < 8; hops++) {
    const node = current.producer;
    if (node?.domain !== '' || node.graph !== graph) return null;
    const single = node.outputs.length === 1 ? current.readerCount === 1 : node.opType === 'Split' && current.readerCount === 1;
    if (!single) return miss(`"${current.name}" is also read elsewhere`);
    if (node.opType === 'Reshape' || node.opType === 'Transpose' || node.opType === 'Unsqueeze' || node.opType === 'Squeeze') {
      if (columns) return null;
      current = node.input(0)!;
    } else if (node.opType === 'Split') {
      const sizes = intsOf(node.input(1));
      const rank = rankOf(node.input(0));
      if (!sizes || rank === undefined || positiveAxis(node.int('axis', 0), rank) !== rank - 1 || columns) return null;
      const index = node.outputs.indexOf(current);
      const from = sizes.slice(0, index).reduce((n, s) => n + s, 0);
      columns = [from, from + sizes[index]!];
      current = node.input(0)!;
      const inner = current.producer;
      if (!inner || current.readerCount !== 1) return null;
      return withBias(inner, columns);
    } else return withBias(node, columns);
  }
  return null;
}

function withBias(node: Node, columns: Projection['columns']): Projection | Miss | null {
  if (node.domain !== '') return null;
  if (node.opType === 'MatMul') return checked({ matmul: node, add: null, biasIndex: -1, columns });
  if (node.opType !== 'Add') return null;
  const biasIndex = constantOf(node.input(0)) ? 0 : constantOf(node.input(1)) ? 1 : -1;
  if (biasIndex < 0) return null;
  const product = node.input(1 - biasIndex)!;
  const matmul = product.producer;
  if (matmul?.domain !== '' || matmul.opType !== 'MatMul' || product.readerCount !== 1) return null;
  return checked({ matmul, add: node, biasIndex, columns });
}

function checked(p: Projection): Projection | Miss | null {
  const weight = p.matmul.input(1);
  const tensor = constantOf(weight);
  if (!weight || !tensor || tensor.rank !== 2) return null;
  if (weight.readerCount > 1) return miss(`weight "${weight.name}" has another user`);
  const bias = p.add?.input(p.biasIndex);
  const held = constantOf(bias);
  if (held && (held.rank !== 1 || held.size !== tensor.dims[1])) return miss(`bias "${bias!.name}" is not one value a column`);
  return p;
}

function scaleColumns(tensor: Tensor, columns: Projection['columns'], factor: number): Tensor {
  const width = tensor.dims.at(-1)!;
  const [from, to] = columns ?? [0, width];
  const values = Float64Array.from(tensor.numbers());
  for (let row = 0; row < values.length; row += width) for (let c = from; c < to; c++) values[row + c]! *= factor;
  return Tensor.from(tensor.dtype, tensor.dims, values);
}

const isMiss = (x: Projection | Miss | null): x is Miss => x !== null && 'miss' in x;

const scaleIntoProjection: Rule = nodeRule({
  name: 'fold-scale-into-projection',
  roots: ['Mul', 'Div'],
  plan(node, ctx) {
    const dtype = dtypeOf(node.outputs[0]);
    if (dtype !== 'float' && dtype !== 'double') return null;
    for (const index of node.opType === 'Mul' ? [0, 1] : [0]) {
      const product = node.input(index);
      const matmul = product?.producer;
      const scalar = scalarOf(node.input(1 - index));
      if (!product || !matmul || matmul.domain !== '' || matmul.opType !== 'MatMul' || scalar === undefined) continue;
      if (constantOf(matmul.input(1)) || constantOf(matmul.input(0))) return null;
      if ((constantOf(node.input(1 - index))?.rank ?? 0) > (rankOf(product) ?? 0)) return null;
      const factor = node.opType === 'Mul' ? scalar : 1 / scalar;
      if (!Number.isFinite(factor) || Math.abs(factor) < 1e-6 || Math.abs(factor) > 1e6)
        return miss(`a factor of ${factor} would change the range of the weights too much`);
      if (product.readerCount > 1) return miss(`"${product.name}" is also read elsewhere`);
      const found = [0, 1].map((i) => projectionOf(matmul.input(i)!, node.graph));
      const projection = found.find((p): p is Projection => p !== null && !isMiss(p));
      if (!projection) return found.find(isMiss) ?? null;
      return () => {
        const weight = projection.matmul.input(1)!;
        projection.matmul.setInput(1, ctx.b.constant(weight.name, scaleColumns(weight.initializer!, projection.columns, factor)));
        const bias = projection.add?.input(projection.biasIndex);
        if (bias)
          projection.add!.setInput(
            projection.biasIndex,
            ctx.b.constant(bias.name, scaleColumns(bias.initializer!, projection.columns, factor)),
          );
        return [product];
      };
    }
    return null;
  },
});

export const SCALE_RULES: readonly Rule[] = [scaleIntoProjection];
