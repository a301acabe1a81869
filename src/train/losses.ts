// Losses as graphs: functions that add nodes behind scores and targets and answer a scalar, the mean over the elements (or rows) unless said otherwise.
// All are stable for large scores. Regularizers take the parameters themselves. Formulas stand with each function; p = softmax(scores).
import { shapeError, usageError } from '../errors.js';
import type { DType } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import { dimsOf, dtypeOf, type GradBuilder } from '../ops/grad-builder.js';

const axesOf = (x: Value): number[] => dimsOf(x).map((_, i) => i);
const sumAll = (b: GradBuilder, x: Value): Value => b.reduceSum(x, axesOf(x), false);

/** Mean of all elements, a scalar. */
export function meanAll(b: GradBuilder, x: Value): Value {
  return b.scale(sumAll(b, x), 1 / elementCount(dimsOf(x)));
}

export interface CrossEntropyOptions {
  /** Axis of the classes in the scores (default the last); the labels have all others. */
  readonly axis?: number | undefined;
  /** One weight a class; the loss is divided by the sum of the weights of the labels. */
  readonly weights?: readonly number[] | undefined;
  /** Part of the target that is spread evenly over all classes (Szegedy et al. 2016), from 0 to below 1. */
  readonly smoothing?: number | undefined;
  /** Label of elements that do not count. Without any other element the loss is 0. */
  readonly ignore?: number | undefined;
}

/**
 * -w[y] ln p[y], over the sum of w[y]. Scores [.., c, ..] before the softmax, integer labels of the same shape without the class axis.
 * With smoothing e: (1 - e) times that plus e/c times the sum of -w[k] ln p[k] over all classes.
 */
export function crossEntropy(b: GradBuilder, scores: Value, labels: Value, options: CrossEntropyOptions = {}): Value {
  const { weights, smoothing = 0, ignore } = options;
  const dims = dimsOf(scores);
  const axis = classAxis(dims, options.axis);
  const classes = dims[axis]!;
  const kept = dims.map((d, i) => (i === axis ? 1 : d));
  requireCrossEntropy(classes, smoothing, weights);
  requireSize('labels', labels, elementCount(kept));
  const column = b.reshape(labels, kept);
  const counts = ignore === undefined ? undefined : b.op('Not', [b.op('Equal', [column, b.number(column, ignore)])]);
  const safe = counts ? b.mask(counts, column) : column;
  const logs = b.op('LogSoftmax', [scores], { axis });
  const table = weights && b.constant('class_weights', Tensor.from(dtypeOf(scores), [classes], weights));
  const one = counts && b.cast(counts, dtypeOf(scores));
  const byLabel = table && b.op('Gather', [table, safe]);
  const weight = byLabel && one ? b.mul(byLabel, one) : (byLabel ?? one);
  const weighted = (x: Value, w: Value | undefined): Value => sumAll(b, w ? b.mul(x, w) : x);
  let total = weighted(b.op('GatherElements', [logs, safe], { axis }), weight);
  if (smoothing > 0) {
    const everyClass = table
      ? b.mul(
          logs,
          b.reshape(
            table,
            dims.map((_, i) => (i === axis ? classes : 1)),
          ),
        )
      : logs;
    const spread = weighted(everyClass, one);
    total = b.add(b.scale(total, 1 - smoothing), b.scale(spread, smoothing / classes));
  }
  if (!weight) return b.scale(total, -1 / elementCount(kept));
  // Nothing counts where all weights are 0: 0 over a small number, not over 0.
  return b.neg(b.div(total, b.op('Max', [sumAll(b, weight), b.number(scores, 1e-12)])));
}

/**
 * Minus the sum of t[k] ln p[k], mean over rows, for targets that are probabilities of the shape of the scores (mixed or soft labels). Class weights and
 * smoothing as in `crossEntropy`: t becomes (1 - e) t + e/c, and the loss is divided by the sum of the weighted targets.
 */
export function softCrossEntropy(b: GradBuilder, scores: Value, targets: Value, options: CrossEntropyOptions = {}): Value {
  const { weights, smoothing = 0 } = options;
  const dims = dimsOf(scores);
  const axis = classAxis(dims, options.axis);
  const classes = dims[axis]!;
  requireCrossEntropy(classes, smoothing, weights);
  const plain = alike(b, scores, targets);
  const smooth = smoothing > 0 ? b.shift(b.scale(plain, 1 - smoothing), smoothing / classes) : plain;
  const logs = b.op('LogSoftmax', [scores], { axis });
  if (!weights) return b.scale(sumAll(b, b.mul(smooth, logs)), -classes / elementCount(dims));
  const shape = dims.map((_, i) => (i === axis ? classes : 1));
  const table = b.constant('class_weights', Tensor.from(dtypeOf(scores), shape, weights));
  const total = sumAll(b, b.mul(plain, table));
  return b.neg(b.div(sumAll(b, b.mul(b.mul(smooth, table), logs)), b.op('Max', [total, b.number(scores, 1e-12)])));
}

function requireCrossEntropy(classes: number, smoothing: number, weights: readonly number[] | undefined): void {
  if (!(smoothing >= 0 && smoothing < 1)) throw usageError(`label smoothing: expected a number from 0 to below 1, got ${smoothing}`);
  if (weights && weights.length !== classes) throw usageError(`class weights: expected ${classes}, one a class, got ${weights.length}`);
}

function classAxis(dims: readonly number[], given = -1): number {
  const axis = given < 0 ? given + dims.length : given;
  if (axis < 0 || axis >= dims.length) throw usageError(`class axis: expected an axis of scores [${dims}], got ${given}`);
  return axis;
}

function requireSize(what: string, value: Value, expected: number): void {
  const dims = dimsOf(value);
  if (elementCount(dims) !== expected)
    throw shapeError(`${what} "${value.name}": expected ${expected} elements, got [${dims}]`, { place: { value: value.name } });
}

/** Mean of softplus(x) - x t for scores x and targets t in [0,1]; `positiveWeight` multiplies the part of t. */
export function binaryCrossEntropy(b: GradBuilder, scores: Value, targets: Value, positiveWeight = 1): Value {
  const t = alike(b, scores, targets);
  const plain = b.sub(b.op('Softplus', [scores]), b.mul(scores, t));
  if (positiveWeight === 1) return meanAll(b, plain);
  return meanAll(b, b.add(plain, b.mul(b.scale(t, positiveWeight - 1), b.op('Softplus', [b.neg(scores)]))));
}

/** Targets in the type and shape of the prediction, which may differ in axes of one element. */
function alike(b: GradBuilder, prediction: Value, targets: Value): Value {
  requireSize('targets', targets, elementCount(dimsOf(prediction)));
  return b.reshape(b.cast(targets, dtypeOf(prediction)), dimsOf(prediction));
}

/** Mean of (x - t)^2. */
export function meanSquaredError(b: GradBuilder, prediction: Value, targets: Value): Value {
  const d = b.sub(prediction, alike(b, prediction, targets));
  return meanAll(b, b.mul(d, d));
}

/** Mean of |x - t|. */
export function meanAbsoluteError(b: GradBuilder, prediction: Value, targets: Value): Value {
  return meanAll(b, b.op('Abs', [b.sub(prediction, alike(b, prediction, targets))]));
}

/** Mean of d^2 / 2 for |d| = |x - t| up to delta, beyond it delta (|d| - delta / 2) (Huber 1964). */
export function huber(b: GradBuilder, prediction: Value, targets: Value, delta = 1): Value {
  if (!(delta > 0)) throw usageError(`Huber delta: expected a number above 0, got ${delta}`);
  const d = b.op('Abs', [b.sub(prediction, alike(b, prediction, targets))]);
  const c = b.op('Clip', [d, null, b.number(d, delta)]);
  return meanAll(b, b.mul(c, b.sub(d, b.scale(c, 0.5))));
}

/**
 * T^2 times the divergence of the student's from the teacher's softmax at temperature T, mean over rows (Hinton et al. 2015). The factor keeps the size
 * of gradients. Both are scores before the softmax, classes on `axis` (default the last).
 */
export function distillation(b: GradBuilder, student: Value, teacher: Value, temperature = 1, axis = -1): Value {
  if (!(temperature > 0)) throw usageError(`temperature: expected a number above 0, got ${temperature}`);
  const dims = dimsOf(student);
  const at = classAxis(dims, axis);
  const logs = (x: Value) => b.op('LogSoftmax', [b.scale(x, 1 / temperature)], { axis: at });
  const target = logs(alike(b, student, teacher));
  const divergence = b.mul(b.op('Exp', [target]), b.sub(target, logs(student)));
  return b.scale(sumAll(b, divergence), (temperature ** 2 * dims[at]!) / elementCount(dims));
}

/** Vectors on the last axis divided by their length; those shorter than 1e-6 stay short. */
function unitVectors(b: GradBuilder, x: Value): Value {
  const squares = b.reduceSum(b.mul(x, x), [dimsOf(x).length - 1]);
  return b.div(x, root(b, squares));
}

/** Square root with a finite gradient at zero: nothing below 1e-6 comes out. */
function root(b: GradBuilder, squares: Value): Value {
  return b.op('Sqrt', [b.op('Max', [squares, b.number(squares, 1e-12)])]);
}

/** Mean over rows of 1 - cos(x, t), vectors on the last axis. */
export function cosineDistance(b: GradBuilder, prediction: Value, targets: Value): Value {
  const dims = dimsOf(prediction);
  const product = b.mul(unitVectors(b, prediction), unitVectors(b, alike(b, prediction, targets)));
  const rows = elementCount(dims.slice(0, -1));
  return b.shift(b.scale(sumAll(b, product), -1 / rows), 1);
}

/**
 * In-batch contrastive loss of two sets of vectors [n, d]: row i of one belongs to row i of the other, all others of the batch are wrong answers
 * (van den Oord et al. 2018). Mean of both directions (Radford et al. 2021); similarities are cosines over `temperature`.
 */
export function contrastive(b: GradBuilder, left: Value, right: Value, temperature = 0.07): Value {
  const [n] = dimsOf(left);
  if (dimsOf(left).length !== 2 || n === undefined) throw shapeError(`vectors "${left.name}": expected [n,d], got [${dimsOf(left)}]`);
  const other = alike(b, left, right);
  const similarity = b.scale(b.op('MatMul', [unitVectors(b, left), b.transpose(unitVectors(b, other), [1, 0])]), 1 / temperature);
  const labels = b.ints(
    'pairs',
    Array.from({ length: n }, (_, i) => i),
  );
  const rows = crossEntropy(b, similarity, labels, { axis: 1 });
  const columns = crossEntropy(b, similarity, labels, { axis: 0 });
  return b.scale(b.add(rows, columns), 0.5);
}

export interface LossTerm {
  readonly loss: Value;
  readonly weight: number;
}

/** Sum of weight * loss; terms of weight 0 vanish. */
export function weightedSum(b: GradBuilder, terms: readonly LossTerm[]): Value {
  const parts = terms.filter((t) => t.weight !== 0).map((t) => b.scale(t.loss, t.weight));
  if (parts.length === 0) throw usageError('losses: expected at least one term with a weight other than 0, got none');
  return parts.reduce((sum, part) => b.add(sum, part));
}

/** Sum of |w| over all parameters: pulls weights to exactly zero. */
export function l1Penalty(b: GradBuilder, parameters: readonly Value[]): Value {
  return total(b, parameters, (w) => sumAll(b, b.op('Abs', [w])));
}

/** Half the sum of w^2: its gradient is w, as weight decay. */
export function l2Penalty(b: GradBuilder, parameters: readonly Value[]): Value {
  return total(b, parameters, (w) => b.scale(sumAll(b, b.mul(w, w)), 0.5));
}

/** Sum over the slices along `axis` of sqrt(size) times the length of the slice (Yuan and Lin 2006): pulls whole channels to zero. */
export function groupLasso(b: GradBuilder, parameters: readonly Value[], axis = 0): Value {
  return total(b, parameters, (w) => {
    const dims = dimsOf(w);
    const squares = b.reduceSum(
      b.mul(w, w),
      axesOf(w).filter((i) => i !== axis),
    );
    const size = elementCount(dims) / dims[axis]!;
    return b.scale(sumAll(b, root(b, squares)), Math.sqrt(size));
  });
}

function total(b: GradBuilder, parameters: readonly Value[], penalty: (w: Value) => Value): Value {
  if (parameters.length === 0) throw usageError('penalty: expected at least one parameter, got none');
  return parameters.map(penalty).reduce((sum, part) => b.add(sum, part));
}

export interface LossOptions extends CrossEntropyOptions {
  readonly delta?: number | undefined;
  readonly temperature?: number | undefined;
}

/** A loss by name: what it compares with, and how. */
export interface NamedLoss {
  /** Type and dimensions of the targets for predictions of these dimensions. */
  target(dims: readonly number[], prediction: DType, options: LossOptions): { readonly dtype: DType; readonly dims: readonly number[] };
  build(b: GradBuilder, prediction: Value, targets: Value, options: LossOptions): Value;
}

const LIKE_PREDICTION: NamedLoss['target'] = (dims, dtype) => ({ dtype, dims });

/** The losses of `--loss`. */
export const LOSSES = {
  'cross-entropy': {
    target: (dims, _dtype, { axis }) => ({ dtype: 'int64', dims: dims.filter((_, i) => i !== classAxis(dims, axis)) }),
    build: (b, x, t, options) => crossEntropy(b, x, t, options),
  },
  bce: { target: LIKE_PREDICTION, build: (b, x, t) => binaryCrossEntropy(b, x, t) },
  mse: { target: LIKE_PREDICTION, build: (b, x, t) => meanSquaredError(b, x, t) },
  l1: { target: LIKE_PREDICTION, build: (b, x, t) => meanAbsoluteError(b, x, t) },
  huber: { target: LIKE_PREDICTION, build: (b, x, t, { delta }) => huber(b, x, t, delta) },
  kl: { target: LIKE_PREDICTION, build: (b, x, t, { temperature, axis }) => distillation(b, x, t, temperature, axis) },
  cosine: { target: LIKE_PREDICTION, build: (b, x, t) => cosineDistance(b, x, t) },
} as const satisfies Record<string, NamedLoss>;

export type LossName = keyof typeof LOSSES;
