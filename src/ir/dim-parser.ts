// Reads the text of a symbolic dimension, ours ("floor((h+1)/2)") or another tool's ("s0 // 2", "past + 1").
// Recursive descent: sums of products of factors; `/` only inside floor() and ceil(), `//` between factors. What does not parse is a name.
import {
  constant,
  extremum,
  FUNCTION,
  floorDivide,
  numberOf,
  Overflow,
  ofAtom,
  type Poly,
  product,
  sum,
  symbolAtom,
} from './polynomial.js';

/** The polynomial that a text writes; a symbol of that name where it is no expression. */
export function parsePolynomial(text: string): Poly {
  return new DimParser(text).parse() ?? ofAtom(symbolAtom(text));
}

const TOKEN = /\s*(?:(\{[^{}]*\})|((?!\d+(?:[\s+*/(),{}-]|$))[^\s+*/(),{}-]+(?:-[A-Za-z_][^\s+*/(),{}-]*)*)|(\d+)|(\/\/|[+\-*/(),]))\s*/y;

class DimParser {
  readonly #tokens: string[] = [];
  #at = 0;
  #ok = true;

  constructor(text: string) {
    TOKEN.lastIndex = 0;
    for (let i = 0; i < text.length; i = TOKEN.lastIndex) {
      TOKEN.lastIndex = i;
      const m = TOKEN.exec(text);
      if (!m || this.#tokens.length > 400) {
        this.#ok = false;
        return;
      }
      this.#tokens.push((m[1] ?? m[2] ?? m[3] ?? m[4])!);
    }
  }

  /** undefined where the text is no expression; it then is a name as a whole. */
  parse(): Poly | undefined {
    if (!this.#ok || this.#tokens.length === 0) return undefined;
    try {
      const p = this.#sum(0);
      return p && this.#at === this.#tokens.length ? p : undefined;
    } catch (error) {
      if (error instanceof Overflow) return undefined;
      throw error;
    }
  }

  #take(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false;
    this.#at++;
    return true;
  }

  #sum(depth: number): Poly | undefined {
    if (depth > 24) return undefined;
    let sign = this.#take('-') ? -1 : 1;
    let total: Poly = new Map();
    for (;;) {
      const p = this.#product(depth);
      if (!p) return undefined;
      total = sum(total, p, sign);
      if (this.#take('+')) sign = 1;
      else if (this.#take('-')) sign = -1;
      else return total;
    }
  }

  #product(depth: number): Poly | undefined {
    let total = this.#factor(depth);
    while (total) {
      if (this.#take('*')) {
        const q = this.#factor(depth);
        total = q && product(total, q);
      } else if (this.#take('//')) {
        const q = this.#factor(depth);
        total = q && positiveDivisor(q) ? floorDivide(total, q) : undefined;
      } else break;
    }
    return total;
  }

  #factor(depth: number): Poly | undefined {
    const token = this.#tokens[this.#at++];
    if (token === undefined) return undefined;
    if (/^\d+$/.test(token)) return Number.isSafeInteger(Number(token)) ? constant(Number(token)) : undefined;
    if (token === '(') {
      const p = this.#sum(depth + 1);
      return p && this.#take(')') ? p : undefined;
    }
    if (/^[+\-*/(),]|^\/\/$/.test(token)) return undefined;
    if (FUNCTION.test(token) && this.#take('(')) return this.#call(token, depth + 1);
    return ofAtom(symbolAtom(token.startsWith('{') ? token.slice(1, -1) : token));
  }

  #call(name: string, depth: number): Poly | undefined {
    if (name === 'floor' || name === 'ceil') {
      const over = this.#product(depth);
      if (!over || !this.#take('/')) return undefined;
      const by = this.#factor(depth);
      if (!by || !positiveDivisor(by) || !this.#take(')')) return undefined;
      return floorDivide(name === 'floor' ? over : sum(sum(over, by, 1), constant(1), -1), by);
    }
    let total = this.#sum(depth);
    while (total && this.#take(',')) {
      const next = this.#sum(depth);
      total = next && extremum(name as 'max' | 'min', total, next);
    }
    return total && this.#take(')') ? total : undefined;
  }
}

function positiveDivisor(p: Poly): boolean {
  const n = numberOf(p);
  return n === undefined || n > 0;
}
