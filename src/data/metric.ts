// What a metric is, and how model outputs are read as scores: rows of classes, or one column that decides between two.
import { dataError, shapeError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Tensor } from '../ir/tensor.js';
import { formatShape } from '../ir/type.js';

export interface MetricBatch {
  /** Outputs of the model under test; may hold more rows than `size` where its batch is fixed. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly labels?: Tensor | undefined;
  /** Outputs of the reference model on the same inputs. */
  readonly reference?: Readonly<Record<string, Tensor>> | undefined;
  /** Samples that count. */
  readonly size: number;
  /** Rows that were fed: `size`, or the model's fixed batch. */
  readonly rows: number;
}

export interface MetricAccumulator {
  update(batch: MetricBatch): void | Promise<void>;
  /** The figure over everything seen. */
  result(): number;
}

export interface MetricOptions {
  /** Output that is judged; default: the one named "logits", else the first float one. */
  readonly output?: string | undefined;
}

export interface Metric {
  readonly name: string;
  readonly summary: string;
  readonly higherIsBetter: boolean;
  /** What each batch must bring. */
  readonly needs: 'labels' | 'reference' | 'outputs';
  create(options?: MetricOptions): MetricAccumulator;
}

/** The judged output. Throws E_USAGE where the name asked for is none of the outputs. */
export function mainOutput(outputs: Readonly<Record<string, Tensor>>, { output }: MetricOptions = {}): Tensor {
  const names = Object.keys(outputs);
  const chosen = output ?? (names.includes('logits') ? 'logits' : (names.find((n) => isFloat(outputs[n]!.dtype)) ?? names[0]));
  const tensor = chosen === undefined ? undefined : outputs[chosen];
  if (tensor === undefined) throw usageError(`metric output "${output}": expected one of ${names.join(', ')}, got "${output}"`);
  return tensor;
}

/** Values of the rows that count, and how many there are per sample. A model without a batch axis answers for one sample. */
export function sampleValues(
  output: Tensor,
  { size, rows }: Pick<MetricBatch, 'size' | 'rows'>,
): { values: Float32Array; perSample: number } {
  const matches = output.dims[0] === rows || rows === 1;
  if (!matches) throw shapeError(`model output: expected ${rows} rows, got ${output.dtype}${formatShape(output.dims)}`);
  const perSample = output.size / rows;
  return { values: output.floats().subarray(0, size * perSample), perSample };
}

/** Label of rows that do not count, padding of token labels for one: PyTorch's convention. */
export const IGNORED_LABEL = -100;

/** Scores [rows, classes] with a label per row, those without a label left in with IGNORED_LABEL. */
export interface Scores {
  readonly values: Float32Array;
  readonly rows: number;
  /** 1 where a single column decides between two classes. */
  readonly classes: number;
  readonly labels: Float64Array;
}

/** Labels of a batch. Throws E_DATA where there are none. */
export function labelsOf(batch: MetricBatch, metric: string): Tensor {
  if (batch.labels === undefined)
    throw dataError(`metric ${metric}: expected labelled data, got data without labels`, {
      hint: 'label the data (labels array, class folders, --label COLUMN), or use kl, cosine or agreement, which compare with the original model',
    });
  return batch.labels;
}

/** Outputs as class scores with class labels, checked against each other. One-hot labels of the output's own shape are read as their largest entry. */
export function scoresOf(batch: MetricBatch, metric: string, options: MetricOptions): Scores {
  const given = labelsOf(batch, metric);
  const { values, perSample } = sampleValues(mainOutput(batch.outputs, options), batch);
  const oneHot = given.rank === 2 && given.dims[1] === perSample && perSample > 1;
  const labels = oneHot ? argmaxRows(given.floats(), perSample) : Float64Array.from(given.numbers());
  const classes = (perSample * batch.size) / labels.length;
  if (!Number.isInteger(classes) || classes < 1)
    throw shapeError(`metric ${metric}: expected class scores for labels ${formatShape(given.dims)}, got ${perSample} values per sample`);
  const limit = Math.max(2, classes);
  for (const label of labels) {
    if (label === IGNORED_LABEL || (Number.isInteger(label) && label >= 0 && label < limit)) continue;
    throw dataError(`metric ${metric}: expected labels from 0 to ${limit - 1} (the model answers ${classes} scores), got ${label}`, {
      hint: Number.isInteger(label)
        ? 'the class numbers of data and model differ'
        : 'these labels are values: use mse, pearson or spearman',
    });
  }
  return { values, rows: labels.length, classes, labels };
}

function argmaxRows(values: Float32Array, width: number): Float64Array {
  return Float64Array.from({ length: values.length / width }, (_, r) => argmax(values, r * width, width));
}

/** Index of the largest of `width` values from `start`, the first of equals; -1 where none is a number. */
export function argmax(values: ArrayLike<number>, start: number, width: number): number {
  let best = -1;
  let max = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < width; k++) {
    const v = values[start + k]!;
    if (v > max || (best < 0 && v === max)) [best, max] = [k, v];
  }
  return best;
}

/**
 * True where every row is a probability distribution: values in [0, 1] that sum to 1 (within 0.001), or for one column just the range.
 * Metrics decide this once, on their first batch.
 */
export function areProbabilities(values: Float32Array, classes: number): boolean {
  if (values.length === 0) return false;
  for (let r = 0; r < values.length; r += classes) {
    let sum = 0;
    for (let k = 0; k < classes; k++) {
      const v = values[r + k]!;
      if (!(v >= 0 && v <= 1)) return false;
      sum += v;
    }
    if (classes > 1 && Math.abs(sum - 1) > 1e-3) return false;
  }
  return true;
}

/** Log-probabilities of one row into `out` (two entries for one column). */
export function logProbabilities(values: Float32Array, start: number, classes: number, probabilities: boolean, out: Float64Array): void {
  if (classes === 1) {
    const v = values[start]!;
    out[0] = probabilities ? logFloor(1 - v) : -softplus(v);
    out[1] = probabilities ? logFloor(v) : -softplus(-v);
    return;
  }
  if (probabilities) {
    let sum = 0;
    for (let k = 0; k < classes; k++) sum += Math.max(0, values[start + k]!);
    for (let k = 0; k < classes; k++) out[k] = logFloor(values[start + k]! / (sum || 1));
    return;
  }
  let max = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < classes; k++) max = Math.max(max, values[start + k]!);
  let sum = 0;
  for (let k = 0; k < classes; k++) sum += Math.exp(values[start + k]! - max);
  const log = max + Math.log(sum);
  for (let k = 0; k < classes; k++) out[k] = values[start + k]! - log;
}

/** Probabilities below this count as this: a stored zero says "less than I can show", not "impossible". */
export const PROBABILITY_FLOOR = 1e-7;

const logFloor = (p: number) => Math.log(Math.max(p, PROBABILITY_FLOOR));
const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
