// The model a run starts from: read lazily, with the size and hash of its files.
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { constantsOf } from '../analysis/facts.js';
import type { Model } from '../ir/model.js';
import type { InputModel } from '../recipe/staging.js';
import { readModel, sha256File } from './files.js';
import { systemError } from './system-error.js';

/** Files smaller than this are hashed at once: starting a thread takes longer. */
const BACKGROUND_BYTES = 64 * 1024 * 1024;

/** Reads a model and starts hashing it. Throws E_FILE, E_FORMAT, E_GRAPH or E_EXTERNAL_DATA. */
export async function openInput(path: string): Promise<InputModel> {
  const model = await readModel(path);
  const files = [resolve(path), ...externalFilesOf(model, path)];
  const bytes = files.reduce((sum, file) => sum + sizeOf(file), 0);
  const sha256 = bytes < BACKGROUND_BYTES ? sha256File(path) : hashInBackground(path);
  // The failure is reported where the hash is awaited; until then it must not count as unhandled.
  sha256.catch(() => {});
  return { model, path, bytes, sha256, source: { path } };
}

/** Paths of the external data files that the constants of a model lie in. */
export function externalFilesOf(model: Model, path: string): string[] {
  const main = resolve(path);
  const found = new Set<string>();
  for (const { tensor } of constantsOf(model)) {
    const file = tensor.source.file?.path;
    if (file !== undefined && resolve(file) !== main) found.add(resolve(file));
  }
  return [...found];
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch (error) {
    throw systemError(error, 'read', file);
  }
}

const HASH_PROGRAM = `
const { createHash } = require('node:crypto');
const { createReadStream } = require('node:fs');
const { parentPort, workerData } = require('node:worker_threads');
const hash = createHash('sha256');
createReadStream(workerData, { highWaterMark: 1 << 22 })
  .on('data', (part) => hash.update(part))
  .on('end', () => parentPort.postMessage(hash.digest('hex')));
`;

/** Hashes in another thread, while this one works on the model. */
function hashInBackground(path: string): Promise<string> {
  return new Promise((done, fail) => {
    const worker = new Worker(HASH_PROGRAM, { eval: true, workerData: path });
    worker.once('message', done);
    worker.once('error', (error) => fail(systemError(error, 'read', path)));
  });
}
