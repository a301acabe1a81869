// Models on disk: reading with weights as views on the file, and writing that a reader never sees half done
// (temporary names beside the target, renamed once all is written; external data first, the model last).
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, realpathSync, renameSync, type Stats, statSync, write } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { promisify } from 'node:util';
import { externalDataError, fileError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { type ByteSource, MemorySource } from '../ir/source.js';
import { decodeModel } from '../onnx/decode.js';
import { checkSize, copyInto, encodeModelChunks, MAX_MODEL_BYTES } from '../onnx/encode.js';
import type { ExternalResolver, FileChunks } from '../onnx/external.js';
import { FileSource } from './file-source.js';
import { systemError } from './system-error.js';
import { dropTemporary, keepTemporary, temporaryName } from './temporary-files.js';

export { FileSource } from './file-source.js';

const writeAsync = promisify(write);
const COPY_BYTES = 4 * 2 ** 20;
/** Smaller tensors stay in the model file when the others leave it, as other tools do. */
const EXTERNAL_THRESHOLD = 1024;

/**
 * Reads a model and the external data files beside it. Large weights stay views on the files until touched.
 * Throws E_FILE, E_FORMAT, E_GRAPH or E_EXTERNAL_DATA.
 */
export async function readModel(path: string): Promise<Model> {
  return decodeModel(FileSource.open(path), { file: path, external: externalFiles(path) });
}

/** Opens data files beside the model at `path`; refuses links that lead out of its folder. */
export function externalFiles(path: string): ExternalResolver {
  const open = new Map<string, FileSource>();
  return (location) => {
    const known = open.get(location);
    if (known) return known;
    const source = FileSource.open(insideFolder(path, location));
    open.set(location, source);
    return source;
  };
}

/**
 * Path of a data file. Where the model itself is a link (as in the caches of model hubs, which keep contents in one folder and links to
 * them in another), its data may lie beside what the link leads to.
 */
function insideFolder(model: string, location: string): string {
  const folder = dirname(resolve(model));
  const path = join(folder, location);
  let real: string;
  let allowed: string[];
  try {
    real = realpathSync(path);
    allowed = [realpathSync(folder), dirname(realpathSync(model))];
  } catch (error) {
    throw systemError(error, 'read', path);
  }
  if (allowed.some((place) => real.startsWith(place.endsWith(sep) ? place : place + sep))) return path;
  throw externalDataError(`external data location "${location}" is a link to "${real}", outside the folder of the model`, {
    place: { file: path },
    hint: 'copy the data file into the folder of the model',
  });
}

export interface WriteOptions {
  /** Weights in `<name>.data` beside the model: always, never, or only where the model file would pass 2 GiB (default). */
  readonly external?: boolean | 'auto' | undefined;
  /** Name of the data file (default `<name>.data`); further ones get `_1`, `_2`, ... appended. */
  readonly externalName?: string | undefined;
  /** A data file is closed before it grows beyond this; one tensor alone may be longer. */
  readonly maxFileBytes?: number | undefined;
  /** Replace files that exist. Without it an existing target is refused (E_FILE). */
  readonly force?: boolean | undefined;
}

export interface WrittenModel {
  /** Bytes of all files together. */
  readonly bytes: number;
  /** Paths written, the model first. */
  readonly files: string[];
}

/** Writes a model, streaming weights from where they are. All files appear at once at the end, or none does. */
export async function writeModel(model: Model, path: string, options: WriteOptions = {}): Promise<WrittenModel> {
  const mode = options.external ?? 'auto';
  const layout = {
    threshold: EXTERNAL_THRESHOLD,
    location: options.externalName ?? `${basename(path)}.data`,
    maxFileBytes: options.maxFileBytes,
  };
  let encoded = encodeModelChunks(model, mode === true ? { external: layout } : {});
  if (mode === 'auto' && encoded.main.size > MAX_MODEL_BYTES) encoded = encodeModelChunks(model, { external: layout });
  checkSize(encoded.main);
  // External data first: whoever sees the new model must find its data.
  const files = [...encoded.externalData, encoded.main].map((file) => ({
    file,
    target: file.path === '' ? path : join(dirname(path), file.path),
  }));
  if (options.force !== true) for (const { target } of files) refuseExisting(target);
  await writeAll(files);
  return { bytes: files.reduce((sum, f) => sum + f.file.size, 0), files: files.map((f) => f.target).reverse() };
}

/** Writes one file at once: readers see the old content or the new. Folders on the way are made. Replaces an existing file. */
export async function writeFileAtomic(path: string, data: Uint8Array | string | ByteSource): Promise<void> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  const source = bytes instanceof Uint8Array ? new MemorySource(bytes) : bytes;
  await writeAll([{ file: { path: '', size: source.byteLength, chunks: [source] }, target: path }]);
}

/** Throws E_FILE where something is at `path` already. */
export function refuseExisting(path: string): void {
  if (statOf(lstatSync, path)) throw fileError(`"${path}" exists already`, { place: { file: path }, hint: 'use --force to replace it' });
}

/** A rename would replace a device or folder by a plain file: `-o /dev/null` must not. */
function refuseSpecial(path: string): void {
  const stat = statOf(statSync, path);
  if (!stat || stat.isFile()) return;
  throw fileError(`"${path}" is ${stat.isDirectory() ? 'a folder' : 'no regular file'}: expected the path of a file`, {
    place: { file: path },
  });
}

function statOf(stat: typeof statSync | typeof lstatSync, path: string): Stats | undefined {
  try {
    return stat(path, { throwIfNoEntry: false });
  } catch (error) {
    throw systemError(error, 'write', path);
  }
}

async function writeAll(files: readonly { readonly file: FileChunks; readonly target: string }[]): Promise<void> {
  const written: { temporary: string; target: string }[] = [];
  try {
    for (const { file, target } of files) {
      refuseSpecial(target);
      const temporary = temporaryName(target);
      written.push({ temporary, target });
      try {
        await mkdir(dirname(target), { recursive: true });
        await writeChunks(temporary, file.chunks);
      } catch (error) {
        throw systemError(error, 'write', target);
      }
    }
    putInPlace(written);
  } catch (error) {
    for (const { temporary } of written) dropTemporary(temporary);
    throw error;
  }
}

/**
 * Renames all files without giving way to anything else of this process. One file replaces another in one step. Of a set, the old files
 * are moved aside first, the model before its data, and put back on error: so no moment shows an old model that reads new data, and the
 * moments without a model are as short as renames are.
 */
function putInPlace(written: readonly { readonly temporary: string; readonly target: string }[]): void {
  const aside: { readonly backup: string; readonly target: string }[] = [];
  let current = '';
  try {
    for (const { target } of written.length > 1 ? written.toReversed() : []) {
      current = target;
      if (!statOf(lstatSync, target)) continue;
      const backup = temporaryName(target);
      renameSync(target, backup);
      aside.push({ backup, target });
    }
    for (const { temporary, target } of written) {
      current = target;
      renameSync(temporary, target);
    }
  } catch (error) {
    for (const { backup, target } of aside.toReversed()) renameSync(backup, target);
    throw systemError(error, 'write', current);
  }
  for (const { temporary } of written) keepTemporary(temporary);
  for (const { backup } of aside) dropTemporary(backup);
}

/** Streams chunks into a new file with one buffer: small chunks are gathered in it, large ones pass through piece by piece. */
async function writeChunks(path: string, chunks: readonly ByteSource[]): Promise<void> {
  // Opened synchronously: a signal then finds the file either registered and there, or not begun.
  const fd = openSync(path, 'wx');
  try {
    const buffer = new Uint8Array(COPY_BYTES);
    let filled = 0;
    const flush = async () => {
      await writeFully(fd, buffer.subarray(0, filled));
      filled = 0;
    };
    for (const given of chunks) {
      // What is computed on demand is computed once, not again for each piece; files are read piece by piece.
      const chunk = given.resident || given.readInto ? given : new MemorySource(given.synchronous ? given.bytes() : await given.load());
      if (chunk.resident && chunk.byteLength >= COPY_BYTES) {
        await flush();
        await writeFully(fd, chunk.bytes());
        continue;
      }
      for (let at = 0; at < chunk.byteLength; ) {
        if (filled === COPY_BYTES) await flush();
        const count = Math.min(chunk.byteLength - at, COPY_BYTES - filled);
        const part = at === 0 && count === chunk.byteLength ? chunk : chunk.slice(at, at + count);
        const room = buffer.subarray(filled, filled + count);
        if (part.synchronous) copyInto(part, room);
        else room.set(await part.load());
        filled += count;
        at += count;
      }
    }
    await flush();
  } finally {
    closeSync(fd);
  }
}

async function writeFully(fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await writeAsync(fd, bytes, at, Math.min(bytes.length - at, 2 ** 30));
    at += bytesWritten;
  }
}

/** SHA-256 of a file in hexadecimal, read piece by piece. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  const source = FileSource.open(path);
  const buffer = new Uint8Array(Math.min(COPY_BYTES, Math.max(source.byteLength, 1)));
  for (let at = 0; at < source.byteLength; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, source.byteLength - at));
    source.slice(at, at + part.length).readInto(part);
    hash.update(part);
  }
  return hash.digest('hex');
}
