// Where a tensor's bytes live. Weights stay views on files until touched: memory sources answer at once, file sources read on
// each call (nothing is cached, so a pass that works tensor by tensor stays in bounded memory), blob sources only asynchronously.
import { bugError } from '../errors.js';

/** A run of bytes that may not be in memory. */
export interface ByteSource {
  readonly byteLength: number;
  /** True when `bytes()` costs nothing because the bytes are in memory. */
  readonly resident: boolean;
  /** True when `bytes()` works at all; false where only `load()` can read (a Blob). */
  readonly synchronous: boolean;
  /** The bytes; treat as read-only. File sources read them anew on each call. Throws when not `synchronous`. */
  bytes(): Uint8Array;
  load(): Promise<Uint8Array>;
  /** Fills `target`, which is as long as the source, without allocating. Only where synchronous. */
  readInto?(target: Uint8Array): void;
  /** A part of this source, without reading it. */
  slice(start: number, end: number): ByteSource;
  /** Set where the bytes are a range of a file on disk: engines and copiers can then use the file itself. */
  readonly file?: { readonly path: string; readonly offset: number } | undefined;
}

/** Bytes in memory: a view, never a copy. */
export class MemorySource implements ByteSource {
  readonly #data: Uint8Array;
  readonly resident = true;
  readonly synchronous = true;

  constructor(data: Uint8Array) {
    this.#data = data;
  }

  get byteLength(): number {
    return this.#data.byteLength;
  }

  bytes(): Uint8Array {
    return this.#data;
  }

  async load(): Promise<Uint8Array> {
    return this.#data;
  }

  slice(start: number, end: number): ByteSource {
    return new MemorySource(this.#data.subarray(start, end));
  }
}

/** Bytes of a browser Blob or File, read on `load()`. */
export class BlobSource implements ByteSource {
  readonly #blob: Blob;
  readonly resident = false;
  readonly synchronous = false;

  constructor(blob: Blob) {
    this.#blob = blob;
  }

  get byteLength(): number {
    return this.#blob.size;
  }

  bytes(): Uint8Array {
    throw bugError('a Blob can only be read asynchronously: expected load(), got bytes()');
  }

  async load(): Promise<Uint8Array> {
    return new Uint8Array(await this.#blob.arrayBuffer());
  }

  slice(start: number, end: number): ByteSource {
    return new BlobSource(this.#blob.slice(start, end));
  }
}
