// The page: trains when asked to, draws the loss of every step, says what the network gets right on digits it has not seen, and shows some of them.
import * as ort from 'onnxruntime-web';
import {
  adam,
  evaluateMetric,
  lossObjective,
  metricNamed,
  nn,
  openSession,
  parseAugmentations,
  prepareTraining,
  schedules,
  train,
  trainingData,
} from 'pare';
import { webEngine } from 'pare/web';
import { loadDigits, SIDE } from './digits.js';

ort.env.wasm.wasmPaths = '/node_modules/onnxruntime-web/dist/';

const BATCH = 50;
/** Digits of each class to judge on. */
const HELD = 50;
const SHOWN = 10;

/** The first session decides the number of threads for all; without isolation from other origins there is one. */
const SESSION = { threads: Math.min(4, navigator.hardwareConcurrency) };

const element = (id) => document.getElementById(id);
const engine = webEngine(ort);

async function run({ digits, epochs, lr, seed = 1, signal }) {
  const say = (text) => {
    element('status').textContent = text;
  };
  say('Loading the digits ...');
  const model = nn.createPreset('lenet5', {}, { seed });
  const { training, test } = await loadDigits('image', digits, HELD);
  const data = trainingData(training, { augment: parseAugmentations('crop:2') });
  const total = epochs * data.steps(BATCH);
  const losses = [];
  const begun = performance.now();
  let accuracy = await judge(model, test);
  const before = accuracy;
  const result = await train({
    engine,
    model,
    data,
    objective: lossObjective('cross-entropy'),
    rule: adam(),
    schedule: schedules.oneCycle(lr, total),
    epochs,
    batchSize: BATCH,
    seed,
    session: SESSION,
    prepare: prepareTraining(engine),
    signal,
    validate: async (trained) => {
      accuracy = await judge(trained, test);
      return { metric: 'top1', value: accuracy, higherIsBetter: true };
    },
    onStep: ({ step, epoch, loss }) => {
      losses.push(loss);
      draw(losses, total);
      say(
        `Epoch ${epoch + 1} of ${epochs}, step ${step} of ${total}: loss ${loss.toFixed(3)}, ${percent(accuracy)} of the test digits right`,
      );
    },
  });
  const seconds = (performance.now() - begun) / 1000;
  await show(result.last, test);
  say(
    `${percent(before)} right before, ${percent(accuracy)} after ${result.steps} steps of ${result.msPerStep.toFixed(1)} ms (${seconds.toFixed(1)} s in all).`,
  );
  return { before, accuracy, losses, msPerStep: result.msPerStep, seconds, threads: ort.env.wasm.numThreads };
}

const percent = (part) => `${(100 * part).toFixed(1)} %`;

async function judge(model, test) {
  const session = await openSession(engine, model, SESSION);
  try {
    return await evaluateMetric(session, test, metricNamed('top1'), { batchSize: 100 });
  } finally {
    await session.release();
  }
}

function draw(losses, total) {
  const canvas = element('curve');
  const pen = canvas.getContext('2d');
  const { width, height } = canvas;
  const top = Math.max(...losses);
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = '#06c';
  pen.beginPath();
  for (const [i, loss] of losses.entries()) pen.lineTo((i / Math.max(1, total - 1)) * width, height - (loss / top) * (height - 10));
  pen.stroke();
  pen.fillStyle = '#555';
  pen.fillText(`loss ${losses.at(-1).toFixed(3)}`, 8, 14);
}

/** Some test digits, with what the network takes them for. */
async function show(model, test) {
  const session = await openSession(engine, model, SESSION);
  const { inputs, labels } = await test.at(Array.from({ length: SHOWN }, (_, i) => i * HELD));
  const { logits } = await session.run(inputs);
  await session.release();
  const pixels = inputs.image.floats();
  const scores = logits.floats();
  element('digits').replaceChildren(
    ...Array.from(labels.numbers(), (label, k) => {
      const row = scores.slice(k * 10, k * 10 + 10);
      const guess = row.indexOf(Math.max(...row));
      const canvas = Object.assign(document.createElement('canvas'), { width: SIDE, height: SIDE });
      const picture = new ImageData(SIDE, SIDE);
      for (let p = 0; p < SIDE * SIDE; p++)
        picture.data.fill(255 * pixels[k * SIDE * SIDE + p], 4 * p, 4 * p + 3).fill(255, 4 * p + 3, 4 * p + 4);
      canvas.getContext('2d').putImageData(picture, 0, 0);
      const caption = Object.assign(document.createElement('figcaption'), {
        textContent: guess,
        className: guess === label ? '' : 'wrong',
      });
      const figure = document.createElement('figure');
      figure.append(canvas, caption);
      return figure;
    }),
  );
}

element('settings').addEventListener('submit', async (event) => {
  event.preventDefault();
  const numbers = Object.fromEntries(Array.from(new FormData(event.target), ([name, value]) => [name, Number(value)]));
  const stopping = new AbortController();
  element('error').textContent = '';
  element('start').disabled = true;
  element('stop').disabled = false;
  element('stop').onclick = () => stopping.abort();
  try {
    document.body.dataset.result = JSON.stringify(await run({ ...numbers, signal: stopping.signal }));
  } catch (error) {
    if (error.code === 'E_ABORTED') element('status').textContent = 'Stopped.';
    else element('error').textContent = error.format?.() ?? String(error);
  } finally {
    element('start').disabled = false;
    element('stop').disabled = true;
  }
});
