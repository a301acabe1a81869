// Equalization of channels before quantization: channels of an activation that share one scale are brought to sizes for which that scale, and those of the
// weights that read them, lose least. Dividing channel c by s_c where it is made and multiplying the weights that read it leaves the model's function
// as it is: cross-layer equalization (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction") between
// convolutions, SmoothQuant (Xiao et al. 2022) between a norm and the products behind it. Here s_c = A_c^a / W_c^b from measured extremes A and weights W, and a, b
// are searched per region for the least expected noise at the readers' outputs:
//   step_x^2 / 12 * sum_c s_c^2 |W_c|^2  (rounding of activations)  +  sum_o step_o^2 / 12 * sum_c E[x_c^2] / s_c^2  (rounding of weights, a scale per output).
import type { Dataset } from '../../data/dataset.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import type { Annotation } from '../../quant/annotate.js';
import { type ChannelStatistics, measureChannels } from '../../quant/channel-statistics.js';
import { forEachRun, scaleChannels } from '../../quant/channel-view.js';
import type { MeasurementCache } from '../../quant/measurement-cache.js';
import { type RegionReader, type ScaleRegion, scaleRegionOf } from '../../quant/scale-regions.js';
import type { Engine } from '../../runtime/engine.js';

export interface EqualizeOptions {
  readonly engine: Engine;
  readonly data: Dataset;
  readonly samples: number;
  readonly threads?: number | undefined;
  /** Steps of the activation's and the weight's grid. */
  readonly activationSteps: number;
  readonly weightSteps: number;
  /** Activation ranges are [-a, a]. */
  readonly symmetric: boolean;
  readonly perChannel: boolean;
  /** Results of earlier runs. */
  readonly cache?: MeasurementCache | undefined;
  readonly checkAborted?: () => void;
}

export interface Equalized {
  readonly producer: string;
  readonly readers: readonly string[];
  readonly activationPower: number;
  readonly weightPower: number;
  /** Expected noise, relative to that without equalization. */
  readonly noise: number;
}

/** A region is left alone unless the expected noise falls by a tenth. */
const WORTH_IT = 0.9;
/** Factors beyond this are not used: such channels hold next to nothing. */
const MOST = 1e4;
/** Headroom below the bound of a Clip: other data goes further than the calibration data. */
const CLIP_MARGIN = 1.1;
/** A channel counts as clipped from this share of the bound. */
const AT_BOUND = 0.999;
/** Exponents (a, b) that are tried: of activations alone, and traded against weights. */
const EXPONENTS: readonly (readonly [number, number])[] = [
  ...[0.25, 0.5, 0.75, 1].map((a) => [a, 0] as const),
  ...[0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].map((a) => [a, 1 - a] as const),
  ...[0.25, 0.5].map((b) => [1, b] as const),
];

/** Equalizes what the annotation will quantize; weights of the model change in place. Answers what was done. */
export async function equalize(model: Model, annotation: Annotation, options: EqualizeOptions): Promise<Equalized[]> {
  const regions = regionsOf(annotation);
  const wanted = new Map<Value, number>();
  for (const region of regions) for (const v of pointsOf(region, annotation)) wanted.set(v, region.values.get(v)!);
  const statistics = await measureChannels(model, wanted, { ...options, limit: options.samples });
  const done: Equalized[] = [];
  for (const region of regions) {
    const points = pointsOf(region, annotation).map((v) => statistics.get(v));
    if (!points.every((s) => s !== undefined)) continue;
    const result = equalizeRegion(region, statistics, points, options);
    if (result) done.push(result);
  }
  return done;
}

/** Regions all of whose readers run in integers; one for each reader. */
function regionsOf(annotation: Annotation): ScaleRegion[] {
  const integer = new Set(annotation.compute.filter((c) => c.integer).map((c) => c.node));
  const quantized = new Set(annotation.activations);
  const claimed = new Set<unknown>();
  const found: ScaleRegion[] = [];
  for (const node of annotation.graph.nodes) {
    const region = scaleRegionOf(node);
    if (typeof region !== 'object') continue;
    if (!region.readers.every((r) => integer.has(r.node) && !claimed.has(r.node))) continue;
    if (![...region.values.keys()].some((v) => quantized.has(v))) continue;
    for (const r of region.readers) claimed.add(r.node);
    found.push(region);
  }
  return found;
}

/** Values whose channels are looked at: those that get a scale, those that readers take, and results of clamps. */
function pointsOf(region: ScaleRegion, annotation: Annotation): Value[] {
  const points = new Set<Value>(annotation.activations.filter((v) => region.values.has(v)));
  for (const r of region.readers) points.add(r.data);
  for (const c of region.clips) points.add(c.value);
  return [...points];
}

function equalizeRegion(
  region: ScaleRegion,
  statistics: ReadonlyMap<Value, ChannelStatistics>,
  points: readonly ChannelStatistics[],
  options: EqualizeOptions,
): Equalized | undefined {
  const { channels } = region;
  const low = new Float64Array(channels);
  const high = new Float64Array(channels);
  for (const s of points) {
    // A value that was flattened counts each channel several times over.
    const repeat = s.max.length / channels;
    for (let i = 0; i < s.max.length; i++) {
      const c = Math.floor(i / repeat);
      low[c] = Math.min(low[c]!, s.min[i]!);
      high[c] = Math.max(high[c]!, s.max[i]!);
    }
  }
  const size = low.map((lo, c) => Math.max(-lo, high[c]!));
  const weights = region.readers.map((r) => weightFacts(r, statistics.get(r.data)!));
  const weightSize = new Float64Array(channels);
  for (const w of weights) for (let c = 0; c < channels; c++) weightSize[c] = Math.max(weightSize[c]!, w.size[c]!);
  const noise = (s: Float64Array) => expectedNoise(s, low, high, weights, options);

  const none = noise(new Float64Array(channels).fill(1));
  let best: { s: Float64Array; a: number; b: number; noise: number } | undefined;
  for (const [a, b] of EXPONENTS) {
    const s = factors(size, weightSize, a, b);
    keepWithinClips(region, statistics, s, size);
    const n = noise(s);
    if (n < (best?.noise ?? none * WORTH_IT)) best = { s, a, b, noise: n };
  }
  if (!best) return undefined;
  const inverse = best.s.map((f) => 1 / f);
  for (const maker of region.makers) scaleChannels(maker, inverse);
  for (const reader of region.readers) scaleChannels(reader.weight, best.s);
  return {
    producer: region.producer.label,
    readers: region.readers.map((r) => r.node.label),
    activationPower: best.a,
    weightPower: best.b,
    noise: best.noise / none,
  };
}

/** s_c = A_c^a / W_c^b, so scaled that the tensor's largest value stays what it is. */
function factors(size: Float64Array, weightSize: Float64Array, a: number, b: number): Float64Array {
  const s = size.map((x, c) => (x > 0 && weightSize[c]! > 0 ? x ** a / weightSize[c]! ** b : 0));
  let before = 0;
  let after = 0;
  for (let c = 0; c < s.length; c++) {
    before = Math.max(before, size[c]!);
    if (s[c]! > 0) after = Math.max(after, size[c]! / s[c]!);
  }
  const unit = before > 0 ? after / before : 1;
  return s.map((x) => (x > 0 && unit > 0 ? Math.min(MOST, Math.max(1 / MOST, x * unit)) : 1));
}

/** Channels that reach a bound keep their size; others may grow until they come near it. */
function keepWithinClips(
  region: ScaleRegion,
  statistics: ReadonlyMap<Value, ChannelStatistics>,
  s: Float64Array,
  size: Float64Array,
): void {
  for (const { value, low, high } of region.clips) {
    const seen = statistics.get(value)!;
    for (let c = 0; c < s.length; c++) {
      const nearHigh = Number.isFinite(high) && seen.max[c]! >= AT_BOUND * high;
      const nearLow = Number.isFinite(low) && low < 0 && seen.min[c]! <= AT_BOUND * low;
      if (nearHigh || nearLow || size[c] === 0) {
        s[c] = 1;
        continue;
      }
      let least = 0;
      if (Number.isFinite(high) && high > 0) least = Math.max(least, (CLIP_MARGIN * seen.max[c]!) / high);
      if (Number.isFinite(low) && low < 0) least = Math.max(least, (CLIP_MARGIN * seen.min[c]!) / low);
      s[c] = Math.min(1, Math.max(s[c]!, least));
    }
  }
}

interface WeightFacts {
  /** Largest magnitude by [output, channel of its group]. */
  readonly largest: Float32Array;
  readonly outputs: number;
  readonly perGroup: number;
  readonly groups: number;
  /** Elements per output and channel. */
  readonly taps: number;
  /** Per channel: largest magnitude and sum of squares over all outputs. */
  readonly size: Float64Array;
  readonly squares: Float64Array;
  /** Mean square of the data's channels. */
  readonly power: Float64Array;
}

function weightFacts({ weight, outputsInRun }: RegionReader, data: ChannelStatistics): WeightFacts {
  const values = weight.value.initializer!.floats();
  const all = weight.groups * weight.channels;
  const outputs = weight.groups * weight.outer * outputsInRun;
  const largest = new Float32Array(outputs * weight.channels);
  const size = new Float64Array(all);
  const squares = new Float64Array(all);
  forEachRun(weight, (start, length, channel, row) => {
    const inGroup = channel % weight.channels;
    for (let i = 0; i < length; i++) {
      const v = Math.abs(values[start + i]!);
      const at = (row * outputsInRun + (i % outputsInRun)) * weight.channels + inGroup;
      if (v > largest[at]!) largest[at] = v;
      if (v > size[channel]!) size[channel] = v;
      squares[channel]! += v * v;
    }
  });
  const repeat = data.power.length / all;
  const power = new Float64Array(all);
  for (let i = 0; i < data.power.length; i++) power[Math.floor(i / repeat)]! += data.power[i]! / repeat;
  return { largest, outputs, perGroup: weight.channels, groups: weight.groups, taps: weight.inner / outputsInRun, size, squares, power };
}

function expectedNoise(
  s: Float64Array,
  low: Float64Array,
  high: Float64Array,
  weights: readonly WeightFacts[],
  options: Pick<EqualizeOptions, 'activationSteps' | 'weightSteps' | 'symmetric' | 'perChannel'>,
): number {
  let lo = 0;
  let hi = 0;
  for (let c = 0; c < s.length; c++) {
    lo = Math.min(lo, low[c]! / s[c]!);
    hi = Math.max(hi, high[c]! / s[c]!);
  }
  const step = (options.symmetric ? 2 * Math.max(-lo, hi) : hi - lo) / options.activationSteps;
  let noise = 0;
  for (const w of weights) {
    for (let c = 0; c < s.length; c++) noise += step * step * s[c]! * s[c]! * w.squares[c]!;
    noise += weightNoise(s, w, options);
  }
  return noise / 12;
}

function weightNoise(
  s: Float64Array,
  w: WeightFacts,
  { weightSteps, perChannel }: Pick<EqualizeOptions, 'weightSteps' | 'perChannel'>,
): number {
  const perOutput = w.outputs / w.groups;
  const steps = new Float64Array(w.outputs);
  let most = 0;
  for (let o = 0; o < w.outputs; o++) {
    const from = Math.floor(o / perOutput) * w.perGroup;
    let largest = 0;
    for (let j = 0; j < w.perGroup; j++) largest = Math.max(largest, w.largest[o * w.perGroup + j]! * s[from + j]!);
    steps[o] = (2 * largest) / weightSteps;
    most = Math.max(most, steps[o]!);
  }
  const power = new Float64Array(w.groups);
  for (let g = 0; g < w.groups; g++) {
    for (let j = 0; j < w.perGroup; j++) power[g]! += w.power[g * w.perGroup + j]! / s[g * w.perGroup + j]! ** 2;
  }
  let noise = 0;
  for (let o = 0; o < w.outputs; o++) noise += (perChannel ? steps[o]! : most) ** 2 * power[Math.floor(o / perOutput)]! * w.taps;
  return noise;
}
