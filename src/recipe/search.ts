// The smallest set of layers to keep at higher precision so that a loss stays within a target. Measuring a set is dear, so a cheap prediction
// orders the sets: for each number of layers the set with the least predicted loss is found by elimination, addition and exchange; the number is
// then found by interpolated bisection on the measured loss; at last smaller sets are tried, several alternatives at a time, until none holds.

export interface SearchProblem {
  /** Number of layers. */
  readonly layers: number;
  /** What keeping a layer costs beyond its count (share of bytes or MACs, summing to at most 1): decides between sets of one size. */
  readonly cost: readonly number[];
  /** Predicted loss where these layers are kept; any unit. */
  predict(kept: ReadonlySet<number>): number;
  /** Measured loss where these layers are kept. */
  measure(kept: readonly number[]): Promise<number>;
  readonly target: number;
  /** Most measurements (default: a third of what ranking every layer alone and adding them one by one takes, less what the prediction costs). */
  readonly maxMeasurements?: number;
}

export interface SearchPoint {
  readonly kept: readonly number[];
  readonly loss: number;
  readonly predicted: number;
}

export interface SearchResult {
  /** The set chosen: the smallest that holds the target, or the best found where none does. */
  readonly best: SearchPoint;
  readonly met: boolean;
  /** Everything that was measured, in order. */
  readonly points: readonly SearchPoint[];
}

/** Adding layers one by one in the order of their own gain measures each layer once and each addition once: this share of that, less `prediction`. */
const MEASUREMENTS = { least: 5, most: 24, share: 1 / 3, prediction: 2 };
/** Alternatives of one size that are tried after the predicted best has failed, as far as the measurements last. */
const ALTERNATIVES = 4;
/** Alternatives predicted worse than this factor of the best of their size are not worth a measurement. */
const WORTH_TRYING = 2;
/** Layers from which exchanges look at the most promising candidates only. */
const EXCHANGED = 24;

export async function searchKept(problem: SearchProblem): Promise<SearchResult> {
  return new Search(problem).run();
}

class Search {
  readonly #problem: SearchProblem;
  readonly #points: SearchPoint[] = [];
  readonly #seen = new Map<string, SearchPoint>();
  readonly #predicted = new Map<string, number>();
  /** Best predicted set by size. */
  #path: number[][] = [];

  constructor(problem: SearchProblem) {
    this.#problem = problem;
  }

  async run(): Promise<SearchResult> {
    const { layers, target } = this.#problem;
    const none = await this.#measure([]);
    if (none.loss <= target || layers === 0) return this.#result();
    this.#path = this.#bestSets();
    const size = await this.#bisect(none);
    if (size !== undefined) await this.#shrink(size);
    return this.#result();
  }

  get #left(): number {
    const { least, most, share, prediction } = MEASUREMENTS;
    const { layers, target, maxMeasurements } = this.#problem;
    const held = this.#points.filter((p) => p.loss <= target).map((p) => p.kept.length);
    const additions = held.length > 0 ? Math.min(...held) : Math.ceil(layers / 2);
    const own = Math.min(most, Math.max(least, Math.floor((layers + additions) * share) - prediction));
    return (maxMeasurements ?? own) - this.#points.length;
  }

  async #measure(kept: readonly number[]): Promise<SearchPoint> {
    const sorted = [...kept].sort((a, b) => a - b);
    const key = sorted.join();
    const known = this.#seen.get(key);
    if (known) return known;
    const point = { kept: sorted, loss: await this.#problem.measure(sorted), predicted: this.#predict(sorted) };
    this.#points.push(point);
    this.#seen.set(key, point);
    return point;
  }

  #predict(kept: readonly number[]): number {
    const key = [...kept].sort((a, b) => a - b).join();
    let known = this.#predicted.get(key);
    if (known === undefined) {
      known = this.#problem.predict(new Set(kept));
      this.#predicted.set(key, known);
    }
    return known;
  }

  /** Ties between equal predictions fall to the cheaper set. */
  #rank(kept: readonly number[]): number {
    return this.#predict(kept) * (1 + 1e-6 * kept.reduce((sum, i) => sum + (this.#problem.cost[i] ?? 0), 0));
  }

  /** For each size the better of elimination from the full set and addition to the empty one, improved by exchanges. */
  #bestSets(): number[][] {
    const all = Array.from({ length: this.#problem.layers }, (_, i) => i);
    const sets: number[][] = all.map(() => []);
    sets.push(all);
    let down = all;
    for (let size = all.length - 1; size >= 0; size--) {
      down = this.#least(down.map((out) => down.filter((i) => i !== out)));
      sets[size] = down;
    }
    let up: number[] = [];
    for (let size = 1; size < all.length; size++) {
      up = this.#least(all.filter((i) => !up.includes(i)).map((i) => [...up, i]));
      if (this.#rank(up) < this.#rank(sets[size]!)) sets[size] = up;
    }
    return sets;
  }

  #least(sets: readonly number[][]): number[] {
    return sets.reduce((best, set) => (this.#rank(set) < this.#rank(best) ? set : best), sets[0]!);
  }

  /** Exchanges one kept layer for one other as long as the prediction falls. */
  #exchange(start: readonly number[]): number[] {
    let best = [...start];
    for (let improved = true; improved; ) {
      improved = false;
      for (const next of this.#neighbours(best)) {
        if (this.#rank(next) < this.#rank(best) * (1 - 1e-9)) {
          best = next;
          improved = true;
          break;
        }
      }
    }
    return best;
  }

  #neighbours(set: readonly number[]): number[][] {
    const others = Array.from({ length: this.#problem.layers }, (_, i) => i).filter((i) => !set.includes(i));
    const promising =
      others.length <= EXCHANGED ? others : others.sort((a, b) => this.#rank([...set, a]) - this.#rank([...set, b])).slice(0, EXCHANGED);
    return set.flatMap((out) => promising.map((into) => [...set.filter((i) => i !== out), into]));
  }

  /** The best predicted set of a size, exchanges included. */
  #setOf(size: number): number[] {
    const improved = this.#exchange(this.#path[size]!);
    this.#path[size] = improved;
    return improved;
  }

  /** Smallest size whose predicted best set holds the target when measured; undefined where none does. */
  async #bisect(none: SearchPoint): Promise<number | undefined> {
    const { layers, target } = this.#problem;
    let low = 0;
    let high = layers;
    let found: number | undefined;
    // Loss per unit of prediction, from the measurement nearest to the target.
    let rate = none.predicted > 0 ? none.loss / none.predicted : Number.POSITIVE_INFINITY;
    while (low < high - (found === undefined ? 0 : 1) && this.#left > 0) {
      const between = Array.from({ length: high - low - (found === undefined ? 0 : 1) }, (_, k) => low + 1 + k);
      const guess = between.find((size) => this.#predict(this.#path[size]!) * rate <= target) ?? between.at(-1)!;
      // Prediction proposes, bisection bounds the number of wrong proposals.
      const middle = between[between.length >> 1]!;
      const size = this.#points.length < 4 ? guess : Math.round((guess + middle) / 2);
      const point = await this.#measure(this.#setOf(size));
      if (point.predicted > 0 && point.loss > 0) rate = point.loss / point.predicted;
      if (point.loss <= target) {
        found = size;
        high = size;
      } else low = size;
    }
    return found;
  }

  /** Tries smaller sets: other good sets of one layer less, as long as one of them holds. */
  async #shrink(from: number): Promise<void> {
    const { target } = this.#problem;
    let size = from;
    while (size > 1 && this.#left > 0) {
      const held = this.#points.find((p) => p.loss <= target && p.kept.length === size)!;
      let smaller: SearchPoint | undefined;
      for (const set of this.#alternatives(held.kept, size - 1)) {
        if (this.#left <= 0) break;
        const point = await this.#measure(set);
        if (point.loss <= target) {
          smaller = point;
          break;
        }
      }
      if (!smaller) return;
      size--;
    }
  }

  /** Sets of a size that differ from those measured: the held set less one layer, and neighbours of the predicted best. */
  #alternatives(held: readonly number[], size: number): number[][] {
    const best = this.#setOf(size);
    const limit = this.#rank(best) * WORTH_TRYING;
    const candidates = new Map<string, number[]>();
    for (const set of [best, ...held.map((out) => held.filter((i) => i !== out)), ...this.#neighbours(best)]) {
      const sorted = [...set].sort((a, b) => a - b);
      if (!this.#seen.has(sorted.join()) && this.#rank(sorted) <= limit) candidates.set(sorted.join(), sorted);
    }
    return [...candidates.values()].sort((a, b) => this.#rank(a) - this.#rank(b)).slice(0, ALTERNATIVES);
  }

  #result(): SearchResult {
    const { target, cost } = this.#problem;
    const size = (p: SearchPoint) => p.kept.length + p.kept.reduce((sum, i) => sum + (cost[i] ?? 0), 0);
    const holding = this.#points.filter((p) => p.loss <= target);
    const met = holding.length > 0;
    const best = met ? holding.reduce((a, b) => (size(b) < size(a) ? b : a)) : this.#points.reduce((a, b) => (b.loss < a.loss ? b : a));
    return { best, met, points: this.#points };
  }
}
