// How much single weights matter. Without data: their size, or chance. With data: size times the norm of the input they multiply (Wanda, Sun et al. 2023);
// first-order change of the loss, the mean of (w g)^2 (Molchanov et al. 2019); second-order change with the diagonal of the Fisher matrix for the Hessian,
// w^2 E[g^2] / 2 over single samples (LeCun et al. 1990; Theis et al. 2018). Higher stays.
import type { Dataset } from '../../../data/dataset.js';
import { dataError, usageError } from '../../../errors.js';
import { Builder } from '../../../ir/builder.js';
import type { Value } from '../../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../../ir/model.js';
import { tensorType } from '../../../ir/type.js';
import { cloneModel } from '../../../ir/walk.js';
import { batchSizeOf } from '../../../quant/calibrate.js';
import type { Engine } from '../../../runtime/engine.js';
import { openSession } from '../../../runtime/session.js';
import type { Rng } from '../../../util/rng.js';
import { eachGradient } from '../importance-data.js';
import { elementAt } from './layout.js';
import type { PrunableWeight } from './targets.js';

export interface ScoreOptions {
  readonly engine: Engine;
  readonly threads?: number | undefined;
  readonly data: Dataset | undefined;
  readonly samples: number;
  readonly rng: Rng;
  readonly checkAborted?: (() => void) | undefined;
}

export type ScoreMethod = 'magnitude' | 'random' | 'taylor' | 'fisher' | 'wanda';

/** One score an element, by weight. `unmeasured` hears of weights that data says nothing of: their scores are their sizes. */
export async function weightScores(
  model: Model,
  weights: readonly PrunableWeight[],
  method: ScoreMethod,
  options: ScoreOptions,
  unmeasured: (weight: PrunableWeight) => void,
): Promise<Map<Value, Float32Array>> {
  const scores = new Map<Value, Float32Array>();
  if (method === 'random') {
    for (const w of weights) {
      const rng = options.rng.fork(w.value.name);
      scores.set(
        w.value,
        Float32Array.from({ length: w.size }, () => rng.uniform()),
      );
    }
    return scores;
  }
  for (const { value } of weights) scores.set(value, (await value.initializer!.load()).floats().map(Math.abs));
  if (method === 'magnitude') return scores;
  const { data } = options;
  if (!data) {
    throw usageError(`method ${method}: expected data, got none`, { hint: 'give --data SPEC; magnitude and random need none' });
  }
  if (method === 'wanda') await multiplyByNorms(model, weights, scores, { ...options, data }, unmeasured);
  else await scoreByGradients(model, weights, scores, method, { ...options, data }, unmeasured);
  return scores;
}

type DataOptions = ScoreOptions & { readonly data: Dataset };

async function scoreByGradients(
  model: Model,
  weights: readonly PrunableWeight[],
  scores: Map<Value, Float32Array>,
  method: 'taylor' | 'fisher',
  options: DataOptions,
  unmeasured: (weight: PrunableWeight) => void,
): Promise<void> {
  const own = weights.filter((w) => w.value.graph === model.graph && w.value.initializer!.dtype === 'float');
  for (const w of weights) if (!own.includes(w)) unmeasured(w);
  const squares = new Map(own.map((w) => [w.value.name, new Float32Array(w.size)]));
  const seen = new Set<string>();
  const names = own.map((w) => w.value.name);
  await eachGradient(model, names, method === 'fisher' ? 1 : undefined, options, (gradients) => {
    for (const [name, gradient] of gradients) {
      const sum = squares.get(name);
      if (!sum) continue;
      seen.add(name);
      for (let i = 0; i < sum.length; i++) sum[i]! += gradient[i]! * gradient[i]!;
    }
  });
  for (const w of own) {
    if (!seen.has(w.value.name)) {
      unmeasured(w);
      continue;
    }
    const sum = squares.get(w.value.name)!;
    const score = scores.get(w.value)!;
    for (let i = 0; i < score.length; i++) score[i] = score[i]! * score[i]! * sum[i]!;
  }
}

/** |w| times the root of the sum of squares of the input channel it multiplies. */
async function multiplyByNorms(
  model: Model,
  weights: readonly PrunableWeight[],
  scores: Map<Value, Float32Array>,
  options: DataOptions,
  unmeasured: (weight: PrunableWeight) => void,
): Promise<void> {
  const copy = cloneModel(model);
  const b = new Builder(copy.graph, { prefix: 'norms_' });
  const probes = new Map<PrunableWeight, Value>();
  for (const weight of weights) {
    const channel = channelAxis(weight);
    const data = channel && weight.node.input(channel.input);
    const rank = data ? tensorTypeOf(data)?.shape?.length : undefined;
    if (!channel || !data || !rank || data.graph !== model.graph || weight.node.graph !== model.graph) {
      unmeasured(weight);
      continue;
    }
    const axis = channel.axis < 0 ? channel.axis + rank : channel.axis;
    const axes = Array.from({ length: rank }, (_, a) => a).filter((a) => a !== axis);
    const float = b.op('Cast', [copy.graph.ownValue(data.name)!], { to: 1 });
    const square = b.op('Mul', [float, float]);
    const sum =
      axes.length === 0
        ? b.op('Identity', [square])
        : copy.opset >= 13
          ? b.op('ReduceSum', [square, b.ints('axes', axes)], { keepdims: 0 })
          : b.op('ReduceSum', [square], { axes, keepdims: 0 });
    sum.type = tensorType('float', [null]);
    probes.set(weight, sum);
  }
  const totals = await sumOutputs(copy, [...new Set(probes.values())], options);
  for (const [weight, probe] of probes) scaleInputs(weight, scores.get(weight.value)!, totals.get(probe.name)!);
}

async function sumOutputs(model: Model, outputs: readonly Value[], options: DataOptions): Promise<Map<string, Float64Array>> {
  const names = outputs.map((v) => v.name);
  const totals = new Map<string, Float64Array>();
  if (names.length === 0) return totals;
  const session = await openSession(options.engine, model, { threads: options.threads, outputs: names });
  try {
    for await (const batch of options.data.batches({ batchSize: batchSizeOf(model.graph), limit: options.samples })) {
      options.checkAborted?.();
      const results = await session.run(batch.inputs, names);
      for (const name of names) {
        const values = results[name]!.floats();
        const total = totals.get(name) ?? new Float64Array(values.length);
        for (let i = 0; i < values.length; i++) total[i]! += values[i]!;
        totals.set(name, total);
      }
    }
  } finally {
    await session.release();
  }
  if (totals.size === 0) throw dataError(`data "${options.data.name}": expected at least one sample, got none`);
  return totals;
}

/** Which axis of which input the weight's inputs are; undefined where it is not an input of the node (states of recurrent layers, lookups). */
function channelAxis({ node, index }: PrunableWeight): { input: number; axis: number } | undefined {
  switch (node.opType) {
    case 'Conv':
    case 'FusedConv':
    case 'ConvTranspose':
      return { input: 0, axis: 1 };
    case 'MatMul':
    case 'FusedMatMul':
    case 'Gemm':
    case 'FusedGemm': {
      const turned = node.int(index === 1 ? 'transA' : 'transB', 0) !== 0;
      return { input: 1 - index, axis: (index === 1) === turned ? -2 : -1 };
    }
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return index === 1 ? { input: 0, axis: 2 } : undefined;
    default:
      return undefined;
  }
}

function scaleInputs({ layout, node }: PrunableWeight, scores: Float32Array, sums: Float64Array): void {
  const { outer, outs, ins, taps } = layout;
  // Channels of all groups lie one after the other.
  const groups = Math.max(1, Math.round(sums.length / ins.size));
  const perGroup = outs.size / groups;
  for (let g = 0; g < outer.size; g++) {
    for (let o = 0; o < outs.size; o++) {
      const group = groups === 1 ? 0 : node.opType === 'ConvTranspose' ? g : Math.floor(o / perGroup);
      for (let c = 0; c < ins.size; c++) {
        const norm = Math.sqrt(sums[group * ins.size + c]!);
        for (let t = 0; t < taps.size; t++) scores[elementAt(layout, g, o, c, t)]! *= norm;
      }
    }
  }
}
