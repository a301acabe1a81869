// Data as named on the command line: every form, on generated files and on the shared models and data.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zipSync } from 'fflate';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import { sharedData, sharedModels } from '../../tests/shared-data.js';
import { encodeIdx } from '../data/idx.js';
import { subsetDataset } from '../data/indexed.js';
import { evaluateMetric, METRICS } from '../data/metrics.js';
import { encodeNpz } from '../data/npz.js';
import { randomDataset } from '../data/random.js';
import { encodeWav } from '../data/wav.js';
import { PareError } from '../errors.js';
import { buildModel } from '../ir/builder.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import type { Shape } from '../ir/type.js';
import { openSession } from '../runtime/session.js';
import { type DataOptions, openDataset } from './data.js';
import { nodeEngine } from './engine.js';
import { readModel } from './files.js';
import { metricByName } from './metrics.js';

const folder = mkdtempSync(join(tmpdir(), 'pare-data-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string | Uint8Array) => {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
  return path;
};
const modelOf = (shape: Shape): Model =>
  buildModel('m', (b) => {
    b.output(b.op('Relu', [b.input('pixel_values', 'float', shape)]));
  });
const rgb = modelOf(['N', 3, 8, 8]);
const picture = (r: number, g: number, b: number, width = 16, height = 12) =>
  sharp({ create: { width, height, channels: 3, background: { r, g, b } } });
const code = async (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error: unknown) => (error instanceof PareError ? `${error.code} ${error.message} ${error.hint ?? ''}` : `untyped ${error}`),
  );

describe('pictures', () => {
  const colours = { red: [200, 0, 0], blue: [0, 0, 200] } as const;

  it('reads class folders and zips alike', async () => {
    const entries: Record<string, Uint8Array> = {};
    for (const [name, [r, g, b]] of Object.entries(colours)) {
      entries[`pics/${name}/a.png`] = await picture(r, g, b).png().toBuffer();
      entries[`pics/${name}/b.jpg`] = await picture(r, g, b, 30, 20).jpeg({ quality: 95 }).toBuffer();
    }
    for (const [path, bytes] of Object.entries(entries)) file(path, bytes);
    file('pics/readme.txt', 'not a picture');
    const zip = file('pics.zip', zipSync(entries));
    for (const spec of [join(folder, 'pics'), zip]) {
      const data = await openDataset(spec, rgb, { preprocess: 'unit' });
      expect([data.size, data.classes]).toEqual([4, ['blue', 'red']]);
      const { inputs, labels } = await data.at([0, 1, 3]);
      expect([inputs.pixel_values!.dims, labels!.bigints()]).toEqual([
        [3, 3, 8, 8],
        [0n, 0n, 1n],
      ]);
      const pixels = inputs.pixel_values!.floats();
      expect(pixels[0]).toBeCloseTo(0, 1);
      expect(pixels[2 * 64]).toBeCloseTo(200 / 255, 5);
      expect(pixels[2 * 192]).toBeCloseTo(200 / 255, 1);
    }
    const noted = await openDataset(zip, rgb, { limit: 1 });
    expect([noted.size, noted.notes]).toEqual([1, ['no --preprocess given: "imagenet" assumed']]);
  });

  it('reads grey, transparent, 16-bit and turned pictures', async () => {
    const base = { width: 4, height: 2, channels: 1 } as const;
    file('kinds/a.png', await sharp(new Uint8Array(8).fill(100), { raw: base }).png().toBuffer());
    file('kinds/b.png', await picture(100, 100, 100, 4, 2).ensureAlpha(0.5).png().toBuffer());
    file('kinds/c.png', await picture(100, 100, 100, 4, 2).toColourspace('rgb16').png().toBuffer());
    file(
      'kinds/d.jpg',
      await picture(100, 100, 100, 2, 4)
        .jpeg()
        .withExif({ IFD0: { Orientation: '6' } })
        .toBuffer(),
    );
    const data = await openDataset(join(folder, 'kinds'), modelOf(['N', 3, 2, 4]), { preprocess: 'none' });
    const values = (await data.at([0, 1, 2, 3])).inputs.pixel_values!.floats();
    expect([Math.min(...values), Math.max(...values), data.hasLabels]).toEqual([100, 100, false]);
  });

  it('takes numbered folders and class lists as indices', async () => {
    const bytes = await picture(1, 2, 3).png().toBuffer();
    for (const name of ['7', '11']) file(`numbered/${name}/x.png`, bytes);
    const numbered = await openDataset(join(folder, 'numbered'), rgb);
    expect((await numbered.at([0, 1])).labels!.bigints().sort()).toEqual([11n, 7n].sort());
    for (const name of ['cat', 'dog']) file(`named/${name}/x.png`, bytes);
    const named = await openDataset(join(folder, 'named'), rgb, { labels: file('classes.txt', 'dog\nfish\ncat\n') });
    expect((await named.at([0, 1])).labels!.bigints()).toEqual([2n, 0n]);
    expect(await code(openDataset(join(folder, 'named'), rgb, { labels: file('other.txt', 'dog\n') }))).toMatch(/E_DATA.*got "cat"/);
  });

  it('names damaged pictures and empty folders', async () => {
    const bytes = await picture(9, 9, 9, 200, 200).jpeg().toBuffer();
    file('cut/a.jpg', bytes.subarray(0, bytes.length / 2));
    const cut = await openDataset(join(folder, 'cut'), rgb);
    expect(await code(cut.at([0]))).toMatch(/E_DATA.*cut\/a\.jpg/);
    file('text/a.png', 'hello');
    const text = await openDataset(join(folder, 'text'), rgb);
    expect(await code(text.at([0]))).toMatch(/E_DATA/);
    mkdirSync(join(folder, 'empty'));
    expect(await code(openDataset(join(folder, 'empty'), rgb))).toMatch(/E_DATA.*got 0 other files/);
    file('mixed/a.png', bytes);
    file('mixed/b/c.png', bytes);
    expect(await code(openDataset(join(folder, 'mixed'), rgb))).toMatch(/E_DATA.*1 outside, such as "a.png"/);
    expect(await code(openDataset(file('bad.zip', 'PK nonsense'), rgb))).toMatch(/E_FORMAT/);
  });
});

describe('arrays and other files', () => {
  it('reads npz with labels by name and applies presets to pixels', async () => {
    const arrays = { x: Tensor.from('uint8', [2, 3, 8, 8], new Uint8Array(384).fill(255)), kind: Tensor.from('int64', [2], [4, 5]) };
    const path = file('a.npz', encodeNpz(arrays, { compress: true }));
    const data = await openDataset(path, rgb, { labels: 'kind', preprocess: 'mobilenet' });
    const { inputs, labels } = await data.at([1]);
    expect([inputs.pixel_values!.floats()[0], labels!.bigints()]).toEqual([expect.closeTo(1, 6), [5n]]);
    expect(await code(openDataset(path, rgb))).toMatch(/E_DATA.*"x" uint8\[2,3,8,8\], "kind" int64\[2\].*several/);
  });

  it('scales IDX to [0,1] unless told otherwise', async () => {
    const images = file('i', encodeIdx(Tensor.from('uint8', [1, 1, 2], [0, 255])));
    const labels = file('l.gz', gzipSync(encodeIdx(Tensor.from('uint8', [1], [3]))));
    const first = async (options: DataOptions) => (await openDataset(`idx:${images},${labels}`, modelOf(['N', 1, 1, 2]), options)).at([0]);
    expect([...(await first({})).inputs.pixel_values!.floats()]).toEqual([0, 1]);
    expect([...(await first({ preprocess: 'none' })).inputs.pixel_values!.floats()]).toEqual([0, 255]);
    expect((await first({})).labels!.bigints()).toEqual([3n]);
  });

  it('reads sounds with classes in their names', async () => {
    for (const [i, digit] of [3, 0].entries())
      file(`wav/${digit}_anna_${i}.wav`, encodeWav({ sampleRate: 8000, samples: new Float32Array(50) }));
    const data = await openDataset(join(folder, 'wav'), modelOf(['N', 'T']));
    const batch = await data.at([0, 1]);
    expect([batch.inputs.pixel_values!.dims, batch.labels!.bigints()]).toEqual([
      [2, 50],
      [0n, 3n],
    ]);
    expect(await code(openDataset(join(folder, 'wav'), modelOf(['N', 'T']), { preprocess: 'imagenet' }))).toMatch(
      /E_USAGE.*JSON file for sounds/,
    );
  });

  it('answers every mistake with a typed error', async () => {
    const wrong = async (spec: string, options: DataOptions = {}) => code(openDataset(spec, rgb, options));
    expect(await wrong('random:0')).toMatch(/E_USAGE.*got "0"/);
    expect(await wrong('random:many')).toMatch(/E_USAGE/);
    expect(await wrong(join(folder, 'nothing.npz'))).toMatch(/E_FILE.*no such file.*random\[:N\]/);
    expect(await wrong(file('x.parquet', ''))).toMatch(/E_USAGE.*got "x.parquet"/);
    expect(await wrong(file('x.csv', 'text,label\na,1\n'))).toMatch(/E_USAGE.*--tokenizer/);
    expect(await wrong(file('x.csv', 'text,label\na,1\n'), { tokenizer: file('t.json', '{') })).toMatch(/E_USAGE.*expected JSON/);
    expect(await wrong('idx:/nope')).toMatch(/E_FILE/);
    expect(await wrong('idx:a,b,c')).toMatch(/E_USAGE/);
    expect(await wrong(file('e.npz', ''))).toMatch(/E_FORMAT/);
    expect(await wrong('random', { limit: 0.5 })).toMatch(/E_USAGE/);
    expect(await wrong(file('p.png', 'x'), { preprocess: file('p.json', '{"resize":"big"}') })).toMatch(/E_USAGE.*resize/);
  });
});

describe('metrics of the user', () => {
  const batch = { outputs: { y: Tensor.from('float', [2, 1], [1, 3]) }, inputs: {}, size: 2, rows: 2 };

  it('come from JavaScript and TypeScript', async () => {
    const js = await metricByName(
      file('mean.mjs', 'export const higherIsBetter = false;\nexport default ({ outputs }) => outputs.y.floats()[1];\n'),
    );
    const state = js.create();
    await state.update(batch);
    expect([js.name, js.higherIsBetter, state.result()]).toEqual(['mean.mjs', false, 3]);
    const source = `interface B { size: number }
      export const metric = { name: 'count', summary: 's', higherIsBetter: true, needs: 'outputs' as const,
        create() { let n: number = 0; return { update(b: B): void { n += b.size; }, result: (): number => n }; } };`;
    const ts = await metricByName(file('count.ts', source));
    const counting = ts.create();
    await counting.update(batch);
    expect([ts.name, counting.result()]).toEqual(['count', 2]);
    expect((await metricByName('kl')).name).toBe('kl');
  });

  it('say what is wrong with them', async () => {
    expect(await code(metricByName(join(folder, 'none.js')))).toMatch(/E_FILE/);
    expect(await code(metricByName(file('empty.mjs', 'export const x = 1;')))).toMatch(/E_USAGE.*export default/);
    expect(await code(metricByName(file('broken.ts', 'export default ((')))).toMatch(/E_USAGE/);
    expect(await code(metricByName('accuracy'))).toMatch(/E_USAGE.*top1/);
  });
});

/** Figures that came with the models. */
const SHARED: [string, string, string, DataOptions, number][] = [
  [
    'mnist-cntk',
    'mnist-cntk/mnist.onnx',
    'idx:mnist/t10k-images-idx3-ubyte.gz,mnist/t10k-labels-idx1-ubyte.gz',
    { preprocess: 'none' },
    0.9891,
  ],
  ['resnet20', 'resnet20-cifar10/resnet20_cifar10.onnx', 'cifar:cifar10/test_jpg_0-999.bin.gz', { preprocess: 'imagenet' }, 0.804],
  ['cifar10-cnn', 'cifar10-cnn-tf/cifar10_cnn.onnx', 'cifar:cifar10/test_jpg_0-999.bin.gz', {}, 0.689],
  ['sst2', 'text-models/sst2_bert_mini.onnx', 'sst2/test.tsv', { tokenizer: 'text-models/sst2_tokenizer.json' }, 0.797],
];

describe.skipIf(sharedData('.') === undefined)('shared models', () => {
  const at = (path: string) => sharedData(path)!;

  it.each(SHARED)('%s keeps its figure', async (_name, modelPath, spec, options, expected) => {
    const [, prefix = '', paths] = /^(\w+:)?(.*)$/.exec(spec)!;
    const model = await readModel(at(modelPath));
    const { tokenizer } = options;
    const data = await openDataset(prefix + paths!.split(',').map(at).join(','), model, {
      ...options,
      ...(tokenizer && { tokenizer: at(tokenizer) }),
    });
    const session = await openSession(await nodeEngine(), model);
    const value = await evaluateMetric(session, data, METRICS.top1);
    await session.release();
    expect(value).toBeCloseTo(expected, 4);
  });

  it('a language model keeps its loss on unseen text', async () => {
    const model = await readModel(at('text-models/shakespeare_gpt.onnx'));
    const play = readFileSync(at('tiny-shakespeare/input.txt'), 'utf8');
    const path = file('held-out.txt', play.slice(Math.floor(play.length * 0.9)));
    const data = await openDataset(path, model, { tokenizer: at('text-models/shakespeare_vocab.json') });
    expect([data.size, (await data.at([0])).inputs.input_ids!.dims]).toEqual([871, [1, 128]]);
    // Every 12th window: the figure of all is 1.7240 (bench/data-baselines.js runs them all).
    const some = subsetDataset(
      data,
      Array.from({ length: 72 }, (_, i) => 12 * i),
    );
    const session = await openSession(await nodeEngine(), model);
    expect(Math.abs((await evaluateMetric(session, some, METRICS.loss)) - 1.724)).toBeLessThan(0.05);
    await session.release();
  });

  it('recognises photos', async () => {
    for (const [name, index] of [
      ['goldfish', 1],
      ['kimono', 614],
      ['cat', 281],
    ] as const)
      file(`photos/${index + 1}/${name}.jpg`, readFileSync(at(`photos/${name}.jpg`)));
    const model = await readModel(at('mobilenetv1-025-imagenet/mobilenet_v1_0.25_128.onnx'));
    const data = await openDataset(join(folder, 'photos'), model, { preprocess: 'mobilenet' });
    const session = await openSession(await nodeEngine(), model);
    expect(await evaluateMetric(session, data, METRICS.top1)).toBe(1);
    await session.release();
  });

  it('reads the spoken digits and the trec questions', async () => {
    const sounds = await openDataset(at('fsdd/fsdd_test_0-4.tar.gz'), modelOf(['N', 'T']), { limit: 3 });
    expect((await sounds.at([0, 2])).inputs.pixel_values!.dims[0]).toBe(2);
    expect(sounds.classes).toHaveLength(10);
    const model = await readModel(at('text-models/sst2_bert_mini.onnx'));
    const tokenizer = at('text-models/sst2_tokenizer.json');
    const trec = await openDataset(at('trec/test.txt'), model, { tokenizer });
    expect([trec.size, trec.classes]).toEqual([500, ['ABBR', 'DESC', 'ENTY', 'HUM', 'LOC', 'NUM']]);
    const pairs = await openDataset(at('stsb-en/stsb-en-dev.csv'), model, { tokenizer });
    expect([pairs.size, (await pairs.at([0])).labels!.floats()[0]]).toEqual([1500, 5]);
  });

  const runnable = sharedModels().filter((m) => !/supres|randomforest|silero/.test(m));
  it.each(runnable)('random data runs %s', async (path) => {
    const model = await readModel(at(path));
    const data = randomDataset(model, { seed: 1, samples: 3 });
    const again = randomDataset(model, { seed: 1, samples: 3 });
    const session = await openSession(await nodeEngine(), model);
    for await (const batch of data.batches({ batchSize: 2 })) await session.run(batch.inputs);
    await session.release();
    const [a, b] = [await data.at([1]), await again.at([1])];
    for (const name of Object.keys(a.inputs)) expect(Buffer.compare(a.inputs[name]!.bytes(), b.inputs[name]!.bytes())).toBe(0);
  });

  it('random data runs the recurrent detectors with shapes', async () => {
    for (const [path, input] of [
      ['silero-vad/silero_vad_16k_op15.onnx', [1, 576]],
      ['silero-vad/silero_model_micro_8k_2021.onnx', [1, 4000]],
    ] as const) {
      const model = await readModel(at(path));
      const data = await openDataset('random:2', model, { shapes: { input: [...input] } });
      const session = await openSession(await nodeEngine(), model);
      for await (const batch of data.batches({ batchSize: 2 })) await session.run(batch.inputs);
      await session.release();
    }
    const vad = await readModel(at('silero-vad/silero_vad_16k_op15.onnx'));
    const windows = await openDataset(at('speech-vad/test_20s.wav'), vad, { shapes: { input: [1, 576] }, limit: 2 });
    const session = await openSession(await nodeEngine(), vad);
    const { output } = await session.run((await windows.at([0])).inputs);
    expect(output!.dims).toEqual([1, 1]);
    await session.release();
  });
});
