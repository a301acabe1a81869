// Metrics against values worked out by hand or by their definitions, and evaluation of sessions over data.
import { describe, expect, it } from 'vitest';
import { Tensor } from '../ir/tensor.js';
import type { Session } from '../runtime/engine.js';
import { tensorDataset } from './indexed.js';
import type { Metric, MetricBatch } from './metric.js';
import { compareMetrics, evaluateMetric, evaluateMetrics, METRICS, metricNamed } from './metrics.js';

const floats = (dims: number[], values: number[]) => Tensor.from('float', dims, values);
const labels = (...values: number[]) => Tensor.from('int64', [values.length], values);

function score(metric: Metric, output: Tensor, extra: Partial<MetricBatch> = {}, size = output.dims[0]!): number {
  const accumulator = metric.create();
  void accumulator.update({ outputs: { y: output }, inputs: {}, size, rows: size, ...extra });
  return accumulator.result();
}

describe('classes', () => {
  const scores = floats([4, 3], [3, 1, 2, 0, 5, 1, 1, 1, 0, 2, 7, 9]);

  it('counts hits', () => {
    expect(score(METRICS.top1, scores, { labels: labels(0, 1, 1, 2) })).toBe(0.75);
    expect(score(METRICS.top1, scores, { labels: floats([4, 3], [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]) })).toBe(0.75);
    expect(score(METRICS.top1, floats([4, 1], [0.2, 0.7, 0.9, 0.1]), { labels: labels(0, 1, 0, 0) })).toBe(0.75);
    expect(score(METRICS.top1, floats([4], [-2, 7, 0.9, -0.1]), { labels: labels(0, 1, 0, 0) })).toBe(0.75);
    const seven = floats([2, 7], [7, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
    expect(score(METRICS.top5, seven, { labels: labels(4, 5) })).toBe(0.5);
    expect(score(METRICS.top5, seven, { labels: labels(5, 4) })).toBe(0.5);
  });

  it('counts only the samples of the batch', () => {
    expect(score(METRICS.top1, scores, { labels: labels(0), rows: 4 }, 1)).toBe(1);
    expect(score(METRICS.top1, floats([1, 2, 3], [0, 1, 0, 1, 0, 0]), { labels: Tensor.from('int64', [1, 2], [1, -100]) })).toBe(1);
  });

  it('takes NaN as wrong', () => {
    expect(score(METRICS.top1, floats([1, 2], [Number.NaN, Number.NaN]), { labels: labels(0) })).toBe(0);
    expect(score(METRICS.top5, floats([1, 2], [Number.NaN, Number.NaN]), { labels: labels(0) })).toBe(0);
  });

  it('gives F1 and MCC by their definitions', () => {
    // Predictions 1 1 0 1 0 against 1 0 0 1 1: two true positives, one false positive, one false negative, one true negative.
    const binary = floats([5, 2], [0, 1, 0, 1, 1, 0, 0, 1, 1, 0]);
    const truth = { labels: labels(1, 0, 0, 1, 1) };
    expect(score(METRICS.f1, binary, truth)).toBeCloseTo(4 / 6, 12);
    expect(score(METRICS.mcc, binary, truth)).toBeCloseTo((2 * 1 - 1 * 1) / Math.sqrt(3 * 3 * 2 * 2), 12);
    // Three classes: F1 of 0 is 1, of 1 is 2/3, of 2 is 0.
    const three = floats([4, 3], [1, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0]);
    expect(score(METRICS.f1, three, { labels: labels(0, 1, 2, 0) })).toBeCloseTo((1 + 2 / 3 + 0) / 3, 12);
  });

  it('gives the cross-entropy of logits and of probabilities', () => {
    const expected = Math.log(Math.exp(3) + Math.exp(1) + Math.exp(2)) - 3;
    expect(score(METRICS.loss, floats([1, 3], [3, 1, 2]), { labels: labels(0) })).toBeCloseTo(expected, 6);
    expect(score(METRICS.loss, floats([2, 2], [0.25, 0.75, 0.5, 0.5]), { labels: labels(1, 0) })).toBeCloseTo(
      -(Math.log(0.75) + Math.log(0.5)) / 2,
      6,
    );
    expect(score(METRICS.perplexity, floats([1, 4], [2, 2, 2, 2]), { labels: labels(3) })).toBeCloseTo(4, 6);
    expect(score(METRICS.loss, floats([1, 1], [2]), { labels: labels(0) })).toBeCloseTo(Math.log(1 + Math.exp(2)), 6);
    expect(score(METRICS.loss, floats([1, 2], [0, 1]), { labels: labels(0) })).toBeCloseTo(-Math.log(1e-7), 3);
  });
});

describe('values', () => {
  it('measures error and correlation', () => {
    const output = floats([4, 1], [1, 2, 3, 5]);
    expect(score(METRICS.mse, output, { labels: floats([4], [1, 2, 3, 3]) })).toBe(1);
    expect(score(METRICS.pearson, output, { labels: floats([4], [2, 4, 6, 10]) })).toBeCloseTo(1, 12);
    expect(score(METRICS.pearson, output, { labels: floats([4], [1, 1, 1, 1]) })).toBe(0);
    expect(score(METRICS.spearman, output, { labels: floats([4], [1, 8, 9, 99]) })).toBeCloseTo(1, 12);
    // Ties share their mean rank: ranks 1, 2.5, 2.5, 4 against 1..4.
    expect(score(METRICS.spearman, output, { labels: floats([4], [0, 5, 5, 9]) })).toBeCloseTo(4.5 / Math.sqrt(5 * 4.5), 12);
  });
});

describe('against a reference', () => {
  const against = (reference: Tensor) => ({ reference: { y: reference } });

  it('compares decisions, directions and distributions', () => {
    const a = floats([2, 2], [2, 1, 0, 3]);
    expect(score(METRICS.agreement, a, against(floats([2, 2], [9, 8, 1, 0])))).toBe(0.5);
    expect(score(METRICS.agreement, floats([2, 1], [0.4, 0.6]), against(floats([2, 1], [0.1, 0.2])))).toBe(0.5);
    expect(score(METRICS.agreement, Tensor.from('int64', [2], [4, 5]), against(Tensor.from('int64', [2], [4, 6])))).toBe(0.5);
    expect(score(METRICS.cosine, floats([1, 2], [1, 1]), against(floats([1, 2], [1, 0])))).toBeCloseTo(Math.SQRT1_2, 6);
    expect(score(METRICS.cosine, floats([1, 2], [Number.NaN, 1]), against(floats([1, 2], [1, 0])))).toBe(0);
    expect(score(METRICS.cosine, floats([1, 2], [0, 0]), against(floats([1, 2], [0, 0])))).toBe(1);
    const kl = 0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75);
    expect(score(METRICS.kl, floats([1, 2], [0.25, 0.75]), against(floats([1, 2], [0.5, 0.5])))).toBeCloseTo(kl, 6);
    expect(score(METRICS.kl, floats([1, 2], [0, Math.log(3)]), against(floats([1, 2], [7, 7])))).toBeCloseTo(kl, 6);
    expect(score(METRICS.kl, a, against(a))).toBe(0);
  });

  it('takes the worst of several outputs', () => {
    const accumulator = METRICS.cosine.create();
    const y = floats([1, 2], [1, 1]);
    const outputs = { y, z: floats([1, 2], [1, 0]) };
    void accumulator.update({ outputs, reference: { y, z: floats([1, 2], [0, 1]) }, inputs: {}, size: 1, rows: 1 });
    expect(accumulator.result()).toBe(0);
  });
});

describe('errors', () => {
  it('name what was expected', () => {
    const output = floats([2, 3], [1, 2, 3, 4, 5, 6]);
    expect(() => score(METRICS.top1, output)).toThrow(/labelled data/);
    expect(() => score(METRICS.top1, output, { labels: labels(0, 3) })).toThrow(/labels from 0 to 2.*got 3/);
    expect(() => score(METRICS.loss, output, { labels: floats([2], [0.5, 1]) })).toThrow(/got 0.5/);
    expect(() => score(METRICS.mse, output, { labels: labels(0, 1) })).toThrow(/one value per label \[2\], got output float\[2,3\]/);
    expect(() => score(METRICS.kl, output)).toThrow(/reference model/);
    expect(() => score(METRICS.cosine, output, { reference: { y: floats([2, 2], [1, 2, 3, 4]) } })).toThrow(/output "y" \[2,2\]/);
    expect(() => metricNamed('accuracy')).toThrow(/expected top1, top5, .*got "accuracy"/);
  });
});

describe('evaluation', () => {
  const session = (factor: number): Session => ({
    inputs: [],
    outputs: [],
    run: async (feeds) => ({
      y: floats(
        [...feeds.x!.dims],
        [...feeds.x!.floats()].map((v) => v * factor),
      ),
    }),
    endProfiling: async () => [],
    release: async () => undefined,
  });
  const data = tensorDataset('d', { x: floats([5, 2], [1, 2, 3, 1, 0, 1, 5, 4, 1, 9]) }, labels(1, 0, 1, 0, 0));

  it('runs each batch once for all metrics', async () => {
    let calls = 0;
    const counted: Session = {
      ...session(1),
      run(feeds) {
        calls++;
        return session(1).run(feeds);
      },
    };
    const { values, samples } = await evaluateMetrics(counted, data, [METRICS.top1, METRICS.loss], { batchSize: 2 });
    expect([values.top1, samples, calls]).toEqual([0.8, 5, 3]);
    expect(await evaluateMetric(session(1), data, METRICS.top1, { limit: 4, batchSize: 3 })).toBe(1);
  });

  it('scores two models on the same batches', async () => {
    const result = await compareMetrics(session(1), session(-1), data, [METRICS.top1, METRICS.agreement]);
    expect(result.before).toEqual({ top1: 0.8, agreement: 1 });
    expect(result.after.agreement).toBe(0);
    expect(result.after.top1).toBeCloseTo(0.2, 12);
  });

  it('refuses metrics that lack what they need', async () => {
    const bare = tensorDataset('bare', { x: floats([2, 2], [1, 2, 3, 4]) });
    await expect(evaluateMetric(session(1), bare, METRICS.top1)).rejects.toThrow(/got "bare" without labels/);
    await expect(evaluateMetric(session(1), data, METRICS.kl)).rejects.toThrow(/reference model to compare with/);
  });
});
