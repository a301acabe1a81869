// Writing axes statements (see Axes in op.ts) from shapes: element-wise, reduced, reshaped. Where a rank is unknown the answer is 'opaque'.
import { equalDims, sizeOf } from '../ir/dim.js';
import type { Node } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import type { Dim, Shape } from '../ir/type.js';
import type { Axes } from './op.js';

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

/** Letter of axis `i`. */
export function letter(i: number): string {
  return LETTERS[i]!;
}

/** Letters of the axes `from` to `from + count - 1`. */
export function letters(count: number, from = 0): string[] {
  return LETTERS.slice(from, from + count).split('');
}

/** Joins operands; a scalar is an operand without axes, written `_`. */
export function axesText(inputs: readonly (readonly string[] | null)[], outputs: readonly (readonly string[] | null)[]): Axes {
  const write = (operand: readonly string[] | null) => (operand === null || operand.length === 0 ? '_' : operand.join(''));
  return `${inputs.map(write).join(',')}->${outputs.map(write).join(',')}`;
}

/** Operands after the first that do not matter. */
export function ignored(node: Node): null[] {
  return node.inputs.slice(1).map(() => null);
}

/** Every axis of input 0 is the same axis of the outputs; further inputs do not matter. */
export function sameAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const shape = inputs[0];
  if (!shape) return 'opaque';
  const terms = letters(shape.length);
  return axesText(
    [terms, ...ignored(node)],
    node.outputs.map((o) => (o ? terms : null)),
  );
}

/** As `sameAxes`, but `blocked` axes must not be sliced. */
export function sameAxesBut(node: Node, inputs: readonly (Shape | null)[], blocked: readonly number[]): Axes {
  const shape = inputs[0];
  if (!shape) return 'opaque';
  const terms = block(
    letters(shape.length),
    blocked.map((a) => (a < 0 ? a + shape.length : a)),
  );
  return axesText(
    [terms, ...ignored(node)],
    node.outputs.map((o) => (o ? terms : null)),
  );
}

export function block(terms: readonly string[], blocked: readonly number[]): string[] {
  return terms.map((t, i) => (blocked.includes(i) ? '.' : t));
}

/** NumPy broadcasting of all inputs, aligned right. */
export function broadcastAxes(_node: Node, inputs: readonly (Shape | null)[]): Axes {
  if (inputs.some((s) => s === null)) return 'opaque';
  const { operands, result } = broadcastTerms(inputs as readonly Shape[]);
  return axesText(operands, [result]);
}

/**
 * Terms of operands that are broadcast together, aligned right. An axis of extent 1 beside a larger one is `.`; where it cannot
 * be told whether two extents are equal, no operand may be sliced along that axis.
 */
export function broadcastTerms(shapes: readonly Shape[]): { operands: string[][]; result: string[] } {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const result = letters(rank);
  const operands = shapes.map((s) => s.map(() => '.'));
  for (let axis = 0; axis < rank; axis++) {
    const present = shapes.map((s) => s[axis - rank + s.length] ?? (axis - rank + s.length < 0 ? 1 : null));
    const wide = present.filter((d) => d !== 1);
    if (wide.some((d) => equalDims(d, wide[0]!) !== true)) {
      result[axis] = '.';
      continue;
    }
    shapes.forEach((s, k) => {
      const at = axis - rank + s.length;
      if (at >= 0 && (present[k] !== 1 || wide.length === 0)) operands[k]![at] = result[axis]!;
    });
  }
  return { operands, result };
}

/** Shape of an output as last inferred. */
export function outputShape(node: Node, output = 0): Shape | null {
  return tensorTypeOf(node.outputs[output])?.shape ?? null;
}

/** Axes of an operator that only regroups elements in row-major order (Reshape, Flatten, Squeeze, Unsqueeze). */
export function reshapeAxes(node: Node, inputs: readonly (Shape | null)[]): Axes {
  const from = inputs[0];
  const to = outputShape(node);
  if (!from || !to) return 'opaque';
  const [source, target] = regroup(from, to);
  return axesText([source, ...ignored(node)], [target]);
}

/**
 * Terms of both sides of a row-major regrouping. The axes are cut into the smallest runs with equal products; a run of one axis
 * against several is a composite (`ab(cd)->abcd`); several against several are refined where the extents divide. The rest is `.`.
 */
export function regroup(from: Shape, to: Shape): [string[], string[]] {
  const source = from.map(() => '.');
  const target = to.map(() => '.');
  const a = axesAboveOne(from);
  const b = axesAboveOne(to);
  let next = 0;
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const run = smallestRun(from, to, a, b, i, j);
    if (!run) break;
    const [endA, endB] = run;
    next = refine(from, to, a.slice(i, endA), b.slice(j, endB), source, target, next);
    i = endA;
    j = endB;
  }
  return [source, target];
}

function axesAboveOne(shape: Shape): number[] {
  return shape.flatMap((d, i) => (d === 1 ? [] : [i]));
}

/** Ends of the shortest pair of runs from (i, j) on whose products are certainly equal. */
function smallestRun(
  from: Shape,
  to: Shape,
  a: readonly number[],
  b: readonly number[],
  i: number,
  j: number,
): [number, number] | undefined {
  for (let total = 2; total <= a.length - i + (b.length - j); total++) {
    for (let p = 1; p < total; p++) {
      const q = total - p;
      if (i + p > a.length || j + q > b.length) continue;
      const left = sizeOf(a.slice(i, i + p).map((x) => from[x]!));
      const right = sizeOf(b.slice(j, j + q).map((x) => to[x]!));
      if (left !== 0 && equalDims(left, right) === true) return [i + p, j + q];
    }
  }
  return undefined;
}

/** Gives letters to one pair of runs; answers the next free letter. */
function refine(
  from: Shape,
  to: Shape,
  a: readonly number[],
  b: readonly number[],
  source: string[],
  target: string[],
  next: number,
): number {
  const write = (count: number, terms: string[], axis: number, start: number) => {
    terms[axis] = count === 1 ? letter(start) : `(${letters(count, start).join('')})`;
  };
  if (a.length === 1 || b.length === 1) {
    const [one, many] = a.length === 1 ? [source, target] : [target, source];
    const [axis, axes] = a.length === 1 ? [a[0]!, b] : [b[0]!, a];
    write(axes.length, one, axis, next);
    axes.forEach((x, k) => {
      many[x] = letter(next + k);
    });
    return next + axes.length;
  }
  const cutsA = cuts(a.map((x) => from[x]!));
  const cutsB = cuts(b.map((x) => to[x]!));
  if (!cutsA || !cutsB) return next;
  const all = [...new Set([...cutsA, ...cutsB])].sort((x, y) => x - y);
  if (!all.every((c, k) => k === 0 || c % all[k - 1]! === 0)) return next;
  const mark = (axes: readonly number[], bounds: readonly number[], terms: string[]) => {
    let start = 0;
    axes.forEach((axis, k) => {
      const end = all.indexOf(bounds[k]!) + 1;
      write(end - start, terms, axis, next + start);
      start = end;
    });
  };
  mark(a, cutsA, source);
  mark(b, cutsB, target);
  return next + all.length;
}

/** Running products of static extents. */
function cuts(extents: readonly Dim[]): number[] | undefined {
  let product = 1;
  const out: number[] = [];
  for (const e of extents) {
    if (typeof e !== 'number') return undefined;
    product *= e;
    out.push(product);
  }
  return out;
}
