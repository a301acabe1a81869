// Reading zip files entry by entry over a byte source: the central directory first (zip64 too), then only the entries asked for, stored or deflated.
// Format: PKWARE APPNOTE 6.3. Encryption and other compression methods are refused. Nothing is extracted to disk.
import { formatError, unsupportedError } from '../errors.js';
import type { ByteSource } from '../ir/source.js';
import { MemorySource } from '../ir/source.js';
import { crc32 } from '../util/crc32.js';
import { maxInflatedSize, tryInflate } from './gzip.js';

export interface ZipEntry {
  readonly name: string;
  readonly compressedBytes: number;
  /** As the directory declares it. */
  readonly bytes: number;
  readonly method: number;
  readonly crc: number;
  readonly encrypted: boolean;
  /** Of the local header. */
  readonly offset: number;
}

export interface ZipFile {
  readonly file: string;
  /** Files, in directory order; folders are left out. */
  readonly entries: readonly ZipEntry[];
  /** Content of an entry: a view of the source where stored, inflated and checked otherwise. */
  read(entry: ZipEntry): Promise<ByteSource>;
}

const END = 0x06054b50;
const END64_LOCATOR = 0x07064b50;
const END64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Opens a zip. Throws E_FORMAT where it is none or its directory is damaged. */
export async function openZip(source: ByteSource, file: string): Promise<ZipFile> {
  const fail = (message: string, offset?: number) =>
    formatError(message, {
      place: offset === undefined ? { file } : { file, offset },
      hint: 'the zip is cut off or damaged; write it again',
    });
  const { count, offset, size } = await findDirectory(source, fail);
  if (offset + size > source.byteLength)
    throw fail(`zip directory: expected ${size} bytes at ${offset}, the file has ${source.byteLength}`);
  const entries = parseDirectory(await source.slice(offset, offset + size).load(), count, fail);
  return {
    file,
    entries: entries.filter((e) => !e.name.endsWith('/')),
    read: (entry) => readEntry(source, entry, file),
  };
}

/** Opens a zip in memory. */
export const openZipBytes = (bytes: Uint8Array, file: string) => openZip(new MemorySource(bytes), file);

type Fail = (message: string, offset?: number) => Error;

async function findDirectory(source: ByteSource, fail: Fail): Promise<{ count: number; offset: number; size: number }> {
  const length = source.byteLength;
  const tailStart = Math.max(0, length - 65557);
  const tail = viewOf(await source.slice(tailStart, length).load());
  let end = tail.byteLength - 22;
  while (end >= 0 && tail.getUint32(end, true) !== END) end--;
  if (end < 0) throw fail('not a zip file: expected an end-of-directory record, got none');
  const found = { count: tail.getUint16(end + 10, true), size: tail.getUint32(end + 12, true), offset: tail.getUint32(end + 16, true) };
  const is64 = found.count === 0xffff || found.size === 0xffffffff || found.offset === 0xffffffff;
  if (!is64 || end < 20 || tail.getUint32(end - 20, true) !== END64_LOCATOR) return found;
  const at = Number(tail.getBigUint64(end - 20 + 8, true));
  if (at + 56 > length) throw fail(`zip64 directory record at ${at} lies outside the file of ${length} bytes`);
  const record = viewOf(await source.slice(at, at + 56).load());
  if (record.getUint32(0, true) !== END64) throw fail('expected a zip64 directory record', at);
  return {
    count: Number(record.getBigUint64(32, true)),
    size: Number(record.getBigUint64(40, true)),
    offset: Number(record.getBigUint64(48, true)),
  };
}

function parseDirectory(bytes: Uint8Array, count: number, fail: Fail): ZipEntry[] {
  const view = viewOf(bytes);
  const entries: ZipEntry[] = [];
  for (let at = 0, i = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== CENTRAL)
      throw fail(`zip directory: expected ${count} entries, entry ${i} is not one`);
    const flags = view.getUint16(at + 8, true);
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true);
    if (next > bytes.length) throw fail(`zip directory: entry ${i} goes beyond its end`);
    // Names without the UTF-8 flag are in a code page; class folders in practice are ASCII, which both agree on.
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const sizes = {
      bytes: view.getUint32(at + 24, true),
      compressedBytes: view.getUint32(at + 20, true),
      offset: view.getUint32(at + 42, true),
    };
    const extra = bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength);
    entries.push({
      name,
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      encrypted: (flags & 1) === 1,
      ...withZip64(sizes, extra),
    });
    at = next;
  }
  return entries;
}

/** Replaces sizes of 2^32-1 by those of the zip64 extra field, which holds only the ones that overflowed, in this order. */
function withZip64(sizes: { bytes: number; compressedBytes: number; offset: number }, extra: Uint8Array) {
  const view = viewOf(extra);
  const out = { ...sizes };
  for (let at = 0; at + 4 <= extra.length; ) {
    const end = at + 4 + view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 1) {
      let field = at + 4;
      for (const key of ['bytes', 'compressedBytes', 'offset'] as const) {
        if (sizes[key] !== 0xffffffff || field + 8 > Math.min(end, extra.length)) continue;
        out[key] = Number(view.getBigUint64(field, true));
        field += 8;
      }
    }
    at = end;
  }
  return out;
}

async function readEntry(source: ByteSource, entry: ZipEntry, file: string): Promise<ByteSource> {
  const place = { file: `${file}:${entry.name}` };
  const damaged = (what: string) => formatError(`zip entry "${entry.name}": ${what}`, { place, hint: 'the zip is cut off or damaged' });
  if (entry.encrypted) throw unsupportedError(`zip entry "${entry.name}" is encrypted: expected a plain one`, { place });
  if (entry.offset + 30 > source.byteLength) throw damaged(`expected a header at ${entry.offset}, the file has ${source.byteLength} bytes`);
  const header = viewOf(await source.slice(entry.offset, entry.offset + 30).load());
  if (header.getUint32(0, true) !== LOCAL) throw damaged(`expected a local header at ${entry.offset}, got something else`);
  const start = entry.offset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
  const end = start + entry.compressedBytes;
  if (end > source.byteLength) throw damaged(`expected ${entry.compressedBytes} bytes at ${start}, the file has ${source.byteLength}`);
  const data = source.slice(start, end);
  if (entry.method === 0) {
    if (entry.bytes !== entry.compressedBytes) throw damaged(`expected ${entry.bytes} stored bytes, got ${entry.compressedBytes}`);
    if (data.resident && crc32(data.bytes()) !== entry.crc) throw damaged('checksum does not fit the content');
    return data;
  }
  if (entry.method !== 8)
    throw unsupportedError(`zip entry "${entry.name}": expected it stored or deflated, got compression method ${entry.method}`, { place });
  if (entry.bytes > maxInflatedSize(entry.compressedBytes))
    throw damaged(`declares ${entry.bytes} bytes, more than ${entry.compressedBytes} compressed bytes can hold`);
  const content = tryInflate(await data.load(), entry.bytes);
  if (content === undefined || content.length !== entry.bytes || crc32(content) !== entry.crc)
    throw damaged(`expected ${entry.bytes} bytes with their checksum, got something else`);
  return new MemorySource(content);
}
