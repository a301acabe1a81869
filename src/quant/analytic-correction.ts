// Analytic bias correction (Nagel et al. 2019, section 4.2): rounding the weights by E = W' - W moves the mean of output o by sum_i E_oi E[x_i], which the bias
// takes back. E[x] comes from one run of the float model (the paper reads it off BatchNorm, which is folded by then), so the quantized model is never run. It
// knows nothing of how activations are rounded, and takes zeros of padding for values: the empirical correction does not, and costs runs of the quantized model.
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import type { ComputeAnnotation } from './annotate.js';
import { type CorrectedLayer, type CorrectionOptions, shiftBias } from './bias-correction.js';
import { measureChannels } from './channel-statistics.js';
import { axisView, type ChannelView, forEachRun, inputChannelView } from './channel-view.js';

/** What the correction needs of the float model. */
export interface FloatLayer {
  readonly layer: ComputeAnnotation;
  readonly weight: Float32Array;
  readonly view: ChannelView;
  /** Outputs that lie side by side in a run of the view. */
  readonly outputsInRun: number;
  readonly inputMeans: Float64Array;
}

/** Means of the inputs of Conv and Gemm layers, and their weights. Call it before Q/DQ are inserted. */
export async function floatLayers(model: Model, layers: readonly ComputeAnnotation[], options: CorrectionOptions): Promise<FloatLayer[]> {
  const views = layers.flatMap((layer) => {
    const view = viewOf(layer);
    return view ? [{ layer, ...view, data: layer.node.input(layer.data)! }] : [];
  });
  const wanted = new Map<Value, number>(views.map(({ data }) => [data, 1]));
  const statistics = await measureChannels(model, wanted, { ...options, limit: options.samples });
  return views.flatMap(({ layer, view, outputsInRun, data }) => {
    const mean = statistics.get(data)?.mean;
    const weight = layer.weight!.value.initializer!.floats();
    return mean?.length === view.groups * view.channels ? [{ layer, weight, view, outputsInRun, inputMeans: mean }] : [];
  });
}

function viewOf({ node, weight }: ComputeAnnotation): Pick<FloatLayer, 'view' | 'outputsInRun'> | undefined {
  const value = weight?.value;
  if (!value?.isConstant || node.domain !== '') return undefined;
  if (node.opType === 'Conv') return { view: inputChannelView(value, node.int('group', 1)), outputsInRun: 1 };
  if (node.opType !== 'Gemm' || node.int('transA', 0) !== 0) return undefined;
  return node.int('transB', 0) === 1
    ? { view: axisView(value, 1), outputsInRun: 1 }
    : { view: axisView(value, 0), outputsInRun: value.initializer!.dims[1]! };
}

/** Corrects the biases of a model with Q/DQ in place. */
export function correctAnalytically(layers: readonly FloatLayer[]): CorrectedLayer[] {
  return layers.flatMap(({ layer, weight, view, outputsInRun, inputMeans }) => {
    const rounded = storedWeight(layer.node, layer.weight!.index);
    if (rounded?.length !== weight.length) return [];
    const moved = new Float64Array(view.groups * view.outer * outputsInRun);
    forEachRun(view, (start, length, channel, row) => {
      for (let i = 0; i < length; i++) {
        moved[row * outputsInRun + (i % outputsInRun)]! += (rounded[start + i]! - weight[start + i]!) * inputMeans[channel]!;
      }
    });
    return [shiftBias(layer, new Float64Array(moved.length), moved)];
  });
}

/** A weight as it is read back: codes times the scales of one axis (weights are symmetric). */
function storedWeight(node: Node, index: number): Float32Array | undefined {
  const dequantize = node.input(index)?.producer;
  const codes = dequantize?.input(0)?.initializer;
  const scales = dequantize?.input(1)?.initializer?.floats();
  if (dequantize?.opType !== 'DequantizeLinear' || !codes || !scales) return undefined;
  const axis = dequantize.int('axis', 1);
  const inner = scales.length === 1 ? codes.size : codes.dims.slice(axis + 1).reduce((p, d) => p * d, 1);
  const values = codes.numbers();
  return Float32Array.from({ length: codes.size }, (_, i) => Number(values[i]!) * scales[Math.floor(i / inner) % scales.length]!);
}
