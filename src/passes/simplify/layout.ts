// Data movement around products and slices: flattening before a MatMul and back, transposes that a constant weight can take over,
// Slices that together are a Split, sizes of Resize that leave axes alone, Expand that broadcasting does anyway.
import type { Node, Value } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { miss, type Rule } from '../../rewrite/rule.js';
import { constantOf, dtypeOf, intsOf, positiveAxis, rankOf, sameShape, shapeOf, staticDims } from './facts.js';

function producedBy(value: Value | null, ...opTypes: readonly string[]): Node | undefined {
  const node = value?.producer;
  return node && node.domain === '' && opTypes.includes(node.opType) ? node : undefined;
}

/** Reshape to two dimensions, product with a matrix, Reshape back: MatMul does that by itself. */
const unflattenMatMul: Rule = nodeRule({
  name: 'unflatten-matmul',
  roots: ['Reshape'],
  plan(node, ctx) {
    const product = producedBy(node.input(0), 'MatMul', 'Gemm');
    const flatten = producedBy(product?.input(0) ?? null, 'Reshape', 'Flatten');
    const source = flatten?.input(0);
    if (!product || !source || rankOf(product.input(1)) !== 2 || rankOf(product.input(0)) !== 2) return null;
    const [from, to, flat] = [shapeOf(source), shapeOf(node.outputs[0]), shapeOf(product.input(0))!];
    if (from === null || to === null || from.length < 2) return null;
    if (from.at(-1) !== flat[1] || typeof flat[1] !== 'number' || !sameShape(from.slice(0, -1), to.slice(0, -1))) return null;
    if (to.at(-1) !== shapeOf(product.outputs[0])?.[1]) return null;
    if (product.output().readerCount > 1) return miss(`"${product.output().name}" is also read elsewhere`);
    if (product.opType === 'Gemm') {
      const plain = ['transA', 'transB'].every((a) => product.int(a, 0) === 0) && ['alpha', 'beta'].every((a) => product.float(a, 1) === 1);
      if (!plain || rankOf(product.input(2)) !== 1) return null;
    }
    return () => {
      const matmul = ctx.b.op('MatMul', [source, product.input(1)], {}, { name: product.name });
      const bias = product.input(2);
      return [bias ? ctx.b.op('Add', [matmul, bias]) : matmul];
    };
  },
});

/** Transpose, flattening, product with a constant: the rows of the constant are put in the order of the transpose's input. */
const transposeIntoWeight: Rule = nodeRule({
  name: 'fold-transpose-into-weight',
  roots: ['Gemm', 'MatMul'],
  plan(node, ctx) {
    const flatten = producedBy(node.input(0), 'Flatten', 'Reshape');
    const transpose = producedBy(flatten?.input(0) ?? null, 'Transpose');
    if (!flatten || !transpose || (node.opType === 'Gemm' && node.int('transA', 0) === 1)) return null;
    const source = transpose.input(0)!;
    const shape = shapeOf(source);
    const perm = transpose.ints('perm');
    const flat = shapeOf(flatten.outputs[0]);
    if (shape === null || perm === undefined || perm[0] !== 0 || flat?.length !== 2) return null;
    const dims = shape.slice(1);
    if (!dims.every((d) => typeof d === 'number')) return miss(`the extents of "${source.name}" are not all numbers`);
    const weight = node.input(1);
    const tensor = constantOf(weight);
    if (!weight || !tensor || tensor.rank !== 2) return miss('the weight is not constant');
    if (weight.readerCount > 1) return miss(`weight "${weight.name}" has another user`);
    if (flatten.output().readerCount > 1 || transpose.output().readerCount > 1)
      return miss(`"${flatten.output().name}" is also read elsewhere`);
    const size = dims.reduce((n, d) => n * d, 1);
    const rowsFirst = !(node.opType === 'Gemm' && node.int('transB', 0) === 1);
    if (flat[1] !== size || tensor.dims[rowsFirst ? 0 : 1] !== size || tensor.byteLength * 8 < size) return null;
    if (tensor.byteLength !== elementBytes(tensor) * tensor.size) return miss(`the weight is ${tensor.dtype}`);
    return () => {
      const order = sourceOrder(
        dims,
        perm.slice(1).map((p) => p - 1),
      );
      const permuted = ctx.b.constant(weight.name, permuteAxis(tensor, order, rowsFirst ? 0 : 1));
      const flatter = ctx.b.op('Flatten', [source], { axis: 1 }, { name: flatten.name });
      return [ctx.b.op(node.opType, [flatter, permuted, ...node.inputs.slice(2)], Object.fromEntries(node.attributes))];
    };
  },
});

function elementBytes(tensor: Tensor): number {
  return tensor.size === 0 ? 0 : Math.floor(tensor.byteLength / tensor.size);
}

/** For each place in the untransposed flat order, its place in the transposed flat order. */
function sourceOrder(dims: readonly number[], perm: readonly number[]): Int32Array {
  const moved = perm.map((p) => dims[p]!);
  const strides = new Array<number>(dims.length).fill(0);
  let stride = 1;
  for (let i = moved.length - 1; i >= 0; i--) {
    strides[perm[i]!] = stride;
    stride *= moved[i]!;
  }
  const order = new Int32Array(stride);
  const index = new Array<number>(dims.length).fill(0);
  for (let at = 0; at < order.length; at++) {
    order[at] = index.reduce((sum, x, axis) => sum + x * strides[axis]!, 0);
    for (let axis = dims.length - 1; axis >= 0 && ++index[axis]! === dims[axis]; axis--) index[axis] = 0;
  }
  return order;
}

/** Takes rows (axis 0) or columns (axis 1) of a matrix in another order. */
function permuteAxis(tensor: Tensor, order: Int32Array, axis: 0 | 1): Tensor {
  const [rows, cols] = tensor.dims as readonly [number, number];
  const bytes = elementBytes(tensor);
  const from = tensor.bytes();
  const to = new Uint8Array(from.byteLength);
  for (let r = 0; r < rows; r++) {
    if (axis === 0) to.set(from.subarray(order[r]! * cols * bytes, (order[r]! + 1) * cols * bytes), r * cols * bytes);
    else {
      for (let c = 0; c < cols; c++) {
        const at = (r * cols + order[c]!) * bytes;
        to.set(from.subarray(at, at + bytes), (r * cols + c) * bytes);
      }
    }
  }
  return new Tensor(tensor.dtype, tensor.dims, to);
}

interface Part {
  readonly node: Node;
  readonly start: number;
  readonly end: number;
}

/** Slices of one value that tile one axis are a Split. */
const slicesToSplit: Rule = nodeRule({
  name: 'slices-to-split',
  roots: ['Slice'],
  plan(node, ctx) {
    const source = node.input(0)!;
    const shape = shapeOf(source);
    const first = partOf(node, shape);
    if (ctx.opset < 18 || shape === null || !first) return null;
    const extent = shape[first.axis] as number;
    const parts: Part[] = [];
    for (const use of source.uses) {
      if (use.index !== 0 || use.node.opType !== 'Slice' || use.node.domain !== '' || use.node.graph !== node.graph) continue;
      const part = partOf(use.node, shape);
      if (part && part.axis === first.axis) parts.push({ node: use.node, ...part });
    }
    parts.sort((a, b) => a.start - b.start);
    if (parts.length < 2 || parts[0]!.node !== node) return null;
    const tiles = parts.every((p, i) => p.start === (parts[i - 1]?.end ?? 0)) && parts.at(-1)!.end === extent;
    if (!tiles || parts.some((p) => p.node.output().isGraphOutput)) return null;
    if (source.graph !== node.graph) return null;
    return () => {
      ctx.b.before = source.producer ? source.producer._next : node.graph.nodes[0]!;
      const sizes = ctx.b.ints(
        `${source.name}_split`,
        parts.map((p) => p.end - p.start),
      );
      const outputs = parts.map((p) => `${p.node.output().name}_part`);
      const split = ctx.b.node('Split', [source, sizes], { axis: first.axis }, { outputs, name: node.name });
      parts.forEach((p, i) => {
        const old = p.node.output();
        split.output(i).type = old.type;
        node.graph.replaceValue(old, split.output(i));
        node.graph.removeNode(p.node);
      });
      return 'edited';
    };
  },
});

/** The one axis a Slice with constant bounds and step 1 cuts, with bounds counted from the front. */
function partOf(node: Node, shape: readonly unknown[] | null): { axis: number; start: number; end: number } | undefined {
  const [starts, ends] = [intsOf(node.input(1)), intsOf(node.input(2))];
  const axes = node.input(3) === null ? [0] : intsOf(node.input(3));
  const steps = node.input(4) === null ? [1] : intsOf(node.input(4));
  if (shape === null || starts?.length !== 1 || ends?.length !== 1 || axes?.length !== 1 || steps?.[0] !== 1) return undefined;
  const axis = positiveAxis(axes[0]!, shape.length);
  const extent = shape[axis];
  if (typeof extent !== 'number') return undefined;
  const place = (x: number) => Math.min(extent, Math.max(0, x < 0 ? x + extent : x));
  return { axis, start: place(starts[0]!), end: place(ends[0]!) };
}

/** Resize whose sizes are computed: a whole factor becomes constant scales; else the axes that keep their extent are left out. */
const resizeTarget: Rule = nodeRule({
  name: 'fold-resize-target',
  roots: ['Resize'],
  plan(node, ctx) {
    const sizes = node.input(3);
    if (ctx.opset < 18 || sizes === null || constantOf(sizes) || node.hasAttribute('axes')) return null;
    const [from, to] = [shapeOf(node.input(0)), shapeOf(node.outputs[0])];
    if (from === null || to === null || from.length !== to.length) return null;
    if (node.string('coordinate_transformation_mode') === 'tf_crop_and_resize' || node.hasAttribute('keep_aspect_ratio_policy'))
      return null;
    const axes = to.map((_, i) => i).filter((i) => from[i] === null || from[i] !== to[i]);
    if (axes.length === 0) return null;
    if (axes.some((i) => typeof to[i] !== 'number')) return miss(`its sizes "${sizes.name}" are only known at run time`);
    const scales = to.map((d, i) => (axes.includes(i) ? (d as number) / (typeof from[i] === 'number' ? from[i] : Number.NaN) : 1));
    return () => {
      if (scales.every((s) => Number.isInteger(s))) {
        // Whole factors are exact, hold for any batch and are what runtimes have kernels in 8 bits for.
        node.setInput(2, ctx.b.floats(`${node.output().name}_scales`, [scales.length], scales));
        node.setInput(3, null);
        return 'edited';
      }
      node.setInput(
        3,
        ctx.b.ints(
          `${node.output().name}_sizes`,
          axes.map((i) => to[i] as number),
        ),
      );
      node.setAttribute('axes', axes);
      return 'edited';
    };
  },
});

const BROADCASTING = [
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Pow',
  'Where',
  'Equal',
  'Less',
  'Greater',
  'LessOrEqual',
  'GreaterOrEqual',
  'And',
  'Or',
  'Xor',
];

/** Expand before an operator that broadcasts, where another operand has the result's shape already. */
const expandBeforeBroadcast: Rule = nodeRule({
  name: 'remove-expand-before-broadcast',
  roots: BROADCASTING,
  plan(node) {
    for (const [index, input] of node.inputs.entries()) {
      const expand = producedBy(input, 'Expand');
      if (!expand || expand.graph !== node.graph) continue;
      const full = node.inputs.some((v, i) => i !== index && v !== null && sameShape(shapeOf(v), shapeOf(node.outputs[0])));
      if (!full) return miss(`no other operand is known to have the shape of its result`);
      return () => {
        node.setInput(index, expand.input(0));
        return 'edited';
      };
    }
    return null;
  },
});

/** x + (-y) and x - (-y). */
const addNegative: Rule = nodeRule({
  name: 'add-of-negative',
  roots: ['Add', 'Sub'],
  plan(node, ctx) {
    for (const index of node.opType === 'Add' ? [1, 0] : [1]) {
      const neg = producedBy(node.input(index), 'Neg');
      const other = node.input(1 - index);
      if (!neg || !other) continue;
      return () => [ctx.b.op(node.opType === 'Add' ? 'Sub' : 'Add', [other, neg.input(0)])];
    }
    return null;
  },
});

/** An integer multiplied by zero is zero (a float need not be: NaN and infinity). */
const timesZero: Rule = nodeRule({
  name: 'fold-integer-times-zero',
  roots: ['Mul'],
  plan(node, ctx) {
    const dtype = dtypeOf(node.outputs[0]);
    const dims = staticDims(node.outputs[0]);
    if ((dtype !== 'int64' && dtype !== 'int32') || dims === undefined || node.output().isGraphOutput) return null;
    const zero = node.inputs.some((v) => v?.isConstant && v.initializer!.size === 1 && Number(v.initializer!.numbers()[0]) === 0);
    const size = dims.reduce((n, d) => n * d, 1);
    if (!zero || size > 1024) return null;
    return () => [ctx.b.constant(node.output().name, Tensor.from(dtype, dims, new Float64Array(size)))];
  },
});

export const LAYOUT_RULES: readonly Rule[] = [
  unflattenMatMul,
  transposeIntoWeight,
  slicesToSplit,
  resizeTarget,
  expandBeforeBroadcast,
  addNegative,
  timesZero,
];
