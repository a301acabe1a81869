import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PareError } from '../errors.js';
import { type ByteSource, MemorySource } from '../ir/source.js';
import { concatBytes, MAX_DEPTH, textOf, UnknownFields, WireReader } from './wire.js';
import { INLINE_BYTES, WireWriter } from './wire-writer.js';

/** A source that is not in memory, as a file is; counts what is read of it. */
class ColdSource implements ByteSource {
  readonly resident = false;
  readonly synchronous = true;
  readonly counter: { bytes: number };
  readonly #data: Uint8Array;

  constructor(data: Uint8Array, counter = { bytes: 0 }) {
    this.#data = data;
    this.counter = counter;
  }

  get byteLength() {
    return this.#data.length;
  }

  bytes() {
    this.counter.bytes += this.#data.length;
    return this.#data.slice();
  }

  async load() {
    return this.bytes();
  }

  slice(start: number, end: number) {
    return new ColdSource(this.#data.subarray(start, end), this.counter);
  }
}

const written = (fill: (w: WireWriter) => void) => {
  const w = new WireWriter();
  fill(w);
  const bytes = concatBytes(w.chunks().map((c) => c.bytes()));
  expect(bytes.length).toBe(w.size);
  return bytes;
};
const LEN = (field: number) => (field << 3) | 2;

describe('wire format', () => {
  it('reads back any 64-bit integer, float and text', () => {
    const field = fc.oneof(
      fc.record({ kind: fc.constant('int' as const), value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) }),
      fc.record({ kind: fc.constant('uint' as const), value: fc.nat({ max: Number.MAX_SAFE_INTEGER }) }),
      fc.record({ kind: fc.constant('float' as const), value: fc.float() }),
      fc.record({ kind: fc.constant('text' as const), value: fc.string({ unit: 'binary', maxLength: 300 }) }),
      fc.record({ kind: fc.constant('bytes' as const), value: fc.uint8Array({ maxLength: 300 }) }),
    );
    fc.assert(
      fc.property(fc.array(field), fc.boolean(), (fields, cold) => {
        const bytes = written((w) => {
          for (const f of fields) {
            if (f.kind === 'int') w.int64(8, f.value);
            else if (f.kind === 'uint') w.uint(16, f.value);
            else if (f.kind === 'float') w.float((3 << 3) | 5, f.value);
            else if (f.kind === 'text') w.string(LEN(4), f.value);
            else w.bytes(LEN(5), f.value);
          }
        });
        const r = new WireReader(cold ? new ColdSource(bytes) : bytes);
        for (const f of fields) {
          const tag = r.tag();
          if (tag === 8) expect(r.int64()).toBe(f.value);
          else if (tag === 16) expect(r.uint()).toBe(f.value);
          else if (tag === ((3 << 3) | 5)) expect(r.float()).toBe(f.value);
          else if (tag === LEN(4)) expect(r.string()).toBe(f.value);
          else expect(Array.from(r.bytes())).toEqual(Array.from(f.value as Uint8Array));
        }
        expect(r.tag()).toBe(0);
      }),
      { seed: 1, numRuns: 80 },
    );
  });

  it('writes nested messages whose lengths take several bytes, with references at the right place', () => {
    type Tree = { bytes: Uint8Array; children: Tree[] };
    const long = new Uint8Array(INLINE_BYTES + 1).fill(7);
    const tree: (depth?: number) => fc.Arbitrary<Tree> = fc.memo<Tree>((depth) =>
      fc.record({
        bytes: fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constant(long)),
        children: depth <= 1 ? fc.constant<Tree[]>([]) : fc.array(tree(), { maxLength: 3 }),
      }),
    );
    const plain = (t: Tree): unknown => [t.bytes.length, t.bytes[0], t.children.map(plain)];
    const write = (w: WireWriter, t: Tree) => {
      w.begin(LEN(1));
      w.source(LEN(2), new MemorySource(t.bytes));
      for (const child of t.children) write(w, child);
      w.end();
    };
    const read = (r: WireReader): Tree => {
      const outer = r.enter();
      const t: Tree = { bytes: new Uint8Array(0), children: [] };
      for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
        if (tag === LEN(2)) t.bytes = r.slice().bytes();
        else t.children.push(read(r));
      }
      r.leave(outer);
      return t;
    };
    fc.assert(
      fc.property(tree(4), fc.boolean(), (t, cold) => {
        const bytes = written((w) => write(w, t));
        const r = new WireReader(cold ? new ColdSource(bytes) : bytes);
        expect(r.tag()).toBe(LEN(1));
        expect(JSON.stringify(plain(read(r)))).toBe(JSON.stringify(plain(t)));
        expect(r.tag()).toBe(0);
      }),
      { seed: 2, numRuns: 40 },
    );
  });

  it('does not read long fields of a file', () => {
    const bytes = written((w) => {
      w.source(LEN(9), new MemorySource(new Uint8Array(5_000_000).fill(3)));
      w.string(LEN(1), 'after');
    });
    const source = new ColdSource(bytes);
    const r = new WireReader(source);
    r.tag();
    const slice = r.slice();
    r.tag();
    expect(r.string()).toBe('after');
    expect(source.counter.bytes).toBeLessThan(200_000);
    expect(slice.byteLength).toBe(5_000_000);
    expect(slice.bytes()[4_999_999]).toBe(3);
  });

  it('keeps unknown fields of every wire type, groups too', () => {
    const bytes = Uint8Array.of(8, 150, 1, 17, 1, 2, 3, 4, 5, 6, 7, 8, 26, 2, 65, 66, 35, 8, 1, 36, 45, 1, 2, 3, 4, 50, 1, 67);
    const r = new WireReader(bytes);
    const unknown = new UnknownFields();
    for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
      if (tag === LEN(6)) expect(r.string()).toBe('C');
      else unknown.keep(r, tag, at);
    }
    expect(Array.from(unknown.bytes(r)!)).toEqual(Array.from(bytes.subarray(0, 25)));
  });

  it.each([
    ['a truncated varint', [8, 0x80], 'ends in the middle'],
    ['a varint without end', [8, ...new Array(11).fill(0x80), 1], 'longer than 10 bytes'],
    ['a length beyond the end', [10, 100, 1], 'a field of 100 bytes does not fit: 1 bytes are left'],
    ['a huge length', [10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 'does not fit'],
    ['field number zero', [0, 1], 'expected a field tag, got 0'],
    ['a wire type that does not exist', [15, 1], 'wire type 7 does not exist'],
    ['the end of a group that never began', [12], 'wire type 4'],
    ['a group without end', [11, 8, 1], 'a group does not end'],
    ['truncated fixed bytes', [13, 1, 2], 'does not fit'],
  ])('refuses %s', (_, bytes, message) => {
    const readAll = (source: Uint8Array | ByteSource) => {
      const r = new WireReader(source, 'model.onnx');
      for (let tag = r.tag(); tag !== 0; tag = r.tag()) r.skip(tag);
    };
    for (const source of [Uint8Array.from(bytes), new ColdSource(Uint8Array.from(bytes))]) {
      expect(() => readAll(source)).toThrow(PareError);
      expect(() => readAll(source)).toThrow(message);
    }
  });

  it('refuses groups and messages that are nested too deep', () => {
    const r = new WireReader(new Uint8Array(10_000).fill(11));
    expect(() => r.skip(r.tag())).toThrow(`nested deeper than ${MAX_DEPTH}`);
  });

  it('keeps text that is not UTF-8 as bytes, and a byte order mark as text', () => {
    expect(textOf(Uint8Array.of(104, 105))).toBe('hi');
    expect(textOf(Uint8Array.of(0xff, 0xfe))).toEqual(Uint8Array.of(0xff, 0xfe));
    expect(textOf(Uint8Array.of(0xef, 0xbb, 0xbf, 65))).toBe('\uFEFFA');
  });
});
