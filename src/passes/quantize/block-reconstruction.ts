// Rounding up or down learnt block by block on unlabelled data, so that each block's output stays that of the float model (AdaRound, Nagel et al. 2020;
// blocks as in BRECQ, Li et al. 2021, with squared error instead of the Fisher-weighted one). A weight is s * clip(floor(w / s) + h(v), lo, hi) with
// h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1); a penalty 1 - |2h - 1|^beta, with beta falling, drives h to 0 or 1. Scales stay as they are. A block lies between
// two places where a single value passes: a layer of a plain network, a residual block of others.

import type { Dataset } from '../../data/dataset.js';
import { tensorDataset } from '../../data/indexed.js';
import { joinRows } from '../../data/rows.js';
import { trainingData } from '../../data/training.js';
import { dataError } from '../../errors.js';
import { Builder } from '../../ir/builder.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import { Model, requiredInputs } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { cloneModel, extractGraph } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { broadcastDims, eachElement, type FakeWeight } from '../../quant/fake-quant.js';
import { layoutOf } from '../../quant/layout.js';
import { openSession } from '../../runtime/session.js';
import { addInput, lossObjective, type Objective } from '../../train/objective.js';
import { adam } from '../../train/optimizers/rules.js';
import { train } from '../../train/trainer.js';
import { removeDeadCode } from '../simplify/cleanup.js';
import { floatsOf, type Simulation } from './qat.js';

export interface BlockReconstructionOptions {
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

/** Chooses codes for the weights of the simulation; answers the simulation with weights that lie on them. */
export async function reconstructBlocks(
  simulation: Simulation,
  data: Dataset,
  options: BlockReconstructionOptions,
  ctx: Pick<PassContext, 'engine' | 'threads' | 'checkAborted' | 'progress'>,
): Promise<{ model: Model; blocks: readonly BlockRecord[] }> {
  const model = cloneModel(simulation.model);
  const { float } = simulation;
  const inputs = requiredInputs(float.graph);
  const cuts = cutValues(float.graph);
  if (inputs.length !== 1 || cuts.length === 0)
    throw dataError(`block reconstruction: expected a network of one input and one output, got ${inputs.length} inputs`);
  let start = inputs[0]!.name;
  let [wanted, given] = await Promise.all([start, start].map((name) => inputRows(data, name, options)));
  const records: BlockRecord[] = [];
  for (const [i, end] of cuts.entries()) {
    ctx.checkAborted();
    ctx.progress({ fraction: i / cuts.length, label: `rounding ${end}` });
    const target = await runPart(partOf(float, start, end), wanted!, ctx, options.batchSize);
    const part = partOf(model, start, end);
    const present = new Set(part.graph.initializers.map((v) => v.name));
    const weights = simulation.weights.filter((w) => present.has(w.name));
    if (weights.length > 0) records.push(await roundBlock(model, part, weights, { input: start, rows: given!, target, end }, options, ctx));
    given = await runPart(partOf(model, start, end), given!, ctx, options.batchSize);
    wanted = target;
    start = end;
  }
  return { model, blocks: records };
}

/** Values at which the graph falls into two parts, in order; the last is the output. Parts without a weight go with what follows. */
function cutValues(graph: Graph): string[] {
  const last = new Map<Value, number>();
  graph.nodes.forEach((node, i) => {
    for (const v of node.inputs) if (v && !v.isConstant) last.set(v, i);
  });
  for (const v of graph.outputs) last.set(v, Number.POSITIVE_INFINITY);
  const live = new Set<Value>(graph.inputs.filter((v) => !v.isConstant && last.has(v)));
  const cuts: string[] = [];
  let weighty = false;
  graph.nodes.forEach((node, i) => {
    weighty ||= node.inputs.some((v) => v?.isConstant && (v.initializer?.rank ?? 0) >= 2);
    for (const v of node.outputs) if (v && last.has(v)) live.add(v);
    for (const v of live) if (last.get(v)! <= i) live.delete(v);
    // What follows a layer elementwise (its ReLU) belongs to it.
    const next = graph.nodes[i + 1];
    const activation =
      next && next.inputs.filter((v) => v && !v.isConstant).length === 1 && !next.inputs.some((v) => (v?.initializer?.rank ?? 0) >= 2);
    if (live.size !== 1 || !weighty || activation) return;
    cuts.push([...live][0]!.name);
    weighty = false;
  });
  const output = graph.outputs[0]?.name;
  if (output !== undefined && cuts.at(-1) !== output) cuts.push(output);
  return cuts;
}

/** The nodes between two values as a model of its own. */
function partOf(model: Model, from: string, to: string): Model {
  const { graph } = model;
  const wanted = new Set<Node>();
  const visit = (value: Value | null | undefined): void => {
    if (!value || value.name === from || !value.producer || wanted.has(value.producer)) return;
    wanted.add(value.producer);
    for (const v of value.producer.inputs) visit(v);
  };
  visit(graph.value(to));
  const nodes = graph.nodes.filter((n) => wanted.has(n));
  return new Model(extractGraph(graph, nodes, [graph.value(to)!]), model.opsets, model.irVersion);
}

async function inputRows(data: Dataset, name: string, { samples, batchSize }: BlockReconstructionOptions): Promise<Tensor> {
  const parts: Tensor[] = [];
  for await (const batch of data.batches({ batchSize, limit: samples })) parts.push(batch.inputs[name]!);
  if (parts.length === 0) throw dataError(`data "${data.name}": expected at least one sample, got none`);
  return joinRows(parts);
}

async function runPart(part: Model, rows: Tensor, ctx: Pick<PassContext, 'engine' | 'threads'>, batchSize: number): Promise<Tensor> {
  const input = requiredInputs(part.graph)[0]!.name;
  const session = await openSession(ctx.engine, part, { threads: ctx.threads });
  const found: Tensor[] = [];
  try {
    for await (const batch of tensorDataset('rows', { [input]: rows }).batches({ batchSize })) {
      const [out] = Object.values(await session.run(batch.inputs));
      found.push(Tensor.of('float', out!.dims, out!.floats().slice()));
    }
  } finally {
    await session.release();
  }
  return joinRows(found);
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
      { channels: target.dims[1] ?? 1, weight: options.penalty, steps },
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
