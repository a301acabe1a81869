// BatchNormalization and per-channel Mul, Div, Add, Sub folded into the Conv, ConvTranspose, Gemm or MatMul before or behind them:
// s * (W x + b) + t = (s W) x + (s b + t), and W (s x + t) + b = (W s) x + (b + W t), the latter only without zero padding.

import type { Builder } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import { nodeRule } from '../../rewrite/node-rule.js';
import { miss, type Rule } from '../../rewrite/rule.js';
import { rankOf, shapeOf } from './facts.js';
import {
  AFFINE_OPS,
  affineAt,
  allFinite,
  biasOf,
  LINEAR_OPS,
  type LinearNode,
  linearAt,
  scaleWeight,
  shiftThroughWeight,
} from './weights.js';

/** Affine node behind the linear one. */
const affineBehind: Rule = nodeRule({
  name: 'fold-affine-into-linear',
  roots: AFFINE_OPS,
  plan(node, ctx) {
    const source = [node.input(0), node.input(1)].find(
      (v) => v?.producer && v.producer.domain === '' && LINEAR_OPS.includes(v.producer.opType),
    );
    const linear = linearAt(source?.producer);
    if (!source || linear === undefined) return null;
    const rank = outputRank(source.producer!);
    const channels = typeof linear === 'string' ? undefined : linear.layout.outputs;
    if (typeof linear === 'string') return isPlausible(node) ? miss(linear) : null;
    if (rank === undefined) return null;
    const affine = affineAt(node, channels!, linear.channelAxis, rank);
    if (affine === undefined) return null;
    if (typeof affine === 'string') return miss(affine);
    if (affine.data !== source) return null;
    if (source.readerCount > 1) return miss(`output "${source.name}" of ${source.producer!.label} is also read elsewhere`);
    if (!allFinite(affine.scale, linear.weight) || !allFinite(affine.shift, linear.weight)) return miss('a factor is not finite');
    const shifts = affine.shift.some((t) => t !== 0);
    if (linear.node.opType === 'MatMul' && shifts)
      return node.opType === 'BatchNormalization' ? miss('MatMul has no bias to take its shift') : null;
    const bias = biasOf(linear);
    if (bias === undefined) return miss(`the bias of ${linear.node.label} is not one value for each channel`);
    return () => [
      rebuild(ctx.b, linear, node, {
        weight: affine.scale.some((s) => s !== 1) ? scaleWeight(linear.weight.initializer!, linear.layout, affine.scale, 'out') : undefined,
        bias: linear.bias || shifts ? shifted(linear, bias, affine.scale, affine.shift) : undefined,
      }),
    ];
  },
});

/** Gemm computes alpha * A B + beta * C: a shift of the whole result is one of C by 1 / beta. */
function shifted(linear: LinearNode, bias: Float64Array, scale: Float64Array, shift: Float64Array): Float64Array {
  const beta = linear.node.opType === 'Gemm' && linear.bias ? linear.node.float('beta', 1) : 1;
  return bias.map((b, i) => b * scale[i]! + shift[i]! / beta);
}

/** Only nodes that fold at all are worth a reason: an Add of two activations is none. */
function isPlausible(node: Node): boolean {
  return node.opType === 'BatchNormalization' || node.inputs.some((v) => v?.isConstant ?? false);
}

/** Rank of a linear operator's result: a convolution's is that of its weight. */
function outputRank(node: Node): number | undefined {
  if (node.opType === 'Gemm') return 2;
  if (node.opType.startsWith('Conv')) return node.input(1)?.initializer?.rank ?? rankOf(node.outputs[0]);
  return rankOf(node.outputs[0]);
}

/** Affine node before the linear one. */
const affineBefore: Rule = nodeRule({
  name: 'fold-affine-before-linear',
  roots: LINEAR_OPS,
  plan(node, ctx) {
    const before = node.input(0)?.producer;
    if (before?.domain !== '' || !AFFINE_OPS.includes(before.opType) || !isPlausible(before)) return null;
    const linear = linearAt(node);
    if (linear === undefined) return null;
    if (typeof linear === 'string') return miss(linear);
    const rank = node.opType === 'Gemm' ? 2 : node.opType === 'MatMul' ? rankOf(node.input(0)) : linear.weight.initializer!.rank;
    if (rank === undefined || (node.opType === 'Gemm' && node.int('transA', 0) === 1)) return null;
    const affine = affineAt(before, linear.layout.inputs, linear.channelAxis, rank);
    if (affine === undefined) return null;
    if (typeof affine === 'string') return miss(affine);
    const input = node.input(0)!;
    if (input.readerCount > 1) return miss(`"${input.name}" is also read elsewhere`);
    if (!allFinite(affine.scale, linear.weight) || !allFinite(affine.shift, linear.weight)) return miss('a factor is not finite');
    // Broadcasting in the affine node may have made the tensor larger than its input.
    if (shapeOf(affine.data)?.at(linear.channelAxis) !== linear.layout.inputs || rankOf(affine.data) !== rank) {
      return miss(`the input of ${before.label} is not known to have ${linear.layout.inputs} channels`);
    }
    const shifts = affine.shift.some((t) => t !== 0);
    if (shifts && node.opType === 'MatMul') return miss('MatMul has no bias to take the shift');
    if (shifts && !isUnpadded(node)) return miss('zeros of the padding would not be shifted');
    const bias = biasOf(linear);
    if (bias === undefined) return miss(`the bias of ${node.label} is not one value for each channel`);
    return () => {
      const weight = linear.weight.initializer!;
      const added = shifts ? shiftThroughWeight(weight, linear.layout, affine.shift) : undefined;
      const alpha = node.opType === 'Gemm' ? node.float('alpha', 1) / (linear.bias ? node.float('beta', 1) : 1) : 1;
      return [
        rebuild(ctx.b, linear, node, {
          data: affine.data,
          weight: affine.scale.some((s) => s !== 1) ? scaleWeight(weight, linear.layout, affine.scale, 'in') : undefined,
          bias: added && bias.map((b, i) => b + alpha * added[i]!),
        }),
      ];
    };
  },
});

function isUnpadded(node: Node): boolean {
  if (!node.opType.startsWith('Conv')) return true;
  // Every output of a transposed convolution sees only part of the kernel: a constant does not stay one at the border.
  if (node.opType === 'ConvTranspose') return false;
  const auto = node.string('auto_pad', 'NOTSET');
  return auto === 'VALID' || (auto === 'NOTSET' && (node.ints('pads') ?? []).every((p) => p === 0));
}

interface Parts {
  readonly data?: Value;
  readonly weight?: Tensor | undefined;
  readonly bias?: Float64Array | undefined;
}

/** The linear operator again, with other data, weight or bias, in place of `root`. */
function rebuild(b: Builder, linear: LinearNode, root: Node, parts: Parts): Value {
  const { node } = linear;
  const dtype = linear.weight.initializer!.dtype;
  const weight = parts.weight ? b.constant(linear.weight.name, parts.weight) : linear.weight;
  const bias = parts.bias
    ? b.constant(linear.bias?.name ?? `${node.label}_bias`, Tensor.from(dtype, [parts.bias.length], parts.bias))
    : linear.bias;
  const attributes = Object.fromEntries(node.attributes);
  // Without a bias of its own the old beta meant nothing.
  if (node.opType === 'Gemm' && linear.bias === null) delete attributes.beta;
  const inputs = [parts.data ?? node.input(0), weight, ...(bias ? [bias] : [])];
  return b.op(node.opType, inputs, attributes, { name: node.name || root.name });
}

export const AFFINE_RULES: readonly Rule[] = [affineBehind, affineBefore];
