// onnxruntime-web in Node: its plain WebAssembly build, so that files for the web are proven without a browser. The build with WebGPU, which
// transformers.js loads in pages, has a few kernels less (GatherBlockQuantized); compiling it in Node takes tens of seconds, so tests prove it in a page.
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
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
