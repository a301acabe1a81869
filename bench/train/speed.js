// Milliseconds per step of `train()` on two threads, wall clock and processor: reading the batch, forward, gradients, the optimizer's update. Where other
// programs run, the time of the processor tells more: over two threads it is about twice the wall clock of an idle machine.
// The PyTorch column was measured by hand (release 2.15, 2 threads, a machine of this kind), that of TensorFlow.js likewise where it has the kernels.
// `node bench/train/speed.js [speed-NAME...]` runs it alone.
import { pathToFileURL } from 'node:url';
import { adam, adamw, lossObjective, prepareTraining, Rng, schedules, sgd, Tensor, train } from '../../dist/index.js';
import { createPreset } from '../../dist/nn/presets/index.js';
import { nodeEngine } from '../../dist/node/index.js';
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

/** Steps before the first that counts: threads start, memory is laid out. */
const WARM_UP = 3;
const MINIMUM_MS = 4000;
const MINIMUM_STEPS = 8;

/** One batch of noise over and over: token numbers up to 64, every token counted. */
function noise(model, { batch, sequence }) {
  const rng = new Rng(5);
  const dimsOf = (value) => value.type.shape.map((d) => (typeof d === 'number' ? d : d === 'batch' ? batch : sequence));
  const draw = (name, type) =>
    type === 'float' ? rng.normal() : /mask/.test(name) ? 1 : /type/.test(name) ? 0 : /label/.test(name) ? rng.integer(2) : rng.integer(65);
  const tensor = (name, dtype, dims) =>
    Tensor.from(
      dtype,
      dims,
      Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => draw(name, dtype)),
    );
  const inputs = Object.fromEntries(model.graph.inputs.map((v) => [v.name, tensor(v.name, v.type.dtype, dimsOf(v))]));
  const one = { inputs, labels: tensor('labels', 'int64', dimsOf(model.graph.outputs[0]).slice(0, -1)), size: batch };
  const steps = 100_000;
  return {
    name: 'noise',
    size: batch * steps,
    hasLabels: true,
    steps: () => steps,
    async *epoch() {
      for (let i = 0; i < steps; i++) yield one;
    },
  };
}

/** Medians of wall clock and processor milliseconds from step to step. */
async function timeSteps({ preset, options, rule, ...shape }, engine) {
  const model = createPreset(preset, options);
  const [wall, processor] = [[], []];
  const stop = new AbortController();
  const begun = { steps: 0, at: 0, ms: 0, cpu: undefined };
  const training = train({
    engine,
    model,
    data: noise(model, shape),
    objective: lossObjective('cross-entropy'),
    rule,
    schedule: schedules.constant(1e-4),
    epochs: 1,
    batchSize: shape.batch,
    seed: 1,
    prepare: prepareTraining(engine),
    session: { threads: 2 },
    signal: stop.signal,
    onStep() {
      const [now, cpu] = [performance.now(), process.cpuUsage()];
      if (begun.steps === WARM_UP) begun.at = now;
      if (begun.steps > WARM_UP) {
        wall.push(now - begun.ms);
        processor.push((cpu.user + cpu.system - begun.cpu) / 1000);
      }
      begun.steps++;
      begun.ms = now;
      begun.cpu = cpu.user + cpu.system;
      if (wall.length >= MINIMUM_STEPS && now - begun.at > MINIMUM_MS) stop.abort();
    },
  });
  await training.catch((error) => {
    if (!stop.signal.aborted) throw error;
  });
  return { wall: median(wall), processor: median(processor) };
}

export async function speedBars() {
  const engine = await nodeEngine();
  for (const workload of WORKLOADS) {
    const { name, pytorch, bar, ...rest } = workload;
    if (!wanted(`speed-${name}`)) continue;
    const { wall, processor } = await timeSteps(rest, engine);
    const others = TENSORFLOW_JS[name] ? `, TensorFlow.js ${TENSORFLOW_JS[name]}` : '';
    figure(`speed-${name}-ms`, `${wall.toFixed(2)} wall, ${processor.toFixed(2)} processor, no dropout (PyTorch ${pytorch}${others})`);
    atMost(`speed-${name}`, wall / pytorch, bar, 'x PyTorch');
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await speedBars();
  finish();
}
