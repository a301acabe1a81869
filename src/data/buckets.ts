// Sequences of like length together: few distinct padded lengths, chosen so that the fewest elements are padding, and the batches of an epoch.
// Each distinct shape costs a training session its own graph, so what a bucket leaves over joins the next longer one instead of making a short batch.
import { usageError } from '../errors.js';
import type { Rng } from '../util/rng.js';

/** Padded lengths are multiples of this where that stays within the longest: odd lengths make kernels slower. */
const MULTIPLE = 4;

/**
 * At most `count` lengths, ascending, the last one the longest given, that make the sum of padded lengths smallest (exact, by dynamic programming over
 * the distinct lengths).
 */
export function bucketLengths(lengths: readonly number[], count: number): number[] {
  if (!(Number.isInteger(count) && count > 0)) throw usageError(`buckets: expected a whole number above 0, got ${count}`);
  const longest = lengths.reduce((max, n) => Math.max(max, n), 1);
  const samples = new Map<number, number>();
  for (const n of lengths) {
    const padded = Math.min(longest, Math.max(MULTIPLE, Math.ceil(n / MULTIPLE) * MULTIPLE));
    samples.set(padded, (samples.get(padded) ?? 0) + 1);
  }
  const sizes = [...samples.keys()].sort((a, b) => a - b);
  if (sizes.length <= count) return sizes;
  const below = [0];
  for (const size of sizes) below.push(below.at(-1)! + samples.get(size)!);
  // cost[j]: padded elements of the first j sizes in the buckets so far; from[k][j]: where the last of k + 1 buckets begins.
  let cost = below.map((n, j) => (j === 0 ? 0 : n * sizes[j - 1]!));
  const from: number[][] = [sizes.map(() => 0)];
  for (let k = 1; k < count; k++) {
    const next = [0];
    const begins: number[] = [];
    for (let j = 1; j <= sizes.length; j++) {
      let [best, at] = [Number.POSITIVE_INFINITY, 0];
      for (let i = 0; i < j; i++) {
        const c = cost[i]! + (below[j]! - below[i]!) * sizes[j - 1]!;
        if (c < best) [best, at] = [c, i];
      }
      next.push(best);
      begins.push(at);
    }
    cost = next;
    from.push(begins);
  }
  const chosen: number[] = [];
  for (let k = count - 1, j = sizes.length; k >= 0 && j > 0; k--) {
    chosen.unshift(sizes[j - 1]!);
    j = from[k]![j - 1]!;
  }
  return chosen;
}

/** Samples of one batch, and the length they are padded to. */
export interface BucketBatch {
  readonly indices: readonly number[];
  readonly length: number;
}

/**
 * The batches of an epoch in random order. Samples are shuffled within their bucket; the rest that fills no batch moves on to the next longer bucket, so
 * only one batch is short: the last, of the longest bucket.
 */
export function bucketBatches(lengths: readonly number[], sizes: readonly number[], batchSize: number, rng: Rng): BucketBatch[] {
  const members: number[][] = sizes.map(() => []);
  for (const [i, n] of lengths.entries()) members[sizes.findIndex((size) => size >= n)]!.push(i);
  const whole: BucketBatch[] = [];
  let rest: number[] = [];
  for (const [k, length] of sizes.entries()) {
    const order = rng.shuffle([...rest, ...members[k]!]);
    const full = Math.floor(order.length / batchSize) * batchSize;
    for (let start = 0; start < full; start += batchSize) whole.push({ indices: order.slice(start, start + batchSize), length });
    rest = order.slice(full);
  }
  rng.shuffle(whole);
  if (rest.length > 0) whole.push({ indices: rest, length: sizes.at(-1)! });
  return whole;
}
