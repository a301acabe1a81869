// High-bias absorption (Nagel et al. 2019, section 4.1.3): a channel that never falls below c > 0 behind a ReLU carries the constant c through its scale. It is taken
// out of the bias before the ReLU and put into the biases of the readers, W c: the channel then starts at 0 and the tensor's range shrinks. Here c is the least
// value that the calibration data shows, so that the function is the same on it. Readers that pad are left out: their zeros would have to become -c.

import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import type { Annotation, ComputeAnnotation } from '../../quant/annotate.js';
import { type ChannelOptions, measureChannels } from '../../quant/channel-statistics.js';
import { forEachRun } from '../../quant/channel-view.js';
import { type RegionReader, scaleRegionOf } from '../../quant/scale-regions.js';

export interface Absorbed {
  readonly producer: string;
  readonly readers: readonly string[];
  readonly channels: number;
  /** Largest constant that was moved. */
  readonly largest: number;
}

interface Place {
  readonly producer: Node;
  readonly bias: Value;
  /** Behind the ReLU. */
  readonly value: Value;
  readonly readers: readonly { readonly reader: RegionReader; readonly bias: Value }[];
}

/** Moves constants of what the annotation will quantize; biases of the model change in place. Answers what was done. */
export async function absorbHighBiases(model: Model, annotation: Annotation, options: ChannelOptions): Promise<Absorbed[]> {
  const compute = new Map(annotation.compute.filter((c) => c.integer).map((c) => [c.node, c]));
  const places = annotation.compute.flatMap((c) => placeOf(c, compute) ?? []);
  const statistics = await measureChannels(model, new Map(places.map((p) => [p.value, 1])), options);
  return places.flatMap((place) => {
    const least = statistics.get(place.value)?.min.map((v) => Math.max(0, v));
    return least?.some((c) => c > 0) ? [move(place, least)] : [];
  });
}

function placeOf(c: ComputeAnnotation, compute: ReadonlyMap<Node, ComputeAnnotation>): Place | undefined {
  const bias = ownBias(c);
  const region = bias && c.integer ? scaleRegionOf(c.node) : undefined;
  if (!bias || typeof region !== 'object' || region.values.size !== 2 || region.clips.length > 0) return undefined;
  const relu = c.node.output().uses[0]?.node;
  if (relu?.opType !== 'Relu' || c.node.output().readerCount !== 1) return undefined;
  const value = relu.output();
  const readers = region.readers.map((reader) => {
    const annotated = compute.get(reader.node);
    const own = annotated && reader.data === value && !pads(reader.node) ? ownBias(annotated) : undefined;
    return own ? { reader, bias: own } : undefined;
  });
  return readers.every((r) => r !== undefined) ? { producer: c.node, bias, value, readers } : undefined;
}

/** A bias vector that only this node reads and takes as it is. */
function ownBias({ node, bias }: ComputeAnnotation): Value | undefined {
  const value = bias?.value;
  if (!value?.isConstant || value.readerCount !== 1 || value.initializer?.dtype !== 'float' || value.initializer.rank !== 1)
    return undefined;
  if (node.opType === 'Gemm' && (node.float('alpha', 1) !== 1 || node.float('beta', 1) !== 1)) return undefined;
  return node.opType === 'Conv' || node.opType === 'Gemm' ? value : undefined;
}

function pads(node: Node): boolean {
  if (node.opType !== 'Conv') return false;
  const automatic = node.string('auto_pad', 'NOTSET');
  return (node.ints('pads') ?? []).some((p) => Number(p) !== 0) || automatic.startsWith('SAME');
}

function move({ producer, bias, readers }: Place, least: Float64Array): Absorbed {
  add(
    bias,
    least.map((c) => -c),
  );
  for (const { reader, bias: target } of readers) {
    const { weight, outputsInRun } = reader;
    const values = weight.value.initializer!.floats();
    const sums = new Float64Array(target.initializer!.size);
    forEachRun(weight, (start, length, channel, row) => {
      for (let i = 0; i < length; i++) sums[row * outputsInRun + (i % outputsInRun)]! += values[start + i]! * least[channel]!;
    });
    add(target, sums);
  }
  const moved = least.filter((c) => c > 0);
  return {
    producer: producer.label,
    readers: readers.map((r) => r.reader.node.label),
    channels: moved.length,
    largest: Math.max(...moved),
  };
}

function add(bias: Value, shift: Float64Array): void {
  const tensor = bias.initializer!;
  bias.graph.setInitializer(
    bias,
    Tensor.of(
      'float',
      tensor.dims,
      Float32Array.from(tensor.floats(), (b, i) => b + shift[i]!),
    ),
  );
}
