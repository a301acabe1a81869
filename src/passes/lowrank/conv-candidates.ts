// Convolutions as chains of smaller ones. Spatial: a column to r channels, then a row (Jaderberg et al. 2014). Tucker-2: 1x1, a small core, 1x1 (Kim et
// al. 2016). CP: 1x1, one depthwise window, 1x1 (Lebedev et al. 2015, with both axes of the window in one factor). The last stage is always fitted
// by least squares, on the layer's data where there are any. Separable: a depthwise window (of one or more kernels a channel) and a 1x1 (Sifre 2014; the
// approximation channel by channel: Guo et al. 2018, network decoupling).

import type { CandidateOptions } from './candidates.js';
import { canonicalPolyadic } from './canonical-polyadic.js';
import {
  type Candidate,
  type ConvMethod,
  type ConvStage,
  extentsOf,
  type Factored,
  type FactorLayer,
  largestSaving,
  pointwise,
  rankLadder,
  type Window,
  windowOf,
} from './factorization.js';
import { refitLast } from './refit.js';
import { type Truncations, transposed, weightedSvd } from './weighted-svd.js';

/** Ranks tried for each method. */
const RANKS = 8;

/** One layer's sizes. */
interface Shape {
  readonly inputs: number;
  readonly outputs: number;
  readonly taps: number;
  readonly window: Window;
  /** Multiply-accumulates per weight at an output position, and how many more positions the input has along each axis. */
  readonly positions: number;
  readonly more: { readonly rows: number; readonly columns: number };
}

/** Candidates of the methods beside `channel`; `weight` is [k, n]. None for windows of one position, or with other than two axes. */
export async function convMethodCandidates(entry: FactorLayer, weight: Float32Array, options: CandidateOptions): Promise<Candidate[]> {
  const { layer, node } = entry;
  const window = windowOf(node);
  const taps = window ? window.kernel[0] * window.kernel[1] : 1;
  if (!window || taps === 1) return [];
  const shape: Shape = {
    inputs: layer.k / taps,
    outputs: layer.n,
    taps,
    window,
    positions: entry.macs / (layer.k * layer.n),
    more: extentsOf(node, window),
  };
  const makers: Partial<Record<ConvMethod, typeof spatialCandidates>> = {
    spatial: spatialCandidates,
    tucker: tuckerCandidates,
    cp: cpCandidates,
    separable: separableCandidates,
  };
  const found: Candidate[] = [];
  for (const method of options.methods) {
    for (const candidate of (await makers[method]?.(shape, weight, options)) ?? []) if (candidate.macs < entry.macs) found.push(candidate);
  }
  return found;
}

function ranksOf(options: CandidateOptions, largest: number): number[] {
  if (options.rank !== undefined) return options.rank <= largest ? [options.rank] : [];
  return rankLadder(largest, options.roundTo, RANKS);
}

async function spatialCandidates(shape: Shape, weight: Float32Array, options: CandidateOptions): Promise<Candidate[]> {
  const { inputs, outputs, window, positions, more } = shape;
  const [kh, kw] = window.kernel;
  if (kh === 1 || kw === 1) return [];
  const [rows, columns] = [inputs * kh, kw * outputs];
  // [(i, y, x), o] is [(i, y), (x, o)] as it stands.
  const plain = await weightedSvd(options.math, weight, rows, columns, null, 0);
  const k = inputs * shape.taps;
  const found: Candidate[] = [];
  for (const rank of ranksOf(options, Math.min(plain.components, largestSaving(k * outputs, rows + columns)))) {
    const { a } = await plain.factors(rank);
    const m = rank * kw;
    const design = new Float32Array(k * m);
    for (let iy = 0; iy < rows; iy++)
      for (let x = 0; x < kw; x++) for (let r = 0; r < rank; r++) design[(iy * kw + x) * m + r * kw + x] = a[iy * rank + r]!;
    const { b, lost } = await refitLast(options.math, options.h, design, weight, k, m, outputs);
    const { strides, pads, dilations } = window;
    found.push({
      method: 'spatial',
      ranks: [rank],
      // The first stage slides along rows only: all columns of the input are still there.
      macs: positions * rank * (rows * more.columns + columns),
      params: rank * (rows + columns),
      lost,
      async build(): Promise<Factored> {
        const down = {
          dims: [rank, inputs, kh, 1],
          weight: transposed(a, rows, rank),
          strides: [strides[0], 1],
          pads: [pads[0], 0, pads[2], 0],
          dilations: [dilations[0], 1],
          group: 1,
        };
        const across = {
          dims: [outputs, rank, 1, kw],
          weight: transposed(b, m, outputs),
          strides: [1, strides[1]],
          pads: [0, pads[1], 0, pads[3]],
          dilations: [1, dilations[1]],
          group: 1,
        };
        return { stages: [down, across], approximation: await options.math.product(design, b, k, m, outputs) };
      },
    });
  }
  return found;
}

async function tuckerCandidates(shape: Shape, weight: Float32Array, options: CandidateOptions): Promise<Candidate[]> {
  const { inputs, outputs, taps, positions, more } = shape;
  const { math, h } = options;
  const k = inputs * taps;
  // Input channels that matter: W as [i, (s, o)] under the channels' covariance, a tap's mean.
  const byInput = await weightedSvd(math, weight, inputs, taps * outputs, h && channelCovariance(h, inputs, taps), options.damping);
  const largest = Math.min(inputs, byInput.components);
  const found: Candidate[] = [];
  for (const first of ranksOf(options, largest)) {
    const { a: narrow } = await byInput.factors(first);
    const m = first * taps;
    const design = new Float32Array(k * m);
    for (let i = 0; i < inputs; i++)
      for (let s = 0; s < taps; s++) for (let r = 0; r < first; r++) design[(i * taps + s) * m + r * taps + s] = narrow[i * first + r]!;
    const fitted = await refitLast(math, h, design, weight, k, m, outputs);
    const core = await weightedSvd(math, fitted.b, m, outputs, fitted.gram, 1e-6);
    // Both ranks take the same part of their channels.
    const second = options.rank ?? Math.max(1, Math.min(core.components, Math.round((first / inputs) * outputs)));
    if (second > core.components) continue;
    found.push(
      tuckerCandidate(shape, { first, second, narrow, design, core, lost: fitted.lost + (1 - fitted.lost) * core.lost(second) }, options, {
        macs: positions * (inputs * first * more.rows * more.columns + m * second + second * outputs),
        params: inputs * first + m * second + second * outputs,
      }),
    );
  }
  return found;
}

interface TuckerParts {
  readonly first: number;
  readonly second: number;
  readonly narrow: Float32Array;
  readonly design: Float32Array;
  readonly core: Truncations;
  readonly lost: number;
}

function tuckerCandidate(shape: Shape, parts: TuckerParts, options: CandidateOptions, cost: { macs: number; params: number }): Candidate {
  const { inputs, outputs, taps, window } = shape;
  const { first, second, narrow, design, core, lost } = parts;
  const [k, m] = [inputs * taps, first * taps];
  return {
    method: 'tucker',
    ranks: [first, second],
    ...cost,
    lost,
    async build(): Promise<Factored> {
      const { a, b } = await core.factors(second);
      const middle = windowStage([second, first, ...window.kernel], transposed(a, m, second), window, 1);
      const inner = await options.math.product(a, b, m, second, outputs);
      return {
        stages: [pointwise(narrow, inputs, first, 2), middle, pointwise(b, second, outputs, 2)],
        approximation: await options.math.product(design, inner, k, m, outputs),
      };
    },
  };
}

function windowStage(dims: readonly number[], weight: Float32Array, window: Window, group: number): ConvStage {
  return { dims, weight, strides: window.strides, pads: window.pads, dilations: window.dilations, group };
}

function channelCovariance(h: Float32Array, inputs: number, taps: number): Float32Array {
  const k = inputs * taps;
  const out = new Float32Array(inputs * inputs);
  for (let i = 0; i < inputs; i++)
    for (let j = 0; j < inputs; j++) for (let s = 0; s < taps; s++) out[i * inputs + j]! += h[(i * taps + s) * k + j * taps + s]! / taps;
  return out;
}

async function cpCandidates(shape: Shape, weight: Float32Array, options: CandidateOptions): Promise<Candidate[]> {
  const { inputs, outputs, taps, window, positions, more } = shape;
  const k = inputs * taps;
  const perRank = inputs + taps + outputs;
  const found: Candidate[] = [];
  for (const rank of ranksOf(options, Math.min(largestSaving(k * outputs, perRank), 2 * Math.max(inputs, outputs)))) {
    const { u, s } = canonicalPolyadic(weight, [inputs, taps, outputs], rank);
    const design = new Float32Array(k * rank);
    for (let i = 0; i < inputs; i++)
      for (let t = 0; t < taps; t++) for (let r = 0; r < rank; r++) design[(i * taps + t) * rank + r] = u[i * rank + r]! * s[t * rank + r]!;
    const { b, lost } = await refitLast(options.math, options.h, design, weight, k, rank, outputs);
    found.push({
      method: 'cp',
      ranks: [rank],
      macs: positions * rank * (inputs * more.rows * more.columns + taps + outputs),
      params: rank * perRank,
      lost,
      async build(): Promise<Factored> {
        const depthwise = windowStage([rank, 1, ...window.kernel], transposed(s, taps, rank), window, rank);
        return {
          stages: [pointwise(u, inputs, rank, 2), depthwise, pointwise(b, rank, outputs, 2)],
          approximation: await options.math.product(design, b, k, rank, outputs),
        };
      },
    });
  }
  return found;
}

/** `ranks` are the kernels a channel. */
async function separableCandidates(shape: Shape, weight: Float32Array, options: CandidateOptions): Promise<Candidate[]> {
  const { inputs, outputs, taps, window, positions } = shape;
  const { math, h } = options;
  const k = inputs * taps;
  const channels: Truncations[] = [];
  for (let i = 0; i < inputs; i++) {
    const own = weight.subarray(i * taps * outputs, (i + 1) * taps * outputs);
    channels.push(await weightedSvd(math, own, taps, outputs, h && diagonalBlock(h, k, i * taps, taps), options.damping));
  }
  const largest = Math.min(taps, outputs, largestSaving(taps * outputs, taps + outputs));
  const found: Candidate[] = [];
  const kernels =
    options.rank === undefined ? Array.from({ length: largest }, (_, i) => i + 1) : [options.rank].filter((r) => r <= largest);
  for (const each of kernels) {
    const m = inputs * each;
    const design = new Float32Array(k * m);
    for (const [i, channel] of channels.entries()) {
      const { a } = await channel.factors(each);
      for (let s = 0; s < taps; s++) for (let r = 0; r < each; r++) design[(i * taps + s) * m + i * each + r] = a[s * each + r]!;
    }
    const { b, lost } = await refitLast(math, h, design, weight, k, m, outputs);
    found.push({
      method: 'separable',
      ranks: [each],
      macs: positions * m * (taps + outputs),
      params: m * (taps + outputs),
      lost,
      async build(): Promise<Factored> {
        const depthwise = new Float32Array(m * taps);
        for (let i = 0; i < inputs; i++)
          for (let r = 0; r < each; r++)
            for (let s = 0; s < taps; s++) depthwise[(i * each + r) * taps + s] = design[(i * taps + s) * m + i * each + r]!;
        return {
          stages: [windowStage([m, 1, ...window.kernel], depthwise, window, inputs), pointwise(b, m, outputs, 2)],
          approximation: await math.product(design, b, k, m, outputs),
        };
      },
    });
  }
  return found;
}

function diagonalBlock(h: Float32Array, k: number, from: number, size: number): Float32Array {
  return Float32Array.from({ length: size * size }, (_, i) => h[(from + Math.floor(i / size)) * k + from + (i % size)]!);
}
