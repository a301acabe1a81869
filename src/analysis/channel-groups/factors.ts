// An axis made of a product can lose whole slices of one factor only. Which factor that is must be decided once for the whole graph: attention
// heads rather than places within them, channels rather than pixels of a flattened map, groups of a convolution.
import type { Node, Value } from '../../ir/graph.js';
import { type AxesStatement, type AxisTerm, lettersOfTerm } from '../../ops/axes.js';
import { extentsOf, operandsOf, shapeOf } from './statement.js';

/** Letters of a node that an axis made of a product must keep whole. */
export type WholeLetters = ReadonlyMap<Node, ReadonlySet<string>>;

/** Coarse classes: whole axes of values, and letters of nodes that have no axis of their own. */
class Classes {
  readonly #ids = new Map<Value | Node, Map<string, number>>();
  readonly #parent: number[] = [];
  readonly #frozen: boolean[] = [];
  readonly #free: boolean[] = [];

  id(owner: Value | Node, key: string): number {
    let own = this.#ids.get(owner);
    if (!own) {
      own = new Map();
      this.#ids.set(owner, own);
    }
    let id = own.get(key);
    if (id === undefined) {
      id = this.#parent.push(this.#parent.length) - 1;
      this.#frozen.push(false);
      this.#free.push(false);
      own.set(key, id);
    }
    return id;
  }

  find(id: number): number {
    let at = id;
    while (this.#parent[at] !== at) at = this.#parent[at]!;
    if (at !== id) this.#parent[id] = at;
    return at;
  }

  join(a: number, b: number): void {
    const [x, y] = [this.find(a), this.find(b)];
    if (x === y) return;
    this.#parent[y] = x;
    this.#frozen[x] = this.#frozen[x]! || this.#frozen[y]!;
    this.#free[x] = this.#free[x]! || this.#free[y]!;
  }

  freeze(id: number): void {
    this.#frozen[this.find(id)] = true;
  }

  isFrozen(id: number): boolean {
    return this.#frozen[this.find(id)]!;
  }

  choose(id: number): void {
    this.#free[this.find(id)] = true;
  }

  isChosen(id: number): boolean {
    return this.#free[this.find(id)]!;
  }
}

/** `pinned` are values whose axes must all stay: graph inputs and outputs, operands of opaque operators. */
export function chooseFactors(statements: ReadonlyMap<Node, AxesStatement>, pinned: Iterable<Value>): WholeLetters {
  const classes = new Classes();
  const letterOf = (node: Node, letter: string) => classes.id(node, letter);
  const axisOf = (value: Value, axis: number) => classes.id(value, String(axis));
  for (const value of pinned) for (const axis of shapeOf(value)?.keys() ?? []) classes.freeze(axisOf(value, axis));
  const products: { node: Node; axis: number; letters: readonly string[]; extents: ReadonlyMap<string, number> }[] = [];
  for (const [node, statement] of statements) {
    const extents = extentsOf(statement, node) ?? new Map<string, number>();
    for (const { terms, value } of operandsOf(statement, node)) {
      for (const [axis, term] of terms.entries()) {
        const own = axisOf(value, axis);
        if (term.kind === 'fixed' || typeof shapeOf(value)?.[axis] !== 'number') classes.freeze(own);
        for (const plain of plainLetters(term)) classes.join(own, letterOf(node, plain));
        for (const factors of productsOf(term)) products.push({ node, axis: own, letters: factors, extents });
      }
    }
  }
  const whole = new Map<Node, Set<string>>();
  for (const { node, axis, letters, extents } of products) {
    const kept = whole.get(node) ?? new Set<string>();
    whole.set(node, kept);
    if (classes.isFrozen(axis)) for (const l of letters) classes.freeze(letterOf(node, l));
    const open = letters.filter((l) => !kept.has(l) && !classes.isFrozen(letterOf(node, l)) && extents.get(l) !== 1);
    const chosen = open.find((l) => classes.isChosen(letterOf(node, l))) ?? open[0];
    for (const l of letters) {
      if (l === chosen) continue;
      kept.add(l);
      classes.freeze(letterOf(node, l));
    }
    if (chosen === undefined) classes.freeze(axis);
    else {
      classes.choose(letterOf(node, chosen));
      classes.join(axis, letterOf(node, chosen));
    }
  }
  return whole;
}

function plainLetters(term: AxisTerm): string[] {
  if (term.kind === 'letter') return [term.letter];
  return term.kind === 'concat' ? term.parts.flatMap(plainLetters) : [];
}

function productsOf(term: AxisTerm): string[][] {
  if (term.kind === 'product') return [lettersOfTerm(term)];
  return term.kind === 'concat' ? term.parts.flatMap(productsOf) : [];
}
