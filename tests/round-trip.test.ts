// Decode, encode, decode of every shared model is equal, from memory and from a file; ONNX Runtime answers the same for both.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { nodeEngine } from '../src/node/engine.js';
import { readModel, writeModel } from '../src/node/files.js';
import { decodeModel } from '../src/onnx/decode.js';
import { encodeModel } from '../src/onnx/encode.js';
import { findFeeds } from '../src/runtime/inputs.js';
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

const run = ['resnet20-cifar10/resnet20_cifar10.onnx', 'silero-vad/silero_vad_16k_op15.onnx', 'text-models/sst2_bert_mini.onnx'];

describe.skipIf(sharedData('.') === undefined)('ONNX Runtime', () => {
  it.each(run)('answers the same for %s with its weights in another file', async (name) => {
    const path = sharedData(name)!;
    const model = await readModel(path);
    const out = join(folder, `run_${name.replaceAll('/', '_')}`);
    const { files } = await writeModel(model, out, { external: true });
    expect(files.length).toBe(2);
    const engine = await nodeEngine();
    const [original, written] = [await engine.load({ path }, { threads: 1 }), await engine.load({ path: out }, { threads: 1 })];
    const { feeds } = await findFeeds(original, model);
    const [expected, actual] = [await original.run(feeds), await written.run(feeds)];
    for (const [output, tensor] of Object.entries(expected))
      expect(Buffer.compare(actual[output]!.bytes(), tensor.bytes()), output).toBe(0);
    await original.release();
    await written.release();
  });
});
