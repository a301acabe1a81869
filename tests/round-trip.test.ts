// Decode, encode, decode of every shared model is equal, from memory and from a file; ONNX Runtime answers the same for both.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readModel, writeModel } from '../src/node/files.js';
import { decodeModel } from '../src/onnx/decode.js';
import { encodeModel } from '../src/onnx/encode.js';
import { describeModel } from './model-equality.js';
import { sharedData, sharedModels } from './shared-data.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-round-trip-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(sharedModels().length === 0).each(sharedModels())('%s', (name) => {
  const path = sharedData(name)!;

  it('is equal after encoding and decoding', () => {
    const model = decodeModel(readFileSync(path), { file: path });
    const { bytes } = encodeModel(model);
    const again = decodeModel(bytes);
    expect(describeModel(again)).toEqual(describeModel(model));
    // What Pare wrote it writes again byte for byte.
    expect(Buffer.compare(encodeModel(again).bytes, bytes)).toBe(0);
  });

  it('is the same from a file as from memory, and on disk as in memory', async () => {
    const fromFile = await readModel(path);
    expect(describeModel(fromFile)).toEqual(describeModel(decodeModel(readFileSync(path))));
    const out = join(folder, name.replaceAll('/', '_'));
    const written = await writeModel(fromFile, out);
    expect(written.files).toEqual([out]);
    expect(Buffer.compare(readFileSync(out), encodeModel(fromFile).bytes)).toBe(0);
  });

  it('is equal after its weights went to external data', async () => {
    const model = await readModel(path);
    const out = join(folder, `external_${name.replaceAll('/', '_')}`);
    await writeModel(model, out, { external: true });
    expect(describeModel(await readModel(out))).toEqual(describeModel(model));
  });
});
