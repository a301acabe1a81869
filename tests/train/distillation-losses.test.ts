// Losses between student and teacher against their formulas in double precision, and their gradients against differences of the formulas.
import { describe, expect, test } from 'vitest';
import { buildModel } from '../../src/ir/builder.js';
import type { Value } from '../../src/ir/graph.js';
import { Tensor } from '../../src/ir/tensor.js';
import type { GradBuilder } from '../../src/ops/grad-builder.js';
import {
  attentionMaps,
  attentionTransfer,
  cosineDifference,
  decoupled,
  embeddingsOf,
  relational,
  softTargets,
  squaredDifference,
  valueRelations,
} from '../../src/train/distillation-losses.js';
import { differentiate } from '../../src/train/gradient.js';
import { Rng } from '../../src/util/rng.js';
import { runOrt } from '../oracle/ort.js';

type Numbers = readonly number[];

interface Case {
  readonly name: string;
  readonly dims: readonly number[];
  readonly teacherDims?: readonly number[];
  /** Positive numbers whose last axis adds up to 1. */
  readonly probabilities?: boolean;
  readonly build: (b: GradBuilder, s: Value, t: Value) => Value;
  readonly formula: (s: Numbers, t: Numbers) => number;
}

const rowsOf = (x: Numbers, width: number) => Array.from({ length: x.length / width }, (_, i) => x.slice(i * width, (i + 1) * width));
const sum = (x: Numbers) => x.reduce((a, v) => a + v, 0);
const mean = (x: Numbers) => sum(x) / x.length;
const dot = (a: Numbers, c: Numbers) => a.reduce((s, v, i) => s + v * c[i]!, 0);
const cos = (a: Numbers, c: Numbers) => dot(a, c) / Math.sqrt(dot(a, a) * dot(c, c));
const softmax = (x: Numbers) => {
  const e = x.map((v) => Math.exp(v - Math.max(...x)));
  return e.map((v) => v / sum(e));
};
const kl = (p: Numbers, q: Numbers) => sum(p.map((v, i) => (v === 0 ? 0 : v * Math.log(v / q[i]!))));
const huber = (d: number) => (Math.abs(d) < 1 ? d ** 2 / 2 : Math.abs(d) - 0.5);
const LABELS = [2, 0, 1, 1];
const MASK = [1, 1, 0, 1, 0, 0];

function decoupledOf(s: Numbers, t: Numbers, temperature: number, target: number, others: number): number {
  const [ss, ts] = [rowsOf(s, 3), rowsOf(t, 3)];
  return mean(
    LABELS.map((y, i) => {
      const [ps, pt] = [softmax(ss[i]!.map((v) => v / temperature)), softmax(ts[i]!.map((v) => v / temperature))];
      const rest = (p: Numbers) => p.filter((_, k) => k !== y).map((v) => v / (1 - p[y]!));
      return temperature ** 2 * (target * kl([pt[y]!, 1 - pt[y]!], [ps[y]!, 1 - ps[y]!]) + others * kl(rest(pt), rest(ps)));
    }),
  );
}

function relationalOf(s: Numbers, t: Numbers, widths: readonly [number, number], angles: number): number {
  const [ss, ts] = [rowsOf(s, widths[0]), rowsOf(t, widths[1])];
  const n = ss.length;
  const minus = (a: Numbers, c: Numbers) => a.map((v, i) => v - c[i]!);
  const length = (a: Numbers) => Math.sqrt(dot(a, a));
  const distances = (x: readonly Numbers[]) => {
    const all = x.map((a) => x.map((c) => length(minus(a, c))));
    const middle = sum(all.flat()) / (n * (n - 1));
    return all.flat().map((d) => d / middle);
  };
  const cosines = (x: readonly Numbers[]) =>
    x.flatMap((middle, i) => x.flatMap((a, j) => x.map((c, k) => (i === j || i === k ? 0 : cos(minus(a, middle), minus(c, middle))))));
  const compare = (a: Numbers, c: Numbers) => mean(a.map((v, i) => huber(v - c[i]!)));
  return compare(distances(ss), distances(ts)) + angles * compare(cosines(ss), cosines(ts));
}

function transferOf(s: Numbers, t: Numbers, channels: readonly [number, number]): number {
  const map = (x: Numbers, c: number) =>
    rowsOf(x, c * 4).map((sample) => {
      const q = [0, 1, 2, 3].map((p) => sum(rowsOf(sample, 4).map((plane) => plane[p]! ** 2)));
      return q.map((v) => v / Math.sqrt(dot(q, q)));
    });
  const [ms, mt] = [map(s, channels[0]), map(t, channels[1])];
  return mean(ms.map((q, i) => sum(q.map((v, p) => (v - mt[i]![p]!) ** 2))));
}

/** [n, h, q, k] as rows of keys per sample, head, query. */
const mapRow = (x: Numbers, heads: number, n: number, h: number, q: number) =>
  x.slice(((n * heads + h) * 3 + q) * 3, ((n * heads + h) * 3 + q + 1) * 3);

const CASES: readonly Case[] = [
  {
    name: 'soft targets',
    dims: [4, 3],
    build: (b, s, t) => softTargets(b, s, t, 2, -1),
    formula: (s, t) =>
      mean(rowsOf(s, 3).map((row, i) => 4 * kl(softmax(rowsOf(t, 3)[i]!.map((v) => v / 2)), softmax(row.map((v) => v / 2))))),
  },
  {
    name: 'soft targets of tokens, padding apart',
    dims: [2, 3, 3],
    build: (b, s, t) => softTargets(b, s, t, 1, 2, b.floats('mask', [2, 3], MASK)),
    formula: (s, t) => sum(rowsOf(s, 3).map((row, i) => MASK[i]! * kl(softmax(rowsOf(t, 3)[i]!), softmax(row)))) / sum(MASK),
  },
  {
    name: 'decoupled',
    dims: [4, 3],
    build: (b, s, t) => decoupled(b, s, t, b.ints('labels', LABELS), { temperature: 2, target: 1, others: 8 }),
    formula: (s, t) => decoupledOf(s, t, 2, 1, 8),
  },
  {
    name: 'squared difference without padding',
    dims: [2, 3, 2],
    build: (b, s, t) => squaredDifference(b, s, t, b.floats('mask', [2, 3], MASK)),
    formula: (s, t) => sum(s.map((v, i) => MASK[Math.floor(i / 2)]! * (v - t[i]!) ** 2)) / (2 * sum(MASK)),
  },
  {
    name: 'cosine difference',
    dims: [2, 3, 4],
    build: (b, s, t) => cosineDifference(b, s, t),
    formula: (s, t) => mean(rowsOf(s, 4).map((row, i) => 1 - cos(row, rowsOf(t, 4)[i]!))),
  },
  {
    name: 'attention transfer between different numbers of channels',
    dims: [2, 3, 2, 2],
    teacherDims: [2, 5, 2, 2],
    build: (b, s, t) => attentionTransfer(b, s, t),
    formula: (s, t) => transferOf(s, t, [3, 5]),
  },
  {
    name: 'attention maps, squared, without padding',
    dims: [2, 2, 3, 3],
    probabilities: true,
    build: (b, s, t) => attentionMaps(b, s, t, 'mse', b.floats('mask', [2, 3], MASK)),
    formula: (s, t) =>
      sum(
        [0, 1].flatMap((n) =>
          [0, 1, 2].flatMap((q) =>
            [0, 1].map((h) => MASK[n * 3 + q]! * sum(mapRow(s, 2, n, h, q).map((v, k) => (v - mapRow(t, 2, n, h, q)[k]!) ** 2))),
          ),
        ),
      ) /
      (6 * sum(MASK)),
  },
  {
    name: 'attention maps, divergence, of other numbers of heads',
    dims: [2, 1, 3, 3],
    teacherDims: [2, 2, 3, 3],
    probabilities: true,
    build: (b, s, t) => attentionMaps(b, s, t, 'kl'),
    formula: (s, t) =>
      mean(
        [0, 1].flatMap((n) =>
          [0, 1, 2].map((q) => {
            const middle = mapRow(t, 2, n, 0, q).map((v, k) => (v + mapRow(t, 2, n, 1, q)[k]!) / 2);
            return kl(middle, mapRow(s, 1, n, 0, q));
          }),
        ),
      ),
  },
  {
    name: 'relations among values of other widths',
    dims: [2, 1, 3, 2],
    teacherDims: [2, 1, 3, 4],
    build: (b, s, t) => valueRelations(b, s, t),
    formula: (s, t) => {
      const relation = (x: Numbers, d: number) =>
        rowsOf(x, 3 * d).flatMap((sample) => {
          const v = rowsOf(sample, d);
          return v.map((a) => softmax(v.map((c) => dot(a, c) / Math.sqrt(d))));
        });
      const [rs, rt] = [relation(s, 2), relation(t, 4)];
      return mean(rs.map((row, i) => kl(rt[i]!, row)));
    },
  },
  {
    name: 'relational distances and angles',
    dims: [4, 3],
    teacherDims: [4, 5],
    build: (b, s, t) => relational(b, s, t),
    formula: (s, t) => relationalOf(s, t, [3, 5], 2),
  },
  {
    name: 'embeddings: means over tokens that count',
    dims: [2, 3, 2],
    build: (b, s, t) => squaredDifference(b, embeddingsOf(b, s, b.floats('mask', [2, 3], MASK)), embeddingsOf(b, t)),
    formula: (s, t) => {
      const means = (x: Numbers, m: Numbers) =>
        [0, 1].flatMap((n) =>
          [0, 1].map((d) => sum([0, 1, 2].map((k) => m[n * 3 + k]! * x[(n * 3 + k) * 2 + d]!)) / sum(m.slice(n * 3, n * 3 + 3))),
        );
      const [a, c] = [means(s, MASK), means(t, [1, 1, 1, 1, 1, 1])];
      return mean(a.map((v, i) => (v - c[i]!) ** 2));
    },
  },
];

function numbers(dims: readonly number[], rng: Rng, probabilities = false): number[] {
  const raw = Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => rng.normal());
  return probabilities ? rowsOf(raw, dims.at(-1)!).flatMap((row) => softmax(row)) : raw;
}

describe('losses between student and teacher', () => {
  test.each(CASES)('$name', async ({ dims, teacherDims = dims, build, formula, probabilities }) => {
    const rng = new Rng(3);
    const s = numbers(dims, rng, probabilities).map(Math.fround);
    const t = numbers(teacherDims, rng, probabilities).map(Math.fround);
    const model = buildModel('loss', (b) => {
      const x = b.constant('x', Tensor.from('float', dims, s));
      b.input('t', 'float', teacherDims);
      b.output(b.op('Identity', [x]), 'y');
    });
    const result = differentiate(model, { loss: (b, o) => build(b, o.y!, b.graph.inputs[0]!), parameters: ['x'], outputs: [] });
    const outputs = await runOrt(result.model, { x: Tensor.from('float', dims, s), t: Tensor.from('float', teacherDims, t) });
    const expected = formula(s, t);
    expect(outputs[result.loss]!.floats()[0]).toBeCloseTo(expected, 4);
    const gradient = outputs.x_grad!.floats();
    const h = 1e-4;
    s.forEach((_, i) => {
      const at = (d: number) => formula(s.with(i, s[i]! + d), t);
      expect(gradient[i], `element ${i}`).toBeCloseTo((at(h) - at(-h)) / (2 * h), 3);
    });
  });

  test('a student equal to its teacher has nothing to learn', async () => {
    const model = buildModel('loss', (b) =>
      b.output(b.op('Identity', [b.constant('x', Tensor.from('float', [3, 4], numbers([3, 4], new Rng(1))))]), 'y'),
    );
    for (const build of [
      (b: GradBuilder, y: Value) => softTargets(b, y, y, 4, -1),
      (b: GradBuilder, y: Value) => decoupled(b, y, y, b.ints('labels', [0, 1, 3]), { temperature: 4, target: 1, others: 8 }),
      (b: GradBuilder, y: Value) => relational(b, y, y),
    ]) {
      const result = differentiate(model, { loss: (b, o) => build(b, o.y!), parametersAsInputs: false, outputs: [] });
      const outputs = await runOrt(result.model, {});
      expect(outputs[result.loss]!.floats()[0]).toBeCloseTo(0, 6);
      for (const g of outputs.x_grad!.floats()) expect(g).toBeCloseTo(0, 5);
    }
  });
});
