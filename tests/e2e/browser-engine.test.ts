// The core and the web engine in a real browser: loads unbundled, decodes models, runs them as WebAssembly in a page and in a worker, and gives what
// the engine of Node gives.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildModel } from '../../src/ir/builder.js';
import { Tensor } from '../../src/ir/tensor.js';
import { nodeEngine } from '../../src/node/engine.js';
import { readModel } from '../../src/node/files.js';
import { encodeModel } from '../../src/onnx/encode.js';
import { findFeeds, randomFeeds } from '../../src/runtime/inputs.js';
import { openSession } from '../../src/runtime/session.js';
import { sharedData } from '../shared-data.js';
import { type BrowserSetup, callModule, findChromium, launchBrowser, openPage, startBrowser } from './browser.js';

const chromium = findChromium();

/** Feeds and results as they travel to and from the page: bytes as numbers, because only JSON passes. */
interface Packed {
  readonly dtype: string;
  readonly dims: readonly number[];
  readonly bytes: readonly number[];
}

const pack = (tensors: Readonly<Record<string, Tensor>>): Record<string, Packed> =>
  Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, { dtype: t.dtype, dims: t.dims, bytes: [...t.bytes()] }]));

const unpack = (p: Packed) => new Tensor(p.dtype as Tensor['dtype'], p.dims, Uint8Array.from(p.bytes));

/** Runs in the page. Modules are imported by name through the import map. */
const IN_PAGE = `
export async function run({ url, feeds, device = 'wasm' }) {
  if (device === 'webgpu' && !(await navigator.gpu?.requestAdapter())) return null;
  const [ort, { webEngine, readModelBlob }, { openSession }, { Tensor }] = await Promise.all([
    device === 'webgpu' ? import('onnxruntime-web/webgpu') : import('onnxruntime-web'),
    import('pare/web'), import('pare/runtime/session.js'), import('pare/ir/tensor.js')]);
  const engine = webEngine(ort);
  const file = new File([await (await fetch(url)).arrayBuffer()], 'model.onnx');
  const model = await readModelBlob(file);
  const session = await openSession(engine, model, { threads: 1, device });
  const given = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, new Tensor(t.dtype, t.dims, Uint8Array.from(t.bytes))]));
  const results = await session.run(given);
  const again = await Promise.all([session.run(given), session.run(given)]);
  const same = again.every((r) => Object.keys(results).every((k) => String(r[k].bytes()) === String(results[k].bytes())));
  const profiling = await session.endProfiling().catch((e) => e.code);
  await session.release();
  const packed = Object.fromEntries(Object.entries(results).map(([name, t]) => [name, { dtype: t.dtype, dims: t.dims, bytes: [...t.bytes()] }]));
  return { results: packed, same, profiling, engine: engine.name + ' ' + engine.version, devices: engine.devices };
}
`;

/** Reads a model whose weights lie in a second Blob, runs it, and writes it again with and without that file. */
const BLOBS_IN_PAGE = `
export async function run({ model, data, x }) {
  const [ort, { webEngine, readModelBlob, modelBlobs }, { openSession }, { Tensor }] = await Promise.all([
    import('onnxruntime-web'), import('pare/web'), import('pare/runtime/session.js'), import('pare/ir/tensor.js')]);
  const get = async (url) => (await fetch(url)).blob();
  const engine = webEngine(ort);
  const missing = await readModelBlob(await get(model)).catch((e) => e.code);
  const read = await readModelBlob(await get(model), { 'weights.bin': await get(data) });
  const values = async (m) => {
    const session = await openSession(engine, m);
    const { y } = await session.run({ x: Tensor.from('float', [1, x.length], x) });
    await session.release();
    return [...y.numbers()];
  };
  const first = await values(read);
  const whole = await modelBlobs(read);
  const parted = await modelBlobs(read, { external: { threshold: 1, location: 'weights.bin' } });
  return {
    missing,
    results: [first, await values(await readModelBlob(whole.model)), await values(await readModelBlob(parted.model, parted.external))],
    sizes: [whole.model.size, parted.model.size, parted.external['weights.bin'].size],
  };
}
`;

interface PageResult {
  readonly results: Readonly<Record<string, Packed>>;
  readonly same: boolean;
  readonly profiling: string;
  readonly engine: string;
  readonly devices: readonly string[];
}

describe.skipIf(!chromium)('web engine', () => {
  let setup: BrowserSetup;
  const folder = mkdtempSync(join(tmpdir(), 'pare-e2e-models-'));
  const shared = sharedData('.');

  beforeAll(async () => {
    writeFileSync(join(folder, 'run.js'), IN_PAGE);
    setup = await startBrowser(chromium!, { models: folder, ...(shared ? { shared } : {}) });
  }, 120_000);

  afterAll(async () => {
    await setup?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const runInPage = async (url: string, feeds: Readonly<Record<string, Tensor>>): Promise<PageResult> => {
    const { page, problems } = await openPage(setup.browser, setup.url);
    const result = await callModule(page, `${setup.url}/models/run.js`, 'run', { url, feeds: pack(feeds) });
    expect(problems).toEqual([]);
    await page.close();
    return result as PageResult;
  };

  it('every module of the core loads unbundled', async () => {
    const source = join(import.meta.dirname, '../../src');
    const modules = readdirSync(source, { recursive: true, encoding: 'utf8' })
      .map((name) => name.replaceAll('\\', '/'))
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !/^(node|cli)\/|(^|\/)testing\//.test(name))
      .map((name) => name.replace(/ts$/, 'js'));
    expect(modules.length).toBeGreaterThan(50);
    writeFileSync(
      join(folder, 'all.js'),
      `export const load = async (names) => {
        const failed = [];
        for (const name of names) await import('pare/' + name).catch((e) => failed.push(name + ': ' + e.message));
        return failed;
      };`,
    );
    const { page, problems } = await openPage(setup.browser, setup.url);
    expect(await callModule(page, '/models/all.js', 'load', modules)).toEqual([]);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('runs a model of many types as in Node', async () => {
    const model = buildModel('types', (b) => {
      const x = b.input('x', 'float', ['n', 3]);
      const h = b.input('h', 'float16', ['n', 3]);
      const i = b.input('i', 'int64', ['n']);
      const q = b.input('q', 'bfloat16', ['n', 3]);
      const sum = b.op('Add', [x, b.op('Cast', [h], { to: 1 })]);
      b.output(b.op('Add', [sum, b.op('Cast', [q], { to: 1 })]), 'y');
      b.output(b.op('Add', [i, i]), 'twice');
      const positive = b.op('Greater', [x, b.scalar('zero', 'float', 0)]);
      b.output(positive, 'positive');
      b.output(b.op('Cast', [sum], { to: 10 }), 'half');
      b.graph.outputs[0]!.type = { kind: 'tensor', dtype: 'float', shape: ['n', 3] };
    });
    writeFileSync(join(folder, 'types.onnx'), encodeModel(model).bytes);
    const feeds = {
      x: Tensor.from('float', [2, 3], [1, -2, 3, -4, 5, -6]),
      h: Tensor.from('float16', [2, 3], [0.5, 0.25, 0, 1, 2, 3]),
      i: Tensor.of('int64', [2], new BigInt64Array([2n ** 60n, -5n])),
      q: Tensor.from('bfloat16', [2, 3], [8, 8, 8, 16, 16, 16]),
    };
    const page = await runInPage('/models/types.onnx', feeds);
    expect(page.engine).toBe('onnxruntime-web 1.30.0');
    expect(page.devices).toContain('wasm');
    expect(page.profiling).toBe('E_UNSUPPORTED');
    expect(page.same).toBe(true);
    const session = await openSession(await nodeEngine(), model);
    expect(page.results).toEqual(pack(await session.run(feeds)));
    await session.release();
  });

  it
    .skipIf(!shared)
    .each(['mnist-cntk/mnist.onnx', 'kws-micro/kws_qdq_int8.onnx', 'silero-vad/silero_vad_16k_op15.onnx', 'tiny-bert-random/model.onnx'])(
    '%s gives what it gives in Node',
    async (path) => {
      const file = join(shared!, path);
      const model = await readModel(file);
      const session = await openSession(await nodeEngine(), model, { threads: 1 });
      const { feeds } = await findFeeds(session, model);
      const expected = await session.run(feeds);
      await session.release();
      const page = await runInPage(`/shared/${dirname(path)}/${basename(path)}`, feeds);
      expect(Object.keys(page.results).sort()).toEqual(Object.keys(expected).sort());
      for (const [name, tensor] of Object.entries(expected)) {
        const got = unpack(page.results[name]!);
        expect(got.dims).toEqual(tensor.dims);
        const [a, b] = [tensor.numbers(), got.numbers()];
        const scale = Math.max(...Array.from(a, Math.abs), 1e-6);
        // 8-bit kernels round differently on other instruction sets: one step of the output's quantization at most.
        const tolerance = path.includes('int8') ? 2 / 256 : 1e-4;
        for (let i = 0; i < a.length; i++) expect(Math.abs(a[i]! - b[i]!) / scale).toBeLessThan(tolerance);
      }
    },
  );

  it('reads and writes models with external data as Blobs', async () => {
    const model = buildModel('external', (b) => {
      const w = b.floats(
        'w',
        [4, 4],
        Float32Array.from({ length: 16 }, (_, i) => i),
      );
      b.output(b.op('MatMul', [b.input('x', 'float', [1, 4]), w]), 'y');
    });
    const { bytes, externalData } = encodeModel(model, { external: { threshold: 1, location: 'weights.bin' } });
    writeFileSync(join(folder, 'external.onnx'), bytes);
    writeFileSync(join(folder, 'weights.bin'), Buffer.concat(externalData[0]!.chunks.map((c) => c.bytes())));
    writeFileSync(join(folder, 'blobs.js'), BLOBS_IN_PAGE);
    const { page, problems } = await openPage(setup.browser, setup.url);
    const argument = { model: '/models/external.onnx', data: '/models/weights.bin', x: [1, 2, 3, 4] };
    const result = (await callModule(page, '/models/blobs.js', 'run', argument)) as {
      missing: string;
      results: number[][];
      sizes: number[];
    };
    expect(result.missing).toBe('E_EXTERNAL_DATA');
    for (const y of result.results) expect(y).toEqual([80, 90, 100, 110]);
    expect(result.sizes[2]).toBe(64);
    expect(result.sizes[0]).toBeGreaterThan(result.sizes[1]! - 64);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('runs on WebGPU', async (context) => {
    const browser = await launchBrowser(chromium!, { softwareGpu: true });
    try {
      const model = buildModel('gpu', (b) => {
        const w = b.floats(
          'w',
          [8, 16],
          Float32Array.from({ length: 128 }, (_, i) => Math.sin(i)),
        );
        b.output(b.op('Softmax', [b.op('MatMul', [b.input('x', 'float', ['n', 8]), w])], { axis: -1 }), 'y');
      });
      writeFileSync(join(folder, 'gpu.onnx'), encodeModel(model).bytes);
      const session = await openSession(await nodeEngine(), model, { threads: 1 });
      const feeds = await randomFeeds(model, { batch: 3 });
      const [expected] = Object.values(await session.run(feeds));
      await session.release();
      const { page, problems } = await openPage(browser, setup.url);
      const argument = { url: '/models/gpu.onnx', feeds: pack(feeds), device: 'webgpu' };
      const result = (await callModule(page, '/models/run.js', 'run', argument)) as PageResult | null;
      if (result === null) context.skip('the browser has no WebGPU adapter');
      const got = unpack(Object.values(result!.results)[0]!).numbers();
      const wanted = expected!.numbers();
      const scale = Math.max(...Array.from(wanted, Math.abs));
      for (let i = 0; i < wanted.length; i++) expect(Math.abs(wanted[i]! - got[i]!) / scale).toBeLessThan(1e-4);
      expect(result!.devices).toContain('webgpu');
      expect(problems).toEqual([]);
    } finally {
      await browser.close();
    }
  });

  it('works in a worker', async () => {
    const model = buildModel('w', (b) => {
      b.output(b.op('Neg', [b.input('x', 'float', [3])]), 'y');
    });
    writeFileSync(join(folder, 'neg.onnx'), encodeModel(model).bytes);
    // Workers know no import maps: the names are replaced by addresses.
    const worker = IN_PAGE.replaceAll("'onnxruntime-web'", "'/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs'")
      .replaceAll("'pare/web'", "'/dist/web/index.js'")
      .replaceAll("'pare/", "'/dist/");
    writeFileSync(join(folder, 'worker.js'), `${worker}\nonmessage = async ({ data }) => postMessage(await run(data));`);
    const { page, problems } = await openPage(setup.browser, setup.url);
    const feeds = pack({ x: Tensor.from('float', [3], [1, -2, 3]) });
    const result = (await page.evaluate(
      (argument) =>
        new Promise((done, fail) => {
          const worker = new Worker('/models/worker.js', { type: 'module' });
          worker.onmessage = ({ data }) => done(data);
          worker.onerror = (event) => fail(new Error(event.message));
          worker.postMessage(argument);
        }),
      { url: '/models/neg.onnx', feeds },
    )) as PageResult;
    expect([...unpack(result.results.y!).numbers()]).toEqual([-1, 2, -3]);
    expect(problems).toEqual([]);
    await page.close();
  });
});
