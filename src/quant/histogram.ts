// Histograms of activations that stream and merge exactly. Bin i holds i * width <= x < (i + 1) * width; the width is a power of two and doubles, joining
// neighbouring bins, when a value falls outside. So no pass for the range is needed before, memory never grows, and histograms of shards, joined in any
// order, equal that of all data at once (bins of fixed number between a range known per shard would not). Exact zeros are counted apart: after
// ReLU they are half of all values, have no rounding error on any grid, and say nothing about where to clip.

/** Bins on each side of zero. A range fills at least half of one side: 2,048 to 4,096 bins for 8-bit grids of 256 steps. */
const SIDE = 4096;
/** Widths from 2^-140 are told apart; below, everything is one bin. */
const MIN_EXPONENT = -140;

export interface HistogramJson {
  /** Bin width is 2^exponent. */
  readonly exponent: number;
  readonly zeros: number;
  /** Index of the first bin in `counts`, from -4096. */
  readonly first: number;
  readonly counts: readonly number[];
}

/** Counts of one call, so that the long loop works on 32-bit numbers. */
const scratch = new Uint32Array(2 * SIDE + 1);

export class Histogram {
  #exponent = MIN_EXPONENT;
  #zeros = 0;
  readonly #counts = new Float64Array(2 * SIDE);

  /** Width of a bin. */
  get width(): number {
    return 2 ** this.#exponent;
  }

  /** Values that were exactly zero; they are in no bin. */
  get zeros(): number {
    return this.#zeros;
  }

  /** Adds values. `min` and `max` are their extremes, which must be finite. */
  add(data: Float32Array, min: number, max: number): void {
    this.#coverTo(Math.max(-min, max));
    const n = data.length;
    const perBin = 2 ** -this.#exponent;
    const limit = 2 * SIDE - 1;
    for (let i = 0; i < n; i++) {
      const x = data[i]!;
      // Zeros go to one place beyond the bins.
      const bin = x === 0 ? 2 * SIDE : Math.floor(x * perBin) + SIDE;
      scratch[bin]!++;
    }
    const from = Math.max(0, Math.floor(min * perBin) + SIDE);
    const to = Math.min(limit, Math.floor(max * perBin) + SIDE);
    for (let i = from; i <= to; i++) {
      this.#counts[i]! += scratch[i]!;
      scratch[i] = 0;
    }
    this.#zeros += scratch[2 * SIDE]!;
    scratch[2 * SIDE] = 0;
  }

  /** Adds the counts of another histogram. */
  merge(other: Histogram): void {
    this.#widenTo(other.#exponent);
    const shift = this.#exponent - other.#exponent;
    const joined = other.#counts;
    for (let i = 0; i < joined.length; i++) {
      const count = joined[i]!;
      if (count > 0) this.#counts[coarser(i, shift)]! += count;
    }
    this.#zeros += other.#zeros;
  }

  /** Middle and count of every bin that is not empty, in ascending order. */
  bins(): { readonly centres: Float64Array; readonly counts: Float64Array } {
    const centres: number[] = [];
    const counts: number[] = [];
    const { width } = this;
    this.#counts.forEach((count, i) => {
      if (count === 0) return;
      centres.push((i - SIDE + 0.5) * width);
      counts.push(count);
    });
    return { centres: Float64Array.from(centres), counts: Float64Array.from(counts) };
  }

  toJSON(): HistogramJson {
    let first = 0;
    let end = this.#counts.length;
    while (first < end && this.#counts[first] === 0) first++;
    while (end > first && this.#counts[end - 1] === 0) end--;
    return { exponent: this.#exponent, zeros: this.#zeros, first: first - SIDE, counts: Array.from(this.#counts.subarray(first, end)) };
  }

  static fromJSON(json: HistogramJson): Histogram {
    const h = new Histogram();
    h.#exponent = json.exponent;
    h.#zeros = json.zeros;
    h.#counts.set(json.counts, json.first + SIDE);
    return h;
  }

  /** Widens bins until `size` is inside on either side. */
  #coverTo(size: number): void {
    if (size === 0) return;
    // The largest value must lie strictly below SIDE * width.
    let exponent = Math.max(MIN_EXPONENT, Math.floor(Math.log2(size / SIDE)));
    while (size >= SIDE * 2 ** exponent) exponent++;
    this.#widenTo(exponent);
  }

  #widenTo(exponent: number): void {
    const shift = exponent - this.#exponent;
    if (shift <= 0) return;
    this.#exponent = exponent;
    const old = this.#counts.slice();
    this.#counts.fill(0);
    for (let i = 0; i < old.length; i++) if (old[i]! > 0) this.#counts[coarser(i, shift)]! += old[i]!;
  }
}

/** Place of a bin once bins are 2^shift times as wide: floor division about zero. */
function coarser(place: number, shift: number): number {
  return Math.floor((place - SIDE) / 2 ** shift) + SIDE;
}
