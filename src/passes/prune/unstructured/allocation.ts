// How many zeros each layer gets so that all together have the sparsity asked for: the same share everywhere; Erdos-Renyi-kernel, where density falls
// with the number of connections (Mocanu et al. 2018; kernels: Evci et al. 2020, RigL); or from measured sensitivities, by marginal error per zero.
import type { WeightLayout } from './layout.js';
import { sizeOf } from './layout.js';

export const ALLOCATIONS = ['uniform', 'erk', 'sensitivity'] as const;
export type Allocation = (typeof ALLOCATIONS)[number];

/**
 * Sparsities by layer: density of a layer proportional to (outs + ins + taps) / (outs * ins * taps), with taps as the sum of the window's sides where
 * `windows` gives it, and 1 at most. Together `sparsity` of all elements.
 */
export function erkSparsities(layouts: readonly WeightLayout[], windows: readonly (readonly number[])[], sparsity: number): number[] {
  const sizes = layouts.map(sizeOf);
  const total = sizes.reduce((a, b) => a + b, 0);
  const raw = layouts.map(({ outs, ins, taps }, i) => {
    const window = windows[i]!.reduce((a, b) => a + b, 0);
    return (outs.size + ins.size + window) / (outs.size * ins.size * taps.size);
  });
  const dense = new Set<number>();
  for (;;) {
    // Density = scale * raw for those that are not full: keep (1 - sparsity) * total elements in all.
    let room = (1 - sparsity) * total;
    let weight = 0;
    sizes.forEach((size, i) => {
      if (dense.has(i)) room -= size;
      else weight += raw[i]! * size;
    });
    const scale = weight > 0 ? Math.max(0, room / weight) : 0;
    const over = raw.map((r, i) => [i, r * scale] as const).filter(([i, d]) => !dense.has(i) && d > 1);
    if (over.length === 0) return raw.map((r, i) => (dense.has(i) ? 0 : 1 - r * scale));
    for (const [i] of over) dense.add(i);
  }
}

/** Error of a layer at some sparsities, ascending; 0 at 0 is understood. */
export type ErrorCurve = readonly { readonly sparsity: number; readonly error: number }[];

/**
 * Sparsities by layer that reach `sparsity` over all elements with the least sum of errors: pieces of the lower convex hulls of the curves are taken in
 * the order of their error per element. No layer goes beyond the last point of its curve.
 */
export function sparsitiesByError(sizes: readonly number[], curves: readonly ErrorCurve[], sparsity: number): number[] {
  const pieces = curves.flatMap((curve, layer) =>
    hullOf(curve).map((piece) => ({ ...piece, layer, cost: piece.error / (piece.width * sizes[layer]!) })),
  );
  pieces.sort((a, b) => a.cost - b.cost || a.layer - b.layer || a.from - b.from);
  const out = sizes.map(() => 0);
  let left = sparsity * sizes.reduce((a, b) => a + b, 0);
  for (const { layer, width } of pieces) {
    const take = Math.min(width, left / sizes[layer]!);
    if (take <= 0) break;
    out[layer]! += take;
    left -= take * sizes[layer]!;
  }
  return out;
}

/** Pieces of the lower convex hull from (0, 0): their slopes rise. */
function hullOf(curve: ErrorCurve): { from: number; width: number; error: number }[] {
  const points = [{ sparsity: 0, error: 0 }, ...curve];
  const hull: { sparsity: number; error: number }[] = [];
  for (const p of points) {
    while (hull.length > 1 && slope(hull.at(-2)!, p) <= slope(hull.at(-2)!, hull.at(-1)!)) hull.pop();
    hull.push(p);
  }
  return hull.slice(1).map((p, i) => ({ from: hull[i]!.sparsity, width: p.sparsity - hull[i]!.sparsity, error: p.error - hull[i]!.error }));
}

function slope(a: { sparsity: number; error: number }, b: { sparsity: number; error: number }): number {
  return (b.error - a.error) / (b.sparsity - a.sparsity);
}
