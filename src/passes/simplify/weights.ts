// Per-channel arithmetic on the weights of linear operators: where the channels of inputs and outputs lie in a weight,
// scaling it along them, and what a shift of the input adds to the bias. Computed in double precision, rounded once.
import type { Node, Value } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import { constantOf, dtypeOf } from './facts.js';

/** A weight seen as [rows, cols, inner], with the output and input channel of each (row, column). */
export interface WeightLayout {
  readonly rows: number;
  readonly cols: number;
  readonly inner: number;
  readonly outputs: number;
  readonly inputs: number;
  out(row: number, col: number): number;
  in(row: number, col: number): number;
}

/** A linear operator with constant weight. */
export interface LinearNode {
  readonly node: Node;
  readonly weight: Value;
  readonly bias: Value | null;
  readonly layout: WeightLayout;
  /** Axis of the output that counts its channels, from the front (`1`) or the back (`-1`). */
  readonly channelAxis: 1 | -1;
}

export const LINEAR_OPS: readonly string[] = ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'];

const FLOATS: ReadonlySet<string> = new Set(['float', 'double', 'float16', 'bfloat16']);

/** The linear operator at a node, a reason why its weights cannot be touched, or undefined where it is no linear operator. */
export function linearAt(node: Node | null | undefined): LinearNode | string | undefined {
  if (node?.domain !== '' || !LINEAR_OPS.includes(node.opType)) return undefined;
  const weight = node.input(1);
  const tensor = constantOf(weight);
  if (!weight || !tensor) return `the weight of ${node.label} is not constant`;
  if (!FLOATS.has(tensor.dtype)) return `the weight of ${node.label} is ${tensor.dtype}`;
  if (weight.readerCount > 1) return `weight "${weight.name}" has another user`;
  const layout = layoutOf(node, tensor.dims);
  if (layout === undefined) return `the weight of ${node.label} has ${tensor.rank} dimensions`;
  const bias = node.opType === 'MatMul' ? null : node.input(2);
  if (bias && !constantOf(bias)) return `the bias of ${node.label} is not constant`;
  return { node, weight, bias, layout, channelAxis: node.opType.startsWith('Conv') ? 1 : -1 };
}

function layoutOf(node: Node, dims: readonly number[]): WeightLayout | undefined {
  const [rows, cols] = [dims[0], dims[1]];
  if (rows === undefined || cols === undefined) return undefined;
  const inner = dims.slice(2).reduce((n, d) => n * d, 1);
  const group = node.int('group', 1);
  switch (node.opType) {
    case 'Conv': {
      const perGroup = rows / group;
      return { rows, cols, inner, outputs: rows, inputs: cols * group, out: (r) => r, in: (r, c) => Math.floor(r / perGroup) * cols + c };
    }
    case 'ConvTranspose': {
      const perGroup = rows / group;
      return { rows, cols, inner, outputs: cols * group, inputs: rows, out: (r, c) => Math.floor(r / perGroup) * cols + c, in: (r) => r };
    }
    case 'Gemm':
      if (dims.length !== 2) return undefined;
      return node.int('transB', 0) === 1
        ? { rows, cols, inner, outputs: rows, inputs: cols, out: (r) => r, in: (_, c) => c }
        : { rows, cols, inner, outputs: cols, inputs: rows, out: (_, c) => c, in: (r) => r };
    default:
      if (dims.length !== 2) return undefined;
      return { rows, cols, inner, outputs: cols, inputs: rows, out: (_, c) => c, in: (r) => r };
  }
}

/** The weight with each element multiplied by the factor of its output or input channel. */
export function scaleWeight(weight: Tensor, layout: WeightLayout, factors: ArrayLike<number>, side: 'out' | 'in'): Tensor {
  const source = weight.numbers();
  const result = new Float64Array(source.length);
  for (let r = 0, at = 0; r < layout.rows; r++) {
    for (let c = 0; c < layout.cols; c++) {
      const factor = factors[side === 'out' ? layout.out(r, c) : layout.in(r, c)]!;
      for (let i = 0; i < layout.inner; i++, at++) result[at] = source[at]! * factor;
    }
  }
  return Tensor.from(weight.dtype, weight.dims, result);
}

/** What a constant shift of each input channel adds to each output channel: sum over inputs and kernel of weight * shift. */
export function shiftThroughWeight(weight: Tensor, layout: WeightLayout, shift: ArrayLike<number>): Float64Array {
  const source = weight.numbers();
  const result = new Float64Array(layout.outputs);
  for (let r = 0, at = 0; r < layout.rows; r++) {
    for (let c = 0; c < layout.cols; c++) {
      let sum = 0;
      for (let i = 0; i < layout.inner; i++, at++) sum += source[at]!;
      result[layout.out(r, c)]! += sum * shift[layout.in(r, c)]!;
    }
  }
  return result;
}

/** y = scale * x + shift, by channel. */
export interface Affine {
  readonly data: Value;
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

export const AFFINE_OPS: readonly string[] = ['BatchNormalization', 'Mul', 'Div', 'Add', 'Sub'];

/**
 * The per-channel affine function a node computes of its (only not constant) input, for `channels` channels on `axis` of a tensor
 * of `rank` dimensions. A string says why it is none; undefined where it does not concern constants at all.
 */
export function affineAt(node: Node, channels: number, axis: 1 | -1, rank: number): Affine | string | undefined {
  if (node.domain !== '') return undefined;
  if (node.opType === 'BatchNormalization') return batchNormAt(node, channels, axis, rank);
  const [left, right] = [node.input(0), node.input(1)];
  if (!left || !right || !AFFINE_OPS.includes(node.opType)) return undefined;
  const constantRight = constantOf(right);
  const tensor = constantRight ?? constantOf(left);
  if (!tensor || !FLOATS.has(tensor.dtype)) return undefined;
  const data = constantRight ? left : right;
  if (constantOf(data)) return undefined;
  const values = perChannel(tensor, channels, axis, rank);
  if (values === undefined) return `the constant [${tensor.dims.join(',')}] is not one value for each of ${channels} channels`;
  const ones = () => new Float64Array(channels).fill(1);
  const zeros = () => new Float64Array(channels);
  switch (node.opType) {
    case 'Mul':
      return { data, scale: values, shift: zeros() };
    case 'Add':
      return { data, scale: ones(), shift: values };
    case 'Sub':
      return constantRight ? { data, scale: ones(), shift: values.map((v) => -v) } : { data, scale: ones().map((v) => -v), shift: values };
    default:
      return constantRight ? { data, scale: values.map((v) => 1 / v), shift: zeros() } : undefined;
  }
}

function batchNormAt(node: Node, channels: number, axis: 1 | -1, rank: number): Affine | string | undefined {
  const data = node.input(0);
  if (!data || (axis === -1 && rank !== 2)) return undefined;
  if (node.int('training_mode', 0) !== 0) return 'it is in training mode';
  if (node.int('spatial', 1) === 0) return 'it normalizes each position by itself (spatial = 0)';
  if (node.outputs.some((o, i) => i > 0 && o !== null && o.readerCount > 0)) return 'its statistics are read';
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map((i) => constantOf(node.input(i)));
  if (!scale || !bias || !mean || !variance) return 'its parameters are not constant';
  if ([scale, bias, mean, variance].some((t) => t.size !== channels)) return `its parameters are not those of ${channels} channels`;
  const epsilon = node.float('epsilon', 1e-5);
  const [s, b, m, v] = [scale.numbers(), bias.numbers(), mean.numbers(), variance.numbers()];
  const factor = Float64Array.from({ length: channels }, (_, i) => s[i]! / Math.sqrt(v[i]! + epsilon));
  return { data, scale: factor, shift: factor.map((f, i) => b[i]! - m[i]! * f) };
}

/** Values of a constant that broadcasts along the channel axis alone, one for each channel. */
function perChannel(tensor: Tensor, channels: number, axis: 1 | -1, rank: number): Float64Array | undefined {
  if (tensor.rank > rank || (tensor.size !== 1 && tensor.size !== channels)) return undefined;
  const fromBack = axis === 1 ? rank - 2 : 0;
  const place = tensor.rank - 1 - fromBack;
  if (!tensor.dims.every((d, i) => d === 1 || (i === place && d === channels))) return undefined;
  const values = tensor.numbers();
  return Float64Array.from({ length: channels }, (_, i) => values[tensor.size === 1 ? 0 : i]!);
}

/** Bias of a linear operator by output channel (zeros where it has none), or undefined where it is not one value a channel. */
export function biasOf(linear: LinearNode): Float64Array | undefined {
  const channels = linear.layout.outputs;
  const tensor = constantOf(linear.bias);
  if (!tensor) return new Float64Array(channels);
  if (tensor.dims.slice(0, -1).some((d) => d !== 1)) return undefined;
  const values = tensor.numbers();
  if (tensor.size !== 1 && tensor.size !== channels) return undefined;
  return Float64Array.from({ length: channels }, (_, i) => values[tensor.size === 1 ? 0 : i]!);
}

/** True where every number survives rounding to the weight's type as a finite one. */
export function allFinite(values: ArrayLike<number>, weight: Value): boolean {
  const limit = dtypeOf(weight) === 'float16' ? 65504 : 3.4e38;
  for (let i = 0; i < values.length; i++) if (!(Math.abs(values[i]!) <= limit)) return false;
  return true;
}
