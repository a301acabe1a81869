// Every position of every axis with a known extent is one element; elements that must be kept or removed together are joined (union-find),
// and a set that must stay carries the reason why.
import type { Value } from '../../ir/graph.js';
import { shapeOf } from './statement.js';

/** Where along an axis an index of a letter lies: `(o * count + index) * inner + i` for all o below `outer` and i below `inner`. */
export interface Stretch {
  /** First element of the axis, or of the part of it. */
  readonly base: number;
  readonly outer: number;
  readonly count: number;
  readonly inner: number;
}

export class Elements {
  readonly #parent: Int32Array;
  readonly #reason: Int32Array;
  readonly #bases = new Map<Value, readonly number[]>();
  readonly #reasons: string[] = [];
  readonly #reasonIds = new Map<string, number>();
  readonly size: number;

  constructor(values: Iterable<Value>) {
    let next = 0;
    for (const value of values) {
      const shape = shapeOf(value);
      if (!shape || this.#bases.has(value)) continue;
      this.#bases.set(
        value,
        shape.map((extent) => {
          if (typeof extent !== 'number') return -1;
          const base = next;
          next += extent;
          return base;
        }),
      );
    }
    this.size = next;
    this.#parent = Int32Array.from({ length: next }, (_, i) => i);
    this.#reason = new Int32Array(next).fill(-1);
  }

  /** Values that have elements, with the first element of each axis (-1 where the extent is not known). */
  entries(): IterableIterator<[Value, readonly number[]]> {
    return this.#bases.entries();
  }

  /** First element of an axis; -1 where its extent is not known or the value has no shape. */
  base(value: Value, axis: number): number {
    return this.#bases.get(value)?.[axis] ?? -1;
  }

  find(element: number): number {
    let at = element;
    while (this.#parent[at] !== at) {
      this.#parent[at] = this.#parent[this.#parent[at]!]!;
      at = this.#parent[at]!;
    }
    return at;
  }

  join(a: number, b: number): void {
    const [x, y] = [this.find(a), this.find(b)];
    if (x === y) return;
    const [low, high] = x < y ? [x, y] : [y, x];
    this.#parent[high] = low;
    if (this.#reason[low]! < 0) this.#reason[low] = this.#reason[high]!;
  }

  freeze(element: number, reason: string): void {
    const root = this.find(element);
    if (this.#reason[root]! >= 0) return;
    let id = this.#reasonIds.get(reason);
    if (id === undefined) {
      id = this.#reasons.push(reason) - 1;
      this.#reasonIds.set(reason, id);
    }
    this.#reason[root] = id;
  }

  /** Why the set of this element must stay; undefined where it may go. */
  frozen(element: number): string | undefined {
    return this.#reasons[this.#reason[this.find(element)]!];
  }

  freezeAxis(value: Value, axis: number, reason: string): void {
    const base = this.base(value, axis);
    if (base < 0) return;
    const extent = shapeOf(value)![axis] as number;
    for (let i = 0; i < extent; i++) this.freeze(base + i, reason);
  }

  freezeValue(value: Value, reason: string): void {
    shapeOf(value)?.forEach((_, axis) => {
      this.freezeAxis(value, axis, reason);
    });
  }

  freezeStretch(stretch: Stretch, reason: string): void {
    const total = stretch.outer * stretch.count * stretch.inner;
    for (let i = 0; i < total; i++) this.freeze(stretch.base + i, reason);
  }

  /** Joins index i of every stretch, for each i. All have the same count. */
  joinStretches(stretches: readonly Stretch[]): void {
    const first = stretches[0];
    if (!first) return;
    for (let index = 0; index < first.count; index++) {
      const anchor = first.base + index * first.inner;
      for (const s of stretches) {
        for (let o = 0; o < s.outer; o++) {
          const start = s.base + (o * s.count + index) * s.inner;
          for (let i = 0; i < s.inner; i++) this.join(anchor, start + i);
        }
      }
    }
  }
}
