// Protocol Buffers wire format, reading: https://protobuf.dev/programming-guides/encoding/
// Reads from any synchronous byte source. In memory nothing is copied; from a file a small window moves along, and long fields
// become slices of the source that are not read at all. Everything hostile ends in E_FORMAT with the byte offset.
import { formatError, type PareError } from '../errors.js';
import { type ByteSource, MemorySource } from '../ir/source.js';

/** Wire types, the low three bits of a tag. */
export const WIRE = { varint: 0, fixed64: 1, len: 2, groupStart: 3, groupEnd: 4, fixed32: 5 } as const;

/** Deepest nesting of messages; protobuf implementations agree on 100. */
export const MAX_DEPTH = 100;
/** Most messages in one file: stops a few bytes each from becoming objects without end. Large language models have about a million. */
export const MAX_MESSAGES = 16_000_000;
/** Longest field that is read into memory as a whole (weights are not: they stay slices of the source). */
export const MAX_FIELD_BYTES = 2 ** 30;

const WINDOW_BYTES = 65_536;
const TWO_32 = 2 ** 32;
const EMPTY = new Uint8Array(0);
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class WireReader {
  readonly #source: ByteSource;
  readonly #file: string | undefined;
  /** Bytes at hand, the absolute offset of their first one, and how many of them are consumed. */
  #buffer: Uint8Array;
  #base = 0;
  #at = 0;
  /** Absolute offset where the current message ends. */
  #limit: number;
  #depth = 0;
  #messages = 0;
  /** Halves of the last `read64`, both unsigned. */
  low = 0;
  high = 0;

  constructor(source: Uint8Array | ByteSource, file?: string) {
    this.#source = source instanceof Uint8Array ? new MemorySource(source) : source;
    this.#file = file;
    this.#buffer = this.#source.resident ? this.#source.bytes() : EMPTY;
    this.#limit = this.#source.byteLength;
  }

  /** Absolute offset of the next byte. */
  get offset(): number {
    return this.#base + this.#at;
  }

  error(message: string, offset = this.offset): PareError {
    const place = this.#file === undefined ? { offset } : { file: this.#file, offset };
    return formatError(this.#file === undefined ? `${message} (at byte ${offset})` : message, { place });
  }

  /** Next tag of the current message, or 0 at its end. */
  tag(): number {
    const offset = this.#base + this.#at;
    if (offset >= this.#limit) {
      if (offset > this.#limit) throw this.error('a field runs over the end of its message');
      return 0;
    }
    const tag = this.uint();
    if (tag < 8 || tag >= TWO_32) throw this.error(`expected a field tag, got ${tag}`, offset);
    return tag;
  }

  /** Enters a length-delimited message; answers what `leave` needs. */
  enter(): number {
    const length = this.#length();
    if (++this.#depth > MAX_DEPTH) throw this.error(`messages are nested deeper than ${MAX_DEPTH}`);
    if (++this.#messages > MAX_MESSAGES) throw this.error(`more than ${MAX_MESSAGES} messages`);
    const outer = this.#limit;
    this.#limit = this.offset + length;
    return outer;
  }

  leave(outer: number): void {
    if (this.offset > this.#limit) throw this.error('a field runs over the end of its message');
    this.#limit = outer;
    this.#depth--;
  }

  /** True while the current message (or packed field) has bytes left. */
  more(): boolean {
    return this.#base + this.#at < this.#limit;
  }

  /** Unsigned varint that fits a JavaScript number. */
  uint(): number {
    let byte = this.#byte();
    if (byte < 128) return byte;
    let value = byte & 127;
    let scale = 128;
    for (let i = 1; i < 10; i++) {
      byte = this.#byte();
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) throw this.error('a number is too large');
        return value;
      }
      scale *= 128;
    }
    throw this.error('a varint is longer than 10 bytes');
  }

  /** Varint of up to 64 bits into `low` and `high`. */
  read64(): void {
    let low = 0;
    let high = 0;
    for (let i = 0; i < 10; i++) {
      const byte = this.#byte();
      const bits = byte & 127;
      if (i < 4) low |= bits << (7 * i);
      else if (i === 4) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (i < 9) high |= bits << (7 * i - 32);
      else high |= (bits & 1) << 31;
      if (byte < 128) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    throw this.error('a varint is longer than 10 bytes');
  }

  int64(): bigint {
    this.read64();
    const value = (this.high | 0) * TWO_32 + this.low;
    if (Number.isSafeInteger(value)) return BigInt(value);
    return (BigInt(this.high | 0) << 32n) | BigInt(this.low);
  }

  /** Signed 64-bit varint that must fit a JavaScript number. */
  int(): number {
    const offset = this.offset;
    this.read64();
    const value = (this.high | 0) * TWO_32 + this.low;
    if (!Number.isSafeInteger(value)) throw this.error('a number is out of range', offset);
    return value;
  }

  float(): number {
    const at = this.#ensure(4);
    return new DataView(this.#buffer.buffer, this.#buffer.byteOffset + at, 4).getFloat32(0, true);
  }

  double(): number {
    const at = this.#ensure(8);
    return new DataView(this.#buffer.buffer, this.#buffer.byteOffset + at, 8).getFloat64(0, true);
  }

  /** Length-delimited bytes, in memory. A view where the source is in memory, else a copy. */
  bytes(): Uint8Array {
    const length = this.#length();
    return this.#take(length);
  }

  /** Length-delimited bytes as a slice of the source, not read. Short ones are taken from the window, so that they cost no read later. */
  slice(): ByteSource {
    const length = this.#length();
    const start = this.offset;
    if (this.#source.resident || length > WINDOW_BYTES / 4) {
      this.#seek(start + length);
      return this.#source.slice(start, start + length);
    }
    return new MemorySource(this.#take(length));
  }

  /** Text whose exact content matters (names). Throws E_FORMAT where it is not valid UTF-8. */
  string(): string {
    const start = this.offset;
    const bytes = this.bytes();
    const ascii = asciiOf(bytes);
    if (ascii !== undefined) return ascii;
    try {
      return strict.decode(bytes);
    } catch {
      throw this.error('a name is not valid UTF-8', start);
    }
  }

  /** Text for people (documentation): bytes that are not UTF-8 become replacement characters. */
  looseString(): string {
    return lenient.decode(this.bytes());
  }

  /** Skips the field of a tag just read. */
  skip(tag: number): void {
    const type = tag & 7;
    if (type === WIRE.varint) this.read64();
    else if (type === WIRE.fixed64) this.#seek(this.offset + this.#fits(8));
    else if (type === WIRE.fixed32) this.#seek(this.offset + this.#fits(4));
    else if (type === WIRE.len) {
      const length = this.#length();
      this.#seek(this.offset + length);
    } else if (type === WIRE.groupStart) this.#skipGroup(tag);
    else throw this.error(`wire type ${type} does not exist or stands alone`);
  }

  /** Bytes of an absolute range that lies behind, as an own copy. */
  range(start: number, end: number): Uint8Array {
    if (end - start > MAX_FIELD_BYTES) throw this.error(`a field of ${end - start} bytes is too long to be kept`, start);
    const bytes = this.#source.slice(start, end).bytes();
    return this.#source.resident ? bytes.slice() : bytes;
  }

  #skipGroup(tag: number): void {
    if (++this.#depth > MAX_DEPTH) throw this.error(`groups are nested deeper than ${MAX_DEPTH}`);
    for (;;) {
      const inner = this.tag();
      if (inner === 0) throw this.error('a group does not end');
      if ((inner & 7) === WIRE.groupEnd) {
        if (inner >>> 3 !== tag >>> 3) throw this.error('a group ends with another number than it starts with');
        break;
      }
      this.skip(inner);
    }
    this.#depth--;
  }

  /** Reads a length and checks that so many bytes are left in the current message. */
  #length(): number {
    return this.#fits(this.uint());
  }

  #fits(length: number): number {
    const left = this.#limit - this.offset;
    if (length > left) throw this.error(`a field of ${length} bytes does not fit: ${Math.max(left, 0)} bytes are left in its message`);
    return length;
  }

  #take(length: number): Uint8Array {
    if (length > MAX_FIELD_BYTES && !this.#source.resident) throw this.error(`a field of ${length} bytes is too long to be read at once`);
    if (this.#source.resident) {
      const bytes = this.#buffer.subarray(this.#at, this.#at + length);
      this.#at += length;
      return bytes;
    }
    if (this.#at + length > this.#buffer.length && length <= WINDOW_BYTES) this.#refill();
    const start = this.offset;
    if (this.#at + length <= this.#buffer.length) {
      const bytes = this.#buffer.slice(this.#at, this.#at + length);
      this.#at += length;
      return bytes;
    }
    const bytes = this.#source.slice(start, start + length).bytes();
    this.#seek(start + length);
    return bytes;
  }

  #seek(offset: number): void {
    const at = offset - this.#base;
    if (at <= this.#buffer.length) this.#at = at;
    else {
      this.#buffer = EMPTY;
      this.#base = offset;
      this.#at = 0;
    }
  }

  #byte(): number {
    if (this.#at >= this.#buffer.length) {
      this.#refill();
      if (this.#buffer.length === 0) throw this.error('the file ends in the middle of a field');
    }
    return this.#buffer[this.#at++]!;
  }

  /** Makes sure that `count` bytes are at hand, consumes them and answers where they start in the buffer. */
  #ensure(count: number): number {
    if (this.#at + count > this.#buffer.length) {
      this.#refill();
      if (this.#at + count > this.#buffer.length) throw this.error('the file ends in the middle of a field');
    }
    this.#at += count;
    return this.#at - count;
  }

  /** Moves the window so that it starts at the current offset. */
  #refill(): void {
    if (this.#source.resident) {
      if (this.#at >= this.#buffer.length) throw this.error('the file ends in the middle of a field');
      return;
    }
    const start = this.offset;
    const end = Math.min(start + WINDOW_BYTES, this.#source.byteLength);
    this.#buffer = end > start ? this.#source.slice(start, end).bytes() : EMPTY;
    this.#base = start;
    this.#at = 0;
  }
}

/** Fields that are not known, as the bytes they had; neighbours are kept as one range. */
export class UnknownFields {
  #ranges: number[] | undefined;

  /** Skips a field of the reader and remembers it. `start` is the offset of its tag. */
  keep(reader: WireReader, tag: number, start: number): void {
    reader.skip(tag);
    this.#ranges ??= [];
    const ranges = this.#ranges;
    if (ranges.at(-1) === start) ranges[ranges.length - 1] = reader.offset;
    else ranges.push(start, reader.offset);
  }

  /** All of them, tags included, or undefined where there are none. */
  bytes(reader: WireReader): Uint8Array | undefined {
    const ranges = this.#ranges;
    if (ranges === undefined) return undefined;
    if (ranges.length === 2) return reader.range(ranges[0]!, ranges[1]!);
    const parts: Uint8Array[] = [];
    for (let i = 0; i < ranges.length; i += 2) parts.push(reader.range(ranges[i]!, ranges[i + 1]!));
    return concatBytes(parts);
  }
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Short ASCII text without the cost of a decoder call; undefined where it is long or not ASCII. */
function asciiOf(bytes: Uint8Array): string | undefined {
  const n = bytes.length;
  if (n > 48) return undefined;
  let text = '';
  for (let i = 0; i < n; i++) {
    const byte = bytes[i]!;
    if (byte > 127) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Text as UTF-8, or the bytes themselves where they are not valid UTF-8. */
export function textOf(bytes: Uint8Array): string | Uint8Array {
  const ascii = asciiOf(bytes);
  if (ascii !== undefined) return ascii;
  try {
    return strict.decode(bytes);
  } catch {
    return bytes.slice();
  }
}
