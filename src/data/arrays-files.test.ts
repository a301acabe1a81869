// Array files and the containers around them: npy, npz, zip, gzip, tar, IDX. The base64 files were written by NumPy 2.4.
import fc from 'fast-check';
import { gzipSync, zipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { PareError } from '../errors.js';
import type { DType } from '../ir/dtype.js';
import { MemorySource } from '../ir/source.js';
import { Tensor } from '../ir/tensor.js';
import { crc32 } from '../util/crc32.js';
import { gunzip } from './gzip.js';
import { encodeIdx, parseIdx } from './idx.js';
import { encodeNpy, parseNpy, readNpySource } from './npy.js';
import { encodeNpz, readNpz } from './npz.js';
import { readTar } from './tar.js';
import { openZip, openZipBytes } from './zip.js';

const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, 'base64'));
const NUMPY = {
  npz: 'UEsDBC0AAAAIAAAAIQBP6QAq//////////8FABQAeC5ucHkBABAAmAAAAAAAAABVAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6loG6TZqKuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GkY6CsaaOgq1CmQDLgYwaLAHEg5ABMQNQLzAAQBQSwMELQAAAAgAAAAhAHH7Oav//////////woAFABsYWJlbHMubnB5AQAQAJAAAAAAAAAASAAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBuk2mhrqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOpo6CrUKFAAuRgZUAABQSwMELQAAAAgAAAAhAEx473f//////////wkAFABuYW1lcy5ucHkBABAAmAAAAAAAAABPAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6loG4Taqyuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GkY6mjoKtQoUAK4nDAiQBMTJQJwCxABQSwECLQMtAAAACAAAACEAT+kAKlUAAACYAAAABQAAAAAAAAAAAAAAgAEAAAAAeC5ucHlQSwECLQMtAAAACAAAACEAcfs5q0gAAACQAAAACgAAAAAAAAAAAAAAgAGMAAAAbGFiZWxzLm5weVBLAQItAy0AAAAIAAAAIQBMeO93TwAAAJgAAAAJAAAAAAAAAAAAAACAARABAABuYW1lcy5ucHlQSwUGAAAAAAMAAwCiAAAAmgEAAAAA',
  fortranBigEndian:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPmkyJywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMiwgMywgNCksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAMAAQAEAAIABQAAQANAAUAEQAJABUAAgAOAAYAEgAKABYAAwAPAAcAEwALABc=',
  half: 'k05VTVBZAQB2AHsnZGVzY3InOiAnPGYyJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDMsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAPgDA/3s=',
  bool: 'k05VTVBZAQB2AHsnZGVzY3InOiAnfGIxJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDEsIDIpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAA==',
  byteStrings:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnfFMyJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAphYmMA',
  scalar:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKCksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAAMQA==',
  empty:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPHU0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDAsIDQpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAo=',
};

/** A source that, like a file, is not in memory. */
class DiskLike extends MemorySource {
  override readonly resident = false as unknown as true;
  override slice(start: number, end: number) {
    return new DiskLike(this.bytes().subarray(start, end));
  }
}

/** Runs on every prefix and on single-byte changes: nothing but typed errors or a result may come out. */
async function onlyTypedErrors(bytes: Uint8Array, read: (damaged: Uint8Array) => unknown) {
  const attempt = async (damaged: Uint8Array) => {
    try {
      await read(damaged);
    } catch (error) {
      expect(error).toBeInstanceOf(PareError);
      expect((error as PareError).kind).not.toBe('bug');
    }
  };
  const step = Math.max(1, Math.floor(bytes.length / 150));
  for (let end = 0; end < bytes.length; end += step) await attempt(bytes.slice(0, end));
  for (let at = 0; at < bytes.length; at += step) {
    for (const value of [0, 0xff, bytes[at]! ^ 0x10]) {
      const changed = bytes.slice();
      changed[at] = value;
      await attempt(changed);
    }
  }
}

describe('npy', () => {
  it('reads what NumPy writes', () => {
    const f = parseNpy(bytesOf(NUMPY.fortranBigEndian));
    expect([f.dtype, f.dims]).toEqual(['int16', [2, 3, 4]]);
    expect(Array.from(f.numbers())).toEqual(Array.from({ length: 24 }, (_, i) => i));
    expect(Array.from(parseNpy(bytesOf(NUMPY.half)).floats())).toEqual([1.5, -2, 65504]);
    const b = parseNpy(bytesOf(NUMPY.bool));
    expect([b.dtype, b.dims, Array.from(b.numbers())]).toEqual(['bool', [1, 2], [1, 0]]);
    expect(parseNpy(bytesOf(NUMPY.byteStrings)).stringValues()).toEqual(['ab', 'c']);
    const s = parseNpy(bytesOf(NUMPY.scalar));
    expect([s.dtype, s.dims, s.numbers()[0]]).toEqual(['double', [], 3.5]);
    expect(parseNpy(bytesOf(NUMPY.empty)).dims).toEqual([0, 4]);
  });

  it('writes what it reads, for every type', () => {
    const dtypes: DType[] = [
      'bool',
      'int8',
      'int16',
      'int32',
      'int64',
      'uint8',
      'uint16',
      'uint32',
      'uint64',
      'float16',
      'float',
      'double',
    ];
    fc.assert(
      fc.property(fc.constantFrom(...dtypes), fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }), (dtype, dims) => {
        const count = dims.reduce((a, b) => a * b, 1);
        const tensor = Tensor.from(
          dtype,
          dims,
          Array.from({ length: count }, (_, i) => i % 100),
        );
        const back = parseNpy(encodeNpy(tensor));
        expect([back.dtype, back.dims, [...back.bytes()]]).toEqual([dtype, dims, [...tensor.bytes()]]);
      }),
    );
    const words = Tensor.strings([2], ['grün', 'x']);
    expect(parseNpy(encodeNpy(words)).stringValues()).toEqual(['grün', 'x']);
  });

  it('starts elements at multiples of 64 bytes', () => {
    const bytes = encodeNpy(Tensor.from('float', [3], [1, 2, 3]));
    expect((bytes.length - 12) % 64).toBe(0);
  });

  it('leaves arrays of a file where they are', async () => {
    const bytes = encodeNpy(Tensor.from('float', [2, 2], [1, 2, 3, 4]));
    const tensor = await readNpySource(new DiskLike(bytes));
    expect(tensor.source.resident).toBe(false);
    expect(Array.from(tensor.floats())).toEqual([1, 2, 3, 4]);
  });

  it('refuses pickles, structures and false sizes without allocating', () => {
    const withHeader = (text: string) => {
      const header = new TextEncoder().encode(`${text}\n`);
      return new Uint8Array([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8, ...header, 0, 0, 0, 0]);
    };
    const read = (text: string) => () => parseNpy(withHeader(text), 'x.npy');
    expect(read("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")).toThrow(/Python objects/);
    expect(read("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }")).toThrow(/structured/);
    expect(read("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 1000), }")).toThrow(/expected 16000000000000 bytes, got 4/);
    expect(read("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 999999999), }")).toThrow(PareError);
    expect(read("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }")).toThrow(/whole numbers/);
  });
});

describe('npz and zip', () => {
  it('reads compressed archives of NumPy (zip64 headers)', async () => {
    const arrays = await readNpz(bytesOf(NUMPY.npz));
    expect([...arrays.keys()]).toEqual(['x', 'labels', 'names']);
    expect(Array.from(arrays.get('x')!.floats())).toEqual([0, 1, 2, 3, 4, 5]);
    expect(arrays.get('labels')!.bigints()).toEqual([1n, 0n]);
    expect(arrays.get('names')!.stringValues()).toEqual(['ä', 'bcd']);
  });

  it('writes archives that read back, stored and deflated, the same bytes each time', async () => {
    const arrays = { images: Tensor.from('uint8', [2, 3], [1, 2, 3, 4, 5, 6]), labels: Tensor.from('int64', [2], [0, 1]) };
    for (const compress of [false, true]) {
      const bytes = encodeNpz(arrays, { compress });
      expect(encodeNpz(arrays, { compress })).toEqual(bytes);
      const back = await readNpz(bytes);
      expect([...back.get('images')!.bytes()]).toEqual([1, 2, 3, 4, 5, 6]);
      const onDisk = await readNpz(new DiskLike(bytes));
      expect(onDisk.get('images')!.source.resident).toBe(compress);
    }
  });

  it('answers damage with typed errors', async () => {
    await onlyTypedErrors(bytesOf(NUMPY.npz), (b) => readNpz(b));
    await onlyTypedErrors(zipSync({ 'a/b.txt': new Uint8Array(40), c: [new Uint8Array(9), { level: 0 }] }), async (b) => {
      const zip = await openZipBytes(b, 'x.zip');
      for (const entry of zip.entries) await (await zip.read(entry)).load();
    });
  });

  it('refuses an entry that declares more than deflate can hold', async () => {
    const bytes = zipSync({ bomb: new Uint8Array(1000) });
    const view = new DataView(bytes.buffer);
    const directory = view.getUint32(bytes.length - 6, true);
    view.setUint32(directory + 24, 0xfffffff0, true);
    const zip = await openZip(new MemorySource(bytes), 'x.zip');
    await expect(zip.read(zip.entries[0]!)).rejects.toThrow(/declares 4294967280 bytes/);
  });
});

describe('gzip', () => {
  const content = new TextEncoder().encode('pictures of digits '.repeat(50));

  it('reads one member and several', () => {
    const one = gzipSync(content);
    expect(gunzip(one, 'x.gz')).toEqual(content);
    const two = gunzip(new Uint8Array([...one, ...gzipSync(new Uint8Array([1, 2, 3]))]), 'x.gz');
    expect(two).toEqual(new Uint8Array([...content, 1, 2, 3]));
    expect(gunzip(content, 'plain')).toBe(content);
  });

  it('notices truncation and changed bytes', async () => {
    const bytes = gzipSync(content);
    for (let end = 2; end < bytes.length; end++) expect(() => gunzip(bytes.slice(0, end), 'x.gz')).toThrow(PareError);
    const changed = bytes.slice();
    changed[changed.length - 6]! ^= 1;
    expect(() => gunzip(changed, 'x.gz')).toThrow(/cut off or corrupt/);
    await onlyTypedErrors(bytes, (b) => gunzip(b, 'x.gz'));
  });

  it('knows the CRC of the specification', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  });
});

describe('IDX', () => {
  it('round trips, plain and gzipped', () => {
    const images = Tensor.from('uint8', [2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 255]);
    expect([...parseIdx(gzipSync(encodeIdx(images))).bytes()]).toEqual([...images.bytes()]);
    const wide = Tensor.from('int32', [2], [-5, 70000]);
    expect(Array.from(parseIdx(encodeIdx(wide)).numbers())).toEqual([-5, 70000]);
  });

  it('says what is wrong with a file', async () => {
    const bytes = encodeIdx(Tensor.from('uint8', [4, 2, 2], new Uint8Array(16)));
    expect(() => parseIdx(bytes.subarray(0, 20), 'x')).toThrow(/expected 16 bytes, got 4/);
    expect(() => parseIdx(new TextEncoder().encode('PK..........'), 'x')).toThrow(/not an IDX file/);
    await onlyTypedErrors(bytes, (b) => parseIdx(b));
  });
});

describe('tar', () => {
  const header = (name: string, size: number, type = '0') => {
    const block = new Uint8Array(512);
    const put = (at: number, text: string) => block.set(new TextEncoder().encode(text), at);
    put(0, name);
    put(124, size.toString(8).padStart(11, '0'));
    put(148, '        ');
    put(156, type);
    put(257, 'ustar');
    put(
      148,
      `${block
        .reduce((a, b) => a + b, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
    );
    return block;
  };
  const pad = (text: string) => {
    const out = new Uint8Array(Math.ceil(text.length / 512) * 512);
    out.set(new TextEncoder().encode(text));
    return out;
  };
  const long = `folder/${'n'.repeat(120)}.wav`;
  const archive = [
    header('./a.txt', 5),
    pad('hello'),
    header('d', 0, '5'),
    header('L', long.length, 'L'),
    pad(long),
    header('short', 2),
    pad('hi'),
  ];
  const bytes = new Uint8Array([...archive, new Uint8Array(1024)].flatMap((b) => [...b]));

  it('lists files with long names', () => {
    const entries = readTar(bytes, 'x.tar');
    expect(entries.map((e) => [e.name, new TextDecoder().decode(e.data)])).toEqual([
      ['a.txt', 'hello'],
      [long, 'hi'],
    ]);
  });

  it('answers damage with typed errors', () => onlyTypedErrors(bytes, (b) => readTar(b, 'x.tar')));
});
