// Protocol Buffers wire format, writing. Small fields go into one growing buffer; weights are only referred to, so that a model is
// written as a list of chunks without a second copy. A message's length comes before it: its body is moved up by the bytes the length takes.
import { type ByteSource, MemorySource } from '../ir/source.js';

/** Fields up to this length are copied into the buffer; longer ones stay references. */
export const INLINE_BYTES = 16_384;

const encoder = new TextEncoder();
const scratch = new DataView(new ArrayBuffer(8));
const scratchBytes = new Uint8Array(scratch.buffer);

interface Reference {
  /** Where in the buffer the bytes belong. */
  at: number;
  readonly source: ByteSource;
}

export class WireWriter {
  #buffer = new Uint8Array(65_536);
  #at = 0;
  readonly #references: Reference[] = [];
  #referenced = 0;
  /** Of each open message: start in the buffer, number of references and bytes in references before it. */
  readonly #open: number[] = [];

  /** Bytes written so far, those in references included. */
  get size(): number {
    return this.#at + this.#referenced;
  }

  tag(tag: number): void {
    this.#varint(tag);
  }

  /** Varint field; not written where undefined. */
  uint(tag: number, value: number): void {
    this.#varint(tag);
    this.#varint(value);
  }

  int64(tag: number, value: bigint): void {
    this.#varint(tag);
    this.rawInt64(value);
  }

  /** A varint without a tag, as packed fields hold them. */
  rawInt64(value: bigint): void {
    if (value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) {
      this.#varint(Number(value));
      return;
    }
    let low = Number(BigInt.asUintN(32, value));
    let high = Number(BigInt.asUintN(32, value >> 32n));
    this.#reserve(10);
    while (high !== 0 || low > 127) {
      this.#buffer[this.#at++] = (low & 127) | 128;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.#buffer[this.#at++] = low;
  }

  float(tag: number, value: number): void {
    this.#varint(tag);
    this.rawFloat(value);
  }

  rawFloat(value: number): void {
    scratch.setFloat32(0, value, true);
    this.#reserve(4);
    for (let i = 0; i < 4; i++) this.#buffer[this.#at++] = scratchBytes[i]!;
  }

  string(tag: number, text: string): void {
    this.#varint(tag);
    if (text.length < 43) {
      // At most 127 bytes of UTF-8: the length takes one byte.
      this.#reserve(128);
      const { written } = encoder.encodeInto(text, this.#buffer.subarray(this.#at + 1));
      this.#buffer[this.#at] = written;
      this.#at += written + 1;
      return;
    }
    const bytes = encoder.encode(text);
    this.#varint(bytes.length);
    this.raw(bytes);
  }

  bytes(tag: number, bytes: Uint8Array): void {
    this.#varint(tag);
    this.#varint(bytes.length);
    if (bytes.length > INLINE_BYTES) this.#refer(new MemorySource(bytes));
    else this.raw(bytes);
  }

  /** Length-delimited bytes of a source: referred to, unless they are short and can be read now. */
  source(tag: number, source: ByteSource): void {
    this.#varint(tag);
    this.#varint(source.byteLength);
    if (source.byteLength <= INLINE_BYTES && source.synchronous) this.raw(source.bytes());
    else this.#refer(source);
  }

  /** Bytes as they are: whole fields that were kept unread. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** Opens a length-delimited message; `end` closes the one opened last. */
  begin(tag: number): void {
    this.#varint(tag);
    this.#reserve(1);
    this.#at++;
    this.#open.push(this.#at, this.#references.length, this.#referenced);
  }

  end(): void {
    const referenced = this.#open.pop()!;
    const references = this.#open.pop()!;
    const start = this.#open.pop()!;
    const length = this.#at - start + (this.#referenced - referenced);
    const shift = varintBytes(length) - 1;
    if (shift > 0) {
      this.#reserve(shift);
      this.#buffer.copyWithin(start + shift, start, this.#at);
      for (let i = references; i < this.#references.length; i++) this.#references[i]!.at += shift;
      this.#at += shift;
    }
    const end = this.#at;
    this.#at = start - 1;
    this.#varint(length);
    this.#at = end;
  }

  /** Everything written, in order. */
  chunks(): ByteSource[] {
    const chunks: ByteSource[] = [];
    let from = 0;
    const flush = (to: number) => {
      if (to > from) chunks.push(new MemorySource(this.#buffer.subarray(from, to)));
      from = to;
    };
    for (const { at, source } of this.#references) {
      flush(at);
      chunks.push(source);
    }
    flush(this.#at);
    return chunks;
  }

  #refer(source: ByteSource): void {
    this.#references.push({ at: this.#at, source });
    this.#referenced += source.byteLength;
  }

  #varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest > 0x7fffffff) {
      this.#buffer[this.#at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    while (rest > 127) {
      this.#buffer[this.#at++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.#buffer[this.#at++] = rest;
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(this.#buffer.length * 2, this.#at + count));
    grown.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = grown;
  }
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}
