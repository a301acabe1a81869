// What Pare adds in Node: files, the onnxruntime-node engine, data sets from disk, memory measurement.

export { type CalibrationCacheOptions, openCalibrationCache } from './calibration-cache.js';
export { checkpointFile } from './checkpoints.js';
export { type DataOptions, openDataset } from './data.js';
export { deviceEngine } from './device-engine.js';
export { nodeEngine } from './engine.js';
export { FileSource, readModel, sha256File, type WriteOptions, type WrittenModel, writeFileAtomic, writeModel } from './files.js';
export { openInput } from './input.js';
export { lazyNodeEngine } from './lazy-engine.js';
export { measurePeakMemory } from './memory.js';
export { metricByName } from './metrics.js';
export { openPackage } from './package-store.js';
export { type PrefetchedTrainingData, type PrefetchOptions, prefetchTrainingData } from './prefetch.js';
export { stageBeside } from './staging.js';
export { wasmEngine } from './wasm-engine.js';
