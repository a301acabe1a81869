// One model in the place of another: inputs and the main output get the names of the other's, inputs of another rank are reshaped, and scores become
// probabilities where the other answers those.
import { usageError } from '../errors.js';
import { Builder } from '../ir/builder.js';
import { isFloat } from '../ir/dtype.js';
import type { Graph, Value } from '../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import { formatType, isStatic, type Shape, tensorType } from '../ir/type.js';
import { cloneModel } from '../ir/walk.js';

/** A copy of `model` that takes the inputs of `like` and answers its main output. Throws E_USAGE where that needs more than names and reshaping. */
export function adoptInterface(model: Model, like: Model): Model {
  const copy = cloneModel(model);
  adoptInputs(copy.graph, like.graph);
  adoptOutput(copy.graph, like.graph);
  return copy;
}

function adoptInputs(graph: Graph, like: Graph): void {
  const [own, others] = [requiredInputs(graph), requiredInputs(like)];
  const names = new Set(others.map((v) => v.name));
  const byName = own.every((v) => names.has(v.name));
  if (!byName && own.length !== others.length) {
    throw usageError(`student: expected inputs ${listed(others)}, which the teacher has, got ${listed(own)}`);
  }
  // Renaming goes through names that nobody has: two inputs may exchange theirs.
  const pairs = own.map((input, i) => [input, byName ? others.find((o) => o.name === input.name)! : others[i]!] as const);
  for (const [input, other] of pairs) if (input.name !== other.name) graph.rename(input, graph.freshName(`student_${input.name}`));
  for (const [input, other] of pairs) {
    freeName(graph, other.name, input);
    if (input.name !== other.name) graph.rename(input, other.name);
    adoptShape(graph, input, other);
  }
}

const listed = (values: readonly Value[]) => values.map((v) => `"${v.name}" ${formatType(v.type)}`).join(', ');

/** Moves another value out of the way of a name. */
function freeName(graph: Graph, name: string, wanted: Value): void {
  const taken = graph.ownValue(name);
  if (taken && taken !== wanted) graph.rename(taken, graph.freshName(`student_${name}`));
}

/** The input in the other's shape, put back into its own behind a Reshape. */
function adoptShape(graph: Graph, input: Value, other: Value): void {
  const [own, wanted] = [tensorTypeOf(input), tensorTypeOf(other)];
  if (!own?.shape || !wanted?.shape) return;
  if (own.dtype !== wanted.dtype) throw usageError(`student: expected input ${listed([other])}, got ${listed([input])}`);
  if (own.shape.length === wanted.shape.length && own.shape.every((d, i) => fits(d, wanted.shape![i]!))) return;
  const [rest, given] = [own.shape.slice(1), wanted.shape.slice(1)];
  if (!isStatic(rest) || !isStatic(given) || product(rest) !== product(given))
    throw usageError(`student: expected input ${listed([other])}, or one of as many elements a sample, got ${listed([input])}`);
  const uses = [...input.uses];
  const b = new Builder(graph, { before: graph.nodes[0] ?? null, prefix: 'student/' });
  const reshaped = b.op('Reshape', [input, b.ints('input_shape', [-1, ...rest])]);
  reshaped.type = tensorType(own.dtype, own.shape);
  for (const use of uses) use.node.setInput(use.index, reshaped);
  input.type = tensorType(wanted.dtype, wanted.shape);
}

/** Symbols and open dimensions take any number. */
const fits = (own: Shape[number], wanted: Shape[number]) => typeof own !== 'number' || typeof wanted !== 'number' || own === wanted;
const product = (dims: readonly number[]) => dims.reduce((n, d) => n * d, 1);

/** The output that is looked at: the one called "logits", else the first float one. */
export function mainOutput(graph: Graph): Value {
  const floats = graph.outputs.filter((v) => isFloat(tensorTypeOf(v)?.dtype ?? 'float'));
  const output = floats.find((v) => v.name === 'logits') ?? floats[0];
  if (output) return output;
  throw usageError(`model "${graph.name}": expected a float output, got ${listed(graph.outputs) || 'none'}`);
}

const PROBABILITIES: ReadonlySet<string> = new Set(['Softmax', 'LogSoftmax', 'Sigmoid']);

function adoptOutput(graph: Graph, like: Graph): void {
  const wanted = mainOutput(like);
  const own = mainOutput(graph);
  const { producer } = wanted;
  let output = own;
  if (producer && PROBABILITIES.has(producer.opType) && !PROBABILITIES.has(own.producer?.opType ?? '')) {
    const b = new Builder(graph, { prefix: 'student/' });
    output = b.op(producer.opType, [own], producer.opType === 'Sigmoid' ? {} : { axis: producer.int('axis', -1) });
    output.type = own.type;
    graph.setOutput(graph.outputs.indexOf(own), output);
  }
  if (output.name === wanted.name) return;
  freeName(graph, wanted.name, output);
  graph.rename(output, wanted.name);
}

/** Puts everything that `source` computes with into `model`, whose metadata stay. */
export function replaceNetwork(model: Model, source: Model): void {
  const copy = cloneModel(source);
  model.graph = copy.graph;
  model.opsets.clear();
  for (const [domain, version] of copy.opsets) model.opsets.set(domain, version);
  model.irVersion = copy.irVersion;
  model.functions = copy.functions;
}
