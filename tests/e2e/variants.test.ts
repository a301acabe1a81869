// `pare variants` as a user meets it, on a classifier and on a merged decoder with a key-value cache: names, contents, figures, configuration, model card.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Model } from '../../src/ir/model.js';
import { walkNodes } from '../../src/ir/walk.js';
import { nodeEngine, readModel } from '../../src/node/index.js';
import { wasmEngine } from '../../src/node/wasm-engine.js';
import { VARIANT_NAMES, VARIANT_SUFFIX } from '../../src/recipe/variants/plan.js';
import type { VariantsRecord } from '../../src/recipe/variants/run.js';
import { classifierModel, mergedDecoder, VOCABULARY, WIDTH } from '../samples/variant-models.js';
import { writePackage } from './package-folder.js';

const BIN = join(import.meta.dirname, '../../bin/pare.js');
const folder = mkdtempSync(join(tmpdir(), 'pare-variants-'));
const source = join(folder, 'source');
const result = join(folder, 'result');
let record: VariantsRecord;

function pare(...args: string[]) {
  return spawnSync(process.execPath, [BIN, 'variants', ...args], { encoding: 'utf8', cwd: folder });
}

function pareJson(...args: string[]): VariantsRecord {
  const run = pare(...args, '--json');
  expect(run.stderr).not.toContain('E_');
  expect(run.status).toBe(0);
  return JSON.parse(run.stdout) as VariantsRecord;
}

const open = (name: string): Promise<Model> => readModel(join(result, 'onnx', name));
const operators = (model: Model) => new Set([...walkNodes(model.graph)].map((n) => n.op));
const rowsOf = (session: string) => record.sessions.find((s) => s.session === session)!.rows;

beforeAll(() => {
  writePackage(source, { 'onnx/model.onnx': classifierModel(), 'onnx/decoder_model_merged.onnx': mergedDecoder() });
  record = pareJson('source', '-o', 'result');
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the file set', () => {
  test('has every dtype of every session under the name that transformers.js looks for', () => {
    const expected = ['model', 'decoder_model_merged'].flatMap((s) =>
      ['', ...VARIANT_NAMES.map((n) => VARIANT_SUFFIX[n])].map((x) => `${s}${x}.onnx`),
    );
    expect(readdirSync(join(result, 'onnx')).sort()).toEqual(expected.sort());
    for (const session of record.sessions) {
      expect(session.rows.map((r) => r.variant)).toEqual(['fp32', ...VARIANT_NAMES]);
      for (const r of session.rows) expect(r.missing, `${session.session} ${r.variant}`).toBeNull();
    }
  });

  test('was run in both runtimes and stays near the float model', () => {
    expect(record.devices.map((d) => d.name)).toEqual(['cpu', 'wasm']);
    const least = {
      fp32: 0.999999,
      fp16: 0.9999,
      q8: 0.99,
      int8: 0.99,
      uint8: 0.99,
      q4: 0.98,
      q4f16: 0.98,
      bnb4: 0.98,
      q2: 0.7,
      q2f16: 0.7,
      q1: 0.4,
      q1f16: 0.4,
    };
    for (const session of record.sessions) {
      for (const r of session.rows) {
        for (const d of r.devices) {
          expect(d.cosine, `${session.session} ${r.variant} ${d.device}`).toBeGreaterThan(least[r.variant]);
          expect(d.load_ms).toBeGreaterThan(0);
          expect(d.p50_ms).toBeGreaterThan(0);
        }
        expect(r.devices).toHaveLength(2);
      }
    }
  });

  test('keeps types of inputs and outputs', async () => {
    const signature = (m: Model) => [...m.graph.inputs, ...m.graph.outputs].map((v) => [v.name, v.type]);
    for (const session of ['model', 'decoder_model_merged']) {
      const float = await open(`${session}.onnx`);
      for (const name of VARIANT_NAMES) {
        const variant = await open(`${session}${VARIANT_SUFFIX[name]}.onnx`);
        expect(signature(variant).map(([n, t]) => [n, (t as { dtype: string }).dtype])).toEqual(
          signature(float).map(([n, t]) => [n, (t as { dtype: string }).dtype]),
        );
      }
    }
  });

  test('8 bits: convolutions on weights with a scale per channel, no ConvInteger; unsigned products where there is a convolution', async () => {
    const model = await open('model_quantized.onnx');
    const found = operators(model);
    expect(found.has('ConvInteger')).toBe(false);
    const conv = [...walkNodes(model.graph)].find((n) => n.opType === 'Conv')!;
    // Codes, a Cast and a Mul that the runtime folds at load.
    const restored = conv.input(1)!.producer!;
    expect(restored.op).toBe('Mul');
    expect(restored.input(0)!.producer!.input(0)!.initializer!.dtype).toBe('int8');
    expect(restored.input(1)!.initializer!.size).toBe(WIDTH);
    const weightType = (m: Model) =>
      [...walkNodes(m.graph)]
        .filter((n) => n.opType === 'MatMulInteger' && n.input(1)!.isConstant)
        .map((n) => n.input(1)!.initializer!.dtype);
    expect(new Set(weightType(model))).toEqual(new Set(['uint8']));
    expect(new Set(weightType(await open('model_int8.onnx')))).toEqual(new Set(['int8']));
    expect(new Set(weightType(await open('decoder_model_merged_quantized.onnx')))).toEqual(new Set(['int8']));
  });

  test('4 bits: blocks of 32 in absmax form, products and constants of three dimensions covered, tied table stored once', async () => {
    const model = await open('model_q4.onnx');
    const found = operators(model);
    expect(found.has('com.microsoft.MatMulNBits')).toBe(true);
    // Pages of transformers.js have no kernel of it.
    expect(found.has('com.microsoft.GatherBlockQuantized')).toBe(false);
    const products = [...walkNodes(model.graph)].filter((n) => n.opType === 'MatMulNBits');
    for (const n of products) {
      expect(n.int('bits')).toBe(4);
      expect(n.int('block_size')).toBe(32);
      expect(n.input(3)).toBeNull();
    }
    const float = await open('model.onnx');
    const up = float.graph.value('up')!.initializer!.floats();
    const stored = products.find((n) => n.int('N') === 2 * WIDTH)!;
    const scale = stored.input(2)!.initializer!.floats()[0]!;
    // The element of largest magnitude of a block, with its sign, is code 0: scale = element / -8.
    const block = Array.from({ length: 32 }, (_, i) => up[i * 2 * WIDTH]!);
    const extreme = block.reduce((a, v) => (Math.abs(v) > Math.abs(a) ? v : a), 0);
    expect(scale).toBeCloseTo(extreme / -8, 6);
    // No large float constant is left, and codes of the table appear once.
    const constants = model.graph.initializers.map((v) => v.initializer!);
    expect(constants.filter((t) => t.dtype === 'float' && t.size > 1024)).toEqual([]);
    const tableBytes = (VOCABULARY * WIDTH) / 2;
    expect(constants.filter((t) => t.dtype === 'uint8' && t.byteLength === tableBytes)).toHaveLength(1);
  });

  test('bnb4: NF4 in blocks of 64', async () => {
    const products = [...walkNodes((await open('model_bnb4.onnx')).graph)].filter((n) => n.opType === 'MatMulBnb4');
    expect(products.length).toBeGreaterThan(0);
    for (const n of products) expect([n.int('block_size'), n.int('quant_type')]).toEqual([64, 1]);
  });

  test('q1 holds one bit per weight and expands it by constants alone', async () => {
    const model = await open('decoder_model_merged_q1.onnx');
    const table = model.graph.initializers.find((v) => v.initializer!.dims.join() === '256,2')!;
    const gather = table.users[0]!;
    expect(gather.opType).toBe('Gather');
    const stored = gather.input(1)!.producer!.input(0)!.initializer!;
    expect(stored.byteLength).toBe((WIDTH * WIDTH) / 8);
  });

  test('half precision: layer normalization is fused before, arithmetic is float16', async () => {
    const model = await open('model_fp16.onnx');
    const norms = [...walkNodes(model.graph)].filter((n) => n.opType === 'LayerNormalization');
    expect(norms).toHaveLength(2);
    for (const n of norms) expect(n.input(1)!.initializer!.dtype).toBe('float16');
    const scales = [...walkNodes((await open('model_q4f16.onnx')).graph)]
      .filter((n) => n.opType === 'MatMulNBits')
      .map((n) => n.input(2)!.initializer!.dtype);
    expect(new Set(scales)).toEqual(new Set(['float16']));
  });

  test('smaller dtypes are smaller files', () => {
    for (const session of ['model', 'decoder_model_merged']) {
      const size = Object.fromEntries(rowsOf(session).map((r) => [r.variant, r.bytes])) as Record<string, number>;
      const order = ['fp32', 'fp16', 'q8', 'q4', 'q2', 'q1'];
      for (let i = 1; i < order.length; i++) expect(size[order[i]!]!, order[i]).toBeLessThan(size[order[i - 1]!]!);
    }
  });

  test('both branches of the merged decoder were run', () => {
    const decoder = record.sessions.find((s) => s.session === 'decoder_model_merged')!;
    expect(decoder.data?.name).toBe('random:2 steps with a cache');
    for (const r of decoder.rows) expect(r.devices[0]!.samples).toBe(2);
  });
});

describe('the package around it', () => {
  test('other files are copied, the configuration is extended, the model card keeps the words of its author', () => {
    expect(readFileSync(join(result, 'tokenizer.json'), 'utf8')).toBe(readFileSync(join(source, 'tokenizer.json'), 'utf8'));
    const config = JSON.parse(readFileSync(join(result, 'config.json'), 'utf8'));
    expect(config.model_type).toBe('bert');
    expect(config['transformers.js_config']).toEqual({ dtype: 'q8' });
    const card = readFileSync(join(result, 'README.md'), 'utf8');
    expect(card).toContain('Words of its author.');
    for (const name of VARIANT_NAMES) expect(card).toContain(`| ${name} |`);
  });

  test('a folder with files in it is refused; --force replaces the section of the card; the same command gives the same models', () => {
    const again = pare('source', '-o', 'result');
    expect(again.status).toBe(1);
    expect(again.stderr).toContain('is not empty');
    const before = rowsOf('model').map((r) => r.sha256);
    const forced = pareJson('source', '-o', 'result', '--force');
    expect(forced.sessions.find((s) => s.session === 'model')!.rows.map((r) => r.sha256)).toEqual(before);
    expect(readFileSync(join(result, 'README.md'), 'utf8').match(/pare:variants:start/g)).toHaveLength(1);
  }, 120_000);

  test('external data in several files, counted in config.json, loads in both runtimes', async () => {
    const out = join(folder, 'external');
    const external = pareJson('source', '-o', 'external', '--dtypes', 'fp16,q4', '--external', '--max-file-bytes', '12kB');
    const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))['transformers.js_config'];
    const row = external.sessions.find((s) => s.session === 'model')!.rows.find((r) => r.variant === 'fp16')!;
    expect(row.data_files).toBeGreaterThan(1);
    expect(config.use_external_data_format['model_fp16.onnx']).toBe(row.data_files);
    expect(config.use_external_data_format['model.onnx']).toBeUndefined();
    const names = Array.from({ length: row.data_files }, (_, i) => `model_fp16.onnx_data${i === 0 ? '' : `_${i}`}`);
    for (const name of names) expect(existsSync(join(out, 'onnx', name)), name).toBe(true);
    for (const engine of [await nodeEngine(), (await wasmEngine())!]) {
      const session = await engine.load({ path: join(out, 'onnx/model_fp16.onnx') });
      await session.release();
    }
  }, 60_000);

  test('adding to the package itself, from a model at its top, without running anything', () => {
    const own = join(folder, 'own');
    writePackage(own, { 'model.onnx': classifierModel(3) }, { model_type: 'bert', 'transformers.js_config': { dtype: 'q4' } });
    const added = pareJson('own', '-o', 'own', '--dtypes', 'q4,q8', '--no-verify');
    expect(added.verified).toBe(false);
    expect(readdirSync(join(own, 'onnx')).sort()).toEqual(['model.onnx', 'model_q4.onnx', 'model_quantized.onnx']);
    expect(statSync(join(own, 'onnx/model.onnx')).size).toBe(statSync(join(own, 'model.onnx')).size);
    expect(readFileSync(join(own, 'README.md'), 'utf8')).toContain('Not verified');
    expect(JSON.parse(readFileSync(join(own, 'config.json'), 'utf8'))['transformers.js_config'].dtype).toBe('q4');
    // Now the variants are there: they are neither sessions of their own nor replaced without being asked.
    expect(pare('own', '-o', 'own', '--no-verify').stderr).toContain('exists already');
  });

  test('a folder without models is a user error', () => {
    const empty = mkdtempSync(join(folder, 'empty-'));
    const run = pare(empty, '-o', join(folder, 'nothing'));
    expect(run.status).toBe(1);
    expect(run.stderr).toContain('expected at least one .onnx file');
    expect(existsSync(join(folder, 'nothing'))).toBe(false);
  });
});
