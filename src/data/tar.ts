// Reading tar archives (POSIX ustar, with GNU and pax long names) in memory. Only regular files are listed; nothing is extracted to disk.
import { formatError } from '../errors.js';

export interface TarEntry {
  readonly name: string;
  readonly data: Uint8Array;
}

const BLOCK = 512;
const text = (bytes: Uint8Array) => {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
};

/** Files of a tar, in order, as views. Throws E_FORMAT where a header is damaged or a file cut off. */
export function readTar(bytes: Uint8Array, file: string): TarEntry[] {
  const entries: TarEntry[] = [];
  let longName: string | undefined;
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header.every((b) => b === 0)) break;
    const fail = (message: string) => formatError(`tar: ${message}`, { place: { file, offset: at } });
    // The checksum is the sum of the header's bytes with its own field read as spaces.
    const sum = header.reduce((total, b, i) => total + (i >= 148 && i < 156 ? 32 : b), 0);
    if (sum !== octal(header.subarray(148, 156))) throw fail('expected a header with its checksum, got something else');
    const size = sizeOf(header.subarray(124, 136));
    const start = at + BLOCK;
    if (!Number.isSafeInteger(size) || start + size > bytes.length)
      throw fail(`"${text(header.subarray(0, 100))}": expected ${size} bytes, the file has ${bytes.length - start} more`);
    const data = bytes.subarray(start, start + size);
    const type = String.fromCharCode(header[156]!);
    if (type === 'L') longName = text(data);
    else if (type === 'x') longName = /\d+ path=([^\n]*)\n/.exec(new TextDecoder().decode(data))?.[1] ?? longName;
    else {
      const prefix = text(header.subarray(257, 262)) === 'ustar' ? text(header.subarray(345, 500)) : '';
      const short = text(header.subarray(0, 100));
      const name = longName ?? (prefix ? `${prefix}/${short}` : short);
      longName = undefined;
      if (type === '0' || type === '\0' || type === '7') entries.push({ name: name.replace(/^\.\//, ''), data });
    }
    at = start + Math.ceil(size / BLOCK) * BLOCK;
  }
  if (entries.length === 0) throw formatError('tar: expected at least one file, got none', { place: { file } });
  return entries;
}

function octal(field: Uint8Array): number {
  const digits = text(field).trim();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

/** Octal digits, or for large files a binary number with the top bit set (GNU). */
function sizeOf(field: Uint8Array): number {
  if ((field[0]! & 0x80) === 0) return octal(field);
  let value = field[0]! & 0x7f;
  for (const b of field.subarray(1)) value = value * 256 + b;
  return value;
}
