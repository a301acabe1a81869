// Everything that only relabels dimensions: Reshape, Flatten, Squeeze, Unsqueeze and transposes that move extents of one. Chains become
// one Reshape of the first input with a constant target, which also frees the shape arithmetic of dynamic models.
import type { Node, Value } from '../../ir/graph.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { miss, type Rule } from '../../rewrite/rule.js';
import { canReplace, constantOf, rankOf, reshapeTarget, sameShape, shapeOf } from './facts.js';

const RESHAPES: ReadonlySet<string> = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze']);

function isReshape(node: Node | null | undefined): node is Node {
  return node != null && node.domain === '' && RESHAPES.has(node.opType);
}

/** First value of a chain of relabelings that ends in `value`, no further up than the graph of `value`. */
function sourceOf(value: Value): Value {
  let source = value;
  while (isReshape(source.producer) && source.producer.graph === value.graph) source = source.producer.input(0)!;
  return source;
}

const reshapeChain: Rule = nodeRule({
  name: 'merge-reshapes',
  roots: [...RESHAPES],
  plan(node, ctx) {
    const input = node.input(0);
    const output = node.outputs[0];
    if (!input || !output || !isReshape(input.producer)) return null;
    const source = sourceOf(input);
    const out = shapeOf(output);
    if (sameShape(out, shapeOf(source)) && canReplace(output, source)) return () => [source];
    const target = reshapeTarget(out, shapeOf(source));
    if (target === undefined) return miss(`more than one unknown dimension in the result of ${node.label}`);
    return () => [ctx.b.op('Reshape', [source, ctx.b.ints(`${output.name}_shape`, target)])];
  },
});

/** Reshape whose target is computed, though the result's shape is known up to one dimension. */
const reshapeTargetKnown: Rule = nodeRule({
  name: 'fold-reshape-target',
  roots: ['Reshape'],
  plan(node, ctx) {
    const target = node.input(1);
    if (ctx.opset < 5 || target === null || constantOf(target)) return null;
    const found = reshapeTarget(shapeOf(node.outputs[0]), shapeOf(node.input(0)));
    if (found === undefined) return miss(`its target "${target.name}" has more than one dimension that is only known at run time`);
    return () => {
      node.setInput(1, ctx.b.ints(`${node.output().name}_shape`, found));
      node.setAttribute('allowzero', undefined);
      return 'edited';
    };
  },
});

/** Expand to a shape that is known up to dimensions the input has already: 1 keeps the input's own extent. */
const expandTargetKnown: Rule = nodeRule({
  name: 'fold-expand-target',
  roots: ['Expand'],
  plan(node, ctx) {
    const target = node.input(1);
    const out = shapeOf(node.outputs[0]);
    const from = shapeOf(node.input(0));
    if (target === null || constantOf(target) || out === null || from === null) return null;
    const items: number[] = [];
    const lead = out.length - from.length;
    for (let i = 0; i < out.length; i++) {
      const d = out[i]!;
      if (d !== null && i >= lead && from[i - lead] === d) items.push(1);
      else if (typeof d === 'number') items.push(d);
      else return miss(`dimension ${i} of its target "${target.name}" is only known at run time`);
    }
    return () => {
      node.setInput(1, ctx.b.ints(`${node.output().name}_shape`, items));
      return 'edited';
    };
  },
});

/** A Transpose that only moves ones joins the chain of relabelings beside it. */
const transposeOfOnes: Rule = nodeRule({
  name: 'transpose-to-reshape',
  roots: ['Transpose'],
  plan(node, ctx) {
    const shape = shapeOf(node.input(0));
    const output = node.outputs[0];
    if (shape === null || !output) return null;
    const perm = node.ints('perm') ?? shape.map((_, i) => shape.length - 1 - i);
    if (perm.length !== shape.length) return null;
    const moved = perm.filter((p) => shape[p] !== 1);
    if (!moved.every((p, i) => i === 0 || p > moved[i - 1]!)) return null;
    // Only where a neighbour is a relabeling too, so that the two become one node.
    const joins =
      isReshape(node.input(0)!.producer) || (output.uses.length > 0 && output.uses.every((u) => u.index === 0 && isReshape(u.node)));
    if (!joins) return null;
    const out = perm.map((p) => shape[p]!);
    const target = reshapeTarget(out, shape);
    if (target === undefined) return null;
    return () => [ctx.b.op('Reshape', [node.input(0), ctx.b.ints(`${output.name}_shape`, target)])];
  },
});

const transposeChain: Rule = nodeRule({
  name: 'merge-transposes',
  roots: ['Transpose'],
  plan(node, ctx) {
    const inner = node.input(0)?.producer;
    if (inner?.domain !== '' || inner.opType !== 'Transpose') return null;
    const rank = node.ints('perm')?.length ?? inner.ints('perm')?.length ?? rankOf(inner.input(0));
    if (rank === undefined) return null;
    const reversed = Array.from({ length: rank }, (_, i) => rank - 1 - i);
    const [outer, first] = [node.ints('perm') ?? reversed, inner.ints('perm') ?? reversed];
    const perm = outer.map((p) => first[p]!);
    const source = inner.input(0)!;
    if (perm.every((p, i) => p === i) && canReplace(node.output(), source)) return () => [source];
    return () => [ctx.b.op('Transpose', [source], { perm })];
  },
});

/** Unary operators and scalars through which a Transpose can move without changing the result. */
const ELEMENTWISE: ReadonlySet<string> = new Set([
  'Abs',
  'Add',
  'Cast',
  'Ceil',
  'Clip',
  'Div',
  'Elu',
  'Erf',
  'Exp',
  'Floor',
  'Gelu',
  'HardSigmoid',
  'HardSwish',
  'LeakyRelu',
  'Log',
  'Max',
  'Min',
  'Mul',
  'Neg',
  'Pow',
  'Reciprocal',
  'Relu',
  'Round',
  'Sigmoid',
  'Sign',
  'Softplus',
  'Sqrt',
  'Sub',
  'Tanh',
]);

/** Transpose behind element-wise nodes fed by Transposes alone: where all cancel, the element-wise part runs untransposed. */
const transposeThroughElementwise: Rule = nodeRule({
  name: 'cancel-transposes',
  roots: ['Transpose'],
  plan(node, ctx) {
    const rank = rankOf(node.input(0));
    const perm = node.ints('perm');
    const start = node.input(0)?.producer;
    if (rank === undefined || perm?.length !== rank || !start || !ELEMENTWISE.has(start.opType)) return null;
    const inside = new Set<Node>();
    const cancels = (value: Value): boolean => {
      const producer = value.producer;
      if (producer?.domain !== '' || producer.graph !== node.graph) return false;
      if (producer.opType === 'Transpose')
        return producer.ints('perm')?.length === rank && perm.every((p, i) => producer.ints('perm')![p] === i);
      if (!ELEMENTWISE.has(producer.opType) || value.readerCount !== 1 || rankOf(value) !== rank || inside.size > 64) return false;
      inside.add(producer);
      return producer.inputs.every((input) => input === null || constantOf(input)?.size === 1 || cancels(input));
    };
    if (!cancels(node.input(0)!)) return null;
    return () => {
      const rebuilt = (value: Value): Value => {
        const producer = value.producer!;
        if (producer.opType === 'Transpose') return producer.input(0)!;
        const inputs = producer.inputs.map((v) => (v === null || constantOf(v) ? v : rebuilt(v)));
        return ctx.b.op(producer.opType, inputs, Object.fromEntries(producer.attributes));
      };
      return [rebuilt(node.input(0)!)];
    };
  },
});

export const RESHAPE_RULES: readonly Rule[] = [
  reshapeChain,
  reshapeTargetKnown,
  expandTargetKnown,
  transposeOfOnes,
  transposeChain,
  transposeThroughElementwise,
];
