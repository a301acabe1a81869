import { describe, expect, it } from 'vitest';
import { buildModel } from '../ir/builder.js';
import { Tensor } from '../ir/tensor.js';
import { Rng } from '../util/rng.js';
import { cropWithPadding, cutout, gaussianNoise, horizontalFlip, parseAugmentations } from './augment.js';
import { bucketBatches, bucketLengths } from './buckets.js';
import type { Batch } from './dataset.js';
import { subsetDataset, tensorDataset } from './indexed.js';
import { mixup } from './mixup.js';
import { languageDataset, textDataset } from './text.js';
import { textEncoderFrom } from './tokenizer.js';
import { readAhead, type TrainingData, trainingData } from './training.js';

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const counting = (n: number, fixedBatch?: number) =>
  tensorDataset(
    'count',
    { x: Tensor.from('float', [n, 1], range(n)) },
    Tensor.from('int64', [n], range(n)),
    fixedBatch ? { fixedBatch } : {},
  );

async function all(data: TrainingData, epoch: number, options: { batchSize: number; seed: number; from?: number }): Promise<Batch[]> {
  const out: Batch[] = [];
  for await (const batch of data.epoch(epoch, options)) out.push(batch);
  return out;
}
const values = (batches: readonly Batch[]) => batches.map((b) => Array.from(b.inputs.x!.numbers()));

describe('epochs', () => {
  it('hold every sample once, in an order that follows from seed and epoch alone', async () => {
    const data = trainingData(counting(10));
    const first = await all(data, 0, { batchSize: 4, seed: 7 });
    expect(first.map((b) => b.size)).toEqual([4, 4, 2]);
    expect(data.steps(4)).toBe(3);
    expect(
      values(first)
        .flat()
        .sort((a, b) => a - b),
    ).toEqual(range(10));
    for (const b of first) expect(Array.from(b.labels!.numbers())).toEqual(Array.from(b.inputs.x!.numbers()));
    const again = trainingData(counting(10));
    const second = await all(again, 1, { batchSize: 4, seed: 7 });
    expect(values(second)).not.toEqual(values(first));
    expect(values(await all(again, 0, { batchSize: 4, seed: 7 }))).toEqual(values(first));
    expect(values(await all(again, 0, { batchSize: 4, seed: 8 }))).not.toEqual(values(first));
    expect(values(await all(again, 0, { batchSize: 4, seed: 7, from: 1 }))).toEqual(values(first).slice(1));
    expect(values([await again.batch(0, 2, { batchSize: 4, seed: 7 })])).toEqual(values(first).slice(2));
  });

  it('end as asked where samples do not fill the last batch', async () => {
    const whole = trainingData(counting(10), { dropLast: true });
    expect((await all(whole, 0, { batchSize: 4, seed: 1 })).map((b) => b.size)).toEqual([4, 4]);
    expect(() => trainingData(counting(3), { dropLast: true }).steps(4)).toThrow(/at least one whole batch of 4, got 3 samples/);
    const fixed = trainingData(counting(5, 3));
    const batches = await all(fixed, 0, { batchSize: 64, seed: 1 });
    expect(batches.map((b) => [b.size, b.labels!.size])).toEqual([
      [3, 3],
      [3, 3],
    ]);
    expect(values(batches)[1]![2]).toBe(values(batches)[0]![0]);
    const plain = trainingData(counting(5), { shuffle: false });
    expect(values(await all(plain, 3, { batchSize: 2, seed: 1 }))).toEqual([[0, 1], [2, 3], [4]]);
  });

  it('refuse batches that are not there', async () => {
    const data = trainingData(counting(4));
    await expect(data.batch(0, 2, { batchSize: 2, seed: 0 })).rejects.toThrow(/expected 0 to 1, got 2/);
    expect(() => data.steps(0)).toThrow(/batch size: expected a whole number above 0/);
  });

  it('read ahead in order, as far as asked, and hand errors to the reader', async () => {
    const started: number[] = [];
    const seen: string[] = [];
    for await (const n of readAhead(2, 6, async (i) => started.push(i) && i, 2)) seen.push(`${n}:${started.length}`);
    expect(seen).toEqual(['2:3', '3:4', '4:4', '5:4']);
    const failing = readAhead(0, 3, async (i) => (i === 1 ? Promise.reject(new Error('broken')) : i), 2);
    expect((await failing.next()).value).toBe(0);
    await expect(failing.next()).rejects.toThrow('broken');
  });
});

const tokenModel = () =>
  buildModel('tokens', (b) => {
    const ids = b.input('input_ids', 'int64', ['n', 't']);
    const mask = b.input('attention_mask', 'int64', ['n', 't']);
    b.output(b.op('Cast', [b.op('Add', [ids, mask])], { to: 1 }), 'logits');
  });
const characters = textEncoderFrom(['a', 'b', 'c', 'd', ' '], 'vocabulary');

describe('sequences', () => {
  it('take the padded lengths that waste least', () => {
    const lengths = [...Array<number>(50).fill(8), ...Array<number>(30).fill(16), 60, 61, 64];
    expect(bucketLengths(lengths, 3)).toEqual([8, 16, 64]);
    expect(bucketLengths(lengths, 1)).toEqual([64]);
    expect(bucketLengths(lengths, 9)).toEqual([8, 16, 60, 64]);
    expect(bucketLengths([5, 7], 4)).toEqual([7]);
    // The exact optimum against every choice of two lengths.
    const rng = new Rng(3);
    const many = Array.from({ length: 200 }, () => 4 + rng.integer(60));
    const wasted = (sizes: readonly number[]) => many.reduce((sum, n) => sum + sizes.find((s) => s >= n)!, 0);
    const longest = Math.max(...many);
    const best = Math.min(
      ...range(longest)
        .filter((s) => s > 0 && s % 4 === 0)
        .map((s) => wasted([s, longest])),
    );
    expect(wasted(bucketLengths(many, 2))).toBe(best);
  });

  it('share batches with others of like length, one short batch an epoch', () => {
    const rng = new Rng(5);
    const lengths = Array.from({ length: 103 }, () => 1 + rng.integer(40));
    const sizes = bucketLengths(lengths, 4);
    const batches = bucketBatches(lengths, sizes, 8, new Rng(1));
    expect(batches.flatMap((b) => b.indices).sort((a, b) => a - b)).toEqual(range(103));
    expect(batches.slice(0, -1).every((b) => b.indices.length === 8)).toBe(true);
    expect(batches.at(-1)!.indices.length).toBe(7);
    for (const b of batches) for (const i of b.indices) expect(lengths[i]).toBeLessThanOrEqual(b.length);
    expect(new Set(batches.map((b) => b.length)).size).toBeLessThanOrEqual(4);
    expect(batches.map((b) => b.length)).not.toEqual(batches.map((b) => b.length).sort((a, b) => a - b));
  });

  it('come from text padded to few lengths, also from a part of it', async () => {
    const rng = new Rng(9);
    const rows = Array.from({ length: 60 }, (_, i) => ({ text: 'abcd'.repeat(1 + rng.integer(9)), label: i }));
    const text = textDataset('text', rows, characters, tokenModel(), { classes: rows.map((_, i) => String(i)) });
    const part = subsetDataset(
      text,
      range(60).filter((i) => i % 2 === 0),
    );
    for (const dataset of [text, part]) {
      const batches = await all(trainingData(dataset, { buckets: 3 }), 0, { batchSize: 5, seed: 2 });
      expect(new Set(batches.map((b) => b.inputs.input_ids!.dims[1])).size).toBeLessThanOrEqual(3);
      expect(batches.flatMap((b) => Array.from(b.labels!.numbers())).length).toBe(dataset.size);
      for (const b of batches) {
        const mask = Array.from(b.inputs.attention_mask!.numbers());
        const width = b.inputs.input_ids!.dims[1]!;
        for (const [k, label] of Array.from(b.labels!.numbers()).entries()) {
          const tokens = mask.slice(k * width, (k + 1) * width).reduce((sum, m) => sum + m, 0);
          expect(tokens).toBe(rows[label]!.text.length);
        }
      }
    }
  });

  it('are cut elsewhere each epoch where they are windows of a long text', async () => {
    const text = Array.from({ length: 403 }, (_, i) => 'abcd'[(i * i + (i >> 3)) % 4]).join('');
    const dataset = languageDataset('text', text, characters, tokenModel(), { shapes: { input_ids: [1, 10], attention_mask: [1, 10] } });
    const data = trainingData(dataset);
    const windowsOf = async (epoch: number) => {
      const batches = await all(data, epoch, { batchSize: 8, seed: 4 });
      return batches.flatMap((b) => {
        const ids = Array.from(b.inputs.input_ids!.numbers());
        const next = Array.from(b.labels!.numbers());
        return range(b.size).map((k) => {
          const window = ids.slice(k * 10, k * 10 + 10).map((id) => 'abcd '[id]);
          expect(next.slice(k * 10, k * 10 + 9)).toEqual(ids.slice(k * 10 + 1, k * 10 + 10));
          return window.join('');
        });
      });
    };
    const [one, two] = [await windowsOf(0), await windowsOf(1)];
    expect(one.length).toBe(40);
    for (const window of [...one, ...two]) expect(text).toContain(window);
    expect([...one].sort()).not.toEqual([...two].sort());
    // A part of the windows keeps its cut, so that it never reaches into the rest.
    expect(subsetDataset(dataset, range(20)).windows).toBeUndefined();
  });
});

const picture = (dims: readonly number[]) => {
  const size = dims.reduce((a, b) => a * b, 1);
  return Tensor.from(
    'float',
    dims,
    range(size).map((v) => v + 1),
  );
};
const draws = (n: number, seed: number, classes?: number) => ({
  samples: range(n).map((i) => new Rng(seed).fork(`${i}`)),
  batch: new Rng(seed),
  classes,
});
/** Element [n][y][x] of the first channel. */
const at = (t: Tensor, n: number, y: number, x: number): number => {
  const [, a, b, c] = t.dims as [number, number, number, number];
  return t.floats()[a === 1 ? (n * b + y) * c + x : ((n * a + y) * b + x) * c]!;
};

describe('augmentation', () => {
  const layouts = [[6, 1, 5, 7] as const, [6, 5, 7, 1] as const];

  it.each(layouts)('mirrors some of the images [%i,%i,%i,%i]', (...dims) => {
    const x = picture(dims);
    const out = horizontalFlip().apply({ inputs: { x }, size: 6 }, draws(6, 1)).inputs.x!;
    const mirrored = range(6).map((n) => {
      const flipped = range(35).every((k) => at(out, n, Math.floor(k / 7), k % 7) === at(x, n, Math.floor(k / 7), 6 - (k % 7)));
      const same = range(35).every((k) => at(out, n, Math.floor(k / 7), k % 7) === at(x, n, Math.floor(k / 7), k % 7));
      expect(flipped || same).toBe(true);
      return flipped;
    });
    expect(new Set(mirrored).size).toBe(2);
  });

  it.each(layouts)('moves images [%i,%i,%i,%i] within their padding', (...dims) => {
    const x = picture(dims);
    const out = cropWithPadding(2, -1).apply({ inputs: { x }, size: 6 }, draws(6, 2)).inputs.x!;
    const moves = range(6).map((n) => {
      const fits = (dy: number, dx: number) =>
        range(35).every((k) => {
          const [y, x0] = [Math.floor(k / 7) + dy, (k % 7) + dx];
          const inside = y >= 0 && y < 5 && x0 >= 0 && x0 < 7;
          return at(out, n, Math.floor(k / 7), k % 7) === (inside ? at(x, n, y, x0) : -1);
        });
      const found = range(25).find((m) => fits(Math.floor(m / 5) - 2, (m % 5) - 2));
      expect(found).toBeDefined();
      return found;
    });
    expect(new Set(moves).size).toBeGreaterThan(2);
  });

  it('cuts squares out, of all channels alike', () => {
    const x = picture([20, 3, 6, 6]);
    const out = cutout(3).apply({ inputs: { x }, size: 20 }, draws(20, 3)).inputs.x!.floats();
    const holes = range(20).map((n) => {
      const zeros = range(3).map((c) => range(36).filter((k) => out[(n * 3 + c) * 36 + k] === 0));
      expect(zeros[1]).toEqual(zeros[0]);
      expect(zeros[2]).toEqual(zeros[0]);
      const ys = zeros[0]!.map((k) => Math.floor(k / 6));
      const xs = zeros[0]!.map((k) => k % 6);
      const [h, w] = [Math.max(...ys) - Math.min(...ys) + 1, Math.max(...xs) - Math.min(...xs) + 1];
      expect(zeros[0]!.length).toBe(h * w);
      expect(Math.max(h, w)).toBeLessThanOrEqual(3);
      return zeros[0]!.length;
    });
    expect(Math.max(...holes)).toBe(9);
    for (const [i, v] of out.entries()) expect(v === 0 || v === i + 1).toBe(true);
  });

  it('adds noise of the size asked for', () => {
    const x = Tensor.of('float', [50, 200], new Float32Array(10_000));
    const out = gaussianNoise(0.1).apply({ inputs: { x }, size: 50 }, draws(50, 4)).inputs.x!.floats();
    const mean = out.reduce((a, b) => a + b, 0) / out.length;
    const deviation = Math.sqrt(out.reduce((a, b) => a + b * b, 0) / out.length);
    expect(Math.abs(mean)).toBeLessThan(0.005);
    expect(Math.abs(deviation - 0.1)).toBeLessThan(0.003);
  });

  it('mixes samples and makes probabilities of their labels', () => {
    const x = Tensor.from('float', [4, 2], [1, 0, 0, 1, 1, 0, 0, 1]);
    const labels = Tensor.from('int64', [4], [0, 1, 0, 1]);
    const lambdas = range(400).map((seed) => {
      const { inputs, labels: soft } = mixup(0.2).apply({ inputs: { x }, labels, size: 4 }, draws(4, seed, 2));
      // With inputs that are their labels' one-hot codes, mixed inputs are the mixed labels.
      expect(soft!.dims).toEqual([4, 2]);
      expect(Array.from(soft!.floats())).toEqual(Array.from(inputs.x!.floats()));
      expect(Math.abs(soft!.floats()[0]! + soft!.floats()[1]! - 1)).toBeLessThan(1e-6);
      return soft!.floats()[0]!;
    });
    // Beta(0.2, 0.2): most of it lies at the ends.
    const middle = lambdas.filter((l) => l > 0.1 && l < 0.9).length / 400;
    expect(middle).toBeGreaterThan(0.05);
    expect(middle).toBeLessThan(0.4);
    expect(() => mixup().apply({ inputs: { x }, labels, size: 4 }, draws(4, 0))).toThrow(/expected the number of classes/);
    const numbers = mixup().apply({ inputs: { x }, labels: Tensor.from('float', [4], [0, 1, 2, 3]), size: 4 }, draws(4, 1));
    expect(numbers.labels!.dims).toEqual([4]);
  });

  it('depends on the sample, the epoch and the seed, not on the batch size or the place', async () => {
    const dataset = tensorDataset('pictures', { x: picture([12, 1, 4, 4]) });
    const data = trainingData(dataset, { augment: parseAugmentations('crop:2,flip,noise:0.5') });
    const bySample = (batches: readonly Batch[]) => {
      const rows = batches.flatMap((b) => range(b.size).map((k) => Array.from(b.inputs.x!.floats().slice(k * 16, k * 16 + 16)).join()));
      return rows.sort();
    };
    const small = bySample(await all(data, 0, { batchSize: 3, seed: 1 }));
    expect(bySample(await all(data, 0, { batchSize: 12, seed: 1 }))).toEqual(small);
    expect(bySample(await all(data, 1, { batchSize: 3, seed: 1 }))).not.toEqual(small);
  });

  it('is read from text, and says what it does not know', () => {
    expect(parseAugmentations('flip, crop:4,cutout:8:0.5,mixup:0.2,noise:0.01').map((a) => a.name)).toEqual([
      'flip',
      'crop:4',
      'cutout:8:0.5',
      'mixup:0.2',
      'noise:0.01',
    ]);
    for (const wrong of ['turn', 'crop:x', 'flip:', 'crop:1:2:3']) expect(() => parseAugmentations(wrong)).toThrow(/expected flip, crop/);
    expect(() => parseAugmentations('crop:0.5')).toThrow(/whole number of pixels/);
    const ids = Tensor.from('int64', [2, 3], range(6));
    expect(() => horizontalFlip().apply({ inputs: { ids }, size: 2 }, draws(2, 0))).toThrow(/expected images .* got "ids" int64\[2,3\]/);
  });
});
