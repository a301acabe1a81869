// How the values of an activation are spread: extremes, the magnitudes that half and nearly all stay below, and how far one channel stands above the others.
// A sample of magnitudes of bounded size is kept, whatever the number of batches.
import type { Tensor } from '../ir/tensor.js';

const SAMPLED_PER_BATCH = 4096;
const COMMON = 0.999;
const TYPICAL = 0.5;

export class ChannelPeaks {
  readonly #axis: number;
  #peaks: Float64Array | undefined;
  #sample: number[] = [];
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;

  /** `axis` is that of the channels; negative ones count from the end. */
  constructor(axis: number) {
    this.#axis = axis;
  }

  add(tensor: Tensor): void {
    const data = tensor.floats();
    const at = this.#axis < 0 ? tensor.rank + this.#axis : this.#axis;
    const channels = tensor.dims[at] ?? 1;
    const inner = tensor.dims.slice(at + 1).reduce((p, d) => p * d, 1);
    if (this.#peaks?.length !== channels) this.#peaks = new Float64Array(channels);
    const peaks = this.#peaks;
    const step = Math.max(1, Math.floor(data.length / SAMPLED_PER_BATCH));
    for (let i = 0; i < data.length; i++) {
      const v = data[i]!;
      if (!Number.isFinite(v)) continue;
      if (v < this.#min) this.#min = v;
      if (v > this.#max) this.#max = v;
      const size = Math.abs(v);
      const c = Math.floor(i / inner) % channels;
      if (size > peaks[c]!) peaks[c] = size;
      if (i % step === 0) this.#sample.push(size);
    }
    // Thinning keeps every second magnitude: the distribution stays.
    if (this.#sample.length > 16 * SAMPLED_PER_BATCH) this.#sample = this.#sample.filter((_, i) => i % 2 === 0);
  }

  result(): { min: number; max: number; common: number; typical: number; channelSpread: number; channel: number } {
    const sizes = [...this.#sample].sort((x, y) => x - y);
    const peaks = [...(this.#peaks ?? [])];
    const sorted = [...peaks].sort((x, y) => x - y);
    const median = sorted[sorted.length >> 1] ?? 0;
    const top = sorted.at(-1) ?? 0;
    return {
      min: this.#min,
      max: this.#max,
      common: sizes[Math.min(sizes.length - 1, Math.floor(sizes.length * COMMON))] ?? 0,
      typical: sizes[Math.floor(sizes.length * TYPICAL)] ?? 0,
      channelSpread: median > 0 ? top / median : 1,
      channel: peaks.indexOf(top),
    };
  }
}
