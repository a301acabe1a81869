// Rounding up or down learnt block by block on unlabelled data, so that each block's output stays that of the float model (AdaRound, Nagel et al. 2020;
// blocks as in BRECQ, Li et al. 2021, with squared error instead of the Fisher-weighted one). A weight is s * clip(floor(w / s) + h(v), lo, hi) with
// h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1); a penalty 1 - |2h - 1|^beta, with beta falling, drives h to 0 or 1. Scales stay as they are. A block lies between
// two places where a single value passes: a layer of a plain network, a residual block of others. Or each layer is a block of its own, with the activation
// behind it; its data are those of the network rounded so far, its target that of the float one.
import type { Dataset } from '../../data/dataset.js';
import { tensorDataset } from '../../data/indexed.js';
import { trainingData } from '../../data/training.js';
import { dataError, usageError } from '../../errors.js';
import { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { cloneModel } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { broadcastDims, eachElement, type FakeWeight } from '../../quant/fake-quant.js';
import { layoutOf } from '../../quant/layout.js';
import { addInput, lossObjective, type Objective } from '../../train/objective.js';
import { adam } from '../../train/optimizers/rules.js';
import { train } from '../../train/trainer.js';
import { removeDeadCode } from '../simplify/cleanup.js';
import { cutValues, layerParts, partOf, runPart, valueRows } from './network-parts.js';
import { floatsOf, type Simulation } from './qat.js';

export interface BlockReconstructionOptions {
  /** What is kept at a time: a block between two places where a single value passes, or a layer. */
  readonly unit: 'block' | 'layer';
  /** Most samples; they are held in memory at two places of the network at a time. */
  readonly samples: number;
  /** Steps for each block. */
  readonly steps: number;
  readonly batchSize: number;
  readonly lr: number;
  /** Weight of the penalty. */
  readonly penalty: number;
  readonly seed: number;
}

export const BLOCK_RECONSTRUCTION: BlockReconstructionOptions = {
  unit: 'block',
  samples: 400,
  steps: 200,
  batchSize: 32,
  lr: 0.02,
  penalty: 0.01,
  seed: 1,
};

/** What became of a block. */
export interface BlockRecord {
  readonly output: string;
  readonly weights: readonly string[];
  /** Part of the weights that no longer lie at their nearest code. */
  readonly moved: number;
}

const GAMMA = -0.1;
const ZETA = 1.1;
/** Part of the steps before the penalty begins, and what beta goes from and to. */
const WARM = 0.2;
const BETA = { from: 20, to: 2 };

type Context = Pick<PassContext, 'engine' | 'threads' | 'checkAborted' | 'progress'>;
/** What is needed of a simulation. */
export type RoundedNetwork = Pick<Simulation, 'model' | 'float' | 'weights'>;

/**
 * Chooses codes for the weights of the simulation; answers the simulation with weights that lie on them. Throws E_DATA for blocks of a network with
 * several inputs, E_USAGE for one whose batch is fixed.
 */
export async function reconstructBlocks(
  simulation: RoundedNetwork,
  data: Dataset,
  options: BlockReconstructionOptions,
  ctx: Context,
): Promise<{ model: Model; blocks: readonly BlockRecord[] }> {
  for (const input of requiredInputs(simulation.float.graph)) {
    const rows = tensorTypeOf(input)?.shape?.[0];
    if (typeof rows === 'number')
      throw usageError(`rounding that is learnt: expected an open batch, got the input "${input.name}" with ${rows} rows`, {
        hint: 'round by gptq, or export the model with an open batch',
      });
  }
  const model = cloneModel(simulation.model);
  const learn = options.unit === 'layer' ? learnByLayer : learnByBlock;
  return { model, blocks: await learn(model, simulation, data, options, ctx) };
}

/** Block after block; what passes from one to the next is kept for the float model and for the rounded one. */
async function learnByBlock(
  model: Model,
  { float, weights }: RoundedNetwork,
  data: Dataset,
  options: BlockReconstructionOptions,
  ctx: Context,
): Promise<BlockRecord[]> {
  const inputs = requiredInputs(float.graph);
  const cuts = cutValues(float.graph);
  if (inputs.length !== 1 || cuts.length === 0)
    throw dataError(`block reconstruction: expected a network of one input and one output, got ${inputs.length} inputs`, {
      hint: 'rounding layer by layer (adaround) takes any network',
    });
  let start = inputs[0]!.name;
  let [wanted, given] = await Promise.all([start, start].map((name) => valueRows(float, name, data, options, ctx)));
  const records: BlockRecord[] = [];
  for (const [i, end] of cuts.entries()) {
    ctx.checkAborted();
    ctx.progress({ fraction: i / cuts.length, label: `rounding ${end}` });
    const target = await runPart(partOf(float, start, end), wanted!, options, ctx);
    const part = partOf(model, start, end);
    const present = new Set(part.graph.initializers.map((v) => v.name));
    const inside = weights.filter((w) => present.has(w.name));
    if (inside.length > 0) records.push(await roundBlock(model, part, inside, { input: start, rows: given!, target, end }, options, ctx));
    given = await runPart(partOf(model, start, end), given!, options, ctx);
    wanted = target;
    start = end;
  }
  return records;
}

/** Layer after layer; each one's data come from a run of everything before it. */
async function learnByLayer(
  model: Model,
  { float, weights }: RoundedNetwork,
  data: Dataset,
  options: BlockReconstructionOptions,
  ctx: Context,
): Promise<BlockRecord[]> {
  const byName = new Map(weights.map((w) => [w.name, w]));
  const layers = layerParts(float.graph, new Set(byName.keys()));
  const records: BlockRecord[] = [];
  for (const [i, { from, to, weight }] of layers.entries()) {
    ctx.checkAborted();
    ctx.progress({ fraction: i / layers.length, label: `rounding ${to}` });
    const [rows, target] = [await valueRows(model, from, data, options, ctx), await valueRows(float, to, data, options, ctx)];
    const part = partOf(model, from, to);
    records.push(await roundBlock(model, part, [byName.get(weight)!], { input: from, rows, target, end: to }, options, ctx));
  }
  return records;
}

interface BlockData {
  readonly input: string;
  readonly rows: Tensor;
  readonly target: Tensor;
  readonly end: string;
}

async function roundBlock(
  model: Model,
  part: Model,
  weights: readonly FakeWeight[],
  { input, rows, target, end }: BlockData,
  options: BlockReconstructionOptions,
  ctx: Pick<PassContext, 'engine' | 'threads'>,
): Promise<BlockRecord> {
  const soft = weights.map((w) => softRounding(part, w, floatsOf(model, w.factor)));
  removeDeadCode(part);
  part.graph.pruneValues();
  const { steps, batchSize, lr, seed } = options;
  const data = trainingData(tensorDataset(end, { [input]: rows }, target), { dropLast: true });
  const perEpoch = data.steps(Math.min(batchSize, rows.dims[0]!));
  const result = await train({
    engine: ctx.engine,
    model: part,
    data,
    objective: withPenalty(
      lossObjective('mse'),
      soft.map((s) => s.name),
      // The paper sums squared errors over channels and means over the rest.
      { channels: target.dims.at(weights.at(-1)!.dims.length > 2 ? 1 : -1) ?? 1, weight: options.penalty, steps },
    ),
    rule: adam(),
    schedule: () => lr,
    epochs: Math.ceil(steps / perEpoch),
    maxSteps: steps,
    batchSize: Math.min(batchSize, rows.dims[0]!),
    seed,
    parameters: soft.map((s) => s.name),
    batchNorm: 'frozen',
    session: { threads: ctx.threads },
  });
  let moved = 0;
  let total = 0;
  for (const [i, s] of soft.entries()) {
    const fake = weights[i]!;
    const v = floatsOf(result.last, s.name);
    const old = floatsOf(model, fake.name);
    const values = new Float32Array(old.length);
    eachElement(layoutOf(fake.dims, fake.granularity), (k, at) => {
      const { lo, hi, offset } = fake.levels;
      const code = Math.min(hi, Math.max(lo, s.floor[k]! + (v[k]! >= 0 ? 1 : 0)));
      const nearest = Math.min(hi, Math.max(lo, Math.round(old[k]! / s.scales[at]! - offset)));
      if (code !== nearest) moved++;
      values[k] = (code + offset) * s.scales[at]!;
    });
    total += old.length;
    model.graph.setInitializer(model.graph.value(fake.name)!, Tensor.of('float', fake.dims, values));
  }
  return { output: end, weights: weights.map((w) => w.name), moved: moved / total };
}

/** Puts soft rounding in the place of the hard one. Answers the name of its variable, and floors and scales. */
function softRounding(part: Model, fake: FakeWeight, factors: Float32Array): { name: string; floor: Float32Array; scales: Float32Array } {
  const { graph } = part;
  const rounded = graph.value(fake.output)!;
  const weights = floatsOf(part, fake.name);
  const shape = broadcastDims(fake.dims, fake.granularity);
  const { lo, hi, offset } = fake.levels;
  const scales = fake.start.map((s, i) => s * factors[i]!);
  const floor = new Float32Array(weights.length);
  const start = new Float32Array(weights.length);
  eachElement(layoutOf(fake.dims, fake.granularity), (i, s) => {
    const x = Math.min(hi, Math.max(lo, weights[i]! / scales[s]! - offset));
    floor[i] = Math.floor(x);
    const rest = Math.min(0.999, Math.max(0.001, x - floor[i]!));
    start[i] = -Math.log((ZETA - GAMMA) / (rest - GAMMA) - 1);
  });
  const b = new Builder(graph, { before: graph.nodes[0] ?? null, prefix: `${fake.name}_soft_` });
  const v = b.constant('variable', Tensor.of('float', shape.data, start));
  const h = rectified(b, v);
  const sum = b.op('Add', [b.constant('floor', Tensor.of('float', shape.data, floor)), h]);
  const inside = b.op('Clip', [sum, b.scalar('lo', 'float', lo), b.scalar('hi', 'float', hi)]);
  const code = offset === 0 ? inside : b.op('Add', [inside, b.scalar('offset', 'float', offset)]);
  let y = b.op('Mul', [code, b.constant('scale', Tensor.of('float', shape.scales, scales))]);
  if (shape.data !== fake.dims) y = b.op('Reshape', [y, b.ints('dims', fake.dims)]);
  for (const { node, index } of [...rounded.uses]) node.setInput(index, y);
  return { name: v.name, floor, scales };
}

/** h(v), from 0 to 1. */
function rectified(b: Builder, v: Value): Value {
  const s = b.op('Mul', [b.op('Sigmoid', [v]), b.scalar('stretch', 'float', ZETA - GAMMA)]);
  return b.op('Clip', [b.op('Add', [s, b.scalar('gamma', 'float', GAMMA)]), b.scalar('zero', 'float', 0), b.scalar('one', 'float', 1)]);
}

/** Squared error over channels plus the penalty, whose weight and exponent are fed by step. */
function withPenalty(
  loss: Objective,
  variables: readonly string[],
  { channels, weight, steps }: { readonly channels: number; readonly weight: number; readonly steps: number },
): Objective {
  let step = 0;
  return {
    name: 'block reconstruction',
    build(b, outputs, batch) {
      const error = b.scale(b.reshape(loss.build(b, outputs, batch), []), channels);
      const beta = addInput(b, 'rounding_beta', 'float', []);
      const strength = addInput(b, 'rounding_penalty', 'float', []);
      const one = b.scalar('number', 'float', 1);
      const terms = variables.map((name) => {
        const h = rectified(b, b.graph.value(name)!);
        const away = b.op('Abs', [b.shift(b.scale(h, 2), -1)]);
        const penalty = b.sub(one, b.op('Pow', [away, beta]));
        return b.op('ReduceSum', [penalty], { keepdims: 0 });
      });
      return b.add(
        error,
        b.mul(
          strength,
          terms.reduce((sum, t) => b.add(sum, t)),
        ),
      );
    },
    async feeds(batch) {
      const at = step++ / steps;
      const t = Math.max(0, (at - WARM) / (1 - WARM));
      const beta = BETA.to + (BETA.from - BETA.to) * Math.max(0, 1 - t);
      return {
        ...(await loss.feeds(batch)),
        rounding_beta: Tensor.scalar('float', beta),
        rounding_penalty: Tensor.scalar('float', at < WARM ? 0 : weight),
      };
    },
  };
}
