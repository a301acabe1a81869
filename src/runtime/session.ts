// Opens a model of the IR in an engine. Values whose types cannot cross into JavaScript are cast inside the graph, intermediate values can
// be asked for by name, and large weights are handed over by place on disk where the engine can map them, so that no second copy is made.
import { usageError } from '../errors.js';
import { DTYPES, type DType } from '../ir/dtype.js';
import type { Graph, Value } from '../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import type { ByteSource } from '../ir/source.js';
import type { Tensor } from '../ir/tensor.js';
import { tensorType } from '../ir/type.js';
import { cloneModel, walkGraphs } from '../ir/walk.js';
import { encodeModelAsync } from '../onnx/encode.js';
import type { Engine, ModelSource, NodeTime, Session, SessionOptions, ValueInfo } from './engine.js';
import { copyResults, runInto } from './run-into.js';

/** Weights smaller than this always travel inside the model's bytes. */
const PLACED_TENSOR_BYTES = 65_536;
/** Below this sum of large weights the model is encoded whole: copying is then cheaper than files. */
const PLACED_TOTAL_BYTES = 32 * 2 ** 20;
/** Engines without a disk get large weights as separate buffers from here on: one encoded model ends at 2 GB. */
const SEPARATE_TOTAL_BYTES = 2 ** 30;

export interface OpenOptions extends SessionOptions {
  /** Names of values of the main graph to compute in addition to the model's outputs. */
  readonly outputs?: readonly string[] | undefined;
  /** Bytes of large weights from which they are handed over by place on disk instead of inside the model (default 32 MB). */
  readonly placeAbove?: number | undefined;
}

/** Types in which values travel that have no typed array of their own in the bindings. Every value is represented exactly. */
const CARRIERS: Partial<Record<DType, DType>> = {
  bfloat16: 'float',
  float8e4m3fn: 'float',
  float8e4m3fnuz: 'float',
  float8e5m2: 'float',
  float8e5m2fnuz: 'float',
  float8e8m0: 'float',
  float6e2m3: 'float',
  float6e3m2: 'float',
  float4e2m1: 'float',
  float16: 'float',
  int4: 'int8',
  uint4: 'uint8',
  int2: 'int8',
  uint2: 'uint8',
};

/** Carriers that results are converted back from; 8-bit and 4-bit floats stay float, as no rounding to them is implemented here. */
const RESTORED: ReadonlySet<DType> = new Set(['bfloat16', 'float16', 'int4', 'uint4', 'int2', 'uint2']);

/**
 * Opens a session. Inputs of types that cannot cross are fed in their own type (or their carrier: float, int8, uint8) and results come back in
 * their own type where `Tensor.cast` can make it; `inputs` and `outputs` of the session say which. The model is not changed.
 * Throws E_USAGE for an unknown output name, E_RUNTIME where the engine does not take the model.
 */
export async function openSession(engine: Engine, model: Model, options: OpenOptions = {}): Promise<Session> {
  const { outputs = [], placeAbove = PLACED_TOTAL_BYTES, ...sessionOptions } = options;
  const plan = prepare(engine, model, outputs);
  const { source, loaded, released } = await encodeFor(engine, plan.model, placeAbove);
  let session: Session;
  try {
    session = await engine.load(source, sessionOptions);
  } catch (error) {
    await released();
    throw error;
  }
  await loaded();
  const simple = plan.inputs.size === 0 && plan.outputs.every((o) => o.inner === o.name && o.restore === undefined);
  return simple && released === nothing ? session : new PlannedSession(session, plan, released);
}

/** An output as the caller names it, the value of the edited graph that holds it, and the type to turn results back into. */
interface PlannedOutput {
  readonly name: string;
  readonly inner: string;
  readonly restore: DType | undefined;
}

interface Plan {
  readonly model: Model;
  /** Inputs that are fed in another type: name to carrier and own type. */
  readonly inputs: ReadonlyMap<string, { readonly carrier: DType; readonly own: DType }>;
  readonly outputs: readonly PlannedOutput[];
}

function carrierFor(engine: Engine, value: Value): DType | undefined {
  const dtype = tensorTypeOf(value)?.dtype;
  if (dtype === undefined || engine.canExchange(dtype)) return undefined;
  return CARRIERS[dtype];
}

function prepare(engine: Engine, model: Model, wanted: readonly string[]): Plan {
  const own = model.graph.outputs.map((v) => v.name);
  const extra = [...new Set(wanted)].filter((name) => !own.includes(name));
  const missing = extra.filter((name) => model.graph.ownValue(name) === undefined);
  if (missing.length > 0) {
    throw usageError(`no such value in the main graph: ${missing.map((n) => `"${n}"`).join(', ')}`, {
      hint: 'values inside If, Loop and Scan bodies cannot be read from outside',
    });
  }
  const castInputs = requiredInputs(model.graph).filter((v) => carrierFor(engine, v) !== undefined);
  const castOutputs = model.graph.outputs.filter((v) => carrierFor(engine, v) !== undefined);
  if (extra.length === 0 && castInputs.length === 0 && castOutputs.length === 0) {
    return { model, inputs: new Map(), outputs: own.map((name) => ({ name, inner: name, restore: undefined })) };
  }
  const copy = cloneModel(model);
  const inputs = new Map<string, { carrier: DType; own: DType }>();
  for (const { name } of castInputs) inputs.set(name, castInput(engine, copy.graph, copy.graph.ownValue(name)!));
  const planned = own.map((name, index) => exposeOutput(engine, copy.graph, name, index));
  for (const name of extra) planned.push(exposeOutput(engine, copy.graph, name, undefined));
  return { model: copy, inputs, outputs: planned };
}

function castInput(engine: Engine, graph: Graph, value: Value): { carrier: DType; own: DType } {
  const type = tensorTypeOf(value)!;
  const carrier = carrierFor(engine, value)!;
  const readers = [...value.uses];
  const node = graph.addNode(
    { opType: 'Cast', inputs: [value], outputs: [`${value.name}_own`], attributes: { to: DTYPES[type.dtype].code } },
    graph.nodes[0] ?? null,
  );
  for (const use of readers) use.node.setInput(use.index, node.output());
  graph.outputs.forEach((output, i) => {
    if (output === value) graph.setOutput(i, node.output());
  });
  node.output().type = type;
  value.type = tensorType(carrier, type.shape);
  return { carrier, own: type.dtype };
}

/** Makes a value readable under its name: as output number `index` where it is one already, else as a further one. */
function exposeOutput(engine: Engine, graph: Graph, name: string, index: number | undefined): PlannedOutput {
  const value = index === undefined ? graph.ownValue(name)! : graph.outputs[index]!;
  const carrier = carrierFor(engine, value);
  let inner = value;
  if (carrier !== undefined) {
    const cast = { opType: 'Cast', inputs: [value], outputs: [`${name}_carried`], attributes: { to: DTYPES[carrier].code } };
    inner = graph.addNode(cast).output();
    inner.type = tensorType(carrier, tensorTypeOf(value)?.shape ?? null);
  } else if (index === undefined && value.producer === null) {
    inner = graph.addNode({ opType: 'Identity', inputs: [value], outputs: [`${name}_read`] }).output();
    inner.type = value.type;
  }
  if (index === undefined) graph.addOutput(inner);
  else if (inner !== value) graph.setOutput(index, inner);
  const ownType = tensorTypeOf(value)?.dtype;
  return {
    name,
    inner: inner.name,
    restore: carrier !== undefined && ownType !== undefined && RESTORED.has(ownType) ? ownType : undefined,
  };
}

const nothing = async () => {};

/** Bytes for the engine; `loaded` once the engine has opened them, `released` once the session is over. */
async function encodeFor(
  engine: Engine,
  model: Model,
  placeAbove: number,
): Promise<{ source: ModelSource; loaded(): Promise<void>; released(): Promise<void> }> {
  const large = largeWeights(model.graph);
  const total = [...large].reduce((sum, source) => sum + source.byteLength, 0);
  if (engine.placeOnDisk !== undefined && total >= placeAbove) {
    const sources = [...large];
    const placement = await engine.placeOnDisk(sources);
    const places = new Map(sources.map((source, i) => [source, placement.locations[i]!]));
    const { bytes } = await encodeModelAsync(model, {
      placer: {
        wants: (tensor) => places.has(tensor.source),
        place: (tensor) => ({ ...places.get(tensor.source)!, length: tensor.byteLength }),
      },
    });
    // Mapped files live on after they are deleted, except on Windows, where deleting fails now and works on release.
    const release = async () => placement.release().catch(() => {});
    return { source: { bytes, folder: placement.folder }, loaded: release, released: release };
  }
  if (total >= SEPARATE_TOTAL_BYTES) {
    const sources = [...large];
    const places = new Map(sources.map((source, i) => [source, `weight_${i}.bin`]));
    const { bytes } = await encodeModelAsync(model, {
      placer: {
        wants: (tensor) => places.has(tensor.source),
        place: (tensor) => ({ location: places.get(tensor.source)!, offset: 0, length: tensor.byteLength }),
      },
    });
    const externalData = sources.map((data) => ({ path: places.get(data)!, data }));
    return { source: { bytes, externalData }, loaded: nothing, released: nothing };
  }
  return { source: { bytes: (await encodeModelAsync(model)).bytes }, loaded: nothing, released: nothing };
}

function largeWeights(graph: Graph): Set<ByteSource> {
  const found = new Set<ByteSource>();
  for (const g of walkGraphs(graph)) {
    for (const { initializer } of g.initializers) {
      if (initializer!.dtype !== 'string' && initializer!.byteLength >= PLACED_TENSOR_BYTES) found.add(initializer!.source);
    }
  }
  return found;
}

/** A session whose names and types at the border differ from those of the graph inside. */
class PlannedSession implements Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly #session: Session;
  readonly #plan: Plan;
  readonly #released: () => Promise<void>;

  constructor(session: Session, plan: Plan, released: () => Promise<void>) {
    this.#session = session;
    this.#plan = plan;
    this.#released = released;
    this.inputs = session.inputs.map((info) => ({ ...info, dtype: plan.inputs.get(info.name)?.own ?? info.dtype }));
    const inner = new Map(session.outputs.map((info) => [info.name, info]));
    this.outputs = plan.outputs.map((o) => {
      const info = inner.get(o.inner);
      return { name: o.name, dtype: o.restore ?? info?.dtype, shape: info?.shape };
    });
  }

  async run(feeds: Readonly<Record<string, Tensor>>, fetches?: readonly string[]): Promise<Record<string, Tensor>> {
    const given: Record<string, Tensor> = {};
    for (const [name, tensor] of Object.entries(feeds)) {
      const cast = this.#plan.inputs.get(name);
      given[name] = cast !== undefined && tensor.dtype === cast.own ? tensor.cast(cast.carrier) : tensor;
    }
    const wanted = fetches === undefined ? undefined : fetches.map((name) => this.#planned(name));
    const results = await this.#session.run(
      given,
      wanted?.map((o) => o.inner),
    );
    const out: Record<string, Tensor> = {};
    for (const o of wanted ?? this.#plan.outputs) {
      const tensor = results[o.inner];
      if (tensor !== undefined) out[o.name] = o.restore === undefined ? tensor : tensor.cast(o.restore);
    }
    return out;
  }

  async runInto(feeds: Readonly<Record<string, Tensor>>, into: Readonly<Record<string, Tensor>>): Promise<void> {
    const plain = Object.keys(into).every((name) => {
      const { inner, restore } = this.#planned(name);
      return inner === name && restore === undefined;
    });
    if (plain && this.#plan.inputs.size === 0) await runInto(this.#session, feeds, into);
    else copyResults(await this.run(feeds, Object.keys(into)), into);
  }

  #planned(name: string): PlannedOutput {
    const found = this.#plan.outputs.find((o) => o.name === name);
    if (found === undefined) {
      throw usageError(`unknown output "${name}": expected one of ${this.#plan.outputs.map((o) => `"${o.name}"`).join(', ')}`, {
        hint: 'intermediate values must be named when the session is opened',
      });
    }
    return found;
  }

  endProfiling(): Promise<NodeTime[]> {
    return this.#session.endProfiling();
  }

  async release(): Promise<void> {
    await this.#session.release();
    await this.#released();
  }
}
