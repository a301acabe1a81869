// 4-bit weights of statically quantized models, one scale per output channel: rounding to nearest would lose too much, so that codes are decided by
// GPTQ on the calibration data. Biases take up the mean error that is left.
import type { Dataset } from '../../data/dataset.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import type { PassContext } from '../../pass/define.js';
import type { Annotation } from '../../quant/annotate.js';
import { type LinearLayer, layerWeights, linearLayerOf } from '../../quant/layer-probe.js';
import type { GivenWeight } from '../../quant/weights.js';
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
  const nodes = new Set(annotation.compute.filter((c) => c.integer && c.weight?.value.graph === model.graph).map((c) => c.node));
  const layers = model.graph.nodes.flatMap((node): LinearLayer[] => {
    const layer = nodes.has(node) ? linearLayerOf(node) : undefined;
    return typeof layer === 'object' && model.graph.ownValue(layer.weight)?.readerCount === 1 ? [layer] : [];
  });
  const { biases, layers: records } = await reconstruct(model, layers, {
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
