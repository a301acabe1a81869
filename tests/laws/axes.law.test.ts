// Law: slicing along a letter of an operator's axes, everywhere alike, commutes with running it; a letter that is summed over may be
// sliced where the rest is zero. So the same statement can be trusted by pruning, by layouts and by cost.
import { describe, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { DTYPES } from '../../src/ir/dtype.js';
import type { Node } from '../../src/ir/graph.js';
import { Tensor } from '../../src/ir/tensor.js';
import { isStatic } from '../../src/ir/type.js';
import { type AxesStatement, type AxisTerm, axesOfNode, letterExtents, termExtent } from '../../src/ops/axes.js';
import { opRecord } from '../../src/ops/registry.js';
import { isExchangeable, runOrt } from '../oracle/ort.js';
import { allSamples, sampleName } from '../samples/all.js';
import { buildSample } from '../samples/build-sample.js';
import type { OpSample } from '../samples/op-sample.js';

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

/** Positions along an axis that belong to the kept part of a letter; null where the axis does not have it. */
function keptPositions(
  term: AxisTerm,
  extent: number,
  letter: string,
  kept: number,
  extents: ReadonlyMap<string, number>,
): number[] | null {
  const all = Array.from({ length: extent }, (_, i) => i);
  if (term.kind === 'letter') return term.letter === letter ? all.filter((i) => i < kept) : null;
  if (term.kind === 'product') {
    const at = term.factors.indexOf(letter);
    if (at < 0) return null;
    const inner = term.factors.slice(at + 1);
    if (inner.includes(null) || term.factors[at] === null) return null;
    const stride = (inner as string[]).reduce((n, f) => n * extents.get(f)!, 1);
    return all.filter((i) => Math.floor(i / stride) % extents.get(letter)! < kept);
  }
  if (term.kind === 'fixed') return null;
  const positions: number[] = [];
  let found = false;
  let start = 0;
  for (const part of term.parts) {
    const size = termExtent(part, extents)!;
    const inner = keptPositions(part, size, letter, kept, extents);
    found ||= inner !== null;
    positions.push(...(inner ?? all.slice(0, size)).map((i) => i + start));
    start += size;
  }
  return found ? positions : null;
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

/** Zero outside the positions. */
function mask(tensor: Tensor, axis: number, positions: readonly number[]): Tensor {
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const values = Array.from(tensor.numbers(), (v, i) => (positions.includes(Math.floor(i / inner) % tensor.dims[axis]!) ? v : 0));
  return Tensor.from(tensor.dtype, tensor.dims, values);
}

function sliceAll(
  tensors: readonly (Tensor | null)[],
  operands: readonly (readonly AxisTerm[] | null)[],
  letter: string,
  kept: number,
  extents: ReadonlyMap<string, number>,
  how: (tensor: Tensor, axis: number, positions: readonly number[]) => Tensor,
): (Tensor | null)[] {
  return tensors.map((tensor, k) => {
    const terms = operands[k];
    if (!tensor || !terms) return tensor;
    return terms.reduce((t, term, axis) => {
      const positions = keptPositions(term, t.dims[axis]!, letter, kept, extents);
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
    const outputs = built.node.outputs.map((v) => (v ? results[v.name]! : null));
    const extents = letterExtents(
      statement,
      inputs,
      outputs.map((t) => t?.dims),
    );
    expect(extents, 'the statement fits the shapes').toBeDefined();
    const tensors = contents(sample);
    for (const letter of statement.letters) {
      const extent = extents!.get(letter);
      if (extent === undefined || extent < 2) continue;
      const kept = Math.ceil(extent / 2);
      const summed = statement.contracted.includes(letter);
      const slicedInputs = sliceAll(tensors, statement.inputs, letter, kept, extents!, take);
      if (slicedInputs.every((t, i) => t === tensors[i])) continue;
      const sliced = withContents(sample, slicedInputs);
      const got = await runOrt(sliced.model, sliced.feeds);
      let wanted: (Tensor | null)[];
      if (summed) {
        const masked = withContents(sample, sliceAll(tensors, statement.inputs, letter, kept, extents!, mask));
        const all = await runOrt(masked.model, masked.feeds);
        wanted = masked.node.outputs.map((v) => (v ? all[v.name]! : null));
      } else wanted = sliceAll(outputs, statement.outputs, letter, kept, extents!, take);
      for (const [i, value] of sliced.node.outputs.entries()) {
        if (!value || !statement.outputs[i]) continue;
        compare(got[value.name]!, wanted[i]!, `letter ${letter}, output ${i}`);
      }
    }
  });
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
