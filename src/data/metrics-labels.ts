// Metrics against labels. Accuracies and correlations are fractions (0..1, -1..1); losses are in nats.
// mcc: multi-class R_K (Gorodkin, 2004). f1: class 1 where there are two classes, else the unweighted mean over the classes seen (macro).
import { shapeError } from '../errors.js';
import { formatShape } from '../ir/type.js';
import {
  areProbabilities,
  argmax,
  IGNORED_LABEL,
  labelsOf,
  logProbabilities,
  type Metric,
  type MetricBatch,
  type MetricOptions,
  mainOutput,
  type Scores,
  sampleValues,
  scoresOf,
} from './metric.js';

/** Predicted class per row; one column decides at 0.5 (probabilities) or 0 (logits). */
function predictor(): (scores: Scores) => Float64Array {
  let threshold: number | undefined;
  return ({ values, rows, classes }) => {
    if (classes > 1) return Float64Array.from({ length: rows }, (_, r) => argmax(values, r * classes, classes));
    threshold ??= areProbabilities(values, 1) ? 0.5 : 0;
    const at = threshold;
    return Float64Array.from(values, (v) => (v > at ? 1 : 0));
  };
}

function classMetric(
  name: string,
  summary: string,
  create: (predict: (scores: Scores) => Float64Array) => {
    row: (label: number, predicted: number, r: number, scores: Scores) => void;
    result: () => number;
  },
): Metric {
  return {
    name,
    summary,
    higherIsBetter: true,
    needs: 'labels',
    create(options: MetricOptions = {}) {
      const predict = predictor();
      const state = create(predict);
      return {
        update(batch) {
          const scores = scoresOf(batch, name, options);
          const predicted = predict(scores);
          for (let r = 0; r < scores.rows; r++)
            if (scores.labels[r] !== IGNORED_LABEL) state.row(scores.labels[r]!, predicted[r]!, r, scores);
        },
        result: state.result,
      };
    },
  };
}

export const TOP1 = classMetric('top1', 'share of samples whose highest score is the label', () => {
  let [right, all] = [0, 0];
  return {
    row(label, predicted) {
      all++;
      if (label === predicted) right++;
    },
    result: () => right / all,
  };
});

export const TOP5 = classMetric('top5', 'share of samples whose label is among the five highest scores', () => {
  let [right, all] = [0, 0];
  return {
    row(label, predicted, r, { values, classes }) {
      all++;
      if (classes === 1) {
        if (label === predicted) right++;
        return;
      }
      const own = values[r * classes + label]!;
      let higher = 0;
      for (let k = 0; k < classes; k++) {
        const v = values[r * classes + k]!;
        if (v > own || (v === own && k < label)) higher++;
      }
      if (higher < 5 && !Number.isNaN(own)) right++;
    },
    result: () => right / all,
  };
});

/** Counts of label against prediction. */
class Confusion {
  readonly #cells = new Map<string, number>();
  readonly #labels = new Map<number, number>();
  readonly #predictions = new Map<number, number>();
  right = 0;
  all = 0;
  binary = true;

  add(label: number, predicted: number, classes: number): void {
    const count = <K>(map: Map<K, number>, key: K) => map.set(key, (map.get(key) ?? 0) + 1);
    count(this.#cells, `${label} ${predicted}`);
    count(this.#labels, label);
    count(this.#predictions, predicted);
    if (classes > 2) this.binary = false;
    if (label === predicted) this.right++;
    this.all++;
  }

  f1(k: number): number {
    const hits = this.#cells.get(`${k} ${k}`) ?? 0;
    const total = (this.#labels.get(k) ?? 0) + (this.#predictions.get(k) ?? 0);
    return total === 0 ? 0 : (2 * hits) / total;
  }

  seen(): number[] {
    return [...new Set([...this.#labels.keys(), ...this.#predictions.keys()])];
  }

  mcc(): number {
    let [product, labels, predictions] = [0, 0, 0];
    for (const k of this.seen()) {
      const [t, p] = [this.#labels.get(k) ?? 0, this.#predictions.get(k) ?? 0];
      product += t * p;
      labels += t * t;
      predictions += p * p;
    }
    const square = this.all ** 2;
    const scale = Math.sqrt((square - predictions) * (square - labels));
    return scale === 0 ? 0 : (this.right * this.all - product) / scale;
  }
}

export const F1 = classMetric('f1', 'F1 of class 1 with two classes, else the mean F1 over classes (macro)', () => {
  const counts = new Confusion();
  return {
    row: (label, predicted, _r, { classes }) => counts.add(label, predicted, classes),
    result() {
      if (counts.binary) return counts.f1(1);
      const classes = counts.seen();
      return classes.reduce((sum, k) => sum + counts.f1(k), 0) / classes.length;
    },
  };
});

export const MCC = classMetric('mcc', 'Matthews correlation coefficient of predicted and true classes', () => {
  const counts = new Confusion();
  return { row: (label, predicted, _r, { classes }) => counts.add(label, predicted, classes), result: () => counts.mcc() };
});

function crossEntropy(name: string, summary: string, finish: (loss: number) => number): Metric {
  return {
    name,
    summary,
    higherIsBetter: false,
    needs: 'labels',
    create(options: MetricOptions = {}) {
      let probabilities: boolean | undefined;
      let [sum, count] = [0, 0];
      return {
        update(batch) {
          const { values, rows, classes, labels } = scoresOf(batch, name, options);
          probabilities ??= areProbabilities(values, classes);
          const logs = new Float64Array(Math.max(2, classes));
          for (let r = 0; r < rows; r++) {
            if (labels[r] === IGNORED_LABEL) continue;
            logProbabilities(values, r * classes, classes, probabilities, logs);
            sum -= logs[labels[r]!]!;
            count++;
          }
        },
        result: () => finish(sum / count),
      };
    },
  };
}

export const LOSS = crossEntropy('loss', 'mean cross-entropy in nats, from logits, log-probabilities or probabilities', (loss) => loss);
export const PERPLEXITY = crossEntropy('perplexity', 'exponential of the mean cross-entropy', Math.exp);

/** Predictions and labels as values, element by element. */
function valuesOf(batch: MetricBatch, metric: string, options: MetricOptions): { predicted: Float32Array; labels: Float32Array } {
  const given = labelsOf(batch, metric);
  const output = mainOutput(batch.outputs, options);
  const predicted = sampleValues(output, batch).values;
  const labels = given.floats();
  if (labels.length !== predicted.length)
    throw shapeError(
      `metric ${metric}: expected one value per label ${formatShape(given.dims)}, got output ${output.dtype}${formatShape(output.dims)}`,
      {
        hint: 'this metric is for regression; for classes use top1, f1 or loss',
      },
    );
  return { predicted, labels };
}

export const MSE: Metric = {
  name: 'mse',
  summary: 'mean squared error against the labels',
  higherIsBetter: false,
  needs: 'labels',
  create(options = {}) {
    let [sum, count] = [0, 0];
    return {
      update(batch) {
        const { predicted, labels } = valuesOf(batch, 'mse', options);
        for (let i = 0; i < labels.length; i++) sum += (predicted[i]! - labels[i]!) ** 2;
        count += labels.length;
      },
      result: () => sum / count,
    };
  },
};

function correlation(name: string, summary: string, prepare: (values: Float64Array) => Float64Array): Metric {
  return {
    name,
    summary,
    higherIsBetter: true,
    needs: 'labels',
    create(options: MetricOptions = {}) {
      const [xs, ys]: [number[], number[]] = [[], []];
      return {
        update(batch) {
          const { predicted, labels } = valuesOf(batch, name, options);
          for (let i = 0; i < labels.length; i++) {
            xs.push(predicted[i]!);
            ys.push(labels[i]!);
          }
        },
        result: () => pearson(prepare(Float64Array.from(xs)), prepare(Float64Array.from(ys))),
      };
    },
  };
}

function pearson(x: Float64Array, y: Float64Array): number {
  const mean = (v: Float64Array) => v.reduce((a, b) => a + b, 0) / v.length;
  const [mx, my] = [mean(x), mean(y)];
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]! - mx, y[i]! - my];
    xy += a * b;
    xx += a * a;
    yy += b * b;
  }
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy);
}

/** Ranks from 1; equal values share their mean rank. */
function ranks(values: Float64Array): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const out = new Float64Array(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let k = start; k < end; k++) out[order[k]!] = (start + end + 1) / 2;
    start = end;
  }
  return out;
}

export const PEARSON = correlation('pearson', 'linear correlation of outputs and labels', (v) => v);
export const SPEARMAN = correlation('spearman', 'rank correlation of outputs and labels', ranks);
