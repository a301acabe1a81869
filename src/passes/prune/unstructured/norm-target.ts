// Where the error of a convolution is measured when a BatchNormalization stands between it and a residual sum: behind both, divided by the scale of the
// normalization, so that the convolution makes good what the residual stream has lost.
import { Builder } from '../../../ir/builder.js';
import type { Graph, Node, Value } from '../../../ir/graph.js';
import { tensorTypeOf } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import type { LinearLayer } from '../../../quant/layer-probe.js';

export interface NormTarget {
  /** Name of the value behind the normalization, or behind the residual sum after it. */
  readonly target: string;
  /** What the normalization multiplies each channel by. */
  readonly scale: Float32Array;
}

/** Channels whose scale is below this part of the largest would have their errors blown up. */
const SMALLEST = 1e-3;

/** The place behind the normalization that alone reads the layer's output; undefined where there is none, or it nearly switches channels off. */
export function normTarget(node: Node, layer: LinearLayer): NormTarget | undefined {
  const output = node.output();
  const norm = output.uses[0]?.node;
  if (layer.kind !== 'conv' || layer.target !== layer.output || output.readerCount !== 1) return undefined;
  if (norm?.opType !== 'BatchNormalization' || norm.domain !== '' || norm.graph !== node.graph) return undefined;
  const gamma = norm.input(1)?.initializer;
  const variance = norm.input(4)?.initializer;
  if (gamma?.dtype !== 'float' || variance?.dtype !== 'float') return undefined;
  const epsilon = norm.float('epsilon', 1e-5);
  const [g, v] = [gamma.floats(), variance.floats()];
  const scale = Float32Array.from(g, (x, i) => x / Math.sqrt(v[i]! + epsilon));
  const largest = scale.reduce((a, s) => Math.max(a, Math.abs(s)), 0);
  if (!(largest > 0) || scale.some((s) => Math.abs(s) < SMALLEST * largest)) return undefined;
  return { target: behindSum(norm.output()).name, scale };
}

function behindSum(value: Value): Value {
  const add = value.uses[0]?.node;
  if (value.readerCount !== 1 || add?.opType !== 'Add' || add.domain !== '' || add.graph !== value.graph) return value;
  const other = add.inputs.find((v) => v !== value);
  const sum = add.output();
  return other && !other.isConstant && sameShape(value, sum) && sameShape(other, sum) ? sum : value;
}

function sameShape(a: Value, b: Value): boolean {
  const [x, y] = [tensorTypeOf(a)?.shape, tensorTypeOf(b)?.shape];
  return x != null && y != null && x.length === y.length && x.every((d, i) => d !== null && d === y[i]);
}

/** The value in units of the convolution's own output, in a probe's graph. */
export function unscaled(graph: Graph, value: Value, { scale }: NormTarget, rank: number): Value {
  const b = new Builder(graph, { prefix: `${value.name}_unscaled_` });
  const dims = [1, scale.length, ...new Array<number>(rank - 2).fill(1)];
  return b.op('Div', [value, b.constant('scale', Tensor.of('float', dims, scale))]);
}
