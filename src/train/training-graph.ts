// The graphs that a training runs: one for each shape of batch (the short last one, lengths of sequences), all made from the same model and reading the
// same parameter buffers. The model is simplified with its parameters as inputs, so that nothing is folded into them and names stay.
import { specializeShapes } from '../analysis/shapes.js';
import type { Batch } from '../data/dataset.js';
import { bugError, shapeError } from '../errors.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import type { Engine, Session, SessionOptions } from '../runtime/engine.js';
import { runInto } from '../runtime/run-into.js';
import { openSession } from '../runtime/session.js';
import { blockConvolutions } from './blocked-convolutions.js';
import { type Differentiated, differentiate } from './gradient.js';
import type { Feeds, Objective } from './objective.js';

export interface TrainingGraphOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly objective: Objective;
  readonly parameters: readonly string[];
  readonly batchNorm: 'batch' | 'frozen';
  readonly prepare?: ((model: Model) => Promise<Model>) | undefined;
  readonly session?: SessionOptions | undefined;
  readonly recompute?: boolean | undefined;
}

/** Memory that the graphs read and write, by name of the initializer. */
export interface TrainingBuffers {
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** Running statistics: the current ones and room for those after the step. */
  readonly states: ReadonlyMap<string, Float32Array>;
  readonly nextStates: ReadonlyMap<string, Float32Array>;
}

/** Inputs of BatchNormalization that hold running statistics. */
const STATISTICS = [3, 4];

/** Graph and session for batches of one shape. */
export class TrainingGraph {
  readonly differentiated: Differentiated;
  readonly #session: Session;
  #feeds: Record<string, Tensor> = {};
  #results: Record<string, Tensor> = {};
  readonly #loss = new Float32Array(1);

  constructor(differentiated: Differentiated, session: Session) {
    this.differentiated = differentiated;
    this.#session = session;
  }

  /** Ties the graph to buffers. Gradients of parameters without one stay as they are. */
  bind(buffers: TrainingBuffers): void {
    const { parameters, states, loss, model } = this.differentiated;
    const fed = new Set(this.#session.inputs.map((i) => i.name));
    this.#feeds = {};
    this.#results = {};
    const view = (name: string, dims: readonly number[], from: ReadonlyMap<string, Float32Array>): Tensor => {
      const array = from.get(name);
      if (array === undefined) throw bugError(`training: no buffer for "${name}"`);
      return Tensor.of('float', dims, array);
    };
    for (const { name, data, gradient } of parameters) {
      if (fed.has(name)) this.#feeds[name] = view(name, data.dims, buffers.parameters);
      if (gradient !== null) this.#results[gradient] = view(name, data.dims, buffers.gradients);
    }
    for (const { name, next, data } of states) {
      if (fed.has(name)) this.#feeds[name] = view(name, data.dims, buffers.states);
      this.#results[next] = view(name, data.dims, buffers.nextStates);
    }
    const lossDims = tensorTypeOf(model.graph.value(loss))?.shape as readonly number[] | undefined;
    this.#results[loss] = Tensor.of('float', lossDims ?? [], this.#loss);
  }

  /** All feeds of a step. */
  feeds(batch: Batch, extra: Feeds, seed: number): Record<string, Tensor> {
    const feeds: Record<string, Tensor> = { ...this.#feeds };
    const known = new Set(this.#session.inputs.map((i) => i.name));
    for (const [name, tensor] of [...Object.entries(batch.inputs), ...Object.entries(extra)]) if (known.has(name)) feeds[name] = tensor;
    const { seed: input } = this.differentiated;
    if (input !== undefined && known.has(input)) feeds[input] = Tensor.from('int64', [], [seed]);
    return feeds;
  }

  /** Runs forward and backward into the buffers and answers the loss. */
  async run(feeds: Readonly<Record<string, Tensor>>): Promise<number> {
    await runInto(this.#session, feeds, this.#results);
    return this.#loss[0]!;
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** Makes and keeps the graphs by shape of batch. */
export class TrainingGraphs {
  readonly #options: TrainingGraphOptions;
  readonly #graphs = new Map<string, TrainingGraph>();
  #buffers: TrainingBuffers | undefined;

  constructor(options: TrainingGraphOptions) {
    this.#options = options;
  }

  async for(batch: Batch): Promise<TrainingGraph> {
    const key = shapeKey(batch);
    let graph = this.#graphs.get(key);
    if (graph === undefined) {
      graph = await openGraph(this.#options, batch);
      if (this.#buffers) graph.bind(this.#buffers);
      this.#graphs.set(key, graph);
    }
    return graph;
  }

  bind(buffers: TrainingBuffers): void {
    this.#buffers = buffers;
    for (const graph of this.#graphs.values()) graph.bind(buffers);
  }

  async release(): Promise<void> {
    const graphs = [...this.#graphs.values()];
    this.#graphs.clear();
    await Promise.all(graphs.map((g) => g.release()));
  }
}

function shapeKey(batch: Batch): string {
  const types = Object.entries(batch.inputs).map(([name, t]) => `${name}:${t.dtype}[${t.dims}]`);
  return [...types, batch.labels ? `${batch.labels.dtype}[${batch.labels.dims}]` : '-', batch.size].join(' ');
}

async function openGraph(options: TrainingGraphOptions, batch: Batch): Promise<TrainingGraph> {
  const { engine, objective, parameters, batchNorm, recompute, prepare = async (m: Model) => m } = options;
  const shapes = shapesOf(options.model, batch);
  const model = await simplifyAround(options.model, parameters, shapes, prepare);
  const present = new Set(model.graph.initializers.map((v) => v.name));
  const channelBlock = (options.session?.device ?? 'cpu') === 'cpu' ? await engine.channelBlock?.() : undefined;
  const raw = differentiate(model, {
    loss: (b, outputs) => objective.build(b, outputs, batch),
    parameters: parameters.filter((name) => present.has(name)),
    shapes,
    training: true,
    batchNorm,
    outputs: [],
    recompute,
    channelBlock,
  });
  const prepared = await prepare(raw.model);
  // Running the whole graph through a pass keeps what its inputs and outputs are called.
  const differentiated: Differentiated = { ...raw, model: prepared };
  const session = await openSession(engine, channelBlock ? blockConvolutions(prepared, channelBlock) : prepared, options.session);
  return new TrainingGraph(differentiated, session);
}

/** Dimensions of the inputs in this batch; E_SHAPE where one is missing. */
function shapesOf(model: Model, batch: Batch): Record<string, readonly number[]> {
  const missing = requiredInputs(model.graph).filter((v) => batch.inputs[v.name] === undefined);
  if (missing.length > 0) {
    throw shapeError(
      `training data: expected values for the inputs ${missing.map((v) => `"${v.name}"`).join(', ')}, got ${Object.keys(batch.inputs).join(', ')}`,
    );
  }
  return Object.fromEntries(requiredInputs(model.graph).map((v) => [v.name, batch.inputs[v.name]!.dims]));
}

/** A copy of the model of fixed shapes, simplified as if parameters and running statistics were unknown. */
async function simplifyAround(
  source: Model,
  parameters: readonly string[],
  shapes: Readonly<Record<string, readonly number[]>>,
  prepare: (model: Model) => Promise<Model>,
): Promise<Model> {
  const model = cloneModel(source);
  const { graph } = model;
  specializeShapes(model, shapes);
  const kept = new Map<string, Tensor>();
  const statistics = graph.nodes
    .filter((n) => n.opType === 'BatchNormalization')
    .flatMap((n) => STATISTICS.map((i) => n.input(i)))
    .filter((v) => v?.initializer);
  const wasInput = new Set(graph.inputs.map((v) => v.name));
  for (const value of [...parameters.map((name) => graph.value(name)), ...statistics]) {
    if (!value?.initializer || kept.has(value.name)) continue;
    kept.set(value.name, value.initializer);
    value.type ??= { kind: 'tensor', dtype: value.initializer.dtype, shape: [...value.initializer.dims] };
    value.initializer = null;
    if (!value.isGraphInput) graph.addInputValue(value);
  }
  const prepared = await prepare(model);
  for (const [name, tensor] of kept) {
    const value = prepared.graph.inputs.find((v) => v.name === name);
    if (!value) throw bugError(`training: the parameter "${name}" went while the model was simplified`);
    value.initializer = tensor;
    if (!wasInput.has(name)) prepared.graph.removeInput(value);
  }
  return prepared;
}
