import { describe, expect, it } from 'vitest';
import type { PareError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import type { Session } from './engine.js';
import { compareLatency, latencyStats, measureLatency, measureThroughput } from './latency.js';
import { openSession } from './session.js';

/** A chain of products, so that the work grows with `layers`. */
function chain(layers: number, width = 256) {
  return buildModel(`chain${layers}`, (b) => {
    let x = b.input('x', 'float', ['n', width]);
    const w = b.floats('w', [width, width], new Float32Array(width * width).fill(1 / width));
    for (let i = 0; i < layers; i++) x = b.op('MatMul', [x, w]);
    b.output(x, 'y');
  });
}

const feeds = (batch: number) => ({ x: Tensor.of('float', [batch, 256], new Float32Array(batch * 256)) });

describe('latency', () => {
  it('summarises times with interpolated quantiles', () => {
    const stats = latencyStats([4, 1, 3, 2]);
    expect(stats).toMatchObject({ runs: 4, p50: 2.5, mean: 2.5, min: 1, max: 4 });
    expect(stats.p95).toBeCloseTo(3.85);
    expect(stats.std).toBeCloseTo(Math.sqrt(1.25));
  });

  it('tells which of two models is slower, by how much', async () => {
    const engine = await nodeEngine();
    const [small, large] = [await openSession(engine, chain(4), { threads: 1 }), await openSession(engine, chain(32), { threads: 1 })];
    const models = [
      { session: small, feeds: feeds(64) },
      { session: large, feeds: feeds(64) },
    ];
    const [a, b] = await compareLatency(models, { budgetMs: 150 });
    expect(a!.ratio).toBe(1);
    expect(a!.runs).toBe(b!.runs);
    // Eight times the work; wide bounds for busy machines.
    expect(b!.ratio).toBeGreaterThan(2.5);
    expect(b!.ratio).toBeLessThan(25);
    await Promise.all([small.release(), large.release()]);
  });

  it('runs every model equally often, in turning order', async () => {
    const order: string[] = [];
    const fake = (name: string) => ({ feeds: {}, session: { run: async () => void order.push(name) } as unknown as Session });
    const results = await compareLatency([fake('a'), fake('b'), fake('c')], { warmup: 1, minRuns: 2, maxRuns: 3, budgetMs: 0 });
    expect(order.join('')).toBe('abcabccba');
    expect(results.map((r) => r.runs)).toEqual([2, 2, 2]);
  });

  it('measures throughput by batch size and leaves out what the model refuses', async () => {
    const session = await openSession(await nodeEngine(), chain(1), { threads: 1 });
    const rows = await measureThroughput(session, (n) => (n === 3 ? { x: Tensor.from('float', [3, 1], [1, 2, 3]) } : feeds(n)), [1, 3, 8], {
      budgetMs: 20,
    });
    expect(rows.map((r) => r.batch)).toEqual([1, 8]);
    for (const row of rows) expect(row.samplesPerSecond).toBeCloseTo((row.batch * 1000) / row.p50);
    await session.release();
  });

  it('stops where the signal fires', async () => {
    const controller = new AbortController();
    let runs = 0;
    const session = {
      run: async () => {
        if (++runs === 4) controller.abort();
        return {};
      },
    } as unknown as Session;
    const error = await measureLatency({ session, feeds: {} }, { signal: controller.signal }).catch((e: unknown) => e);
    expect((error as PareError).code).toBe('E_ABORTED');
    expect(runs).toBe(4);
  });
});
