// Pruning in steps on a small classifier: it recovers, keeps its zeros, stops where quality would break, and returns to where tickets started.
import { beforeAll, describe, expect, it } from 'vitest';
import { masksOf } from '../analysis/masks.js';
import { tensorDataset } from '../data/indexed.js';
import { trainingData } from '../data/training.js';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { nodeEngine } from '../node/engine.js';
import { runPasses } from '../pass/manager.js';
import { lossObjective } from '../train/objective.js';
import { adam } from '../train/optimizers/rules.js';
import { cosine } from '../train/schedules.js';
import { train } from '../train/trainer.js';
import { Rng } from '../util/rng.js';
import { type IterativeSources, iterativePruning, type PruningNote } from './prune-iterative.js';
import { MovementScores } from './prune-movement.js';
import { structuredPruning, unstructuredPruning } from './prune-steppers.js';

const FEATURES = 12;
const CLASSES = 3;

/** Classes around three centres, the last half of the features noise. */
function clouds(count: number, seed: number, labelled = true) {
  const rng = new Rng(seed);
  const centres = new Rng(3);
  const at = Array.from({ length: CLASSES }, () =>
    Array.from({ length: FEATURES }, (_, i) => (i < FEATURES / 2 ? 1.5 * centres.normal() : 0)),
  );
  const labels = Array.from({ length: count }, (_, i) => i % CLASSES);
  const x = labels.flatMap((label) => at[label]!.map((c) => c + 0.7 * rng.normal()));
  const inputs = { x: Tensor.from('float', [count, FEATURES], x) };
  return tensorDataset('clouds', inputs, labelled ? Tensor.from('int64', [count], labels) : undefined);
}

function network(): Model {
  const rng = new Rng(7);
  const weight = (rows: number, columns: number) =>
    Tensor.from(
      'float',
      [rows, columns],
      Array.from({ length: rows * columns }, () => rng.normal() / Math.sqrt(columns)),
    );
  return buildModel('net', (b) => {
    const x = b.input('x', 'float', ['n', FEATURES]);
    const layer = (from: typeof x, name: string, rows: number, columns: number) =>
      b.op(
        'Gemm',
        [from, b.constant(`${name}.w`, weight(rows, columns)), b.constant(`${name}.b`, Tensor.from('float', [rows], Array(rows).fill(0)))],
        {
          transB: 1,
        },
      );
    const h = b.op('Relu', [layer(x, 'one', 32, FEATURES)]);
    const g = b.op('Relu', [layer(h, 'two', 32, 32)]);
    b.output(layer(g, 'three', CLASSES, 32), 'logits');
  });
}

const COMMON = { epochs: 3, batchSize: 20, optimizer: 'adam', lr: 5e-3 } as const;
const validation = clouds(150, 2);
let dense: Model;

beforeAll(async () => {
  const data = trainingData(clouds(240, 1));
  const { last } = await train({
    engine: await nodeEngine(),
    model: network(),
    data,
    objective: lossObjective('cross-entropy'),
    rule: adam(),
    schedule: cosine(1e-2, 10 * data.steps(20)),
    epochs: 10,
    batchSize: 20,
    seed: 1,
  });
  dense = last;
}, 60_000);

async function prune(
  kind: Parameters<typeof iterativePruning>[0],
  options: Parameters<typeof iterativePruning>[1],
  sources: Partial<IterativeSources> = {},
  model = dense,
) {
  const dataset = clouds(240, 1, false);
  const pass = iterativePruning(kind, { ...COMMON, ...options }, { data: trainingData(dataset), validation, seed: 1, ...sources });
  const { model: pruned, records } = await runPasses(model, [pass], { engine: await nodeEngine(), seed: 1, data: dataset });
  return { model: pruned, record: records[0]!, note: records[0]!.notes.pruning as PruningNote };
}

const weights = (model: Model, name: string) => model.graph.value(name)!.initializer!.floats();

describe('pruning in steps', () => {
  it('makes good what it takes, without labels, and keeps the zeros', async () => {
    const { model, note } = await prune(unstructuredPruning({ sparsity: 0.8, scope: 'global' }), { schedule: 'cubic', steps: 3 });
    const [given, ...steps] = note.points;
    expect(steps.map((p) => p.step)).toEqual([1, 2, 3]);
    expect(steps.at(-1)!.sparsity).toBeCloseTo(0.8, 2);
    expect(steps.at(-1)!.recovered!).toBeGreaterThan(given!.recovered! - 0.05);
    expect(steps.at(-1)!.recovered!).toBeGreaterThanOrEqual(steps.at(-1)!.pruned!);
    const masks = [...masksOf(model).values()];
    const zeros = masks.reduce((n, m) => n + m.filter((v) => v === 0).length, 0);
    expect(zeros / masks.reduce((n, m) => n + m.length, 0)).toBeCloseTo(0.8, 2);
    // The given model is as it was.
    expect(weights(dense, 'two.w').some((w) => w === 0)).toBe(false);
  });

  it('narrows step by step and tells widths from the first to the last', async () => {
    const { model, note, record } = await prune(structuredPruning({ targetMacs: 0.4 }), { schedule: 'linear', steps: 2 });
    const macs = note.points.map((p) => p.macs!);
    expect(macs[1]! / macs[0]!).toBeCloseTo(0.7, 1);
    expect(macs[2]! / macs[0]!).toBeCloseTo(0.4, 1);
    expect(note.points[2]!.recovered!).toBeGreaterThan(0.85);
    const groups = record.notes.groups as { before: number; after: number }[];
    expect(groups.map((g) => g.before)).toEqual([32, 32]);
    const rows = ['one.w', 'two.w'].map((name) => model.graph.value(name)!.initializer!.dims[0]);
    expect(rows.sort()).toEqual(groups.map((g) => g.after).sort());
  });

  it('stops at the last step that keeps the promise', async () => {
    const kind = unstructuredPruning({ sparsity: 0.995, scope: 'global' });
    const { note, record, model } = await prune(kind, { schedule: 'linear', steps: 2, epochs: 1 }, { maxDrop: 0.1 });
    expect(note.chosen).toBe(1);
    expect(note.points).toHaveLength(3);
    expect(record.warnings[0]!.message).toMatch(/stopped at step 1/);
    const two = weights(model, 'two.w');
    expect(two.filter((w) => w === 0).length / two.length).toBeLessThan(0.7);
  });

  it('gives nothing where no step keeps it', async () => {
    const kind = unstructuredPruning({ sparsity: 0.995, scope: 'global' });
    await expect(prune(kind, { schedule: 'one-shot', epochs: 1 }, { maxDrop: 0.01 })).rejects.toMatchObject({
      code: 'E_QUALITY',
      message: expect.stringMatching(/no step keeps the quality: expected a drop of top1 of at most 0.01, got/),
    });
  });

  it('returns lottery tickets to where they started', async () => {
    const start = network();
    // A learning rate of almost nothing leaves the weights where rewinding put them.
    const options = { schedule: 'lottery', steps: 2, epochs: 1, lr: 1e-12, optimizer: 'sgd' } as const;
    const { model, note } = await prune(unstructuredPruning({ sparsity: 0.75 }), options, { rewind: start });
    expect(note.points.map((p) => p.removed)).toEqual([0, expect.closeTo(0.5), 0.75]);
    const [left, initial] = [weights(model, 'two.w'), weights(start, 'two.w')];
    expect(left.filter((w) => w === 0).length / left.length).toBeCloseTo(0.75, 2);
    left.forEach((w, i) => {
      if (w !== 0) expect(w).toBeCloseTo(initial[i]!, 5);
    });
  });

  it('scores by movement: what grows stays, what shrinks goes, what is gone stays gone', () => {
    const scores = new MovementScores();
    const w = Float32Array.of(1, -1, 2, 0);
    // Descent makes the first larger and the second smaller.
    scores.observe({ parameters: new Map([['w', w]]), gradients: new Map([['w', Float32Array.of(-0.5, -0.5, 0, 3)]]) });
    expect([...scores.of('w', w)]).toEqual([0.5, -0.5, expect.closeTo(0), -Infinity]);
  });

  it('prunes by movement while a new task is learnt', async () => {
    const labelled = trainingData(clouds(240, 1));
    const kind = unstructuredPruning({ sparsity: 0.5 });
    const options = { movement: true, loss: 'cross-entropy', steps: 2, epochs: 4 } as const;
    const { note } = await prune(kind, options, { data: labelled }, network());
    expect(note.points.at(-1)!.sparsity).toBeCloseTo(0.5, 2);
    expect(note.points.at(-1)!.recovered!).toBeGreaterThan(0.85);
  });

  it('refuses what has no sense', async () => {
    const [single, channels] = [unstructuredPruning({ sparsity: 0.5 }), structuredPruning({ targetMacs: 0.5 })];
    await expect(prune(single, { movement: true })).rejects.toThrow(/expected a loss that moves weights/);
    await expect(prune(channels, { movement: true })).rejects.toThrow(/movement pruning is of single weights/);
    await expect(prune(channels, { schedule: 'lottery' })).rejects.toThrow(/lottery schedule is of single weights/);
  });

  it('needs labels only for losses on labels', async () => {
    await expect(prune(unstructuredPruning({ sparsity: 0.5 }), { loss: 'cross-entropy' })).rejects.toThrow(/expected labelled data/);
    await expect(prune(unstructuredPruning({ sparsity: 0.5 }), { alpha: 0.5 })).rejects.toThrow(/expected labelled data/);
  });
});
