// ONNX Runtime as the judge of laws: runs a model as it stands (no optimization) and answers types, dimensions and contents.
import * as ort from 'onnxruntime-node';
import type { DType } from '../../src/ir/dtype.js';
import type { Model } from '../../src/ir/model.js';
import { Tensor, type TypedArray } from '../../src/ir/tensor.js';
import { encodeModel } from '../../src/onnx/encode.js';

const ORT_TYPES: Partial<Record<DType, string>> = {
  float: 'float32',
  double: 'float64',
  ...Object.fromEntries(['int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'bool', 'float16'].map((t) => [t, t])),
  string: 'string',
};

const FROM_ORT = new Map(Object.entries(ORT_TYPES).map(([dtype, name]) => [name, dtype as DType]));

/** True for element types whose tensors can be handed over. */
export function isExchangeable(dtype: DType): boolean {
  return dtype in ORT_TYPES;
}

/** Runs once. Answers the outputs named, or all tensor outputs. */
export async function runOrt(
  model: Model,
  feeds: Readonly<Record<string, Tensor>>,
  fetches?: readonly string[],
): Promise<Record<string, Tensor>> {
  const session = await ort.InferenceSession.create(encodeModel(model).bytes, {
    graphOptimizationLevel: 'disabled',
    logSeverityLevel: 4,
    intraOpNumThreads: 1,
  });
  try {
    const given = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, toOrt(t)]));
    const results = await session.run(given, fetches ? [...fetches] : [...session.outputNames]);
    return Object.fromEntries(Object.entries(results).map(([name, t]) => [name, fromOrt(t)]));
  } finally {
    await session.release();
  }
}

function toOrt(tensor: Tensor): ort.Tensor {
  const dims = [...tensor.dims];
  if (tensor.dtype === 'string') return new ort.Tensor('string', tensor.stringValues(), dims);
  const type = ORT_TYPES[tensor.dtype] as 'float32';
  // Where JavaScript has a Float16Array (Node 24) the class turns halves into one, which the native code refuses; a plain object passes.
  if (tensor.dtype === 'float16') return { type, data: tensor.view(), dims, location: 'cpu' } as unknown as ort.Tensor;
  return new ort.Tensor(type, tensor.view() as Float32Array, dims);
}

function fromOrt(tensor: ort.Tensor): Tensor {
  const dtype = FROM_ORT.get(tensor.type);
  if (dtype === undefined) throw new Error(`ONNX Runtime answered a tensor of ${tensor.type}`);
  if (dtype === 'string') return Tensor.strings(tensor.dims, tensor.data as string[]);
  const { buffer, byteOffset, byteLength } = tensor.data as TypedArray;
  return new Tensor(dtype, tensor.dims, new Uint8Array(buffer, byteOffset, byteLength).slice());
}
