// Repairs a pruned model layer by layer with unlabelled data: each linear layer is fitted anew (least squares on the inputs it still has, as they are
// in the pruned model) so that the residual sum behind it comes back to what the unpruned model computes (He et al. 2017, channel pruning).
// Works on the unpruned graph with the units masked; the weights of what is removed are zero in the result.
import type { ChannelGroup, GroupMember } from '../../../analysis/channel-groups.js';
import type { Dataset } from '../../../data/dataset.js';
import type { Node } from '../../../ir/graph.js';
import type { Model } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import { batchSizeOf } from '../../../quant/calibrate.js';
import { DenseMath } from '../../../quant/dense-math.js';
import { correctWeights, factorHessian } from '../../../quant/hessian.js';
import {
  dataProbe,
  LayerStatistics,
  type LinearLayer,
  layerMatrices,
  layerWeights,
  linearLayerOf,
  TargetStatistics,
  targetProbe,
} from '../../../quant/layer-probe.js';
import { StagedRun } from '../../../quant/staged-run.js';
import { type TwinModel, twinModel } from '../../../quant/twin.js';
import type { Engine } from '../../../runtime/engine.js';
import type { Removal } from './remove.js';

export interface ReconstructionOptions {
  readonly engine: Engine;
  readonly threads?: number | undefined;
  readonly data: Dataset;
  readonly samples: number;
  /** Added to the diagonal of X^T X, as a share of its mean. */
  readonly damping: number;
  readonly checkAborted?: (() => void) | undefined;
  readonly onProgress?: ((fraction: number, label: string) => void) | undefined;
}

export interface ReconstructedLayer {
  readonly layer: string;
  /** Squared error that the fit takes off, as a share of the power of the layer's output. */
  readonly recovered: number;
}

/** Elements along the contracted axis of a weight that are masked: removed inputs, by name of the weight. */
type Masked = ReadonlyMap<string, { readonly inputs: ReadonlySet<number>; readonly outputs: ReadonlySet<number> }>;

/**
 * Fits the weights (and biases) of the model in place for the given removal, which is not carried out.
 * Layers that several nodes share, and layers inside branches and loops, stay as they are.
 */
export async function reconstructPruned(model: Model, removal: Removal, options: ReconstructionOptions): Promise<ReconstructedLayer[]> {
  const masked = maskedPositions(removal);
  const layers = [...linearLayers(model)].filter((l) => l.layer.groups === 1);
  const changed = new Set(layers.flatMap(({ layer }) => [layer.weight, ...(layer.bias ? [layer.bias] : [])]));
  // Layers that are not fitted compute with what is left as well: their inputs are masked in the second stream.
  const extra = [...masked.keys()].filter((name) => !changed.has(name) && model.graph.ownValue(name)?.isConstant);
  const twin = twinModel(model, new Set([...changed, ...extra]));
  for (const name of masked.keys()) {
    const value = model.graph.ownValue(name);
    if (value?.isConstant) twin.model.graph.setInitializer(twin.twin(name), await maskInputs(removal, name, twin));
  }
  const math = await DenseMath.open(options.engine, options.threads);
  const records: ReconstructedLayer[] = [];
  try {
    const run = await StagedRun.start(twin.model, options.data, {
      engine: options.engine,
      session: { threads: options.threads },
      batchSize: batchSizeOf(model.graph),
      limit: options.samples,
      checkAborted: options.checkAborted,
    });
    for (const [i, { layer, node }] of layers.entries()) {
      options.onProgress?.(i / layers.length, layer.label);
      const record = await fitLayer(run, twin, math, layer, node, masked.get(layer.weight)?.inputs ?? NONE, options);
      if (record) records.push(record);
    }
  } finally {
    await math.release();
  }
  for (const name of changed) model.graph.setInitializer(model.graph.ownValue(name)!, twin.twin(name).initializer!);
  return records;
}

const NONE: ReadonlySet<number> = new Set();

function* linearLayers(model: Model): Generator<{ layer: LinearLayer; node: Node }> {
  const seen = new Set<string>();
  for (const node of model.graph.nodes) {
    const layer = linearLayerOf(node);
    if (typeof layer !== 'object' || seen.has(layer.weight)) continue;
    if (model.graph.ownValue(layer.weight)!.users.length > 1) continue;
    seen.add(layer.weight);
    yield { layer, node };
  }
}

/** Gives convolutions without a bias one of zeros, to take up the mean error. Before groups are looked for, since it is part of them. */
export function addBiases(model: Model): void {
  for (const node of model.graph.nodes) {
    const weight = node.input(1)?.initializer;
    if (node.domain !== '' || node.opType !== 'Conv' || node.input(2) || weight?.dtype !== 'float') continue;
    node.setInput(
      2,
      model.graph.addInitializer(`${node.input(1)!.name}_bias`, Tensor.of('float', [weight.dims[0]!], new Float32Array(weight.dims[0]!))),
    );
  }
}

function contracts(member: GroupMember): boolean {
  return member.roles.some((r) => r.contracted);
}

function maskedPositions(removal: Removal): Masked {
  const masked = new Map<string, { inputs: Set<number>; outputs: Set<number> }>();
  forEachConstant(removal, (member, positions) => {
    const own = masked.get(member.value.name) ?? { inputs: new Set(), outputs: new Set() };
    masked.set(member.value.name, own);
    for (const p of positions) (contracts(member) ? own.inputs : own.outputs).add(p);
  });
  return masked;
}

function forEachConstant(removal: Removal, visit: (member: GroupMember, positions: readonly number[], group: ChannelGroup) => void): void {
  for (const [group, units] of removal) {
    for (const member of group.members) {
      if (!member.value.isConstant || !member.value.initializer) continue;
      visit(
        member,
        units.flatMap((u) => Array.from(member.positions.subarray(u * member.perUnit, (u + 1) * member.perUnit))),
        group,
      );
    }
  }
}

/** The constant with zeros where a layer would read removed channels. */
async function maskInputs(removal: Removal, name: string, twin: TwinModel): Promise<Tensor> {
  const original = await twin.float(name).initializer!.load();
  if (original.dtype !== 'float') return original;
  const values = original.floats().slice();
  forEachConstant(removal, (member, positions) => {
    if (member.value.name !== name || !contracts(member)) return;
    const extent = original.dims[member.axis]!;
    const inner = original.dims.slice(member.axis + 1).reduce((a, b) => a * b, 1);
    for (let start = 0; start < values.length; start += extent * inner) {
      for (const p of positions) values.fill(0, start + p * inner, start + (p + 1) * inner);
    }
  });
  return Tensor.of('float', original.dims, values);
}

async function fitLayer(
  run: StagedRun,
  twin: TwinModel,
  math: DenseMath,
  layer: LinearLayer,
  node: Node,
  gone: ReadonlySet<number>,
  options: ReconstructionOptions,
): Promise<ReconstructedLayer | undefined> {
  const { k, n } = layer;
  const statistics = new LayerStatistics(k, 1);
  const target = new TargetStatistics(layer);
  const data = twin.twin(layer.data);
  const [wanted, actual] = [twin.float(layer.target), twin.twin(layer.target)];
  if (wanted === actual) return undefined;
  await run.stage(
    [data, wanted],
    [actual],
    (graph, at) => {
      const probe = dataProbe(graph, layer, twin.float(layer.output).producer!, at(data));
      return [...probe.outputs, ...targetProbe(graph, layer, probe.rows, at(wanted), at(actual))];
    },
    (outputs) => {
      statistics.add(outputs[0]!, outputs[1]!, outputs[2]!);
      target.add(outputs[3]!, outputs[4]!);
    },
  );
  const taps = k / (node.opType === 'Conv' ? node.input(1)!.initializer!.dims[1]! : k);
  const kept = Array.from({ length: k }, (_, i) => i).filter((i) => !gone.has(Math.floor(i / taps)));
  const bias = layer.bias;
  const gram = bias ? statistics.centredGram(0) : statistics.gram[0]!;
  const cross = bias ? target.centredCross(0, statistics) : target.cross[0]!;
  const m = kept.length;
  const h = new Float64Array(m * m);
  const c = new Float64Array(m * n);
  for (const [a, i] of kept.entries()) {
    for (const [b, j] of kept.entries()) h[a * m + b] = gram[i * k + j]!;
    for (let o = 0; o < n; o++) c[a * n + o] = cross[i * n + o]! / layer.alpha;
  }
  const constant = twin.twin(layer.weight).initializer!;
  const current = layerMatrices(layer, constant.floats())[0]!;
  const before = Float32Array.from({ length: m * n }, (_, i) => current[kept[Math.floor(i / n)]! * n + (i % n)]!);
  const factored = await factorHessian(math, h, m, { damping: options.damping, order: 'given', block: 1 });
  const moved = await correctWeights(math, factored, h, before, c, m, n);
  const next = new Float32Array(k * n);
  for (const [a, i] of kept.entries()) next.set(moved.subarray(a * n, (a + 1) * n), i * n);
  twin.model.graph.setInitializer(twin.twin(layer.weight), Tensor.of('float', constant.dims, layerWeights(layer, [next])));
  if (bias) {
    const old = twin.twin(bias).initializer!;
    const shifted = old.floats().slice();
    for (let o = 0; o < n; o++) {
      shifted[o]! += target.sum[0]![o]! / statistics.rows;
      for (const [a, i] of kept.entries())
        shifted[o]! -= (layer.alpha * (moved[a * n + o]! - before[a * n + o]!) * statistics.sum[0]![i]!) / statistics.rows;
    }
    twin.model.graph.setInitializer(twin.twin(bias), Tensor.of('float', old.dims, shifted));
  }
  return { layer: layer.label, recovered: recoveredShare(h, c, before, moved, m, n) };
}

/** Columns looked at for the record. */
const COLUMNS = 16;

/** tr(C^T D) by tr(W^T H W) for the change D of the weights: what the fit takes off the squared error, against the output's power. */
function recoveredShare(h: Float64Array, c: Float64Array, before: Float32Array, moved: Float32Array, m: number, n: number): number {
  let power = 0;
  let explained = 0;
  for (let o = 0; o < n; o += Math.max(1, Math.floor(n / COLUMNS))) {
    for (let i = 0; i < m; i++) {
      let row = 0;
      for (let j = 0; j < m; j++) row += h[i * m + j]! * moved[j * n + o]!;
      power += row * moved[i * n + o]!;
      explained += c[i * n + o]! * (moved[i * n + o]! - before[i * n + o]!);
    }
  }
  return power > 0 ? explained / power : 0;
}
