// Random samples with shapes from the model: for shapes, speed and smoke tests. Quality figures on them mean little, and the data set says so.
// Floats are standard normal, 8-bit images uniform, token ids below the size of the table they index, masks one, positions counting up.
import { usageError } from '../errors.js';
import { canonicalDim, dimSymbols, evaluateDim } from '../ir/dim.js';
import { DTYPES, isFloat } from '../ir/dtype.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import type { Dim } from '../ir/type.js';
import { Rng } from '../util/rng.js';
import type { IndexedDataset } from './dataset.js';
import { indexedDataset } from './indexed.js';
import { batchPlan, type ModelInput, modelInputs } from './inputs.js';
import { indexLimit, positionLimit } from './model-hints.js';
import { joinRows } from './rows.js';
import { roleOf } from './token-inputs.js';

export interface RandomOptions {
  readonly seed: number;
  /** Number of samples; default 16. */
  readonly samples?: number | undefined;
  /** Sizes of inputs with symbolic dimensions, the batch among them. */
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
}

/** Size of a symbolic dimension that nobody gave. */
export const DEFAULT_DIMENSION = 64;

/** Same model, seed and index give the same sample. */
export function randomDataset(model: Model, options: RandomOptions): IndexedDataset {
  const samples = options.samples ?? 16;
  if (!(Number.isInteger(samples) && samples > 0)) throw usageError(`random:N: expected a whole number above 0, got ${samples}`);
  const plan = batchPlan(model);
  const inputs = modelInputs(model);
  const shapes = feedShapes(model, inputs, options.shapes ?? {});
  const fills = inputs.map((input) => [input, shapes.get(input.name)!, limitOf(model, input)] as const);
  return indexedDataset({
    name: `random:${samples}`,
    size: samples,
    hasLabels: false,
    synthetic: true,
    notes: ['random data: speed and shapes can be trusted, quality figures mean little'],
    fixedBatch: plan.kind === 'rows' ? plan.fixed : 1,
    async load(indices) {
      const feeds = fills.map(([input, shape, limit]) => {
        const dims = plan.kind === 'rows' ? [1, ...shape.slice(1)] : shape;
        const parts = indices.map((i) => randomTensor(input, dims, limit, new Rng(options.seed).fork(`${input.name}/${i}`)));
        return [input.name, plan.kind === 'rows' ? joinRows(parts) : parts[0]!] as const;
      });
      return { inputs: Object.fromEntries(feeds) };
    },
  });
}

/** Concrete dimensions of one feed per input: equal symbols get equal sizes, from `given` first; a batch is 1, a cache empty. */
function feedShapes(
  model: Model,
  inputs: readonly ModelInput[],
  given: Readonly<Record<string, readonly number[]>>,
): Map<string, readonly number[]> {
  modelInputs(model, given);
  const env: Record<string, number> = {};
  for (const input of inputs) {
    for (const [i, d] of (input.shape ?? []).entries()) {
      const size = given[input.name]?.[i];
      if (typeof d === 'string' && size !== undefined) env[d] = size;
    }
  }
  const tokens = positionLimit(model) ?? DEFAULT_DIMENSION;
  const sizeOf = (dim: Dim, axis: number): number => {
    if (typeof dim === 'number') return dim;
    const fallback = axis === 0 ? 1 : Math.min(DEFAULT_DIMENSION, tokens);
    if (dim === null) return fallback;
    const exact = env[dim];
    if (exact !== undefined) return exact;
    const canonical = canonicalDim(dim);
    const symbols = dimSymbols(canonical);
    const values = symbols.map((s) => [s, env[s] ?? (/past/i.test(s) ? 0 : /batch/i.test(s) ? 1 : fallback)] as const);
    for (const [s, v] of values) env[s] ??= v;
    return evaluateDim(canonical, Object.fromEntries(values)) ?? fallback;
  };
  const shapes = new Map<string, readonly number[]>();
  for (const input of inputs) {
    const shape = input.shape ?? [1];
    shapes.set(input.name, given[input.name] ?? shape.map(sizeOf));
  }
  return shapes;
}

function limitOf(model: Model, input: ModelInput): number | undefined {
  const value = model.graph.inputs.find((v) => v.name === input.name);
  // Tables may also be read after a cast of a float input.
  return value && tensorTypeOf(value) ? indexLimit(value) : undefined;
}

function randomTensor(input: ModelInput, dims: readonly number[], limit: number | undefined, rng: Rng): Tensor {
  const count = elementCount(dims);
  const { kind, bits } = DTYPES[input.dtype];
  if (kind === 'string')
    return Tensor.strings(
      dims,
      Array.from({ length: count }, () => `word${rng.integer(1000)}`),
    );
  if (kind === 'complex' || bits < 8 || (kind === 'float' && bits === 8))
    return new Tensor(input.dtype, dims, randomBytes(input, count, rng));
  const draw = drawer(input, dims, limit, rng);
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = draw(i);
  return Tensor.from(input.dtype, dims, values);
}

/** How to draw element `i` of an input. */
function drawer(input: ModelInput, dims: readonly number[], limit: number | undefined, rng: Rng): (i: number) => number {
  if (limit !== undefined) return () => rng.integer(limit);
  const role = roleOf(input);
  if (role === 'cache-flag') return () => 0;
  if (role === 'mask') return () => 1;
  if (isFloat(input.dtype)) return () => rng.normal();
  if (role === 'types') return () => 0;
  if (role === 'positions') return (i) => i % (dims.at(-1) ?? 1);
  if (/^sr$|sample_?rate/i.test(input.name)) return () => 16_000;
  const { kind, bits } = DTYPES[input.dtype];
  if (kind === 'bool') return () => 1;
  if (bits === 8) return kind === 'uint' ? () => rng.integer(256) : () => rng.integer(256) - 128;
  // Indices into something unknown: 0 and 1 are in range almost everywhere.
  return () => rng.integer(2);
}

function randomBytes(input: ModelInput, count: number, rng: Rng): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((count * DTYPES[input.dtype].bits) / 8));
  // The top exponent bits stay clear, so that no float is infinite or not a number.
  for (let i = 0; i < bytes.length; i++) bytes[i] = rng.integer(256) & 0x3f;
  return bytes;
}
