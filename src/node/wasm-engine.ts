// onnxruntime-web in Node: the very WebAssembly that browsers run, so that files for the web are proven without one.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Engine } from '../runtime/engine.js';
import { type OrtWeb, webEngine } from '../web/engine.js';
import { FileSource, readModel } from './files.js';
import { externalFilesOf } from './input.js';

let engine: Promise<Engine | undefined> | undefined;

/** The engine, or undefined where onnxruntime-web is not installed. Files are handed over as bytes, data files by their names, as a page does it. */
export function wasmEngine(): Promise<Engine | undefined> {
  engine ??= createEngine();
  return engine;
}

async function createEngine(): Promise<Engine | undefined> {
  let ort: OrtWeb;
  try {
    ort = (await import('onnxruntime-web')) as unknown as OrtWeb;
  } catch {
    return undefined;
  }
  ort.env.logLevel = 'fatal';
  // The build with WebGPU, which transformers.js loads in pages whatever the device: its WebAssembly device lacks kernels that the plain build has.
  const folder = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'));
  const file = (ending: string) => pathToFileURL(join(folder, `ort-wasm-simd-threaded.asyncify.${ending}`)).href;
  ort.env.wasm.wasmPaths = { mjs: file('mjs'), wasm: file('wasm') };
  ort.env.wasm.numThreads = 1;
  const web = webEngine(ort);
  return {
    ...web,
    load: async (source, options) => {
      if (!('path' in source)) return web.load(source, options);
      const { path } = source;
      const external = externalFilesOf(await readModel(path), path);
      const externalData = external.map((file) => ({ path: basename(file), data: FileSource.open(file) }));
      return web.load({ bytes: await readFile(path), externalData }, options);
    },
  };
}
