import { describe, expect, it } from 'vitest';
import { feedsDataset, passContext, randomTensor } from '../../tests/pass-context.js';
import { METRICS } from '../data/metrics.js';
import { buildModel } from '../ir/builder.js';
import type { Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import { nodeEngine } from '../node/engine.js';
import type { BoundPass, Pass } from '../pass/define.js';
import { quantizeDynamic } from '../passes/quantize/dynamic.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { quantizeWeights } from '../passes/quantize/weights.js';
import { autoOptions, fixFlag } from './auto-options.js';
import { explainLayers } from './explain.js';
import { mixedPrecision } from './mixed-precision.js';
import { Trials } from './trials.js';

const DATA = feedsDataset(Array.from({ length: 6 }, (_, i) => ({ x: randomTensor([1, 8, 6, 6], i + 10) })));

/** A convolution, a depthwise one whose channels differ by a factor of 500, one more, and a dense layer. */
function network(): Model {
  const size = (channel: number) => 500 ** (-channel / 7);
  const scaled = (dims: readonly number[], seed: number, factor: (i: number) => number) =>
    Tensor.of(
      'float',
      dims,
      randomTensor(dims, seed)
        .floats()
        .map((v, i) => 0.2 * v * factor(i)),
    );
  const spread = scaled([8, 1, 3, 3], 2, (i) => size(Math.floor(i / 9)));
  // The next layer makes up for it, so that the small channels matter as much as the large ones.
  const evened = scaled([8, 8, 3, 3], 3, (i) => 1 / size(Math.floor(i / 9) % 8));
  return buildModel('net', (b) => {
    const x = b.input('x', 'float', [1, 8, 6, 6]);
    const conv = (input: Value, name: string, w: Tensor, group = 1) =>
      b.op('Conv', [input, b.constant(`${name}.w`, w)], { pads: [1, 1, 1, 1], group }, { name });
    const a = b.op('Relu', [
      conv(
        x,
        'c1',
        scaled([8, 8, 3, 3], 1, () => 1),
      ),
    ]);
    const c = b.op('Relu', [conv(conv(a, 'deep', spread, 8), 'c2', evened)]);
    const flat = b.op('Flatten', [b.op('GlobalAveragePool', [c])]);
    b.output(b.op('Gemm', [flat, b.constant('fc.w', randomTensor([6, 8], 7))], { transB: 1 }, { name: 'fc' }), 'y');
  });
}

async function quantized(model: Model, pass: BoundPass): Promise<Model> {
  const result = cloneModel(model);
  await pass.run(result, await passContext(DATA));
  return result;
}

const openTrials = async (model: Model) =>
  Trials.open({ engine: await nodeEngine(), model, data: DATA, validation: DATA, metric: METRICS.kl!, session: { threads: 1 } });

const PLAIN = { equalize: false, biasCorrection: false };

describe('explainLayers', () => {
  it('measures what arrives, what leaves and what each layer adds, and names the depthwise weight with one scale', async () => {
    const model = network();
    const result = await quantized(model, quantizeStatic({ ...PLAIN, perChannel: false }));
    const { layers, findings } = await explainLayers(model, result, { engine: await nodeEngine(), data: DATA, session: { threads: 1 } });
    expect(layers.map((l) => l.node)).toEqual(['c1', 'deep', 'c2', 'fc']);
    for (const l of layers) {
      expect(l.kind).toBe('integer');
      expect(l.own).toBeGreaterThan(0);
      expect(l.weight!.sqnr).toBeGreaterThan(10);
    }
    // The error that a layer adds itself is never more than what leaves it, give or take chance.
    expect(layers[3]!.own!).toBeGreaterThan(layers[3]!.errorOut! - 1);
    const finding = findings.find((f) => f.cause === 'per-tensor-weight')!;
    expect(finding.node).toBe('deep');
    expect(fixFlag(finding.fixes[0]!)).toBe('--per-channel');
  });

  it('reads weights of the dynamic and the stored forms', async () => {
    const model = buildModel('mlp', (b) => {
      const x = b.input('x', 'float', [2, 64]);
      const h = b.op('Relu', [b.op('MatMul', [x, b.constant('w1', randomTensor([64, 64], 1))], {}, { name: 'm1' })]);
      b.output(b.op('Gemm', [h, b.constant('w2', randomTensor([16, 64], 2))], { transB: 1 }, { name: 'm2' }), 'y');
    });
    const data = feedsDataset([{ x: randomTensor([2, 64], 5) }, { x: randomTensor([2, 64], 6) }]);
    for (const [pass, bits] of [
      [quantizeDynamic({ simplify: false }), 8],
      [quantizeWeights({ simplify: false, minElements: 64, bits: 4 }), 4],
      [quantizeWeights({ simplify: false, minElements: 64, bits: 8, format: 'qdq' }), 8],
    ] as const) {
      const result = await quantized(model, pass);
      const { layers } = await explainLayers(model, result, { engine: await nodeEngine(), data, session: { threads: 1 } });
      for (const l of layers) {
        const sqnr = l.weight!.sqnr!;
        expect(sqnr).toBeGreaterThan(bits === 8 ? 35 : 15);
        expect(sqnr).toBeLessThan(bits === 8 ? 60 : 28);
        expect(l.own).toBeGreaterThan(bits === 8 ? 30 : 12);
      }
    }
  });
});

describe('choosing by trials', () => {
  it('auto applies the fix that helps', async () => {
    const trials = await openTrials(network());
    const found = await autoOptions({
      trials,
      mode: 'static',
      pass: quantizeStatic as unknown as Pass,
      options: { ...PLAIN, perChannel: false },
    });
    await trials.release();
    expect(found.options.perChannel).toBe(true);
    expect(found.plan.after).toBeLessThan(found.plan.before);
    expect(found.plan.tried[0]).toMatchObject({ cause: 'per-tensor-weight', flags: '--per-channel', kept: true });
  });

  it('keeps the layer that loses most, and no more than the target asks for', async () => {
    const trials = await openTrials(network());
    const options = { ...PLAIN, perChannel: false };
    const pass = quantizeStatic as unknown as Pass;
    const all = (await trials.run([pass(options)])).drop;
    const { search, trial } = await mixedPrecision({ trials, mode: 'static', pass, options, maxDrop: all / 3 });
    await expect(mixedPrecision({ trials, mode: 'static', pass, options, maxDrop: -1 })).rejects.toMatchObject({ code: 'E_QUALITY' });
    // Only the float model itself has no loss at all.
    await expect(mixedPrecision({ trials, mode: 'static', pass, options, maxDrop: 0 })).rejects.toMatchObject({ code: 'E_QUALITY' });
    await trials.release();
    expect(search.met).toBe(true);
    expect(search.kept.length).toBeLessThan(4);
    expect(trial!.drop).toBeLessThanOrEqual(all / 3);
    expect(search.curve.length).toBe(search.evaluations);
  });

  it('keeps layers of 4-bit weights at 8 bits', async () => {
    const model = buildModel('mlp', (b) => {
      let x: Value = b.input('x', 'float', [2, 64]);
      for (let i = 0; i < 4; i++)
        x = b.op('Relu', [b.op('MatMul', [x, b.constant(`w${i}`, randomTensor([64, 64], i))], {}, { name: `m${i}` })]);
      b.output(b.op('MatMul', [x, b.constant('last', randomTensor([64, 10], 9))], {}, { name: 'out' }), 'y');
    });
    const data = feedsDataset(Array.from({ length: 4 }, (_, i) => ({ x: randomTensor([2, 64], i) })));
    const trials = await Trials.open({
      engine: await nodeEngine(),
      model,
      validation: data,
      metric: METRICS.cosine!,
      session: { threads: 1 },
    });
    const options = { bits: 4, minElements: 64 };
    const pass = quantizeWeights as unknown as Pass;
    const all = (await trials.run([pass(options)])).drop;
    const found = await mixedPrecision({ trials, mode: 'weights', pass, options, maxDrop: all / 2 });
    await trials.release();
    expect(found.search.keptAs).toBe('int8');
    const widths = found.trial!.model.graph.nodes.filter((n) => n.opType === 'MatMulNBits').map((n) => n.int('bits', 0));
    expect(widths.filter((w) => w === 8)).toHaveLength(found.search.kept.length);
    expect(found.search.kept.length).toBeGreaterThan(0);
    expect(found.search.kept.length).toBeLessThan(5);
  });
});
