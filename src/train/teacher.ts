// Where a student gets the values of its teacher from while it trains: the teacher's nodes inside the training graph, a session of its own whose results
// are fed, or values that come with the batches (computed once before). Inputs are those of the batch, so both models need the same ones.
import { inferShapes, specializeShapes } from '../analysis/shapes.js';
import type { Batch } from '../data/dataset.js';
import { shapeError, unsupportedError, usageError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import { isFloat } from '../ir/dtype.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import { isStatic } from '../ir/type.js';
import { cloneModel } from '../ir/walk.js';
import type { GradBuilder } from '../ops/grad-builder.js';
import type { Engine, Session, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { addInput, type Feeds } from './objective.js';

export interface Teacher {
  /** What it was asked for: names of values of the teacher, of those that end in Softmax or LogSoftmax the scores in front. */
  readonly names: readonly string[];
  readonly placement: 'graph' | 'session' | 'data';
  /** The value in the training graph for batches of this shape; may add inputs to the graph. */
  value(b: GradBuilder, name: string, batch: Batch): Value;
  /** Values of the inputs that `value` added. */
  feeds(batch: Batch): Promise<Feeds>;
  release(): Promise<void>;
}

export interface TeacherOptions {
  readonly engine: Engine;
  /** Not changed. */
  readonly model: Model;
  /** Values of the main graph that are wanted (default: all float outputs). */
  readonly values?: readonly string[] | undefined;
  /** Model that will be trained: a teacher goes into its graph only where both are written in the same operators. */
  readonly student?: Model | undefined;
  /**
   * `graph`: its nodes become part of the training graph (one session, nothing copied). `session`: it runs beside, once for all shapes of batch.
   * Default `auto`: the graph for constants of up to 32 MB where that is possible, else a session.
   */
  readonly placement?: 'auto' | 'graph' | 'session' | undefined;
  /** Simplifies the teacher; the same as for the training. */
  readonly prepare?: ((model: Model) => Promise<Model>) | undefined;
  readonly session?: SessionOptions | undefined;
  /** In front of names of inputs, to tell several teachers apart. */
  readonly prefix?: string | undefined;
}

/** Every shape of batch has a copy of the constants in its graph: beyond this they are too many. */
const GRAPH_BYTES = 32 * 2 ** 20;
const SCORES_IN_FRONT: ReadonlySet<string> = new Set(['Softmax', 'LogSoftmax']);

/** Name of the input under which a teacher's value is fed. */
export const teacherInput = (name: string, prefix = 'teacher/'): string => `${prefix}${name}`;

/** Opens a teacher. Release it at the end. Throws E_USAGE for values that the model does not have, E_UNSUPPORTED where it cannot be in the graph as asked. */
export async function openTeacher(options: TeacherOptions): Promise<Teacher> {
  const { engine, prepare = async (m: Model) => m, placement = 'auto', prefix = 'teacher/' } = options;
  const names = options.values ?? floatOutputs(options.model);
  const wanted = exposeValues(options.model, names);
  const prepared = await prepare(wanted.model);
  const obstacle = await graphObstacle(prepared, options, prepare);
  if (placement === 'graph' && obstacle !== undefined) {
    throw unsupportedError(`teacher in the training graph: ${obstacle}`, { hint: 'let it run in a session of its own' });
  }
  const fitsGraph = obstacle === undefined && constantBytesOf(prepared) <= GRAPH_BYTES;
  const inGraph = placement === 'graph' || (placement === 'auto' && fitsGraph);
  return inGraph
    ? new GraphTeacher(prepared, wanted.exposed, prefix)
    : new SessionTeacher(prepared, wanted.exposed, prefix, await openSession(engine, prepared, options.session));
}

/** A teacher whose values come with each batch, as inputs named by `teacherInput`. */
export function teacherInData(names: readonly string[], prefix = 'teacher/'): Teacher {
  return {
    names,
    placement: 'data',
    value(b, name, batch) {
      const input = teacherInput(name, prefix);
      const tensor = batch.inputs[input];
      if (!tensor) throw usageError(`teacher: expected batches with "${input}", got ${Object.keys(batch.inputs).join(', ')}`);
      return addInput(b, input, tensor.dtype, tensor.dims);
    },
    feeds: async () => ({}),
    release: async () => {},
  };
}

/** Several teachers as one that answers the weighted mean of their values (of scores: the geometric mean of their probabilities, Hinton et al. 2015). */
export function teacherEnsemble(teachers: readonly Teacher[], weights: readonly number[] = teachers.map(() => 1)): Teacher {
  const [first] = teachers;
  if (!first) throw usageError('teachers: expected at least one, got none');
  const total = weights.reduce((sum, w) => sum + w, 0);
  if (weights.length !== teachers.length || weights.some((w) => !(w >= 0)) || !(total > 0))
    throw usageError(`weights of teachers: expected ${teachers.length} numbers of at least 0, not all 0, got ${weights.join(', ')}`);
  return {
    names: first.names,
    placement: first.placement,
    value: (b, name, batch) =>
      teachers.map((t, i) => b.scale(t.value(b, name, batch), weights[i]! / total)).reduce((sum, part) => b.add(sum, part)),
    feeds: async (batch) => Object.assign({}, ...(await Promise.all(teachers.map((t) => t.feeds(batch))))) as Feeds,
    release: async () => {
      await Promise.all(teachers.map((t) => t.release()));
    },
  };
}

function floatOutputs(model: Model): string[] {
  return model.graph.outputs.filter((v) => isFloat(tensorTypeOf(v)?.dtype ?? 'float')).map((v) => v.name);
}

/** A copy whose outputs are the wanted values, or the scores in front of probabilities, and which output stands for which value. */
export function exposeValues(source: Model, names: readonly string[]): { model: Model; exposed: ReadonlyMap<string, string> } {
  const model = cloneModel(source);
  const { graph } = model;
  const wanted = names.map((name) => {
    const value = graph.ownValue(name);
    if (value && (value.producer || value.isGraphInput)) return { name, value };
    throw usageError(`teacher "${graph.name}": expected a value of its graph, got "${name}"`, {
      hint: `outputs are ${graph.outputs.map((v) => v.name).join(', ')}; \`pare profile\` lists the layers`,
    });
  });
  const exposed = new Map<string, string>();
  const keep = wanted.map(({ name, value }) => {
    const { producer } = value;
    const scores =
      value.isGraphOutput && producer && producer.domain === '' && SCORES_IN_FRONT.has(producer.opType) ? producer.input(0)! : value;
    exposed.set(name, scores.name);
    return scores;
  });
  for (const output of [...graph.outputs]) graph.removeOutput(output);
  for (const value of new Set(keep)) graph.addOutput(value);
  return { model, exposed };
}

const constantBytesOf = (model: Model): number => model.graph.initializers.reduce((sum, v) => sum + v.initializer!.byteLength, 0);

/** Why the teacher cannot be part of the student's graph, if it cannot. */
async function graphObstacle(
  teacher: Model,
  { student }: TeacherOptions,
  prepare: (m: Model) => Promise<Model>,
): Promise<string | undefined> {
  if (teacher.functions.length > 0) return 'expected no local functions';
  const nested = teacher.graph.nodes.find((n) => n.subgraphs().length > 0);
  if (nested) return `expected no nodes with graphs of their own, got ${nested.op} "${nested.label}"`;
  const foreign = teacher.graph.nodes.find((n) => n.domain !== '' && n.domain !== 'com.microsoft');
  if (foreign) return `expected operators of ONNX and com.microsoft, got ${foreign.op} "${foreign.label}"`;
  if (!student) return undefined;
  // What preparing makes of the student's opset shows on a graph of one node.
  const tiny = buildModel('opset', (b) => b.output(b.op('Relu', [b.input('x', 'float', [1])]), 'y'), { opset: student.opset });
  const { opset } = await prepare(tiny);
  return teacher.opset === opset ? undefined : `expected opset ${opset}, which the student has, got ${teacher.opset}`;
}

/** The teacher for batches of these shapes, every dimension a number. */
function specialized(source: Model, batch: Batch): Model {
  const model = cloneModel(source);
  const missing = requiredInputs(model.graph).filter((v) => batch.inputs[v.name] === undefined);
  if (missing.length > 0) {
    const list = (names: readonly string[]) => names.map((n) => `"${n}"`).join(', ');
    throw shapeError(`teacher: expected data for its inputs ${list(missing.map((v) => v.name))}, got ${list(Object.keys(batch.inputs))}`, {
      hint: 'teacher and student must take the same inputs',
    });
  }
  const shapes = Object.fromEntries(requiredInputs(model.graph).map((v) => [v.name, batch.inputs[v.name]!.dims]));
  specializeShapes(model, shapes);
  inferShapes(model);
  return model;
}

class GraphTeacher implements Teacher {
  readonly placement = 'graph';
  readonly names: readonly string[];
  readonly #model: Model;
  readonly #exposed: ReadonlyMap<string, string>;
  readonly #prefix: string;
  readonly #inlined = new WeakMap<GradBuilder, ReadonlyMap<string, Value>>();

  constructor(model: Model, exposed: ReadonlyMap<string, string>, prefix: string) {
    this.#model = model;
    this.#exposed = exposed;
    this.names = [...exposed.keys()];
    this.#prefix = prefix;
  }

  value(b: GradBuilder, name: string, batch: Batch): Value {
    let values = this.#inlined.get(b);
    if (!values) {
      values = this.#inline(b, batch);
      this.#inlined.set(b, values);
    }
    return values.get(requireExposed(this.#exposed, name))!;
  }

  async feeds(batch: Batch): Promise<Feeds> {
    // Inputs that the student does not read are inputs of the training graph all the same.
    return Object.fromEntries(requiredInputs(this.#model.graph).map((v) => [v.name, batch.inputs[v.name]!]));
  }

  async release(): Promise<void> {}

  #inline(b: GradBuilder, batch: Batch): ReadonlyMap<string, Value> {
    const { graph } = specialized(this.#model, batch);
    const map = new Map<Value, Value>();
    for (const input of requiredInputs(graph)) {
      const { dtype, dims } = batch.inputs[input.name]!;
      map.set(input, b.graph.inputs.find((v) => v.name === input.name) ?? addInput(b, input.name, dtype, dims));
    }
    const { prefix } = b;
    b.prefix = this.#prefix;
    for (const value of graph.initializers) map.set(value, b.constant(value.name, value.initializer!));
    for (const node of graph.nodes) {
      b.origin = `${this.#prefix}${node.label}`;
      const inputs = node.inputs.map((v) => v && map.get(v)!);
      const outputs = node.outputs.map((v) => (v ? `${this.#prefix}${v.name}` : ''));
      const made = makeNode(b, node, inputs, outputs);
      node.outputs.forEach((v, i) => {
        if (v) map.set(v, made.outputs[i]!);
      });
    }
    b.prefix = prefix;
    b.origin = '';
    return new Map(graph.outputs.map((v) => [v.name, b.cast(map.get(v)!, 'float')]));
  }
}

function makeNode(b: GradBuilder, node: Node, inputs: readonly (Value | null)[], outputs: readonly string[]): Node {
  // The last outputs may be left out; those in between get a value that nobody reads.
  const used = outputs.map((name, i) => name || `${node.label}_unused_${i}`);
  return b.node(node.opType, inputs, Object.fromEntries(node.attributes), { domain: node.domain, outputs: used });
}

function requireExposed(exposed: ReadonlyMap<string, string>, name: string): string {
  const found = exposed.get(name);
  if (found !== undefined) return found;
  throw usageError(`teacher: expected one of the values it was opened with (${[...exposed.keys()].join(', ')}), got "${name}"`);
}

class SessionTeacher implements Teacher {
  readonly placement = 'session';
  readonly names: readonly string[];
  readonly #model: Model;
  readonly #exposed: ReadonlyMap<string, string>;
  readonly #prefix: string;
  readonly #session: Session;
  readonly #asked = new Set<string>();
  readonly #shapes = new Map<string, Model>();

  constructor(model: Model, exposed: ReadonlyMap<string, string>, prefix: string, session: Session) {
    this.#model = model;
    this.#exposed = exposed;
    this.names = [...exposed.keys()];
    this.#prefix = prefix;
    this.#session = session;
  }

  value(b: GradBuilder, name: string, batch: Batch): Value {
    const output = requireExposed(this.#exposed, name);
    const key = Object.values(batch.inputs)
      .map((t) => `[${t.dims}]`)
      .join();
    let model = this.#shapes.get(key);
    if (!model) {
      model = specialized(this.#model, batch);
      this.#shapes.set(key, model);
    }
    const shape = tensorTypeOf(model.graph.value(output))?.shape;
    if (!isStatic(shape)) throw shapeError(`teacher: expected a static shape of "${name}" for this batch, got an open one`);
    this.#asked.add(output);
    return addInput(b, teacherInput(output, this.#prefix), 'float', shape);
  }

  async feeds(batch: Batch): Promise<Feeds> {
    const inputs = Object.fromEntries(requiredInputs(this.#model.graph).map((v) => [v.name, batch.inputs[v.name]!]));
    const results = await this.#session.run(inputs, [...this.#asked]);
    return Object.fromEntries([...this.#asked].map((name) => [teacherInput(name, this.#prefix), results[name]!.cast('float')]));
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}
