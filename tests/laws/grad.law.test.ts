// Law: the gradient of an operator equals central differences of what ONNX Runtime computes, on every sample of every operator that has one.
// The loss is a random weighting of all float outputs; each float input is moved along random directions. Differences are taken in double
// precision where the runtime has such a kernel, else in float with a tolerance to match.
import { describe, expect, test } from 'vitest';
import { inferShapes } from '../../src/analysis/shapes.js';
import { PareError } from '../../src/errors.js';
import { isFloat, isInteger } from '../../src/ir/dtype.js';
import type { Value } from '../../src/ir/graph.js';
import type { Model } from '../../src/ir/model.js';
import { Tensor } from '../../src/ir/tensor.js';
import { isStatic } from '../../src/ir/type.js';
import type { GradBuilder } from '../../src/ops/grad-builder.js';
import { dimsOf, dtypeOf } from '../../src/ops/grad-builder.js';
import { opRecord } from '../../src/ops/registry.js';
import { pullBack } from '../../src/train/gradient.js';
import { Rng } from '../../src/util/rng.js';
import { runOrt } from '../oracle/ort.js';
import { allSamples, sampleName } from '../samples/all.js';
import { type BuiltSample, buildSample } from '../samples/build-sample.js';
import type { OpSample, SampleInput } from '../samples/op-sample.js';

const DIRECTIONS = 3;

/** Samples in forms that have no gradient: name to what the error says. */
const UNSUPPORTED: Readonly<Record<string, RegExp>> = {
  'com.microsoft.FusedMatMul (transBatchA)': /batch axes are transposed/,
  'com.microsoft.FusedMatMul (transBatch of both, transB)': /batch axes are transposed/,
  'com.microsoft.FusedMatMul (vector)': /vector/,
  'RNN (bidirectional)': /sequence lengths/,
  'LSTM (bidirectional with states and peepholes)': /peepholes/,
  'GroupNormalization @18 (scale per group)': /upgrade the model to opset 21/,
  'GridSample (volumes)': /volumes/,
  'com.microsoft.GroupQueryAttention (past, rotary)': /with a past/,
  'com.microsoft.GroupQueryAttention (total not known)': /with a past/,
};

/** Samples whose inputs stand on a kink or a jump, outside the domain of the function, or need more precision than float has. */
const NOT_SMOOTH = new Set(['Round (halves to even)', 'Acosh', 'Cast (to half)']);

const samples = (await allSamples())
  .map(({ sample }) => sample)
  .filter((sample) => {
    const record = opRecord(sample.domain ?? '', sample.op);
    return (
      record &&
      record.grad !== 'none' &&
      sample.noKernel === undefined &&
      !sample.nondeterministic &&
      !NOT_SMOOTH.has(sampleName(sample)) &&
      (sample.opset ?? 21) >= 13
    );
  });

/** Weights of the outputs in the loss, the same for both sides. */
function weightOf(name: string, dims: readonly number[]): Float64Array {
  const rng = new Rng(3).fork(name);
  return Float64Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => rng.uniform() + 0.5);
}

/** Operators whose further outputs are statistics, through which no gradient is taken: the loss looks at the first only. */
const STATISTICS = new Set([
  'BatchNormalization',
  'LayerNormalization',
  'SimplifiedLayerNormalization',
  'Dropout',
  'SkipLayerNormalization',
  'SkipSimplifiedLayerNormalization',
]);

/** Operators that compute in float whatever they are given. */
const FLOAT_INSIDE = new Set(['GroupNormalization']);

/** Linear between kinks that lie close together: a small step sees none. */
const NEAR_TIES = new Set(['GlobalMaxPool']);

const isWeighted = (v: Value): boolean =>
  isFloat(dtypeOf(v)) && !(STATISTICS.has(v.producer?.opType ?? '') && v !== v.producer?.outputs[0] && v !== v.producer?.outputs[3]);

function weights(b: GradBuilder, outputs: Readonly<Record<string, Value>>): Map<Value, Value> {
  const floats = Object.values(outputs).filter(isWeighted);
  return new Map(floats.map((v) => [v, b.constant('weight', Tensor.from(dtypeOf(v), dimsOf(v), weightOf(v.name, dimsOf(v))))]));
}

function weightedNames(model: Model): string[] {
  inferShapes(model);
  return model.graph.outputs.filter(isWeighted).map((v) => v.name);
}

function lossOf(results: Readonly<Record<string, Tensor>>, names: readonly string[]): number {
  let total = 0;
  for (const name of names) {
    const tensor = results[name]!;
    const weight = weightOf(name, tensor.dims);
    const values = tensor.numbers();
    for (let i = 0; i < weight.length; i++) total += weight[i]! * values[i]!;
  }
  return total;
}

async function lossAt(model: Model, feeds: Readonly<Record<string, Tensor>>, names: readonly string[]): Promise<number> {
  return names.length === 0 ? 0 : lossOf(await runOrt(model, feeds, names), names);
}

/** The sample with fed integers as constants: shapes must follow from them. */
function withFixedIntegers(sample: OpSample): OpSample {
  return { ...sample, inputs: sample.inputs.map((x) => (x && (isInteger(x.dtype) || x.dtype === 'bool') ? { ...x, constant: true } : x)) };
}

function isOpen(model: Model): boolean {
  inferShapes(model);
  return model.graph.outputs.some((v) => v.type?.kind === 'tensor' && !isStatic(v.type.shape));
}

/** The sample with all float inputs in double, where it is a plain node. */
function inDouble(sample: OpSample): OpSample | undefined {
  if (sample.build || sample.subgraphs || FLOAT_INSIDE.has(sample.op)) return undefined;
  const widen = (x: SampleInput | null) => (x?.dtype === 'float' ? { ...x, dtype: 'double' as const } : x);
  return { ...sample, inputs: sample.inputs.map(widen) };
}

interface Reference {
  readonly model: Model;
  readonly precision: 'float' | 'double';
  loss(feeds: Record<string, Tensor>): Promise<number>;
}

async function referenceOf(sample: OpSample, feeds: Readonly<Record<string, Tensor>>): Promise<Reference> {
  const wide = inDouble(sample);
  if (wide) {
    const { model } = buildSample(wide);
    const convert = (given: Readonly<Record<string, Tensor>>) =>
      Object.fromEntries(Object.entries(given).map(([k, t]) => [k, t.dtype === 'float' ? t.cast('double') : t]));
    try {
      const names = weightedNames(model);
      const loss = (given: Readonly<Record<string, Tensor>>) => lossAt(model, convert(given), names);
      await loss(feeds);
      return { model, precision: 'double', loss };
    } catch {
      // No kernel in double.
    }
  }
  const { model } = buildSample(sample);
  const names = weightedNames(model);
  return { model, precision: 'float', loss: (given) => lossAt(model, given, names) };
}

function moved(tensor: Tensor, direction: Float64Array, step: number, dtype: 'float' | 'double'): Tensor {
  const values = Float64Array.from(tensor.numbers(), (x, i) => x + step * direction[i]!);
  return Tensor.from(dtype, tensor.dims, values);
}

/** Operators whose float constants say how, not what, to compute. */
const SHAPE_CONSTANTS = new Set(['Resize', 'Upsample', 'QuantizeLinear']);

/** Constants that have a gradient (weights) are fed, so that they can be moved. */
function withFedWeights(sample: OpSample): OpSample {
  if (SHAPE_CONSTANTS.has(sample.op)) return sample;
  const { parameters } = pullBack(buildSample(sample).model, { gradients: weights, parametersAsInputs: false });
  const moving = new Set(parameters.flatMap((p) => (p.gradient ? [p.name] : [])));
  return { ...sample, inputs: sample.inputs.map((x, i) => (x && moving.has(`c${i}`) ? { ...x, constant: false } : x)) };
}

async function check(sample: OpSample, built: BuiltSample): Promise<void> {
  const { model, feeds } = built;
  const names = Object.keys(feeds).filter((name) => feeds[name]!.dtype === 'float' && feeds[name]!.size > 0);
  const result = pullBack(model, { gradients: weights, parameters: [], inputs: names });
  const fetches = result.inputs.flatMap((x) => x.gradient ?? []);
  const gradients = fetches.length > 0 ? await runOrt(result.model, feeds, fetches) : {};
  const reference = await referenceOf(sample, feeds);
  const step = reference.precision === 'double' ? 1e-5 : NEAR_TIES.has(sample.op) ? 2e-4 : 2e-3;
  for (const { name, gradient } of result.inputs) {
    const rng = new Rng(5).fork(name);
    const g = gradient ? gradients[gradient]! : undefined;
    if (g) expect(g.dims, `${name}: dimensions`).toEqual(feeds[name]!.dims);
    const values = g?.numbers() ?? new Float64Array(feeds[name]!.size);
    for (let k = 0; k < DIRECTIONS; k++) {
      const direction = Float64Array.from({ length: feeds[name]!.size }, () => rng.uniform() * 2 - 1);
      const at = (h: number) => reference.loss({ ...feeds, [name]: moved(feeds[name]!, direction, h, reference.precision) });
      const [above, below] = [await at(step), await at(-step)];
      const difference = (above - below) / (2 * step);
      let projected = 0;
      let size = 0;
      for (let i = 0; i < direction.length; i++) {
        projected += direction[i]! * values[i]!;
        size += Math.abs(direction[i]! * values[i]!);
      }
      const tolerance = reference.precision === 'double' ? 1e-5 * (1 + size) : 1e-3 * (1 + size) + (Math.abs(above) * 1e-6) / step;
      const what = `${name}, direction ${k}: gradient ${projected}, ${reference.precision} difference ${difference}`;
      expect(Math.abs(projected - difference), what).toBeLessThan(tolerance);
    }
  }
}

/** Every operator of a record with a gradient, so that one file of samples can be run alone: `-t Conv`. */
describe.each([...new Set(samples.map((s) => `${s.domain ? `${s.domain}.` : ''}${s.op}`))])('%s', (op) => {
  const own = samples.filter((s) => `${s.domain ? `${s.domain}.` : ''}${s.op}` === op);
  test.each(own.map((sample) => ({ name: sampleName(sample), sample })))('$name', async ({ name, sample: given }) => {
    const sample = isOpen(buildSample(given).model) ? withFixedIntegers(given) : given;
    try {
      const fed = withFedWeights(sample);
      await check(fed, buildSample(fed));
    } catch (error) {
      if (!(error instanceof PareError) || error.code !== 'E_UNSUPPORTED') throw error;
      expect(UNSUPPORTED[name], `${name}: ${error.message}`).toBeDefined();
      expect(error.message).toMatch(UNSUPPORTED[name]!);
    }
  });
});
