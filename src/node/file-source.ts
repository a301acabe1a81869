// A byte source on a file: nothing is read before it is asked for, nothing is cached. All slices share one descriptor, opened once
// and closed when the last of them is garbage; so the file may be replaced by a new one (rename) while its old content is still read.
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { formatError } from '../errors.js';
import type { ByteSource } from '../ir/source.js';
import { systemError } from './system-error.js';

const descriptors = new FinalizationRegistry<number>((fd) => {
  try {
    closeSync(fd);
  } catch {
    // Closed already by the end of the process.
  }
});

/** One open file. */
class OpenFile {
  readonly path: string;
  readonly size: number;
  readonly #inode: bigint;
  readonly #fd: number;

  constructor(path: string) {
    this.path = path;
    try {
      this.#fd = openSync(path, 'r');
    } catch (error) {
      throw systemError(error, 'read', path);
    }
    descriptors.register(this, this.#fd);
    try {
      const stat = fstatSync(this.#fd, { bigint: true });
      if (!stat.isFile()) throw Object.assign(new Error('not a regular file'), { code: stat.isDirectory() ? 'EISDIR' : 'EINVAL' });
      this.size = Number(stat.size);
      this.#inode = stat.ino;
    } catch (error) {
      throw systemError(error, 'read', path);
    }
  }

  /** True while the path still names the file that was opened, and not one that has replaced it. */
  get inPlace(): boolean {
    return statSync(this.path, { bigint: true, throwIfNoEntry: false })?.ino === this.#inode;
  }

  /** Fills `target` from `offset`; throws E_FORMAT where the file has become shorter. */
  read(target: Uint8Array, offset: number): void {
    let done = 0;
    while (done < target.length) {
      let count: number;
      try {
        count = readSync(this.#fd, target, done, Math.min(target.length - done, 2 ** 30), offset + done);
      } catch (error) {
        throw systemError(error, 'read', this.path);
      }
      if (count === 0) {
        throw formatError(
          `the file ended at byte ${offset + done}: expected ${offset + target.length} bytes or more (was it cut while open?)`,
          {
            place: { file: this.path, offset: offset + done },
          },
        );
      }
      done += count;
    }
  }
}

export class FileSource implements ByteSource {
  readonly #open: OpenFile;
  readonly #offset: number;
  readonly byteLength: number;
  readonly resident = false;
  readonly synchronous = true;

  private constructor(open: OpenFile, offset: number, byteLength: number) {
    this.#open = open;
    this.#offset = offset;
    this.byteLength = byteLength;
  }

  /** The whole file at `path`. Throws E_FILE where it cannot be opened. */
  static open(path: string): FileSource {
    const open = new OpenFile(path);
    return new FileSource(open, 0, open.size);
  }

  /** Undefined once another file has taken the path: whoever opened that would read other bytes. */
  get file(): { readonly path: string; readonly offset: number } | undefined {
    return this.#open.inPlace ? { path: this.#open.path, offset: this.#offset } : undefined;
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.byteLength);
    this.#open.read(bytes, this.#offset);
    return bytes;
  }

  async load(): Promise<Uint8Array> {
    return this.bytes();
  }

  readInto(target: Uint8Array): void {
    this.#open.read(target, this.#offset);
  }

  slice(start: number, end: number): FileSource {
    const from = Math.min(Math.max(start, 0), this.byteLength);
    const to = Math.min(Math.max(end, from), this.byteLength);
    return new FileSource(this.#open, this.#offset + from, to - from);
  }
}
