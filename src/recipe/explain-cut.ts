// A quantized model cut open at the input of every layer: each layer reads an input of its own in place of what the layers before it gave, so that
// one run with the original's values shows the error that each layer adds by itself.

import { type DType, integerRange } from '../ir/dtype.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { tensorType } from '../ir/type.js';
import { cloneModel } from '../ir/walk.js';
import type { MatchedLayer } from '../quant/matched-layers.js';

/** A node of the original, its input that is looked at, and the node of the other model that stands for it. */
export interface Site {
  readonly a: Node;
  readonly b: Node | null;
  readonly dataIndex: number;
}

export interface OpenedLayer {
  readonly layer: Site;
  /** Name of the layer's input in the original, and of the input that stands for it in the opened model. */
  readonly input: string;
  readonly feed: string;
  /** Type that the layer is fed in. */
  readonly dtype: DType;
  /** Name of the layer's result in both. */
  readonly output: string;
  /** Name of the input as the layer reads it, rounded; null where it is read as it is. */
  readonly rounded: string | null;
  /** Range that a constant scale covers. */
  readonly range: readonly [number, number] | null;
}

/** Operators that only move or rename data: what they read is rounded for those behind them. */
const MOVES = new Set(
  'Concat Dropout Expand Flatten Gather Identity MaxPool Pad Reshape Resize Slice Split Squeeze Tile Transpose Unsqueeze'.split(' '),
);

/** Inputs of nodes without a weight that the other model reads rounded: sums, products, roots of decomposed norms and activations. */
export function operatorSites(a: Model, b: Model, layers: readonly MatchedLayer[]): Site[] {
  const known = new Set(layers.map((l) => l.a));
  const sites: Site[] = [];
  for (const node of a.graph.nodes) {
    const output = node.outputs[0];
    if (known.has(node) || MOVES.has(node.opType) || !output) continue;
    const twin = b.graph.ownValue(output.name)?.producer;
    if (twin?.opType !== node.opType) continue;
    node.inputs.forEach((value, dataIndex) => {
      const rounding = twin.input(dataIndex)?.producer;
      if (!value || value.isConstant || rounding?.opType !== 'DequantizeLinear') return;
      if (rounding.input(0)?.producer?.opType === 'QuantizeLinear') sites.push({ a: node, b: twin, dataIndex });
    });
  }
  return sites;
}

const THROUGH = new Set(['DequantizeLinear', 'QuantizeLinear', 'DynamicQuantizeLinear', 'LeakyRelu', 'Cast']);

/** Opens a copy of `b`. Layers whose product was not recognised, or whose input lies in a constant, are left out. */
export function cutOpen(b: Model, layers: readonly Site[]): { model: Model; opened: OpenedLayer[] } {
  const model = cloneModel(b);
  const { graph } = model;
  const opened: OpenedLayer[] = [];
  const feeds = new Map<string, Value>();
  const done = new Set<Node>();
  for (const layer of layers) {
    const data = layer.a.input(layer.dataIndex);
    const output = layer.a.output().name;
    const core = layer.b && twinOf(graph.ownValue(layer.b.outputs[0]!.name));
    if (!data || data.isConstant || !core || graph.ownValue(output) === undefined) continue;
    const { reader, index, dequantized } = entryOf(core, layer.dataIndex);
    // In half precision the layer reads what lies between two layers as it is.
    const dtype = tensorTypeOf(reader.input(index))?.dtype ?? 'float';
    const key = `${dtype} ${data.name}`;
    let feed = feeds.get(key);
    if (!feed) {
      feed = graph.addInput(graph.freshName(`${data.name}_fed`), tensorType(dtype, tensorTypeOf(data)?.shape ?? null));
      feeds.set(key, feed);
    }
    if (!done.has(reader)) {
      done.add(reader);
      reader.setInput(index, feed);
    }
    const kept = opened.find((o) => o.input === data.name && o.rounded !== null);
    opened.push({
      layer,
      input: data.name,
      feed: feed.name,
      dtype,
      output,
      rounded: dequantized?.name ?? kept?.rounded ?? null,
      range: rangeOf(reader),
    });
  }
  return { model, opened };
}

function twinOf(value: Value | undefined): Node | null {
  return value?.producer ?? null;
}

const ROUNDINGS = /^(Dynamic)?QuantizeLinear$/;

/** The node that reads the layer's input in full precision, past the rounding in front of the layer. */
function entryOf(core: Node, dataIndex: number): { reader: Node; index: number; dequantized: Value | null } {
  let reader = core;
  let index = dataIndex;
  let dequantized: Value | null = null;
  for (;;) {
    const producer = reader.input(index)?.producer;
    if (!producer || !THROUGH.has(producer.opType)) return { reader, index, dequantized };
    // A Cast of integers, or a LeakyRelu that is the model's own, ends the way.
    if (producer.opType === 'LeakyRelu' && producer.float('alpha', 0.01) !== 1) return { reader, index, dequantized };
    if (producer.opType === 'DequantizeLinear') {
      // Codes that were looked up or moved are no rounding of this input.
      if (!ROUNDINGS.test(producer.input(0)?.producer?.opType ?? '')) return { reader, index, dequantized };
      dequantized ??= producer.output();
    }
    // In front of QuantizeLinear lies the value itself.
    if (reader.opType === 'QuantizeLinear' || reader.opType === 'DynamicQuantizeLinear') return { reader, index, dequantized };
    reader = producer;
    index = 0;
  }
}

function rangeOf(q: Node): readonly [number, number] | null {
  if (q.opType !== 'QuantizeLinear') return null;
  const scale = q.input(1)?.initializer;
  const zero = q.input(2)?.initializer;
  if (!scale || !zero || scale.size !== 1) return null;
  const { min, max } = integerRange(zero.dtype);
  const [s, z] = [scale.floats()[0]!, zero.numbers()[0]!];
  return [(min - z) * s, (max - z) * s];
}
