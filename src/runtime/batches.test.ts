import { describe, expect, it } from 'vitest';
import { tensorDataset } from '../data/indexed.js';
import type { PareError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import { runBatches } from './batches.js';
import { openSession } from './session.js';

const double = (batch: number | string) =>
  buildModel('double', (b) => {
    const x = b.input('x', 'float', [batch, 2]);
    const y = b.op('Add', [x, x], {}, { outputs: ['y'] });
    b.output(y);
    b.output(b.op('ReduceSum', [x], { keepdims: 0 }), 'total');
  });

const samples = (n: number) =>
  Tensor.from(
    'float',
    [n, 2],
    Array.from({ length: 2 * n }, (_, i) => i),
  );

describe('runBatches', () => {
  it.each([
    ['batch', undefined],
    [4, 4],
  ] as const)('serves each sample once (batch dimension %s)', async (dim, fixedBatch) => {
    const data = tensorDataset('d', { x: samples(10) }, undefined, { fixedBatch });
    const session = await openSession(await nodeEngine(), double(dim));
    const seen: number[] = [];
    const progress: number[] = [];
    for await (const { outputs, batch, start } of runBatches(session, data, { batchSize: 4, onProgress: (n) => progress.push(n) })) {
      expect(start).toBe(seen.length / 2);
      expect(outputs.y!.dims).toEqual([batch.size, 2]);
      expect(outputs.total!.dims).toEqual([]);
      seen.push(...outputs.y!.numbers());
    }
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i));
    expect(progress).toEqual([4, 8, 10]);
    await session.release();
  });

  it('keeps to the limit and to the outputs asked for, and stops on a signal', async () => {
    const data = tensorDataset('d', { x: samples(10) });
    const session = await openSession(await nodeEngine(), double('n'));
    const sizes: number[] = [];
    for await (const { outputs, batch } of runBatches(session, data, { batchSize: 4, limit: 5, fetches: ['total'] })) {
      expect(Object.keys(outputs)).toEqual(['total']);
      sizes.push(batch.size);
    }
    expect(sizes).toEqual([4, 1]);
    const controller = new AbortController();
    let batches = 0;
    const error = await (async () => {
      for await (const _ of runBatches(session, data, { batchSize: 2, signal: controller.signal })) if (++batches === 2) controller.abort();
    })().catch((e: unknown) => e);
    expect((error as PareError).code).toBe('E_ABORTED');
    expect(batches).toBe(2);
    await session.release();
  });
});
