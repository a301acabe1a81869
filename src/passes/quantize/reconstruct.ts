// Rounds the linear layers of a model one after another so that each one's output stays close on calibration data (GPTQ), with the inputs that it
// will have: those of the model quantized so far. Targets are the float model's own values after the residual sum, so that a layer also makes
// good what earlier ones lost (Li et al. 2025, GPTAQ, who take the layer's own output). Biases take up the mean error that is left.
import type { Dataset } from '../../data/dataset.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import type { RoundedMatrix } from '../../quant/block-rounding.js';
import { batchSizeOf } from '../../quant/calibrate.js';
import { DenseMath } from '../../quant/dense-math.js';
import { type GptqOptions, roundWithHessian } from '../../quant/gptq.js';
import { correctWeights, factorHessian } from '../../quant/hessian.js';
import {
  dataProbe,
  LayerStatistics,
  type LinearLayer,
  layerMatrices,
  layerWeights,
  TargetStatistics,
  targetProbe,
} from '../../quant/layer-probe.js';
import { StagedRun } from '../../quant/staged-run.js';
import { type TwinModel, twinModel } from '../../quant/twin.js';
import type { Engine } from '../../runtime/engine.js';

export interface ReconstructOptions {
  readonly engine: Engine;
  readonly threads?: number | undefined;
  readonly data: Dataset;
  readonly samples: number;
  /** Grid and order for a layer. */
  readonly gridOf: (layer: LinearLayer) => GptqOptions;
  /** Values of tables that are rounded already, by constant. */
  readonly known: ReadonlyMap<string, Tensor>;
  /** How far weights move to make good earlier errors: 0 not at all, 1 all the way. */
  readonly correction: number;
  /** Measure the residual sum rather than the layer's own output. */
  readonly residual: boolean;
  readonly biases: boolean;
  /** Takes a rounded layer: one matrix per group. */
  readonly store: (layer: LinearLayer, rounded: readonly RoundedMatrix[]) => void;
  readonly checkAborted?: () => void;
  readonly onProgress?: (fraction: number, label: string) => void;
}

export interface Reconstruction {
  /** New biases by constant. */
  readonly biases: ReadonlyMap<string, Tensor>;
  readonly layers: readonly LayerRecord[];
}

/** What rounding did to one layer. */
export interface LayerRecord {
  readonly layer: string;
  /** Squared error of the layer's output relative to its power, on the calibration data. */
  readonly error: number;
  readonly seconds: number;
}

/** `layers` are layers of the main graph of `model`, in the order of its nodes. The model is not changed. */
export async function reconstruct(model: Model, layers: readonly LinearLayer[], options: ReconstructOptions): Promise<Reconstruction> {
  const changed = new Set([...options.known.keys(), ...layers.map((l) => l.weight)]);
  if (options.biases) for (const l of layers) if (l.bias) changed.add(l.bias);
  const twin = twinModel(model, changed);
  for (const [name, tensor] of options.known) twin.model.graph.setInitializer(twin.twin(name), tensor);
  const math = await DenseMath.open(options.engine, options.threads);
  const state: State = { twin, math, options, biases: new Map(), records: [] };
  try {
    const run = await StagedRun.start(twin.model, options.data, {
      engine: options.engine,
      session: { threads: options.threads },
      batchSize: batchSizeOf(model.graph),
      limit: options.samples,
      checkAborted: options.checkAborted,
    });
    const stages = byData(layers);
    for (const [i, stage] of stages.entries()) {
      options.onProgress?.(i / stages.length, stage[0]!.label);
      await reconstructStage(run, stage, state);
    }
  } finally {
    await math.release();
  }
  return { biases: state.biases, layers: state.records };
}

interface State {
  readonly twin: TwinModel;
  readonly math: DenseMath;
  readonly options: ReconstructOptions;
  readonly biases: Map<string, Tensor>;
  readonly records: LayerRecord[];
}

/** Layers that read the same value share their statistics. A weight that several nodes read is rounded for the first of them. */
function byData(layers: readonly LinearLayer[]): LinearLayer[][] {
  const stages = new Map<string, LinearLayer[]>();
  const seen = new Set<string>();
  for (const layer of layers) {
    if (seen.has(layer.weight)) continue;
    seen.add(layer.weight);
    const key = layer.kind === 'conv' ? layer.output : layer.data;
    const stage = stages.get(key);
    if (stage) stage.push(layer);
    else stages.set(key, [layer]);
  }
  return [...stages.values()];
}

async function reconstructStage(run: StagedRun, stage: readonly LinearLayer[], state: State): Promise<void> {
  const { twin, options } = state;
  const first = stage[0]!;
  const statistics = new LayerStatistics(first.k, first.groups);
  const targets = stage.map((layer) => new TargetStatistics(layer));
  const targetOf = (layer: LinearLayer) => (options.residual ? layer.target : layer.output);
  const data = twin.twin(first.data);
  const correct = options.correction > 0;
  const keep = [data, ...(correct ? stage.map((l) => twin.float(targetOf(l))) : [])];
  const temporary = correct ? stage.map((l) => twin.twin(targetOf(l))) : [];
  await run.stage(
    keep,
    temporary,
    (graph, at) => {
      const node = twin.float(first.output).producer!;
      const probe = dataProbe(graph, first, node, at(data));
      const differences = correct
        ? stage.flatMap((layer) => targetProbe(graph, layer, probe.rows, at(twin.float(targetOf(layer))), at(twin.twin(targetOf(layer)))))
        : [];
      return [...probe.outputs, ...differences];
    },
    (outputs) => {
      statistics.add(outputs[0]!, outputs[1]!, outputs[2]!);
      for (const [i, t] of targets.entries()) if (correct) t.add(outputs[3 + 2 * i]!, outputs[4 + 2 * i]!);
    },
  );
  for (const [i, layer] of stage.entries()) await roundLayer(layer, statistics, targets[i]!, state);
}

async function roundLayer(layer: LinearLayer, statistics: LayerStatistics, target: TargetStatistics, state: State): Promise<void> {
  const { twin, math, options } = state;
  const start = performance.now();
  const { k, n } = layer;
  const { graph } = twin.model;
  const constant = twin.float(layer.weight).initializer!;
  const matrices = layerMatrices(layer, constant.floats());
  const given = options.gridOf(layer);
  // With fewer rows of data H itself is less certain: an eigenvalue's relative error grows as k / rows.
  const grid = { ...given, damping: given.damping * (1 + k / Math.max(1, statistics.rows)) };
  const bias = options.biases ? layer.bias : null;
  const shift = new Float32Array(layer.groups * n);
  const rounded: RoundedMatrix[] = [];
  let lost = 0;
  let power = 0;
  for (let g = 0; g < layer.groups; g++) {
    const weights = matrices[g]!;
    const h = bias ? statistics.centredGram(g) : statistics.gram[g]!;
    const factored = await factorHessian(math, h, k, grid);
    let moved = weights;
    if (options.correction > 0) {
      const cross = bias ? target.centredCross(g, statistics) : target.cross[g]!;
      for (let j = 0; j < cross.length; j++) cross[j]! *= options.correction / layer.alpha;
      moved = await correctWeights(math, factored, h, weights, cross, k, n);
    }
    const r = await roundWithHessian(math, moved, k, n, h, factored, grid);
    rounded.push(r);
    const error = outputError(h, weights, r.values, k, n);
    lost += error.lost;
    power += error.power;
    if (bias) {
      const { rows } = statistics;
      for (let c = 0; c < n; c++) {
        let missing = options.correction > 0 ? target.sum[g]![c]! / rows : 0;
        for (let j = 0; j < k; j++) missing += (layer.alpha * (weights[j * n + c]! - r.values[j * n + c]!) * statistics.sum[g]![j]!) / rows;
        shift[g * n + c] = missing;
      }
    }
  }
  const restored = layerWeights(
    layer,
    rounded.map((r) => r.values),
  );
  graph.setInitializer(twin.twin(layer.weight), Tensor.of('float', constant.dims, restored));
  options.store(layer, rounded);
  if (bias) {
    const old = twin.float(bias).initializer!;
    const moved = Tensor.of(
      'float',
      old.dims,
      old.floats().map((v, i) => v + shift[i]!),
    );
    graph.setInitializer(twin.twin(bias), moved);
    state.biases.set(bias, moved);
  }
  state.records.push({ layer: layer.label, error: power > 0 ? lost / power : 0, seconds: (performance.now() - start) / 1000 });
}

/** tr((W - V)^T H (W - V)) and tr(W^T H W) on a few columns: what the record shows. */
function outputError(h: ArrayLike<number>, w: Float32Array, v: Float32Array, k: number, n: number): { lost: number; power: number } {
  let lost = 0;
  let power = 0;
  const stride = Math.max(1, Math.floor(n / 16));
  for (let c = 0; c < n; c += stride) {
    for (let i = 0; i < k; i++) {
      let e = 0;
      let p = 0;
      for (let j = 0; j < k; j++) {
        const x = h[i * k + j]!;
        e += x * (w[j * n + c]! - v[j * n + c]!);
        p += x * w[j * n + c]!;
      }
      lost += e * (w[i * n + c]! - v[i * n + c]!);
      power += p * w[i * n + c]!;
    }
  }
  return { lost, power };
}
