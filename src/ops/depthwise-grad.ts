// Gradients of depthwise convolutions as products of matrices. Weights: dw[c,t] = sum over samples and positions of dy[n,c,p] x[n,c,s p + d t]. One product a channel has far more terms than
// the taps need, yet large products are what processors do best: a constant matrix of zeros and ones then sums those that belong to a tap.
// CPU milliseconds of one thread, ONNX Runtime 1.30, 32 samples, kernels 3x3:   96x32x32  48x32x32  96x32x32 /2  96x16x16  192x8x8  480x4x4  288x8x8 /2
//   maps against maps                                                             -         -          -           8.8       1.7      0.9       0.8
//   lines against lines                                                          25.3      12.2       10.4         3.8       2.1      2.3       2.1
//   exchanged axes (a convolution with dy as the weight)                         39.4      19.8       10.8        10.2       5.6      7.0       3.3

import type { Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { dimsOf, dtypeOf, type GradBuilder } from './grad-builder.js';
import { multiply } from './matmul-grad.js';
import type { StaticWindow } from './window-static.js';

/** Products of an output with an input position, for each channel, up to which whole maps are multiplied. */
const MAP_PAIRS = 64 * 64;
/** The same for lines of maps of two axes. */
const LINE_PAIRS = 64 * 64;

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

/** True where a convolution of these maps will run in the blocked layout, faster than any product: planar, in float, whole blocks of channels. */
export function runsBlocked(b: GradBuilder, x: Value): boolean {
  const dims = dimsOf(x);
  return b.channelBlock > 0 && dims.length === 4 && dims[1]! % b.channelBlock === 0 && dtypeOf(x) === 'float';
}

/** Gradient [C,1,...kernel] from x [N,C,...] and dy [N,C,...]; undefined where maps are too large for it to pay. */
export function depthwiseWeightGrad(b: GradBuilder, x: Value, dy: Value, w: StaticWindow): Value | undefined {
  const sizes = dimsOf(x).slice(2);
  const outputs = dimsOf(dy).slice(2);
  if (product(sizes) * product(outputs) <= MAP_PAIRS) return mapsAgainstMaps(b, x, dy, w);
  const planar = sizes.length === 2 && w.begins[0]! >= 0 && w.ends[0]! >= 0;
  return planar && sizes[1]! * outputs[1]! <= LINE_PAIRS ? linesAgainstLines(b, x, dy, w) : undefined;
}

/** Channels before samples. */
const byChannel = (b: GradBuilder, v: Value): Value =>
  b.transpose(v, [
    1,
    0,
    ...dimsOf(v)
      .slice(2)
      .map((_, i) => i + 2),
  ]);

/** [C, Q, P]: each output position times each input position, summed over samples. */
function mapsAgainstMaps(b: GradBuilder, x: Value, dy: Value, w: StaticWindow): Value {
  const [n = 1, channels = 1, ...sizes] = dimsOf(x);
  const outputs = dimsOf(dy).slice(2);
  const flat = (v: Value, positions: number) => byChannel(b, b.reshape(v, [n, channels, positions]));
  const pairs = multiply(b, flat(dy, product(outputs)), flat(x, product(sizes)), { transA: true });
  return b.reshape(sumTaps(b, pairs, outputs, sizes, w), [channels, 1, ...w.kernel]);
}

/** [C, OW, W] for each row of the kernel: each output column times each input column, summed over samples and rows. */
function linesAgainstLines(b: GradBuilder, x: Value, dy: Value, w: StaticWindow): Value {
  const [n = 1, channels = 1, , width = 1] = dimsOf(x);
  const [, , rows = 1, columns = 1] = dimsOf(dy);
  const [kh = 1, kw = 1] = w.kernel;
  const zeros = (count: number) => (count > 0 ? [b.full(x, [channels, n, count, width], 0)] : []);
  const padded = b.concat([...zeros(w.begins[0]!), byChannel(b, x), ...zeros(w.ends[0]!)], 2);
  const lines = b.reshape(byChannel(b, dy), [channels, n * rows, columns]);
  const line = { ...w, kernel: [kw], strides: [w.strides[1]!], dilations: [w.dilations[1]!], begins: [w.begins[1]!] };
  const parts = Array.from({ length: kh }, (_, i) => {
    const start = i * w.dilations[0]!;
    const seen = b.slice(padded, [2], [start], [start + (rows - 1) * w.strides[0]! + 1], [w.strides[0]!]);
    const pairs = multiply(b, lines, b.reshape(seen, [channels, n * rows, width]), { transA: true });
    return b.reshape(sumTaps(b, pairs, [columns], [width], line), [channels, 1, 1, kw]);
  });
  return b.concat(parts, 2);
}

/**
 * Gradient of the input [N,C,...sizes] of a depthwise convolution with small maps: the taps laid out as a matrix [Q, P] for each channel, so that all
 * samples are one product; undefined for larger maps. CPU milliseconds of one thread beside the convolution with the flipped weight, 32 samples:
 * 480x4x4 1.0 and 3.9, 192x8x8 1.9 and 2.5, 288x8x8 2.7 and 4.9.
 */
export function depthwiseInputGrad(b: GradBuilder, dims: readonly number[], weight: Value, dy: Value, w: StaticWindow): Value | undefined {
  const [n = 1, channels = 1, ...sizes] = dims;
  const outputs = dimsOf(dy).slice(2);
  const [q, p, taps] = [product(outputs), product(sizes), product(w.kernel)];
  // The matrices must cost less than the samples that share them.
  if (q * p > MAP_PAIRS || n < taps) return undefined;
  const selection = b.constant('taps', Tensor.from(dtypeOf(dy), [q * p, taps], tapSelection(outputs, sizes, w)));
  const matrices = multiply(b, b.reshape(weight, [channels, taps]), selection, { transB: true });
  const maps = b.op('MatMul', [byChannel(b, b.reshape(dy, [n, channels, q])), b.reshape(matrices, [channels, q, p])]);
  return b.reshape(b.transpose(maps, [1, 0, 2]), dims);
}

/** [C, taps] from pairs [C, Q, P]. */
function sumTaps(
  b: GradBuilder,
  pairs: Value,
  outputs: readonly number[],
  sizes: readonly number[],
  w: Pick<StaticWindow, 'kernel' | 'strides' | 'dilations' | 'begins'>,
): Value {
  const [q, p] = [product(outputs), product(sizes)];
  const selection = b.constant('taps', Tensor.from(dtypeOf(pairs), [q * p, product(w.kernel)], tapSelection(outputs, sizes, w)));
  return b.op('MatMul', [b.reshape(pairs, [dimsOf(pairs)[0]!, q * p]), selection]);
}

/** 1 where output position q reads input position p through tap t, at (q P + p) T + t; positions and taps row-major. */
function tapSelection(
  outputs: readonly number[],
  sizes: readonly number[],
  w: Pick<StaticWindow, 'kernel' | 'strides' | 'dilations' | 'begins'>,
): Float32Array {
  const [p, taps] = [product(sizes), product(w.kernel)];
  const selection = new Float32Array(product(outputs) * p * taps);
  const visit = (axis: number, output: number, input: number, tap: number): void => {
    if (axis === sizes.length) {
      selection[(output * p + input) * taps + tap] = 1;
      return;
    }
    for (let o = 0; o < outputs[axis]!; o++) {
      for (let t = 0; t < w.kernel[axis]!; t++) {
        const at = o * w.strides[axis]! + t * w.dilations[axis]! - w.begins[axis]!;
        if (at < 0 || at >= sizes[axis]!) continue;
        visit(axis + 1, output * outputs[axis]! + o, input * sizes[axis]! + at, tap * w.kernel[axis]! + t);
      }
    }
  };
  visit(0, 0, 0, 0);
  return selection;
}
