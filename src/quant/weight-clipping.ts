// Ranges of weights by search: each group (an output channel, a tensor) is cut to the fraction of its range whose grid has the least squared error over its
// own weights. With 8 bits nearly every channel keeps its whole range; with 4 bits or one scale for a tensor, cutting outliers gives the others finer steps
// (Banner et al. 2019, "Post training 4-bit quantization of convolutional networks for rapid-deployment"; here searched, not from a fitted distribution).
import { affineParameters, dequantize, quantize, type Ranges, rangesOf } from './affine.js';
import { forEachGroup, type Layout } from './layout.js';
import type { Scheme } from './scheme.js';

/** Fractions of the range that are tried. */
const STEPS = 24;
const LEAST_FRACTION = 0.4;

/** Squared error of each group under ranges. */
export function groupErrors(data: Float32Array, layout: Layout, ranges: Ranges, scheme: Omit<Scheme, 'granularity'>): Float64Array {
  const parameters = affineParameters(ranges, scheme);
  const back = dequantize(quantize(data, layout, parameters), layout, parameters);
  const errors = new Float64Array(layout.count);
  const { length, vector } = layout;
  forEachGroup(layout, (start, rows, s) => {
    const end = start + rows * length;
    for (let i = start; i < end; i++) errors[vector ? s + ((i - start) % length) : s]! += (data[i]! - back[i]!) ** 2;
  });
  return errors;
}

/** The range of least squared error for each group; the whole range wins ties. */
export function leastSquaresWeightRanges(data: Float32Array, layout: Layout, scheme: Omit<Scheme, 'granularity'>): Ranges {
  const whole = rangesOf(data, layout);
  const best = { min: whole.min.slice(), max: whole.max.slice() };
  const least = groupErrors(data, layout, whole, scheme);
  for (let step = 1; step <= STEPS; step++) {
    const fraction = 1 - (step * (1 - LEAST_FRACTION)) / STEPS;
    const tried = { min: whole.min.map((v) => v * fraction), max: whole.max.map((v) => v * fraction) };
    const errors = groupErrors(data, layout, tried, scheme);
    for (let i = 0; i < errors.length; i++) {
      if (errors[i]! >= least[i]!) continue;
      least[i] = errors[i]!;
      best.min[i] = tried.min[i]!;
      best.max[i] = tried.max[i]!;
    }
  }
  return best;
}
