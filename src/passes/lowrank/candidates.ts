// The candidates of each layer by singular values: products A B, and convolutions as one of the same window to fewer channels with a 1x1 behind it
// (Zhang et al. 2016, accelerating very deep networks).
import type { DenseMath } from '../../quant/dense-math.js';
import { convMethodCandidates } from './conv-candidates.js';
import {
  type Candidate,
  type ConvMethod,
  type ConvStage,
  type Factored,
  type FactorLayer,
  largestSaving,
  pointwise,
  rankLadder,
} from './factorization.js';
import { type Truncations, transposed, weightedSvd } from './weighted-svd.js';

export interface CandidateOptions {
  readonly math: DenseMath;
  /** X^T X of the layer's data, about the mean where a bias takes that up; null decides by the weights alone. */
  readonly h: Float32Array | null;
  readonly damping: number;
  readonly methods: readonly ConvMethod[];
  readonly roundTo: number;
  /** One rank only, where given. */
  readonly rank?: number | undefined;
}

export interface LayerCandidates {
  readonly candidates: readonly Candidate[];
  readonly truncations: Truncations;
}

/** Ranks that are looked at for each layer by singular values, which cost nothing once they are known. */
const RANKS = 64;

/** `weight` is [k, n]. */
export async function layerCandidates(entry: FactorLayer, weight: Float32Array, options: CandidateOptions): Promise<LayerCandidates> {
  const { layer } = entry;
  const { k, n } = layer;
  const truncations = await weightedSvd(options.math, weight, k, n, options.h, options.damping);
  const candidates: Candidate[] = [];
  if (layer.kind === 'product' || options.methods.includes('channel')) {
    const largest = Math.min(truncations.components, largestSaving(k * n, k + n));
    const ranks = options.rank === undefined ? rankLadder(largest, options.roundTo, RANKS) : options.rank <= largest ? [options.rank] : [];
    for (const rank of ranks) candidates.push(svdCandidate(entry, truncations, options.math, rank));
  }
  if (layer.kind === 'conv') candidates.push(...(await convMethodCandidates(entry, weight, options)));
  return { candidates, truncations };
}

function svdCandidate(entry: FactorLayer, truncations: Truncations, math: DenseMath, rank: number): Candidate {
  const { layer, node } = entry;
  const { k, n } = layer;
  const share = (rank * (k + n)) / (k * n);
  return {
    method: layer.kind === 'product' ? 'svd' : 'channel',
    ranks: [rank],
    macs: entry.macs * share,
    params: rank * (k + n),
    lost: truncations.lost(rank),
    async build(): Promise<Factored> {
      const { a, b } = await truncations.factors(rank);
      const approximation = await math.product(a, b, k, rank, n);
      if (layer.kind === 'product') return { product: { a, b, rank }, approximation };
      const kernel = node.input(1)!.initializer!.dims.slice(1);
      const axes = kernel.length - 1;
      const first: ConvStage = {
        dims: [rank, ...kernel],
        weight: transposed(a, k, rank),
        strides: node.ints('strides', new Array<number>(axes).fill(1)),
        pads: node.ints('pads', new Array<number>(2 * axes).fill(0)),
        dilations: node.ints('dilations', new Array<number>(axes).fill(1)),
        group: 1,
        autoPad: node.string('auto_pad', 'NOTSET'),
      };
      return { stages: [first, pointwise(b, rank, n, axes)], approximation };
    },
  };
}
