// The training loop on small networks: it learns, repeats itself to the bit, goes on from any checkpoint, and says where numbers broke.
import { describe, expect, it } from 'vitest';
import { runOrt } from '../../tests/oracle/ort.js';
import { indexedDataset, tensorDataset } from '../data/indexed.js';
import { trainingData } from '../data/training.js';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { parseModel } from '../ir/text.js';
import { nodeEngine } from '../node/engine.js';
import { runPasses } from '../pass/manager.js';
import { simplify } from '../passes/simplify/index.js';
import { Rng } from '../util/rng.js';
import type { CheckpointStore } from './checkpoint.js';
import { lossObjective } from './objective.js';
import { adam, sgd } from './optimizers/rules.js';
import { constant, cosine } from './schedules.js';
import { train } from './trainer.js';
import type { TrainOptions } from './trainer-options.js';

const rng = new Rng(5);
const random = (dims: readonly number[], scale = 1): Tensor =>
  Tensor.from(
    'float',
    dims,
    Float32Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => rng.normal() * scale),
  );

/** Convolution, BatchNormalization, Dropout and a classifier; `shape` arithmetic as exporters write it. */
function network(): Model {
  const r = new Rng(9);
  const w = (dims: readonly number[], scale = 0.4) =>
    Tensor.from(
      'float',
      dims,
      Float32Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => r.normal() * scale),
    );
  return buildModel('net', (b) => {
    const x = b.input('x', 'float', ['batch', 1, 6, 6]);
    const conv = b.op('Conv', [x, b.constant('conv.w', w([4, 1, 3, 3])), b.constant('conv.b', w([4]))]);
    const norm = ['scale', 'bias', 'mean', 'var'].map((n) =>
      b.constant(`bn.${n}`, Tensor.from('float', [4], n === 'bias' || n === 'mean' ? [0, 0, 0, 0] : [1, 1, 1, 1])),
    );
    const h = b.op('Relu', [b.op('BatchNormalization', [conv, ...norm])]);
    const dropped = b.op('Dropout', [h, b.scalar('ratio', 'float', 0.1)]);
    const rows = b.op('Gather', [b.op('Shape', [dropped]), b.ints('first', [0])], { axis: 0 });
    const flat = b.op('Reshape', [dropped, b.op('Concat', [rows, b.ints('rest', [-1])], { axis: 0 })]);
    b.output(b.op('Gemm', [flat, b.constant('fc.w', w([64, 3])), b.constant('fc.b', w([3]))]), 'logits');
  });
}

/** Three classes by where the bright spot is. */
function spots(n: number) {
  const x = new Float32Array(n * 36);
  const y: number[] = [];
  const r = new Rng(21);
  for (let i = 0; i < n; i++) {
    const label = r.integer(3);
    y.push(label);
    for (let k = 0; k < 36; k++) x[i * 36 + k] = r.normal() * 0.5;
    for (const k of [0, 1, 6, 7]) x[i * 36 + k + label * 14]! += 2;
  }
  return tensorDataset('spots', { x: Tensor.of('float', [n, 1, 6, 6], x) }, Tensor.from('int64', [n], y));
}

const data = spots(100);

async function options(more: Partial<TrainOptions> = {}): Promise<TrainOptions> {
  const engine = await nodeEngine();
  return {
    engine,
    model: network(),
    data: trainingData(data),
    objective: lossObjective('cross-entropy'),
    rule: adam({ lr: 0.01 }),
    schedule: cosine(0.01, 28),
    epochs: 4,
    batchSize: 16,
    seed: 3,
    session: { threads: 2 },
    prepare: async (m) => (await runPasses(m, [simplify({ skip: ['remove-dropout'] })], { engine })).model,
    ...more,
  };
}

const weightsOf = (model: Model) =>
  Object.fromEntries(
    model.graph.initializers.filter((v) => v.initializer!.dtype === 'float').map((v) => [v.name, [...v.initializer!.bytes()]]),
  );

async function accuracy(model: Model): Promise<number> {
  const batch = await data.at(Array.from({ length: data.size }, (_, i) => i));
  const scores = (await runOrt(model, batch.inputs)).logits!.floats();
  const labels = batch.labels!.numbers();
  return Array.from(labels).filter((y, i) => [0, 1, 2].every((k) => scores[i * 3 + k]! <= scores[i * 3 + y]!)).length / data.size;
}

/** Keeps every checkpoint. */
function memoryStore(): CheckpointStore & { readonly all: Uint8Array[] } {
  const all: Uint8Array[] = [];
  return {
    all,
    save: async (bytes) => {
      all.push(bytes);
    },
    load: async () => all.at(-1),
  };
}

/** As a file system gives it: a view that starts anywhere in a larger buffer. */
function asFile(bytes: Uint8Array): Uint8Array {
  const whole = Buffer.alloc(bytes.length + 3);
  whole.set(bytes, 3);
  return whole.subarray(3);
}

describe('train', () => {
  it('learns, keeps the graph, and gives the same bytes again', async () => {
    const o = await options({ epochs: 8, schedule: cosine(0.02, 56) });
    const before = await accuracy(o.model);
    const result = await train(o);
    expect(result.steps).toBe(56);
    expect(result.curve).toHaveLength(56);
    expect(result.epochs).toHaveLength(8);
    expect(result.curve.at(-1)!.loss).toBeLessThan(result.curve[0]!.loss / 2);
    expect(await accuracy(result.model)).toBeGreaterThan(Math.max(0.9, before));
    expect(result.model.graph.nodes.map((n) => n.opType)).toEqual(o.model.graph.nodes.map((n) => n.opType));
    const weights = weightsOf(result.model);
    const old = weightsOf(o.model);
    for (const name of ['conv.w', 'bn.scale', 'bn.mean', 'bn.var', 'fc.w']) expect(weights[name], name).not.toEqual(old[name]);
    expect(weightsOf((await train(o)).model)).toEqual(weights);
    expect(weightsOf((await train({ ...o, seed: 4 })).model)).not.toEqual(weights);
  });

  it('weighs a short batch by its samples when batches are accumulated', async () => {
    // No BatchNormalization and Dropout at work: gradients of 100 samples are then those of 6 times 16 and 4.
    const common = {
      rule: sgd({ lr: 0.1 }),
      schedule: constant(0.1),
      epochs: 2,
      parameters: ['fc.w', 'fc.b'],
      batchNorm: 'frozen',
    } as const;
    const model = parseModel(
      `<ir_version: 10, opset_import: ["" : 21]> g (float[n,1,6,6] x) => (float[n,3] logits)
      <float[36,3] fc.w = {${[...random([36, 3], 0.2).floats()]}}, float[3] fc.b = {0,0,0}>
      { flat = Flatten(x) logits = Gemm(flat, fc.w, fc.b) }`
        .replaceAll('fc.w', 'fcw')
        .replaceAll('fc.b', 'fcb'),
    );
    const run = async (batchSize: number, accumulate: number) =>
      train(await options({ ...common, parameters: ['fcw', 'fcb'], model, batchSize, accumulate }));
    const [whole, parts] = [await run(100, 1), await run(16, 7)];
    expect(parts.steps).toBe(2);
    const [a, b] = [whole, parts].map((r) => r.model.graph.value('fcw')!.initializer!.floats());
    a!.forEach((x, i) => {
      expect(Math.abs(x - b![i]!)).toBeLessThan(1e-5);
    });
    expect(parts.epochs[0]!.loss).toBeCloseTo(whole.epochs[0]!.loss, 5);
  });

  it('goes on from any checkpoint to the bit', { timeout: 60_000 }, async () => {
    const validate = async (model: Model) => ({ metric: 'top1', value: await accuracy(model), higherIsBetter: true });
    const optimizer = { clipNorm: 1, emaDecay: 0.9 };
    const more = { validate, optimizer, epochs: 3, accumulate: 2, plateau: { patience: 0 }, earlyStopping: { patience: 5 } };
    const store = memoryStore();
    const whole = await train(await options({ ...more, checkpoint: store, checkpointEvery: 1 }));
    expect(store.all.length).toBeGreaterThanOrEqual(12);
    for (const at of [0, 3, 4, 8, store.all.length - 1]) {
      const checkpoint = { save: async () => {}, load: async () => asFile(store.all[at]!) };
      const rest = await train(await options({ ...more, checkpoint, resume: true }));
      expect(weightsOf(rest.model)).toEqual(weightsOf(whole.model));
      expect(weightsOf(rest.last)).toEqual(weightsOf(whole.last));
      expect(rest.curve).toEqual(whole.curve);
      expect(rest.epochs.map(({ ms: _, ...e }) => e)).toEqual(whole.epochs.map(({ ms: _, ...e }) => e));
      expect(rest.best).toEqual(whole.best);
    }
    const other = { save: async () => {}, load: async () => store.all[2] };
    await expect(train(await options({ ...more, checkpoint: other, resume: true, batchSize: 8 }))).rejects.toThrow(
      'checkpoint of another training: batchSize: expected 8, got 16',
    );
    const damaged = { save: async () => {}, load: async () => store.all[2]!.map((b, i, all) => (i === all.length - 9 ? b ^ 1 : b)) };
    await expect(train(await options({ ...more, checkpoint: damaged, resume: true }))).rejects.toThrow('damaged');
  });

  it('freezes by name, and BatchNormalization by option', async () => {
    const o = await options({ epochs: 1, parameters: (name) => !name.startsWith('conv'), batchNorm: 'frozen' });
    const [old, now] = [weightsOf(o.model), weightsOf((await train(o)).model)];
    for (const name of ['conv.w', 'conv.b', 'bn.mean', 'bn.var']) expect(now[name], name).toEqual(old[name]);
    for (const name of ['bn.scale', 'fc.w']) expect(now[name], name).not.toEqual(old[name]);
    await expect(train({ ...o, parameters: () => false })).rejects.toThrow('all are frozen');
  });

  it('holds masked elements at zero, through averages and changes of the mask', async () => {
    const mask = new Uint8Array(64 * 3).fill(1).fill(0, 0, 50);
    const afterStep: TrainOptions['afterStep'] = ({ step, masks }) => {
      if (step === 5) masks.get('fc.w')!.fill(0, 0, 100);
    };
    const result = await train(
      await options({ masks: new Map([['fc.w', mask]]), afterStep, optimizer: { emaDecay: 0.9 }, rule: adam({ weightDecay: 0.1 }) }),
    );
    const weights = [...result.model.graph.value('fc.w')!.initializer!.floats()];
    expect(weights.map((x) => (x === 0 ? 0 : 1))).toEqual(weights.map((_, i) => (i < 100 ? 0 : 1)));
  });

  it('keeps the best by validation, lowers the rate on a plateau and stops early', async () => {
    const figures = [0.5, 0.7, 0.6, 0.6, 0.6, 0.6];
    const validate = async (_: Model, epoch: number) => ({ metric: 'top1', value: figures[epoch]!, higherIsBetter: true });
    const store = memoryStore();
    const result = await train(
      await options({
        epochs: 6,
        schedule: constant(0.01),
        validate,
        earlyStopping: { patience: 2 },
        plateau: { patience: 1, by: 0.5 },
        checkpoint: store,
      }),
    );
    expect(result.stopped).toBe('early');
    expect(result.epochs).toHaveLength(5);
    expect(result.best).toEqual({ epoch: 1, value: 0.7 });
    expect(result.curve.at(-1)!.lr).toBe(0.005);
    const two = await train(await options({ epochs: 2, schedule: constant(0.01) }));
    expect(weightsOf(result.model)).toEqual(weightsOf(two.model));
    expect(weightsOf(result.last)).not.toEqual(weightsOf(two.model));
  });

  it('writes the checkpoint when aborted', async () => {
    const controller = new AbortController();
    const store = memoryStore();
    const o = await options({ checkpoint: store, signal: controller.signal, onStep: ({ step }) => step === 9 && controller.abort() });
    await expect(train(o)).rejects.toThrow('aborted');
    const { signal: _, ...rest } = o;
    const [resumed, whole] = [await train({ ...rest, resume: true }), await train(await options())];
    expect(weightsOf(resumed.model)).toEqual(weightsOf(whole.model));
  });

  it('names the node where numbers break', async () => {
    const model = parseModel(`<ir_version: 10, opset_import: ["" : 21]> g (float[n,2] x) => (float[n,1] y)
      <float[2,1] w = {1,1}> { [mix] h = MatMul(x, w) [the_log] l = Log(h) [twice] y = Add(l, l) }`);
    const run = async (values: number[]) => {
      const set = tensorDataset('values', { x: Tensor.from('float', [2, 2], values) }, Tensor.from('float', [2, 1], [0, 0]));
      return train(
        await options({ model, data: trainingData(set), objective: lossObjective('mse'), rule: sgd(), schedule: constant(0.01) }),
      );
    };
    await expect(run([1, 1, -1, -2])).rejects.toThrow(/training step 1: the loss is NaN; the first to give NaN is Log "the_log"/);
    await expect(run([1, 1, Number.NaN, 2])).rejects.toThrow(/"x", which is fed, already holds NaN/);
    // Finite loss, infinite gradient: the square root at zero.
    const root = parseModel(`<ir_version: 10, opset_import: ["" : 21]> g (float[n,2] x) => (float[n,1] y)
      <float[2,1] w = {1,1}> { [mix] h = MatMul(x, w) [the_root] y = Sqrt(h) }`);
    const set = tensorDataset('values', { x: Tensor.from('float', [2, 2], [1, 1, 1, -1]) }, Tensor.from('float', [2, 1], [0, 1]));
    await expect(
      train(
        await options({ model: root, data: trainingData(set), objective: lossObjective('mse'), rule: sgd(), schedule: constant(0.01) }),
      ),
    ).rejects.toThrow(/the norm of the gradients is (NaN|Infinity); the first to give .*the_root/);
  });

  it('says what is wrong with labels and data', async () => {
    const bare = tensorDataset('bare', { x: Tensor.from('float', [4, 1, 6, 6], new Float32Array(144)) });
    await expect(train(await options({ data: trainingData(bare) }))).rejects.toThrow('loss cross-entropy: expected labelled data');
    const wrong = indexedDataset({
      name: 'wrong',
      size: 4,
      hasLabels: true,
      load: async (i) => ({
        inputs: (await data.at(i)).inputs,
        labels: Tensor.from('float', [i.length, 2], new Float32Array(i.length * 2)),
      }),
    });
    await expect(train(await options({ data: trainingData(wrong) }))).rejects.toThrow(
      'loss cross-entropy: expected labels as class numbers [4] or probabilities [4,3], got float[4,2]',
    );
  });
});
