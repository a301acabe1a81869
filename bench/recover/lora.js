// Bars of adapters: rank 8 over 4-bit weights of the character model, which was trained on the first 90 % of the plays, taught the second half of the text
// (less its end, on which it is judged); then merged and saved apart.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  addAdapters,
  applyAdapters,
  decodeAdapters,
  encodeAdapters,
  lossObjective,
  mergeAdapters,
  OPTIMIZERS,
  openSession,
  prepareTraining,
  quantizeWeights,
  readAdapters,
  runPasses,
  schedules,
  train,
  trainingData,
} from '../../dist/index.js';
import { readModel } from '../../dist/node/index.js';
import { atMost, figure, wanted } from '../lib/bars.js';
import { shared, WORK } from '../lib/pare.js';
import { engine, open, score } from '../train/setup.js';

const SESSION = { threads: 2, extra: { 'session.set_denormal_as_zero': '1' } };
const STEPS = 150;
/** Share of the half that is only judged on. */
const HELD = 0.1;

export async function loraBars() {
  if (!wanted('lora-shakespeare')) return;
  const text = readFileSync(shared('tiny-shakespeare/input.txt'), 'utf8');
  const half = text.slice(text.length / 2);
  const cut = Math.floor(half.length * (1 - HELD));
  const file = (name, part) => {
    const path = join(WORK, name);
    writeFileSync(path, part);
    return path;
  };
  const given = await readModel(shared('text-models/shakespeare_gpt.onnx'));
  const options = { tokenizer: shared('text-models/shakespeare_vocab.json') };
  const data = await open(file('lora-train.txt', half.slice(0, cut)), given, options);
  const held = await open(file('lora-held.txt', half.slice(cut)), given, options);
  const { model } = await runPasses(given, [quantizeWeights({ bits: 4 }), addAdapters({ rank: 8, alpha: 16 })], { engine, seed: 1 });
  const whole = await score(given, held, 'loss', 16);
  const before = await score(model, held, 'loss', 16);
  const start = performance.now();
  const rule = OPTIMIZERS.adamw({});
  const {
    model: trained,
    steps,
    msPerStep,
    parameters,
  } = await train({
    engine,
    model,
    data: trainingData(data),
    objective: lossObjective('cross-entropy'),
    rule,
    schedule: schedules.scheduleOf('cosine', 3e-3, STEPS, 10),
    epochs: 10,
    batchSize: 16,
    maxSteps: STEPS,
    seed: 1,
    prepare: prepareTraining(engine),
    session: SESSION,
  });
  const after = await score(trained, held, 'loss', 16);
  figure(
    '  lora-shakespeare',
    `float ${whole.toFixed(4)}, 4 bits ${before.toFixed(4)}, with adapters ${after.toFixed(4)}; ${parameters.length} matrices, ${steps} steps of ${msPerStep.toFixed(0)} ms, ${((performance.now() - start) / 1000).toFixed(0)} s`,
  );
  atMost('lora-shakespeare-loss-against-before', after - before, -1e-9);
  const adapters = readAdapters(trained);
  const bytes = encodeAdapters(adapters);
  figure('  lora-shakespeare adapters apart', `${(bytes.length / 1e3).toFixed(0)} kB`);
  const merged = (await runPasses(trained, [mergeAdapters()], { engine })).model;
  const apart = (await runPasses(given, [quantizeWeights({ bits: 4 })], { engine })).model;
  applyAdapters(apart, decodeAdapters(bytes));
  const batch = await held.at([0, 1, 2, 3]);
  const outputs = async (m) => {
    const session = await openSession(engine, m, SESSION);
    const results = await session.run(batch.inputs);
    await session.release();
    return results.logits.floats();
  };
  const [a, b, c] = [await outputs(trained), await outputs(merged), await outputs(apart)];
  const largest = (x, y) => x.reduce((most, v, i) => Math.max(most, Math.abs(v - y[i])), 0);
  atMost('lora-shakespeare-merged-against-unmerged', largest(a, b), 1e-4);
  atMost('lora-shakespeare-read-from-file', largest(a, c), 1e-6);
}
