// Gradient of a convolution's weight: dw[o,c,t] = sum over samples and positions of dy[n,o,p] x[n,c,p+t]. Four forms of one sum; `weightGrad` chooses by shape.
// CPU milliseconds of one thread with the forward pass (the same in both), ONNX Runtime 1.30, 64 samples, kernels 3x3:
//                          3->16x32x32  16x32x32  32x16x16  64x8x8  16->32x32x32 /2  32->64x16x16 /2
//   one product a tap          7.8        15.9      11.5     15.3       16.3            10.4
//   rows against columns       5.9        16.8      13.5      -         18.6            14.8
// A step of LeNet-5 (1->6 and 6->16 channels, 5x5): 16.1 with one product a tap, 12.1 with rows against columns. Depthwise weights: depthwise-grad.ts.

import type { Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';
import { depthwiseWeightGrad, runsBlocked } from './depthwise-grad.js';
import { dimsOf, dtypeOf, type GradBuilder } from './grad-builder.js';
import { multiply } from './matmul-grad.js';
import { type StaticWindow, windowTaps } from './window-static.js';

/** Output positions per sample below which samples are laid side by side into one large product. */
const FEW_POSITIONS = 32;
/** Channels of a group, on the narrower side, up to which rows against columns pays: products a tap are too small there. */
const NARROW = 8;

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

/** Gradient of the weight [O, C/group, ...kernel] of a convolution of x [N,C,...] whose output has the gradient dy [N,O,...]. */
export function weightGrad(b: GradBuilder, x: Value, dy: Value, w: StaticWindow, group: number): Value {
  const [, channels = 1] = dimsOf(x);
  const [, out = 1, ...outputs] = dimsOf(dy);
  const [perGroup, outPerGroup] = [channels / group, out / group];
  const framed = canFrame(w, outputs);
  if (perGroup === 1 && outPerGroup === 1 && group > 1) {
    if (runsBlocked(b, x) && [...w.begins, ...w.ends].every((p) => p >= 0)) return exchangedAxes(b, x, dy, w);
    return depthwiseWeightGrad(b, x, dy, w) ?? (framed ? rowsAgainstColumns(b, x, dy, w, group) : exchangedAxes(b, x, dy, w));
  }
  const narrow = Math.min(perGroup, outPerGroup) <= NARROW;
  if (framed && narrow) return rowsAgainstColumns(b, x, dy, w, group);
  return productPerTap(b, x, dy, w, group);
}

// ---- rows against columns ----

/** Maps of one or two axes and more than one tap; strides equal on both axes, and none together with dilations. */
function canFrame(w: StaticWindow, outputs: readonly number[]): boolean {
  const strided = w.strides.some((s) => s > 1);
  return (
    (outputs.length === 1 || outputs.length === 2) &&
    product(w.kernel) > 1 &&
    [...w.begins, ...w.ends].every((p) => p >= 0) &&
    (!strided || w.dilations.every((d) => d === 1))
  );
}

/**
 * A tap moves by rows and by columns. With x copied once a column of the kernel, each moved by one more element, and dy once a row, each moved by one more row,
 * a single product a sample has all taps: [O kH, L] [L, C kW]. Both kinds of copies are one Concat on flattened maps: copies of length L0 read in rows
 * of length L0 + s begin s elements later each.
 */
function rowsAgainstColumns(b: GradBuilder, x: Value, dy: Value, window: StaticWindow, group: number): Value {
  const planar = dimsOf(dy).length === 4;
  const flat = (v: Value) => b.reshape(v, [...dimsOf(v).slice(0, 2), 1, ...dimsOf(v).slice(2)]);
  const w = planar ? window : withRow(window);
  const parts = w.strides.some((s) => s > 1) ? splitByStride(b, planar ? x : flat(x), planar ? dy : flat(dy), w) : undefined;
  const image = parts?.image ?? padMap(b, planar ? x : flat(x), w.begins, w.ends);
  const kernel = parts?.kernel ?? w.kernel;
  const grad = unitStrideGrad(b, image, planar ? dy : flat(dy), kernel, w.dilations, group);
  const whole = parts ? joinByStride(b, grad, w) : grad;
  const [o = 1, c = 1] = dimsOf(whole);
  return b.reshape(whole, [o, c, ...window.kernel]);
}

const withRow = (w: StaticWindow): StaticWindow => ({
  kernel: [1, ...w.kernel],
  strides: [1, ...w.strides],
  dilations: [1, ...w.dilations],
  begins: [0, ...w.begins],
  ends: [0, ...w.ends],
  extents: [1, ...w.extents],
});

const zeros = (b: GradBuilder, like: Value, dims: readonly number[]): Value[] => (product(dims) === 0 ? [] : [b.full(like, dims, 0)]);

/** Zeros around the two last axes. */
function padMap(b: GradBuilder, x: Value, [top = 0, left = 0]: readonly number[], [bottom = 0, right = 0]: readonly number[]): Value {
  const [n = 1, c = 1, h = 1, width = 1] = dimsOf(x);
  const wide = b.concat([...zeros(b, x, [n, c, h, left]), x, ...zeros(b, x, [n, c, h, right])], 3);
  const full = width + left + right;
  return b.concat([...zeros(b, x, [n, c, top, full]), wide, ...zeros(b, x, [n, c, bottom, full])], 2);
}

/** Gradient [O, C/group, kH, kW] where windows move by one and the image is padded. */
function unitStrideGrad(
  b: GradBuilder,
  image: Value,
  dy: Value,
  kernel: readonly number[],
  dilations: readonly number[],
  group: number,
): Value {
  const [n = 1, channels = 1, height = 1, width = 1] = dimsOf(image);
  const [, out = 1, rows = 1, columns = 1] = dimsOf(dy);
  const [kh = 1, kw = 1] = kernel;
  const [perGroup, outPerGroup] = [channels / group, out / group];
  const [down, right] = [dilations[0]! * width, dilations[1]!];
  const length = height * width + right;
  const map = b.reshape(image, [n, channels, height * width]);
  const copies = [...new Array<Value>(kw).fill(map), ...zeros(b, image, [n, channels, kw * right])];
  const byColumn = b.reshape(b.concat(copies, 2), [n * group, perGroup * kw, length]);
  const framed = b.reshape(padMap(b, dy, [0, 0], [0, width - columns]), [n, out, rows * width]);
  const between = zeros(b, dy, [n, out, length - rows * width + down]);
  const after = zeros(b, dy, [n, out, length - rows * width - (kh - 1) * down]);
  const lines = Array.from({ length: kh }, (_, i) => (i < kh - 1 ? [framed, ...between] : [framed, ...after])).flat();
  const byRow = b.reshape(b.concat(lines, 2), [n * group, outPerGroup * kh, length]);
  const products = multiply(b, byRow, byColumn, { transB: true });
  const sum = b.reduceSum(b.reshape(products, [n, out * kh * perGroup * kw]), [0], false);
  return b.reshape(b.transpose(b.reshape(sum, [out, kh, perGroup, kw]), [0, 2, 1, 3]), [out, perGroup, kh, kw]);
}

/**
 * The padded image as s*t images of every s-th row and t-th column, channels of a channel side by side, over which the window moves by one. Columns are
 * padded and sorted by a product with zeros and ones, so that whole lines are left to be moved: on 32x96x32x32, one thread, 9 ms instead of 21.
 */
function splitByStride(b: GradBuilder, x: Value, dy: Value, w: StaticWindow): { image: Value; kernel: readonly number[] } {
  const [n = 1, c = 1, ...sizes] = dimsOf(x);
  const outputs = dimsOf(dy).slice(2);
  const kernel = w.kernel.map((k, i) => Math.ceil(k / w.strides[i]!));
  const frames = outputs.map((o, i) => o - 1 + kernel[i]!);
  const [top = 0, bottom = 0] = [w.begins[0], frames[0]! * w.strides[0]! - sizes[0]! - w.begins[0]!];
  const [s = 1, t = 1] = w.strides;
  const [h = 1, width = 1] = frames;
  const rows = b.pad(x, [0, 0, top, 0, 0, 0, bottom, 0]);
  const sorted = b.op('MatMul', [rows, sortedColumns(b, x, sizes[1]!, w.begins[1]!, t, width)]);
  const image = b.reshape(b.transpose(b.reshape(sorted, [n, c, h, s, t, width]), [0, 1, 3, 4, 2, 5]), [n, c * s * t, h, width]);
  return { image, kernel };
}

/** [columns, t * width] that brings column i to where column i + begin of the padded image belongs: those of equal remainder by t side by side. */
function sortedColumns(b: GradBuilder, like: Value, columns: number, begin: number, t: number, width: number): Value {
  const places = new Float32Array(columns * t * width);
  for (let i = 0; i < columns; i++) {
    const at = i + begin;
    if (at < t * width) places[(i * t + (at % t)) * width + Math.floor(at / t)] = 1;
  }
  return b.constant('columns', Tensor.from(dtypeOf(like), [columns, t * width], places));
}

/** Undoes the split for the taps, and drops those behind the kernel's end. */
function joinByStride(b: GradBuilder, grad: Value, w: StaticWindow): Value {
  const [out = 1, split = 1, kh = 1, kw = 1] = dimsOf(grad);
  const [s = 1, t = 1] = w.strides;
  const c = split / (s * t);
  const joined = b.reshape(b.transpose(b.reshape(grad, [out, c, s, t, kh, kw]), [0, 1, 4, 2, 5, 3]), [out, c, kh * s, kw * t]);
  const same = kh * s === w.kernel[0] && kw * t === w.kernel[1];
  return same ? joined : b.slice(joined, [2, 3], [0, 0], [w.kernel[0]!, w.kernel[1]!]);
}

// ---- exchanged axes ----

/** Depthwise weights: each map of x convolved with its map of dy as the kernel, strides and dilations exchanged; then the sum over samples. */
function exchangedAxes(b: GradBuilder, x: Value, dy: Value, w: StaticWindow): Value {
  const [n = 1, channels = 1, ...sizes] = dimsOf(x);
  const outputs = dimsOf(dy).slice(2);
  const maps = b.op('Conv', [b.reshape(x, [1, n * channels, ...sizes]), b.reshape(dy, [n * channels, 1, ...outputs])], {
    group: n * channels,
    kernel_shape: outputs,
    strides: w.dilations,
    dilations: w.strides,
    pads: [...w.begins, ...w.ends],
  });
  // Input elements behind the last window make further taps, which the kernel has not.
  const found = dimsOf(maps).slice(2);
  const axes = found.map((_, i) => i + 2);
  const zero = found.map(() => 0);
  const cut = found.some((f, i) => f !== w.kernel[i]) ? b.slice(maps, axes, zero, w.kernel) : maps;
  const sum = b.reduceSum(b.reshape(cut, [n, channels * product(w.kernel)]), [0], false);
  return b.reshape(sum, [channels, 1, ...w.kernel]);
}

// ---- one product a tap ----

/** `x` [N,C,...] as each tap sees it, [N,C,...outputs], one value per position of the kernel. */
function shiftedInputs(b: GradBuilder, w: StaticWindow, outputs: readonly number[], padded: Value): Value[] {
  const sizes = dimsOf(padded).slice(2);
  const axes = outputs.map((_, i) => i + 2);
  return windowTaps(w.kernel).map((tap) => {
    const starts = tap.map((t, i) => t * w.dilations[i]!);
    const ends = starts.map((s, i) => s + (outputs[i]! - 1) * w.strides[i]! + 1);
    const whole = starts.every((s, i) => s === 0 && ends[i] === sizes[i]) && w.strides.every((s) => s === 1);
    return whole ? padded : b.slice(padded, axes, starts, ends, w.strides);
  });
}

function productPerTap(b: GradBuilder, x: Value, dy: Value, w: StaticWindow, group: number): Value {
  const [n = 1, channels = 1] = dimsOf(x);
  const [, out = 1, ...outputs] = dimsOf(dy);
  const [perGroup, outPerGroup, positions] = [channels / group, out / group, product(outputs)];
  const taps = w.kernel.length === 0 ? 1 : product(w.kernel);
  const padded = b.pad(x, [0, 0, ...w.begins, 0, 0, ...w.ends]);
  const finish = (parts: readonly Value[]): Value => {
    // [taps, O * C/group], then the taps last.
    const rows = parts.map((p) => b.reshape(p, [1, out * perGroup]));
    const stacked = taps === 1 ? rows[0]! : b.transpose(b.concat(rows, 0), [1, 0]);
    return b.reshape(stacked, [out, perGroup, ...w.kernel]);
  };
  if (group === 1 && positions < FEW_POSITIONS) {
    // One sum over batch and positions: channels first.
    const perm = [1, 0, ...outputs.map((_, i) => i + 2)];
    const grad = b.reshape(b.transpose(dy, perm), [out, n * positions]);
    const parts = shiftedInputs(b, w, outputs, b.transpose(padded, perm)).map((shifted) =>
      multiply(b, grad, b.reshape(shifted, [channels, n * positions]), { transB: true }),
    );
    return finish(parts);
  }
  const grad = b.reshape(dy, [n * group, outPerGroup, positions]);
  const parts = shiftedInputs(b, w, outputs, padded).map((shifted) => {
    const products = multiply(b, grad, b.reshape(shifted, [n * group, perGroup, positions]), { transB: true });
    return b.reduceSum(b.reshape(products, [n, out * perGroup]), [0]);
  });
  return finish(parts);
}
