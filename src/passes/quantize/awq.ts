// AWQ on a model: for each value that only products with constant weights read, and that comes from a LayerNormalization or a product by a constant
// vector, channels are scaled up in the weights and down where the value comes from. Exact in float; see quant/awq.ts for the choice of scales.
import type { Dataset } from '../../data/dataset.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import type { PassContext } from '../../pass/define.js';
import { findChannelScales } from '../../quant/awq.js';
import type { BlockGrid } from '../../quant/block-rounding.js';
import { batchSizeOf } from '../../quant/calibrate.js';
import { DenseMath } from '../../quant/dense-math.js';
import { dataProbe, LayerStatistics, type LinearLayer, layerMatrices, layerWeights, linearLayerOf } from '../../quant/layer-probe.js';
import type { Selector } from '../../quant/selection.js';
import { StagedRun } from '../../quant/staged-run.js';

export interface ChannelScaling extends BlockGrid {
  readonly block: number;
  readonly data: Dataset;
  readonly samples: number;
  readonly select: Selector;
  readonly minElements: number;
}

/** Scales channels in place. Answers how many values were scaled. */
export async function scaleChannels(model: Model, options: ChannelScaling, ctx: PassContext): Promise<number> {
  const groups = scalableGroups(model, options);
  if (groups.length === 0) return 0;
  const math = await DenseMath.open(ctx.engine, ctx.threads);
  const found: { group: Group; scales: Float32Array }[] = [];
  try {
    const run = await StagedRun.start(model, options.data, {
      engine: ctx.engine,
      session: { threads: ctx.threads },
      batchSize: batchSizeOf(model.graph),
      limit: options.samples,
      checkAborted: () => ctx.checkAborted(),
    });
    for (const [i, group] of groups.entries()) {
      ctx.progress({ fraction: i / groups.length, label: `scaling ${group.data.name}` });
      const first = group.layers[0]!;
      const statistics = new LayerStatistics(first.k, 1);
      const node = model.graph.ownValue(first.output)!.producer!;
      await run.stage(
        [group.data],
        [],
        (graph, at) => dataProbe(graph, first, node, at(group.data)).outputs,
        ([rows, gram, sum]) => statistics.add(rows!, gram!, sum!),
      );
      const layers = group.layers.map((l) => ({ weights: layerMatrices(l, constant(model, l).floats())[0]!, n: l.n }));
      const scales = await findChannelScales(math, statistics.gram[0]!, first.k, layers, options);
      if (scales) found.push({ group, scales });
    }
  } finally {
    await math.release();
  }
  // Only now: until here the run read the model as it was.
  for (const { group, scales } of found) applyScales(model, group, scales);
  return found.length;
}

interface Group {
  readonly data: Value;
  readonly layers: readonly LinearLayer[];
  /** Constants of the value's source that take 1 / scale: inputs of `source`. */
  readonly source: Node;
  readonly inputs: readonly number[];
}

function constant(model: Model, layer: LinearLayer): Tensor {
  return model.graph.ownValue(layer.weight)!.initializer!;
}

function scalableGroups(model: Model, options: ChannelScaling): Group[] {
  const groups: Group[] = [];
  for (const source of model.graph.nodes) {
    const data = source.outputs[0];
    if (!data || data.isGraphOutput || data.uses.length === 0) continue;
    const layers: LinearLayer[] = [];
    for (const { node, index } of data.uses) {
      const layer = index === 0 && node.graph === model.graph && options.select(node) === undefined ? linearLayerOf(node) : undefined;
      const weight = typeof layer === 'object' && layer.kind === 'product' ? model.graph.ownValue(layer.weight) : undefined;
      if (typeof layer === 'object' && weight?.readerCount === 1 && weight.initializer!.size >= options.minElements) layers.push(layer);
    }
    if (layers.length !== data.uses.length) continue;
    const inputs = scaledInputs(source, layers[0]!.k);
    if (inputs) groups.push({ data, layers, source, inputs });
  }
  return groups;
}

/** Inputs of a node that must be scaled so that its output's channels are; null where that cannot be done. */
function scaledInputs(node: Node, k: number): number[] | null {
  if (node.domain !== '') return null;
  const vector = (i: number) => {
    const tensor = node.input(i)?.isConstant ? node.input(i)!.initializer : null;
    return tensor?.dtype === 'float' && tensor.size === k && tensor.dims.at(-1) === k;
  };
  if (node.opType === 'LayerNormalization' || node.opType === 'RMSNormalization') {
    if (!vector(1) || node.outputs.slice(1).some((o) => o && o.readerCount > 0)) return null;
    if (node.input(2)) return vector(2) ? [1, 2] : null;
    return [1];
  }
  if (node.opType === 'Mul') {
    if (vector(1)) return [1];
    if (vector(0)) return [0];
  }
  return null;
}

function applyScales(model: Model, { layers, source, inputs }: Group, scales: Float32Array): void {
  for (const index of inputs) {
    const old = source.input(index)!;
    const divided = old.initializer!.floats().map((v, i) => v / scales[i]!);
    source.setInput(index, model.graph.addInitializer(`${old.name}_scaled`, Tensor.of('float', old.initializer!.dims, divided)));
  }
  for (const layer of layers) {
    const weight = model.graph.ownValue(layer.weight)!;
    const [matrix] = layerMatrices(layer, weight.initializer!.floats());
    for (let r = 0; r < layer.k; r++) for (let c = 0; c < layer.n; c++) matrix![r * layer.n + c]! *= scales[r]!;
    model.graph.setInitializer(weight, Tensor.of('float', weight.initializer!.dims, layerWeights(layer, [matrix!])));
  }
}
