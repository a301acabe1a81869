// Reads axes statements (the grammar is at Axes in op.ts) into terms, finds the extent of each letter, and counts MACs from them.
// The same structure serves pruning (which axes must be sliced together), layouts and cost.
import { bugError } from '../errors.js';
import type { Node } from '../ir/graph.js';
import type { Shape } from '../ir/type.js';
import type { OpRecord } from './op.js';

/** What one axis of an operand is. */
export type AxisTerm =
  /** Must not be sliced. */
  | { readonly kind: 'fixed' }
  | { readonly kind: 'letter'; readonly letter: string }
  /** Product of axes, outermost first; null is a factor that must not be sliced. */
  | { readonly kind: 'product'; readonly factors: readonly (string | null)[] }
  /** Concatenation of parts along the axis. */
  | { readonly kind: 'concat'; readonly parts: readonly AxisTerm[] };

export interface AxesStatement {
  /** Terms of each operand by axis; null where the operand does not matter. */
  readonly inputs: readonly (readonly AxisTerm[] | null)[];
  readonly outputs: readonly (readonly AxisTerm[] | null)[];
  /** Every letter, in order of appearance. */
  readonly letters: readonly string[];
  /** Letters that no output has: summed over. */
  readonly contracted: readonly string[];
}

const PARSED = new Map<string, AxesStatement>();

/** Parses a statement; throws E_BUG where it is malformed, since statements are written by Pare alone. */
export function parseAxes(text: string): AxesStatement {
  let statement = PARSED.get(text);
  if (!statement) {
    if (PARSED.size > 4096) PARSED.clear();
    statement = parse(text);
    PARSED.set(text, statement);
  }
  return statement;
}

/** Statement of a node under the shapes of its inputs; null where the operator is opaque. */
export function axesOfNode(record: OpRecord, node: Node, inputs: readonly (Shape | null)[]): AxesStatement | null {
  const text = typeof record.axes === 'function' ? record.axes(node, inputs) : record.axes;
  return text === 'opaque' ? null : parseAxes(text);
}

function parse(text: string): AxesStatement {
  const sides = text.replaceAll(' ', '').split('->');
  if (sides.length !== 2) throw bugError(`axes "${text}": expected one "->"`);
  const [inputs, outputs] = sides.map((side) => side.split(',').map((operand) => parseOperand(operand, text)));
  const letters = lettersOf(inputs!);
  const kept = lettersOf(outputs!);
  return {
    inputs: inputs!,
    outputs: outputs!,
    letters: [...new Set([...letters, ...kept])],
    contracted: [...letters].filter((l) => !kept.has(l)),
  };
}

function parseOperand(operand: string, text: string): AxisTerm[] | null {
  if (operand === '_') return null;
  const terms: AxisTerm[] = [];
  for (let i = 0; i < operand.length; i++) {
    const c = operand[i]!;
    if (c === '.') terms.push({ kind: 'fixed' });
    else if (/[A-Za-z]/.test(c)) terms.push({ kind: 'letter', letter: c });
    else if (c === '(') {
      const end = operand.indexOf(')', i);
      const inner = operand.slice(i + 1, end);
      if (end < 0 || !/^[A-Za-z.]+(?:\+[A-Za-z.]+)*$/.test(inner))
        throw bugError(`axes "${text}": expected letters joined in parentheses, got "${operand.slice(i)}"`);
      terms.push(parseGroup(inner));
      i = end;
    } else throw bugError(`axes "${text}": expected a letter, ".", "(" or "_", got "${c}"`);
  }
  return terms;
}

function parseGroup(inner: string): AxisTerm {
  const parts = inner.split('+').map((part): AxisTerm => {
    if (part === '.') return { kind: 'fixed' };
    if (part.length === 1) return { kind: 'letter', letter: part };
    return { kind: 'product', factors: part.split('').map((c) => (c === '.' ? null : c)) };
  });
  return parts.length === 1 ? parts[0]! : { kind: 'concat', parts };
}

/** Letters in a term. */
export function lettersOfTerm(term: AxisTerm): string[] {
  if (term.kind === 'letter') return [term.letter];
  if (term.kind === 'product') return term.factors.filter((f) => f !== null);
  return term.kind === 'concat' ? term.parts.flatMap(lettersOfTerm) : [];
}

function lettersOf(operands: readonly (readonly AxisTerm[] | null)[]): Set<string> {
  return new Set(operands.flatMap((terms) => (terms ?? []).flatMap(lettersOfTerm)));
}

type Operands = readonly (readonly number[] | null)[];

/**
 * Extent of each letter under static shapes; letters whose extent cannot be told are missing. undefined where the shapes contradict
 * the statement (a rank differs, or a letter has two extents).
 */
export function letterExtents(statement: AxesStatement, inputs: Operands, outputs: Operands): Map<string, number> | undefined {
  const extents = new Map<string, number>();
  const equations: { term: AxisTerm; extent: number }[] = [];
  for (const [operands, shapes] of [
    [statement.inputs, inputs],
    [statement.outputs, outputs],
  ] as const) {
    for (const [k, terms] of operands.entries()) {
      const shape = shapes[k];
      if (!terms || !shape) continue;
      if (terms.length !== shape.length) return undefined;
      for (const [axis, term] of terms.entries()) equations.push({ term, extent: shape[axis]! });
    }
  }
  // Each round solves the terms in which one letter is left; a term with none left is a check.
  for (let changed = true; changed; ) {
    changed = false;
    for (const { term, extent } of equations) {
      const solved = solve(term, extent, extents);
      if (solved === 'contradiction') return undefined;
      if (!solved) continue;
      extents.set(solved.letter, solved.extent);
      changed = true;
    }
  }
  return extents;
}

function solve(
  term: AxisTerm,
  extent: number,
  known: ReadonlyMap<string, number>,
): { letter: string; extent: number } | 'contradiction' | undefined {
  if (term.kind === 'fixed') return undefined;
  if (term.kind === 'letter') {
    const have = known.get(term.letter);
    if (have === undefined) return { letter: term.letter, extent };
    return have === extent ? undefined : 'contradiction';
  }
  if (term.kind === 'product') {
    if (term.factors.includes(null)) return undefined;
    const open = (term.factors as readonly string[]).filter((f) => !known.has(f));
    const rest = (term.factors as readonly string[]).reduce((n, f) => n * (known.get(f) ?? 1), 1);
    if (open.length === 0) return rest === extent ? undefined : 'contradiction';
    if (open.length > 1 || rest === 0) return undefined;
    return extent % rest === 0 ? { letter: open[0]!, extent: extent / rest } : 'contradiction';
  }
  const open = term.parts.filter((p) => termExtent(p, known) === undefined);
  if (open.length > 1 || open[0]?.kind === 'fixed') return undefined;
  const rest = term.parts.reduce((n, p) => n + (termExtent(p, known) ?? 0), 0);
  if (open.length === 0) return rest === extent ? undefined : 'contradiction';
  return rest <= extent ? solve(open[0]!, extent - rest, known) : 'contradiction';
}

/** Extent of a term from those of its letters, where all are known. */
export function termExtent(term: AxisTerm, extents: ReadonlyMap<string, number>): number | undefined {
  if (term.kind === 'letter') return extents.get(term.letter);
  if (term.kind === 'fixed') return undefined;
  let total = term.kind === 'product' ? 1 : 0;
  for (const part of term.kind === 'product' ? term.factors : term.parts) {
    const n = part === null ? undefined : typeof part === 'string' ? extents.get(part) : termExtent(part, extents);
    if (n === undefined) return undefined;
    total = term.kind === 'product' ? total * n : total + n;
  }
  return total;
}

/** Multiply-accumulates of a contraction: the product of the extents of all letters. undefined where one is unknown. */
export function macsOfAxes(statement: AxesStatement, inputs: Operands, outputs: Operands): number | undefined {
  const extents = letterExtents(statement, inputs, outputs);
  if (!extents) return undefined;
  let macs = 1;
  for (const letter of statement.letters) {
    const extent = extents.get(letter);
    if (extent === undefined) return undefined;
    macs *= extent;
  }
  return macs;
}
