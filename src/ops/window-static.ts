// The geometry of a sliding window over static extents, with automatic padding resolved: for gradients, which write it out.

import type { Node } from '../ir/graph.js';

export interface StaticWindow {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begins: readonly number[];
  readonly ends: readonly number[];
  /** Extent of the window with its gaps: dilation * (kernel - 1) + 1. */
  readonly extents: readonly number[];
}

/** Window of a convolution or pooling over spatial extents `sizes`. Padding that ceil_mode adds at the end is included: the windows that there are all fit. */
export function staticWindow(node: Node, kernel: readonly number[], sizes: readonly number[], outputs: readonly number[]): StaticWindow {
  const n = kernel.length;
  const strides = node.ints('strides') ?? new Array<number>(n).fill(1);
  const dilations = node.ints('dilations') ?? new Array<number>(n).fill(1);
  const pads = node.ints('pads') ?? new Array<number>(2 * n).fill(0);
  const auto = node.string('auto_pad', 'NOTSET') || 'NOTSET';
  const extents = kernel.map((k, i) => dilations[i]! * (k - 1) + 1);
  const begins: number[] = [];
  const ends: number[] = [];
  for (let i = 0; i < n; i++) {
    const needed = (outputs[i]! - 1) * strides[i]! + extents[i]!;
    if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') {
      const total = Math.max(needed - sizes[i]!, 0);
      begins.push(auto === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2));
    } else begins.push(auto === 'VALID' ? 0 : pads[i]!);
    // The last window may end before the input does: then nothing is added, and what is left over is not read.
    ends.push(Math.max(needed - sizes[i]! - begins[i]!, 0));
  }
  return { kernel, strides, dilations, begins, ends, extents };
}

/** Every position within a kernel, row-major. */
export function windowTaps(kernel: readonly number[]): number[][] {
  return kernel.reduce<number[][]>((taps, k) => taps.flatMap((tap) => Array.from({ length: k }, (_, i) => [...tap, i])), [[]]);
}
