// Distillation as an objective: where the teacher runs makes no difference, students learn without labels, features are pulled together, errors say what is wrong.
import { describe, expect, it } from 'vitest';
import { runOrt } from '../../tests/oracle/ort.js';
import { tensorDataset } from '../data/indexed.js';
import { trainingData } from '../data/training.js';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import { runPasses } from '../pass/manager.js';
import { simplify } from '../passes/simplify/index.js';
import { Rng } from '../util/rng.js';
import { type DistillationOptions, distillationObjective, SCORE_LOSSES } from './distillation.js';
import { lossObjective } from './objective.js';
import { adam } from './optimizers/rules.js';
import { constant } from './schedules.js';
import { type FeaturePair, withFeatures } from './student-features.js';
import { openTeacher, type Teacher, teacherEnsemble, teacherInData, teacherInput } from './teacher.js';
import { train } from './trainer.js';
import type { TrainOptions } from './trainer-options.js';

const numbers = (dims: readonly number[], seed: number, scale = 1): Tensor => {
  const rng = new Rng(seed);
  return Tensor.from(
    'float',
    dims,
    Float32Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => rng.normal() * scale),
  );
};

/** Two layers with BatchNormalization between; ends in Softmax where asked. */
function network(hidden: number, seed: number, probabilities = false): Model {
  return buildModel(`net${hidden}`, (b) => {
    const x = b.input('x', 'float', ['batch', 6]);
    const h = b.op('MatMul', [x, b.constant('w1', numbers([6, hidden], seed, 0.3))], {}, { outputs: ['features'] });
    const norm = ['scale', 'shift', 'mean', 'variance'].map((n) =>
      b.floats(
        n,
        [hidden],
        Array.from({ length: hidden }, (_, i) => (n === 'scale' ? 1 + i / hidden : n === 'variance' ? 2 : 0.1)),
      ),
    );
    const a = b.op('Tanh', [b.op('BatchNormalization', [h, ...norm])], {}, { outputs: ['hidden'] });
    const y = b.op('Gemm', [a, b.constant('w2', numbers([hidden, 3], seed + 1)), b.constant('b2', numbers([3], seed + 2))]);
    if (probabilities) b.output(b.op('Softmax', [y], { axis: 1 }), 'probabilities');
    else b.output(y, 'logits');
  });
}

const x = numbers([96, 6], 7);
const teacher = network(16, 1);

async function teacherScores(model: Model, name: string): Promise<Tensor> {
  return (await runOrt(model, { x }))[name]!;
}

async function setup(more: Partial<TrainOptions> & Pick<TrainOptions, 'objective'>): Promise<TrainOptions> {
  const engine = await nodeEngine();
  return {
    engine,
    model: network(8, 40),
    data: trainingData(tensorDataset('x', { x })),
    rule: adam(),
    schedule: constant(0.01),
    epochs: 2,
    batchSize: 40,
    seed: 1,
    session: { threads: 1 },
    batchNorm: 'frozen',
    prepare,
    ...more,
  };
}

const prepare = async (m: Model) => (await runPasses(m, [simplify({ skip: ['remove-dropout'] })], { engine: await nodeEngine() })).model;

async function open(placement: 'graph' | 'session', model = teacher, values?: readonly string[], prefix?: string): Promise<Teacher> {
  return openTeacher({ engine: await nodeEngine(), model, values, placement, student: network(8, 40), prepare, prefix });
}

const losses = (result: { curve: readonly { loss: number }[] }) => result.curve.map((p) => p.loss);

function expectClose(a: readonly number[], b: readonly number[]): void {
  expect(a).toHaveLength(b.length);
  for (const [i, v] of a.entries()) expect(v).toBeCloseTo(b[i]!, 4);
}

describe('teacher', () => {
  it('teaches the same from the graph, a session and the data, batches of two sizes included', async () => {
    const data = trainingData(tensorDataset('x', { x, [teacherInput('logits')]: await teacherScores(teacher, 'logits') }));
    const teachers = [await open('graph'), await open('session'), teacherInData(['logits'])];
    const curves: number[][] = [];
    for (const t of teachers) {
      curves.push(losses(await train(await setup({ objective: distillationObjective({ teacher: t, temperature: 2 }), data }))));
      await t.release();
    }
    expect(teachers.map((t) => t.placement)).toEqual(['graph', 'session', 'data']);
    expect(curves[0]).toHaveLength(6);
    for (const curve of curves.slice(1)) expectClose(curve, curves[0]!);
  });

  it('goes into the graph by itself where it can, and knows scores behind probabilities', async () => {
    const engine = await nodeEngine();
    const probable = network(16, 1, true);
    const auto = await openTeacher({ engine, model: probable, student: network(8, 40), prepare });
    expect(auto.placement).toBe('graph');
    const plain = await open('session');
    const curves: number[][] = [];
    for (const t of [auto, plain]) curves.push(losses(await train(await setup({ objective: distillationObjective({ teacher: t }) }))));
    expectClose(curves[0]!, curves[1]!);
    const newer = buildModel('newer', (b) => b.output(b.op('Relu', [b.input('x', 'float', ['batch', 6])]), 'logits'), { opset: 22 });
    const apart = await openTeacher({ engine, model: newer, student: network(8, 40), prepare });
    expect(apart.placement).toBe('session');
    await Promise.all([auto, plain, apart].map((t) => t.release()));
  });

  it('as an ensemble answers the mean', async () => {
    const other = network(12, 5);
    const [a, c] = [await teacherScores(teacher, 'logits'), await teacherScores(other, 'logits')];
    const middle = a.floats().map((v, i) => 0.25 * v + 0.75 * c.floats()[i]!);
    const data = trainingData(tensorDataset('x', { x, [teacherInput('logits')]: Tensor.of('float', a.dims, middle) }));
    const both = teacherEnsemble([await open('session', teacher, undefined, 'a/'), await open('graph', other, undefined, 'b/')], [1, 3]);
    const one = await train(await setup({ objective: distillationObjective({ teacher: both }), data }));
    const two = await train(await setup({ objective: distillationObjective({ teacher: teacherInData(['logits']) }), data }));
    expectClose(losses(one), losses(two));
    await both.release();
    expect(() => teacherEnsemble([both], [0])).toThrow(/not all 0/);
  });

  it('says what it does not have', async () => {
    await expect(open('session', teacher, ['nothing'])).rejects.toThrow(/expected a value of its graph, got "nothing"/);
    const nested = buildModel('nested', (b) => {
      const y = b.op('Relu', [b.input('z', 'float', ['batch', 6])]);
      b.output(y, 'logits');
    });
    const t = await open('graph', nested);
    await expect(train(await setup({ objective: distillationObjective({ teacher: t }) }))).rejects.toThrow(
      /data for its inputs "z", got "x"/,
    );
    const wide = buildModel('wide', (b) => b.output(b.op('Relu', [b.input('x', 'float', ['batch', 6])]), 'logits'));
    const other = await open('graph', wide);
    await expect(train(await setup({ objective: distillationObjective({ teacher: other }) }))).rejects.toThrow(
      /shape \[40,3\], got \[40,6\]/,
    );
  });
});

describe('distillation', () => {
  const agreement = async (model: Model) => {
    const [s, t] = [(await runOrt(model, { x })).logits!.floats(), (await teacherScores(teacher, 'logits')).floats()];
    const best = (scores: Float32Array, i: number) => [0, 1, 2].reduce((k, j) => (scores[i * 3 + j]! > scores[i * 3 + k]! ? j : k), 0);
    return Array.from({ length: 96 }, (_, i) => best(s, i) === best(t, i)).filter(Boolean).length / 96;
  };

  it.each(SCORE_LOSSES)('by %s makes a student agree with its teacher without labels', async (loss) => {
    const t = await open('graph');
    // Wide enough to be able to do what the teacher does.
    const model = network(24, 40);
    const before = await agreement(model);
    const result = await train(
      await setup({ model, objective: distillationObjective({ teacher: t, loss }), epochs: 60, schedule: constant(0.02) }),
    );
    expect(result.curve.at(-1)!.loss).toBeLessThan(result.curve[0]!.loss / 4);
    expect(await agreement(result.model)).toBeGreaterThan(Math.max(0.9, before));
  });

  it('with labels is the weighted sum of both', async () => {
    const labels = Tensor.from(
      'int64',
      [96],
      Array.from({ length: 96 }, (_, i) => i % 3),
    );
    const data = trainingData(tensorDataset('x', { x }, labels), { shuffle: false });
    const t = await open('graph');
    const first = async (objective: TrainOptions['objective']) => losses(await train(await setup({ objective, data, maxSteps: 1 })))[0]!;
    const hard = lossObjective('cross-entropy');
    for (const loss of ['kd', 'dkd'] as const) {
      const soft = await first(distillationObjective({ teacher: t, loss, alpha: 1, temperature: 3, labels: hard }));
      const both = await first(distillationObjective({ teacher: t, loss, alpha: 0.7, temperature: 3, labels: hard }));
      expect(both).toBeCloseTo(0.7 * soft + 0.3 * (await first(hard)), 4);
    }
    expect(distillationObjective({ teacher: t, labels: hard, alpha: 0.7 }).name).toBe('0.7 kd at temperature 4 + 0.3 cross-entropy');
  });

  it.each<FeaturePair>([
    { student: 'features', teacher: 'features', loss: 'mse' },
    { student: 'hidden', teacher: 'hidden', loss: 'cosine' },
    { student: 'hidden', teacher: 'hidden', loss: 'relational', weight: 5 },
  ])('pulls features together: $loss', async (pair) => {
    const t = await open('graph', teacher, ['logits', pair.teacher]);
    const student = withFeatures(network(8, 40), teacher, [pair]);
    expect(student.projections).toHaveLength(pair.loss === 'relational' ? 0 : 1);
    const options: DistillationOptions = { teacher: t, loss: 'none', features: student.terms };
    const result = await train(
      await setup({ model: student.model, objective: distillationObjective(options), epochs: 25, schedule: constant(0.02) }),
    );
    expect(result.curve.at(-1)!.loss).toBeLessThan(result.curve[0]!.loss * 0.6);
    for (const name of student.projections) expect(result.parameters).toContain(name);
    expect(result.parameters).not.toContain('w2');
  });

  it('refuses what cannot be learnt', async () => {
    const t = await open('graph');
    const of = (o: Partial<DistillationOptions>) => () => distillationObjective({ teacher: t, ...o });
    expect(of({ alpha: 1.5 })).toThrow(/alpha: expected a number from 0 to 1, got 1.5/);
    expect(of({ temperature: 0 })).toThrow(/temperature/);
    expect(of({ alpha: 0 })).toThrow(/to learn from, got none/);
    const pair = (p: Partial<FeaturePair>) => () =>
      withFeatures(network(8, 40), teacher, [{ student: 'hidden', teacher: 'hidden', loss: 'mse', ...p }]);
    expect(pair({ student: 'nowhere' })).toThrow(/inside the student, got "nowhere"/);
    expect(pair({ weight: 0 })).toThrow(/weight of mse/);
  });
});
