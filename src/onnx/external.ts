// External data: tensors whose bytes lie in other files beside the model. Here are the rules for where such a file may be,
// and the layout that writing uses. Opening files is the caller's: core code never touches a file system.
import { externalDataError, formatError } from '../errors.js';
import { type ByteSource, MemorySource } from '../ir/source.js';
import type { Tensor } from '../ir/tensor.js';

/** Answers the whole file at a location, given relative to the model's folder with forward slashes. */
export type ExternalResolver = (location: string) => ByteSource;

/**
 * The location in plain form ("./a//b" becomes "a/b"). Throws E_EXTERNAL_DATA where it leaves the model's folder:
 * absolute paths, "..", drive letters and backslashes (which are separators on Windows).
 */
export function checkLocation(location: string, tensor: string): string {
  const refuse = (why: string) =>
    externalDataError(`tensor "${tensor}": external data location "${location}" ${why}`, {
      place: { value: tensor },
      hint: 'external data must lie in the folder of the model or below it',
    });
  if (location === '') throw refuse('is empty');
  if (location.includes('\0')) throw refuse('holds a zero byte');
  if (location.includes('\\')) throw refuse('holds a backslash');
  if (location.startsWith('/') || /^[A-Za-z]:/.test(location)) throw refuse('is absolute: expected a path relative to the model');
  const parts = location.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw refuse('leaves the folder of the model');
  if (parts.length === 0) throw refuse('names no file');
  return parts.join('/');
}

/**
 * Bytes of an external tensor. `entries` are the pairs of the file: location, offset, length. A checksum is of the whole file
 * (SHA-1) and would mean reading it all: it is not checked.
 */
export function resolveExternal(
  entries: ReadonlyMap<string, string>,
  tensor: string,
  expectedBytes: number,
  resolve: ExternalResolver | undefined,
): ByteSource {
  const place = { value: tensor };
  const location = checkLocation(entries.get('location') ?? '', tensor);
  const offset = wholeNumber(entries.get('offset') ?? '0', 'offset', tensor);
  const length = entries.has('length') ? wholeNumber(entries.get('length')!, 'length', tensor) : expectedBytes;
  if (length !== expectedBytes) {
    throw externalDataError(
      `tensor "${tensor}" in "${location}": expected ${expectedBytes} bytes by its type and shape, got length ${length}`,
      {
        place,
      },
    );
  }
  if (resolve === undefined) {
    throw externalDataError(`tensor "${tensor}" lies in the file "${location}", which was not given`, {
      place,
      hint: 'read the model from its path, or pass the files with the option `external`',
    });
  }
  const file = resolve(location);
  if (offset + length > file.byteLength) {
    throw externalDataError(
      `tensor "${tensor}": expected ${length} bytes at offset ${offset} of "${location}", got a file of ${file.byteLength} bytes`,
      { place, hint: 'the data file is truncated or belongs to another model' },
    );
  }
  return file.slice(offset, offset + length);
}

function wholeNumber(text: string, key: string, tensor: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    throw formatError(`tensor "${tensor}": external data ${key} is "${text.slice(0, 40)}": expected a whole number of bytes`, {
      place: { value: tensor },
    });
  }
  return value;
}

/** A file to write: `chunks` one after the other, `size` bytes together. */
export interface FileChunks {
  /** Relative to the model's folder; empty for the model itself. */
  readonly path: string;
  readonly size: number;
  readonly chunks: readonly ByteSource[];
}

export interface ExternalOptions {
  /** Tensors of at least so many bytes leave the model file. */
  readonly threshold: number;
  /** Name of the data file, relative to the model; further files are called `<location>_1`, `<location>_2`, ... */
  readonly location: string;
  /** A data file is closed before it grows beyond this; one tensor alone may be longer. */
  readonly maxFileBytes?: number | undefined;
}

/** Large tensors start on page borders, so that runtimes can map them; small ones stay packed. */
const PAGE_BYTES = 4096;
const SMALL_ALIGNMENT = 64;
const PAGED_FROM = 65_536;

export interface ExternalPlace {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** Decides which tensors leave the model file, and where their bytes are. */
export interface TensorPlacer {
  wants(tensor: Tensor): boolean;
  place(tensor: Tensor): ExternalPlace;
}

/** Lays tensors out in data files, in the order in which they are placed. Tensors that are one object are written once. */
export class ExternalWriter implements TensorPlacer {
  readonly #options: ExternalOptions;
  readonly #files: { path: string; size: number; chunks: ByteSource[] }[] = [];
  readonly #placed = new Map<ByteSource, ExternalPlace>();

  constructor(options: ExternalOptions) {
    checkLocation(options.location, '');
    this.#options = options;
  }

  wants(tensor: Tensor): boolean {
    return tensor.dtype !== 'string' && tensor.byteLength >= Math.max(this.#options.threshold, 1);
  }

  place(tensor: Tensor): ExternalPlace {
    const known = this.#placed.get(tensor.source);
    if (known) return known;
    const length = tensor.byteLength;
    const alignment = length >= PAGED_FROM ? PAGE_BYTES : SMALL_ALIGNMENT;
    let file = this.#files.at(-1);
    const max = this.#options.maxFileBytes ?? Number.POSITIVE_INFINITY;
    if (!file || (file.size > 0 && roundUp(file.size, alignment) + length > max)) {
      const index = this.#files.length;
      file = { path: index === 0 ? this.#options.location : `${this.#options.location}_${index}`, size: 0, chunks: [] };
      this.#files.push(file);
    }
    const offset = roundUp(file.size, alignment);
    if (offset > file.size) file.chunks.push(zeros(offset - file.size));
    file.chunks.push(tensor.source);
    file.size = offset + length;
    const place = { location: file.path, offset, length };
    this.#placed.set(tensor.source, place);
    return place;
  }

  get files(): FileChunks[] {
    return this.#files;
  }
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

function zeros(count: number): ByteSource {
  return new MemorySource(new Uint8Array(count));
}
