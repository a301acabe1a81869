// Signal processing: Fourier transforms, windows and the mel filter bank.
import { addDims, floorDivDims, subDims } from '../ir/dim.js';
import { dtypeOfCode } from '../ir/dtype.js';
import type { Dim } from '../ir/type.js';
import { moreDefinite, normalizeAxis, requireRankAtLeast, scalarOf, tensorResult } from './infer-helpers.js';
import type { CostContext, InferContext, Inferred, OpRecord, Work } from './op.js';

/** Content of a scalar input as a dimension. */
function dimOf(ctx: InferContext, input: number): Dim {
  return ctx.value(input)?.items[0] ?? null;
}

function oneSided(bins: Dim): Dim {
  return addDims(floorDivDims(bins, 2), 1);
}

function inferDft(ctx: InferContext): Inferred[] {
  requireRankAtLeast(ctx, 0, 2);
  const shape = ctx.shape(0);
  if (shape === null) return [tensorResult(ctx.dtype(0), null)];
  const given = ctx.opset >= 20 ? (ctx.has(2) ? scalarOf(ctx, 2) : -2) : ctx.node.int('axis', 1);
  if (given === undefined) return [tensorResult(ctx.dtype(0), new Array<Dim>(shape.length).fill(null).with(-1, 2))];
  const axis = normalizeAxis(ctx, given, shape.length);
  const bins = ctx.has(1) ? dimOf(ctx, 1) : shape[axis]!;
  const kept = ctx.node.int('onesided', 0) !== 0 ? oneSided(bins) : bins;
  return [tensorResult(ctx.dtype(0), shape.with(axis, kept).with(-1, 2))];
}

function inferStft(ctx: InferContext): Inferred[] {
  requireRankAtLeast(ctx, 0, 2);
  const signal = ctx.shape(0);
  const window = ctx.has(2) ? (ctx.shape(2)?.[0] ?? null) : null;
  const length = moreDefinite(ctx.has(3) ? dimOf(ctx, 3) : null, window);
  const frames = signal ? addDims(floorDivDims(subDims(signal[1]!, length), dimOf(ctx, 1)), 1) : null;
  const bins = ctx.node.int('onesided', 1) !== 0 ? oneSided(length) : length;
  return [tensorResult(ctx.dtype(0), [signal?.[0] ?? null, frames, bins, 2])];
}

function inferWindow(ctx: InferContext): Inferred[] {
  return [tensorResult(dtypeOfCode(ctx.node.int('output_datatype', 1)), [dimOf(ctx, 0)])];
}

function inferMel(ctx: InferContext): Inferred[] {
  return [tensorResult(dtypeOfCode(ctx.node.int('output_datatype', 1)), [oneSided(dimOf(ctx, 1)), dimOf(ctx, 0)])];
}

/** A Fourier transform of n points by FFT: about 5 n log2 n operations. */
function fourierOps(transforms: number, points: number): Work {
  return { macs: 0, ops: Math.round(5 * transforms * points * Math.log2(Math.max(points, 2))) };
}

function dftCost({ inputs: [x], outputs: [y] }: CostContext): Work {
  if (!x || !y) return { macs: 0, ops: 0 };
  const size = (dims: readonly number[]) => dims.slice(0, -1).reduce((a, b) => a * b, 1);
  const axis = x.findIndex((d, i) => i < x.length - 1 && d !== y[i]);
  const points = axis >= 0 ? Math.max(x[axis]!, y[axis]!) : (x.at(-2) ?? 1);
  return fourierOps(size(x) / Math.max(axis >= 0 ? x[axis]! : points, 1), points);
}

function stftCost({ inputs: [, , window], outputs: [y] }: CostContext): Work {
  if (!y) return { macs: 0, ops: 0 };
  return fourierOps(y[0]! * y[1]!, window?.[0] ?? y[2]! * 2);
}

function window(opType: string): OpRecord {
  return { opType, domain: '', since: 17, infer: inferWindow, grad: 'none', axes: '_->.', quant: 'none', cost: 'elementwise' };
}

export const SIGNAL_OPS: readonly OpRecord[] = [
  { opType: 'DFT', domain: '', since: 17, infer: inferDft, grad: 'none', axes: 'opaque', quant: 'none', cost: dftCost },
  { opType: 'STFT', domain: '', since: 17, infer: inferStft, grad: 'none', axes: 'opaque', quant: 'none', cost: stftCost },
  window('HannWindow'),
  window('HammingWindow'),
  window('BlackmanWindow'),
  {
    opType: 'MelWeightMatrix',
    domain: '',
    since: 17,
    infer: inferMel,
    grad: 'none',
    axes: '_,_,_,_,_->..',
    quant: 'none',
    cost: 'elementwise',
  },
];
