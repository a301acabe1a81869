// What else a node says about extents: targets of Reshape and Expand, sizes of Split, bounds of Slice, numbers of groups, heads and hidden units.
// After slicing they are written anew from the extents that are left. Only such facts are here; which axes belong together is in the axes statements.
import type { Node, Value } from '../../../ir/graph.js';
import { tensorTypeOf } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import type { AxesStatement, AxisTerm } from '../../../ops/axes.js';
import { constantNumbers } from '../../../ops/constant-input.js';

/** Extents before and after, by value and axis. */
export interface Extents {
  readonly before: (value: Value, axis: number) => number | undefined;
  readonly after: (value: Value, axis: number) => number | undefined;
}

/** Inputs that hold the shape of the result, with -1 and 0 where the operator has a meaning for them. */
const TARGETS: Readonly<Record<string, number>> = { Reshape: 1, Expand: 1, Resize: 3 };

/** Attributes that count slices of the outer factor of an axis: weight input and axis that carry it. */
const COUNTERS: Readonly<Record<string, { readonly attribute: string; readonly input: number; readonly axis: number }>> = {
  Conv: { attribute: 'group', input: 1, axis: 0 },
  ConvTranspose: { attribute: 'group', input: 1, axis: 0 },
  ConvInteger: { attribute: 'group', input: 1, axis: 0 },
  FusedConv: { attribute: 'group', input: 1, axis: 0 },
  NhwcFusedConv: { attribute: 'group', input: 1, axis: 0 },
  DeformConv: { attribute: 'group', input: 1, axis: 0 },
  QLinearConv: { attribute: 'group', input: 3, axis: 0 },
  GroupNormalization: { attribute: 'num_groups', input: 0, axis: 1 },
  GroupNorm: { attribute: 'num_groups', input: 0, axis: -1 },
  LSTM: { attribute: 'hidden_size', input: 2, axis: 2 },
  GRU: { attribute: 'hidden_size', input: 2, axis: 2 },
  RNN: { attribute: 'hidden_size', input: 2, axis: 2 },
};

/** Head counts of the standard attention operator. */
const HEADS: Readonly<Record<string, { readonly input: number }>> = { q_num_heads: { input: 0 }, kv_num_heads: { input: 1 } };

/** `statement` is that of the node before slicing, with its shapes as they were. Edits the node's attributes and shape inputs. */
export function rewriteShapeConstants(node: Node, statement: AxesStatement, extents: Extents): void {
  const target = TARGETS[node.opType];
  if (target !== undefined && node.domain === '') rewriteTarget(node, target, extents);
  else if (node.opType === 'Split' && node.domain === '') rewriteSplit(node, extents);
  else if (node.opType === 'Slice' && node.domain === '') rewriteSlice(node, statement, extents);
  const counter = COUNTERS[node.opType];
  if (counter) rewriteCounter(node, counter, statement, extents);
  if (node.opType === 'Attention' && node.domain === '') {
    for (const [name, { input }] of Object.entries(HEADS)) rewriteHeads(node, name, input, extents);
  }
}

function changed(value: Value, extents: Extents): number[] {
  const rank = tensorTypeOf(value)?.shape?.length ?? 0;
  return Array.from({ length: rank }, (_, axis) => axis).filter((axis) => extents.before(value, axis) !== extents.after(value, axis));
}

function rewriteTarget(node: Node, input: number, extents: Extents): void {
  const output = node.output();
  const given = node.input(input);
  const axes = changed(output, extents);
  // A Reshape whose target keeps an axis with 0 follows its input; all that is written out is looked at.
  const also = input === 1 && node.opType === 'Reshape' ? changed(node.input(0)!, extents) : [];
  if (!given || (axes.length === 0 && also.length === 0)) return;
  const own = node.ints('axes')?.map((a) => (a < 0 ? a + (tensorTypeOf(output)?.shape?.length ?? 0) : a));
  const numbers = constantNumbers(node, input);
  const rank = numbers?.length ?? tensorTypeOf(given)?.shape?.[0];
  if (typeof rank !== 'number') return;
  const shift = node.opType === 'Expand' ? (tensorTypeOf(output)?.shape?.length ?? rank) - rank : 0;
  const wanted = Array.from({ length: rank }, (_, i): number | undefined => {
    const axis = own ? own[i]! : i + shift;
    return extents.before(output, axis) === undefined ? undefined : extents.after(output, axis);
  });
  if (numbers) {
    const next = numbers.map((n, i) => {
      const keep = n === -1 || (n === 0 && node.opType === 'Reshape') || (n === 1 && node.opType === 'Expand');
      return keep ? n : (wanted[i] ?? n);
    });
    replaceConstant(node, input, next);
  } else overlayTarget(node, input, wanted);
}

/** A target computed at run time keeps its open entries; those with a known extent are laid over it. */
function overlayTarget(node: Node, input: number, wanted: readonly (number | undefined)[]): void {
  const { graph } = node;
  const given = node.input(input)!;
  const name = given.name;
  const constant = (suffix: string, tensor: Tensor) => graph.addInitializer(`${name}_${suffix}`, tensor);
  const known = constant(
    'known',
    Tensor.from(
      'bool',
      [wanted.length],
      wanted.map((w) => (w === undefined ? 0 : 1)),
    ),
  );
  const values = constant(
    'extents',
    Tensor.from(
      'int64',
      [wanted.length],
      wanted.map((w) => w ?? 0),
    ),
  );
  const where = graph.addNode({ opType: 'Where', inputs: [known, values, given], outputs: [`${name}_pruned`] }, node);
  node.setInput(input, where.output());
}

function rewriteSplit(node: Node, extents: Extents): void {
  const data = node.input(0)!;
  const rank = tensorTypeOf(data)?.shape?.length ?? 0;
  const axis = (node.int('axis', 0) + rank) % rank;
  if (!changed(data, extents).includes(axis)) return;
  const sizes = node.outputs.map((o) => (o ? extents.after(o, axis) : undefined));
  // An output nobody names has what the others leave.
  const rest = (extents.after(data, axis) ?? 0) - sizes.reduce<number>((n, s) => n + (s ?? 0), 0);
  const list = sizes.map((s) => s ?? rest);
  node.setAttribute('num_outputs', undefined);
  if (node.hasAttribute('split')) node.setAttribute('split', list);
  else replaceConstant(node, 1, list);
}

/** What is cut off has not changed, so each bound moves with the part that is kept. */
function rewriteSlice(node: Node, statement: AxesStatement, extents: Extents): void {
  const terms = statement.inputs[0];
  const data = node.input(0)!;
  const output = node.output();
  const rank = terms?.length ?? 0;
  const byInput = node.input(1) !== null;
  const read = (input: number, attribute: string) => (byInput ? constantNumbers(node, input) : node.ints(attribute));
  const [starts, ends] = [read(1, 'starts')?.slice(), read(2, 'ends')?.slice()];
  if (!terms || !starts || !ends) return;
  const axes = (read(3, 'axes') ?? starts.map((_, i) => i)).map((a) => (a < 0 ? a + rank : a));
  let moved = false;
  for (const [i, axis] of axes.entries()) {
    const before = extents.before(data, axis);
    const after = extents.after(output, axis);
    if (before === undefined || after === undefined || before === extents.after(data, axis)) continue;
    const raw = starts[i]!;
    const start = Math.max(0, Math.min(raw < 0 ? raw + before : raw, before));
    starts[i] = start;
    ends[i] = start + after;
    moved = true;
  }
  if (!moved) return;
  if (byInput) {
    replaceConstant(node, 1, starts);
    replaceConstant(node, 2, ends);
  } else {
    node.setAttribute('starts', starts);
    node.setAttribute('ends', ends);
  }
}

function rewriteCounter(
  node: Node,
  counter: { readonly attribute: string; readonly input: number; readonly axis: number },
  statement: AxesStatement,
  extents: Extents,
): void {
  const value = node.input(counter.input);
  const terms = statement.inputs[counter.input];
  if (!value || !terms) return;
  const axis = counter.axis < 0 ? counter.axis + terms.length : counter.axis;
  const [before, after] = [extents.before(value, axis), extents.after(value, axis)];
  if (before === undefined || after === undefined || before === after) return;
  const count = node.int(counter.attribute);
  if (count === undefined || (counter.attribute === 'group' && count === 1)) return;
  // With the whole groups gone, the axis is shorter in proportion; where the places within a group went, their number stays.
  if (outerOf(terms[axis]!) === undefined || slicedWithin(node, terms[axis]!, statement, extents)) return;
  node.setAttribute(counter.attribute, (count * after) / before);
}

function outerOf(term: AxisTerm): string | undefined {
  if (term.kind === 'letter') return term.letter;
  return term.kind === 'product' ? (term.factors[0] ?? undefined) : undefined;
}

/** True where the inner factor of a product was the one that lost slices: another operand has it as an axis of its own. */
function slicedWithin(node: Node, term: AxisTerm, statement: AxesStatement, extents: Extents): boolean {
  if (term.kind !== 'product') return false;
  const inner = term.factors.slice(1);
  return statement.inputs.some((terms, i) =>
    terms?.some((t, axis) => {
      const value = node.input(i);
      return (
        value !== null && t.kind === 'letter' && inner.includes(t.letter) && extents.before(value, axis) !== extents.after(value, axis)
      );
    }),
  );
}

function rewriteHeads(node: Node, name: string, input: number, extents: Extents): void {
  const value = node.input(input);
  const count = node.int(name);
  const shape = tensorTypeOf(value)?.shape;
  if (!value || count === undefined || shape?.length !== 3) return;
  const [before, after] = [extents.before(value, 2), extents.after(value, 2)];
  if (before !== undefined && after !== undefined && before !== after) node.setAttribute(name, (count * after) / before);
}

/** Gives the node a constant of its own: others may read the old one. */
function replaceConstant(node: Node, input: number, numbers: readonly number[]): void {
  const old = node.input(input);
  const dtype = tensorTypeOf(old)?.dtype ?? 'int64';
  const value = node.graph.addInitializer(`${old?.name ?? node.output().name}_pruned`, Tensor.from(dtype, [numbers.length], numbers));
  node.setInput(input, value);
}
