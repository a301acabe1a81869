// Goes through the linear layers of a model in order, each with the data it will see (that of the model pruned so far), to decide masks with the Hessian
// (SparseGPT), to fit what a mask leaves to the unpruned model's output (least squares), or both. The means that are still missing go to the bias.
import type { Dataset } from '../../../data/dataset.js';
import type { Model } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import { batchSizeOf } from '../../../quant/calibrate.js';
import { DenseMath } from '../../../quant/dense-math.js';
import {
  dataProbe,
  LayerStatistics,
  type LinearLayer,
  layerMatrices,
  layerWeights,
  TargetStatistics,
  targetProbe,
} from '../../../quant/layer-probe.js';
import { StagedRun } from '../../../quant/staged-run.js';
import { type TwinModel, twinModel } from '../../../quant/twin.js';
import type { Engine } from '../../../runtime/engine.js';
import { fitMasked } from './fit.js';
import type { Pattern } from './layout.js';
import { type NormTarget, normTarget, unscaled } from './norm-target.js';
import type { Mask } from './select.js';
import { pruneWithHessian } from './sparsegpt.js';

export interface LayerTask {
  readonly layer: LinearLayer;
  /** Taps of the layer's kernel; 1 for products. */
  readonly taps: number;
  /** Which weights stay, in the order of the tensor; undefined: SparseGPT decides, by `sparsity`. */
  readonly mask: Mask | undefined;
  readonly sparsity: number;
}

export interface LayerwiseOptions {
  readonly engine: Engine;
  readonly threads?: number | undefined;
  readonly data: Dataset;
  readonly samples: number;
  readonly damping: number;
  readonly pattern: Pattern | undefined;
  /** Fit the weights that are left, against the unpruned model with what earlier layers lost. */
  readonly fit: boolean;
  /** New values of masked weights that no task is about. */
  readonly others: ReadonlyMap<string, Tensor>;
  readonly checkAborted?: (() => void) | undefined;
  readonly onProgress?: ((fraction: number, label: string) => void) | undefined;
}

export interface FittedLayer {
  readonly layer: string;
  /** Squared error of the layer's output against the unpruned layer on the same data, by its power. */
  readonly error: number;
}

export interface LayerwiseResult {
  /** New weights and biases by name. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly masks: ReadonlyMap<string, Mask>;
  readonly layers: readonly FittedLayer[];
}

/** `tasks` are layers of the main graph in the order of its nodes, each weight once. The model is not changed. */
export async function pruneLayerwise(model: Model, tasks: readonly LayerTask[], options: LayerwiseOptions): Promise<LayerwiseResult> {
  const changed = new Set([...tasks.flatMap(({ layer }) => [layer.weight, ...(layer.bias ? [layer.bias] : [])]), ...options.others.keys()]);
  const twin = twinModel(model, changed);
  for (const [name, tensor] of options.others) twin.model.graph.setInitializer(twin.twin(name), tensor);
  const math = await DenseMath.open(options.engine, options.threads);
  const state: State = { twin, math, options, tensors: new Map(), masks: new Map(), layers: [] };
  try {
    const run = await StagedRun.start(twin.model, options.data, {
      engine: options.engine,
      session: { threads: options.threads },
      batchSize: batchSizeOf(model.graph),
      limit: options.samples,
      checkAborted: options.checkAborted,
    });
    const stages = byData(tasks);
    for (const [i, stage] of stages.entries()) {
      options.onProgress?.(i / stages.length, stage[0]!.layer.label);
      await pruneStage(run, stage, state);
    }
  } finally {
    await math.release();
  }
  return state;
}

interface State {
  readonly twin: TwinModel;
  readonly math: DenseMath;
  readonly options: LayerwiseOptions;
  readonly tensors: Map<string, Tensor>;
  readonly masks: Map<string, Mask>;
  readonly layers: FittedLayer[];
}

/** Products that read the same value share their statistics. */
function byData(tasks: readonly LayerTask[]): LayerTask[][] {
  const stages = new Map<string, LayerTask[]>();
  for (const task of tasks) {
    const key = task.layer.kind === 'conv' ? task.layer.output : task.layer.data;
    stages.set(key, [...(stages.get(key) ?? []), task]);
  }
  return [...stages.values()];
}

async function pruneStage(run: StagedRun, stage: readonly LayerTask[], state: State): Promise<void> {
  const { twin, options } = state;
  const first = stage[0]!.layer;
  const statistics = new LayerStatistics(first.k, first.groups);
  const targets = stage.map(({ layer }) => {
    const node = twin.float(layer.output).producer!;
    const norm = normTarget(node, layer);
    return { layer, norm, name: norm?.target ?? layer.target, statistics: new TargetStatistics(layer) };
  });
  // Where nothing before a layer has changed there is nothing to make good.
  const fitted = options.fit ? targets.filter((t) => twin.twin(t.name) !== twin.float(t.name)) : [];
  const data = twin.twin(first.data);
  await run.stage(
    [data, ...fitted.map((t) => twin.float(t.name))],
    fitted.map((t) => twin.twin(t.name)),
    (graph, at) => {
      const probe = dataProbe(graph, first, twin.float(first.output).producer!, at(data));
      const scaled = (name: string, of: (n: string) => ReturnType<typeof at>, norm: NormTarget | undefined, rank: number) =>
        norm ? unscaled(graph, of(name), norm, rank) : of(name);
      return [
        ...probe.outputs,
        ...fitted.flatMap(({ layer, norm, name }) => {
          const rank = twin.float(layer.weight).initializer!.rank;
          const wanted = scaled(name, (n) => at(twin.float(n)), norm, rank);
          const actual = scaled(name, (n) => at(twin.twin(n)), norm, rank);
          return targetProbe(graph, layer, probe.rows, wanted, actual);
        }),
      ];
    },
    (outputs) => {
      statistics.add(outputs[0]!, outputs[1]!, outputs[2]!);
      for (const [i, t] of fitted.entries()) t.statistics.add(outputs[3 + 2 * i]!, outputs[4 + 2 * i]!);
    },
  );
  for (const [i, task] of stage.entries()) {
    options.checkAborted?.();
    await pruneLayer(task, statistics, fitted.includes(targets[i]!) ? targets[i]!.statistics : undefined, state);
  }
}

async function pruneLayer(
  { layer, taps, mask: given, sparsity }: LayerTask,
  statistics: LayerStatistics,
  target: TargetStatistics | undefined,
  state: State,
): Promise<void> {
  const { twin, math, options } = state;
  const { k, n, groups } = layer;
  const { graph } = twin.model;
  const constant = twin.float(layer.weight).initializer!;
  const matrices = layerMatrices(layer, constant.floats());
  const masks = given && layerMatrices(layer, Float32Array.from(given));
  // With fewer rows of data H itself is less certain: an eigenvalue's relative error grows as k / rows.
  const damping = options.damping * (1 + k / Math.max(1, statistics.rows));
  const shift = new Float32Array(groups * n);
  const [kept, values]: [Float32Array[], Float32Array[]] = [[], []];
  let [lost, power] = [0, 0];
  for (let g = 0; g < groups; g++) {
    const weights = matrices[g]!;
    const h = layer.bias ? statistics.centredGram(g) : statistics.gram[g]!;
    const pruned = masks
      ? { mask: Uint8Array.from(masks[g]!), values: weights.map((w, i) => w * masks[g]![i]!) }
      : await pruneWithHessian(math, weights, k, n, h, { sparsity, pattern: options.pattern, taps, damping });
    if (options.fit) {
      const missing = await math.product(Float32Array.from(h), difference(weights, pruned.values), k, k, n);
      const cross = target && (layer.bias ? target.centredCross(g, statistics) : target.cross[g]!);
      if (cross) for (let i = 0; i < missing.length; i++) missing[i]! += cross[i]! / layer.alpha;
      const change = await fitMasked(math, h, missing, pruned.mask, k, n, { damping });
      for (let i = 0; i < change.length; i++) pruned.values[i]! += change[i]!;
    }
    const error = await outputError(math, h, weights, pruned.values, k, n);
    lost += error.lost;
    power += error.power;
    if (layer.bias) addMeans(shift.subarray(g * n, (g + 1) * n), layer, statistics, target, g, weights, pruned.values);
    kept.push(Float32Array.from(pruned.mask));
    values.push(pruned.values);
  }
  const tensor = Tensor.of('float', constant.dims, layerWeights(layer, values));
  graph.setInitializer(twin.twin(layer.weight), tensor);
  state.tensors.set(layer.weight, tensor);
  state.masks.set(layer.weight, given ?? Uint8Array.from(layerWeights(layer, kept)));
  if (layer.bias) {
    const old = twin.float(layer.bias).initializer!;
    const moved = old.floats().map((v, i) => v + shift[i]!);
    state.tensors.set(layer.bias, Tensor.of('float', old.dims, moved));
    graph.setInitializer(twin.twin(layer.bias), state.tensors.get(layer.bias)!);
  }
  state.layers.push({ layer: layer.label, error: power > 0 ? lost / power : 0 });
}

/** Mean of what the outputs of a group still lack. */
function addMeans(
  shift: Float32Array,
  layer: LinearLayer,
  statistics: LayerStatistics,
  target: TargetStatistics | undefined,
  group: number,
  before: Float32Array,
  after: Float32Array,
): void {
  const { rows } = statistics;
  const { n } = layer;
  for (let c = 0; c < n; c++) {
    let missing = target ? target.sum[group]![c]! / rows : 0;
    for (let j = 0; j < layer.k; j++)
      missing += (layer.alpha * (before[j * n + c]! - after[j * n + c]!) * statistics.sum[group]![j]!) / rows;
    shift[c] = missing;
  }
}

function difference(a: Float32Array, b: Float32Array): Float32Array {
  return a.map((v, i) => v - b[i]!);
}

/** tr((W - V)^T H (W - V)) and tr(W^T H W). */
async function outputError(math: DenseMath, h: ArrayLike<number>, w: Float32Array, v: Float32Array, k: number, n: number) {
  const metric = Float32Array.from(h);
  const gap = difference(w, v);
  return { lost: dot(gap, await math.product(metric, gap, k, k, n)), power: dot(w, await math.product(metric, w, k, k, n)) };
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
