// Ties the elements of one node's operands together as its axes statement says, and notes in which role each axis is read.
import type { Node, Value } from '../../ir/graph.js';
import type { AxesStatement, AxisTerm } from '../../ops/axes.js';
import type { Elements, Stretch } from './elements.js';
import { extentsOf, type Operand, operandsOf, partExtents, shapeOf } from './statement.js';

/** How a node reads an axis of a value. */
export interface AxisRole {
  readonly node: Node;
  /** Input index. */
  readonly input: number;
  /** The node sums over the axis: a layer that consumes the channels. */
  readonly contracted: boolean;
  /** The node sums over some axis or looks rows up, and this axis goes on to its output: a layer that produces the channels. */
  readonly produces: boolean;
}

export type Roles = Map<Value, Map<number, AxisRole[]>>;

/** Operators that read shapes and no contents. */
const SHAPE_READERS = new Set(['Shape', 'Size']);

export function isShapeReader(node: Node): boolean {
  return node.domain === '' && SHAPE_READERS.has(node.opType);
}

/** Everything the node touches must stay as it is. */
export function tieOpaque(elements: Elements, node: Node, reason: string): void {
  for (const value of [...node.inputs, ...node.outputs]) if (value) elements.freezeValue(value, reason);
}

export function tieNode(elements: Elements, roles: Roles, node: Node, statement: AxesStatement, whole: ReadonlySet<string>): void {
  const extents = extentsOf(statement, node);
  if (!extents) {
    tieOpaque(elements, node, `the axes of ${describe(node)} do not fit its shapes`);
    return;
  }
  const stretches = new Map<string, Stretch[]>();
  const blocked = new Map<string, string>();
  const keep = (letter: string, reason: string) => {
    if (!blocked.has(letter)) blocked.set(letter, reason);
  };
  const freezes: (() => void)[] = [];
  for (const operand of operandsOf(statement, node)) {
    for (const [axis, term] of operand.terms.entries()) {
      noteRole(roles, node, statement, operand, axis, term);
      const base = elements.base(operand.value, axis);
      const extent = shapeOf(operand.value)?.[axis];
      if (base < 0 || typeof extent !== 'number') {
        for (const l of lettersIn(term)) keep(l, `an axis of open extent in ${describe(node)}`);
      } else place(term, base, extent, operand.value, axis);
    }
  }
  for (const [i, value] of node.inputs.entries()) {
    if (value && !statement.inputs[i] && !isShapeOperand(value)) elements.freezeValue(value, `${describe(node)} reads it as a whole`);
  }

  function place(term: AxisTerm, base: number, extent: number, value: Value, axis: number): void {
    const freeze = (reason: string, count = extent) =>
      freezes.push(() => elements.freezeStretch({ base, outer: 1, count, inner: 1 }, reason));
    if (term.kind === 'fixed') freeze(`${describe(node)} needs the whole axis`);
    else if (term.kind === 'letter') push(term.letter, { base, outer: 1, count: extent, inner: 1 });
    else if (term.kind === 'product') placeProduct(term, base, extent);
    else {
      const sizes = partExtents(term, node, axis, extent, extents!);
      if (!sizes) {
        freeze(`the parts that ${describe(node)} joins are not known`);
        for (const l of lettersIn(term)) keep(l, `the parts that ${describe(node)} joins are not known`);
        return;
      }
      let start = base;
      for (const [i, part] of term.parts.entries()) {
        place(part.kind === 'fixed' ? { kind: 'fixed' } : part, start, sizes[i]!, value, axis);
        start += sizes[i]!;
      }
    }
  }

  function placeProduct(term: AxisTerm & { kind: 'product' }, base: number, extent: number): void {
    const sizes = term.factors.map((f) => (f === null ? undefined : extents!.get(f)));
    const unknown = sizes.filter((s) => s === undefined).length;
    const known = sizes.reduce<number>((n, s) => n * (s ?? 1), 1);
    const full = unknown === 1 && term.factors.includes(null) ? sizes.map((s) => s ?? extent / known) : sizes;
    const free = term.factors.findIndex((f) => f !== null && !whole.has(f));
    for (const f of term.factors) if (f !== null && whole.has(f)) keep(f, `one factor of an axis that ${describe(node)} regroups`);
    if (free < 0 || full.some((s) => s === undefined)) {
      const tiedDown = `${describe(node)} ties it to axes that must stay`;
      freezes.push(() => elements.freezeStretch({ base, outer: 1, count: extent, inner: 1 }, tiedDown));
      for (const f of term.factors) if (f !== null) keep(f, tiedDown);
      return;
    }
    const sizesKnown = full as number[];
    const product = (list: readonly number[]) => list.reduce((a, b) => a * b, 1);
    push(term.factors[free]!, {
      base,
      outer: product(sizesKnown.slice(0, free)),
      count: sizesKnown[free]!,
      inner: product(sizesKnown.slice(free + 1)),
    });
  }

  function push(letter: string, stretch: Stretch): void {
    const own = stretches.get(letter);
    if (own) own.push(stretch);
    else stretches.set(letter, [stretch]);
  }

  for (const [letter, list] of stretches) {
    const reason =
      blocked.get(letter) ?? (list.some((s) => s.count !== list[0]!.count) ? `extents differ in ${describe(node)}` : undefined);
    if (reason === undefined) elements.joinStretches(list);
    else for (const s of list) elements.freezeStretch(s, reason);
  }
  for (const freeze of freezes) freeze();
}

/** Shapes, axes and the like are rewritten after the slicing, and scalars have no axes. */
function isShapeOperand(value: Value): boolean {
  const type = value.type;
  return type?.kind !== 'tensor' || type.shape?.length === 0 || type.dtype === 'int64' || type.dtype === 'int32';
}

function noteRole(roles: Roles, node: Node, statement: AxesStatement, operand: Operand, axis: number, term: AxisTerm): void {
  if (!operand.isInput) return;
  const letters = lettersIn(term);
  const contracted = letters.some((l) => statement.contracted.includes(l));
  const lookup = node.opType === 'Gather' && operand.index === 0;
  const recurrent = statement.letters.includes('h') && (node.opType === 'LSTM' || node.opType === 'GRU' || node.opType === 'RNN');
  const produces = letters.length > 0 && !contracted && (statement.contracted.length > 0 || lookup || recurrent || isDepthwise(node));
  const own = roles.get(operand.value) ?? new Map<number, AxisRole[]>();
  roles.set(operand.value, own);
  const list = own.get(axis) ?? [];
  own.set(axis, list);
  list.push({ node, input: operand.index, contracted, produces });
}

function isDepthwise(node: Node): boolean {
  return node.int('group', 1) > 1;
}

function lettersIn(term: AxisTerm): string[] {
  if (term.kind === 'letter') return [term.letter];
  if (term.kind === 'product') return term.factors.filter((f) => f !== null);
  return term.kind === 'concat' ? term.parts.flatMap(lettersIn) : [];
}

export function describe(node: Node): string {
  return node.name ? `${node.op} "${node.name}"` : `${node.op} (${node.outputs.find((o) => o)?.name ?? ''})`;
}
