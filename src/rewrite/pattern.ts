// Declarative patterns over the graph, written from the result backwards: `op('Mul', [value('x'), op('Sigmoid', [value('x')])])`.
// A name used twice must find the same value. Commutative operators try both orders; alternatives and optional nodes backtrack.
// Matching never looks at who else reads a value: rules ask `readOutside` for that, so that they can say why they did not fire.
import type { Attribute, AttributeInput } from '../ir/attribute.js';
import { attributeOf } from '../ir/attribute.js';
import type { Node, Value } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import type { Match } from './rule.js';

interface State {
  readonly values: Map<string, Value>;
  readonly nodes: Map<string, Node>;
  /** Every node the pattern went through, named or not. */
  readonly inside: Node[];
}

/** Matches a value and then the rest (`next`); undoes what it bound where either fails. */
export type Pattern = (value: Value | null, state: State, next: () => boolean) => boolean;

/** Operators whose two inputs may be swapped. */
const COMMUTATIVE: ReadonlySet<string> = new Set(['Add', 'Mul', 'Max', 'Min', 'And', 'Or', 'Xor', 'Equal']);

/** Any value; the same name must find the same value everywhere. */
export function value(name: string): Pattern {
  return (v, state, next) => {
    if (v === null) return false;
    const bound = state.values.get(name);
    if (bound) return bound === v && next();
    state.values.set(name, v);
    if (next()) return true;
    state.values.delete(name);
    return false;
  };
}

/** A constant (an initializer that no caller can override) for which `test` holds. */
export function constant(name: string, test: (tensor: Tensor) => boolean = () => true): Pattern {
  const bind = value(name);
  return (v, state, next) => v?.isConstant === true && test(v.initializer!) && bind(v, state, next);
}

/** The number in a constant of one element, or undefined where the value is no such constant. */
export function scalarOf(v: Value | null): number | undefined {
  if (!v?.isConstant) return undefined;
  const tensor = v.initializer!;
  if (tensor.size !== 1 || tensor.dtype === 'string' || tensor.dtype === 'complex64' || tensor.dtype === 'complex128') return undefined;
  return Number(tensor.numbers()[0]);
}

/**
 * A constant of one element: a given number (within a relative error of 1e-3 for `loose`, else 1e-5, so that half-precision
 * constants still count), or one for which a test holds. `name` binds it.
 */
export function scalar(expected: number | ((x: number) => boolean), name?: string): Pattern {
  const test = typeof expected === 'function' ? expected : (x: number) => near(x, expected);
  const bind = name === undefined ? undefined : value(name);
  return (v, state, next) => {
    const x = scalarOf(v);
    if (x === undefined || !test(x)) return false;
    return bind ? bind(v, state, next) : next();
  };
}

/** Equal up to the rounding of constants that went through half precision or were printed with few digits. */
export function near(x: number, expected: number, tolerance = 1e-5): boolean {
  return Math.abs(x - expected) <= tolerance * Math.max(1, Math.abs(expected));
}

export interface OpOptions {
  /** Name under which the node is found in the match. */
  readonly as?: string;
  /** Name under which the node's matched output is found. */
  readonly out?: string;
  readonly domain?: string;
  /** Attributes that must have exactly these values, or for which a test holds (given the node). */
  readonly attributes?: Readonly<Record<string, AttributeInput>>;
  readonly when?: (node: Node) => boolean;
  /** Index of the output that is followed; default 0. */
  readonly output?: number;
  /** Accept more inputs than the pattern lists (they must otherwise be omitted). */
  readonly moreInputs?: boolean;
}

/** The output of a node of one of these operators with these inputs. */
export function op(opType: string | readonly string[], inputs: readonly (Pattern | null)[], options: OpOptions = {}): Pattern {
  const types = typeof opType === 'string' ? [opType] : opType;
  const bindOut = options.out === undefined ? undefined : value(options.out);
  const attributes = Object.entries(options.attributes ?? {}).map(([name, input]) => [name, attributeOf(input)] as const);
  return (v, state, next) => {
    const node = v?.producer;
    if (!node || !types.includes(node.opType) || node.domain !== (options.domain ?? '')) return false;
    if (node.outputs[options.output ?? 0] !== v) return false;
    if (options.when && !options.when(node)) return false;
    for (const [name, expected] of attributes) {
      const actual = node.attribute(name);
      if (actual === undefined || !sameAttribute(actual, expected)) return false;
    }
    if (options.moreInputs !== true && node.inputs.length > inputs.length) return false;
    const bound = options.as === undefined ? undefined : state.nodes.get(options.as);
    if (bound && bound !== node) return false;
    if (options.as !== undefined) state.nodes.set(options.as, node);
    state.inside.push(node);
    const inner = bindOut ? () => bindOut(v, state, next) : next;
    if (matchInputs(node, inputs, 0, state, inner)) return true;
    if (inputs.length === 2 && COMMUTATIVE.has(node.opType) && matchInputs(node, [inputs[1]!, inputs[0]!], 0, state, inner)) return true;
    state.inside.pop();
    if (options.as !== undefined && !bound) state.nodes.delete(options.as);
    return false;
  };
}

function sameAttribute(actual: Attribute, expected: Attribute): boolean {
  if (actual.type === 'ref' || expected.type === 'ref') return false;
  if (actual.type !== expected.type) return actual.type === 'float' && expected.type === 'int' && Number(expected.value) === actual.value;
  const [a, b] = [actual.value, expected.value];
  return Array.isArray(a) && Array.isArray(b) ? a.length === b.length && a.every((x, i) => x === b[i]) : a === b;
}

function matchInputs(node: Node, patterns: readonly (Pattern | null)[], index: number, state: State, next: () => boolean): boolean {
  if (index === patterns.length) return next();
  const pattern = patterns[index];
  const input = node.input(index);
  const rest = () => matchInputs(node, patterns, index + 1, state, next);
  return pattern == null ? input === null && rest() : pattern(input, state, rest);
}

/** The first alternative that leads to a match. */
export function anyOf(...alternatives: readonly Pattern[]): Pattern {
  return (v, state, next) => alternatives.some((p) => p(v, state, next));
}

/** `inner`, possibly behind one node of `opType` that takes it as its first input. */
export function maybe(opType: string | readonly string[], inner: Pattern, options: OpOptions = {}): Pattern {
  return anyOf(op(opType, [inner], { moreInputs: true, ...options }), inner);
}

/** Tries a pattern at a node: its first output must match. Null where it does not. */
export function matchAt(pattern: Pattern, root: Node): (Match & { readonly inside: readonly Node[] }) | null {
  const state: State = { values: new Map(), nodes: new Map(), inside: [] };
  if (!pattern(root.outputs[0] ?? null, state, () => true)) return null;
  return { root, nodes: Object.fromEntries(state.nodes), values: Object.fromEntries(state.values), inside: [...new Set(state.inside)] };
}

/** A node inside a match (the root aside) whose output is read outside it: replacing the match would compute it twice. */
export function readOutside(match: Match & { readonly inside?: readonly Node[] }): Node | undefined {
  const inside = new Set(match.inside ?? [match.root, ...Object.values(match.nodes)]);
  for (const node of inside) {
    if (node === match.root) continue;
    for (const output of node.outputs) {
      if (output && (output.isGraphOutput || output.uses.some((use) => !inside.has(use.node)))) return node;
    }
  }
  return undefined;
}
