// Each cause of error on a small model that shows it, and on the same model with the named option, where it is gone.
import { describe, expect, it } from 'vitest';
import { feedsDataset, passContext, randomTensor } from '../../tests/pass-context.js';
import { METRICS } from '../data/metrics.js';
import { type Builder, buildModel } from '../ir/builder.js';
import type { Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import { nodeEngine } from '../node/engine.js';
import type { BoundPass, Pass } from '../pass/define.js';
import { toFp16 } from '../passes/precision/fp16.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { storeWeights } from '../passes/quantize/stored.js';
import { quantizeWeights } from '../passes/quantize/weights.js';
import type { Engine, ModelSource, Session, SessionOptions } from '../runtime/engine.js';
import { autoOptions, fixFlag } from './auto-options.js';
import { explainLayers } from './explain.js';
import { Trials } from './trials.js';

const PLAIN = { equalize: false, biasCorrection: false, inputLayer: 'int8', observer: 'minmax' } as const;

type Feeds = Record<string, Tensor>;

/** Quantizes on `calibration` and explains on `data`; both models see the same float form. */
async function findings(
  model: Model,
  pass: BoundPass,
  data: readonly Feeds[],
  calibration = data,
  engineFor?: (result: Model) => Promise<Engine>,
) {
  const result = cloneModel(model);
  let float = model;
  const context = await passContext(feedsDataset(calibration));
  await pass.run(result, {
    ...context,
    stage: (name, at) => {
      if (name === 'float') float = cloneModel(at);
    },
  });
  const found = await explainLayers(float, result, {
    engine: await (engineFor?.(result) ?? nodeEngine()),
    data: feedsDataset(data),
    session: { threads: 1 },
  });
  return { ...found, float, result, causes: found.findings.map((f) => f.cause) };
}

const dense = (b: Builder, x: Value, name: string, dims: readonly [number, number], seed: number) =>
  b.op('MatMul', [x, b.constant(`${name}.w`, randomTensor(dims, seed, 0.2))], {}, { name });

const rows = (dims: readonly number[], count = 6, scale = 1): Feeds[] =>
  Array.from({ length: count }, (_, i) => ({ x: randomTensor(dims, 50 + i, scale) }));

/** A norm whose scale makes one channel 80 times the others, then a product. */
function outlier(scale = 80): Model {
  return buildModel('outlier', (b) => {
    const x = b.input('x', 'float', [8, 64]);
    const gain = b.floats(
      'gain',
      [64],
      Float32Array.from({ length: 64 }, (_, i) => (i === 5 ? scale : 1)),
    );
    const normed = b.op('LayerNormalization', [x, gain, b.floats('shift', [64], new Float32Array(64))], {}, { name: 'norm' });
    b.output(dense(b, normed, 'm', [64, 32], 1), 'y');
  });
}

const plain = () => buildModel('plain', (b) => b.output(dense(b, b.input('x', 'float', [16, 64]), 'm', [64, 32], 1), 'y'));

describe('outlier channel', () => {
  it('is named with its channel; equalization, the option named, mends it', async () => {
    const data = rows([8, 64]);
    const sick = await findings(outlier(), quantizeStatic(PLAIN), data);
    const finding = sick.findings.find((f) => f.cause === 'outlier-channel')!;
    expect(finding.evidence).toMatch(/channel 5 peaks/);
    expect(fixFlag(finding.fixes[0]!)).toBe('--equalize');
    expect((await findings(outlier(), quantizeStatic({ ...PLAIN, equalize: true }), data)).causes).toEqual([]);
    expect((await findings(outlier(1), quantizeStatic(PLAIN), data)).causes).toEqual([]);
  });

  it('is mended by auto', async () => {
    const data = feedsDataset(rows([8, 64]));
    const trials = await Trials.open({
      engine: await nodeEngine(),
      model: outlier(),
      data,
      validation: data,
      metric: METRICS.cosine!,
      session: { threads: 1 },
    });
    const found = await autoOptions({ trials, mode: 'static', pass: quantizeStatic as unknown as Pass, options: PLAIN });
    await trials.release();
    expect(found.options.equalize).toBe(true);
    expect(found.plan.after).toBeLessThan(found.plan.before / 4);
  });
});

describe('depthwise convolution with one scale', () => {
  it('is named where channels differ, and gone with a scale for each', async () => {
    const model = buildModel('deep', (b) => {
      const x = b.input('x', 'float', [1, 8, 6, 6]);
      const w = randomTensor([8, 1, 3, 3], 2)
        .floats()
        .map((v, i) => v * 300 ** (-Math.floor(i / 9) / 7));
      b.output(
        b.op('Conv', [x, b.constant('w', Tensor.of('float', [8, 1, 3, 3], w))], { group: 8, pads: [1, 1, 1, 1] }, { name: 'deep' }),
        'y',
      );
    });
    const data = rows([1, 8, 6, 6]);
    const sick = await findings(model, quantizeStatic({ ...PLAIN, perChannel: false }), data);
    expect(sick.findings[0]).toMatchObject({ cause: 'per-tensor-weight', node: 'deep' });
    expect(sick.findings[0]!.evidence).toMatch(/depthwise weight w /);
    expect(fixFlag(sick.findings[0]!.fixes[0]!)).toBe('--per-channel');
    expect((await findings(model, quantizeStatic(PLAIN), data)).causes).toEqual([]);
  });
});

describe('range collapse', () => {
  const rare = (): Feeds[] => {
    const spoiled = randomTensor([16, 64], 7).floats().slice();
    spoiled[3] = 400;
    return [...rows([16, 64], 20), { x: Tensor.of('float', [16, 64], spoiled) }];
  };

  it('by one rare value of the calibration data is named, and an observer that cuts it off mends it', async () => {
    const sick = await findings(plain(), quantizeStatic(PLAIN), rows([16, 64]), rare());
    const finding = sick.findings.find((f) => f.cause === 'range-collapse')!;
    expect(finding.evidence).toMatch(/reaches 40\d .* of 256 codes/);
    expect(fixFlag(finding.fixes[0]!)).toBe('--observer percentile');
    expect((await findings(plain(), quantizeStatic({ ...PLAIN, observer: 'percentile' }), rows([16, 64]), rare())).causes).toEqual([]);
    expect((await findings(plain(), quantizeStatic(PLAIN), rows([16, 64]))).causes).toEqual([]);
  });

  it('is seen in the reciprocal of a decomposed norm, an operator without a weight', async () => {
    // The variance is rounded per tensor: rows of small values lose theirs to one row of large ones.
    const spread = Array.from({ length: 64 }, (_, r) => (r === 0 ? 100 : 0.5));
    const values = randomTensor([64, 32], 3)
      .floats()
      .map((v, i) => v * spread[Math.floor(i / 32)]!);
    const data = [{ x: Tensor.of('float', [64, 32], values) }];
    const norm = (rounded: boolean) =>
      buildModel('norm', (b) => {
        const x = b.input('x', 'float', [64, 32]);
        const square = b.op('Mul', [x, x], {}, { name: 'square' });
        const mean = b.op('ReduceMean', [square, b.ints('axes', [-1])], {}, { name: 'mean', outputs: ['variance'] });
        const scales = [b.scalar('s', 'float', 60), b.scalar('z', 'uint8', 0)];
        const read = rounded ? b.op('DequantizeLinear', [b.op('QuantizeLinear', [mean, ...scales]), ...scales]) : mean;
        const inverse = b.op('Reciprocal', [read], {}, { name: 'inverse', outputs: ['precision'] });
        b.output(dense(b, b.op('Mul', [x, b.op('Sqrt', [inverse])]), 'm', [32, 8], 1), 'y');
      });
    const options = { engine: await nodeEngine(), data: feedsDataset(data), session: { threads: 1 } };
    const { findings: found, layers } = await explainLayers(norm(false), norm(true), options);
    expect(found[0]).toMatchObject({ cause: 'range-collapse', node: 'inverse' });
    expect(found[0]!.evidence).toMatch(/Reciprocal reads variance.*0 of 256 codes.*infinite values/);
    expect(layers.find((l) => l.node === 'inverse')!.own).toBe(-1000);
    expect((await explainLayers(norm(false), norm(false), options)).findings.filter((f) => f.cause === 'range-collapse')).toEqual([]);
  });
});

describe('saturation of 8-bit products', () => {
  /** Large products of one sign: pairs of them pass 32,767. */
  const model = (alternating = false) =>
    buildModel('loud', (b) => {
      const w = Float32Array.from(
        { length: 64 * 8 },
        (_, i) => (alternating && Math.floor(i / 8) % 2 ? -1 : 1) * (0.7 + 0.3 * Math.sin(i)),
      );
      b.output(b.op('MatMul', [b.input('x', 'float', [4, 64]), b.constant('w', Tensor.of('float', [64, 8], w))], {}, { name: 'm' }), 'y');
    });
  const data = Array.from({ length: 4 }, (_, s) => ({
    x: Tensor.of(
      'float',
      [4, 64],
      Float32Array.from({ length: 256 }, (_, i) => 0.75 + 0.25 * Math.sin(i + s)),
    ),
  }));

  it('is named where the processor clips, and gone with 7-bit weights', async () => {
    const options = { ...PLAIN, perChannel: false };
    const sick = await findings(model(), quantizeStatic(options), data, data, clippingEngine);
    expect(sick.causes).toContain('saturation');
    expect(fixFlag(sick.findings.find((f) => f.cause === 'saturation')!.fixes[0]!)).toBe('--reduce-range on');
    const reduced = await findings(model(), quantizeStatic({ ...options, reduceRange: 'on' }), data, data, clippingEngine);
    expect(reduced.causes).not.toContain('saturation');
    // Neighbours of opposite signs stay far from the limit.
    const quiet = await findings(model(true), quantizeStatic(options), data, data, clippingEngine);
    expect(quiet.causes).not.toContain('saturation');
  });

  /** The engine as an x86 processor without VNNI runs it: vpmaddubsw adds products of neighbours with saturation at 16 bits. */
  async function clippingEngine(result: Model): Promise<Engine> {
    const engine = await nodeEngine();
    const number = (v: Value | null) => v!.initializer!.numbers()[0]!;
    const product = result.graph.nodes.find((n) => n.opType === 'MatMul')!;
    const [data, weight] = product.inputs.map((v) => v!.producer!);
    const codes = weight!.input(0)!.initializer!.numbers();
    const [step, zero, scale] = [number(data!.input(1)), number(data!.input(2)), number(weight!.input(1))];
    const clip = (x: Float32Array) =>
      Float32Array.from({ length: 32 }, (_, at) => {
        let sum = 0;
        for (let k = 0; k < 64; k += 2) {
          const pair = [k, k + 1].map((i) => {
            const code = Math.max(0, Math.min(255, Math.round(x[Math.floor(at / 8) * 64 + i]! / step) + zero));
            const w = Number(codes[i * 8 + (at % 8)]!);
            sum -= zero * w;
            return code * w;
          });
          sum += Math.max(-32768, Math.min(32767, pair[0]! + pair[1]!));
        }
        return sum * step * scale;
      });
    const clipped = (session: Session): Session =>
      new Proxy(session, {
        get(target, key) {
          if (key !== 'run') {
            const value: unknown = Reflect.get(target, key, target);
            return typeof value === 'function' ? value.bind(target) : value;
          }
          return async (feeds: Feeds, names?: readonly string[]) => {
            const outputs = await target.run(feeds, names);
            return feeds.x_fed ? { ...outputs, y: Tensor.of('float', [4, 8], clip(feeds.x_fed.floats())) } : outputs;
          };
        },
      });
    return new Proxy(engine, {
      get(target, key) {
        if (key !== 'load') return Reflect.get(target, key, target);
        return async (source: ModelSource, options?: SessionOptions) => {
          const session = await target.load(source, options);
          return options?.optimization === 'disabled' ? session : clipped(session);
        };
      },
    });
  }
});

describe('float16 overflow', () => {
  const model = () =>
    buildModel('large', (b) => {
      const h = dense(b, b.input('x', 'float', [4, 64]), 'large', [64, 64], 1);
      b.output(dense(b, b.op('Mul', [h, b.scalar('down', 'float', 1e-3)]), 'm', [64, 8], 2), 'y');
    });

  it('is named where values pass 65,504, and gone where the layer stays float', async () => {
    const data = rows([4, 64], 4, 30_000);
    const sick = await findings(model(), toFp16({ measure: false, simplify: false }), data);
    const finding = sick.findings.find((f) => f.cause === 'fp16-overflow')!;
    expect(finding.node).toBe('large');
    expect(fixFlag(finding.fixes[0]!)).toBe('--exclude large');
    expect((await findings(model(), toFp16({ simplify: false }), data)).causes).not.toContain('fp16-overflow');
    expect((await findings(model(), toFp16({ measure: false, simplify: false }), rows([4, 64]))).causes).toEqual([]);
  });
});

describe('layers without a quantized form', () => {
  const model = (op: 'MatMul' | 'ConvTranspose') =>
    buildModel('odd', (b) => {
      const x = b.input('x', 'float', [1, 8, 6, 6]);
      const c = b.op('Conv', [x, b.constant('c.w', randomTensor([8, 8, 3, 3], 1, 0.2))], { pads: [1, 1, 1, 1] }, { name: 'conv' });
      b.output(
        op === 'MatMul'
          ? dense(b, b.op('Reshape', [c, b.ints('shape', [8, 36])]), 'odd', [36, 32], 2)
          : b.op('ConvTranspose', [c, b.constant('odd.w', randomTensor([8, 8, 3, 3], 2, 0.2))], {}, { name: 'odd' }),
        'y',
      );
    });

  it('are named with the option that stores their weights, and auto takes it', async () => {
    const data = rows([1, 8, 6, 6]);
    const sick = await findings(model('ConvTranspose'), quantizeStatic({ ...PLAIN, opTypes: ['Conv'] }), data);
    const finding = sick.findings.find((f) => f.cause === 'unquantizable')!;
    expect(finding.node).toBe('odd');
    expect(fixFlag(finding.fixes[0]!)).toBe('--optimize size');
    expect((await findings(model('MatMul'), quantizeStatic(PLAIN), data)).causes).not.toContain('unquantizable');
    const set = feedsDataset(data);
    const trials = await Trials.open({
      engine: await nodeEngine(),
      model: model('ConvTranspose'),
      data: set,
      validation: set,
      metric: METRICS.cosine!,
      session: { threads: 1 },
    });
    const pass = quantizeStatic as unknown as Pass;
    const options = { ...PLAIN, opTypes: ['Conv'] };
    const storing = (o: Readonly<Record<string, unknown>>) => [pass(o), storeWeights({ minElements: 64, simplify: false })];
    const found = await autoOptions({ trials, mode: 'static', pass, options, storing });
    await trials.release();
    expect(found.plan.tried.at(-1)).toMatchObject({ cause: 'unquantizable', flags: '--optimize size', kept: found.store });
    expect(found.store).toBe(true);
  });
});

describe('tied weights', () => {
  const TABLE = randomTensor([256, 64], 1);
  const mid = randomTensor([64, 64], 3, 0.1);
  const model = (tied: boolean) =>
    buildModel('tied', (b) => {
      const table = b.constant('table', TABLE);
      const looked = b.op('Gather', [table, b.input('ids', 'int64', [1, 8])], {}, { name: 'lookup', outputs: ['rows'] });
      const inner = b.op('MatMul', [looked, b.constant('mid.w', mid)], {}, { name: 'mid', outputs: ['inner'] });
      const head = tied ? b.op('Transpose', [table], { perm: [1, 0] }, { name: 'turn' }) : b.constant('head', randomTensor([64, 256], 2));
      b.output(b.op('MatMul', [inner, head], {}, { name: 'out', outputs: ['y'] }));
    });
  /** As tools write it that know nothing of ties: one copy in rows for the lookup, one in columns for the product. */
  const split = () =>
    buildModel('split', (b) => {
      const codes = TABLE.floats().map((v) => Math.max(-127, Math.min(127, Math.round(v * 30))));
      const turned = Array.from({ length: 256 * 64 }, (_, i) => codes[(i % 256) * 64 + Math.floor(i / 256)]!);
      const scale = b.scalar('scale', 'float', 1 / 30);
      const rows = b.op('Gather', [b.constant('table_rows', Tensor.from('int8', [256, 64], [...codes])), b.input('ids', 'int64', [1, 8])]);
      const looked = b.op('DequantizeLinear', [rows, scale], {}, { outputs: ['rows'] });
      const inner = b.op('MatMul', [looked, b.constant('mid.w', mid)], {}, { name: 'mid', outputs: ['inner'] });
      const head = b.op('DequantizeLinear', [b.constant('table_columns', Tensor.from('int8', [64, 256], turned)), scale]);
      b.output(b.op('MatMul', [inner, head], {}, { name: 'out', outputs: ['y'] }));
    });
  const data = Array.from({ length: 4 }, (_, s) => ({
    ids: Tensor.from(
      'int64',
      [1, 8],
      Array.from({ length: 8 }, (_, i) => (s * 31 + i * 7) % 256),
    ),
  }));

  it('are named where they became two constants', async () => {
    const options = { engine: await nodeEngine(), data: feedsDataset(data), session: { threads: 1 } };
    const finding = (await explainLayers(model(true), split(), options)).findings.find((f) => f.cause === 'tied-weights-split')!;
    expect(finding.evidence).toMatch(/table \(65536 bytes\).*2 constants of 32768 bytes: table_rows, table_columns/);
    expect(fixFlag(finding.fixes[0]!)).toBe('--no-embeddings');
    expect((await findings(model(true), quantizeWeights({ minElements: 64 }), data)).causes).not.toContain('tied-weights-split');
    expect((await findings(model(false), quantizeWeights({ minElements: 64 }), data)).causes).not.toContain('tied-weights-split');
  });
});
