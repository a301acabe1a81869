// What a training minimises: a scalar behind the outputs of the model, and what must be fed for it. The losses of losses.ts by name, with labels taken
// from the batch as they come (class numbers, probabilities, values), and sums of objectives. Distillation and regularizers are further objectives.
import type { Batch } from '../data/dataset.js';
import { IGNORED_LABEL } from '../data/metric.js';
import { dataError, shapeError, usageError } from '../errors.js';
import { type DType, isFloat } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import { formatShape, tensorType } from '../ir/type.js';
import { dimsOf, dtypeOf, type GradBuilder } from '../ops/grad-builder.js';
import { LOSSES, type LossName, type LossOptions, softCrossEntropy } from './losses.js';

export type Feeds = Readonly<Record<string, Tensor>>;

export interface Objective {
  readonly name: string;
  /**
   * Adds the loss behind the outputs and answers it, a float scalar. May add inputs to the graph. Called once for each shape of batch, with a batch of
   * that shape.
   */
  build(b: GradBuilder, outputs: Readonly<Record<string, Value>>, batch: Batch): Value;
  /** Values of the inputs that `build` added. */
  feeds(batch: Batch): Feeds | Promise<Feeds>;
  /** What the mean over the batch is a mean of: its weight beside other batches. Samples where not given. */
  weight?(batch: Batch): number;
}

export interface LossObjectiveOptions extends LossOptions {
  /** Output that is compared; default: the one named "logits", else the first float one. */
  readonly output?: string | undefined;
  /** Name of the input with the labels. */
  readonly input?: string | undefined;
}

/** Activations that a loss has inside: where a model ends in one, its input is compared. */
const INSIDE: Partial<Record<LossName, readonly string[]>> = {
  'cross-entropy': ['Softmax', 'LogSoftmax'],
  kl: ['Softmax', 'LogSoftmax'],
  bce: ['Sigmoid'],
};

/** Losses of values, which take class numbers as rows of zeros and a one. */
const TAKES_ONE_HOT: ReadonlySet<LossName> = new Set(['bce', 'mse', 'l1', 'huber']);

/**
 * A loss by name between an output and the labels of the batch. Class numbers: `cross-entropy` (any shape of labels without the class axis; -100 does not
 * count), and the losses of values, as 0 and 1. Rows of probabilities: `cross-entropy` and `kl`. Throws E_DATA for data without labels, E_SHAPE where
 * labels do not fit the output.
 */
export function lossObjective(name: LossName, options: LossObjectiveOptions = {}): Objective {
  if (!Object.hasOwn(LOSSES, name)) throw usageError(`loss: expected one of ${Object.keys(LOSSES).join(', ')}, got "${name}"`);
  const input = options.input ?? 'labels';
  return {
    name,
    build(b, outputs, batch) {
      const labels = requireLabels(batch, name);
      const prediction = countedRows(b, comparedOutput(name, outputs, options.output), labels, batch);
      const form = labelForm(name, dimsOf(prediction), labels, options.axis);
      const fed = addInput(b, input, fedAs(labels), labels.dims);
      switch (form) {
        case 'classes': {
          const axis = classAxisOf(dimsOf(prediction), labels.dims, options.axis)!;
          // One label a sample is always there; of tokens some are padding.
          const ignore = options.ignore ?? (labels.rank > 1 ? IGNORED_LABEL : undefined);
          return LOSSES['cross-entropy'].build(b, prediction, fed, { ...options, axis, ignore });
        }
        case 'one-hot': {
          const dims = dimsOf(prediction);
          const ones = b.op('OneHot', [
            fed,
            b.scalar('depth', 'int64', dims.at(-1)!),
            b.constant('zero_one', Tensor.from(dtypeOf(prediction), [2], [0, 1])),
          ]);
          return LOSSES[name].build(b, prediction, ones, options);
        }
        case 'probabilities':
          if (name === 'cross-entropy') return softCrossEntropy(b, prediction, fed, options);
          // The divergence is of scores: the logarithms of probabilities are such.
          return LOSSES.kl.build(b, prediction, b.op('Log', [b.op('Max', [fed, b.number(fed, 1e-9)])]), options);
        case 'values':
          return LOSSES[name].build(b, prediction, fed, options);
      }
    },
    feeds(batch) {
      const labels = requireLabels(batch, name);
      return { [input]: labels.cast(fedAs(labels)) };
    },
    weight(batch) {
      const { labels } = batch;
      if (name !== 'cross-entropy' || !labels || isFloat(labels.dtype)) return batch.size;
      if (labels.rank < 2 && options.weights === undefined && options.ignore === undefined) return batch.size;
      const ignore = options.ignore ?? (labels.rank > 1 ? IGNORED_LABEL : undefined);
      let sum = 0;
      const numbers = labels.numbers();
      for (let i = 0; i < numbers.length; i++) if (numbers[i] !== ignore) sum += options.weights?.[numbers[i]!] ?? 1;
      return sum;
    },
  };
}

/** Sum of objectives, each times its weight. The first decides how batches weigh beside each other. */
export function weightedSum(terms: readonly { readonly objective: Objective; readonly weight: number }[]): Objective {
  const counted = terms.filter((t) => t.weight !== 0);
  const first = counted[0]?.objective;
  if (!first) throw usageError('objectives: expected at least one with a weight other than 0, got none');
  return {
    name: counted.map((t) => (t.weight === 1 ? t.objective.name : `${t.weight} ${t.objective.name}`)).join(' + '),
    build: (b, outputs, batch) =>
      counted.map((t) => b.scale(scalarOf(b, t.objective.build(b, outputs, batch)), t.weight)).reduce((sum, part) => b.add(sum, part)),
    async feeds(batch) {
      const parts = await Promise.all(counted.map((t) => t.objective.feeds(batch)));
      return Object.assign({}, ...parts) as Feeds;
    },
    weight: (batch) => first.weight?.(batch) ?? batch.size,
  };
}

/** Losses of one element each add up as scalars, whatever their rank. */
function scalarOf(b: GradBuilder, loss: Value): Value {
  return b.reshape(loss, []);
}

/** An input of the training graph; one of this name that is there already is shared. */
export function addInput(b: GradBuilder, name: string, dtype: DType, dims: readonly number[]): Value {
  const known = b.graph.inputs.find((v) => v.name === name);
  if (!known) return b.graph.addInput(name, tensorType(dtype, dims));
  const type = tensorTypeOf(known);
  if (type?.dtype === dtype && String(type.shape) === String(dims)) return known;
  throw usageError(`input "${name}" of the loss: the graph has another input of this name`, {
    hint: 'give the labels another name (option input)',
  });
}

function requireLabels(batch: Batch, loss: string): Tensor {
  if (batch.labels) return batch.labels;
  throw dataError(`loss ${loss}: expected labelled data, got a batch without labels`, {
    hint: 'label the data (labels array, class folders, --label COLUMN), or distil from a teacher model, which needs none',
  });
}

/** The output that losses and metrics look at. */
export function comparedOutput(loss: LossName, outputs: Readonly<Record<string, Value>>, wanted?: string): Value {
  const all = Object.values(outputs);
  const isFloatOutput = (v: Value) => isFloat(tensorTypeOf(v)?.dtype ?? 'string');
  const output = wanted === undefined ? (outputs.logits ?? all.find(isFloatOutput)) : outputs[wanted];
  if (!output || !isFloatOutput(output)) {
    const names = all.filter(isFloatOutput).map((v) => `"${v.name}"`);
    throw usageError(`output of the loss: expected one of ${names.join(', ') || 'no output is float'}, got "${wanted ?? 'none'}"`);
  }
  const { producer } = output;
  const last = dimsOf(output).length - 1;
  const inside = producer !== null && producer.domain === '' && INSIDE[loss]?.includes(producer.opType);
  if (!inside) return output;
  const axis = producer.int('axis', -1);
  return producer.opType === 'Sigmoid' || axis === -1 || axis === last ? producer.input(0)! : output;
}

/** Rows that count: a model of fixed batch size also computes those that fill up a short batch. */
function countedRows(b: GradBuilder, prediction: Value, labels: Tensor, batch: Batch): Value {
  const rows = dimsOf(prediction)[0];
  const count = batch.size;
  if (rows === undefined || rows <= count || labels.dims[0] !== count) return prediction;
  const filled = Object.values(batch.inputs).some((t) => t.dims[0] === rows);
  return filled ? b.slice(prediction, [0], [0], [count]) : prediction;
}

type LabelForm = 'classes' | 'one-hot' | 'probabilities' | 'values';

/** Type in which labels are fed: the losses cast them. */
const fedAs = (labels: Tensor): 'float' | 'int64' => (isFloat(labels.dtype) ? 'float' : 'int64');

/** How labels are to be read, by their type and shape beside the prediction's. */
function labelForm(loss: LossName, dims: readonly number[], labels: Tensor, axis: number | undefined): LabelForm {
  const same = labels.size === elementCount(dims);
  const integers = !isFloat(labels.dtype);
  if (loss === 'cross-entropy' && integers && classAxisOf(dims, labels.dims, axis) !== undefined) return 'classes';
  if (loss === 'cross-entropy' && !integers && same) return 'probabilities';
  if (loss === 'kl' && !integers && same) return 'probabilities';
  if (loss === 'cosine' && !integers && same) return 'values';
  if (TAKES_ONE_HOT.has(loss)) {
    if (integers && !same && String(labels.dims) === String(dims.slice(0, -1))) return 'one-hot';
    if (same) return 'values';
  }
  const wanted =
    loss === 'cross-entropy'
      ? `class numbers ${formatShape(dims.slice(0, -1))} or probabilities ${formatShape(dims)}`
      : `${TAKES_ONE_HOT.has(loss) ? 'numbers' : 'floats'} ${formatShape(dims)}`;
  throw shapeError(`loss ${loss}: expected labels as ${wanted}, got ${labels.dtype}${formatShape(labels.dims)}`, {
    hint:
      loss === 'cross-entropy' && dims.at(-1) === 1
        ? 'one score a sample decides between two classes: use bce'
        : 'use cross-entropy for class numbers, mse, l1 or huber for values',
  });
}

/** Axis of the prediction that the labels do not have: the one given, the last, or axis 1 (maps of scores). */
function classAxisOf(dims: readonly number[], labels: readonly number[], given: number | undefined): number | undefined {
  const without = (axis: number) => dims.filter((_, i) => i !== axis);
  const candidates = given === undefined ? [dims.length - 1, 1] : [given < 0 ? given + dims.length : given];
  return candidates.find((axis) => axis < dims.length && axis >= 0 && String(without(axis)) === String(labels) && dims[axis]! > 1);
}
