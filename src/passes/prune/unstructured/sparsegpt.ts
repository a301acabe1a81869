// SparseGPT (Frantar and Alistarh 2023): weights of a layer go one input after the other, and the inputs still to come make good what each loss does to the
// output. In the factored form H = (U + I) D (U + I)^T the removal of a weight whose optimum is t costs D t^2 (the paper's w^2 / [H^-1]_cc, with the
// inverse over the inputs to come), which decides, panel by panel, which weights go.
import type { DenseMath } from '../../../quant/dense-math.js';
import { factorHessian, panelMetric, panelTargets } from '../../../quant/hessian.js';
import type { Pattern } from './layout.js';
import { dropLowest } from './select.js';

/** Inputs between two decisions, as in the paper. */
const PANEL = 128;
/** With patterns along the inputs decisions are taken more often. */
const PATTERN_PANEL = 16;

export interface SparseGptOptions {
  /** Fraction of the weights to remove; N:M patterns say it themselves. */
  readonly sparsity: number;
  readonly pattern: Pattern | undefined;
  /** Taps of a kernel: input i of [k] is tap i % taps of channel floor(i / taps). */
  readonly taps: number;
  readonly damping: number;
}

/** Prunes weights [k, n] given H = X^T X [k, k]. Answers the values left, with zeros where weights are gone, and the mask (1 = kept). */
export async function pruneWithHessian(
  math: DenseMath,
  weights: Float32Array,
  k: number,
  n: number,
  h: ArrayLike<number>,
  options: SparseGptOptions,
): Promise<{ values: Float32Array; mask: Uint8Array }> {
  const { pattern, damping } = options;
  const together = pattern?.kind === 'n:m' ? pattern.of : (pattern?.ins ?? 1);
  const hessian = await factorHessian(math, h, k, { damping, order: patternOrder(h, k, options.taps, together), block: 1 });
  const { order, factor } = hessian;
  const panel = pattern ? Math.max(together, Math.floor(PATTERN_PANEL / together) * together) : PANEL;
  const values = new Float32Array(k * n);
  const mask = new Uint8Array(k * n);
  /** w - v in the order of removal. */
  const errors = new Float32Array(k * n);
  let decided = 0;
  for (let from = 0; from < k; from += panel) {
    const size = Math.min(panel, k - from);
    const metric = panelMetric(factor, from, size);
    const targets = await panelTargets(math, weights, errors, order, factor, from, size, n);
    const original = new Float32Array(size * n);
    for (let r = 0; r < size; r++) original.set(weights.subarray(order[from + r]! * n, (order[from + r]! + 1) * n), r * n);
    const optimum = followOptimum(targets, original, metric.feedback, size, n);
    const scores = new Float64Array(size * n);
    for (let r = 0; r < size; r++) for (let c = 0; c < n; c++) scores[r * n + c] = optimum[r * n + c]! ** 2 * metric.weight[r]!;
    // Whole numbers in all panels together come to the share asked for.
    const until = Math.round((options.sparsity * (from + size) * n) / cellSize(pattern));
    const gone = choosePanel(scores, size, n, pattern, until - decided);
    decided = until;
    for (let r = 0; r < size; r++) {
      const row = order[from + r]! * n;
      for (let c = 0; c < n; c++) {
        const at = r * n + c;
        let t = targets[at]!;
        for (let j = 0; j < r; j++) t += errors[(from + j) * n + c]! * metric.feedback[r * size + j]!;
        const kept = gone[at] === 0;
        mask[row + c] = kept ? 1 : 0;
        values[row + c] = kept ? t : 0;
        errors[from * n + at] = original[at]! - values[row + c]!;
      }
    }
  }
  return { values, mask };
}

function cellSize(pattern: Pattern | undefined): number {
  return pattern?.kind === 'block' ? pattern.outs * pattern.ins : 1;
}

/** Inputs with those of a pattern (neighbouring channels at one tap) side by side, the groups with the most data first. */
function patternOrder(h: ArrayLike<number>, k: number, taps: number, together: number): Int32Array {
  const groups: { members: number[]; size: number }[] = [];
  for (let c = 0; c < k / taps; c += together) {
    for (let t = 0; t < taps; t++) {
      const members = Array.from({ length: together }, (_, i) => (c + i) * taps + t);
      groups.push({ members, size: members.reduce((sum, i) => sum + h[i * k + i]!, 0) });
    }
  }
  groups.sort((a, b) => b.size - a.size || a.members[0]! - b.members[0]!);
  return Int32Array.from(groups.flatMap((g) => g.members));
}

/** Weights of a panel as they are now that earlier panels are done and nothing of this one has gone. */
function followOptimum(targets: Float32Array, original: Float32Array, feedback: Float64Array, size: number, n: number): Float32Array {
  const now = targets.slice();
  for (let r = 0; r < size; r++) {
    for (let j = 0; j < r; j++) {
      const f = feedback[r * size + j]!;
      if (f === 0) continue;
      for (let c = 0; c < n; c++) now[r * n + c]! += (original[j * n + c]! - now[j * n + c]!) * f;
    }
  }
  return now;
}

/** Which elements of a panel [size, n] go: 1 = gone. */
function choosePanel(scores: Float64Array, size: number, n: number, pattern: Pattern | undefined, cells: number): Uint8Array {
  const gone = new Uint8Array(size * n);
  if (!pattern) {
    dropLowest(scores, cells, gone);
    return gone;
  }
  const [rows, columns] = pattern.kind === 'n:m' ? [pattern.of, 1] : [pattern.ins, pattern.outs];
  if (pattern.kind === 'n:m') {
    const column = new Float64Array(rows);
    const chosen = new Uint8Array(rows);
    for (let r = 0; r < size; r += rows) {
      for (let c = 0; c < n; c++) {
        for (let i = 0; i < rows; i++) column[i] = scores[(r + i) * n + c]!;
        dropLowest(column, pattern.of - pattern.keep, chosen.fill(0));
        for (let i = 0; i < rows; i++) gone[(r + i) * n + c] = chosen[i]!;
      }
    }
    return gone;
  }
  const across = n / columns;
  const sums = new Float64Array((size / rows) * across);
  const cellOf = (r: number, c: number) => Math.floor(r / rows) * across + Math.floor(c / columns);
  for (let r = 0; r < size; r++) for (let c = 0; c < n; c++) sums[cellOf(r, c)]! += scores[r * n + c]!;
  const chosen = new Uint8Array(sums.length);
  dropLowest(sums, cells, chosen);
  for (let r = 0; r < size; r++) for (let c = 0; c < n; c++) gone[r * n + c] = chosen[cellOf(r, c)]!;
  return gone;
}
