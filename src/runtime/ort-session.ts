// A session over a binding of ONNX Runtime (onnxruntime-node or onnxruntime-web: both have the interface of onnxruntime-common).
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common';
import { runtimeError, unsupportedError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
import type { NodeTime, Session, SessionOptions, ValueInfo } from './engine.js';
import { wrapOrtError } from './ort-errors.js';
import { crossesBorder, dtypeOfOrt, fromOrtTensor, type MakeOrtTensor, ortParts } from './ort-tensor.js';
import { copyResults } from './run-into.js';

/** What differs between the bindings. */
export interface OrtSessionHooks {
  /** Runs a call to the binding when its turn has come; absent where calls may overlap. */
  readonly inTurn?: <T>(call: () => Promise<T>) => Promise<T>;
  /** True where the binding writes results into tensors that are given to it; else they are copied. */
  readonly writesInto?: boolean;
  /** Ends profiling and answers the times; absent where the binding has none. */
  readonly endProfiling?: () => Promise<NodeTime[]>;
  /** Runs after the binding's own release: temporary files go here. */
  readonly released?: () => Promise<void>;
}

export class OrtSession implements Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly #session: InferenceSession;
  readonly #makeTensor: MakeOrtTensor;
  readonly #hooks: OrtSessionHooks;
  readonly #tensors = new WeakMap<Tensor, OrtTensor>();
  #released = false;

  constructor(session: InferenceSession, makeTensor: MakeOrtTensor, hooks: OrtSessionHooks) {
    this.#session = session;
    this.#makeTensor = makeTensor;
    this.#hooks = hooks;
    this.inputs = session.inputMetadata.map(valueInfo);
    this.outputs = session.outputMetadata.map(valueInfo);
  }

  async run(feeds: Readonly<Record<string, Tensor>>, fetches?: readonly string[]): Promise<Record<string, Tensor>> {
    if (this.#released) throw runtimeError('the session was released: expected an open one');
    this.#checkFeeds(feeds);
    if (fetches !== undefined) this.#checkFetches(fetches);
    // Sequences, maps and types without a JavaScript form are left out where nobody asked for them.
    const names = fetches ?? this.outputs.filter(readable).map((o) => o.name);
    if (names.length === 0) this.#checkFetches(this.outputs.map((o) => o.name));
    const given: Record<string, OrtTensor> = {};
    for (const [name, tensor] of Object.entries(feeds)) given[name] = this.#makeTensor(ortParts(tensor));
    let results: InferenceSession.OnnxValueMapType;
    try {
      const call = () => this.#session.run(given, names);
      results = await (this.#hooks.inTurn?.(call) ?? call());
    } catch (error) {
      throw wrapOrtError(error, 'ONNX Runtime failed to run the model');
    }
    const out: Record<string, Tensor> = {};
    for (const name of names) {
      const value = results[name] as OrtTensor;
      out[name] = fromOrtTensor(value);
    }
    return out;
  }

  async runInto(feeds: Readonly<Record<string, Tensor>>, into: Readonly<Record<string, Tensor>>): Promise<void> {
    if (!this.#hooks.writesInto) return copyResults(await this.run(feeds, Object.keys(into)), into);
    if (this.#released) throw runtimeError('the session was released: expected an open one');
    this.#checkFeeds(feeds);
    this.#checkFetches(Object.keys(into));
    const given: Record<string, OrtTensor> = {};
    for (const [name, tensor] of Object.entries(feeds)) given[name] = this.#kept(tensor);
    const taken: Record<string, OrtTensor> = {};
    for (const [name, tensor] of Object.entries(into)) taken[name] = this.#kept(tensor);
    try {
      const call = () => this.#session.run(given, taken);
      await (this.#hooks.inTurn?.(call) ?? call());
    } catch (error) {
      throw wrapOrtError(error, 'ONNX Runtime failed to run the model');
    }
  }

  /** The binding's tensor over the memory of one of ours, made once. */
  #kept(tensor: Tensor): OrtTensor {
    let made = this.#tensors.get(tensor);
    if (made === undefined) {
      made = this.#makeTensor(ortParts(tensor));
      this.#tensors.set(tensor, made);
    }
    return made;
  }

  /** Said here, before the binding is called: it names one input at a time, or crashes the process on types it cannot hand over. */
  #checkFeeds(feeds: Readonly<Record<string, Tensor>>): void {
    const known = new Map(this.inputs.map((i) => [i.name, i]));
    const unknown = Object.keys(feeds).filter((name) => !known.has(name));
    if (unknown.length > 0) {
      throw runtimeError(
        `unknown inputs ${unknown.map(quoted).join(', ')}: expected ${[...known.keys()].map(quoted).join(', ') || 'none'}`,
      );
    }
    for (const [name, tensor] of Object.entries(feeds)) {
      const expected = known.get(name)?.dtype;
      if (expected !== undefined && expected !== tensor.dtype) {
        throw runtimeError(`input "${name}": expected ${expected}, got ${tensor.dtype}`, { place: { value: name } });
      }
    }
  }

  #checkFetches(names: readonly string[]): void {
    for (const name of names) {
      const info = this.outputs.find((o) => o.name === name);
      if (info === undefined) {
        throw runtimeError(`unknown output "${name}": expected one of ${this.outputs.map((o) => quoted(o.name)).join(', ')}`);
      }
      if (!readable(info)) {
        throw unsupportedError(`output "${name}" is ${info.dtype ?? 'no tensor'}, which cannot be read in JavaScript`, {
          place: { value: name },
          hint: 'open the model with openSession, which casts such outputs inside the graph',
        });
      }
    }
  }

  async endProfiling(): Promise<NodeTime[]> {
    const end = this.#hooks.endProfiling;
    if (end === undefined) throw unsupportedError('this session has no per-node profile: it needs onnxruntime-node and the option profile');
    return end();
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    try {
      await this.#session.release();
    } finally {
      await this.#hooks.released?.();
    }
  }
}

function readable(info: ValueInfo): boolean {
  return info.dtype !== undefined && crossesBorder(info.dtype);
}

function quoted(name: string): string {
  return `"${name}"`;
}

function valueInfo(meta: InferenceSession.ValueMetadata): ValueInfo {
  if (!meta.isTensor) return { name: meta.name, dtype: undefined, shape: undefined };
  return {
    name: meta.name,
    dtype: dtypeOfOrt(meta.type),
    shape: meta.shape.map((d) => (d === '' || (typeof d === 'number' && d < 0) ? null : d)),
  };
}

/** Options common to both bindings, in the form of onnxruntime-common. */
export function ortSessionOptions(options: SessionOptions): InferenceSession.SessionOptions {
  const config: Record<string, string> = {};
  if (options.frugal) {
    config['session.disable_prepacking'] = '1';
    config['session.use_device_allocator_for_initializers'] = '1';
  }
  for (const [key, value] of flatEntries('', options.extra ?? {})) config[key] = value;
  return {
    graphOptimizationLevel: options.optimization ?? 'all',
    executionMode: 'sequential',
    // Failures come back as errors; the library itself never prints.
    logSeverityLevel: 4,
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads, interOpNumThreads: 1 }),
    ...(options.frugal ? { enableCpuMemArena: false, enableMemPattern: false } : {}),
    ...(Object.keys(config).length > 0 ? { extra: config } : {}),
  };
}

/** Configuration entries by full name; both `{ 'session.x': 1 }` and `{ session: { x: 1 } }` are taken, booleans become 1 and 0. */
function* flatEntries(prefix: string, entries: Readonly<Record<string, unknown>>): Generator<[string, string]> {
  for (const [key, value] of Object.entries(entries)) {
    const name = prefix === '' ? key : `${prefix}.${key}`;
    if (typeof value === 'object' && value !== null) yield* flatEntries(name, value as Record<string, unknown>);
    else yield [name, typeof value === 'boolean' ? (value ? '1' : '0') : String(value)];
  }
}
