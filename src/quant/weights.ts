// Weights and biases of integer nodes as constants behind DequantizeLinear. A weight read by several nodes is quantized once, and all readers share it.
import type { Graph, Node, Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { type AffineParameters, affineParameters, packCodes, quantize, rangesOf, roundHalfEven } from './affine.js';
import type { ComputeAnnotation } from './annotate.js';
import { layoutOf } from './layout.js';
import { type Granularity, PER_TENSOR, type Scheme } from './scheme.js';
import { codesTensor } from './tensor.js';
import { leastSquaresWeightRanges } from './weight-clipping.js';

/** Largest code of a 32-bit bias, with room for the products that are added to it. */
const MAX_BIAS_CODE = 2 ** 30;

export interface WeightPlan {
  readonly value: Value;
  readonly granularity: Granularity;
  readonly readers: readonly ComputeAnnotation[];
  /** True where readers want different channel axes, so that one scale serves the whole tensor. */
  readonly conflict: boolean;
}

/** One plan per weight. */
export function planWeights(compute: readonly ComputeAnnotation[], perChannel: boolean): WeightPlan[] {
  const readers = new Map<Value, ComputeAnnotation[]>();
  for (const c of compute) {
    if (!c.weight) continue;
    const list = readers.get(c.weight.value);
    if (list) list.push(c);
    else readers.set(c.weight.value, [c]);
  }
  return [...readers].map(([value, list]) => {
    const axes = new Set(list.map((c) => c.weight!.channelAxis));
    const axis = [...axes][0] ?? null;
    const conflict = perChannel && axes.size > 1;
    const granularity: Granularity = perChannel && axis !== null && !conflict ? { kind: 'channel', axis } : PER_TENSOR;
    return { value, granularity, readers: list, conflict };
  });
}

export interface WeightCodes {
  readonly data: Tensor;
  readonly scale: Tensor;
  readonly zeroPoint: Tensor;
  readonly parameters: AffineParameters;
  readonly axis: number | undefined;
}

/** Codes that were decided elsewhere, int4 or int8, with the scale of each output channel, or one where the plan has one. */
export interface GivenWeight {
  readonly codes: Tensor;
  readonly scale: Float32Array;
}

/** A weight whose codes are given. */
export function givenWeight(plan: WeightPlan, { codes, scale }: GivenWeight): WeightCodes {
  const zeroPoint = new Int32Array(scale.length);
  const dims = plan.granularity.kind === 'channel' ? [scale.length] : [];
  const dtype = codes.dtype === 'int8' ? 'int8' : 'int4';
  return {
    data: codes,
    scale: Tensor.of('float', dims, scale),
    zeroPoint: codesTensor(dtype, dims, zeroPoint),
    parameters: { dtype, scale, zeroPoint, codes: dtype === 'int8' ? { min: -128, max: 127 } : { min: -8, max: 7 } },
    axis: plan.granularity.kind === 'channel' ? plan.granularity.axis : undefined,
  };
}

/**
 * Quantizes a weight. `dataScale` answers the scale of a reader's data: scales are raised where a bias would not fit 32 bits otherwise. With `clip` the
 * range of each group is the one with the least squared error of its weights.
 */
export function quantizeWeight(
  plan: WeightPlan,
  scheme: Omit<Scheme, 'granularity'>,
  dataScale: (c: ComputeAnnotation) => number,
  clip = false,
): WeightCodes {
  const tensor = plan.value.initializer!;
  const floats = tensor.floats();
  const layout = layoutOf(tensor.dims, plan.granularity);
  const ranges = clip ? leastSquaresWeightRanges(floats, layout, scheme) : rangesOf(floats, layout);
  const parameters = affineParameters(ranges, scheme);
  for (const reader of plan.readers) {
    if (reader.bias && reader.integer) raiseForBias(parameters, ranges.min, ranges.max, reader.bias.value.initializer!, dataScale(reader));
  }
  const codes = quantize(floats, layout, parameters);
  return {
    data: new Tensor(scheme.dtype, tensor.dims, packCodes(codes, scheme.dtype)),
    scale: Tensor.of('float', layout.scaleDims, parameters.scale),
    zeroPoint: codesTensor(scheme.dtype, layout.scaleDims, parameters.zeroPoint),
    parameters,
    axis: plan.granularity.kind === 'channel' ? plan.granularity.axis : undefined,
  };
}

/** Channels of (nearly) zero weights have scales so small that the bias overflows its 32-bit code: give them a larger one. */
function raiseForBias(parameters: AffineParameters, min: Float32Array, max: Float32Array, bias: Tensor, dataScale: number): void {
  const values = bias.floats();
  const { scale } = parameters;
  for (let c = 0; c < values.length; c++) {
    const at = scale.length === 1 ? 0 : values.length === 1 ? -1 : c;
    if (at < 0 || at >= scale.length) continue;
    const least = Math.fround(Math.abs(values[c]!) / (dataScale * MAX_BIAS_CODE));
    const empty = min[at] === 0 && max[at] === 0;
    // A channel of zeros got scale 1, which would round its bias coarsely.
    if (scale[at]! < least || (empty && least > 0 && scale.length > 1)) scale[at] = least;
  }
}

/** The bias as int32 codes in steps of data scale times weight scale, which is what the accumulators count in. */
export function quantizeBias(
  bias: Tensor,
  channels: number,
  dataScale: number,
  weightScale: Float32Array,
): { data: Tensor; scale: Tensor } {
  const values = bias.floats();
  const perChannel = weightScale.length > 1;
  const scale = new Float32Array(perChannel ? channels : 1);
  for (let c = 0; c < scale.length; c++) scale[c] = dataScale * weightScale[c]!;
  const codes = new Int32Array(channels);
  for (let c = 0; c < channels; c++) {
    const step = scale[perChannel ? c : 0]!;
    const code = roundHalfEven((values.length === 1 ? values[0]! : values[c]!) / step);
    codes[c] = Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, code));
  }
  return { data: Tensor.of('int32', [channels], codes), scale: Tensor.of('float', perChannel ? [channels] : [], scale) };
}

/** Number of output channels of a node. */
export function channelsOf(c: ComputeAnnotation): number {
  const weight = c.weight!;
  return weight.value.initializer!.dims.at(weight.channelAxis ?? 0)!;
}

/** Largest over median magnitude of the channels along an axis: how much a single scale for the tensor loses. */
export function channelSpread(tensor: Tensor, axis: number): number {
  const { min, max } = rangesOf(tensor.floats(), layoutOf(tensor.dims, { kind: 'channel', axis }));
  const sizes = Array.from(min, (lo, i) => Math.max(-lo, max[i]!)).sort((a, b) => a - b);
  const median = sizes[sizes.length >> 1] ?? 0;
  return median > 0 ? sizes.at(-1)! / median : 1;
}

/** First node of `graph` that reads the value, directly or from one of its subgraphs; null where none does. */
export function firstReader(graph: Graph, value: Value): Node | null {
  const readers = new Set<Node>();
  for (const { node } of value.uses) {
    const holder = holderIn(graph, node);
    if (holder) readers.add(holder);
  }
  return graph.nodes.find((n) => readers.has(n)) ?? null;
}

/** The node of `graph` that is `node` or holds the subgraph `node` is in. */
function holderIn(graph: Graph, node: Node): Node | null {
  if (node.graph === graph) return node;
  for (const candidate of graph.nodes) {
    for (const sub of candidate.subgraphs()) if (holderIn(sub, node)) return candidate;
  }
  return null;
}
