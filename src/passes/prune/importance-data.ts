// Importance from data: what the channels carry (mean of |x|, share of elements that are not zero: APoZ, Hu et al. 2016; variance), and what the loss
// would do without them: first-order Taylor (Molchanov et al. 2019) and second-order with the diagonal of the Fisher matrix for the Hessian
// (OBD, LeCun et al. 1990; Theis et al. 2018). Without labels the model's own decisions stand for them.
import type { ChannelGroup, GroupMember } from '../../analysis/channel-groups.js';
import type { Batch, Dataset } from '../../data/dataset.js';
import { dataError, usageError } from '../../errors.js';
import { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../ir/model.js';
import type { Tensor } from '../../ir/tensor.js';
import { tensorType } from '../../ir/type.js';
import { cloneModel } from '../../ir/walk.js';
import type { GradBuilder } from '../../ops/grad-builder.js';
import { dimsOf } from '../../ops/grad-builder.js';
import { batchSizeOf } from '../../quant/calibrate.js';
import type { Engine } from '../../runtime/engine.js';
import { openSession } from '../../runtime/session.js';
import { differentiate } from '../../train/gradient.js';
import { crossEntropy, meanAll } from '../../train/losses.js';
import { positionsToUnits, sumByUnit, weightMembers } from './importance.js';

export interface DataImportanceOptions {
  readonly engine: Engine;
  readonly threads?: number | undefined;
  readonly data: Dataset;
  /** Samples at most. */
  readonly samples: number;
  readonly checkAborted?: (() => void) | undefined;
}

export type ActivationImportance = 'mean-activation' | 'apoz' | 'variance';
export type GradientImportance = 'taylor' | 'fisher';

/** What a layer that sums over the group's channels reads: the channels as they matter to it. */
function activationOf(model: Model, group: ChannelGroup): GroupMember | undefined {
  const read = group.members.filter((m) => !m.value.isConstant && m.value.graph === model.graph && m.value.producer !== null);
  return read.find((m) => m.roles.some((r) => r.contracted)) ?? read.at(-1);
}

/** Scores by group; a group whose channels appear in no value of the main graph gets equal ones. */
export async function activationScores(
  model: Model,
  groups: readonly ChannelGroup[],
  kind: ActivationImportance,
  options: DataImportanceOptions,
): Promise<Float64Array[]> {
  const copy = cloneModel(model);
  const b = new Builder(copy.graph, { prefix: 'importance_' });
  const members = groups.map((g) => activationOf(model, g));
  const outputs = members.map((m, i) => (m ? measure(b, copy, copy.graph.ownValue(m.value.name)!, m.axis, kind, i) : []));
  const names = outputs.flatMap((list) => list.map((v) => v.name));
  const totals = new Map<string, Float64Array>();
  let seen = 0;
  const session = await openSession(options.engine, copy, { threads: options.threads, outputs: names });
  try {
    for await (const batch of options.data.batches({ batchSize: batchSizeOf(model.graph), limit: options.samples })) {
      options.checkAborted?.();
      const results = await session.run(batch.inputs, names);
      for (const name of names) {
        const values = results[name]!.floats();
        const total = totals.get(name) ?? new Float64Array(values.length);
        totals.set(name, total);
        for (let i = 0; i < values.length; i++) total[i]! += values[i]! * batch.size;
      }
      seen += batch.size;
    }
  } finally {
    await session.release();
  }
  if (seen === 0) throw dataError(`importance ${kind}: expected at least one sample, got none`);
  return groups.map((group, i) => {
    const member = members[i];
    if (!member) return new Float64Array(group.size).fill(1);
    const [first, second] = outputs[i]!.map((v) => totals.get(v.name)!.map((t) => t / seen));
    const byPosition = kind === 'variance' ? first!.map((m, p) => Math.max(0, second![p]! - m * m)) : first!;
    return positionsToUnits(member, group.size, byPosition);
  });
}

/** Adds the means over all axes but one. */
function measure(b: Builder, model: Model, value: Value, axis: number, kind: ActivationImportance, index: number): Value[] {
  const rank = tensorTypeOf(value)!.shape!.length;
  const axes = Array.from({ length: rank }, (_, a) => a).filter((a) => a !== axis);
  const mean = (x: Value) => {
    if (axes.length === 0) return x;
    return model.opset >= 18
      ? b.op('ReduceMean', [x, b.ints('axes', axes)], { keepdims: 0 })
      : b.op('ReduceMean', [x], { axes, keepdims: 0 });
  };
  const float = b.op('Cast', [value], { to: 1 });
  const typed = (x: Value, name: string) => {
    model.graph.rename(x, model.graph.freshName(`importance_${index}_${name}`));
    x.type = tensorType('float', [null]);
    return x;
  };
  if (kind === 'variance') return [typed(mean(float), 'mean'), typed(mean(b.op('Mul', [float, float])), 'square')];
  if (kind === 'mean-activation') return [typed(mean(b.op('Abs', [float])), 'size')];
  const busy = b.op('Not', [b.op('Equal', [float, b.scalar('zero', 'float', 0)])]);
  return [typed(mean(b.op('Cast', [busy], { to: 1 })), 'busy')];
}

/** Samples in a run of the gradient; Fisher's squares are of single samples. */
const GRADIENT_BATCH = 16;

/**
 * Scores by group. Taylor: (sum of w dL/dw)^2 over the unit's producing weights, mean over batches. Fisher: sum of w^2 (dL/dw)^2 / 2, mean over samples.
 * The loss is cross-entropy against the labels, or against the model's own decisions; of outputs that are no class scores half their mean square.
 */
export async function gradientScores(
  model: Model,
  groups: readonly ChannelGroup[],
  kind: GradientImportance,
  options: DataImportanceOptions,
): Promise<Float64Array[]> {
  const members = groups.map((g) => weightMembers(g, 'producing', true));
  const wanted = new Set(
    members.flatMap((list) => list.map((m) => m.value)).filter((v) => v.graph === model.graph && v.initializer!.dtype === 'float'),
  );
  const parameters = [...wanted].map((v) => v.name);
  if (parameters.length === 0) throw usageError(`importance ${kind}: expected float weights in the main graph, got none`);
  const weights = new Map<Value, Float32Array>();
  for (const v of wanted) weights.set(v, (await v.initializer!.load()).floats());
  const scores = groups.map((g) => new Float64Array(g.size));
  let runs = 0;
  await eachGradient(model, parameters, kind === 'fisher' ? 1 : undefined, options, (gradients) => {
    groups.forEach((group, g) => {
      const signed = new Float64Array(group.size);
      for (const m of members[g]!) {
        const [w, d] = [weights.get(m.value), gradients.get(m.value.name)];
        if (!w || !d) continue;
        const sums = sumByUnit(
          m,
          group.size,
          w.map((x, i) => (kind === 'taylor' ? x * d[i]! : (x * d[i]!) ** 2 / 2)),
        );
        sums.forEach((s, u) => {
          signed[u]! += s;
        });
      }
      signed.forEach((s, u) => {
        scores[g]![u]! += kind === 'taylor' ? s * s : s;
      });
    });
    runs++;
  });
  return scores.map((list) => list.map((s) => s / runs));
}

/**
 * Runs the data through the gradient and hands each batch's gradients of `parameters` (names of float weights of the main graph) to `visit`. The loss is
 * that of `gradientScores`; `batchSize` samples at once where the data leaves the choice.
 */
export async function eachGradient(
  model: Model,
  parameters: readonly string[],
  batchSize: number | undefined,
  options: DataImportanceOptions,
  visit: (gradients: ReadonlyMap<string, Float32Array>) => void,
): Promise<void> {
  const fixed = options.data.fixedBatch;
  const size = fixed ?? batchSize ?? Math.min(GRADIENT_BATCH, options.data.size);
  let step: GradientStep | undefined;
  try {
    for await (const batch of options.data.batches({ batchSize: size, limit: options.samples })) {
      options.checkAborted?.();
      if (step && batch.size < size && fixed === undefined) continue;
      step ??= await openGradient(model, batch, parameters, options);
      visit(await step.run(batch));
    }
    if (!step) throw dataError(`data "${options.data.name}": expected at least one sample, got none`);
  } finally {
    await step?.release();
  }
}

interface GradientStep {
  run(batch: Batch): Promise<ReadonlyMap<string, Float32Array>>;
  release(): Promise<void>;
}

async function openGradient(
  model: Model,
  batch: Batch,
  parameters: readonly string[],
  options: DataImportanceOptions,
): Promise<GradientStep> {
  const shapes = Object.fromEntries(Object.entries(batch.inputs).map(([name, t]) => [name, t.dims]));
  const labelName = model.graph.freshName('importance_labels');
  const labels = batch.labels;
  const loss = (b: GradBuilder, outputs: Readonly<Record<string, Value>>): Value => {
    const all = Object.values(outputs);
    const scores = beforeSoftmax(all[0]!);
    const dims = dimsOf(scores);
    const classes = dims.at(-1)!;
    const rows = dims.slice(0, -1).reduce((a, c) => a * c, 1);
    if (labels && labels.size === rows && classes > 1) {
      return crossEntropy(b, scores, b.graph.addInput(labelName, tensorType(labels.dtype, labels.dims)));
    }
    if (all.length === 1 && dims.length === 2 && classes > 1)
      return crossEntropy(b, scores, b.op('ArgMax', [scores], { axis: -1, keepdims: 0 }));
    const squares = all.filter((v) => tensorTypeOf(v)?.dtype === 'float').map((v) => b.scale(meanAll(b, b.mul(v, v)), 0.5));
    return squares.reduce((sum, v) => b.add(sum, v));
  };
  const d = differentiate(model, { loss, parameters, shapes, parametersAsInputs: false, outputs: [] });
  const usesLabels = d.model.graph.inputs.some((v) => v.name === labelName);
  const session = await openSession(options.engine, d.model, { threads: options.threads });
  return {
    async run(next) {
      const feeds: Record<string, Tensor> = {};
      for (const input of d.model.graph.inputs) {
        const tensor = input.name === labelName ? next.labels : next.inputs[input.name];
        if (tensor) feeds[input.name] = tensor;
      }
      if (usesLabels && !next.labels) throw dataError('importance: expected labels in every batch, got one without');
      const results = await session.run(feeds);
      return new Map(d.parameters.flatMap((p) => (p.gradient ? [[p.name, results[p.gradient]!.floats()] as const] : [])));
    },
    release: () => session.release(),
  };
}

function beforeSoftmax(scores: Value): Value {
  const { producer } = scores;
  return producer?.opType === 'Softmax' && producer.domain === '' ? producer.input(0)! : scores;
}
