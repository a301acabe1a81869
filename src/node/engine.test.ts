import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PareError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import type { DType } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';
import { encodeModel } from '../onnx/encode.js';
import type { Session } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { nodeEngine } from './engine.js';
import { measurePeakMemory } from './memory.js';

/** y = x, in a form that has a kernel for every type. */
function passThrough(dtype: DType) {
  return buildModel('identity', (b) => {
    const x = b.input('x', dtype, ['n']);
    const y = b.op('Identity', [x]);
    y.type = x.type;
    b.output(y, 'y');
  });
}

async function failure(action: () => Promise<unknown>): Promise<PareError> {
  try {
    await action();
  } catch (error) {
    if (error instanceof PareError) return error;
    throw error;
  }
  throw new Error('expected an error');
}

describe('types across the border', () => {
  const samples: readonly Tensor[] = [
    Tensor.from('float', [3], [1.5, -2, 1e-30]),
    Tensor.from('double', [3], [1.5, -2, 1e-300]),
    Tensor.from('float16', [3], [1.5, -2, 65504]),
    Tensor.from('int8', [3], [-128, 0, 127]),
    Tensor.from('int16', [3], [-32768, 0, 32767]),
    Tensor.from('int32', [3], [-(2 ** 31), 0, 2 ** 31 - 1]),
    Tensor.of('int64', [3], new BigInt64Array([-(2n ** 63n), 0n, 2n ** 63n - 1n])),
    Tensor.from('uint8', [3], [0, 1, 255]),
    Tensor.from('uint16', [3], [0, 1, 65535]),
    Tensor.from('uint32', [3], [0, 1, 2 ** 32 - 1]),
    Tensor.of('uint64', [3], new BigUint64Array([0n, 1n, 2n ** 64n - 1n])),
    Tensor.from('bool', [3], [1, 0, 1]),
    Tensor.strings([3], ['one', 'zwölf', '']),
  ];
  it.each(samples.map((t) => [t.dtype, t] as const))('%s is fed and read unchanged', async (dtype, x) => {
    const engine = await nodeEngine();
    expect(engine.canExchange(dtype)).toBe(true);
    const session = await engine.load({ bytes: encodeModel(passThrough(dtype)).bytes });
    const { y } = await session.run({ x });
    expect(y!.dtype).toBe(dtype);
    expect(y!.dims).toEqual([3]);
    if (dtype === 'string') expect(y!.stringValues()).toEqual(x.stringValues());
    else expect(y!.bytes()).toEqual(x.bytes());
    await session.release();
  });
});

describe('openSession', () => {
  it.each([
    ['bfloat16', [1.5, -2, 3]],
    ['int4', [-8, 0, 7]],
    ['uint4', [0, 8, 15]],
  ] as const)('carries %s through a cast in the graph', async (dtype, values) => {
    const engine = await nodeEngine();
    expect(engine.canExchange(dtype)).toBe(false);
    const model = buildModel('cast', (b) => {
      const x = b.input('x', dtype, [1, 3]);
      const y = b.op('Transpose', [x]);
      y.type = { kind: 'tensor', dtype, shape: [3, 1] };
      b.output(y, 'y');
    });
    const session = await openSession(engine, model);
    expect(session.inputs.map((i) => i.dtype)).toEqual([dtype]);
    expect(session.outputs.map((o) => [o.name, o.dtype])).toEqual([['y', dtype]]);
    const { y } = await session.run({ x: Tensor.from(dtype, [1, 3], values) });
    expect(y!.dtype).toBe(dtype);
    expect(y!.dims).toEqual([3, 1]);
    expect([...y!.numbers()]).toEqual([...values]);
    await session.release();
    expect(model.graph.nodes.length).toBe(1);
  });

  it('takes 8-bit floats as inputs and answers them as float', async () => {
    const model = buildModel('float8', (b) => {
      const x = b.input('x', 'float8e4m3fn', [3]);
      b.output(b.op('Cast', [x], { to: 1 }), 'y');
      const z = b.op('Cast', [b.op('Neg', [b.graph.outputs[0]!])], { to: 17, saturate: 1 });
      z.type = { kind: 'tensor', dtype: 'float8e4m3fn', shape: [3] };
      b.output(z, 'z');
    });
    const session = await openSession(await nodeEngine(), model);
    const x = new Tensor('float8e4m3fn', [3], Uint8Array.of(0x38, 0xc4, 0x7e));
    const { y, z } = await session.run({ x });
    expect([...y!.numbers()]).toEqual([1, -3, 448]);
    expect(z!.dtype).toBe('float');
    expect([...z!.numbers()]).toEqual([-1, 3, -448]);
    expect(session.outputs.map((o) => o.dtype)).toEqual(['float', 'float']);
    await session.release();
  });

  it('answers intermediate values, constants and inputs by name', async () => {
    const model = buildModel('mid', (b) => {
      const x = b.input('x', 'float', [2]);
      const h = b.op('Add', [x, b.floats('w', [2], [1, 2])], {}, { outputs: ['h'] });
      b.output(b.op('Neg', [h]), 'y');
    });
    const session = await openSession(await nodeEngine(), model, { outputs: ['h', 'w', 'x'] });
    const out = await session.run({ x: Tensor.from('float', [2], [10, 20]) });
    expect(Object.entries(out).map(([name, t]) => [name, ...t.numbers()])).toEqual([
      ['y', -11, -22],
      ['h', 11, 22],
      ['w', 1, 2],
      ['x', 10, 20],
    ]);
    const { h } = await session.run({ x: Tensor.from('float', [2], [0, 0]) }, ['h']);
    expect([...h!.numbers()]).toEqual([1, 2]);
    const unknown = await failure(() => openSession(session as never, model, { outputs: ['nope'] }));
    expect(unknown.code).toBe('E_USAGE');
    await session.release();
  });
});

describe('errors', () => {
  it('names unknown inputs and outputs and wrong types before the runtime is asked', async () => {
    const session = await (await nodeEngine()).load({ bytes: encodeModel(passThrough('float')).bytes });
    const x = Tensor.from('float', [1], [1]);
    const run = (feeds: Record<string, Tensor>, fetches?: string[]) => failure(() => session.run(feeds, fetches));
    expect((await run({ x, z: x })).message).toBe('unknown inputs "z": expected "x"');
    expect((await run({ x: Tensor.from('int32', [1], [1]) })).message).toBe('input "x": expected float, got int32');
    expect((await run({ x }, ['q'])).message).toBe('unknown output "q": expected one of "y"');
    expect((await run({})).message).toContain("input 'x' is missing");
    await session.release();
    await session.release();
    expect((await run({ x })).message).toContain('released');
  });

  it('keeps the name of the node that failed, and its words', async () => {
    const model = buildModel('fail', (b) => {
      b.output(b.op('Reshape', [b.input('x', 'float', ['n']), b.input('s', 'int64', ['k'])], {}, { name: 'my_reshape' }), 'y');
    });
    const session = await openSession(await nodeEngine(), model);
    const error = await failure(() => session.run({ x: Tensor.from('float', [3], [1, 2, 3]), s: Tensor.from('int64', [2], [2, 2]) }));
    expect(error).toMatchObject({ code: 'E_RUNTIME', place: { node: 'my_reshape' } });
    expect(error.message).toContain('Input shape:{3}, requested shape:{2,2}');
    expect(error.message).not.toContain('onnxruntime_src');
    await session.release();
  });

  it('refuses to read types that would end the process', async () => {
    const model = buildModel('int4', (b) => {
      const y = b.op('Cast', [b.input('x', 'float', [3])], { to: 22 });
      y.type = { kind: 'tensor', dtype: 'int4', shape: [3] };
      b.output(y, 'y');
    });
    const session = await (await nodeEngine()).load({ bytes: encodeModel(model).bytes });
    const error = await failure(() => session.run({ x: Tensor.from('float', [3], [1, 2, 3]) }));
    expect(error).toMatchObject({ code: 'E_UNSUPPORTED', place: { value: 'y' } });
    await session.release();
  });

  it('reads the tensors of a model that also has other outputs', async () => {
    const model = buildModel('sequence', (b) => {
      const x = b.input('x', 'float', [4]);
      const parts = b.op('SplitToSequence', [x], { axis: 0 });
      parts.type = { kind: 'sequence', element: { kind: 'tensor', dtype: 'float', shape: null } };
      b.output(parts, 'parts');
      b.output(b.op('SequenceLength', [parts]), 'count');
    });
    const session = await openSession(await nodeEngine(), model);
    const x = Tensor.from('float', [4], [1, 2, 3, 4]);
    expect([...(await session.run({ x })).count!.numbers()]).toEqual([4]);
    expect((await failure(() => session.run({ x }, ['parts']))).code).toBe('E_UNSUPPORTED');
    await session.release();
  });

  it('says what is missing where a device is not there', async () => {
    const engine = await nodeEngine();
    const model = passThrough('float');
    for (const device of ['cuda', 'webgpu'] as const) {
      if (!engine.devices.includes(device)) continue;
      const session = await openSession(engine, model, { device }).catch((e: unknown) => e);
      if (!(session instanceof PareError)) {
        await (session as Session).release();
        continue;
      }
      expect(session.code).toBe('E_RUNTIME');
      expect(session.hint).toMatch(device === 'cuda' ? /CUDA/ : /GPU/);
    }
    expect((await failure(() => openSession(engine, model, { device: 'wasm' }))).code).toBe('E_UNSUPPORTED');
  });

  it('names operators that no runtime knows', async () => {
    const model = buildModel(
      'custom',
      (b) => {
        b.output(b.op('Magic', [b.input('x', 'float', [1])], {}, { domain: 'nowhere', name: 'wand' }), 'y');
      },
      { opsets: { nowhere: 1 } },
    );
    const error = await failure(async () => openSession(await nodeEngine(), model));
    expect(error).toMatchObject({ code: 'E_RUNTIME', message: expect.stringContaining('nowhere:Magic') });
    expect(error.hint).toContain('extension');
  });

  it('profiles only once, and only where asked', async () => {
    const session = await openSession(await nodeEngine(), passThrough('float'), { profile: true });
    await session.run({ x: Tensor.from('float', [1], [1]) });
    await session.endProfiling();
    expect((await failure(() => session.endProfiling())).message).toContain('ended already');
    await session.release();
    const plain = await openSession(await nodeEngine(), passThrough('float'));
    expect((await failure(() => plain.endProfiling())).code).toBe('E_UNSUPPORTED');
    await plain.release();
  });
});

describe('results and options', () => {
  it('results stay what they were after further runs and after release', async () => {
    const session = await (await nodeEngine()).load({ bytes: encodeModel(passThrough('float')).bytes });
    const { y } = await session.run({ x: Tensor.from('float', [2], [1, 2]) });
    await session.run({ x: Tensor.from('float', [2], [3, 4]) });
    await session.release();
    expect([...y!.numbers()]).toEqual([1, 2]);
  });

  it('feeds views at odd offsets and tensors without elements', async () => {
    const session = await (await nodeEngine()).load({ bytes: encodeModel(passThrough('float')).bytes });
    const buffer = new Uint8Array(13);
    buffer.set(new Uint8Array(Float32Array.of(1, 2, 3).buffer), 1);
    const odd = await session.run({ x: new Tensor('float', [3], buffer.subarray(1)) });
    expect([...odd.y!.numbers()]).toEqual([1, 2, 3]);
    expect((await session.run({ x: Tensor.from('float', [0], []) })).y!.dims).toEqual([0]);
    await session.release();
  });

  it('takes configuration entries flat or nested', async () => {
    const engine = await nodeEngine();
    const model = passThrough('float');
    for (const extra of [{ 'session.disable_prepacking': '1' }, { session: { disable_prepacking: true } }]) {
      const session = await openSession(engine, model, { extra, threads: 1, optimization: 'disabled', frugal: true });
      await session.release();
    }
  });
});

describe('measurePeakMemory', () => {
  it('sees the weights of the model, not those of the process that asks', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pare-test-'));
    try {
      const path = join(folder, 'm.onnx');
      const width = 2048;
      const model = buildModel('big', (b) => {
        b.output(
          b.op('MatMul', [
            b.input('x', 'float', [1, width]),
            b.constant('w', Tensor.of('float', [width, width], new Float32Array(width * width).fill(0.5))),
          ]),
          'y',
        );
      });
      writeFileSync(path, encodeModel(model).bytes);
      const ballast = new Float64Array(2 ** 25).fill(1);
      const memory = await measurePeakMemory(path, { x: Tensor.of('float', [1, width], new Float32Array(width)) }, { threads: 1 });
      expect(ballast.length).toBe(2 ** 25);
      const weights = width * width * 4;
      expect(memory.modelBytes).toBeGreaterThan(weights);
      expect(memory.modelBytes).toBeLessThan(6 * weights);
      expect(memory.baselineBytes).toBeLessThan(200 * 2 ** 20);
      expect(memory.peakBytes).toBeGreaterThanOrEqual(memory.loadedBytes);
      const missing = await failure(() => measurePeakMemory(join(folder, 'none.onnx'), {}));
      expect(missing).toMatchObject({ code: 'E_RUNTIME', place: { file: join(folder, 'none.onnx') } });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
