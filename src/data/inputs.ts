// What a model wants to be fed, and how arrays of samples are fitted to it. Dimensions: a number is fixed, a name is any size (from `shapes`
// where the caller gives it), null is any size.
import { dataError, unsupportedError, usageError } from '../errors.js';
import type { DType } from '../ir/dtype.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import { elementCount, type Tensor } from '../ir/tensor.js';
import { type Dim, formatShape, formatType } from '../ir/type.js';
import { convertTensor, isConvertible } from './convert.js';

export interface ModelInput {
  readonly name: string;
  readonly dtype: DType;
  /** Null where the model does not even say the rank. */
  readonly shape: readonly Dim[] | null;
}

/**
 * How samples become feeds. `rows`: the first axis of every input counts samples (`fixed` of them, or any number).
 * `whole`: the inputs share no such axis (a scalar, a state with the batch second), so one sample is one whole feed.
 */
export type BatchPlan = { readonly kind: 'rows'; readonly fixed: number | undefined } | { readonly kind: 'whole' };

/** `"pixel_values" float[N,3,224,224]`, as messages name an input. */
export function describeInput(input: ModelInput): string {
  return `"${input.name}" ${formatType({ kind: 'tensor', dtype: input.dtype, shape: input.shape })}`;
}

/** `"x" uint8[100,28,28]`, as messages name an array of the data. */
export function describeTensor(name: string, tensor: Tensor): string {
  return `"${name}" ${tensor.dtype}${formatShape(tensor.dims)}`;
}

/**
 * The inputs a caller must feed, with `shapes` (by input name) laid over what the model says.
 * Throws E_UNSUPPORTED for inputs that are no tensors, E_USAGE where `shapes` names no input or contradicts the model.
 */
export function modelInputs(model: Model, shapes: Readonly<Record<string, readonly number[]>> = {}): ModelInput[] {
  const values = requiredInputs(model.graph);
  const names = values.map((v) => v.name);
  for (const name of Object.keys(shapes)) {
    if (!names.includes(name)) throw usageError(`--shape ${name}: expected one of the inputs ${names.join(', ')}, got "${name}"`);
  }
  return values.map((value) => {
    const type = tensorTypeOf(value);
    if (type === undefined)
      throw unsupportedError(`model input "${value.name}": expected a tensor, got ${formatType(value.type)}`, {
        hint: 'data can be given to tensor inputs only',
      });
    const given = shapes[value.name];
    if (given && type.shape && (given.length !== type.shape.length || type.shape.some((d, i) => typeof d === 'number' && d !== given[i])))
      throw usageError(`--shape ${value.name}=${given.join(',')}: expected ${formatType(type)}, got [${given.join(',')}]`);
    return { name: value.name, dtype: type.dtype, shape: given ?? type.shape };
  });
}

/** Reads the batch axis off the declared shapes; `shapes` given by the user do not fix a batch that the model leaves open. */
export function batchPlan(model: Model): BatchPlan {
  const first = requiredInputs(model.graph).map((v) => tensorTypeOf(v)?.shape);
  const dims = first.map((shape) => (shape == null ? null : shape.length === 0 ? undefined : shape[0]!));
  if (dims.some((d) => d === undefined)) return { kind: 'whole' };
  const known = dims.filter((d) => d !== null && d !== undefined);
  if (known.some((d) => d !== known[0])) return { kind: 'whole' };
  if (typeof known[0] === 'number') return known.length === dims.length ? { kind: 'rows', fixed: known[0] } : { kind: 'whole' };
  return { kind: 'rows', fixed: undefined };
}

/** The one input of a model that has one; otherwise E_DATA, telling what such data would need. */
export function singleInput(inputs: readonly ModelInput[], what: string): ModelInput {
  const [only] = inputs;
  if (only === undefined || inputs.length > 1)
    throw dataError(`${what}: expected a model with one input, got ${inputs.length}: ${inputs.map(describeInput).join(', ')}`, {
      hint: 'give the arrays by input name in an .npz file',
    });
  return only;
}

/** Dimensions of one row of an input under a `rows` plan: its shape without the first axis; null where unknown. */
export function rowShape(input: ModelInput): readonly Dim[] | null {
  return input.shape === null ? null : input.shape.slice(1);
}

function matches(dims: readonly number[], shape: readonly Dim[]): boolean {
  return dims.length === shape.length && shape.every((d, i) => typeof d !== 'number' || d === dims[i]);
}

/** Dimensions without those of size 1. */
const squeeze = (dims: readonly Dim[]) => dims.filter((d) => d !== 1);

/**
 * Sample dimensions `dims` laid into `shape`, or undefined where they do not fit. Axes of size 1 may be added or dropped, and all axes may be flattened
 * into the one of a rank-1 sample; axes are never exchanged.
 */
export function fitDims(dims: readonly number[], shape: readonly Dim[] | null): number[] | undefined {
  if (shape === null || matches(dims, shape)) return [...dims];
  const given = squeeze(dims) as number[];
  const wanted = squeeze(shape);
  if (matches(given, wanted)) {
    let k = 0;
    return shape.map((d) => (d === 1 ? 1 : given[k++]!));
  }
  const count = elementCount(dims);
  if (shape.length === 1 && (typeof shape[0] !== 'number' || shape[0] === count)) return [count];
  const known = wanted.every((d) => typeof d === 'number');
  if (known && dims.length === 1 && elementCount(shape.map((d) => d as number)) === count) return shape.map((d) => d as number);
  return undefined;
}

/**
 * Dimensions [n, ...sample] that an array has as rows of `input`, by `fitDims`; `sampleShape` is the whole feed of one sample under a `whole` plan.
 * Throws E_DATA with expected and actual where shape or type do not fit.
 */
export function fitRowDims(array: Tensor, input: ModelInput, name: string, sampleShape: readonly Dim[] | null = rowShape(input)): number[] {
  const [rows, ...dims] = array.dims;
  const fitted = rows === undefined ? undefined : fitDims(dims, sampleShape);
  if (rows === undefined || fitted === undefined) {
    const wanted = { ...input, shape: sampleShape === null ? null : ['N', ...sampleShape] };
    throw dataError(`model input ${describeInput(wanted)}: got array ${describeTensor(name, array)}`, {
      hint: layoutHint(dims, sampleShape) ?? 'the first axis of an array counts samples; the others must fit the input',
    });
  }
  if (!isConvertible(array.dtype, input.dtype))
    throw dataError(`model input ${describeInput(input)}: expected ${input.dtype}, got array ${describeTensor(name, array)}`);
  return [rows, ...fitted];
}

/** An array as rows of `input`: dimensions by `fitRowDims`, type by `convertTensor`. Throws E_DATA. */
export function fitRows(array: Tensor, input: ModelInput, name: string, sampleShape?: readonly Dim[] | null): Tensor {
  const dims = fitRowDims(array, input, name, sampleShape === undefined ? rowShape(input) : sampleShape);
  const typed = convertTensor(array, input.dtype, `model input ${describeInput(input)} from array "${name}"`);
  return dims.join() === typed.dims.join() ? typed : typed.reshape(dims);
}

function layoutHint(dims: readonly number[], shape: readonly Dim[] | null): string | undefined {
  if (shape?.length !== 3 || dims.length !== 3) return undefined;
  const [a, b, c] = dims as [number, number, number];
  if (matches([c, a, b], shape)) return 'the array is channels-last and the model channels-first: transpose it to [N,C,H,W]';
  if (matches([b, c, a], shape)) return 'the array is channels-first and the model channels-last: transpose it to [N,H,W,C]';
  return undefined;
}
