// Rounding as it will be, written in differentiable operators: y = (round(clip(x / s - offset, lo, hi)) + offset) * s. The rounding is a QuantizeLinear
// and DequantizeLinear pair of step 1, whose gradient is straight through (Bengio et al. 2013); that of the scale s then comes out as LSQ's (Esser et al. 2020).
// Scales are learnt as factors of what they start from, s = start * factor, so that one learning rate fits all layers; the product is the same float32
// number here, in the engine and in the exported file. Which values are rounded is decided elsewhere (annotate.ts).
import { shapeError } from '../errors.js';
import { Builder } from '../ir/builder.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { type AffineParameters, roundHalfEven } from './affine.js';
import type { WeightLevels } from './fake-quant-format.js';
import { forEachGroup, type Layout, layoutOf } from './layout.js';
import type { Granularity } from './scheme.js';
import { codesTensor } from './tensor.js';
import { firstReader } from './weights.js';

/** A weight that is rounded in the graph. */
export interface FakeWeight {
  /** Name of the float constant behind it. */
  readonly name: string;
  readonly dims: readonly number[];
  readonly granularity: Granularity;
  readonly levels: WeightLevels;
  /** Scales at the start, in the order of `layoutOf`. */
  readonly start: Float32Array;
  /** Name of the factors, as many as scales, all 1 at the start. */
  readonly factor: string;
  /** Name of the rounded value. */
  readonly output: string;
}

/** Activations of one scale. */
export interface FakeActivation {
  readonly parameters: AffineParameters;
  readonly factor: string;
  /** Largest factor; beyond it values would come out that a removed clamp used to cut. */
  readonly most: number;
}

/** Shape of the data in front of the division, and of the scales that it is divided by. */
export function broadcastDims(dims: readonly number[], granularity: Granularity): { data: readonly number[]; scales: readonly number[] } {
  if (granularity.kind === 'tensor') return { data: dims, scales: dims.map(() => 1) };
  const axis = granularity.axis < 0 ? granularity.axis + dims.length : granularity.axis;
  if (granularity.kind === 'channel') return { data: dims, scales: dims.map((d, i) => (i === axis ? d : 1)) };
  const { size } = granularity;
  const length = dims[axis]!;
  if (length % size !== 0) throw shapeError(`blocks of ${size}: expected an axis of a whole number of them, got ${length}`);
  return {
    data: dims.flatMap((d, i) => (i === axis ? [d / size, size] : [d])),
    scales: dims.flatMap((d, i) => (i === axis ? [d / size, 1] : [d])),
  };
}

/** Puts rounding between a constant and all who read it. `start` holds the scales (see `startScales`). */
export function insertFakeWeight(value: Value, granularity: Granularity, levels: WeightLevels, start: Float32Array): FakeWeight {
  const graph = value.graph;
  const { dims } = value.initializer!;
  const shape = broadcastDims(dims, granularity);
  const uses = [...value.uses];
  const b = new Builder(graph, { before: firstReader(graph, value), prefix: `${value.name}_fake_` });
  const factor = b.constant('factor', Tensor.of('float', shape.scales, new Float32Array(start.length).fill(1)));
  const scale = b.op('Mul', [b.constant('start', Tensor.of('float', shape.scales, start)), factor]);
  const blocks = shape.data !== dims;
  let x = blocks ? b.op('Reshape', [value, b.ints('blocks', shape.data)]) : value;
  x = b.op('Div', [x, scale]);
  if (levels.offset !== 0) x = b.op('Sub', [x, b.scalar('offset', 'float', levels.offset)]);
  x = b.op('Clip', [x, b.scalar('lo', 'float', levels.lo), b.scalar('hi', 'float', levels.hi)]);
  x = rounded(b, x);
  if (levels.offset !== 0) x = b.op('Add', [x, b.scalar('offset', 'float', levels.offset)]);
  x = b.op('Mul', [x, scale]);
  if (blocks) x = b.op('Reshape', [x, b.ints('dims', dims)]);
  for (const { node, index } of uses) node.setInput(index, x);
  return { name: value.name, dims, granularity, levels, start, factor: factor.name, output: x.name };
}

/** To the nearest whole number, halves to even. */
function rounded(b: Builder, x: Value): Value {
  const one = b.scalar('one', 'float', 1);
  const zero = b.scalar('zero', 'int8', 0);
  return b.op('DequantizeLinear', [b.op('QuantizeLinear', [x, one, zero]), one, zero]);
}

/** Scales and zero points as the graph computes them with this factor. */
export function scaledParameters(p: AffineParameters, factor: number): AffineParameters {
  return { ...p, scale: p.scale.map((s) => s * factor) };
}

/** Makes the operands of a Q/DQ pair whose scale is learnt; `pair` puts such a pair behind a value. */
export function learntScale(
  graph: Graph,
  name: string,
  p: AffineParameters,
  before: Node | null,
): { factor: string; scale: Value; zero: Value } {
  const b = new Builder(graph, { before, prefix: `${name}_fake_` });
  const factor = b.constant('factor', Tensor.of('float', [], Float32Array.of(1)));
  const scale = b.op('Mul', [b.constant('start', Tensor.of('float', [], p.scale.slice(0, 1))), factor]);
  return { factor: factor.name, scale, zero: b.constant('zero', codesTensor(p.dtype, [], [p.zeroPoint[0]!])) };
}

/** Codes c and scales of a weight as the graph rounds it, bit for bit. */
export function codesOfFake(fake: FakeWeight, weights: Float32Array, factors: Float32Array): { codes: Int8Array; scales: Float32Array } {
  const layout = layoutOf(fake.dims, fake.granularity);
  const scales = fake.start.map((s, i) => s * factors[i]!);
  const codes = new Int8Array(weights.length);
  roundInto(codes, weights, layout, fake.levels, scales);
  return { codes, scales };
}

/** What the codes stand for. */
export function valuesOfFake(fake: FakeWeight, codes: Int8Array, scales: Float32Array): Float32Array {
  const values = new Float32Array(codes.length);
  eachElement(layoutOf(fake.dims, fake.granularity), (i, s) => {
    values[i] = (codes[i]! + fake.levels.offset) * scales[s]!;
  });
  return values;
}

function roundInto(codes: Int8Array, weights: Float32Array, layout: Layout, { lo, hi, offset }: WeightLevels, scales: Float32Array): void {
  eachElement(layout, (i, s) => {
    const v = Math.fround(Math.fround(weights[i]! / scales[s]!) - offset);
    codes[i] = v < lo ? lo : v > hi ? hi : roundHalfEven(v);
  });
}

/** Calls `visit` with each element and the index of its scale. */
export function eachElement(layout: Layout, visit: (element: number, scale: number) => void): void {
  const { length, vector } = layout;
  forEachGroup(layout, (from, rows, s) => {
    if (vector) {
      for (let r = 0, i = from; r < rows; r++) for (let c = 0; c < length; c++, i++) visit(i, s + c);
    } else {
      for (let i = from, end = from + rows * length; i < end; i++) visit(i, s);
    }
  });
}

/** Where scales start: `minmax` spans the largest magnitude, `search` has the least squared error. */
export type ScaleStart = 'minmax' | 'search';

const STEPS = 28;
const LEAST = 1.1754943508222875e-38;

/**
 * One scale for each group of the layout. With `signed` a scale may be negative, which lets the longer side of the codes serve the longer side of the
 * weights; integer kernels take positive ones only.
 */
export function startScales(weights: Float32Array, layout: Layout, levels: WeightLevels, how: ScaleStart, signed: boolean): Float32Array {
  const largest = new Float64Array(layout.count);
  const total = new Float64Array(layout.count);
  const counts = new Float64Array(layout.count);
  eachElement(layout, (i, s) => {
    const m = Math.abs(weights[i]!);
    largest[s] = Math.max(largest[s]!, m);
    total[s]! += m;
    counts[s]!++;
  });
  const reach = levels.hi + levels.offset;
  const whole = Float32Array.from(largest, (m) => (m / reach >= LEAST ? m / reach : 1));
  if (how === 'minmax') return whole;
  const best = whole.slice();
  const least = new Float64Array(layout.count).fill(Number.POSITIVE_INFINITY);
  const codes = new Int8Array(weights.length);
  const trial = (scales: Float32Array): void => {
    roundInto(codes, weights, layout, levels, scales);
    const errors = new Float64Array(layout.count);
    eachElement(layout, (i, s) => {
      errors[s]! += (weights[i]! - (codes[i]! + levels.offset) * scales[s]!) ** 2;
    });
    for (let s = 0; s < errors.length; s++) {
      if (errors[s]! >= least[s]!) continue;
      least[s] = errors[s]!;
      best[s] = scales[s]!;
    }
  };
  // With few levels the best scale lies far below what the largest magnitude asks for: down to half the mean magnitude.
  for (let step = 0; step <= STEPS; step++) {
    const f = step / STEPS;
    const scales = whole.map((s, i) => {
      const mean = total[i]! / Math.max(1, counts[i]!);
      const bottom = Math.min(s, Math.max(LEAST, (0.5 * mean) / reach, s * 0.05));
      return s * (bottom / s) ** f;
    });
    trial(scales);
    if (signed && -levels.lo !== levels.hi && levels.offset === 0) trial(scales.map((s) => -s));
  }
  // Least squares on the codes that were found.
  roundInto(codes, weights, layout, levels, best);
  const [up, down] = [new Float64Array(layout.count), new Float64Array(layout.count)];
  eachElement(layout, (i, s) => {
    const c = codes[i]! + levels.offset;
    up[s]! += weights[i]! * c;
    down[s]! += c * c;
  });
  trial(best.map((s, i) => (down[i]! > 0 && Math.abs(up[i]! / down[i]!) >= LEAST ? up[i]! / down[i]! : s)));
  return best;
}
