// Law: what inference says of an operator's outputs is what ONNX Runtime produces, with fixed and with symbolic dimensions.
import { describe, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { evaluateDim } from '../../src/ir/dim.js';
import { isInteger } from '../../src/ir/dtype.js';
import type { Value } from '../../src/ir/graph.js';
import type { Tensor } from '../../src/ir/tensor.js';
import { formatType, type Shape, type ValueType } from '../../src/ir/type.js';
import type { PartialValue } from '../../src/ops/op.js';
import { ALL_OPS } from '../../src/ops/registry.js';
import { isExchangeable, runOrt } from '../oracle/ort.js';
import { allSamples, sampleName } from '../samples/all.js';
import { buildSample } from '../samples/build-sample.js';
import type { OpSample } from '../samples/op-sample.js';

const samples = await allSamples();

test('every operator has a sample, every sample an operator', () => {
  const key = (domain: string, op: string) => (domain === '' ? op : `${domain}.${op}`);
  const sampled = new Set(samples.map(({ sample }) => key(sample.domain ?? '', sample.op)));
  const known = new Set(ALL_OPS.map((r) => key(r.domain, r.opType)));
  expect(
    [...known].filter((op) => !sampled.has(op)),
    'operators without a sample',
  ).toEqual([]);
  expect(
    [...sampled].filter((op) => !known.has(op)),
    'samples of operators that are not registered',
  ).toEqual([]);
  expect(ALL_OPS.length, 'no operator is listed twice').toBe(known.size);
});

/** Compares a type with a real tensor; answers the places that were unknown. */
function checkType(type: ValueType | undefined, actual: Tensor, env: Record<string, number>, where: string): number {
  expect(type, `${where}: type`).toBeDefined();
  if (type?.kind !== 'tensor') throw new Error(`${where}: expected a tensor, got ${formatType(type)}`);
  expect(type.dtype, `${where}: element type`).toBe(actual.dtype);
  if (type.shape === null) return actual.rank;
  expect(type.shape.length, `${where}: rank of ${formatType(type)} against [${actual.dims}]`).toBe(actual.rank);
  let unknown = 0;
  for (const [i, dim] of type.shape.entries()) {
    const value = evaluateDim(dim, env);
    if (value === undefined) unknown++;
    else expect(value, `${where}: axis ${i} of ${formatType(type)} against [${actual.dims}]`).toBe(actual.dims[i]);
  }
  return unknown;
}

function checkValue(value: PartialValue | undefined, actual: Tensor, env: Record<string, number>, where: string): void {
  if (!value || actual.dtype === 'string') return;
  expect(value.dims, `${where}: dimensions of the content`).toEqual(actual.dims);
  expect(value.dtype, `${where}: type of the content`).toBe(actual.dtype);
  const numbers = Array.from(actual.numbers());
  for (const [i, item] of value.items.entries()) {
    const known = evaluateDim(item, env);
    if (known !== undefined) expect(known, `${where}: element ${i} of ${JSON.stringify(value.items)}`).toBeCloseTo(numbers[i]!, 4);
  }
}

/** Outputs that cannot cross the border are looked at through a Cast. */
async function run(built: ReturnType<typeof buildSample>): Promise<Record<string, Tensor>> {
  const { model, feeds } = built;
  const { graph } = model;
  const typed = new Map<string, Value>();
  for (const output of [...graph.outputs]) {
    const type = output.type;
    if (type?.kind !== 'tensor' || isExchangeable(type.dtype)) continue;
    typed.set(output.name, output);
    graph.removeOutput(output);
    const node = graph.addNode({ opType: 'Cast', inputs: [output], outputs: [`${output.name}_float`], attributes: { to: 1 } });
    node.output().type = { ...type, dtype: 'float' };
    graph.addOutput(node.output());
  }
  const cast: string[] = [];
  for (const [name, tensor] of Object.entries(feeds)) {
    if (isExchangeable(tensor.dtype)) continue;
    cast.push(name);
    const value = graph.value(name)!;
    graph.removeInput(value);
    graph.setInitializer(value, tensor);
  }
  const outputs = await runOrt(model, Object.fromEntries(Object.entries(feeds).filter(([name]) => !cast.includes(name))));
  return outputs;
}

const truths = new Map<OpSample, Promise<Record<string, Tensor>>>();

/** What ONNX Runtime answers for a sample, computed once. The model is told the inferred types, so it also checks element types. */
function truth(sample: OpSample): Promise<Record<string, Tensor>> {
  let known = truths.get(sample);
  if (!known) {
    const built = buildSample(sample);
    inferShapes(built.model, { strict: true });
    known = run(built);
    truths.set(sample, known);
  }
  return known;
}

function actualOf(results: Record<string, Tensor>, output: Value): Tensor {
  const direct = results[output.name];
  if (direct) return direct;
  const viaFloat = results[`${output.name}_float`];
  if (!viaFloat || output.type?.kind !== 'tensor') throw new Error(`no result for ${output.name}`);
  // Element type was checked by the engine when it loaded the model with the inferred types.
  return { dtype: output.type.dtype, dims: viaFloat.dims, rank: viaFloat.rank, numbers: () => viaFloat.numbers() } as unknown as Tensor;
}

type Naming = (name: string, axis: number, extent: number) => string | number;

/** Every dimension a symbol of its own; or extents that are equal the same symbol, as batch and sequence are in real models. */
const NAMINGS: Readonly<Record<string, Naming>> = {
  'symbolic, all different': (name, axis) => `${name}_${axis}`,
  'symbolic, equal ones shared': (_, __, extent) => (extent > 1 ? `d${extent}` : extent),
};

/** Infers the sample with named dimensions; answers what the names stand for. */
function inferSymbolic(sample: OpSample, naming: Naming) {
  const env: Record<string, number> = {};
  const { model } = buildSample(sample, {
    shapeOf: (name, dims): Shape =>
      dims.map((d, axis) => {
        const symbol = naming(name, axis, d);
        if (typeof symbol === 'string') env[symbol] = d;
        return symbol;
      }),
  });
  return { model, env, report: inferShapes(model, { strict: true }) };
}

function withKernel(sample: OpSample): void {
  test('static', async () => {
    const { model } = buildSample(sample);
    const report = inferShapes(model, { strict: true });
    expect(report.unknown.map((u) => u.reason)).toEqual([]);
    const results = await truth(sample);
    for (const output of model.graph.outputs) {
      const actual = actualOf(results, output);
      const unknown = checkType(output.type, actual, {}, output.name);
      if (!sample.dataDependent) expect(unknown, `${output.name}: unknown dimensions in ${formatType(output.type)}`).toBe(0);
      if (!sample.nondeterministic) checkValue(report.values.get(output), actual, {}, output.name);
    }
  });

  test.each(Object.entries(NAMINGS))('%s', async (_, naming) => {
    const { model, env, report } = inferSymbolic(sample, naming);
    const results = await truth(sample);
    for (const output of model.graph.outputs) {
      const actual = actualOf(results, output);
      checkType(output.type, actual, env, output.name);
      if (!sample.nondeterministic) checkValue(report.values.get(output), actual, env, output.name);
    }
  });

  // Integer operators are followed element by element when all their inputs are known.
  const given = sample.inputs.filter((x) => x !== null);
  if (sample.build || sample.nondeterministic || given.length === 0) return;
  if (!given.every((x) => isInteger(x.dtype) || x.dtype === 'bool')) return;
  test('content', async () => {
    const { model } = buildSample(sample, { allConstant: true });
    const report = inferShapes(model, { strict: true });
    const results = await truth(sample);
    for (const output of model.graph.outputs) checkValue(report.values.get(output), actualOf(results, output), {}, output.name);
  });
}

function withoutKernel(sample: OpSample): void {
  test('as expected', () => {
    const { model } = buildSample(sample);
    inferShapes(model, { strict: true });
    expect(sample.expect, 'samples without a kernel say what to expect').toBeDefined();
    expect(model.graph.outputs.map((v) => formatType(v.type))).toEqual(sample.expect);
  });

  // Otherwise a sample that the runtime has learnt to run would go unchecked.
  test('ONNX Runtime refuses it', async () => {
    await expect(truth(sample)).rejects.toThrow();
  });

  test.each(Object.entries(NAMINGS))('%s', (_, naming) => {
    const { model: fixed } = buildSample(sample);
    inferShapes(fixed, { strict: true });
    const { model, env } = inferSymbolic(sample, naming);
    for (const [i, output] of model.graph.outputs.entries()) {
      const wanted = fixed.graph.outputs[i]!.type;
      if (output.type?.kind !== 'tensor' || wanted?.kind !== 'tensor') continue;
      expect(output.type.dtype).toBe(wanted.dtype);
      for (const [axis, dim] of (output.type.shape ?? []).entries()) {
        const n = evaluateDim(dim, env);
        if (n !== undefined) expect(n, `${output.name}: axis ${axis} of ${formatType(output.type)}`).toBe(wanted.shape?.[axis] ?? n);
      }
    }
  });
}

describe.each(samples.map(({ sample }) => ({ name: sampleName(sample), sample })))('$name', ({ sample }) => {
  if (sample.noKernel === undefined) withKernel(sample);
  else withoutKernel(sample);
});
