// Losses between a student and a teacher, beside the soft targets of losses.ts: scores, features, attention maps and the geometry of a batch.
// All answer a scalar. The teacher's values carry no gradient because nothing in front of them is trained.
import { shapeError, usageError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import { elementCount } from '../ir/tensor.js';
import { dimsOf, dtypeOf, type GradBuilder, sameDims } from '../ops/grad-builder.js';

const axesOf = (x: Value): number[] => dimsOf(x).map((_, i) => i);
const sumAll = (b: GradBuilder, x: Value): Value => b.reduceSum(x, axesOf(x), false);
const square = (b: GradBuilder, x: Value): Value => b.mul(x, x);

/** Square root with a finite gradient at zero: nothing below 1e-6 comes out. */
function root(b: GradBuilder, squares: Value): Value {
  return b.op('Sqrt', [b.op('Max', [squares, b.number(squares, 1e-12)])]);
}

function requireSame(what: string, student: Value, teacher: Value): void {
  const [s, t] = [dimsOf(student), dimsOf(teacher)];
  if (sameDims(s, t)) return;
  throw shapeError(`${what}: expected the student's [${s}] to be the teacher's, got [${t}]`, { place: { value: student.name } });
}

/** Mean over the elements of `rows` (all but the last `inner` axes of x), each counted by its weight where given: sum(w x) / (sum(w) n). */
function rowMean(b: GradBuilder, x: Value, weights: Value | undefined): Value {
  const dims = dimsOf(x);
  if (!weights) return b.scale(sumAll(b, x), 1 / elementCount(dims));
  const rows = dimsOf(weights);
  const padded = b.reshape(weights, [...rows, ...dims.slice(rows.length).map(() => 1)]);
  const total = b.op('Max', [sumAll(b, weights), b.number(weights, 1e-6)]);
  const inner = elementCount(dims) / elementCount(rows);
  return b.scale(b.div(sumAll(b, b.mul(x, padded)), total), 1 / inner);
}

/**
 * T^2 KL(teacher || student) of the softmaxes at temperature T over `axis`, mean over rows (Hinton et al. 2015). `weights` [rows] says how much each row
 * counts: 0 for padding.
 */
export function softTargets(b: GradBuilder, student: Value, teacher: Value, temperature: number, axis: number, weights?: Value): Value {
  requireTemperature(temperature);
  requireSame('scores', student, teacher);
  const at = axis < 0 ? axis + dimsOf(student).length : axis;
  const logs = (x: Value) => b.op('LogSoftmax', [b.scale(x, 1 / temperature)], { axis: at });
  const target = logs(teacher);
  const divergence = b.reduceSum(b.mul(b.op('Exp', [target]), b.sub(target, logs(student))), [at], false);
  return b.scale(rowMean(b, divergence, weights), temperature ** 2);
}

function requireTemperature(temperature: number): void {
  if (!(temperature > 0)) throw usageError(`temperature: expected a number above 0, got ${temperature}`);
}

export interface DecoupledOptions {
  readonly temperature: number;
  /** Weight of the part about the target class against all others (paper: 1). */
  readonly target: number;
  /** Weight of the part among the other classes (paper: 8 on CIFAR). */
  readonly others: number;
}

/**
 * Decoupled distillation (Zhao et al. 2022): T^2 (target KL(bt || bs) + others KL(pt' || ps')), where b = (p[y], 1 - p[y]) and p' is the softmax of all
 * classes but y. `labels` [n] holds y as int64; scores are [n, classes]. Mean over rows.
 */
export function decoupled(b: GradBuilder, student: Value, teacher: Value, labels: Value, options: DecoupledOptions): Value {
  const { temperature } = options;
  requireTemperature(temperature);
  requireSame('scores', student, teacher);
  const dims = dimsOf(student);
  if (dims.length !== 2 || dims[1]! < 2) throw shapeError(`decoupled distillation: expected scores [n, classes], got [${dims}]`);
  const [n, classes] = dims as [number, number];
  const column = b.reshape(labels, [n, 1]);
  const numbers = b.reshape(
    b.ints(
      'classes',
      Array.from({ length: classes }, (_, i) => i),
    ),
    [1, classes],
  );
  const isTarget = b.cast(b.op('Equal', [column, numbers]), dtypeOf(student));
  // Minus a large number takes the target class out of the softmax of the others.
  const without = b.scale(isTarget, -1000);
  const parts = (x: Value) => {
    const scaled = b.scale(x, 1 / temperature);
    const p = b.op('Softmax', [scaled], { axis: 1 });
    const hit = b.reduceSum(b.mul(p, isTarget), [1]);
    return { hit, rest: b.shift(b.neg(hit), 1), others: b.op('LogSoftmax', [b.add(scaled, without)], { axis: 1 }) };
  };
  const [s, t] = [parts(student), parts(teacher)];
  const log = (x: Value) => b.op('Log', [b.op('Max', [x, b.number(x, 1e-7)])]);
  const part = (x: Value, y: Value) => b.mul(x, b.sub(log(x), log(y)));
  const binary = b.add(part(t.hit, s.hit), part(t.rest, s.rest));
  const outside = b.mul(b.op('Exp', [t.others]), b.sub(t.others, s.others));
  // The target class has probability 0 among the others; its difference of logarithms must not count.
  const among = b.mul(outside, b.shift(b.neg(isTarget), 1));
  const sum = b.add(b.scale(sumAll(b, binary), options.target), b.scale(sumAll(b, among), options.others));
  return b.scale(sum, temperature ** 2 / n);
}

/** Mean of (student - teacher)^2 (of scores: Ba and Caruana 2014; of features: Romero et al. 2015). `weights` [rows] as in `softTargets`. */
export function squaredDifference(b: GradBuilder, student: Value, teacher: Value, weights?: Value): Value {
  requireSame('features', student, teacher);
  return rowMean(b, square(b, b.sub(student, teacher)), weights);
}

function unit(b: GradBuilder, x: Value): Value {
  return b.div(x, root(b, b.reduceSum(square(b, x), [dimsOf(x).length - 1])));
}

/** Mean over rows of 1 - cos(student, teacher), vectors on the last axis (DistilBERT, Sanh et al. 2019). */
export function cosineDifference(b: GradBuilder, student: Value, teacher: Value, weights?: Value): Value {
  requireSame('vectors', student, teacher);
  const product = b.reduceSum(b.mul(unit(b, student), unit(b, teacher)), [dimsOf(student).length - 1], false);
  return b.shift(b.neg(rowMean(b, product, weights)), 1);
}

/**
 * Attention transfer (Zagoruyko and Komodakis 2017): mean over samples of |Qs/|Qs| - Qt/|Qt||^2, Q being the sum of squares over the channels (axis 1) of
 * feature maps [n, channels, ...]. Numbers of channels may differ, places may not.
 */
export function attentionTransfer(b: GradBuilder, student: Value, teacher: Value): Value {
  const map = (x: Value): Value => {
    const dims = dimsOf(x);
    if (dims.length < 3) throw shapeError(`attention transfer: expected feature maps [n, channels, places...], got [${dims}]`);
    return unit(b, b.reshape(b.reduceSum(square(b, x), [1], false), [dims[0]!, elementCount(dims.slice(2))]));
  };
  const [s, t] = [map(student), map(teacher)];
  requireSame('places of feature maps', s, t);
  return b.scale(sumAll(b, square(b, b.sub(s, t))), 1 / dimsOf(s)[0]!);
}

/** Maps [n, heads, queries, keys] of as many heads as the other has, else their mean over the heads [n, 1, queries, keys]. */
function sameHeads(b: GradBuilder, x: Value, other: Value): Value {
  return dimsOf(x)[1] === dimsOf(other)[1] ? x : b.reduceMean(x, [1]);
}

/**
 * Attention probabilities [n, heads, queries, keys]: mean squared difference (TinyBERT, Jiao et al. 2020; there of scores before the softmax, which hold
 * minus infinity at padding), or mean over queries of KL(teacher || student) (MiniLM, Wang et al. 2020). Where the numbers of heads differ their means are compared.
 * `weights` [n, queries] as in `softTargets`.
 */
export function attentionMaps(b: GradBuilder, student: Value, teacher: Value, kind: 'mse' | 'kl', weights?: Value): Value {
  const [s, t] = [sameHeads(b, student, teacher), sameHeads(b, teacher, student)];
  requireSame('attention maps', s, t);
  if (dimsOf(s).length !== 4) throw shapeError(`attention maps: expected [n, heads, queries, keys], got [${dimsOf(s)}]`);
  // Queries in front of heads, so that weights count rows.
  const rows = (x: Value) => b.transpose(x, [0, 2, 1, 3]);
  if (kind === 'mse') return rowMean(b, square(b, b.sub(rows(s), rows(t))), weights);
  const log = (x: Value) => b.op('Log', [b.op('Max', [x, b.number(x, 1e-9)])]);
  return rowMean(b, b.reduceSum(b.mul(rows(t), b.sub(log(rows(t)), log(rows(s)))), [3], false), weights);
}

/**
 * Relations among values (MiniLM): attention maps of softmax(V V^T / sqrt(d)) for V [n, heads, tokens, d], compared by KL. Widths of heads may differ.
 * Keys of weight 0 (padding) take no part.
 */
export function valueRelations(b: GradBuilder, student: Value, teacher: Value, weights?: Value): Value {
  const relation = (v: Value): Value => {
    const dims = dimsOf(v);
    if (dims.length !== 4) throw shapeError(`values of attention: expected [n, heads, tokens, width], got [${dims}]`);
    const scores = b.scale(b.op('MatMul', [v, b.transposeLast(v)]), 1 / Math.sqrt(dims[3]!));
    const masked = weights ? b.add(scores, b.reshape(b.scale(b.shift(b.neg(weights), 1), -10_000), [dims[0]!, 1, 1, dims[2]!])) : scores;
    return b.op('Softmax', [masked], { axis: 3 });
  };
  return attentionMaps(b, relation(student), relation(teacher), 'kl', weights);
}

/** Vectors [n, d] of anything with samples in front: [n, tokens, d] gives their means over the tokens that count, maps [n, c, ...] those over places. */
export function embeddingsOf(b: GradBuilder, x: Value, weights?: Value): Value {
  const dims = dimsOf(x);
  if (dims.length === 2) return x;
  if (dims.length === 3) {
    if (!weights) return b.scale(b.reduceSum(x, [1], false), 1 / dims[1]!);
    const counted = b.reduceSum(b.mul(x, b.reshape(weights, [dims[0]!, dims[1]!, 1])), [1], false);
    return b.div(counted, b.op('Max', [b.reduceSum(weights, [1]), b.number(weights, 1e-6)]));
  }
  if (dims.length > 3)
    return b.scale(
      b.reduceSum(
        x,
        dims.map((_, i) => i).filter((i) => i > 1),
        false,
      ),
      1 / elementCount(dims.slice(2)),
    );
  throw shapeError(`embeddings: expected [n, d] or more axes, got [${dims}]`);
}

/** Mean Huber loss with delta 1. */
function huber(b: GradBuilder, x: Value, y: Value): Value {
  const d = b.op('Abs', [b.sub(x, y)]);
  const c = b.op('Clip', [d, null, b.number(d, 1)]);
  return b.scale(sumAll(b, b.mul(c, b.sub(d, b.scale(c, 0.5)))), 1 / elementCount(dimsOf(d)));
}

/**
 * Relational distillation (Park et al. 2019) of vectors [n, d], whose widths may differ: Huber loss between the distances of all pairs, each divided by their
 * mean, plus `angles` times that between the cosines of the angles of all triples. Needs at least 2 samples; fewer give 0. Triples cost n^2 d memory.
 */
export function relational(b: GradBuilder, student: Value, teacher: Value, angles = 2): Value {
  const n = dimsOf(student)[0]!;
  if (dimsOf(student).length !== 2 || dimsOf(teacher).length !== 2 || dimsOf(teacher)[0] !== n)
    throw shapeError(`relations: expected vectors [n, d] of equally many samples, got [${dimsOf(student)}] and [${dimsOf(teacher)}]`);
  if (n < 2) return b.scale(sumAll(b, student), 0);
  const differences = (x: Value): Value => {
    const d = dimsOf(x)[1]!;
    return b.sub(b.reshape(x, [1, n, d]), b.reshape(x, [n, 1, d]));
  };
  const [ds, dt] = [differences(student), differences(teacher)];
  const distances = (difference: Value): Value => {
    const lengths = root(b, b.reduceSum(square(b, difference), [2], false));
    // The diagonal is a constant near 0; the mean is over pairs.
    return b.div(lengths, b.scale(sumAll(b, lengths), 1 / (n * (n - 1))));
  };
  const byDistance = huber(b, distances(ds), distances(dt));
  if (angles === 0 || n < 3) return byDistance;
  const cosines = (difference: Value): Value => {
    const e = unit(b, difference);
    return b.op('MatMul', [e, b.transposeLast(e)]);
  };
  return b.add(byDistance, b.scale(huber(b, cosines(ds), cosines(dt)), angles));
}
