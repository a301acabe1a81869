// Masks of pruned weights as part of a model: a weight whose zeros must stay carries a mark in its metadata, and the mask is where it is not zero. So masks
// survive saving, loading and training (`masks` of the trainer), and need no storage of their own.
import { DTYPES } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import { graphsOf } from './facts.js';
import { trainableParameters } from './trainable.js';

/** Metadata key of a weight whose zeros are a mask. */
export const MASK_KEY = 'pare.mask';
const ZEROS = 'zeros';

/** Says that the zeros of this weight are to stay. */
export function markMasked(value: Value): void {
  value.metadata ??= new Map();
  value.metadata.set(MASK_KEY, ZEROS);
}

function* maskedValues(model: Model): Generator<Value> {
  for (const graph of graphsOf(model)) {
    for (const value of graph.values()) if (value.metadata?.get(MASK_KEY) === ZEROS && (value.initializer || value.sparse)) yield value;
  }
}

/** 1 where a weight is not zero. */
export function maskOfZeros(weights: ArrayLike<number>): Uint8Array {
  const mask = new Uint8Array(weights.length);
  for (let i = 0; i < mask.length; i++) mask[i] = weights[i] === 0 ? 0 : 1;
  return mask;
}

/**
 * Masks of the pruned weights by name, 1 = kept, one byte an element, as `train` takes them. Weights of the main graph, its subgraphs and functions; of two
 * with one name the first. Weights on disk are read.
 */
export function masksOf(model: Model): Map<string, Uint8Array> {
  const masks = new Map<string, Uint8Array>();
  for (const value of maskedValues(model)) {
    if (!masks.has(value.name)) masks.set(value.name, maskOfZeros((value.initializer ?? denseTensor(value)!).floats()));
  }
  return masks;
}

/** The masks of those weights that a training changes: trainable ones, of which `trained` says yes. Others stay as they are anyway. */
export function trainableMasks(model: Model, trained: (name: string) => boolean = () => true): Map<string, Uint8Array> {
  const names = new Set(trainableParameters(model).map((v) => v.name));
  return new Map([...masksOf(model)].filter(([name]) => names.has(name) && trained(name)));
}

/** Takes the marks off: the zeros stay in the file, and a later training may change them. Answers the number of weights. */
export function makeMasksPermanent(model: Model): number {
  let count = 0;
  for (const value of maskedValues(model)) {
    value.metadata!.delete(MASK_KEY);
    if (value.metadata!.size === 0) value.metadata = undefined;
    count++;
  }
  return count;
}

/** The tensor that a sparse initializer stands for; undefined where the value has none. */
export function denseTensor(value: Value): Tensor | undefined {
  const { sparse } = value;
  if (!sparse) return undefined;
  const { dims, values, indices } = sparse;
  const out = new Float32Array(elementCount(dims));
  const data = values.floats();
  const at = indices.numbers();
  const linear = indices.rank === 1;
  for (let i = 0; i < data.length; i++) {
    let place = linear ? at[i]! : 0;
    if (!linear) for (let d = 0; d < dims.length; d++) place = place * dims[d]! + at[i * dims.length + d]!;
    out[place] = data[i]!;
  }
  return Tensor.from(values.dtype, dims, out);
}

/** Makes the sparse initializers of a model dense, as most passes expect them; only real floating-point ones. Answers their number. */
export function densify(model: Model): number {
  let count = 0;
  for (const graph of graphsOf(model)) {
    for (const value of [...graph.values()]) {
      if (!value.sparse || DTYPES[value.sparse.values.dtype].kind !== 'float') continue;
      const tensor = denseTensor(value)!;
      value.sparse = null;
      value.initializer = tensor;
      value.type = { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims };
      count++;
    }
  }
  return count;
}
