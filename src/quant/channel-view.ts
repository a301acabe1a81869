// The elements of a constant by channel: [groups, outer, channels per group, inner] in row-major order, channel = group * channels per group + index.
// Weights of convolutions (grouped too), products in either layout, biases and norm parameters all have this form.
import type { Value } from '../ir/graph.js';
import { Tensor } from '../ir/tensor.js';

export interface ChannelView {
  readonly value: Value;
  readonly groups: number;
  readonly outer: number;
  /** Per group. */
  readonly channels: number;
  readonly inner: number;
}

/** A constant whose axis counts channels, each standing for `repeat` consecutive positions of the axis. */
export function axisView(value: Value, axis: number, repeat = 1): ChannelView {
  const { dims } = value.initializer!;
  const product = (list: readonly number[]) => list.reduce((p, d) => p * d, 1);
  return {
    value,
    groups: 1,
    outer: product(dims.slice(0, axis)),
    channels: dims[axis]! / repeat,
    inner: product(dims.slice(axis + 1)) * repeat,
  };
}

/** The input channels of a convolution's weight [O, C / groups, ...]. */
export function inputChannelView(value: Value, groups: number): ChannelView {
  const { dims, size } = value.initializer!;
  const [outputs, channels] = [dims[0]!, dims[1]!];
  return { value, groups, outer: outputs / groups, channels, inner: size / (outputs * channels) };
}

export const channelCount = (view: ChannelView): number => view.groups * view.channels;

/** Calls `visit` with the start and length of each run of elements of one channel, and the row (group, outer) it is in. */
export function forEachRun(view: ChannelView, visit: (start: number, length: number, channel: number, row: number) => void): void {
  const { groups, outer, channels, inner } = view;
  let at = 0;
  for (let g = 0; g < groups; g++) {
    for (let o = 0; o < outer; o++) {
      for (let c = 0; c < channels; c++, at += inner) visit(at, inner, g * channels + c, g * outer + o);
    }
  }
}

/** Multiplies each channel of the constant by its factor. */
export function scaleChannels(view: ChannelView, factors: ArrayLike<number>): void {
  const tensor = view.value.initializer!;
  const data = tensor.floats().slice();
  forEachRun(view, (start, length, channel) => {
    const f = factors[channel]!;
    for (let i = start; i < start + length; i++) data[i]! *= f;
  });
  view.value.graph.setInitializer(view.value, Tensor.of('float', tensor.dims, data));
}
