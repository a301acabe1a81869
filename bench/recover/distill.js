// Students against their teachers: digits from few labels, and half of the layers of a text classifier. The digits' students are those of the last epoch;
// the epoch of the text classifier is chosen on training rows held out. Test rows only judge.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import {
  adam,
  distillationObjective,
  lossObjective,
  nn,
  openTeacher,
  parseAugmentations,
  prepareTraining,
  schedules,
  train,
  trainingData,
} from '../../dist/index.js';
import { readModel } from '../../dist/node/index.js';
import { atLeast, atMost, figure, wanted } from '../lib/bars.js';
import { pareJson, shared, WORK } from '../lib/pare.js';
import { denseDigits } from '../prune/dense.js';
import { engine, mnist, open, score } from '../train/setup.js';
import { trainingAndHeldOut } from '../train/sst2.js';

const percent = (value) => Number((100 * value).toFixed(2));
const SEEDS = [1, 2, 3];
const FEW = 2000;
const SESSION = { threads: 2, extra: { 'session.set_denormal_as_zero': '1' } };

export async function distillBars() {
  if (wanted('mnist-distill')) await digits();
  if (wanted('sst2-distill')) await sentences();
}

const spread = (values) => `${values.map((v) => v.toFixed(2)).join(', ')}`;
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/** Dense layers of 75 and 25 units behind the teacher's input. */
function smallStudent(seed) {
  return nn.buildNetwork(
    'student',
    (scope) => {
      let h = nn.flatten(scope, scope.input('image', 'float', ['batch', 1, 28, 28]));
      for (const [i, features] of [75, 25].entries()) {
        const layer = scope.at(`fc${i + 1}`);
        h = nn.activation(layer, nn.linear(layer, h, { features, init: nn.kaiming() }), 'relu');
      }
      scope.output(nn.linear(scope.at('fc3'), h, { features: 10 }), 'logits');
    },
    { seed },
  );
}

/** The same digits, steps, augmentation and optimizer for both: only what is minimised differs. */
async function digits() {
  const { path, top1 } = await denseDigits('lenet5');
  const teacher = await readModel(path);
  const few = await open(mnist('train'), teacher, { limit: FEW });
  const test = await open(mnist('t10k'), teacher);
  figure('  mnist-distill teacher', `${percent(top1)} % on 10,000 test digits, trained on 60,000`);
  const prepare = prepareTraining(engine);
  const run = async (seed, augment, teach) => {
    const model = smallStudent(seed);
    const data = trainingData(few, augment ? { augment: parseAugmentations(augment) } : {});
    const [epochs, batchSize, lr] = [80, 50, 2e-3];
    const labels = lossObjective('cross-entropy');
    const source = teach && (await openTeacher({ engine, model: teacher, student: model, prepare, session: SESSION }));
    const objective = teach ? distillationObjective({ teacher: source, labels, alpha: 0.9, temperature: 4 }) : labels;
    const schedule = schedules.cosine(lr, epochs * data.steps(batchSize));
    const result = await train({
      engine,
      model,
      data,
      objective,
      rule: adam(),
      schedule,
      epochs,
      batchSize,
      seed,
      prepare,
      session: SESSION,
    });
    await source?.release();
    return percent(await score(result.model, test, 'top1'));
  };
  const all = async (augment, teach) => {
    const values = [];
    for (const seed of SEEDS) values.push(await run(seed, augment, teach));
    figure(
      `  mnist-distill ${teach ? 'distilled' : 'labels alone'}${augment ? `, ${augment}` : ''}`,
      `${mean(values).toFixed(2)} % (${spread(values)})`,
    );
    return mean(values);
  };
  const [labels, taught] = [await all('', false), await all('', true)];
  const [moved, both] = [await all('crop:2', false), await all('crop:2', true)];
  figure('mnist-distill gain where both see moved digits', `${(both - moved).toFixed(2)} points`);
  atLeast('mnist-distill gain over labels alone', Number((taught - labels).toFixed(2)), 1, 'points');
}

/** Every second layer of four, the table of tokens factorized, trained towards the teacher through the command line. */
async function sentences() {
  const path = shared('text-models/sst2_bert_mini.onnx');
  const tokenizer = shared('text-models/sst2_tokenizer.json');
  const out = join(WORK, 'sst2-student.onnx');
  const { train: rows, held } = trainingAndHeldOut('sst2-distill', 1000);
  const run = pareJson(
    ...['distill', '--teacher', path, '--student', 'copy:2', '--embedding-rank', '128', '-o', out],
    ...['--data', rows, '--validation', held, '--tokenizer', tokenizer],
    ...['--limit', '12800', '--epochs', '2', '--batch-size', '64', '--lr', '5e-4', '--temperature', '2', '--seed', '1', '--threads', '2'],
  );
  const teacher = await readModel(path);
  const test = await open(shared('sst2/test.tsv'), teacher, { tokenizer });
  const [before, after] = [await score(teacher, test, 'top1'), await score(await readModel(out), test, 'top1')];
  figure(
    '  sst2-distill',
    `teacher ${percent(before)} %, student ${percent(after)} % of ${test.size} test sentences (${percent(run.quality.after)} % of rows held out), ${run.seconds.toFixed(0)} s in all`,
  );
  const [small, large] = [statSync(out).size, statSync(path).size];
  figure('  sst2-distill bytes', `${small} of ${large}; table of tokens 8000 x 256 as 8000 x 128 times 128 x 256`);
  atLeast('sst2-distill accuracy kept', Number(((100 * after) / before).toFixed(2)), 97, '% of the teacher');
  atMost('sst2-distill bytes', Number(((100 * small) / large).toFixed(1)), 60, '% of the teacher');
  atLeast('sst2-distill speed', Number((run.latency.before_ms / run.latency.after_ms).toFixed(2)), 1.6, 'times');
}
