// Inflating gzip files (RFC 1952) of one or more members, with sizes and checksums checked. A declared size is never trusted with memory:
// deflate expands at most 1032 times.
import { Gunzip, inflateSync } from 'fflate';
import { formatError } from '../errors.js';
import { crc32 } from '../util/crc32.js';

/** Largest number of bytes that `compressed` bytes of deflate can stand for. */
export const maxInflatedSize = (compressed: number) => compressed * 1032 + 1024;

/** True for the two magic bytes of gzip. */
export const isGzip = (bytes: Uint8Array) => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** The content, or the bytes themselves where they are not gzipped. Throws E_FORMAT for truncated or corrupt files. */
export function gunzip(bytes: Uint8Array, file: string): Uint8Array {
  if (!isGzip(bytes)) return bytes;
  if (bytes.length < 18) throw truncated(file);
  const trailer = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 8, 8);
  const [crc, size] = [trailer.getUint32(0, true), trailer.getUint32(4, true)];
  const start = headerLength(bytes, file);
  if (size <= maxInflatedSize(bytes.length)) {
    const out = tryInflate(bytes.subarray(start, -8), size);
    if (out !== undefined && out.length === size && crc32(out) === crc) return out;
  }
  return gunzipMembers(bytes, file);
}

/** Inflates raw deflate data of a known size; undefined where the data is not that. */
export function tryInflate(data: Uint8Array, size: number): Uint8Array | undefined {
  try {
    return inflateSync(data, { out: new Uint8Array(size) });
  } catch {
    return undefined;
  }
}

function truncated(file: string, cause?: unknown) {
  return formatError('gzip data is cut off or corrupt: expected its size and checksum to fit its content, got something else', {
    place: { file },
    hint: 'download or write the file again',
    cause,
  });
}

function headerLength(bytes: Uint8Array, file: string): number {
  const flags = bytes[3]!;
  if (bytes[2] !== 8) throw formatError(`gzip compression method: expected 8 (deflate), got ${bytes[2]}`, { place: { file } });
  let at = 10;
  if (flags & 4) at += 2 + bytes[at]! + 256 * bytes[at + 1]!;
  for (const flag of [8, 16]) {
    if ((flags & flag) === 0) continue;
    while (at < bytes.length && bytes[at] !== 0) at++;
    at++;
  }
  if (flags & 2) at += 2;
  if (at + 8 > bytes.length) throw truncated(file);
  return at;
}

/** Files of several members, as some compressors write them; a single member that comes here has failed its checks. */
function gunzipMembers(bytes: Uint8Array, file: string): Uint8Array {
  const parts: Uint8Array[] = [];
  let more = 0;
  let total = 0;
  try {
    const stream = new Gunzip((chunk) => {
      parts.push(chunk);
      total += chunk.length;
    });
    // Called for each member after the first.
    stream.onmember = () => {
      more++;
    };
    stream.push(bytes, true);
  } catch (cause) {
    throw truncated(file, cause);
  }
  if (more === 0) throw truncated(file);
  const out = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  // The last member's own size and checksum are those at the end of the file.
  const trailer = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 8, 8);
  const size = trailer.getUint32(4, true);
  if (size > total || crc32(out.subarray(total - size)) !== trailer.getUint32(0, true)) throw truncated(file);
  return out;
}
