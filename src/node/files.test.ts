import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeModel } from '../../tests/model-equality.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { BlobSource, type ByteSource } from '../ir/source.js';
import { Tensor } from '../ir/tensor.js';
import { parseModel } from '../ir/text.js';
import { decodeModel, decodeModelBlob } from '../onnx/decode.js';
import { encodeModel, encodeModelAsync } from '../onnx/encode.js';
import { FileSource, readModel, sha256File, writeFileAtomic, writeModel } from './files.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => join(folder, name);
const listing = () => readdirSync(folder).sort();
const sample = () =>
  parseModel(`g (float[N,64] x) => (float[N,64] y) <float[64,64] a = random, float[64,64] b = random, float[300,300] c = random, float[2] small = {1, 2}> {
    t = MatMul(x, a) u = MatMul(t, b) y = Op(u, c, small)
  }`);

async function errorOf(run: () => unknown): Promise<PareError> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(PareError);
    return error as PareError;
  }
  throw new Error('expected an error, got none');
}

describe('reading', () => {
  it('leaves large weights on disk and takes small ones along', async () => {
    await writeModel(sample(), at('m.onnx'));
    const model = await readModel(at('m.onnx'));
    const source = (name: string) => model.graph.value(name)!.initializer!.source;
    expect(source('c')).toBeInstanceOf(FileSource);
    expect(source('c').resident).toBe(false);
    expect(source('c').file!.path).toBe(at('m.onnx'));
    expect(source('small').resident).toBe(true);
    const { file } = source('c');
    expect(Buffer.compare(readFileSync(file!.path).subarray(file!.offset, file!.offset + 360_000), source('c').bytes())).toBe(0);
  });

  it('says what is wrong with a path', async () => {
    expect((await errorOf(() => readModel(at('none.onnx')))).format()).toMatch(
      /E_FILE: cannot read ".*none.onnx": there is no such file or folder/,
    );
    expect((await errorOf(() => readModel(folder))).message).toContain('it is a folder');
    writeFileSync(at('bad.onnx'), 'not a model');
    const error = await errorOf(() => readModel(at('bad.onnx')));
    expect([error.code, error.place.file]).toEqual(['E_FORMAT', at('bad.onnx')]);
    expect(error.format()).toMatch(/file .*bad\.onnx at byte \d+/);
  });

  it('notices that a file was cut while open', async () => {
    await writeModel(sample(), at('m.onnx'));
    const model = await readModel(at('m.onnx'));
    truncateSync(at('m.onnx'), 1000);
    const error = await errorOf(() => model.graph.value('c')!.initializer!.bytes());
    expect(error.message).toContain('the file ended at byte');
  });
});

describe('external data', () => {
  /** A model whose weight "w" lies where the test says. */
  const external = (entries: Record<string, string>) => {
    const model = parseModel('g (x) => (y) <float[4] w = {1, 2, 3, 4}> { y = Op(x, w) }');
    const { bytes } = encodeModel(model, { external: { threshold: 1, location: 'w.bin' } });
    const { location: _, ...rest } = { location: '', ...entries };
    // Rewrites the pairs of the file: the tensor is the only one in it.
    const field = (n: number, text: string) => Buffer.concat([Buffer.from([n * 8 + 2, text.length]), Buffer.from(text)]);
    const pair = (key: string, value: string) => {
      const body = Buffer.concat([field(1, key), field(2, value)]);
      return Buffer.concat([Buffer.from([13 * 8 + 2, body.length]), body]);
    };
    const tensor = Buffer.concat([
      Buffer.from([8, 4, 16, 1, 66, 1]),
      Buffer.from('w'),
      ...Object.entries({ location: entries.location ?? 'w.bin', ...rest }).map(([k, v]) => pair(k, v)),
      Buffer.from([112, 1]),
    ]);
    const graph = Buffer.concat([Buffer.from([5 * 8 + 2, tensor.length]), tensor]);
    expect(bytes.length).toBeGreaterThan(0);
    const length = graph.length < 128 ? [graph.length] : [(graph.length & 127) | 128, graph.length >> 7];
    return Buffer.concat([Buffer.from([7 * 8 + 2, ...length]), graph]);
  };
  const weights = Buffer.from(Float32Array.of(9, 8, 7, 6, 5, 4).buffer);

  it('reads offsets and lengths, also in folders below', async () => {
    mkdirSync(at('sub'));
    writeFileSync(at('sub/w.bin'), weights);
    writeFileSync(at('m.onnx'), external({ location: './sub//w.bin', offset: '8', length: '16', checksum: 'ignored' }));
    const model = await readModel(at('m.onnx'));
    expect(Array.from(model.graph.value('w')!.initializer!.floats())).toEqual([7, 6, 5, 4]);
  });

  it.each([
    ['../w.bin', 'leaves the folder of the model'],
    ['sub/../../w.bin', 'leaves the folder of the model'],
    ['/etc/hostname', 'is absolute'],
    ['C:/w.bin', 'is absolute'],
    ['..\\w.bin', 'holds a backslash'],
    ['', 'is empty'],
    ['.', 'names no file'],
    ['a\0b', 'holds a zero byte'],
  ])('refuses the location "%s"', async (location, why) => {
    writeFileSync(at('m.onnx'), external({ location }));
    const error = await errorOf(() => readModel(at('m.onnx')));
    expect([error.code, error.message]).toEqual(['E_EXTERNAL_DATA', expect.stringContaining(why)]);
  });

  it('refuses links out of the folder, follows links within it', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'pare-outside-'));
    writeFileSync(join(outside, 'secret.bin'), weights);
    writeFileSync(at('m.onnx'), external({}));
    symlinkSync(join(outside, 'secret.bin'), at('w.bin'));
    expect((await errorOf(() => readModel(at('m.onnx')))).message).toContain('outside the folder of the model');
    rmSync(at('w.bin'));
    writeFileSync(at('real.bin'), weights);
    symlinkSync('real.bin', at('w.bin'));
    expect((await readModel(at('m.onnx'))).graph.value('w')!.initializer!.floats()[0]).toBe(9);
    rmSync(outside, { recursive: true });
  });

  it('accepts a model that is itself a link, with its data beside the contents', async () => {
    mkdirSync(at('blobs'));
    mkdirSync(at('snapshot'));
    writeFileSync(at('blobs/1'), external({}));
    writeFileSync(at('blobs/2'), weights);
    symlinkSync('../blobs/1', at('snapshot/m.onnx'));
    symlinkSync('../blobs/2', at('snapshot/w.bin'));
    expect((await readModel(at('snapshot/m.onnx'))).graph.value('w')!.initializer!.floats()[0]).toBe(9);
  });

  it.each([
    [{ offset: '12' }, 'expected 16 bytes at offset 12 of "w.bin", got a file of 24 bytes'],
    [{ offset: '9007199254740000' }, 'got a file of 24 bytes'],
    [{ length: '8' }, 'expected 16 bytes by its type and shape, got length 8'],
    [{ offset: '-4' }, 'external data offset is "-4": expected a whole number of bytes'],
    [{ offset: '1e3' }, 'external data offset is "1e3"'],
    [{ location: 'missing.bin' }, 'there is no such file'],
  ])('refuses %j', async (entries, message) => {
    writeFileSync(at('w.bin'), weights);
    writeFileSync(at('m.onnx'), external(entries));
    expect((await errorOf(() => readModel(at('m.onnx')))).message).toContain(message);
  });

  it('says that data files are needed when only bytes are given, and takes them', async () => {
    expect((await errorOf(() => decodeModel(external({})))).message).toContain('lies in the file "w.bin", which was not given');
    const model = await decodeModelBlob(new Blob([new Uint8Array(external({ offset: '4' }))]), {
      external: () => new BlobSource(new Blob([weights])),
    });
    const { initializer } = model.graph.value('w')!;
    expect(initializer!.source.synchronous).toBe(false);
    expect(Array.from((await initializer!.load()).floats())).toEqual([8, 7, 6, 5]);
    const { bytes } = await encodeModelAsync(model);
    expect(Array.from(decodeModel(bytes).graph.value('w')!.initializer!.floats())).toEqual([8, 7, 6, 5]);
  });

  it('is written beside the model, on page borders, small tensors staying inside', async () => {
    const model = sample();
    const { files, bytes } = await writeModel(model, at('m.onnx'), { external: true });
    expect(files).toEqual([at('m.onnx'), at('m.onnx.data')]);
    expect(bytes).toBe(statSync(at('m.onnx')).size + statSync(at('m.onnx.data')).size);
    const again = await readModel(at('m.onnx'));
    expect(describeModel(again)).toEqual(describeModel(model));
    expect(again.graph.value('c')!.initializer!.source.file).toEqual({ path: at('m.onnx.data'), offset: 32768 });
    expect(statSync(at('m.onnx')).size).toBeLessThan(1000);
  });

  it('goes to several files where asked to, and writes shared tensors once', () => {
    const model = sample();
    const a = model.graph.value('a')!.initializer!;
    model.graph.setInitializer(model.graph.value('b')!, a);
    const { externalData, bytes } = encodeModel(model, { external: { threshold: 1024, location: 'w.data', maxFileBytes: 50_000 } });
    expect(externalData.map((f) => [f.path, f.size])).toEqual([
      ['w.data', 16384],
      ['w.data_1', 360_000],
    ]);
    const file = (location: string): ByteSource => externalData.find((f) => f.path === location)!.chunks[0]!;
    expect(describeModel(decodeModel(bytes, { external: file }))).toEqual(describeModel(model));
  });
});

describe('writing', () => {
  it('refuses to replace a file unless told to', async () => {
    await writeModel(sample(), at('m.onnx'));
    const error = await errorOf(() => writeModel(sample(), at('m.onnx')));
    expect([error.code, error.hint]).toEqual(['E_FILE', 'use --force to replace it']);
    await writeModel(sample(), at('m.onnx'), { force: true });
    expect(listing()).toEqual(['m.onnx']);
  });

  it('refuses folders and devices even then', async () => {
    mkdirSync(at('folder.onnx'));
    expect((await errorOf(() => writeModel(sample(), at('folder.onnx'), { force: true }))).message).toContain('is a folder');
    expect((await errorOf(() => writeModel(sample(), '/dev/null', { force: true }))).message).toContain('is no regular file');
    expect(listing()).toEqual(['folder.onnx']);
  });

  it('writes the same bytes each time, over the file it reads from too', async () => {
    await writeModel(sample(), at('m.onnx'), { external: true });
    const [main, data] = [readFileSync(at('m.onnx')), readFileSync(at('m.onnx.data'))];
    const model = await readModel(at('m.onnx'));
    await writeModel(model, at('m.onnx'), { external: true, force: true });
    expect(Buffer.compare(readFileSync(at('m.onnx')), main)).toBe(0);
    expect(Buffer.compare(readFileSync(at('m.onnx.data')), data)).toBe(0);
    // The old files are gone from the folder, yet the model that was read from them can still be written.
    await writeModel(model, at('single.onnx'));
    expect(describeModel(await readModel(at('single.onnx')))).toEqual(describeModel(sample()));
    expect(listing()).toEqual(['m.onnx', 'm.onnx.data', 'single.onnx']);
  });

  it.each([
    ['ENOSPC', 'the disk is full'],
    ['EIO', 'the disk reported an error'],
  ])('leaves the old file and nothing else on %s', async (code, words) => {
    await writeModel(sample(), at('m.onnx'), { external: true });
    const contents = () => Promise.all(listing().map((name) => sha256File(at(name))));
    const before = await contents();
    const failing = sample();
    failing.graph.setInitializer(failing.graph.value('c')!, new Tensor('float', [300, 300], brokenSource(360_000, code)));
    const error = await errorOf(() => writeModel(failing, at('m.onnx'), { external: true, force: true }));
    expect([error.code, error.message]).toEqual(['E_FILE', expect.stringContaining(words)]);
    expect(listing()).toEqual(['m.onnx', 'm.onnx.data']);
    expect(await contents()).toEqual(before);
  });

  it('makes folders on the way, and says when it cannot', async () => {
    await writeModel(sample(), at('a/b/m.onnx'));
    expect(existsSync(at('a/b/m.onnx'))).toBe(true);
    writeFileSync(at('plain'), '');
    expect((await errorOf(() => writeModel(sample(), at('plain/m.onnx')))).code).toBe('E_FILE');
  });

  it('streams: memory stays far below the size of the model', async () => {
    // 24 weights of 4 MB that exist only on disk.
    writeFileSync(at('weights'), Buffer.alloc(4 * 2 ** 20, 1));
    const weight = FileSource.open(at('weights'));
    const model = parseModel('g (x) => (y) { y = Op(x) }') as Model;
    for (let i = 0; i < 24; i++) {
      const copy = weight.slice(0, weight.byteLength);
      model.graph.addInitializer(`w${i}`, new Tensor('float', [1024, 1024], copy));
    }
    const before = process.memoryUsage();
    let peak = 0;
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    }, 1);
    const { bytes } = await writeModel(model, at('big.onnx'));
    clearInterval(timer);
    expect(bytes).toBeGreaterThan(100e6);
    expect(peak - before.arrayBuffers).toBeLessThan(20e6);
  });

  it('writes other files at once too, and hashes them', async () => {
    await writeFileAtomic(at('note.txt'), 'hello');
    await writeFileAtomic(at('note.txt'), 'hello again');
    expect(readFileSync(at('note.txt'), 'utf8')).toBe('hello again');
    expect(await sha256File(at('note.txt'))).toBe(createHash('sha256').update('hello again').digest('hex'));
    writeFileSync(at('empty'), '');
    expect(await sha256File(at('empty'))).toBe(createHash('sha256').digest('hex'));
  });

  it('can be read while it is replaced', async () => {
    await writeModel(sample(), at('m.onnx'));
    const model = await readModel(at('m.onnx'));
    renameSync(at('m.onnx'), at('old.onnx'));
    await writeFileAtomic(at('m.onnx'), 'something else');
    rmSync(at('old.onnx'));
    expect(describeModel(model)).toEqual(describeModel(sample()));
  });
});

/** A source whose reading fails with a system error. */
function brokenSource(byteLength: number, code: string): ByteSource {
  const broken = () => {
    throw Object.assign(new Error(code), { code });
  };
  return {
    byteLength,
    resident: false,
    synchronous: true,
    bytes: broken,
    load: broken,
    readInto: broken,
    slice: (from, to) => brokenSource(to - from, code),
  };
}
