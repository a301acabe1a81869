// Choosing where to clip an activation from its histogram: the range whose grid has the least expected squared error, and the one whose quantized
// distribution is nearest in the Kullback-Leibler sense (Migacz 2017, "8-bit Inference with TensorRT").
// The usual entropy search (2,048 bins, one candidate per bin, 128 or 256 levels) loses accuracy for three reasons that this one avoids: below as many bins
// as levels it sees no rounding error at all and so clips heavy tails to a fraction of their range; levels that are no whole number of bins are smeared
// unevenly; and the zeros that ReLU leaves make one bin so heavy that the others hardly count.
import { type AffineParameters, affineParameters } from './affine.js';
import type { Histogram } from './histogram.js';
import type { Range } from './observers.js';
import type { Scheme } from './scheme.js';

export type ActivationScheme = Omit<Scheme, 'granularity'>;

/** Fractions of an end that are tried at first, then the neighbourhood of the best is tried in finer steps. */
const COARSE_STEPS = 24;
const FINE_ROUNDS = 3;
const FINE_STEPS = 5;

/** A histogram with running sums, so that the error of any range is known without a walk over its bins. */
export class Distribution {
  readonly #centres: Float64Array;
  readonly #width: number;
  /** Sums of counts, count * x and count * x^2 over the bins before each index. */
  readonly #n: Float64Array;
  readonly #x: Float64Array;
  readonly #xx: Float64Array;
  readonly counts: Float64Array;
  /** Values, exact zeros included. */
  readonly total: number;

  constructor(histogram: Histogram) {
    const { centres, counts } = histogram.bins();
    this.#centres = centres;
    this.counts = counts;
    this.#width = histogram.width;
    const size = counts.length;
    this.#n = new Float64Array(size + 1);
    this.#x = new Float64Array(size + 1);
    this.#xx = new Float64Array(size + 1);
    for (let i = 0; i < size; i++) {
      const [c, x] = [counts[i]!, centres[i]!];
      this.#n[i + 1] = this.#n[i]! + c;
      this.#x[i + 1] = this.#x[i]! + c * x;
      this.#xx[i + 1] = this.#xx[i]! + c * x * x;
    }
    this.total = this.#n[size]! + histogram.zeros;
  }

  get centres(): Float64Array {
    return this.#centres;
  }

  get width(): number {
    return this.#width;
  }

  /** First bin whose centre is not below x. */
  lowerBound(x: number): number {
    let from = 0;
    let to = this.#centres.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#centres[middle]! < x) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** Value below which a fraction of all values lies; zeros count as values. */
  quantile(fraction: number, min: number, max: number): number {
    const wanted = fraction * this.total;
    let seen = 0;
    let zerosSeen = false;
    const zeros = this.total - this.#n.at(-1)!;
    for (let i = 0; i < this.counts.length; i++) {
      const from = this.#centres[i]! - this.#width / 2;
      if (!zerosSeen && from >= 0) {
        zerosSeen = true;
        seen += zeros;
        if (seen >= wanted) return 0;
      }
      const count = this.counts[i]!;
      if (seen + count >= wanted) return Math.min(max, Math.max(min, from + (this.#width * (wanted - seen)) / count));
      seen += count;
    }
    return max;
  }

  /**
   * Expected squared error over all values under a grid from lo to hi in steps of `scale`: x^2 for what rounds to zero (peaked distributions have
   * most of their values there), step^2 / 12 elsewhere inside, squared distance to the end outside.
   */
  squaredError(lo: number, hi: number, scale: number): number {
    const a = this.lowerBound(lo);
    const b = this.lowerBound(hi);
    const last = this.counts.length;
    const zeroFrom = Math.max(a, this.lowerBound(-scale / 2));
    const zeroTo = Math.max(zeroFrom, Math.min(b, this.lowerBound(scale / 2)));
    const atZero = this.#xx[zeroTo]! - this.#xx[zeroFrom]!;
    const inside = this.#n[b]! - this.#n[a]! - (this.#n[zeroTo]! - this.#n[zeroFrom]!);
    const below = this.#xx[a]! - 2 * lo * this.#x[a]! + lo * lo * this.#n[a]!;
    const [n, x, xx] = [this.#n[last]! - this.#n[b]!, this.#x[last]! - this.#x[b]!, this.#xx[last]! - this.#xx[b]!];
    const above = xx - 2 * hi * x + hi * hi * n;
    return atZero + (inside * scale * scale) / 12 + Math.max(0, below) + Math.max(0, above);
  }

  /** As `squaredError`, in the fourth power: step^4 / 80 inside, x^4 for what rounds to zero. Walks over the bins. */
  fourthPowerError(lo: number, hi: number, scale: number): number {
    let sum = 0;
    for (let i = 0; i < this.counts.length; i++) {
      const x = this.#centres[i]!;
      const outside = x < lo ? lo - x : x > hi ? x - hi : 0;
      const error = outside > 0 ? outside ** 4 : Math.abs(x) < scale / 2 ? x ** 4 : scale ** 4 / 80;
      sum += this.counts[i]! * error;
    }
    return sum;
  }

  /** Power of what a range cuts off, summed per value. */
  clippedError(lo: number, hi: number): number {
    return this.squaredError(lo, hi, 0);
  }
}

interface Grid {
  readonly lo: number;
  readonly hi: number;
  readonly scale: number;
}

/** The grid that a range gets under a scheme, with its true ends. */
export function gridOf(range: Range, scheme: ActivationScheme): Grid {
  const p: AffineParameters = affineParameters({ min: Float32Array.of(range.min), max: Float32Array.of(range.max) }, scheme);
  const scale = p.scale[0]!;
  return { lo: (p.codes.min - p.zeroPoint[0]!) * scale, hi: (p.codes.max - p.zeroPoint[0]!) * scale, scale };
}

/** Best pair of ends under a cost, by a coarse grid of fractions of both ends and finer ones around the best. Whole ends win ties. */
function searchEnds(full: Range, cost: (range: Range) => number): Range {
  const lo = Math.min(full.min, 0);
  const hi = Math.max(full.max, 0);
  let best = { a: 1, b: 1, cost: cost({ min: lo, max: hi }) };
  const consider = (a: number, b: number) => {
    if (a <= 0 || b <= 0 || a > 1 || b > 1) return;
    const c = cost({ min: lo * a, max: hi * b });
    if (c < best.cost) best = { a, b, cost: c };
  };
  // Geometric steps: heavy tails want a tenth of the range or less, most tensors nearly all.
  const fractions = Array.from({ length: COARSE_STEPS }, (_, i) => 0.87 ** i);
  // An end that is at zero stays there.
  const steps = Array.from({ length: 2 * FINE_STEPS + 1 }, (_, i) => i - FINE_STEPS);
  const [ofLow, ofHigh] = [lo < 0 ? steps : [0], hi > 0 ? steps : [0]];
  for (const a of lo < 0 ? fractions : [1]) for (const b of hi > 0 ? fractions : [1]) consider(a, b);
  for (let round = 0, step = 0.05; round < FINE_ROUNDS; round++, step /= FINE_STEPS) {
    const { a, b } = best;
    for (const i of ofLow) for (const j of ofHigh) consider(a * (1 + i * step), b * (1 + j * step));
  }
  return { min: lo * best.a, max: hi * best.b };
}

/** Range of least expected squared error. */
export function leastSquaresRange(full: Range, histogram: Histogram, scheme: ActivationScheme): Range {
  const d = new Distribution(histogram);
  return searchEnds(full, (range) => {
    const { lo, hi, scale } = gridOf(range, scheme);
    return d.squaredError(lo, hi, scale);
  });
}

/** Range whose quantized distribution loses the least information about the values other than zero. */
export function leastDivergenceRange(full: Range, histogram: Histogram, scheme: ActivationScheme): Range {
  const d = new Distribution(histogram);
  return searchEnds(full, (range) => divergence(d, gridOf(range, scheme)));
}

/** Fewer bins than this in a step would hide its rounding error. */
const BINS_PER_STEP = 2;

/**
 * KL(P || Q) in nats: P is the histogram with what lies outside the grid moved to the outermost bins inside, Q spreads the counts of each step (without
 * what was moved) evenly over the bins of that step that hold any. Steps begin and end anywhere; a bin belongs to the step of its centre.
 */
function divergence(d: Distribution, { lo, hi, scale }: Grid): number {
  const { centres, counts, width } = d;
  if (scale < BINS_PER_STEP * width) return Number.POSITIVE_INFINITY;
  const first = d.lowerBound(lo - scale / 2);
  const end = d.lowerBound(hi + scale / 2);
  if (end <= first) return Number.POSITIVE_INFINITY;
  let below = 0;
  let above = 0;
  let inside = 0;
  for (let i = 0; i < first; i++) below += counts[i]!;
  for (let i = first; i < end; i++) inside += counts[i]!;
  for (let i = end; i < counts.length; i++) above += counts[i]!;
  let sum = 0;
  for (let at = first; at < end; ) {
    const edge = lo + (Math.round((centres[at]! - lo) / scale) + 0.5) * scale;
    let next = at;
    let mass = 0;
    while (next < end && (next === at || centres[next]! < edge)) mass += counts[next++]!;
    const q = mass / (next - at) / inside;
    for (let i = at; i < next; i++) {
      const p = (counts[i]! + (i === first ? below : 0) + (i === end - 1 ? above : 0)) / (inside + below + above);
      sum += p * Math.log(p / q);
    }
    at = next;
  }
  return sum;
}
