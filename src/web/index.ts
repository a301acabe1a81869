// The browser's side of Pare: the engine over onnxruntime-web and models from and to Blobs. The core (`pare`) does the rest.
export { type ModelBlobs, modelBlobs, readModelBlob } from './blobs.js';
export { type OrtWeb, webEngine } from './engine.js';
