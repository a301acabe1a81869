// The engine of the browser: onnxruntime-web, given by the caller, as WebAssembly on the CPU or as WebGPU. Works in pages and workers.
// It has no per-node profile, no disk, and one number of threads for all sessions, fixed when the first is opened.
import type { Env, InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common';
import { unsupportedError } from '../errors.js';
import type { Device, Engine, ModelSource, Session, SessionOptions } from '../runtime/engine.js';
import { wrapOrtError } from '../runtime/ort-errors.js';
import { OrtSession, ortSessionOptions } from '../runtime/ort-session.js';
import { crossesBorder } from '../runtime/ort-tensor.js';

/** What is used of the module `onnxruntime-web`: pass the module itself, from any of its builds. */
export interface OrtWeb {
  readonly InferenceSession: typeof import('onnxruntime-common').InferenceSession;
  readonly Tensor: typeof import('onnxruntime-common').Tensor;
  readonly env: Env;
}

/** The engine over onnxruntime-web. `device: 'cpu'` means WebAssembly here. */
export function webEngine(ort: OrtWeb): Engine {
  const devices: readonly Device[] = globalThis.navigator !== undefined && 'gpu' in globalThis.navigator ? ['wasm', 'webgpu'] : ['wasm'];
  const inTurn = queue();
  let threadsFixed = false;
  return {
    name: 'onnxruntime-web',
    version: ort.env.versions.web ?? ort.env.versions.common,
    devices,
    canExchange: crossesBorder,
    ...('memory' in performance ? { memoryBytes: () => (performance as MeasuredPerformance).memory.usedJSHeapSize } : {}),
    load: async (source, options = {}) => {
      if (!threadsFixed && options.threads !== undefined) setThreads(ort.env, options.threads);
      threadsFixed = true;
      return load(ort, devices, inTurn, source, options);
    },
  };
}

/** Chromium's measure of the JavaScript heap; the memory of WebAssembly is not part of it. */
type MeasuredPerformance = Performance & { readonly memory: { readonly usedJSHeapSize: number } };

/** More than one thread needs shared memory, which pages have only when they are isolated from other origins. */
function setThreads(env: Env, threads: number): void {
  env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
}

/** Calls that go on longer than this without a pause in between make a page seem frozen. */
const LONGEST_MS = 30;

/**
 * Calls one after the other: the runtime's WebAssembly instance takes one at a time, across sessions. It computes on the thread that calls, so between
 * calls the page gets its turn: to paint, and to hear what the user does.
 */
function queue(): <T>(call: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  let pausedAt = performance.now();
  return <T>(call: () => Promise<T>): Promise<T> => {
    const inTurn = async () => {
      if (performance.now() - pausedAt > LONGEST_MS) {
        await pause();
        pausedAt = performance.now();
      }
      return call();
    };
    const result = last.then(inTurn, inTurn);
    last = result.catch(() => undefined);
    return result;
  };
}

/** Resolves as a task of its own. Not a timer: those are held back in tabs that nobody looks at. */
function pause(): Promise<void> {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      done();
    };
    port2.postMessage(null);
  });
}

async function load(
  ort: OrtWeb,
  devices: readonly Device[],
  inTurn: <T>(call: () => Promise<T>) => Promise<T>,
  source: ModelSource,
  options: SessionOptions,
): Promise<Session> {
  const device = options.device === undefined || options.device === 'cpu' ? 'wasm' : options.device;
  if (!devices.includes(device)) {
    throw unsupportedError(`device ${device} is not available in onnxruntime-web here: expected one of ${devices.join(', ')}`, {
      ...(device === 'webgpu' ? { hint: 'WebGPU needs a recent browser, a secure page (https or localhost) and a GPU it supports' } : {}),
    });
  }
  // Threads belong to the WebAssembly instance here, not to the session.
  const ortOptions: InferenceSession.SessionOptions = {
    ...ortSessionOptions({ ...options, threads: undefined }),
    executionProviders: [device],
  };
  try {
    const session = await inTurn(() => create(ort, source, ortOptions));
    const Constructor = ort.Tensor as unknown as new (...parts: unknown[]) => OrtTensor;
    return new OrtSession(session, ({ type, data, dims }) => new Constructor(type, data, dims), { inTurn });
  } catch (error) {
    throw wrapOrtError(error, 'ONNX Runtime failed to load the model', 'path' in source ? { file: source.path } : {});
  }
}

async function create(ort: OrtWeb, source: ModelSource, options: InferenceSession.SessionOptions): Promise<InferenceSession> {
  if ('path' in source) return ort.InferenceSession.create(source.path, options);
  if (source.folder !== undefined) throw unsupportedError('external data in a folder: the browser has none');
  if (source.externalData === undefined || source.externalData.length === 0) return ort.InferenceSession.create(source.bytes, options);
  const externalData = await Promise.all(source.externalData.map(async ({ path, data }) => ({ path, data: await data.load() })));
  return ort.InferenceSession.create(source.bytes, { ...options, externalData });
}
