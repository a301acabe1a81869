// Pruning in steps with training in between: sparse digits, narrower networks, heads and feed-forward width of a transformer. What is pruned learns from
// what it was; figures are of the end of training (not of its best epoch), on data that was not trained on.
import {
  cloneModel,
  compareLatency,
  iterativePruning,
  metricNamed,
  modelCost,
  openSession,
  parseAugmentations,
  pruneStructured,
  runPasses,
  structuredPruning,
  subsetDataset,
  trainingData,
  unstructuredPruning,
} from '../../dist/index.js';
import { readModel } from '../../dist/node/index.js';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { shared } from '../lib/pare.js';
import { engine, mnist, open, score } from '../train/setup.js';
import { withoutTestSentences } from '../train/sst2.js';
import { denseDigits } from './dense.js';

const percent = (share) => Number((100 * share).toFixed(2));
const shownAs = (metric, value) => (metric === 'kl' ? `KL ${value.toFixed(4)}` : `${percent(value)} %`);
const SESSION = { threads: 2 };

export async function recovery() {
  if (wanted('recover-lenet300')) await sparseDigits('lenet300');
  if (wanted('recover-lenet5-caffe')) await sparseDigits('lenet5-caffe');
  if (wanted('recover-lenet5-structured')) await narrowDigits('lenet5', 0.32);
  if (wanted('recover-caffe-structured')) await narrowDigits('lenet5-caffe', 0.32);
  if (wanted('recover-resnet20')) await pictures();
  if (wanted('recover-sst2')) await sentences();
}

/** Prunes in steps and prints a line for each. `first` are passes before. */
async function pruneInSteps(name, model, kind, options, { data, validation, calibration, first = [], ...sources }) {
  const start = performance.now();
  const pass = iterativePruning(kind, options, {
    data,
    validation,
    seed: 1,
    session: SESSION,
    onPoint: ({ step, removed, sparsity, macs, pruned, recovered }, steps, metric) =>
      figure(
        `  ${name} step ${step}/${steps}`,
        `${percent(removed)} % removed (${percent(sparsity)} % zeros, ${macs} MACs): ${shownAs(metric, pruned)}, trained ${shownAs(metric, recovered)}, ${((performance.now() - start) / 1000).toFixed(0)} s`,
      ),
    ...sources,
  });
  const { model: result, records } = await runPasses(model, [...first, pass], { engine, seed: 1, threads: 2, data: calibration });
  return { model: result, note: records.at(-1).notes.pruning };
}

/** Times as fast, median over rounds in which both are run. */
async function speedUp(before, after, feeds) {
  const sessions = [await openSession(engine, before, SESSION), await openSession(engine, after, SESSION)];
  try {
    const timed = await compareLatency(
      sessions.map((session) => ({ session, feeds })),
      { warmup: 10, budgetMs: 2000 },
    );
    return 1 / timed[1].ratio;
  } finally {
    for (const s of sessions) await s.release();
  }
}

const AUGMENT = { lenet300: 'crop:1', lenet5: 'crop:2', 'lenet5-caffe': 'crop:2' };

async function digitSources(preset, model) {
  const [calibration, validation] = [await open(mnist('train'), model), await open(mnist('t10k'), model)];
  return { data: trainingData(calibration, { augment: parseAugmentations(AUGMENT[preset]) }), calibration, validation };
}

/** Share of zeros, and how it is reached. */
const SPARSE = {
  lenet300: [0.95, { steps: 5, epochs: 1, finalEpochs: 8, lr: 1e-3 }],
  'lenet5-caffe': [0.98, { steps: 3, epochs: 1, finalEpochs: 3, lr: 1e-3 }],
};

/** Least share of zeros of Deep Compression (Han et al. 2016), which loses nothing. */
const LEAST_ZEROS = 92;

async function sparseDigits(preset) {
  const name = `recover-${preset}`;
  const { path, top1 } = await denseDigits(preset);
  const model = await readModel(path);
  const [sparsity, options] = SPARSE[preset];
  const kind = unstructuredPruning({ sparsity, scope: 'global' });
  const { note } = await pruneInSteps(name, model, kind, { ...DIGITS, ...options }, await digitSources(preset, model));
  const end = note.points.at(-1);
  atLeast(`${name}-zeros`, percent(end.sparsity), LEAST_ZEROS, '%');
  atMost(`${name}-error-increase`, Number((100 * (top1 - end.recovered)).toFixed(2)), 0, 'points');
}

const DIGITS = { schedule: 'cubic', optimizer: 'adam', batchSize: 100, temperature: 4, alpha: 0.9 };

async function narrowDigits(preset, targetMacs) {
  const name = preset === 'lenet5' ? 'recover-lenet5-structured' : 'recover-caffe-structured';
  const { path, top1 } = await denseDigits(preset);
  const model = await readModel(path);
  const options = { ...DIGITS, steps: 3, epochs: 1, finalEpochs: 6, lr: 2e-3 };
  const sources = await digitSources(preset, model);
  const { model: narrow, note } = await pruneInSteps(name, model, structuredPruning({ targetMacs }), options, sources);
  const end = note.points.at(-1);
  atLeast(`${name}-macs`, note.points[0].macs / end.macs, 3, 'times fewer');
  atMost(`${name}-drop`, Number((100 * (top1 - end.recovered)).toFixed(2)), 0.1, 'points');
  const { inputs } = await sources.validation.at(Array.from({ length: 64 }, (_, i) => i));
  atLeast(`${name}-speed`, await speedUp(model, narrow, inputs), 2, 'times at batch 64');
}

const IMPORTANCES = ['group-l2', 'l2', 'bn-scale', 'fpgm', 'mean-activation', 'taylor', 'fisher'];
/** Every fifth picture is held out of the training while the importance is chosen. */
const HELD = 5;

/**
 * Half of the MACs of ResNet-20, channels inside the residual blocks; 400 pictures whose labels are not used. The importance is the one whose network is
 * closest to the unpruned one on pictures held out, after a short training on the rest; test pictures only judge the end.
 */
async function pictures() {
  const original = await readModel(shared('resnet20-cifar10/resnet20_cifar10.onnx'));
  const cifar = (file) => open(`cifar:${shared(`cifar10/${file}`)}`, original, { preprocess: 'imagenet' });
  const [calibration, test] = [await cifar('train_png_batch0.bin.gz'), await cifar('test_jpg_0-999.bin.gz')];
  const every = Array.from({ length: calibration.size }, (_, i) => i);
  const [rest, held] = [(i) => i % HELD > 0, (i) => i % HELD === 0].map((take) => subsetDataset(calibration, every.filter(take)));
  const halve = (importance, epochs, pictures, judged) =>
    pruneInSteps(
      `recover-resnet20-${importance}`,
      original,
      structuredPruning({ targetMacs: 0.5, inner: true, importance, reconstruct: true }),
      // The statistics of 400 pictures are worse than those that the network comes with.
      { schedule: 'one-shot', epochs, optimizer: 'adam', lr: 1e-3, batchSize: 50, alpha: 1, temperature: 4, batchNorm: 'frozen' },
      {
        data: trainingData(pictures, { augment: parseAugmentations('flip,crop:4,mixup:1'), classes: 10 }),
        calibration: pictures,
        ...judged,
      },
    );
  let best = { importance: IMPORTANCES[0], distance: Number.POSITIVE_INFINITY };
  for (const importance of IMPORTANCES) {
    const { note } = await halve(importance, 10, rest, { validation: held, metric: metricNamed('kl') });
    const distance = note.points[1].recovered;
    figure(`  recover-resnet20 ${importance}`, `KL ${distance.toFixed(4)} on pictures held out, after 10 epochs`);
    if (distance < best.distance) best = { importance, distance };
  }
  const { model, note } = await halve(best.importance, 60, calibration, { validation: test, metric: metricNamed('top1') });
  figure('  recover-resnet20 MACs', `${note.points[0].macs} to ${modelCost(model).macs}, importance ${best.importance}`);
  atLeast('recover-resnet20', percent(note.points[1].recovered), 74, '%');
}

async function sentences() {
  const original = await readModel(shared('text-models/sst2_bert_mini.onnx'));
  const options = { tokenizer: shared('text-models/sst2_tokenizer.json') };
  const [validation, calibration] = [
    await open(shared('sst2/test.tsv'), original, options),
    await open(withoutTestSentences('recover-sst2'), original, { ...options, limit: 20_000 }),
  ];
  const before = await score(original, validation, 'top1');
  const { model, note } = await pruneInSteps(
    'recover-sst2',
    original,
    structuredPruning({ sparsity: 0.5, groups: ['*intermediate*'], importance: 'taylor', samples: 256 }),
    { schedule: 'one-shot', epochs: 1, optimizer: 'adamw', lr: 2e-4, warmup: 30, batchSize: 64, clipNorm: 1, alpha: 0.9, temperature: 2 },
    {
      data: trainingData(calibration),
      calibration,
      validation,
      teacher: cloneModel(original),
      first: [pruneStructured({ sparsity: 0.25, groups: ['*attention/self*'], importance: 'taylor', samples: 256 })],
    },
  );
  const after = note.points.at(-1).recovered;
  figure('  recover-sst2 MACs', `${modelCost(original).macs} to ${modelCost(model).macs}`);
  atMost('recover-sst2-drop', Number((100 * (before - after)).toFixed(2)), 1, 'points');
  const { inputs } = await validation.at([0]);
  atLeast('recover-sst2-speed', await speedUp(original, model, inputs), 1.3, 'times');
}
