// Distillation from end to end on small networks: every form of student takes its teacher's place, whatever is compared and wherever the teacher runs.
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { passContext } from '../../tests/pass-context.js';
import { inferShapes } from '../analysis/shapes.js';
import type { IndexedDataset } from '../data/dataset.js';
import { tensorDataset } from '../data/indexed.js';
import { evaluateMetric, metricNamed } from '../data/metrics.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import { createPreset } from '../nn/presets/index.js';
import { nodeEngine } from '../node/engine.js';
import { runPasses } from '../pass/manager.js';
import { openSession } from '../runtime/session.js';
import { Rng } from '../util/rng.js';
import { type DistillationNote, type DistillSources, type distillOptions, distillPass } from './distill.js';
import { joinUnlabelled, type OutputStore, withTeacherOutputs } from './distill-data.js';
import { featurePairs } from './distill-maps.js';
import { makeStudent } from './distill-student.js';
import { factorizeEmbeddings } from './factorize-embedding.js';
import { adoptInterface } from './interface.js';

/** Weights are larger than initial ones, so that answers differ from sample to sample. */
function bert(layers: number, seed: number): Model {
  const options = { layers, hidden: 16, heads: 2, vocabulary: 40, positions: 12, classes: 3 };
  const model = createPreset('bert-mini', options, { seed });
  for (const value of model.graph.initializers) {
    const { initializer: tensor } = value;
    if (tensor?.dtype !== 'float' || tensor.rank < 2) continue;
    value.initializer = Tensor.of(
      'float',
      tensor.dims,
      tensor.floats().map((v) => 8 * v),
    );
  }
  return model;
}

const TOKENS = 6;

/** Sequences of one length; labels where asked. */
function sentences(n: number, labelled: boolean, seed = 3): IndexedDataset {
  const rng = new Rng(seed);
  const ids = Array.from({ length: n * TOKENS }, () => rng.integer(40));
  const shape = [n, TOKENS];
  const inputs = {
    input_ids: Tensor.from('int64', shape, ids),
    token_type_ids: Tensor.from('int64', shape, new Array<number>(n * TOKENS).fill(0)),
    attention_mask: Tensor.from(
      'int64',
      shape,
      ids.map((_, i) => (i % TOKENS < 4 ? 1 : 0)),
    ),
  };
  const labels = Tensor.from(
    'int64',
    [n],
    Array.from({ length: n }, (_, i) => i % 3),
  );
  return tensorDataset(`sentences ${n}`, inputs, labelled ? labels : undefined);
}

async function distil(teacher: Model, options: z.input<typeof distillOptions>, sources: Partial<DistillSources> = {}) {
  const pass = distillPass({ data: sentences(48, false), seed: 1, ...sources });
  const bound = pass({ epochs: 2, batchSize: 16, ...options });
  const { model, records } = await runPasses(teacher, [bound], { engine: await nodeEngine(), data: sentences(4, false), threads: 1 });
  const notes = records[0]!.notes as { distillation: DistillationNote; training: { loss: string; epochs: { loss: number }[] } };
  return { model, notes };
}

/** Divergence of the student's answers from the teacher's. */
async function divergence(student: Model, teacher: Model): Promise<number> {
  const engine = await nodeEngine();
  const [a, b] = [await openSession(engine, student), await openSession(engine, teacher)];
  const value = await evaluateMetric(a, sentences(48, false), metricNamed('kl'), { reference: b });
  await Promise.all([a.release(), b.release()]);
  return value;
}

describe('pare distill', () => {
  it('makes a student of half the layers that answers as its teacher, without labels', async () => {
    const teacher = bert(4, 1);
    const start = (await makeStudent('copy:2', teacher, { ctx: await passContext(), seed: 1 })).model;
    const { model, notes } = await distil(teacher, { student: 'copy:2', epochs: 12, lr: 3e-3, temperature: 1 });
    expect(notes.distillation).toMatchObject({ layers: [0, 2], teachers: 1, placement: 'data', features: [], samples: { given: 48 } });
    expect(notes.training.epochs.at(-1)!.loss).toBeLessThan(notes.training.epochs[0]!.loss / 2);
    expect(await divergence(model, teacher)).toBeLessThan((await divergence(start, teacher)) / 2);
    expect(model.graph.outputs.map((v) => v.name)).toEqual(teacher.graph.outputs.map((v) => v.name));
    inferShapes(model);
  });

  it('compares layers, attention and embeddings inside, and leaves nothing of it in the student', async () => {
    const teacher = bert(4, 1);
    const options = { student: 'layers:0,3', hidden: 'mse', attention: 'kl', relational: true, alpha: 0.5 } as const;
    const { model, notes } = await distil(teacher, { ...options, embeddingRank: 4 }, { data: sentences(32, true) });
    expect(notes.distillation.features.map((f) => f.loss)).toEqual(['mse', 'mse', 'attention-kl', 'value-relations', 'relational']);
    expect(notes.distillation.placement).toBe('graph');
    expect(notes.distillation.embeddings).toMatchObject([{ rank: 4 }, { rank: 4 }]);
    expect(notes.training.loss).toContain('0.5 cross-entropy');
    const plain = (await makeStudent('layers:0,3', teacher, { ctx: await passContext(), seed: 1 })).model;
    const wanted = await factorizeEmbeddings(plain, 4, await nodeEngine());
    expect(wanted.map((f) => f.elements)).toEqual([
      { before: 640, after: 224 },
      { before: 192, after: 112 },
    ]);
    const ops = (m: Model) => m.graph.nodes.map((n) => n.opType).filter((op) => op !== 'Constant');
    expect(ops(model)).toEqual(ops(plain));
    expect(model.graph.outputs).toHaveLength(1);
  });

  it('gives the same student from the graph, a session and kept answers, and from several teachers', async () => {
    const teacher = bert(2, 1);
    const losses: number[][] = [];
    for (const teacherAt of ['graph', 'session', 'cache'] as const) {
      const { notes } = await distil(teacher, { student: 'copy:2', teacherAt }, { ensemble: [bert(1, 5)] });
      expect(notes.distillation.teachers).toBe(2);
      losses.push(notes.training.epochs.map((e) => e.loss));
    }
    for (const other of losses.slice(1)) for (const [i, v] of other.entries()) expect(v).toBeCloseTo(losses[0]![i]!, 4);
  });

  it('learns from samples that the teacher labels', async () => {
    const { notes } = await distil(
      bert(2, 1),
      { student: 'self', loss: 'dkd' },
      { data: sentences(24, true), unlabelled: sentences(40, false, 9) },
    );
    expect(notes.distillation.samples).toEqual({ given: 24, unlabelled: 40 });
  });
});

describe('students', () => {
  const digits = createPreset('lenet5', {}, { seed: 1 });
  const make = async (spec: string, teacher = digits, open?: (path: string) => Promise<Model>) =>
    (await makeStudent(spec, teacher, { ctx: await passContext(), seed: 2, open })).model;
  const picture = { image: Tensor.from('float', [2, 1, 28, 28], new Float32Array(2 * 784).fill(0.5)) };

  async function runs(model: Model): Promise<readonly number[]> {
    const session = await openSession(await nodeEngine(), model);
    const out = await session.run(picture);
    await session.release();
    return out.logits!.dims;
  }

  it('take the place of the teacher: presets, files, narrower and reborn ones', async () => {
    for (const spec of ['mlp:sizes=784,75,25,10:activation=tanh', 'lenet300', 'narrow:0.5', 'self', 'small.onnx']) {
      const model = await make(spec, digits, async () => createPreset('mlp', { sizes: [784, 8, 10] }));
      expect(model.graph.inputs.map((v) => v.name)).toEqual(['image']);
      expect(await runs(model), spec).toEqual([2, 10]);
    }
    const elements = (m: Model) => m.graph.initializers.reduce((n, v) => n + v.initializer!.size, 0);
    expect(elements(await make('narrow:0.5'))).toBeLessThan(0.4 * elements(digits));
    const reborn = await make('self');
    expect(reborn.graph.value('fc1.weight')!.initializer!.floats()).not.toEqual(digits.graph.value('fc1.weight')!.initializer!.floats());
  });

  it('say what does not fit', async () => {
    await expect(make('copy:0')).rejects.toThrow(/copy:2.*got "copy:0"/);
    await expect(make('copy:2')).rejects.toThrow(/layers repeat/);
    await expect(make('narrow:2')).rejects.toThrow(/above 0 and below 1/);
    await expect(make('nothing')).rejects.toThrow(/expected copy:K, .* got "nothing"/);
    await expect(make('mlp:sizes')).rejects.toThrow(/option=value/);
    await expect(make('mlp:sizes=100,10')).rejects.toThrow(/as many elements a sample/);
    await expect(make('bert-mini:layers=1:hidden=8:heads=1:vocabulary=10')).rejects.toThrow(/expected inputs "image"/);
  });

  it('answer probabilities where the teacher does', () => {
    const teacher = cloneModel(digits);
    const scores = teacher.graph.outputs[0]!;
    const softmax = teacher.graph.addNode({ opType: 'Softmax', inputs: [scores], outputs: ['probabilities'] });
    teacher.graph.setOutput(0, softmax.output());
    const student = adoptInterface(createPreset('mlp'), teacher);
    expect(student.graph.outputs.map((v) => [v.name, v.producer!.opType])).toEqual([['probabilities', 'Softmax']]);
  });
});

describe('layer maps', () => {
  const NONE = { hints: [], hidden: 'none', attention: 'none', attentionTransfer: false, relational: false, featureWeight: 1 } as const;

  it('map the last layer to the last, evenly before', async () => {
    const teacher = bert(4, 1);
    const { model } = await makeStudent('copy:2', teacher, { ctx: await passContext(), seed: 1 });
    const pairs = featurePairs(model, teacher, { ...NONE, hidden: 'mse', hints: ['logits=logits'], featureWeight: 2 });
    expect(pairs.slice(1).map((p) => [p.teacher, p.weight])).toEqual([
      ['layer.1.feed_forward_norm_out', 1],
      ['layer.3.feed_forward_norm_out', 1],
    ]);
    expect(pairs[0]).toEqual({ student: 'logits', teacher: 'logits', loss: 'mse', weight: 2 });
    const [single] = [await makeStudent('layers:1', teacher, { ctx: await passContext(), seed: 1 })];
    const alone = featurePairs(single.model, teacher, { ...NONE, attention: 'mse' });
    expect(alone).toHaveLength(1);
  });

  it('map feature maps of pictures by their size', () => {
    const pairs = featurePairs(createPreset('resnet8'), createPreset('resnet20'), { ...NONE, attentionTransfer: true });
    expect(pairs).toHaveLength(3);
    expect(() => featurePairs(createPreset('mlp'), createPreset('resnet8'), { ...NONE, attentionTransfer: true })).toThrow(/got none/);
  });
});

describe('data of distillation', () => {
  const memory = (): OutputStore & { saves: number; bytes?: Uint8Array } => ({
    saves: 0,
    async save(bytes) {
      this.saves++;
      this.bytes = bytes;
    },
    async load() {
      return this.bytes;
    },
  });

  it('keeps the answers of a teacher for the next run, and asks again where data changed', async () => {
    const store = memory();
    const options = async () => ({ engine: await nodeEngine(), wanted: true, insist: true, augmented: false, epochs: 2, store });
    const ask = async (data: IndexedDataset, teacher: Model) => withTeacherOutputs(data, [teacher], 'logits', await options());
    const teacher = bert(1, 1);
    const first = await ask(sentences(20, false), teacher);
    expect((await first!.at([3, 5])).inputs['teacher/logits']!.dims).toEqual([2, 3]);
    await ask(sentences(20, false), teacher);
    expect(store.saves).toBe(1);
    await ask(sentences(20, false, 77), teacher);
    await ask(sentences(20, false, 77), bert(1, 2));
    expect(store.saves).toBe(3);
    await expect(withTeacherOutputs(sentences(20, false), [teacher], 'logits', { ...(await options()), augmented: true })).rejects.toThrow(
      /same inputs in every epoch/,
    );
  });

  it('labels samples as the teacher does', async () => {
    const teacher = bert(1, 1);
    const both = await joinUnlabelled(sentences(6, true), sentences(10, false, 9), teacher, { engine: await nodeEngine() });
    expect(both.size).toBe(16);
    const batch = await both.at([12, 2, 7]);
    const session = await openSession(await nodeEngine(), teacher);
    const scores = (await session.run(batch.inputs)).logits!.floats();
    await session.release();
    const best = (i: number) => [0, 1, 2].reduce((k, j) => (scores[i * 3 + j]! > scores[i * 3 + k]! ? j : k), 0);
    expect([...batch.labels!.numbers()]).toEqual([best(0), 2, best(2)]);
  });
});
