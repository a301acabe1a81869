// Peak memory of loading and running a model, measured in a fresh process: the engine's allocations cannot be told apart from those of the
// process that asks. On Linux VmHWM of /proc/self/status, elsewhere the peak that the system reports.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { abortError, runtimeError } from '../errors.js';
import type { Tensor } from '../ir/tensor.js';
import type { SessionOptions } from '../runtime/engine.js';
import { wrapOrtError } from '../runtime/ort-errors.js';
import { ortSessionOptions } from '../runtime/ort-session.js';
import { ortParts } from '../runtime/ort-tensor.js';

export interface PeakMemory {
  /** The process with the engine loaded, but no model. */
  readonly baselineBytes: number;
  /** Highest resident memory until the model was loaded, and until it had run. */
  readonly loadedBytes: number;
  readonly peakBytes: number;
  /** What the model itself added: peak less baseline. */
  readonly modelBytes: number;
}

export interface PeakMemoryOptions extends SessionOptions {
  /** Runs after loading (default 2: some memory is only taken by the second). */
  readonly runs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What the child runs: plain JavaScript with no module of ours, so that nothing else takes memory there. */
const CHILD = `
const { readFileSync } = require('node:fs');
const kilobytes = () => {
  try { return Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]); }
  catch { return process.resourceUsage().maxRSS; }
};
process.once('message', async ({ ort: path, model, options, feeds, runs }) => {
  try {
    const ort = require(path);
    ort.env.logLevel = 'fatal';
    ort.listSupportedBackends();
    const baseline = kilobytes();
    const session = await ort.InferenceSession.create(model, options);
    const loaded = kilobytes();
    const given = Object.fromEntries(feeds.map(({ name, type, data, dims }) => [name, type === 'float16' ? { type, data, dims, location: 'cpu' } : new ort.Tensor(type, data, dims)]));
    for (let i = 0; i < runs; i++) await session.run(given);
    process.send({ baseline, loaded, peak: kilobytes() });
  } catch (error) {
    process.send({ error: String(error.message ?? error) });
  }
  process.disconnect();
});
`;

interface Reply {
  readonly baseline: number;
  readonly loaded: number;
  readonly peak: number;
  readonly error?: string;
}

/**
 * Loads the model file in a fresh process and runs it on `feeds`. Throws E_RUNTIME where it does not load or run.
 * Feeds must be of types that cross the border (`engine.canExchange`).
 */
export async function measurePeakMemory(
  path: string,
  feeds: Readonly<Record<string, Tensor>>,
  options: PeakMemoryOptions = {},
): Promise<PeakMemory> {
  const { runs = 2, signal, ...sessionOptions } = options;
  const plain = Object.entries(feeds).map(([name, tensor]) => ({ name, ...ortParts(tensor) }));
  const message = {
    ort: createRequire(import.meta.url).resolve('onnxruntime-node'),
    model: path,
    options: { ...ortSessionOptions(sessionOptions), executionProviders: [sessionOptions.device ?? 'cpu'] },
    feeds: plain,
    runs,
  };
  const reply = await ask(message, signal);
  if (reply.error !== undefined) {
    throw wrapOrtError(new Error(reply.error), 'measuring peak memory: ONNX Runtime failed', { file: path });
  }
  const bytes = (kilobytes: number) => kilobytes * 1024;
  return {
    baselineBytes: bytes(reply.baseline),
    loadedBytes: bytes(reply.loaded),
    peakBytes: bytes(reply.peak),
    modelBytes: bytes(Math.max(0, reply.peak - reply.baseline)),
  };
}

function ask(message: object, signal: AbortSignal | undefined): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', CHILD], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
      ...(signal === undefined ? {} : { signal }),
    });
    let errors = '';
    let answered = false;
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-2000);
    });
    child.once('message', (reply) => {
      answered = true;
      resolve(reply as Reply);
    });
    child.once('error', (cause) => {
      reject(
        signal?.aborted ? abortError({ cause }) : runtimeError(`cannot start a process to measure memory: ${cause.message}`, { cause }),
      );
    });
    child.once('exit', (code, killedBy) => {
      if (answered) return;
      reject(
        runtimeError(`the process that measured memory ended with ${killedBy ?? `exit code ${code}`}${errors ? `: ${errors.trim()}` : ''}`),
      );
    });
    child.send(message);
  });
}
