// Linear layers as matrix products, and what rounding their weights needs to know of their data, computed in the graph: H = X^T X, the sum of X's
// rows, and with a target C = X^T T. MatMul and Gemm take their data as rows; a convolution takes patches, cut out by a convolution with one-hot
// kernels (so that pads, strides and dilations are the node's own), group by group. Only [k, k] and [k, n] matrices leave the engine.
import { Builder } from '../ir/builder.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { productOf } from './constant-weight.js';

/** A MatMul, Gemm or Conv with a constant weight. Names are those of values of the main graph. */
export interface LinearLayer {
  readonly label: string;
  readonly data: string;
  readonly output: string;
  readonly weight: string;
  readonly kind: 'product' | 'conv';
  /** Weights per output and outputs per group. */
  readonly k: number;
  readonly n: number;
  readonly groups: number;
  /** True where the constant is [n, k] (always so for convolutions). */
  readonly transposed: boolean;
  /** Output = alpha * product + bias. */
  readonly alpha: number;
  /** Constant added to the output that nobody else reads; null where there is none. */
  readonly bias: string | null;
  /** The output, or the sum with bias and residual stream that it only goes into: where its error is measured. */
  readonly target: string;
}

/** Reads a node as a linear layer; a text says why it is none, undefined that it has no constant weight. */
export function linearLayerOf(node: Node): LinearLayer | string | undefined {
  if (node.domain !== '') return undefined;
  if (node.opType === 'Conv') return convLayer(node);
  const p = productOf(node);
  if (typeof p !== 'object') return p;
  const own = p.bias && isOwnBias(p.bias, p.n) ? p.bias.name : null;
  const { target, bias } = followSums(node, p.n, p.bias !== null);
  return {
    label: node.label,
    data: p.data.name,
    output: node.output().name,
    weight: p.weight.value.name,
    kind: 'product',
    k: p.k,
    n: p.n,
    groups: 1,
    transposed: p.transposed,
    alpha: p.alpha,
    bias: own ?? bias,
    target,
  };
}

function convLayer(node: Node): LinearLayer | string | undefined {
  const data = node.input(0);
  const weight = node.input(1);
  if (!data || !weight?.isConstant || weight.initializer?.dtype !== 'float') return undefined;
  const { dims } = weight.initializer;
  if (weight.initializer.size === 0 || dims.length < 3) return 'its weight is empty';
  const groups = node.int('group', 1);
  const outputs = dims[0]!;
  const bias = node.input(2);
  const { target } = followSums(node, outputs, true);
  return {
    label: node.label,
    data: data.name,
    output: node.output().name,
    weight: weight.name,
    kind: 'conv',
    k: weight.initializer.size / outputs,
    n: outputs / groups,
    groups,
    transposed: true,
    alpha: 1,
    bias: bias && isOwnBias(bias, outputs) ? bias.name : null,
    target,
  };
}

function isOwnBias(value: Value, n: number): boolean {
  return value.isConstant && value.initializer?.dtype === 'float' && value.initializer.size === n && value.readerCount === 1;
}

/** Goes on through additions that are the only reader: a constant bias, then the residual stream. */
function followSums(node: Node, n: number, hasBias: boolean): { target: string; bias: string | null } {
  let at = node.output();
  let bias: string | null = null;
  for (;;) {
    const use = at.uses[0];
    if (!use || at.readerCount !== 1 || use.node.opType !== 'Add' || use.node.domain !== '' || use.node.graph !== node.graph) break;
    const other = use.node.input(1 - use.index);
    const sum = use.node.output();
    if (!other || !sameShape(at, sum)) break;
    if (other.isConstant) {
      if (node.opType !== 'Conv' && !hasBias && bias === null && isOwnBias(other, n) && other.initializer!.dims.at(-1) === n)
        bias = other.name;
      at = sum;
      continue;
    }
    if (sameShape(other, sum)) at = sum;
    break;
  }
  return { target: at.name, bias };
}

function sameShape(a: Value, b: Value): boolean {
  const x = tensorTypeOf(a)?.shape;
  const y = tensorTypeOf(b)?.shape;
  return x != null && y != null && x.length === y.length && x.every((d, i) => d !== null && d === y[i]);
}

/** How a layer's constant is laid out. */
export type MatrixLayout = Pick<LinearLayer, 'k' | 'n' | 'groups' | 'transposed'>;

/** Weights as [k, n] for each group. */
export function layerMatrices(layer: MatrixLayout, weights: Float32Array): Float32Array[] {
  const { k, n, groups, transposed } = layer;
  return Array.from({ length: groups }, (_, g) => {
    const part = weights.subarray(g * k * n, (g + 1) * k * n);
    return transposed ? transposeMatrix(part, n, k) : part.slice();
  });
}

/** The reverse of `layerMatrices`. */
export function layerWeights(layer: MatrixLayout, matrices: readonly Float32Array[]): Float32Array {
  const { k, n, groups, transposed } = layer;
  const out = new Float32Array(groups * k * n);
  matrices.forEach((m, g) => {
    out.set(transposed ? transposeMatrix(m, k, n) : m, g * k * n);
  });
  return out;
}

function transposeMatrix(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!;
  return out;
}

/** Sums over all rows of data seen, per group of the layer. */
export class LayerStatistics {
  readonly k: number;
  readonly groups: number;
  rows = 0;
  /** X^T X, [k, k] per group. */
  readonly gram: Float64Array[];
  /** Sum of the rows of X. */
  readonly sum: Float64Array[];

  constructor(k: number, groups: number) {
    this.k = k;
    this.groups = groups;
    this.gram = Array.from({ length: groups }, () => new Float64Array(k * k));
    this.sum = Array.from({ length: groups }, () => new Float64Array(k));
  }

  /** Adds one batch: outputs of `dataProbe`. */
  add(rows: Tensor, gram: Tensor, sum: Tensor): void {
    this.rows += Number(rows.numbers()[0] ?? 0);
    addTo(this.gram, gram.floats());
    addTo(this.sum, sum.floats());
  }

  /** The same about the mean: what a layer with a free bias has to get right. */
  centredGram(group: number): Float64Array {
    const { k } = this;
    const out = this.gram[group]!.slice();
    const sum = this.sum[group]!;
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) out[i * k + j]! -= (sum[i]! * sum[j]!) / this.rows;
    return out;
  }
}

/** X^T T and the sum of the rows of T, per group. */
export class TargetStatistics {
  readonly cross: Float64Array[];
  readonly sum: Float64Array[];

  constructor({ k, n, groups }: Pick<LinearLayer, 'k' | 'n' | 'groups'>) {
    this.cross = Array.from({ length: groups }, () => new Float64Array(k * n));
    this.sum = Array.from({ length: groups }, () => new Float64Array(n));
  }

  add(cross: Tensor, sum: Tensor): void {
    addTo(this.cross, cross.floats());
    addTo(this.sum, sum.floats());
  }

  centredCross(group: number, statistics: LayerStatistics): Float64Array {
    const out = this.cross[group]!.slice();
    const { k, rows } = statistics;
    const t = this.sum[group]!;
    const x = statistics.sum[group]!;
    for (let i = 0; i < k; i++) for (let c = 0; c < t.length; c++) out[i * t.length + c]! -= (x[i]! * t[c]!) / rows;
    return out;
  }
}

function addTo(parts: readonly Float64Array[], values: Float32Array): void {
  let at = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) part[i]! += values[at + i]!;
    at += part.length;
  }
}

/** Adds to `graph` what measures a layer's data; outputs in the order that `LayerStatistics.add` takes them, and the rows themselves. */
export function dataProbe(graph: Graph, layer: LinearLayer, node: Node, data: Value): { outputs: [Value, Value, Value]; rows: Value } {
  const b = new Builder(graph, { prefix: `${layer.output}_` });
  const rows = layer.kind === 'conv' ? patches(b, layer, node, data) : b.op('Reshape', [data, b.ints('rows', [1, -1, layer.k])]);
  const gram = b.op('MatMul', [b.op('Transpose', [rows], { perm: [0, 2, 1] }), rows]);
  const sum = b.op('ReduceSum', [rows, b.ints('axis', [1])], { keepdims: 0 });
  const shape = b.op('Shape', [rows]);
  const count = b.op('Gather', [shape, b.scalar('one', 'int64', 1)], { axis: 0 });
  return { outputs: [count, gram, sum], rows };
}

/** Adds what measures the difference of two values (of the layer's output shape) against the layer's rows. */
export function targetProbe(graph: Graph, layer: LinearLayer, rows: Value, wanted: Value, actual: Value): [Value, Value] {
  const b = new Builder(graph, { prefix: `${layer.output}_target_` });
  let missing = b.op('Sub', [wanted, actual]);
  if (layer.kind === 'conv') {
    missing = b.op('Reshape', [missing, b.ints('groups', [0, layer.groups, layer.n, -1])]);
    missing = b.op('Transpose', [missing], { perm: [1, 0, 3, 2] });
  }
  missing = b.op('Reshape', [missing, b.ints('rows', [layer.groups, -1, layer.n])]);
  const cross = b.op('MatMul', [b.op('Transpose', [rows], { perm: [0, 2, 1] }), missing]);
  return [cross, b.op('ReduceSum', [missing, b.ints('axis', [1])], { keepdims: 0 })];
}

/** Patches of a convolution's data as [groups, rows, k], in the order of the weight's elements. */
function patches(b: Builder, layer: LinearLayer, node: Node, data: Value): Value {
  const weight = node.input(1)!.initializer!;
  const window = weight.dims.slice(2);
  const taps = window.reduce((p, d) => p * d, 1);
  const channels = weight.dims[1]! * layer.groups;
  const kernels = new Float32Array(channels * taps * taps);
  for (let c = 0; c < channels; c++) for (let t = 0; t < taps; t++) kernels[(c * taps + t) * taps + t] = 1;
  const attributes = new Map([...node.attributes].filter(([name]) => ['auto_pad', 'dilations', 'pads', 'strides'].includes(name)));
  const cut = b.op('Conv', [data, b.floats('one_hot', [channels * taps, 1, ...window], kernels)], {
    ...Object.fromEntries(attributes),
    group: channels,
    kernel_shape: [...window],
  });
  const split = b.op('Reshape', [cut, b.ints('split', [0, layer.groups, layer.k, -1])]);
  const ordered = b.op('Transpose', [split], { perm: [1, 0, 3, 2] });
  return b.op('Reshape', [ordered, b.constant('flat', Tensor.from('int64', [3], [layer.groups, -1, layer.k]))]);
}
