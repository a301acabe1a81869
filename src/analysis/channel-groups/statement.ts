// How a node's axes relate for pruning: the operator's own axes statement, and two facts that only pruning may use. Hidden units of a recurrent
// layer feed each other, so slicing them commutes only with what masking would leave; and normalized axes change their statistics when sliced.
import type { Node, Value } from '../../ir/graph.js';
import { tensorTypeOf } from '../../ir/model.js';
import type { Shape } from '../../ir/type.js';
import { type AxesStatement, type AxisTerm, axesOfNode, lettersOfTerm } from '../../ops/axes.js';
import { constantNumbers } from '../../ops/constant-input.js';
import { opRecord } from '../../ops/registry.js';

export interface StatementOptions {
  /** Lets the axes that a normalization runs over be sliced (embedding width). Statistics are then of the axes that are left. */
  readonly normalized: boolean;
}

const RECURRENT = new Set(['LSTM', 'GRU', 'RNN']);
const NORMALIZATIONS = new Set([
  'LayerNormalization',
  'RMSNormalization',
  'SimplifiedLayerNormalization',
  'SkipLayerNormalization',
  'SkipSimplifiedLayerNormalization',
]);

export function shapeOf(value: Value | null | undefined): Shape | null {
  return tensorTypeOf(value)?.shape ?? null;
}

/** Null where nothing is known: all axes of the node must then stay. */
export function pruneStatement(node: Node, options: StatementOptions): AxesStatement | null {
  const record = opRecord(node.domain, node.opType);
  if (!record) return null;
  const shapes = node.inputs.map(shapeOf);
  if (node.domain === '' && RECURRENT.has(node.opType)) return recurrentStatement(node);
  const statement = axesOfNode(record, node, shapes);
  if (!statement || !fits(statement, node)) return null;
  return options.normalized && NORMALIZATIONS.has(node.opType) ? openLastAxis(statement, node) : statement;
}

/** A statement written for ranks that are not there (a scalar beside a vector) says nothing of this node. */
function fits(statement: AxesStatement, node: Node): boolean {
  const agree = (terms: readonly AxisTerm[] | null | undefined, value: Value | null) => {
    const shape = shapeOf(value);
    return !terms || !value || (shape !== null && shape.length === terms.length);
  };
  return node.inputs.every((v, i) => agree(statement.inputs[i], v)) && node.outputs.every((v, i) => agree(statement.outputs[i], v));
}

const FIXED: AxisTerm = { kind: 'fixed' };
const named = (letter: string): AxisTerm => ({ kind: 'letter', letter });

/** Gates are the outer factor of the axes of W, R, B and P; a hidden unit is one column of R as well. */
function recurrentStatement(node: Node): AxesStatement {
  const batchFirst = node.int('layout', 0) !== 0;
  const [batch, hidden, input] = [named('b'), named('h'), named('i')];
  const gates: AxisTerm = { kind: 'product', factors: [null, 'h'] };
  const state = batchFirst ? [batch, FIXED, hidden] : [FIXED, batch, hidden];
  const inputs = [
    batchFirst ? [batch, FIXED, input] : [FIXED, batch, input],
    [FIXED, gates, input],
    [FIXED, gates, hidden],
    [FIXED, gates],
    [batch],
    state,
    state,
    [FIXED, gates],
  ].map((terms, i) => (node.input(i) ? terms : null));
  const sequence = batchFirst ? [batch, FIXED, FIXED, hidden] : [FIXED, FIXED, batch, hidden];
  return {
    inputs: inputs.slice(0, node.inputs.length),
    outputs: [sequence, state, state].slice(0, node.outputs.length),
    letters: ['b', 'h', 'i'],
    contracted: ['i'],
  };
}

/** The last axis alone: it is the one that carries features. Statistics that are also outputs keep their extent of 1. */
function openLastAxis(statement: AxesStatement, node: Node): AxesStatement {
  const letter = 'Z';
  const open = (terms: readonly AxisTerm[] | null, value: Value | null | undefined) => {
    const extent = shapeOf(value)?.at(-1);
    return terms && terms.at(-1)?.kind === 'fixed' && extent !== 1 ? [...terms.slice(0, -1), named(letter)] : terms;
  };
  return {
    inputs: statement.inputs.map((t, i) => open(t, node.input(i))),
    outputs: statement.outputs.map((t, i) => (node.outputs[i] ? open(t, node.outputs[i]) : t)),
    letters: [...statement.letters, letter],
    contracted: statement.contracted,
  };
}

/** Extents of the letters under shapes that may be open in part. Undefined where the statement contradicts them. */
export function extentsOf(statement: AxesStatement, node: Node): Map<string, number> | undefined {
  const extents = new Map<string, number>();
  const equations = operandsOf(statement, node).flatMap(({ terms, value }) =>
    terms.flatMap((term, axis) => {
      const extent = shapeOf(value)?.[axis];
      return typeof extent === 'number' ? [{ term, extent }] : [];
    }),
  );
  for (let changed = true; changed; ) {
    changed = false;
    for (const { term, extent } of equations) {
      const open = [...new Set(lettersOfTerm(term))].filter((l) => !extents.has(l));
      if (open.length !== 1) continue;
      const solved = solveFor(term, extent, open[0]!, extents);
      if (solved === undefined) continue;
      if (!Number.isInteger(solved) || solved < 0) return undefined;
      extents.set(open[0]!, solved);
      changed = true;
    }
  }
  for (const { term, extent } of equations) {
    const size = extentOf(term, extents);
    if (size !== undefined && size !== extent) return undefined;
  }
  return extents;
}

function solveFor(term: AxisTerm, extent: number, open: string, known: ReadonlyMap<string, number>): number | undefined {
  if (term.kind === 'letter') return extent;
  if (term.kind === 'product') {
    if (term.factors.includes(null)) return undefined;
    return extent / term.factors.reduce((n, f) => n * (f === open ? 1 : known.get(f!)!), 1);
  }
  if (term.kind === 'fixed' || term.parts.some((p) => p.kind === 'fixed')) return undefined;
  const part = term.parts.find((p) => lettersOfTerm(p).includes(open))!;
  const rest = term.parts.reduce((n, p) => n + (p === part ? 0 : extentOf(p, known)!), 0);
  return solveFor(part, extent - rest, open, known);
}

/** Extent of a term; undefined where a letter or a fixed part is not known. */
export function extentOf(term: AxisTerm, extents: ReadonlyMap<string, number>): number | undefined {
  if (term.kind === 'letter') return extents.get(term.letter);
  if (term.kind === 'fixed') return undefined;
  const parts =
    term.kind === 'product'
      ? term.factors.map((f) => (f === null ? undefined : extents.get(f)))
      : term.parts.map((p) => extentOf(p, extents));
  if (parts.some((p) => p === undefined)) return undefined;
  return (parts as number[]).reduce((a, b) => (term.kind === 'product' ? a * b : a + b), term.kind === 'product' ? 1 : 0);
}

export interface Operand {
  readonly terms: readonly AxisTerm[];
  readonly value: Value;
  readonly isInput: boolean;
  readonly index: number;
}

/** Operands of which the statement speaks. */
export function operandsOf(statement: AxesStatement, node: Node): Operand[] {
  const list = (values: readonly (Value | null)[], terms: AxesStatement['inputs'], isInput: boolean) =>
    values.flatMap((value, index): Operand[] => {
      const own = terms[index];
      return value && own ? [{ terms: own, value, isInput, index }] : [];
    });
  return [...list(node.inputs, statement.inputs, true), ...list(node.outputs, statement.outputs, false)];
}

/** Extents of the parts of a concatenated axis. Of two fixed parts the first is told by the operator: where a Slice begins, what a Pad adds in front. */
export function partExtents(
  term: AxisTerm & { kind: 'concat' },
  node: Node,
  axis: number,
  extent: number,
  extents: ReadonlyMap<string, number>,
): number[] | undefined {
  const sizes = term.parts.map((p) => extentOf(p, extents));
  const open = sizes.flatMap((s, i) => (s === undefined ? [i] : []));
  if (open.some((i) => term.parts[i]!.kind !== 'fixed') || open.length > 2) return undefined;
  if (open.length === 2) {
    const before = leadingFixed(node, axis, extent);
    if (before === undefined) return undefined;
    sizes[open[0]!] = before;
  }
  const rest = extent - sizes.reduce<number>((n, s) => n + (s ?? 0), 0);
  if (rest < 0 || (open.length === 0 && rest !== 0)) return undefined;
  return sizes.map((s) => s ?? rest);
}

function leadingFixed(node: Node, axis: number, extent: number): number | undefined {
  const rank = shapeOf(node.input(0))?.length;
  if (rank === undefined) return undefined;
  const list = (input: number, attribute: string) => (node.input(input) ? constantNumbers(node, input) : node.ints(attribute));
  const given = list(3, 'axes');
  const axes = given?.map((a) => (a < 0 ? a + rank : a)) ?? Array.from({ length: rank }, (_, i) => i);
  const at = axes.indexOf(axis);
  if (node.opType === 'Slice') {
    const start = list(1, 'starts')?.[at];
    return start === undefined ? undefined : Math.max(0, Math.min(start < 0 ? start + extent : start, extent));
  }
  return node.opType === 'Pad' ? (list(1, 'pads') ?? node.ints('paddings'))?.[at] : undefined;
}
