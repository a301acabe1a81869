// From scores to masks: the elements, or cells of a pattern, with the lowest scores go. Compared within a layer, within each output, or over all layers.
// Ties fall by position, so that the same scores give the same mask.
import type { Cells, Pattern, WeightLayout } from './layout.js';
import { cellsOf } from './layout.js';

/** 1 = kept. */
export type Mask = Uint8Array;

/** Mean score of each cell. */
export function cellScores(scores: ArrayLike<number>, { size, members }: Cells): Float64Array {
  const out = new Float64Array(members.length / size);
  for (let i = 0; i < members.length; i++) out[Math.floor(i / size)]! += scores[members[i]!]! / size;
  return out;
}

/** Marks the `count` lowest of scores[from..to) in `gone`. */
export function dropLowest(scores: Float64Array, count: number, gone: Uint8Array, from = 0, to = scores.length): void {
  if (count <= 0) return;
  const sorted = scores.slice(from, to).sort();
  const limit = sorted[Math.min(count, sorted.length) - 1]!;
  let left = Math.min(count, sorted.length);
  for (let i = from; i < to; i++) {
    if (scores[i]! < limit) {
      gone[i] = 1;
      left--;
    }
  }
  for (let i = from; i < to && left > 0; i++) {
    if (scores[i] === limit && gone[i] === 0) {
      gone[i] = 1;
      left--;
    }
  }
}

/** Keeps `keep` of each `of` neighbours. */
export function dropOfEach(scores: Float64Array, keep: number, of: number, gone: Uint8Array): void {
  for (let from = 0; from < scores.length; from += of) dropLowest(scores, of - keep, gone, from, from + of);
}

function maskOfCells(cells: Cells, gone: Uint8Array): Mask {
  const mask = new Uint8Array(cells.members.length).fill(1);
  for (let i = 0; i < cells.members.length; i++) if (gone[Math.floor(i / cells.size)] === 1) mask[cells.members[i]!] = 0;
  return mask;
}

/** Mask of one weight: `sparsity` of its elements go, or what the N:M pattern says. */
export function layerMask(
  scores: ArrayLike<number>,
  layout: WeightLayout,
  sparsity: number,
  pattern: Pattern | undefined,
  compare: 'layer' | 'output',
): Mask {
  const cells = cellsOf(layout, pattern);
  const values = cellScores(scores, cells);
  const gone = new Uint8Array(values.length);
  if (pattern?.kind === 'n:m') dropOfEach(values, pattern.keep, pattern.of, gone);
  else if (compare === 'layer') dropLowest(values, Math.round(sparsity * values.length), gone);
  else {
    for (let from = 0, to = 0; from < values.length; from = to) {
      while (to < values.length && cells.outputs[to] === cells.outputs[from]) to++;
      dropLowest(values, Math.round(sparsity * (to - from)), gone, from, to);
    }
  }
  return maskOfCells(cells, gone);
}

export interface ScoredWeight {
  readonly layout: WeightLayout;
  readonly scores: ArrayLike<number>;
}

/** Masks of all weights: `sparsity` of all elements go, wherever scores are lowest; each weight keeps at least the share `minKeep`. */
export function globalMasks(weights: readonly ScoredWeight[], sparsity: number, pattern: Pattern | undefined, minKeep: number): Mask[] {
  const parts = weights.map((w) => {
    const cells = cellsOf(w.layout, pattern);
    return { cells, values: cellScores(w.scores, cells) };
  });
  const all = new Float64Array(parts.reduce((n, p) => n + p.values.length, 0));
  let at = 0;
  for (const { values } of parts) {
    // What must stay is out of the comparison: its scores count as infinite.
    const least = Math.ceil(minKeep * values.length);
    const kept = new Uint8Array(values.length);
    if (least > 0) dropLowest(values, values.length - least, kept);
    for (let i = 0; i < values.length; i++) all[at + i] = least > 0 && kept[i] === 0 ? Number.POSITIVE_INFINITY : values[i]!;
    at += values.length;
  }
  const gone = new Uint8Array(all.length);
  const most = all.reduce((n, v) => n + (v === Number.POSITIVE_INFINITY ? 0 : 1), 0);
  dropLowest(all, Math.min(most, Math.round(sparsity * all.length)), gone);
  at = 0;
  return parts.map(({ cells, values }) => {
    const mask = maskOfCells(cells, gone.subarray(at, at + values.length));
    at += values.length;
    return mask;
  });
}
