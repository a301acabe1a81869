import { describe, expect, it } from 'vitest';
import { PareError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import type { DType } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';
import { encodeModel } from '../onnx/encode.js';
import { openSession } from '../runtime/session.js';
import { nodeEngine } from './engine.js';

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
