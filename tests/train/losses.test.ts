// Losses against their formulas in double precision, and their gradients against differences of the formulas.
import { describe, expect, test } from 'vitest';
import { type Builder, buildModel } from '../../src/ir/builder.js';
import type { Value } from '../../src/ir/graph.js';
import type { Model } from '../../src/ir/model.js';
import { Tensor } from '../../src/ir/tensor.js';
import type { GradBuilder } from '../../src/ops/grad-builder.js';
import { differentiate } from '../../src/train/gradient.js';
import {
  binaryCrossEntropy,
  contrastive,
  cosineDistance,
  crossEntropy,
  distillation,
  groupLasso,
  huber,
  LOSSES,
  type LossName,
  l1Penalty,
  l2Penalty,
  meanAbsoluteError,
  meanSquaredError,
  weightedSum,
} from '../../src/train/losses.js';
import { Rng } from '../../src/util/rng.js';
import { runOrt } from '../oracle/ort.js';

type Numbers = readonly number[];

interface Case {
  readonly name: string;
  readonly dims: readonly number[];
  readonly targetDims?: readonly number[];
  readonly labels?: Numbers;
  /** Targets in [0,1] instead of normal deviates. */
  readonly fractions?: boolean;
  readonly size?: number;
  readonly build: (b: GradBuilder, x: Value, t: Value) => Value;
  readonly formula: (x: Numbers, t: Numbers) => number;
}

const rowsOf = (x: Numbers, width: number) => Array.from({ length: x.length / width }, (_, i) => x.slice(i * width, (i + 1) * width));
const mean = (x: Numbers) => x.reduce((a, v) => a + v, 0) / x.length;
const dot = (a: Numbers, c: Numbers) => a.reduce((s, v, i) => s + v * c[i]!, 0);
const cos = (a: Numbers, c: Numbers) => dot(a, c) / Math.sqrt(dot(a, a) * dot(c, c));
const logSoftmax = (x: Numbers) => {
  const top = Math.max(...x);
  const log = top + Math.log(x.reduce((s, v) => s + Math.exp(v - top), 0));
  return x.map((v) => v - log);
};

/** Labels one by one, as PyTorch defines it. */
function crossEntropyOf(rows: readonly Numbers[], labels: Numbers, weights?: Numbers, smoothing = 0, ignore?: number): number {
  let sum = 0;
  let weight = 0;
  rows.forEach((row, i) => {
    const label = labels[i]!;
    if (label === ignore) return;
    const logs = logSoftmax(row);
    const w = weights?.[label] ?? 1;
    sum -= (1 - smoothing) * w * logs[label]!;
    logs.forEach((l, k) => {
      sum -= (smoothing / logs.length) * (weights?.[k] ?? 1) * l;
    });
    weight += w;
  });
  return weight === 0 ? 0 : sum / weight;
}

/** Rows of classes of scores [2,3,4] whose classes are on axis 1. */
const middleRows = (x: Numbers) => [0, 1].flatMap((n) => [0, 1, 2, 3].map((p) => [0, 1, 2].map((c) => x[n * 12 + c * 4 + p]!)));

const WEIGHTS = [0.5, 2, 1];
const CASES: readonly Case[] = [
  {
    name: 'cross-entropy',
    dims: [4, 3],
    labels: [2, 0, 1, 1],
    build: (b, x, t) => crossEntropy(b, x, t),
    formula: (x, t) => crossEntropyOf(rowsOf(x, 3), t),
  },
  {
    name: 'cross-entropy of huge scores',
    dims: [4, 3],
    labels: [2, 0, 1, 1],
    size: 200,
    build: (b, x, t) => crossEntropy(b, x, t),
    formula: (x, t) => crossEntropyOf(rowsOf(x, 3), t),
  },
  {
    name: 'cross-entropy of sequences with weights, smoothing and ignored labels',
    dims: [2, 3, 3],
    targetDims: [2, 3],
    labels: [2, -100, 1, 1, 0, -100],
    build: (b, x, t) => crossEntropy(b, x, t, { weights: WEIGHTS, smoothing: 0.1, ignore: -100 }),
    formula: (x, t) => crossEntropyOf(rowsOf(x, 3), t, WEIGHTS, 0.1, -100),
  },
  {
    name: 'cross-entropy with smoothing alone',
    dims: [4, 3],
    labels: [2, 0, 1, 1],
    build: (b, x, t) => crossEntropy(b, x, t, { smoothing: 0.2 }),
    formula: (x, t) => crossEntropyOf(rowsOf(x, 3), t, undefined, 0.2),
  },
  {
    name: 'cross-entropy over maps of classes',
    dims: [2, 3, 4],
    targetDims: [2, 4],
    labels: [0, 1, 2, 2, 1, 0, 0, 1],
    build: (b, x, t) => crossEntropy(b, x, t, { axis: 1, weights: WEIGHTS }),
    formula: (x, t) => crossEntropyOf(middleRows(x), t, WEIGHTS),
  },
  {
    name: 'cross-entropy where all is ignored',
    dims: [2, 3],
    labels: [7, 7],
    build: (b, x, t) => crossEntropy(b, x, t, { ignore: 7 }),
    formula: () => 0,
  },
  {
    name: 'binary cross-entropy',
    dims: [4, 3],
    fractions: true,
    size: 5,
    build: (b, x, t) => binaryCrossEntropy(b, x, t),
    formula: (x, t) => mean(x.map((v, i) => Math.max(v, 0) - v * t[i]! + Math.log1p(Math.exp(-Math.abs(v))))),
  },
  {
    name: 'binary cross-entropy with a weight, targets without the last axis',
    dims: [4, 1],
    targetDims: [4],
    fractions: true,
    build: (b, x, t) => binaryCrossEntropy(b, x, t, 3),
    formula: (x, t) => mean(x.map((v, i) => 3 * t[i]! * Math.log1p(Math.exp(-v)) + (1 - t[i]!) * Math.log1p(Math.exp(v)))),
  },
  {
    name: 'mean squared error',
    dims: [3, 2],
    build: meanSquaredError,
    formula: (x, t) => mean(x.map((v, i) => (v - t[i]!) ** 2)),
  },
  {
    name: 'mean absolute error',
    dims: [3, 2],
    build: meanAbsoluteError,
    formula: (x, t) => mean(x.map((v, i) => Math.abs(v - t[i]!))),
  },
  {
    name: 'Huber',
    dims: [6, 2],
    build: (b, x, t) => huber(b, x, t, 0.7),
    formula: (x, t) =>
      mean(
        x.map((v, i) => {
          const d = Math.abs(v - t[i]!);
          return d <= 0.7 ? d ** 2 / 2 : 0.7 * (d - 0.35);
        }),
      ),
  },
  {
    name: 'distillation',
    dims: [2, 2, 3],
    build: (b, x, t) => distillation(b, x, t, 2.5),
    formula: (x, t) =>
      mean(
        rowsOf(x, 3).map((row, i) => {
          const s = logSoftmax(row.map((v) => v / 2.5));
          const q = logSoftmax(rowsOf(t, 3)[i]!.map((v) => v / 2.5));
          return 2.5 ** 2 * q.reduce((sum, l, k) => sum + Math.exp(l) * (l - s[k]!), 0);
        }),
      ),
  },
  {
    name: 'cosine distance',
    dims: [3, 4],
    build: cosineDistance,
    formula: (x, t) => mean(rowsOf(x, 4).map((row, i) => 1 - cos(row, rowsOf(t, 4)[i]!))),
  },
  {
    name: 'contrastive',
    dims: [3, 4],
    build: (b, x, t) => contrastive(b, x, t, 0.5),
    formula: (x, t) => {
      const [left, right] = [rowsOf(x, 4), rowsOf(t, 4)];
      const table = left.map((l) => right.map((r) => cos(l, r) / 0.5));
      const turned = table[0]!.map((_, i) => table.map((row) => row[i]!));
      return (crossEntropyOf(table, [0, 1, 2]) + crossEntropyOf(turned, [0, 1, 2])) / 2;
    },
  },
  {
    name: 'weighted sum with penalties',
    dims: [3, 2],
    build: (b, x, t) =>
      weightedSum(b, [
        { loss: meanSquaredError(b, x, t), weight: 1 },
        { loss: l1Penalty(b, [x]), weight: 0.1 },
        { loss: l2Penalty(b, [x]), weight: 0.2 },
        { loss: groupLasso(b, [x]), weight: 0.3 },
        { loss: groupLasso(b, [x], 1), weight: 0.4 },
      ]),
    formula: (x, t) => {
      const columns = [0, 1].map((c) => [0, 1, 2].map((r) => x[2 * r + c]!));
      const lasso = (groups: readonly Numbers[]) => groups.reduce((s, g) => s + Math.sqrt(g.length * dot(g, g)), 0);
      const penalty = 0.1 * x.reduce((s, v) => s + Math.abs(v), 0) + 0.1 * dot(x, x) + 0.3 * lasso(rowsOf(x, 2)) + 0.4 * lasso(columns);
      return mean(x.map((v, i) => (v - t[i]!) ** 2)) + penalty;
    },
  },
];

function modelOf({ dims, targetDims, labels }: Pick<Case, 'dims' | 'targetDims' | 'labels'>): Model {
  return buildModel('m', (b: Builder) => {
    b.output(b.op('Identity', [b.input('x', 'float', dims)]), 'y');
    b.output(b.op('Identity', [b.input('t', labels ? 'int64' : 'float', targetDims ?? (labels ? [labels.length] : dims))]), 'target');
  });
}

describe.each(CASES)('$name', (c) => {
  test('equals the formula, and so does its gradient', async () => {
    const rng = new Rng(7);
    const count = c.dims.reduce((n, d) => n * d, 1);
    const x = Array.from({ length: count }, () => Math.fround(rng.normal() * (c.size ?? 1)));
    const t = c.labels ?? Array.from({ length: count }, () => Math.fround(c.fractions ? rng.uniform() : rng.normal()));
    const model = modelOf(c);
    const result = differentiate(model, { loss: (b, o) => c.build(b, o.y!, o.target!), parameters: [], inputs: ['x'] });
    const feeds = {
      x: Tensor.from('float', c.dims, x),
      t: Tensor.from(c.labels ? 'int64' : 'float', c.targetDims ?? (c.labels ? [t.length] : c.dims), t),
    };
    const { gradient } = result.inputs[0]!;
    const results = await runOrt(result.model, feeds, [result.loss, gradient!]);
    const expected = c.formula(x, t);
    expect(results[result.loss]!.dims).toEqual([]);
    expect(Math.abs(Number(results[result.loss]!.numbers()[0]) - expected)).toBeLessThan(2e-6 * (1 + Math.abs(expected)));
    const values = results[gradient!]!.numbers();
    const step = 1e-5;
    for (let i = 0; i < count; i++) {
      const at = (h: number) => c.formula(x.with(i, x[i]! + h), t);
      expect(Math.abs(Number(values[i]) - (at(step) - at(-step)) / (2 * step)), `element ${i}`).toBeLessThan(1e-5);
    }
  });
});

test('names give the type of their targets', () => {
  const target = (name: LossName) => LOSSES[name].target([8, 5, 10], 'float', {});
  expect(target('cross-entropy')).toEqual({ dtype: 'int64', dims: [8, 5] });
  expect(target('mse')).toEqual({ dtype: 'float', dims: [8, 5, 10] });
});

test('what does not fit is said', () => {
  const attempt = (build: (b: GradBuilder, x: Value, t: Value) => Value) => () =>
    differentiate(modelOf({ dims: [2, 3], labels: [0, 1] }), {
      loss: (b, o) => build(b, o.y!, o.target!),
      parameters: [],
      inputs: ['x'],
    });
  expect(attempt((b, x, t) => crossEntropy(b, x, t, { weights: [1, 2] }))).toThrow(/class weights: expected 3, one a class, got 2/);
  expect(attempt((b, x, t) => crossEntropy(b, x, t, { axis: 0 }))).toThrow(/labels "target": expected 3 elements, got \[2\]/);
  expect(attempt((b, x, t) => meanSquaredError(b, x, t))).toThrow(/targets "target": expected 6 elements, got \[2\]/);
  expect(attempt((b, x, t) => crossEntropy(b, x, t, { smoothing: 1 }))).toThrow(/label smoothing/);
  expect(attempt((b) => weightedSum(b, []))).toThrow(/at least one term/);
});
