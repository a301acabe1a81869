// Minimum cut of a graph with source and sink (Dinic 1970): two labels for each of n nodes at least cost, where a label has a price of its own and
// neighbours with different labels pay for it. Exact for any such prices as long as paying for agreement is never asked.

interface Arc {
  readonly to: number;
  capacity: number;
  readonly back: number;
}

/** Capacities below this count as used up, so that rounding cannot go round in circles. */
const NOTHING = 1e-12;

export class MinCut {
  readonly #arcs: Arc[][];
  readonly #source: number;
  readonly #sink: number;

  constructor(nodes: number) {
    this.#source = nodes;
    this.#sink = nodes + 1;
    this.#arcs = Array.from({ length: nodes + 2 }, () => []);
  }

  /** Price of a node with label true (`on`) or false (`off`); may be infinite, not both. */
  price(node: number, on: number, off: number): void {
    const least = Math.min(on, off);
    this.#add(this.#source, node, off - least);
    this.#add(node, this.#sink, on - least);
  }

  /** Price of `a` being true while `b` is false. */
  border(a: number, b: number, price: number): void {
    this.#add(a, b, price);
  }

  #add(from: number, to: number, capacity: number): void {
    if (!(capacity > 0)) return;
    const a = this.#arcs[from]!;
    const b = this.#arcs[to]!;
    a.push({ to, capacity, back: b.length });
    b.push({ to: from, capacity: 0, back: a.length - 1 });
  }

  /** Labels of least total price. */
  solve(): boolean[] {
    let levels = this.#levels();
    while (levels[this.#sink]! >= 0) {
      const next = new Int32Array(this.#arcs.length);
      while (this.#push(this.#source, Number.MAX_VALUE, levels, next) > NOTHING);
      levels = this.#levels();
    }
    return Array.from({ length: this.#source }, (_, node) => levels[node]! >= 0);
  }

  #levels(): Int32Array {
    const levels = new Int32Array(this.#arcs.length).fill(-1);
    levels[this.#source] = 0;
    const queue = [this.#source];
    for (const node of queue) {
      for (const arc of this.#arcs[node]!) {
        if (arc.capacity <= NOTHING || levels[arc.to]! >= 0) continue;
        levels[arc.to] = levels[node]! + 1;
        queue.push(arc.to);
      }
    }
    return levels;
  }

  /** Sends as much as one path takes; paths have at most as many arcs as there are levels. */
  #push(node: number, amount: number, levels: Int32Array, next: Int32Array): number {
    if (node === this.#sink) return amount;
    const arcs = this.#arcs[node]!;
    for (; next[node]! < arcs.length; next[node] = next[node]! + 1) {
      const arc = arcs[next[node]!]!;
      if (arc.capacity <= NOTHING || levels[arc.to]! !== levels[node]! + 1) continue;
      const sent = this.#push(arc.to, Math.min(amount, arc.capacity), levels, next);
      if (sent > NOTHING) {
        arc.capacity -= sent;
        this.#arcs[arc.to]![arc.back]!.capacity += sent;
        return sent;
      }
    }
    return 0;
  }
}
