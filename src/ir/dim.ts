// Symbolic dimensions: integer polynomials over symbols, kept as canonical text ("2*batch*seq+1") so that a Dim stays a plain string.
// Where the result is no polynomial an opaque atom stands for it: floor(p/q), max(...), min(...). A ceiling is written as a floor.
// Symbols stand for non-negative integers below 2^31. Subtraction is printed with its coefficient ("seq-1*past"), so that "batch-size" stays a name.
import type { Dim, Shape } from './type.js';

type Atom =
  | { readonly kind: 'symbol'; readonly text: string; readonly name: string }
  | { readonly kind: 'floor'; readonly text: string; readonly over: Poly; readonly by: Poly }
  | { readonly kind: 'max' | 'min'; readonly text: string; readonly of: readonly Poly[] };

interface Term {
  readonly coefficient: number;
  /** Sorted by text; a square appears twice. Empty for the constant term. */
  readonly atoms: readonly Atom[];
  readonly key: string;
}

/** Terms by key, no zero coefficients. */
type Poly = ReadonlyMap<string, Term>;

/** Expressions longer than this are given up (null): they say nothing to a reader and cost time. */
const MAX_TEXT = 240;
const HUGE = 2 ** 31 - 1;

/** Raised inside this file where coefficients leave the safe integers; the operation then answers null. */
class Overflow extends Error {}

// ---- public operations: null absorbs, numbers fold ----

export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return safe(a + b);
  return combine(a, b, (p, q) => sum(p, q, 1));
}

export function subDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return safe(a - b);
  return combine(a, b, (p, q) => sum(p, q, -1));
}

/** Product; zero wins over everything known or not. */
export function mulDims(a: Dim, b: Dim): Dim {
  if (a === 0 || b === 0) return 0;
  if (a === 1) return b;
  if (b === 1) return a;
  if (typeof a === 'number' && typeof b === 'number') return safe(a * b);
  return combine(a, b, product);
}

/** floor(a / b) for b > 0; null where b is zero or negative. */
export function floorDivDims(a: Dim, b: Dim): Dim {
  if (b === 1) return a;
  if (typeof b === 'number' && b <= 0) return null;
  if (typeof a === 'number' && typeof b === 'number') return Math.floor(a / b);
  return combine(a, b, floorDivide);
}

/** ceil(a / b) for b > 0, as floor((a + b - 1) / b). */
export function ceilDivDims(a: Dim, b: Dim): Dim {
  return floorDivDims(subDims(addDims(a, b), 1), b);
}

/** a - b * floor(a / b) for b > 0. */
export function modDims(a: Dim, b: Dim): Dim {
  return subDims(a, mulDims(b, floorDivDims(a, b)));
}

export function maxDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return Math.max(a, b);
  return combine(a, b, (p, q) => extremum('max', p, q));
}

/** Smaller of the two. Numbers of 2^31-1 and more stand for "to the end" and lose against any symbol. */
export function minDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return Math.min(a, b);
  if (typeof a === 'number' && a >= HUGE) return b;
  if (typeof b === 'number' && b >= HUGE) return a;
  return combine(a, b, (p, q) => extremum('min', p, q));
}

/** Product of all dimensions; 1 for a scalar, null where the rank or a dimension is unknown. */
export function sizeOf(shape: Shape | null | undefined): Dim {
  if (shape == null) return null;
  return shape.reduce<Dim>(mulDims, 1);
}

/** True or false only where it holds for all values of the symbols; undefined where it depends or nothing is known. */
export function equalDims(a: Dim, b: Dim): boolean | undefined {
  if (a === null || b === null) return undefined;
  if (a === b) return true;
  if (typeof a === 'number' && typeof b === 'number') return false;
  try {
    const difference = sum(parse(a), parse(b), -1);
    if (difference.size === 0) return true;
    return isPositive(difference) || isPositive(scale(difference, -1)) ? false : undefined;
  } catch (error) {
    if (error instanceof Overflow) return undefined;
    throw error;
  }
}

/** The canonical text of a dimension as a file writes it ("past + 1" becomes "past+1"). */
export function canonicalDim(dim: Dim): Dim {
  return typeof dim === 'string' ? format(parse(dim)) : dim;
}

/** Value under the given symbols; undefined where one is missing or the dimension is unknown. */
export function evaluateDim(dim: Dim, env: Readonly<Record<string, number>>): number | undefined {
  if (typeof dim === 'number') return dim;
  if (dim === null) return undefined;
  if (Object.hasOwn(env, dim)) return env[dim];
  return evaluate(parse(dim), env);
}

/** Puts numbers or other dimensions in the place of symbols. */
export function substituteDim(dim: Dim, env: Readonly<Record<string, Dim>>): Dim {
  if (typeof dim !== 'string') return dim;
  if (Object.hasOwn(env, dim)) return canonicalDim(env[dim]!);
  if (!dimSymbols(dim).some((s) => Object.hasOwn(env, s))) return dim;
  return substitute(parse(dim), env);
}

/** Names of the symbols in it, each once, in order of appearance in the canonical text. */
export function dimSymbols(dim: Dim): string[] {
  if (typeof dim !== 'string') return [];
  const found = new Set<string>();
  collect(parse(dim), found);
  return [...found];
}

function collect(p: Poly, into: Set<string>): void {
  for (const { atoms } of p.values()) {
    for (const atom of atoms) {
      if (atom.kind === 'symbol') into.add(atom.name);
      else for (const q of atom.kind === 'floor' ? [atom.over, atom.by] : atom.of) collect(q, into);
    }
  }
}

// ---- polynomials ----

function safe(n: number): Dim {
  return Number.isSafeInteger(n) ? n : null;
}

function combine(a: Dim, b: Dim, operation: (p: Poly, q: Poly) => Poly): Dim {
  if (a === null || b === null) return null;
  try {
    return format(operation(parse(a), parse(b)));
  } catch (error) {
    if (error instanceof Overflow) return null;
    throw error;
  }
}

function constant(n: number): Poly {
  return n === 0 ? new Map() : new Map([['', { coefficient: n, atoms: [], key: '' }]]);
}

function ofAtom(atom: Atom): Poly {
  return new Map([[atom.text, { coefficient: 1, atoms: [atom], key: atom.text }]]);
}

function addTerm(into: Map<string, Term>, term: Term, factor: number): void {
  const coefficient = (into.get(term.key)?.coefficient ?? 0) + term.coefficient * factor;
  if (!Number.isSafeInteger(coefficient)) throw new Overflow();
  if (coefficient === 0) into.delete(term.key);
  else into.set(term.key, { ...term, coefficient });
}

function sum(p: Poly, q: Poly, factor: number): Poly {
  const out = new Map(p);
  for (const term of q.values()) addTerm(out, term, factor);
  return out;
}

function scale(p: Poly, factor: number): Poly {
  return sum(new Map(), p, factor);
}

function product(p: Poly, q: Poly): Poly {
  const out = new Map<string, Term>();
  for (const a of p.values()) for (const b of q.values()) addTerm(out, multiply(a, b), 1);
  return out;
}

function multiply(a: Term, b: Term): Term {
  const atoms = [...a.atoms, ...b.atoms].sort((x, y) => compareText(x.text, y.text));
  return { coefficient: a.coefficient * b.coefficient, atoms, key: atoms.map((x) => x.text).join('*') };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The number a polynomial is, or undefined. */
function numberOf(p: Poly): number | undefined {
  if (p.size === 0) return 0;
  return p.size === 1 ? p.get('')?.coefficient : undefined;
}

/** True where no value of the symbols makes it negative, as far as its coefficients tell. */
function isNonNegative(p: Poly): boolean {
  return [...p.values()].every((t) => t.coefficient > 0 && t.atoms.every(atomIsNonNegative));
}

function isPositive(p: Poly): boolean {
  return (p.get('')?.coefficient ?? 0) > 0 && isNonNegative(p);
}

function atomIsNonNegative(atom: Atom): boolean {
  if (atom.kind === 'symbol') return true;
  if (atom.kind === 'floor') return isNonNegative(atom.over);
  return atom.kind === 'max' ? atom.of.some(isNonNegative) : atom.of.every(isNonNegative);
}

function floorDivide(p: Poly, q: Poly): Poly {
  const divisor = numberOf(q);
  if (divisor === 1) return p;
  const exact = divideExactly(p, q);
  if (exact) return exact;
  // Whole multiples of the divisor come out: floor((4a+b+5)/4) = a+1+floor((b+1)/4).
  let whole: Poly = new Map();
  let rest = p;
  if (divisor !== undefined) {
    for (const term of p.values()) {
      const part = Math.floor(term.coefficient / divisor);
      const taken = term.key === '' || term.coefficient % divisor === 0 ? part : 0;
      if (taken === 0) continue;
      whole = sum(whole, new Map([[term.key, { ...term, coefficient: taken }]]), 1);
      rest = sum(rest, new Map([[term.key, { ...term, coefficient: taken * divisor }]]), -1);
    }
    const n = numberOf(rest);
    if (n !== undefined) return sum(whole, constant(Math.floor(n / divisor)), 1);
    // floor((floor(x/a)+c)/b) = floor((x+a*c)/(a*b)) for positive a, b.
    const inner = [...rest.values()].find((t) => t.key !== '');
    const atom = inner?.atoms[0];
    if (inner?.coefficient === 1 && inner.atoms.length === 1 && atom?.kind === 'floor' && rest.size <= 2) {
      const c = rest.get('')?.coefficient ?? 0;
      return sum(whole, floorDivide(sum(atom.over, scale(atom.by, c), 1), scale(atom.by, divisor)), 1);
    }
  }
  const [over, by] = cancel(rest, q);
  return sum(whole, ofAtom(floorAtom(over, by)), 1);
}

/** p / q where it leaves no remainder (q non-zero). */
function divideExactly(p: Poly, q: Poly): Poly | undefined {
  const lead = leading(q);
  if (!lead) return undefined;
  let rest = p;
  let quotient: Poly = new Map();
  for (let step = 0; rest.size > 0; step++) {
    const term = leading(rest);
    const part = term && divideTerm(term, lead);
    if (!part || step > 32) return undefined;
    const piece: Poly = new Map([[part.key, part]]);
    quotient = sum(quotient, piece, 1);
    rest = sum(rest, product(piece, q), -1);
  }
  return quotient;
}

/** Largest term in a fixed order (degree, then text). */
function leading(p: Poly): Term | undefined {
  let best: Term | undefined;
  for (const t of p.values()) if (!best || compareTerms(t, best) < 0) best = t;
  return best;
}

function divideTerm(a: Term, b: Term): Term | undefined {
  if (a.coefficient % b.coefficient !== 0) return undefined;
  const atoms = [...a.atoms];
  for (const atom of b.atoms) {
    const at = atoms.findIndex((x) => x.text === atom.text);
    if (at < 0) return undefined;
    atoms.splice(at, 1);
  }
  return { coefficient: a.coefficient / b.coefficient, atoms, key: atoms.map((x) => x.text).join('*') };
}

/** Divides both by the factors all their terms share. */
function cancel(p: Poly, q: Poly): [Poly, Poly] {
  const terms = [...p.values(), ...q.values()];
  const coefficient = terms.reduce((g, t) => gcd(g, Math.abs(t.coefficient)), 0);
  const atoms = (terms[0]?.atoms ?? []).filter(
    (a, i, all) => all.indexOf(a) === i && terms.every((t) => t.atoms.some((x) => x.text === a.text)),
  );
  if (coefficient <= 1 && atoms.length === 0) return [p, q];
  const sorted = [...atoms].sort((x, y) => compareText(x.text, y.text));
  const factor: Term = { coefficient: Math.max(coefficient, 1), atoms: sorted, key: sorted.map((x) => x.text).join('*') };
  const divisor: Poly = new Map([[factor.key, factor]]);
  return [divideExactly(p, divisor) ?? p, divideExactly(q, divisor) ?? q];
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

function extremum(kind: 'max' | 'min', p: Poly, q: Poly): Poly {
  const candidates = [p, q].flatMap((x) => {
    const atom = x.size === 1 ? [...x.values()][0] : undefined;
    const only = atom?.coefficient === 1 && atom.atoms.length === 1 ? atom.atoms[0] : undefined;
    return only?.kind === kind ? only.of : [x];
  });
  const kept: Poly[] = [];
  for (const c of candidates) {
    const loses = (x: Poly, y: Poly) => isNonNegative(kind === 'max' ? sum(y, x, -1) : sum(x, y, -1)) || isAbsorbed(kind, x, y);
    if (kept.some((k) => loses(c, k))) continue;
    for (let i = kept.length - 1; i >= 0; i--) if (loses(kept[i]!, c)) kept.splice(i, 1);
    kept.push(c);
  }
  if (kept.length === 1) return kept[0]!;
  return ofAtom(extremumAtom(kind, kept));
}

/** max(min(a,y),y) = y and min(max(a,y),y) = y: whether `x` is such an inner extremum over `y`. */
function isAbsorbed(kind: 'max' | 'min', x: Poly, y: Poly): boolean {
  const atom = x.size === 1 ? [...x.values()][0] : undefined;
  const only = atom?.coefficient === 1 && atom.atoms.length === 1 ? atom.atoms[0] : undefined;
  if (only?.kind !== (kind === 'max' ? 'min' : 'max')) return false;
  return only.of.some((member) => sum(member, y, -1).size === 0);
}

function floorAtom(over: Poly, by: Poly): Atom {
  const wrap = (p: Poly, plain: boolean) => (plain ? formatText(p) : `(${formatText(p)})`);
  const simple = (p: Poly) => p.size === 1;
  const bySimple = by.size === 1 && (numberOf(by) !== undefined || isSingleAtom(by));
  return { kind: 'floor', over, by, text: `floor(${wrap(over, simple(over))}/${wrap(by, bySimple)})` };
}

function isSingleAtom(p: Poly): boolean {
  const term = [...p.values()][0];
  return p.size === 1 && term?.coefficient === 1 && term.atoms.length === 1;
}

function extremumAtom(kind: 'max' | 'min', of: readonly Poly[]): Atom {
  const sorted = of.map((p) => ({ p, text: formatText(p) })).sort((x, y) => compareText(x.text, y.text));
  return { kind, of: sorted.map((x) => x.p), text: `${kind}(${sorted.map((x) => x.text).join(',')})` };
}

function evaluate(p: Poly, env: Readonly<Record<string, number>>): number | undefined {
  let total = 0;
  for (const { coefficient, atoms } of p.values()) {
    let value = coefficient;
    for (const atom of atoms) {
      const a = evaluateAtom(atom, env);
      if (a === undefined) return undefined;
      value *= a;
    }
    total += value;
  }
  return total;
}

function evaluateAtom(atom: Atom, env: Readonly<Record<string, number>>): number | undefined {
  if (atom.kind === 'symbol') return Object.hasOwn(env, atom.name) ? env[atom.name] : undefined;
  const parts = (atom.kind === 'floor' ? [atom.over, atom.by] : atom.of).map((p) => evaluate(p, env));
  if (!parts.every((x) => x !== undefined)) return undefined;
  if (atom.kind === 'floor') return parts[1]! > 0 ? Math.floor(parts[0]! / parts[1]!) : undefined;
  return atom.kind === 'max' ? Math.max(...parts) : Math.min(...parts);
}

function substitute(p: Poly, env: Readonly<Record<string, Dim>>): Dim {
  let total: Dim = 0;
  for (const { coefficient, atoms } of p.values()) {
    let value: Dim = coefficient;
    for (const atom of atoms) value = mulDims(value, substituteAtom(atom, env));
    total = addDims(total, value);
  }
  return total;
}

function substituteAtom(atom: Atom, env: Readonly<Record<string, Dim>>): Dim {
  if (atom.kind === 'symbol') return Object.hasOwn(env, atom.name) ? env[atom.name]! : format(ofAtom(atom));
  if (atom.kind === 'floor') return floorDivDims(substitute(atom.over, env), substitute(atom.by, env));
  return atom.of.map((p) => substitute(p, env)).reduce(atom.kind === 'max' ? maxDims : minDims);
}

// ---- text ----

/** Positive terms first, then by degree, then by text; the constant comes last. */
function compareTerms(a: Term, b: Term): number {
  return b.atoms.length - a.atoms.length || compareText(a.key, b.key);
}

function formatText(p: Poly): string {
  if (p.size === 0) return '0';
  const terms = [...p.values()].sort(compareTerms);
  const ordered = [...terms.filter((t) => t.coefficient > 0), ...terms.filter((t) => t.coefficient < 0)];
  // The constant stays last also where it is positive and others are negative.
  const at = ordered.findIndex((t) => t.key === '');
  if (at >= 0 && ordered.some((t, i) => i !== at && t.coefficient > 0)) ordered.push(...ordered.splice(at, 1));
  let text = '';
  for (const t of ordered) {
    const sign = t.coefficient < 0 ? '-' : text === '' ? '' : '+';
    const size = Math.abs(t.coefficient);
    text += sign + (t.key === '' ? size : size === 1 && sign !== '-' ? t.key : `${size}*${t.key}`);
  }
  return text;
}

function format(p: Poly): Dim {
  const n = numberOf(p);
  if (n !== undefined) return n;
  const term = [...p.values()][0]!;
  const atom = term.atoms[0];
  if (p.size === 1 && term.coefficient === 1 && term.atoms.length === 1 && atom?.kind === 'symbol') return atom.name;
  const text = formatText(p);
  if (text.length > MAX_TEXT) return null;
  if (!PARSED.has(text)) remember(text, p);
  return text;
}

const PARSED = new Map<string, Poly>();

function remember(text: string, p: Poly): Poly {
  if (PARSED.size > 20_000) PARSED.clear();
  PARSED.set(text, p);
  return p;
}

function parse(dim: number | string): Poly {
  if (typeof dim === 'number') return constant(dim);
  const known = PARSED.get(dim);
  if (known) return known;
  return remember(dim, new DimParser(dim).parse() ?? ofAtom(symbolAtom(dim)));
}

/** A symbol; a name that would read as an expression is written in braces inside larger expressions. */
function symbolAtom(name: string): Atom {
  return { kind: 'symbol', name, text: NAME.test(name) && !FUNCTION.test(name) ? name : `{${name}}` };
}

const NAME = /^(?!\d+$)[^\s+*/(),{}-]+(?:-[A-Za-z_][^\s+*/(),{}-]*)*$/;
const FUNCTION = /^(?:floor|ceil|max|min)$/;
const TOKEN = /\s*(?:(\{[^{}]*\})|((?!\d+(?:[\s+*/(),{}-]|$))[^\s+*/(),{}-]+(?:-[A-Za-z_][^\s+*/(),{}-]*)*)|(\d+)|(\/\/|[+\-*/(),]))\s*/y;

/** Recursive descent over: sum of products of factors; `/` only inside floor() and ceil(), `//` between factors. */
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
