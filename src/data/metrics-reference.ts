// Metrics against a reference model on the same inputs: no labels needed. The reference is the model as it was before it was changed.
import { shapeError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Tensor } from '../ir/tensor.js';
import { formatShape } from '../ir/type.js';
import {
  areProbabilities,
  argmax,
  logProbabilities,
  type Metric,
  type MetricBatch,
  type MetricOptions,
  mainOutput,
  sampleValues,
} from './metric.js';

function referenceOf(batch: MetricBatch, metric: string): Readonly<Record<string, Tensor>> {
  if (batch.reference === undefined)
    throw usageError(`metric ${metric}: expected a reference model to compare with, got none`, {
      hint: 'give the original model as the reference',
    });
  return batch.reference;
}

/** Both models' main output of the samples that count; the same number of values, [rows, classes]. */
function pairOf(batch: MetricBatch, metric: string, options: MetricOptions) {
  const output = mainOutput(batch.outputs, options);
  const expected = mainOutput(referenceOf(batch, metric), options);
  const [a, b] = [sampleValues(expected, batch), sampleValues(output, batch)];
  if (a.values.length !== b.values.length)
    throw shapeError(
      `metric ${metric}: expected output ${formatShape(expected.dims)} as the reference has, got ${formatShape(output.dims)}`,
    );
  const classes = output.rank <= 1 ? (output.dims[0] === batch.rows ? 1 : output.size) : (output.dims.at(-1) ?? 1);
  return { reference: a.values, values: b.values, classes: Math.max(1, classes), discrete: !isFloat(expected.dtype) };
}

/** Decisions equal to the reference's: highest class along the last axis, the side of 0 or 0.5 for one column, the value itself for integers. */
export const AGREEMENT: Metric = {
  name: 'agreement',
  summary: 'share of decisions equal to those of the reference model',
  higherIsBetter: true,
  needs: 'reference',
  create(options = {}) {
    let [same, all] = [0, 0];
    let threshold: number | undefined;
    return {
      update(batch) {
        const { reference, values, classes, discrete } = pairOf(batch, 'agreement', options);
        if (classes === 1 || discrete) {
          threshold ??= areProbabilities(reference, 1) ? 0.5 : 0;
          for (let i = 0; i < values.length; i++) {
            const equal = discrete ? values[i] === reference[i] : values[i]! > threshold === reference[i]! > threshold;
            if (equal && !Number.isNaN(values[i])) same++;
          }
          all += values.length;
          return;
        }
        for (let r = 0; r < values.length; r += classes) {
          all++;
          if (argmax(values, r, classes) === argmax(reference, r, classes)) same++;
        }
      },
      result: () => same / all,
    };
  },
};

/** Cosine of the angle between two vectors: 1 for two zero vectors, 0 where only one is zero or something is not a number. */
export function cosineSimilarity(a: ArrayLike<number>, b: ArrayLike<number>, start = 0, length = a.length): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = start; i < start + length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  if (aa === 0 && bb === 0) return 1;
  const cosine = ab / Math.sqrt(aa * bb);
  return Number.isNaN(cosine) || aa === 0 || bb === 0 ? 0 : cosine;
}

/** Per float output the mean over samples; the result is the worst output's. */
export const COSINE: Metric = {
  name: 'cosine',
  summary: 'cosine similarity with the reference outputs, mean over samples, worst output',
  higherIsBetter: true,
  needs: 'reference',
  create(options = {}) {
    const sums = new Map<string, number>();
    let count = 0;
    return {
      update(batch) {
        const reference = referenceOf(batch, 'cosine');
        const names = options.output === undefined ? Object.keys(reference).filter((n) => isFloat(reference[n]!.dtype)) : [options.output];
        for (const name of names) {
          const [expected, output] = [reference[name], batch.outputs[name]];
          if (expected === undefined || output === undefined || expected.size !== output.size)
            throw shapeError(
              `metric cosine: expected output "${name}" ${formatShape(expected?.dims)} as the reference has, got ${output ? formatShape(output.dims) : 'none'}`,
            );
          const [a, b] = [sampleValues(expected, batch), sampleValues(output, batch)];
          let sum = sums.get(name) ?? 0;
          for (let i = 0; i < batch.size; i++) sum += cosineSimilarity(a.values, b.values, i * a.perSample, a.perSample);
          sums.set(name, sum);
        }
        count += batch.size;
      },
      result: () => Math.min(...[...sums.values()].map((sum) => sum / count)),
    };
  },
};

/** KL(reference || model) along the last axis, mean over rows; outputs that are no probabilities go through a softmax (a sigmoid for one column). */
export const KL: Metric = {
  name: 'kl',
  summary: 'Kullback-Leibler divergence from the reference distribution, in nats',
  higherIsBetter: false,
  needs: 'reference',
  create(options = {}) {
    let probabilities: boolean | undefined;
    let [sum, count] = [0, 0];
    return {
      update(batch) {
        const { reference, values, classes } = pairOf(batch, 'kl', options);
        probabilities ??= areProbabilities(reference, classes);
        const width = Math.max(2, classes);
        const [p, q] = [new Float64Array(width), new Float64Array(width)];
        for (let r = 0; r < values.length; r += classes) {
          logProbabilities(reference, r, classes, probabilities, p);
          logProbabilities(values, r, classes, probabilities, q);
          let divergence = 0;
          for (let k = 0; k < width; k++) divergence += Math.exp(p[k]!) * (p[k]! - q[k]!);
          sum += Number.isNaN(divergence) ? Number.POSITIVE_INFINITY : Math.max(0, divergence);
          count++;
        }
      },
      result: () => sum / count,
    };
  },
};
