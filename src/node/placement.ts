// Weights that ONNX Runtime reads from disk by itself (it maps external data into memory), so that a model is opened without a second
// copy: ranges of files are referred to where they lie, bytes in memory and unaligned ranges are first written to a temporary file.
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, parse, relative, resolve, sep } from 'node:path';
import { fileError } from '../errors.js';
import type { ByteSource } from '../ir/source.js';
import type { Placement } from '../runtime/engine.js';
import { temporaryFolder } from './temporary-folder.js';

/** Kernels read weights through pointers to their element type: an address that is no multiple of this may be undefined behaviour. */
const ALIGNMENT = 64;
/** Smallest alignment at which a range of the user's own file is used as it is: the width of the widest element type. */
const REFERENCE_ALIGNMENT = 8;
/** Bytes written at once to the temporary file. */
const CHUNK = 16 * 2 ** 20;

/** Locations of the sources relative to one folder, the root of the drive. `release` removes the temporary file. */
export async function placeOnDisk(sources: readonly ByteSource[]): Promise<Placement> {
  const temporary = resolve(tmpdir());
  const { root } = parse(temporary);
  const locate = (path: string) => relative(root, path).split(sep).join('/');
  const locations: { location: string; offset: number }[] = new Array(sources.length);
  const toWrite: number[] = [];
  sources.forEach((source, i) => {
    const file = source.file;
    if (file !== undefined && file.offset % REFERENCE_ALIGNMENT === 0 && parse(resolve(file.path)).root === root) {
      locations[i] = { location: locate(resolve(file.path)), offset: file.offset };
    } else toWrite.push(i);
  });
  if (toWrite.length === 0) return { folder: root, locations, release: async () => {} };

  const folder = await temporaryFolder('weights');
  const path = join(folder.path, 'weights.bin');
  try {
    const handle = await open(path, 'wx', 0o600);
    try {
      let position = 0;
      for (const i of toWrite) {
        const source = sources[i]!;
        locations[i] = { location: locate(path), offset: position };
        for (let start = 0; start < source.byteLength; start += CHUNK) {
          const bytes = await source.slice(start, Math.min(start + CHUNK, source.byteLength)).load();
          await writeAll(handle, bytes, position + start);
        }
        position = Math.ceil((position + source.byteLength) / ALIGNMENT) * ALIGNMENT;
      }
    } finally {
      await handle.close();
    }
  } catch (cause) {
    await folder.remove();
    throw fileError(`cannot write weights to a temporary file: ${(cause as Error).message}`, {
      place: { file: path },
      hint: 'free space in the folder for temporary files, or set TMPDIR to another one',
      cause,
    });
  }
  return { folder: root, locations, release: folder.remove };
}

/** One write may take fewer bytes than it was given. */
async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position + done);
    done += bytesWritten;
  }
}
