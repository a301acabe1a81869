// The Node engine, loaded only when a session is opened: a run that needs none (weights only, `--no-verify`) pays neither its time nor its memory.
import { createRequire } from 'node:module';
import type { Engine } from '../runtime/engine.js';
import { crossesBorder } from '../runtime/ort-tensor.js';
import { nodeEngine } from './engine.js';
import { placeOnDisk } from './placement.js';

/** An engine like `nodeEngine()` that imports onnxruntime-node at its first `load`. */
export function lazyNodeEngine(): Engine {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
  return {
    name: 'onnxruntime-node',
    version,
    devices: ['cpu', 'cuda', 'webgpu'],
    canExchange: crossesBorder,
    load: async (source, options) => (await nodeEngine()).load(source, options),
    placeOnDisk,
    channelBlock: async () => (await nodeEngine()).channelBlock?.(),
    memoryBytes: () => process.memoryUsage.rss(),
  };
}
