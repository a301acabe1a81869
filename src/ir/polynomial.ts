// Integer polynomials over atoms: symbols, and what is no polynomial (floor of a quotient, maximum, minimum). The arithmetic behind dim.ts.
// Symbols stand for non-negative integers below 2^31. Every polynomial has one text: terms by degree, then alphabet, negative ones last but the constant.

export type Atom =
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
export type Poly = ReadonlyMap<string, Term>;

/** Products with more terms are given up: no real shape needs them. */
const MAX_TERMS = 4096;

/** Thrown where coefficients leave the safe integers or a product has too many terms; the operation on dimensions then answers null. */
export class Overflow extends Error {}

export function constant(n: number): Poly {
  return n === 0 ? new Map() : new Map([['', { coefficient: n, atoms: [], key: '' }]]);
}

export function ofAtom(atom: Atom): Poly {
  return new Map([[atom.text, { coefficient: 1, atoms: [atom], key: atom.text }]]);
}

function addTerm(into: Map<string, Term>, term: Term, factor: number): void {
  const coefficient = (into.get(term.key)?.coefficient ?? 0) + term.coefficient * factor;
  if (!Number.isSafeInteger(coefficient)) throw new Overflow();
  if (coefficient === 0) into.delete(term.key);
  else into.set(term.key, { ...term, coefficient });
}

export function sum(p: Poly, q: Poly, factor: number): Poly {
  const out = new Map(p);
  for (const term of q.values()) addTerm(out, term, factor);
  return out;
}

export function scale(p: Poly, factor: number): Poly {
  return sum(new Map(), p, factor);
}

export function product(p: Poly, q: Poly): Poly {
  if (p.size * q.size > MAX_TERMS) throw new Overflow();
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
export function numberOf(p: Poly): number | undefined {
  if (p.size === 0) return 0;
  return p.size === 1 ? p.get('')?.coefficient : undefined;
}

/** True where no value of the symbols makes it negative, as far as its coefficients tell. */
function isNonNegative(p: Poly): boolean {
  return [...p.values()].every((t) => t.coefficient > 0 && t.atoms.every(atomIsNonNegative));
}

export function isPositive(p: Poly): boolean {
  return (p.get('')?.coefficient ?? 0) > 0 && isNonNegative(p);
}

function atomIsNonNegative(atom: Atom): boolean {
  if (atom.kind === 'symbol') return true;
  if (atom.kind === 'floor') return isNonNegative(atom.over);
  return atom.kind === 'max' ? atom.of.some(isNonNegative) : atom.of.every(isNonNegative);
}

export function floorDivide(p: Poly, q: Poly): Poly {
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

export function extremum(kind: 'max' | 'min', p: Poly, q: Poly): Poly {
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

// ---- text ----

/** Positive terms first, then by degree, then by text; the constant comes last. */
function compareTerms(a: Term, b: Term): number {
  return b.atoms.length - a.atoms.length || compareText(a.key, b.key);
}

export function formatText(p: Poly): string {
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

/** A symbol; a name that would read as an expression is written in braces inside larger expressions. */
export function symbolAtom(name: string): Atom {
  return { kind: 'symbol', name, text: NAME.test(name) && !FUNCTION.test(name) ? name : `{${name}}` };
}

const NAME = /^(?!\d+$)[^\s+*/(),{}-]+(?:-[A-Za-z_][^\s+*/(),{}-]*)*$/;

/** Names of functions, which no symbol may have unquoted. */
export const FUNCTION = /^(?:floor|ceil|max|min)$/;
