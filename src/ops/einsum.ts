// Einsum equations ("bij,bjk->bik"): parsing, and what shape, axes and quantization follow from them.
// A letter twice in one term takes the diagonal; `...` stands for axes that broadcast; without `->` the letters used once remain, in alphabetical order.

import { typeError } from '../errors.js';
import type { Node } from '../ir/graph.js';
import { type Dim, formatShape, type Shape } from '../ir/type.js';
import { broadcastDims } from './infer-helpers.js';
import type { Axes, CostContext, InferContext, QuantFacts, Work } from './op.js';

/** Terms as lists of letters, `...` being one item. */
interface Equation {
  readonly inputs: readonly (readonly string[])[];
  readonly output: readonly string[];
}

/** Throws E_TYPE for text that is no equation; `node` is named in it. */
function parseEquation(text: string, node?: string): Equation {
  const place = node === undefined ? {} : { place: { node } };
  const fail = () => typeError(`Einsum equation: expected terms such as "ij,jk->ik", got "${text}"`, place);
  const term = (s: string): string[] => {
    const items = s.match(/\.\.\.|[A-Za-z]/g) ?? [];
    if (items.join('') !== s || items.filter((x) => x === '...').length > 1) throw fail();
    return items;
  };
  const [left, right, ...more] = text.replace(/\s+/g, '').split('->');
  if (left === undefined || more.length > 0) throw fail();
  const inputs = left.split(',').map(term);
  if (right !== undefined) {
    const output = term(right);
    const known = new Set(inputs.flat());
    if (new Set(output).size !== output.length || output.some((x) => x !== '...' && !known.has(x))) throw fail();
    return { inputs, output };
  }
  const all = inputs.flat();
  const once = all.filter((x) => x !== '...' && all.indexOf(x) === all.lastIndexOf(x)).sort();
  return { inputs, output: all.includes('...') ? ['...', ...once] : once };
}

function equationOf(node: Node): Equation {
  return parseEquation(node.string('equation', ''), node.label);
}

/** The letters of a term spread over the axes of a shape: broadcast axes are numbered from the right ("0" is the last of them). */
function spread(term: readonly string[], rank: number): string[] | undefined {
  const at = term.indexOf('...');
  if (at < 0) return term.length === rank ? [...term] : undefined;
  const hidden = rank - (term.length - 1);
  if (hidden < 0) return undefined;
  return [...term.slice(0, at), ...Array.from({ length: hidden }, (_, i) => String(hidden - 1 - i)), ...term.slice(at + 1)];
}

/** Output letters with the broadcast axes written out. */
function spreadOutput(output: readonly string[], hidden: number): string[] {
  return output.flatMap((x) => (x === '...' ? Array.from({ length: hidden }, (_, i) => String(hidden - 1 - i)) : [x]));
}

export function einsumShape(ctx: InferContext): Shape | null {
  const { inputs, output } = equationOf(ctx.node);
  if (inputs.length !== ctx.inputCount) ctx.failShape(0, `${inputs.length} inputs as the equation has`, String(ctx.inputCount));
  const extents = new Map<string, Dim>();
  let hidden = 0;
  for (const [i, term] of inputs.entries()) {
    const shape = ctx.shape(i);
    if (shape === null) {
      if (term.includes('...')) return null;
      continue;
    }
    const names = spread(term, shape.length);
    if (names === undefined) ctx.failShape(i, `rank ${term.length} as in "${term.join('')}"`, formatShape(shape));
    hidden = Math.max(hidden, names.length - term.filter((x) => x !== '...').length);
    for (const [axis, name] of names.entries()) {
      const old = extents.get(name);
      const d = old === undefined ? shape[axis]! : broadcastDims(old, shape[axis]!);
      if (d === undefined) ctx.failShape(i, `extent ${old} for "${name}"`, formatShape(shape));
      extents.set(name, d);
    }
  }
  return spreadOutput(output, hidden).map((name) => extents.get(name) ?? null);
}

/** The equation itself, with letters for the broadcast axes; an axis that is broadcast from 1 somewhere is blocked there. */
export function einsumAxes(node: Node, shapes: readonly (Shape | null)[]): Axes {
  const { inputs, output } = equationOf(node);
  const spreads: string[][] = [];
  for (const [i, term] of inputs.entries()) {
    const shape = shapes[i] ?? null;
    if (shape === null && term.includes('...')) return 'opaque';
    const names = shape === null ? [...term] : spread(term, shape.length);
    if (names === undefined) return 'opaque';
    spreads.push(names);
  }
  const hidden = Math.max(0, ...spreads.map((s) => s.filter((x) => /\d/.test(x)).length));
  const used = new Set(inputs.flat());
  const free = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'].filter((x) => !used.has(x));
  const extents = new Map<string, Set<Dim>>();
  for (const [i, names] of spreads.entries()) {
    for (const [axis, name] of names.entries()) {
      extents.set(name, (extents.get(name) ?? new Set<Dim>()).add(shapes[i]?.[axis] ?? null));
    }
  }
  // An axis is safe where all its extents are known to be the same, or where it appears but once.
  const write = (name: string, extent: Dim | undefined): string => {
    const seen = extents.get(name);
    const letter = /\d/.test(name) ? (free[Number(name)] ?? '.') : name;
    const real = [...(seen ?? [])].filter((d) => d !== 1);
    if (real.length > 1 || (seen?.size !== 1 && real[0] === null)) return '.';
    return extent === 1 && real.length > 0 ? '.' : letter;
  };
  const terms = spreads.map((names, i) => names.map((name, axis) => write(name, shapes[i]?.[axis] ?? null)).join(''));
  const result = spreadOutput(output, hidden).map((name) => write(name, undefined));
  return `${terms.join(',')}->${result.join('')}`;
}

/** A product of two operands without broadcast axes can keep its second operand as a weight; its channels are the axis that only it brings to the output. */
export function einsumQuant(node: Node): QuantFacts {
  const { inputs, output } = equationOf(node);
  const [data, weight] = inputs;
  if (inputs.length !== 2 || !data || !weight || inputs.flat().includes('...')) return 'none';
  const own = weight.flatMap((x, i) => (output.includes(x) && !data.includes(x) ? [i] : []));
  return { kind: 'compute', data: [0], weight: 1, bias: null, channelAxis: () => (own.length === 1 ? own[0]! : null) };
}

/** One loop over all letters for two and more operands; a single operand is only moved or summed. */
export function einsumCost({ node, inputs: shapes }: CostContext): Work {
  const extents = new Map<string, number>();
  for (const [i, term] of equationOf(node).inputs.entries()) {
    const shape = shapes[i];
    const names = shape && spread(term, shape.length);
    if (!names) return { macs: 0, ops: 0 };
    for (const [axis, name] of names.entries()) extents.set(name, Math.max(extents.get(name) ?? 0, shape[axis]!));
  }
  const all = [...extents.values()].reduce((a, b) => a * b, 1);
  return shapes.length > 1 ? { macs: all, ops: 0 } : { macs: 0, ops: all };
}
