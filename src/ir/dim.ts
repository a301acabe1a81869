// Symbolic dimensions: integer polynomials over symbols, kept as canonical text ("2*batch*seq+1") so that a Dim stays a plain string.
// Where the result is no polynomial an opaque atom stands for it: floor(p/q), max(...), min(...). A ceiling is written as a floor.
// Symbols stand for non-negative integers below 2^31. Subtraction is printed with its coefficient ("seq-1*past"), so that "batch-size" stays a name.
import { parsePolynomial } from './dim-parser.js';
import {
  type Atom,
  constant,
  extremum,
  floorDivide,
  formatText,
  isPositive,
  numberOf,
  Overflow,
  ofAtom,
  type Poly,
  product,
  scale,
  sum,
} from './polynomial.js';
import type { Dim, Shape } from './type.js';

/** Expressions longer than this are given up (null): they say nothing to a reader and cost time. */
const MAX_TEXT = 240;
const HUGE = 2 ** 31 - 1;

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

// ---- between dimensions and polynomials ----

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
  return remember(dim, parsePolynomial(dim));
}

function collect(p: Poly, into: Set<string>): void {
  for (const { atoms } of p.values()) {
    for (const atom of atoms) {
      if (atom.kind === 'symbol') into.add(atom.name);
      else for (const q of atom.kind === 'floor' ? [atom.over, atom.by] : atom.of) collect(q, into);
    }
  }
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
