// The engine of Node: onnxruntime-node, loaded when first asked for. Runs on the CPU by default; WebGPU and CUDA where the machine has them.
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common';
import { PareError, runtimeError, unsupportedError } from '../errors.js';
import type { Device, Engine, ModelSource, NodeTime, Session, SessionOptions } from '../runtime/engine.js';
import { wrapOrtError } from '../runtime/ort-errors.js';
import { OrtSession, ortSessionOptions } from '../runtime/ort-session.js';
import { crossesBorder, type OrtParts } from '../runtime/ort-tensor.js';
import { openSession } from '../runtime/session.js';
import { findChannelBlock } from './channel-block.js';
import { readModel } from './files.js';
import { placeOnDisk } from './placement.js';
import { parseProfile } from './profile-file.js';
import { temporaryFolder } from './temporary-folder.js';

const FOLDER_KEY = 'session.model_external_initializers_file_folder_path';

let engine: Promise<Engine> | undefined;

/** The engine over onnxruntime-node, one for the process. Throws E_RUNTIME where the package or its native library does not load. */
export function nodeEngine(): Promise<Engine> {
  engine ??= createEngine().catch((error) => {
    engine = undefined;
    throw error;
  });
  return engine;
}

async function createEngine(): Promise<Engine> {
  let ort: typeof import('onnxruntime-node');
  try {
    ort = await import('onnxruntime-node');
  } catch (error) {
    throw runtimeError(`onnxruntime-node does not load on ${process.platform} ${process.arch}: ${(error as Error).message}`, {
      hint: 'run npm install again; it has native libraries for x64 and arm64 on Linux (glibc), macOS and Windows',
      cause: error,
    });
  }
  ort.env.logLevel = 'fatal';
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
  const found = new Set<string>(ort.listSupportedBackends().map((b) => b.name));
  const devices = (['cpu', 'cuda', 'webgpu'] as const).filter((d) => found.has(d));
  let channelBlock: Promise<number | undefined> | undefined;
  const made: Engine = {
    name: 'onnxruntime-node',
    version,
    devices,
    canExchange: crossesBorder,
    memoryBytes: () => process.memoryUsage.rss(),
    load: async (source, options = {}) => {
      if (!('path' in source)) return load(ort, devices, source, options);
      try {
        const session = await load(ort, devices, source, options);
        if ([...session.inputs, ...session.outputs].every((v) => v.dtype === undefined || crossesBorder(v.dtype))) return session;
        await session.release();
      } catch (error) {
        if (!(error instanceof PareError && UNREADABLE_TYPE.test(error.message))) throw error;
      }
      return openSession(made, await readModel(source.path), options);
    },
    placeOnDisk,
    channelBlock: () => (channelBlock ??= findChannelBlock(made)),
  };
  return made;
}

/** The binding refuses a whole model for the type of one input or output; the model's own session casts it inside the graph. */
const UNREADABLE_TYPE = /unsupported data type: \d+/i;

async function load(
  ort: typeof import('onnxruntime-node'),
  devices: readonly Device[],
  source: ModelSource,
  options: SessionOptions,
): Promise<Session> {
  const device = options.device ?? 'cpu';
  if (!devices.includes(device)) {
    throw unsupportedError(`device ${device} is not available in onnxruntime-node here: expected one of ${devices.join(', ')}`);
  }
  const common = ortSessionOptions(options);
  const profileFolder = options.profile ? await temporaryFolder('profile') : undefined;
  const ortOptions: InferenceSession.SessionOptions = {
    ...common,
    executionProviders: [device],
    ...(profileFolder === undefined ? {} : { enableProfiling: true, profileFilePrefix: join(profileFolder.path, 'run') }),
  };
  const removeFolder = async () => profileFolder?.remove();
  let session: InferenceSession;
  try {
    session = await create(ort, source, ortOptions);
  } catch (error) {
    await removeFolder();
    throw wrapOrtError(error, 'ONNX Runtime failed to load the model', 'path' in source ? { file: source.path } : {});
  }
  let profiling = profileFolder !== undefined;
  return new OrtSession(session, (parts) => ortTensor(ort, parts), {
    ...(profileFolder === undefined
      ? {}
      : {
          endProfiling: async (): Promise<NodeTime[]> => {
            if (!profiling) throw runtimeError('profiling of this session has ended already');
            profiling = false;
            session.endProfiling();
            const file = (await readdir(profileFolder.path)).find((f) => f.endsWith('.json'));
            if (file === undefined) throw runtimeError('ONNX Runtime wrote no profile');
            const times = parseProfile(await readFile(join(profileFolder.path, file), 'utf8'));
            await removeFolder();
            return times;
          },
        }),
    released: removeFolder,
    writesInto: true,
  });
}

/**
 * A tensor as the native code reads it. The class of onnxruntime-common turns halves into a Float16Array where JavaScript has one (Node 24),
 * which the native code of 1.30 refuses; it takes any object with these properties.
 */
function ortTensor(ort: typeof import('onnxruntime-node'), { type, data, dims }: OrtParts): OrtTensor {
  if (type === 'float16') return { type, data, dims, location: 'cpu' } as OrtTensor;
  return new (ort.Tensor as unknown as new (...parts: unknown[]) => OrtTensor)(type, data, dims);
}

async function create(
  ort: typeof import('onnxruntime-node'),
  source: ModelSource,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> {
  if ('path' in source) return ort.InferenceSession.create(source.path, options);
  const withFolder =
    source.folder === undefined ? options : { ...options, extra: { ...(options.extra ?? {}), [FOLDER_KEY]: source.folder } };
  if (source.externalData === undefined || source.externalData.length === 0) return ort.InferenceSession.create(source.bytes, withFolder);
  const externalData = await Promise.all(source.externalData.map(async ({ path, data }) => ({ path, data: await data.load() })));
  return ort.InferenceSession.create(source.bytes, { ...withFolder, externalData });
}
