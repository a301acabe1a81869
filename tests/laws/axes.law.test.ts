// Law: slicing along a letter of an operator's axes, everywhere alike, commutes with running it; a letter that is summed over may be
// sliced where the rest is zero. So the same statement can be trusted by pruning, by layouts and by cost.
import { describe, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { DTYPES } from '../../src/ir/dtype.js';
import type { Node } from '../../src/ir/graph.js';
import { Tensor } from '../../src/ir/tensor.js';
import { isStatic } from '../../src/ir/type.js';
import { type AxesStatement, type AxisTerm, axesOfNode, letterExtents, lettersOfTerm, macsOfAxes, termExtent } from '../../src/ops/axes.js';
import { opRecord } from '../../src/ops/registry.js';
import { isExchangeable, runOrt } from '../oracle/ort.js';
import { allSamples, sampleName } from '../samples/all.js';
import { buildSample } from '../samples/build-sample.js';
import type { OpSample } from '../samples/op-sample.js';
import { adjust, leading } from './adjust.js';

interface Case {
  readonly name: string;
  readonly sample: OpSample;
  readonly statement: AxesStatement;
}

function shapesOf(values: readonly Node['inputs'][number][]): (number[] | null)[] {
  return values.map((v) => (v?.type?.kind === 'tensor' && isStatic(v.type.shape) ? [...v.type.shape] : null));
}

/** Contents of the tested node's inputs. */
function contents(sample: OpSample): (Tensor | null)[] {
  const { node, feeds } = buildSample(sample);
  return node.inputs.map((v) => (v ? (v.initializer ?? feeds[v.name] ?? null) : null));
}

/** The sample with other contents, everything constant or fed as before. */
function withContents(sample: OpSample, tensors: readonly (Tensor | null)[]) {
  return buildSample({
    ...sample,
    inputs: sample.inputs.map((input, i) => {
      const tensor = tensors[i];
      if (!input || !tensor) return input;
      return {
        ...input,
        dims: tensor.dims,
        ...(tensor.dtype === 'string' ? { strings: tensor.stringValues() } : { values: Array.from(tensor.numbers()) }),
      };
    }),
  });
}

interface Kept {
  readonly letter: string;
  readonly count: number;
  readonly extents: ReadonlyMap<string, number>;
  /** Fixed elements before the letter where an axis has fixed parts on both sides of it. */
  readonly leading: (axis: number) => number;
}

/** Positions along an axis that belong to the kept part of a letter; null where the axis does not have it. */
function keptPositions(term: AxisTerm, extent: number, axis: number, kept: Kept): number[] | null {
  const all = Array.from({ length: extent }, (_, i) => i);
  if (term.kind === 'fixed' || !lettersOfTerm(term).includes(kept.letter)) return null;
  if (term.kind === 'letter') return all.filter((i) => i < kept.count);
  const size = kept.extents.get(kept.letter)!;
  if (term.kind === 'product') {
    const at = term.factors.indexOf(kept.letter);
    const inner = product(term.factors.slice(at + 1), kept.extents);
    const outer = product(term.factors.slice(0, at), kept.extents);
    const stride = inner ?? extent / (outer! * size);
    return all.filter((i) => Math.floor(i / stride) % size < kept.count);
  }
  const sizes = partSizes(term.parts, extent, axis, kept);
  const positions: number[] = [];
  let start = 0;
  for (const [k, part] of term.parts.entries()) {
    const whole = all.slice(0, sizes[k]);
    positions.push(...(keptPositions(part, sizes[k]!, axis, kept) ?? whole).map((i) => i + start));
    start += sizes[k]!;
  }
  return positions;
}

function product(factors: readonly (string | null)[], extents: ReadonlyMap<string, number>): number | undefined {
  return factors.reduce<number | undefined>((n, f) => (n === undefined || f === null ? undefined : n * extents.get(f)!), 1);
}

/** Extents of the parts of a concatenation: one fixed part is what the others leave; of two the first is told by the operator. */
function partSizes(parts: readonly AxisTerm[], extent: number, axis: number, kept: Kept): number[] {
  const sizes = parts.map((p) => termExtent(p, kept.extents));
  if (sizes.filter((s) => s === undefined).length > 1) sizes[sizes.indexOf(undefined)] = kept.leading(axis);
  const rest = extent - sizes.reduce<number>((n, s) => n + (s ?? 0), 0);
  return sizes.map((s) => s ?? rest);
}

function take(tensor: Tensor, axis: number, positions: readonly number[]): Tensor {
  const dims = tensor.dims.with(axis, positions.length);
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = tensor.dims.slice(0, axis).reduce((a, b) => a * b, 1);
  const pick = <T>(from: ArrayLike<T>) => {
    const out: T[] = [];
    for (let o = 0; o < outer; o++)
      for (const p of positions) for (let i = 0; i < inner; i++) out.push(from[(o * tensor.dims[axis]! + p) * inner + i]!);
    return out;
  };
  return tensor.dtype === 'string'
    ? Tensor.strings(dims, pick(tensor.stringValues()))
    : Tensor.from(tensor.dtype, dims, pick(tensor.numbers()));
}

/** Input with the zero point of the data of integer products, where what is masked must be that. */
const ZERO_POINTS: Readonly<Record<string, number>> = {
  ConvInteger: 2,
  QLinearConv: 2,
  MatMulInteger: 2,
  QLinearMatMul: 2,
  QGemm: 2,
  MatMulIntegerToFloat: 4,
  QAttention: 6,
};

/** The data alone is masked, with its zero point: then its products vanish whatever the other operand's zero point is. */
function maskData(sample: OpSample, tensors: readonly (Tensor | null)[], masked: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
  return ZERO_POINTS[sample.op] === undefined ? masked : tensors.map((t, i) => (i === 0 ? masked[0]! : t));
}

/** Zero (or the data's zero point) outside the positions. */
function mask(tensor: Tensor, axis: number, positions: readonly number[], zero = 0): Tensor {
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const values = Array.from(tensor.numbers(), (v, i) => (positions.includes(Math.floor(i / inner) % tensor.dims[axis]!) ? v : zero));
  return Tensor.from(tensor.dtype, tensor.dims, values);
}

function sliceAll(
  tensors: readonly (Tensor | null)[],
  operands: readonly (readonly AxisTerm[] | null)[],
  kept: Kept,
  how: (tensor: Tensor, axis: number, positions: readonly number[]) => Tensor,
): (Tensor | null)[] {
  return tensors.map((tensor, k) => {
    const terms = operands[k];
    if (!tensor || !terms) return tensor;
    return terms.reduce((t, term, axis) => {
      const positions = keptPositions(term, t.dims[axis]!, axis, kept);
      return positions ? how(t, axis, positions) : t;
    }, tensor);
  });
}

const cases: Case[] = [];
const opaque: string[] = [];
for (const { sample } of await allSamples()) {
  if (sample.noKernel || sample.nondeterministic || sample.build || sample.subgraphs) continue;
  const { model, node } = buildSample(sample);
  inferShapes(model);
  const record = opRecord(sample.domain ?? '', sample.op);
  const statement = record && axesOfNode(record, node, shapesOf(node.inputs));
  const types = [...node.inputs, ...node.outputs].map((v) => (v?.type?.kind === 'tensor' ? v.type.dtype : undefined));
  const exchangeable = types.every((t) => t === undefined || (isExchangeable(t) && t !== 'string'));
  if (statement && exchangeable) cases.push({ name: sampleName(sample), sample, statement });
  else opaque.push(sampleName(sample));
}

test('most samples have axes to check', () => {
  expect(cases.length).toBeGreaterThan(opaque.length);
});

describe.each(cases)('$name', ({ sample, statement }) => {
  test('slicing commutes', async () => {
    const built = buildSample(sample);
    inferShapes(built.model);
    const inputs = shapesOf(built.node.inputs);
    const results = await runOrt(built.model, built.feeds);
    const outputs = built.node.outputs.map((v): Tensor | null => (v ? results[v.name]! : null));
    const extents = letterExtents(
      statement,
      inputs,
      outputs.map((t) => t?.dims ?? null),
    );
    expect(extents, 'the statement fits the shapes').toBeDefined();
    const tensors = contents(sample);
    for (const letter of statement.letters) {
      const extent = extents!.get(letter);
      if (extent === undefined || extent < 2) continue;
      // Half where the count is even, so that groups stay whole.
      const count = Math.ceil(extent / 2);
      const kept: Kept = { letter, count, extents: extents!, leading: (axis) => leading(sample, tensors, axis) };
      const summed = statement.contracted.includes(letter);
      const slicedInputs = sliceAll(tensors, statement.inputs, kept, take);
      if (slicedInputs.every((t, i) => t === tensors[i])) continue;
      const slicedOutputs = sliceAll(outputs, statement.outputs, kept, take);
      const dims = slicedOutputs.map((t) => t?.dims ?? null);
      const adjusted = adjust(sample, slicedInputs, tensors, statement, letter, count / extent, dims);
      const sliced = withContents(adjusted.sample, adjusted.tensors);
      const got = await runOrt(sliced.model, sliced.feeds);
      let wanted: (Tensor | null)[];
      if (summed) {
        const zero = tensors[ZERO_POINTS[sample.op] ?? -1]?.numbers()[0] ?? 0;
        const masked = withContents(
          sample,
          maskData(
            sample,
            tensors,
            sliceAll(tensors, statement.inputs, kept, (t, axis, at) => mask(t, axis, at, zero)),
          ),
        );
        const all = await runOrt(masked.model, masked.feeds);
        wanted = masked.node.outputs.map((v) => (v ? all[v.name]! : null));
      } else wanted = slicedOutputs;
      for (const [i, value] of sliced.node.outputs.entries()) {
        if (!value || !statement.outputs[i]) continue;
        compare(got[value.name]!, wanted[i]!, `letter ${letter}, output ${i}`);
      }
    }
  });
});

test('contractions count the multiply-accumulates that their axes say', () => {
  const checked = new Set<string>();
  for (const { sample, statement, name } of cases) {
    const record = opRecord(sample.domain ?? '', sample.op)!;
    const spelledOut = [...statement.inputs.slice(0, 2), ...statement.outputs].every((o) => o?.every((t) => t.kind !== 'fixed'));
    // A product of three operands is done in two steps.
    const steps = sample.op === 'Einsum' && sample.inputs.length > 2;
    if (statement.contracted.length === 0 || !spelledOut || steps || typeof record.cost !== 'function') continue;
    const { model, node } = buildSample(sample);
    inferShapes(model);
    const inputs = shapesOf(node.inputs);
    const outputs = shapesOf(node.outputs);
    const { macs } = record.cost({ node, inputs, outputs });
    if (macs === 0) continue;
    checked.add(sample.op);
    expect(macs, name).toBe(macsOfAxes(statement, inputs, outputs));
  }
  expect([...checked]).toEqual(expect.arrayContaining(['MatMul', 'Gemm']));
});

function compare(got: Tensor, wanted: Tensor, where: string): void {
  expect(got.dims, where).toEqual(wanted.dims);
  const a = got.numbers();
  const b = wanted.numbers();
  const tolerance = DTYPES[got.dtype].kind !== 'float' ? 0 : got.dtype === 'float16' ? 1e-2 : 1e-4;
  for (let i = 0; i < got.size; i++) {
    if (Number.isNaN(a[i]) && Number.isNaN(b[i])) continue;
    if (a[i] !== b[i] && !(Math.abs(a[i]! - b[i]!) <= tolerance * (1 + Math.abs(b[i]!)))) {
      expect.fail(`${where}: element ${i} is ${a[i]}, expected ${b[i]}`);
    }
  }
}
