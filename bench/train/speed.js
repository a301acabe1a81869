// Milliseconds per training step on two threads: forward, gradients and the optimizer's update, parameters and gradients in the optimizer's buffer.
// The PyTorch column was measured by hand (release 2.15, 2 threads, a machine of this kind), that of TensorFlow.js likewise where it has the kernels.
// `node bench/train/speed.js [speed-NAME...]` runs it alone.
import { pathToFileURL } from 'node:url';
import * as ort from 'onnxruntime-node';
import { encodeModel, Rng, runPasses, simplify } from '../../dist/index.js';
import { createPreset } from '../../dist/nn/presets/index.js';
import { nodeEngine } from '../../dist/node/index.js';
import { differentiate } from '../../dist/train/gradient.js';
import { crossEntropy } from '../../dist/train/losses.js';
import { Optimizer, withoutDecay } from '../../dist/train/optimizers/optimizer.js';
import { adam, adamw, sgd } from '../../dist/train/optimizers/rules.js';
import { atMost, figure, finish, median, wanted } from '../lib/bars.js';

/** Times over PyTorch's that are allowed: convolutions and the rest. */
const [CONVOLUTIONAL, DENSE] = [2, 1.3];

const TENSORFLOW_JS = { mlp: 'wasm 32.4, cpu 202', lenet5: 'cpu 3027, wasm has no kernel' };

const WORKLOADS = [
  { name: 'mlp', preset: 'lenet300', batch: 100, rule: adam(), pytorch: 1.57, bar: DENSE },
  { name: 'lenet5', preset: 'lenet5', batch: 64, rule: adam(), pytorch: 4.41, bar: CONVOLUTIONAL },
  { name: 'resnet20', preset: 'resnet20', batch: 64, rule: sgd({ momentum: 0.9 }), pytorch: 110, bar: CONVOLUTIONAL },
  {
    name: 'mobilenet',
    preset: 'mobilenet',
    options: { width: 0.5, size: 32, classes: 10, dropout: 0 },
    batch: 32,
    rule: sgd(),
    pytorch: 53.3,
    bar: CONVOLUTIONAL,
  },
  {
    name: 'bert',
    preset: 'bert-mini',
    options: { dropout: 0 },
    batch: 32,
    sequence: 64,
    rule: adamw(),
    pytorch: 242,
    bar: DENSE,
  },
  { name: 'gpt', preset: 'gpt-nano', batch: 16, sequence: 128, rule: adamw(), pytorch: 340, bar: DENSE },
];

const TYPES = { float: Float32Array, int64: BigInt64Array };

/** The training graph of a workload, as the trainer makes it. */
async function trainingGraph({ preset, options, batch, sequence }, engine) {
  const model = createPreset(preset, options);
  const result = differentiate(model, {
    loss: (b, { logits }) => {
      const dims = logits.type.shape.slice(0, -1);
      return crossEntropy(b, logits, b.input('labels', 'int64', dims));
    },
    parameters: (name) => !/running_(mean|var)$/.test(name) && model.graph.value(name).uses.length > 0 && isParameter(model, name),
    shapes: { batch, ...(sequence ? { sequence } : {}) },
    training: true,
    outputs: [],
  });
  const { model: simple } = await runPasses(result.model, [simplify({})], { engine });
  return { ...result, model: simple };
}

/** Weights, not numbers that formulas are written with. */
function isParameter(model, name) {
  return model.graph.value(name).initializer.dims.length > 0;
}

function randomFeed(rng, { name, type }) {
  const size = type.shape.reduce((n, d) => n * d, 1);
  const data = new TYPES[type.dtype](size);
  for (let i = 0; i < size; i++)
    data[i] =
      type.dtype === 'float' ? rng.normal() : BigInt(/mask/.test(name) ? 1 : /type|label/.test(name) ? rng.integer(2) : rng.integer(65));
  return new ort.Tensor(type.dtype === 'float' ? 'float32' : 'int64', data, type.shape);
}

/** Opens the graph over the optimizer's buffer; `step` runs once and updates. */
async function openStep(training, rule, session = {}) {
  const { model } = training;
  const rng = new Rng(5);
  const reached = training.parameters.filter((p) => p.gradient !== null);
  const optimizer = new Optimizer(
    rule,
    reached.map((p) => ({ name: p.name, dims: p.data.dims })),
    { groups: [withoutDecay()] },
  );
  const feeds = {};
  const into = {};
  for (const { name, gradient, data } of reached) {
    optimizer.parameters.get(name).set(data.floats());
    feeds[name] = new ort.Tensor('float32', optimizer.parameters.get(name), data.dims);
    into[gradient] = new ort.Tensor('float32', optimizer.gradients.get(name), data.dims);
  }
  for (const { name, next, data } of training.states) {
    feeds[name] = new ort.Tensor('float32', data.floats().slice(), data.dims);
    into[next] = new ort.Tensor('float32', new Float32Array(data.size), data.dims);
  }
  for (const input of model.graph.inputs) feeds[input.name] ??= randomFeed(rng, input);
  into[training.loss] = new ort.Tensor('float32', new Float32Array(1), []);
  const native = await ort.InferenceSession.create(encodeModel(model).bytes, {
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: 2,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
    extra: { 'session.set_denormal_as_zero': '1' },
    ...session,
  });
  return {
    native,
    optimizer,
    async step() {
      await native.run(feeds, into);
      optimizer.step(1e-4);
      return into[training.loss].data[0];
    },
  };
}

/** Median milliseconds of a step, after warming up, and the loss at the end. */
async function timeSteps(step, minimumMs = 4000, minimumRuns = 8) {
  for (let i = 0; i < 3; i++) await step();
  const times = [];
  const end = performance.now() + minimumMs;
  let loss = 0;
  while (times.length < minimumRuns || performance.now() < end) {
    const start = performance.now();
    loss = await step();
    times.push(performance.now() - start);
  }
  return { ms: median(times), loss };
}

export async function speedBars() {
  const engine = await nodeEngine();
  for (const w of WORKLOADS) {
    if (!wanted(`speed-${w.name}`)) continue;
    const training = await trainingGraph(w, engine);
    const { native, step } = await openStep(training, w.rule);
    const { ms, loss } = await timeSteps(step);
    await native.release();
    if (!Number.isFinite(loss)) throw new Error(`${w.name}: loss ${loss}`);
    figure(
      `speed-${w.name}-ms`,
      `${ms.toFixed(2)} (PyTorch ${w.pytorch}${TENSORFLOW_JS[w.name] ? `, TensorFlow.js ${TENSORFLOW_JS[w.name]}` : ''})`,
    );
    atMost(`speed-${w.name}`, ms / w.pytorch, w.bar, 'x PyTorch');
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await speedBars();
  finish();
}
