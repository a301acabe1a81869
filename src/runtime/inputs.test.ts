import { describe, expect, it } from 'vitest';
import type { PareError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import type { Shape } from '../ir/type.js';
import { nodeEngine } from '../node/engine.js';
import { findFeeds, randomFeeds, resolveInputShapes } from './inputs.js';
import { openSession } from './session.js';

const withInputs = (inputs: Readonly<Record<string, Shape>>) =>
  buildModel('m', (b) => {
    for (const [name, shape] of Object.entries(inputs)) b.output(b.op('Identity', [b.input(name, 'float', shape)]), `${name}_out`);
  });

describe('resolveInputShapes', () => {
  it('takes batch 1 and 64 for everything else, one size per symbol', () => {
    const model = withInputs({ x: ['batch', 'seq', 8], mask: ['batch', 'past+seq'], cache: ['batch', 2, 'past', 4], flag: [] });
    const { inputs, symbols } = resolveInputShapes(model);
    expect(inputs).toEqual({ x: [1, 64, 8], mask: [1, 64], cache: [1, 2, 0, 4], flag: [] });
    expect(symbols).toEqual({ batch: 1, seq: 64, past: 0 });
    expect(resolveInputShapes(model, { batch: 3, size: 5, symbols: { past: 2 } }).inputs).toEqual({
      x: [3, 5, 8],
      mask: [3, 7],
      cache: [3, 2, 2, 4],
      flag: [],
    });
  });

  it('lets a given shape bind its symbols elsewhere', () => {
    const model = withInputs({ a: ['batch', 'n'], b: ['n', 4], c: [null, null] });
    expect(resolveInputShapes(model, { shapes: { a: [2, 10] } }).inputs).toEqual({ a: [2, 10], b: [10, 4], c: [1, 64] });
  });

  it('refuses shapes that contradict the model or each other', () => {
    const model = withInputs({ a: ['n', 4], b: ['n', 2] });
    const message = (shapes: Record<string, number[]>) => {
      try {
        resolveInputShapes(model, { shapes });
      } catch (error) {
        return `${(error as PareError).code} ${(error as PareError).message}`;
      }
      return 'accepted';
    };
    expect(message({ q: [1] })).toBe('E_USAGE --shape q: expected one of the inputs a, b, got "q"');
    expect(message({ a: [1, 5] })).toMatch(/^E_USAGE --shape a=1,5: expected float\[n,4\]/);
    expect(message({ a: [1, 4], b: [2, 2] })).toMatch(/dimension n is 2 here and 1 elsewhere/);
  });
});

describe('feeds', () => {
  it('are the same for the same seed, and others for another', async () => {
    const model = withInputs({ x: ['n', 6] });
    const bytes = async (seed: number) => [...(await randomFeeds(model, { batch: 4, seed })).x!.bytes()];
    const first = await bytes(1);
    expect(first.length).toBe(4 * 6 * 4);
    expect(await bytes(1)).toEqual(first);
    expect(await bytes(2)).not.toEqual(first);
  });

  it('grow until a window fits, unless a size was given', async () => {
    const model = buildModel('audio', (b) => {
      const x = b.input('x', 'float', ['batch', 1, 'samples']);
      b.output(b.op('Conv', [x, b.floats('w', [1, 1, 400], new Float32Array(400))], { strides: [160] }), 'y');
    });
    const session = await openSession(await nodeEngine(), model);
    expect((await findFeeds(session, model)).inputs).toEqual({ x: [1, 1, 576] });
    const refused = await findFeeds(session, model, { size: 100 }).catch((e: unknown) => e);
    expect((refused as PareError).code).toBe('E_RUNTIME');
    await session.release();
  });
});
