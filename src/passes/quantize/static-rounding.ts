// 4-bit weights of statically quantized models, one scale per output channel: rounding to nearest would lose too much, so that codes are decided by
// GPTQ on the calibration data (biases take up the mean error that is left), or learnt: for each layer (AdaRound) or block (BRECQ) which of its two
// neighbouring codes a weight takes. Activations are float while that is decided.
import type { Dataset } from '../../data/dataset.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { cloneModel } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import type { Annotation } from '../../quant/annotate.js';
import { insertFakeWeight, startScales } from '../../quant/fake-quant.js';
import { fakeQuantFormat } from '../../quant/fake-quant-format.js';
import { type LinearLayer, layerWeights, linearLayerOf } from '../../quant/layer-probe.js';
import { layoutOf } from '../../quant/layout.js';
import { type GivenWeight, planWeights } from '../../quant/weights.js';
import { BLOCK_RECONSTRUCTION, type BlockReconstructionOptions, reconstructBlocks } from './block-reconstruction.js';
import { storedChannels } from './qat.js';
import { reconstruct } from './reconstruct.js';

const BITS = 4;
const DAMPING = 0.01;
const CORRECTION = 0.5;

/** Decides the codes of the weights of integer nodes; weights of other nodes are left out. Biases of `model` change. */
export async function roundStaticWeights(
  model: Model,
  annotation: Annotation,
  options: { readonly data: Dataset; readonly samples: number },
  ctx: PassContext,
): Promise<ReadonlyMap<Value, GivenWeight>> {
  const given = new Map<Value, GivenWeight>();
  const { biases, layers: records } = await reconstruct(model, roundedLayers(model, annotation), {
    engine: ctx.engine,
    threads: ctx.threads,
    ...options,
    gridOf: (layer) => ({ bits: BITS, zero: 'middle', block: layer.k, damping: DAMPING, order: 'importance' }),
    known: new Map(),
    correction: CORRECTION,
    residual: true,
    biases: true,
    store: (layer, rounded) => {
      const value = model.graph.ownValue(layer.weight)!;
      const codes = layerWeights(
        layer,
        rounded.map((r) => Float32Array.from(r.codes, (q) => q - 2 ** (BITS - 1))),
      );
      const scale = new Float32Array(layer.n * layer.groups);
      for (const [g, r] of rounded.entries()) scale.set(r.scales, g * layer.n);
      given.set(value, { codes: Tensor.from('int4', value.initializer!.dims, codes), scale });
    },
    checkAborted: () => ctx.checkAborted(),
    onProgress: (fraction, label) => ctx.progress({ fraction, label: `rounding ${label}` }),
  });
  for (const [name, tensor] of biases) model.graph.setInitializer(model.graph.ownValue(name)!, tensor);
  ctx.note('rounding', records);
  return given;
}

/** The same with codes that are learnt. The model is not changed. */
export async function learnStaticWeights(
  model: Model,
  annotation: Annotation,
  { data, ...options }: { readonly data: Dataset } & Pick<BlockReconstructionOptions, 'unit' | 'samples' | 'steps' | 'seed'>,
  ctx: PassContext,
): Promise<ReadonlyMap<Value, GivenWeight>> {
  const { weights: levels } = fakeQuantFormat(`w${BITS}`);
  const names = new Set(roundedLayers(model, annotation).map((l) => l.weight));
  const simulated = cloneModel(model);
  const planned = planWeights(annotation.compute, true).filter((p) => names.has(p.value.name) && p.granularity.kind === 'channel');
  const weights = planned.map(({ value, granularity }) => {
    const tensor = value.initializer!;
    const start = startScales(tensor.floats(), layoutOf(tensor.dims, granularity), levels, 'search', false);
    return insertFakeWeight(simulated.graph.value(value.name)!, granularity, levels, start);
  });
  const network = { model: simulated, float: model, weights };
  const learnt = await reconstructBlocks(network, data, { ...BLOCK_RECONSTRUCTION, ...options }, ctx);
  ctx.note('rounding', learnt.blocks);
  return new Map(planned.map(({ value }, i) => [value, storedChannels(weights[i]!, learnt.model)]));
}

/** Integer layers whose weight nobody else reads. */
function roundedLayers(model: Model, annotation: Annotation): LinearLayer[] {
  const nodes = new Set(annotation.compute.filter((c) => c.integer && c.weight?.value.graph === model.graph).map((c) => c.node));
  return model.graph.nodes.flatMap((node): LinearLayer[] => {
    const layer = nodes.has(node) ? linearLayerOf(node) : undefined;
    return typeof layer === 'object' && model.graph.ownValue(layer.weight)?.readerCount === 1 ? [layer] : [];
  });
}
