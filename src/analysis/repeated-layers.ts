// Layers that repeat: stretches of a network through which everything flows one after the other, each built from the same operators and shapes of weights
// (encoder layers of a transformer, residual blocks of one width). Found by the structure alone; names play no part.
import { usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';

/** One layer: everything between two values through which all data flow. */
export interface RepeatedLayer {
  readonly input: Value;
  readonly output: Value;
  readonly nodes: readonly Node[];
}

interface Stretch {
  readonly input: Value;
  readonly output: Value;
  readonly nodes: readonly Node[];
  readonly signature: string;
}

/**
 * The longest run of equal layers of the main graph, in order; empty where nothing repeats. Types must be inferred. What does not depend on the input of the first
 * layer (masks, positions) may be read by all of them. Layers that answer more than one value (caches of keys and values) are not found.
 */
export function repeatedLayers(model: Model): RepeatedLayer[] {
  const { graph } = model;
  let best: RepeatedLayer[] = [];
  let covered = 0;
  const seen = new Set<Value>();
  for (const node of graph.nodes) {
    for (const value of node.outputs) {
      // A stretch that starts at a value inside a chain that was looked at gives nothing new.
      if (!value || seen.has(value) || !isStart(value)) continue;
      const chain = stretchesFrom(graph.nodes, value, new Set(graph.outputs));
      for (const s of chain) seen.add(s.input);
      const run = longestRun(chain);
      const size = run.reduce((n, layer) => n + layer.nodes.length, 0);
      if (size > covered) [best, covered] = [run, size];
    }
  }
  return best;
}

const isStart = (value: Value): boolean => {
  const type = tensorTypeOf(value);
  return type !== undefined && isFloat(type.dtype) && (type.shape?.length ?? 0) >= 2 && value.readerCount > 0;
};

/**
 * Cuts what leads from `start` to the outputs at every value that all of it passes. In topological order such a value is where nothing else is waiting to be read.
 */
function stretchesFrom(nodes: readonly Node[], start: Value, outputs: ReadonlySet<Value>): Stretch[] {
  const from = new Set<Value>([start]);
  const forward = nodes.filter((node) => {
    if (!node.inputs.some((v) => v && from.has(v)) && !readsInside(node, from)) return false;
    // Shapes are whole numbers: what is computed from them does not make a stretch.
    for (const output of node.outputs) if (output && isFloat(tensorTypeOf(output)?.dtype ?? 'float')) from.add(output);
    return true;
  });
  // Only what leads to an output counts.
  const leads = new Set<Value>([...outputs].filter((v) => from.has(v)));
  const useful: Node[] = [];
  for (const node of forward.toReversed()) {
    if (!node.outputs.some((v) => v && leads.has(v))) continue;
    useful.push(node);
    for (const input of node.inputs) if (input && from.has(input)) leads.add(input);
  }
  useful.reverse();
  const waiting = new Map<Value, number>();
  for (const node of useful)
    for (const input of node.inputs) if (input && from.has(input)) waiting.set(input, (waiting.get(input) ?? 0) + 1);
  const live = new Set<Value>([start]);
  const stretches: Stretch[] = [];
  let input = start;
  let inside: Node[] = [];
  for (const node of useful) {
    if (node.subgraphs().length > 0) return stretches;
    inside.push(node);
    for (const value of node.inputs) {
      if (!value || !from.has(value)) continue;
      const left = waiting.get(value)! - 1;
      waiting.set(value, left);
      if (left === 0 && !outputs.has(value)) live.delete(value);
    }
    for (const value of node.outputs) if (value && ((waiting.get(value) ?? 0) > 0 || outputs.has(value))) live.add(value);
    if (live.size !== 1) continue;
    const [output] = live as Set<Value>;
    if (!output || output.producer !== node) continue;
    stretches.push({ input, output, nodes: inside, signature: signatureOf(inside, output) });
    input = output;
    inside = [];
  }
  return stretches;
}

function readsInside(node: Node, values: ReadonlySet<Value>): boolean {
  return node.subgraphs().some((g) => g.nodes.some((n) => n.inputs.some((v) => v && values.has(v)) || readsInside(n, values)));
}

/** Operators with their attributes and the types of their constants, and the type that comes out. */
function signatureOf(nodes: readonly Node[], output: Value): string {
  const parts = nodes.map((node) => {
    const attributes = [...node.attributes].map(([name, a]) => `${name}=${'value' in a ? String(a.value) : a.type}`).sort();
    const constants = node.inputs.map((v) => (v?.initializer ? `${v.initializer.dtype}[${v.initializer.dims}]` : v ? '.' : '-'));
    return `${node.domain}.${node.opType}(${constants.join()})[${attributes.join()}]`;
  });
  return `${parts.join(';')}->${tensorTypeOf(output)?.shape?.join() ?? '?'}`;
}

/** The run of equal groups of consecutive stretches that holds the most nodes; of equal ones that of the most layers. Layers keep the type of what passes. */
function longestRun(chain: readonly Stretch[]): RepeatedLayer[] {
  let best: RepeatedLayer[] = [];
  let bestNodes = 0;
  for (let period = 1; period * 2 <= chain.length; period++) {
    for (let start = 0; start + 2 * period <= chain.length; start++) {
      let count = 1;
      while (equalGroups(chain, start, start + count * period, period)) count++;
      const weighs = chain
        .slice(start, start + period)
        .some((s) => s.nodes.some((n) => n.inputs.some((v) => v?.initializer && v.initializer.rank > 1)));
      if (count < 2 || !weighs || !sameType(chain[start]!.input, chain[start + period - 1]!.output)) continue;
      const layers = Array.from({ length: count }, (_, k) => joined(chain.slice(start + k * period, start + (k + 1) * period)));
      const nodes = layers.reduce((n, l) => n + l.nodes.length, 0);
      // Of equal runs the last: a normalization behind a sum belongs to the layer before it.
      if (nodes > bestNodes || (nodes === bestNodes && count >= best.length)) [best, bestNodes] = [layers, nodes];
    }
  }
  return best;
}

function equalGroups(chain: readonly Stretch[], a: number, c: number, period: number): boolean {
  for (let i = 0; i < period; i++) if (chain[a + i]?.signature !== chain[c + i]?.signature || !chain[c + i]) return false;
  return true;
}

function sameType(a: Value, b: Value): boolean {
  return String(tensorTypeOf(a)?.shape) === String(tensorTypeOf(b)?.shape);
}

function joined(stretches: readonly Stretch[]): RepeatedLayer {
  return { input: stretches[0]!.input, output: stretches.at(-1)!.output, nodes: stretches.flatMap((s) => s.nodes) };
}

/**
 * Leaves only the layers with these numbers, counted from 0, of those that `repeatedLayers` finds; edits the model in place. Answers how many there were.
 * Throws E_USAGE where nothing repeats or a number is none.
 */
export function keepLayers(model: Model, kept: readonly number[]): number {
  const layers = repeatedLayers(model);
  if (layers.length === 0) {
    throw usageError('layers: expected a network in which layers repeat, got one without', {
      hint: 'take another student: a preset, a file, or a narrower teacher',
    });
  }
  const wrong = kept.find((k) => !(Number.isInteger(k) && k >= 0 && k < layers.length));
  if (wrong !== undefined || kept.length === 0 || new Set(kept).size !== kept.length)
    throw usageError(`layers: expected different numbers from 0 to ${layers.length - 1}, got ${kept.join(',') || 'none'}`);
  const { graph } = model;
  let current = layers[0]!.input;
  for (const [i, { output }] of layers.entries()) {
    if (kept.includes(i)) current = output;
    else graph.replaceValue(output, current);
  }
  // Outputs keep their names, so what is read by nobody is dead.
  for (const node of graph.nodes.toReversed()) if (node.outputs.every((o) => !o || o.readerCount === 0)) graph.removeNode(node);
  graph.pruneValues();
  return layers.length;
}
