// The engine for a device by name. WebAssembly is a second engine beside the native one: passes fold constants and calibrate natively, which is faster,
// and what is opened for the device `wasm` runs as it will in a page.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { unsupportedError } from '../errors.js';
import type { Device, Engine } from '../runtime/engine.js';
import { lazyNodeEngine } from './lazy-engine.js';
import { wasmEngine } from './wasm-engine.js';

/** An engine that imports what it needs when it first loads a model. Its name is that of the package that runs the device. */
export function deviceEngine(device: Device | undefined): Engine {
  const native = lazyNodeEngine();
  if (device !== 'wasm') return native;
  return {
    name: 'onnxruntime-web',
    version: webVersion(),
    devices: [...native.devices, 'wasm'],
    canExchange: native.canExchange,
    load: async (source, options) => {
      if (options?.device !== 'wasm') return native.load(source, options);
      const web = await wasmEngine();
      if (!web) throw unsupportedError('device wasm needs the package onnxruntime-web', { hint: 'npm install onnxruntime-web' });
      return web.load(source, options);
    },
    ...(native.memoryBytes ? { memoryBytes: native.memoryBytes } : {}),
  };
}

/** The package shows no package.json to importers, so it is found from its entry file. */
function webVersion(): string {
  try {
    const entry = createRequire(import.meta.url).resolve('onnxruntime-web');
    return (JSON.parse(readFileSync(join(dirname(entry), '../package.json'), 'utf8')) as { version: string }).version;
  } catch {
    return 'not installed';
  }
}
