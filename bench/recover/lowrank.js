// Bars of low rank: feed-forward layers at half their multiply-accumulates by activation-weighted SVD, beside plain SVD at each rank, then trained towards
// the original. Judged on files and sentences that were not seen.
import {
  evaluateMetric,
  factorize,
  metricNamed,
  modelCost,
  openSession,
  recoverPass,
  runPasses,
  simplify,
  trainingData,
} from '../../dist/index.js';
import { readModel } from '../../dist/node/index.js';
import { atMost, check, figure, wanted } from '../lib/bars.js';
import { shared } from '../lib/pare.js';
import { magikaFiles } from '../ptq/data.js';
import { engine, open } from '../train/setup.js';
import { withoutTestSentences } from '../train/sst2.js';

const SESSION = { threads: 2, extra: { 'session.set_denormal_as_zero': '1' } };
/** Samples for X^T X. */
const SAMPLES = 256;

export async function lowRankBars() {
  if (wanted('lowrank-magika')) {
    await bars('lowrank-magika', {
      path: 'magika/standard_v1.onnx',
      train: async (model) => open(await magikaFiles.training(), model),
      test: async (model) => open(await magikaFiles.test(), model),
      metric: 'agreement',
      only: ['model/dense*'],
      ranks: [16, 32, 48],
      training: { epochs: 6, batchSize: 16, lr: 3e-4, maxMinutes: 3 },
    });
  }
  if (wanted('lowrank-sst2')) {
    const tokenizer = shared('text-models/sst2_tokenizer.json');
    await bars('lowrank-sst2', {
      path: 'text-models/sst2_bert_mini.onnx',
      train: (model) => open(withoutTestSentences('lowrank-sst2'), model, { tokenizer }),
      test: (model) => open(shared('sst2/test.tsv'), model, { tokenizer }),
      metric: 'top1',
      only: ['*/intermediate/dense/*', '/*encoder.layer.*/output/dense/*/', '/layer\\.\\d/output/dense/'],
      ranks: [32, 64, 96],
      training: { epochs: 1, batchSize: 32, lr: 1e-4, maxSteps: 600, maxMinutes: 4 },
    });
  }
}

async function bars(name, { path, train, test, metric, only, ranks, training }) {
  const given = await readModel(shared(path));
  const data = await train(given);
  const held = await test(given);
  const model = (await runPasses(given, [simplify()], { engine })).model;
  const reference = await openSession(engine, model, SESSION);
  const figures = async (m) => {
    const session = await openSession(engine, m, SESSION);
    try {
      const of = (metricName) => evaluateMetric(session, held, metricNamed(metricName), { reference, batchSize: 32 });
      return { kl: await of('kl'), quality: await of(metric) };
    } finally {
      await session.release();
    }
  };
  const factored = async (options) => runPasses(model, [factorize({ samples: SAMPLES, only, ...options })], { engine, data, threads: 2 });
  const layersOf = ({ records }) => records[0].notes.layers;
  try {
    const { quality: whole } = await figures(model);
    figure(`  ${name} original`, `${metric} ${whole.toFixed(4)}`);
    const worse = [];
    const compared = async (label, options) => {
      const plain = await figures((await factored({ ...options, weighted: false })).model);
      const run = await factored(options);
      const weighted = await figures(run.model);
      const text = ({ kl, quality }) => `KL ${kl.toFixed(4)}, ${metric} ${quality.toFixed(4)}`;
      figure(`  ${name} ${label}`, `plain SVD ${text(plain)}; on data ${text(weighted)}`);
      if (!(weighted.kl < plain.kl)) worse.push(`${label}: KL ${weighted.kl} on data, ${plain.kl} without`);
      return run;
    };
    for (const rank of ranks) await compared(`rank ${rank}`, { rank });
    const half = await compared('half the MACs', { rankRatio: 0.5, roundTo: 1 });
    check(`${name}-weighted-by-data-is-better-at-each-rank`, worse);
    const share = layersOf(half).reduce((n, l) => n + l.macs.after, 0) / layersOf(half).reduce((n, l) => n + l.macs.before, 0);
    atMost(`${name}-macs-of-the-layers`, share, 0.5);
    figure(`  ${name} MACs of the model`, (modelCost(half.model).macs / modelCost(model).macs).toFixed(3));
    const pass = recoverPass({ data: trainingData(data), seed: 1, session: SESSION }, model);
    const start = performance.now();
    const trained = await runPasses(half.model, [pass(training)], { engine, data, threads: 2 });
    const after = await figures(trained.model);
    const { steps, msPerStep } = trained.records[0].notes.training;
    figure(
      `  ${name} trained`,
      `${steps} steps of ${msPerStep.toFixed(0)} ms, ${((performance.now() - start) / 1000).toFixed(0)} s, KL ${after.kl.toFixed(4)}`,
    );
    atMost(`${name}-drop-after-training`, 100 * (whole - after.quality), 1, 'points');
  } finally {
    await reference.release();
  }
}
