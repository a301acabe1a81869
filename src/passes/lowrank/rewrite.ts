// Puts factors in the place of a layer: the node stays as the last stage, with its name, output and bias, and earlier stages come before it.
import { Builder } from '../../ir/builder.js';
import type { Node } from '../../ir/graph.js';
import { Tensor } from '../../ir/tensor.js';
import type { ConvStage, Factored, FactorLayer } from './factorization.js';

export interface RewriteOptions {
  /** Mean of the layer's data [k], where the factors were fitted about it: the bias takes up what they do with it. */
  readonly mean: ArrayLike<number> | null;
  /** The layer's weight [k, n]. */
  readonly weight: Float32Array;
}

export function replaceLayer({ layer, node }: FactorLayer, factored: Factored, { mean, weight }: RewriteOptions): void {
  const { graph } = node;
  if (mean) shiftBias(node, layer.bias, biasShift(mean, weight, factored.approximation, layer.k, layer.n, layer.alpha));
  const source = graph.ownValue(layer.weight)!;
  const through = node.input(1)!.producer;
  if (factored.product) replaceProduct(node, source.name, factored.product, layer.k, layer.n);
  else if (factored.stages) replaceConv(node, source.name, factored.stages);
  if (through && through.output().readerCount === 0) graph.removeNode(through);
  graph.pruneValues();
}

/** alpha * mean (W - W'). */
function biasShift(
  mean: ArrayLike<number>,
  weight: Float32Array,
  approximation: Float32Array,
  k: number,
  n: number,
  alpha: number,
): Float64Array {
  const shift = new Float64Array(n);
  for (let i = 0; i < k; i++) for (let o = 0; o < n; o++) shift[o]! += alpha * mean[i]! * (weight[i * n + o]! - approximation[i * n + o]!);
  return shift;
}

function shiftBias(node: Node, bias: string | null, shift: Float64Array): void {
  const { graph } = node;
  if (bias === null) {
    node.setInput(2, graph.addInitializer(`${node.input(1)!.name}_bias`, Tensor.of('float', [shift.length], Float32Array.from(shift))));
    return;
  }
  const value = graph.ownValue(bias)!;
  const old = value.initializer!;
  graph.setInitializer(
    value,
    Tensor.of(
      'float',
      old.dims,
      old.floats().map((v, i) => v + shift[i]!),
    ),
  );
}

function replaceProduct(node: Node, name: string, { a, b, rank }: NonNullable<Factored['product']>, k: number, n: number): void {
  const { graph } = node;
  const builder = new Builder(graph, { before: node });
  const down = graph.addInitializer(`${name}_down`, Tensor.of('float', [k, rank], a));
  const up = graph.addInitializer(`${name}_up`, Tensor.of('float', [rank, n], b));
  const inner = builder.op('MatMul', [node.input(0), down], {}, { name: node.name && `${node.name}_down` });
  node.setInput(0, inner);
  node.setInput(1, up);
  if (node.opType === 'Gemm') node.setAttribute('transB', undefined);
}

function replaceConv(node: Node, name: string, stages: readonly ConvStage[]): void {
  const { graph } = node;
  const builder = new Builder(graph, { before: node });
  let data = node.input(0)!;
  stages.forEach((stage, i) => {
    const weight = graph.addInitializer(`${name}_${i}`, Tensor.of('float', stage.dims, stage.weight));
    const attributes = {
      kernel_shape: stage.dims.slice(2),
      strides: [...stage.strides],
      dilations: [...stage.dilations],
      group: stage.group,
      ...(stage.autoPad === undefined || stage.autoPad === 'NOTSET' ? { pads: [...stage.pads] } : { auto_pad: stage.autoPad }),
    };
    if (i < stages.length - 1) {
      data = builder.op('Conv', [data, weight], attributes, { name: node.name && `${node.name}_${i}` });
      return;
    }
    node.setInput(0, data);
    node.setInput(1, weight);
    for (const key of ['auto_pad', 'pads']) node.setAttribute(key, undefined);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  });
}
