// What a linear layer can be replaced by: two products, or a chain of two to three convolutions. One entry for each method and rank, with its cost and
// the share of the output's power that it loses; the factors themselves are computed for the entry that is chosen.
import type { Node } from '../../ir/graph.js';
import { tensorTypeOf } from '../../ir/model.js';
import type { LinearLayer } from '../../quant/layer-probe.js';
import { transposed } from './weighted-svd.js';

export const CONV_METHODS = ['channel', 'spatial', 'tucker', 'cp', 'separable'] as const;
export type ConvMethod = (typeof CONV_METHODS)[number];
export type Method = 'svd' | ConvMethod;

/** A convolution of a chain. */
export interface ConvStage {
  /** [outputs, inputs / group, ...kernel]. */
  readonly dims: readonly number[];
  readonly weight: Float32Array;
  readonly strides: readonly number[];
  readonly pads: readonly number[];
  readonly dilations: readonly number[];
  readonly group: number;
  /** Default NOTSET. */
  readonly autoPad?: string;
}

export interface Factored {
  /** Of a product: A [k, r] and B [r, n]. */
  readonly product?: { readonly a: Float32Array; readonly b: Float32Array; readonly rank: number };
  readonly stages?: readonly ConvStage[];
  /** What all stages make of the weight: [k, n]. */
  readonly approximation: Float32Array;
}

export interface Candidate {
  readonly method: Method;
  readonly ranks: readonly number[];
  /** Multiply-accumulates of all runs of the layer. */
  readonly macs: number;
  readonly params: number;
  /** 0 to 1. */
  readonly lost: number;
  build(): Promise<Factored>;
}

/** A layer that may be factored. */
export interface FactorLayer {
  readonly layer: LinearLayer;
  readonly node: Node;
  readonly macs: number;
  readonly params: number;
}

/** Ranks from `least` to the largest that saves, in steps of `step` but at most about `count` of them; the largest is always among them. */
export function rankLadder(largest: number, step: number, count: number): number[] {
  if (largest < 1) return [];
  const width = Math.max(step, Math.ceil(largest / count / step) * step);
  const ranks: number[] = [];
  for (let r = width; r <= largest; r += width) ranks.push(r);
  const last = largest >= step ? Math.floor(largest / step) * step : largest;
  if (ranks.at(-1) !== last) ranks.push(last);
  return ranks;
}

/** Largest r with r (a + b) < whole. */
export function largestSaving(whole: number, perRank: number): number {
  return Math.ceil(whole / perRank) - 1;
}

/** How a two-dimensional convolution slides. */
export interface Window {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  /** Begin and end by axis. */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
}

/** Undefined where the convolution has other than two axes, or pads by a rule that the pieces would not follow. */
export function windowOf(node: Node): Window | undefined {
  const dims = node.input(1)?.initializer?.dims;
  const padding = node.string('auto_pad', 'NOTSET');
  if (dims?.length !== 4 || !['NOTSET', 'VALID', ''].includes(padding)) return undefined;
  const pair = (name: string, fallback: number) => {
    const [a = fallback, b = fallback] = node.ints(name, []);
    return [a, b] as const;
  };
  const [p0 = 0, p1 = 0, p2 = 0, p3 = 0] = padding === 'VALID' ? [] : node.ints('pads', []);
  return { kernel: [dims[2]!, dims[3]!], strides: pair('strides', 1), dilations: pair('dilations', 1), pads: [p0, p1, p2, p3] };
}

/** Positions of the output, and how many times more the input has along each axis. */
export function extentsOf(node: Node, window: Window): { readonly rows: number; readonly columns: number } {
  const shape = tensorTypeOf(node.input(0))?.shape;
  const out = tensorTypeOf(node.output())?.shape;
  const ratio = (axis: number) => {
    const [a, b] = [shape?.[axis + 2], out?.[axis + 2]];
    return typeof a === 'number' && typeof b === 'number' && b > 0 ? a / b : window.strides[axis]!;
  };
  return { rows: ratio(0), columns: ratio(1) };
}

/** A 1x1 convolution from [inputs, outputs]. */
export function pointwise(matrix: Float32Array, inputs: number, outputs: number, axes: number): ConvStage {
  const ones = new Array<number>(axes).fill(1);
  return {
    dims: [outputs, inputs, ...ones],
    weight: transposed(matrix, inputs, outputs),
    strides: ones,
    pads: new Array<number>(2 * axes).fill(0),
    dilations: ones,
    group: 1,
  };
}
