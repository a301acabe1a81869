// Tensors across the border to ONNX Runtime's JavaScript bindings, which Node and browser share (onnxruntime-common).
// Inwards without a copy where the bytes are aligned; outwards the result's own buffer is taken over.
// bfloat16, the 8-bit floats and everything narrower cannot cross: openSession casts them inside the graph.
import type { Tensor as OrtTensor } from 'onnxruntime-common';
import { unsupportedError } from '../errors.js';
import type { DType } from '../ir/dtype.js';
import { Tensor, type TypedArray } from '../ir/tensor.js';

/** Makes a tensor of the binding in use. */
export type MakeOrtTensor = (parts: OrtParts) => OrtTensor;

/** Names of our types in onnxruntime-common, for those that both bindings accept as feeds and give as results (checked by test on 1.30). */
const ORT_TYPES: Partial<Record<DType, OrtTensor.Type>> = {
  float: 'float32',
  double: 'float64',
  float16: 'float16',
  int8: 'int8',
  int16: 'int16',
  int32: 'int32',
  int64: 'int64',
  uint8: 'uint8',
  uint16: 'uint16',
  uint32: 'uint32',
  uint64: 'uint64',
  bool: 'bool',
  string: 'string',
};

const FROM_ORT = new Map<string, DType>(Object.entries(ORT_TYPES).map(([dtype, ort]) => [ort, dtype as DType]));

/** True where values of this type can be fed to and read from a session. */
export function crossesBorder(dtype: DType): boolean {
  return ORT_TYPES[dtype] !== undefined;
}

/** Our name of a type of onnxruntime-common, also of those that cannot cross; undefined for one we do not know. */
export function dtypeOfOrt(type: string): DType | undefined {
  if (type === 'int4' || type === 'uint4') return type;
  return FROM_ORT.get(type);
}

/** What a tensor of the binding is made of. */
export interface OrtParts {
  readonly type: OrtTensor.Type;
  readonly data: OrtTensor.DataType;
  readonly dims: readonly number[];
}

/** Type, elements and dimensions as the binding takes them; shares the tensor's memory where it is aligned. */
export function ortParts(tensor: Tensor): OrtParts {
  const type = ORT_TYPES[tensor.dtype];
  if (type === undefined) {
    throw unsupportedError(`values of type ${tensor.dtype} cannot be given to ONNX Runtime from JavaScript`, {
      hint: 'open the model with openSession, which casts such inputs inside the graph',
    });
  }
  const data = type === 'string' ? tensor.stringValues() : (tensor.view() as OrtTensor.DataType);
  return { type, data, dims: tensor.dims };
}

/** Result of a run. Its buffer is taken over; a view on a larger one (memory that the binding may use again) is copied. */
export function fromOrtTensor(value: OrtTensor): Tensor {
  const dtype = FROM_ORT.get(value.type);
  if (dtype === undefined) throw unsupportedError(`values of type ${value.type} cannot be read from ONNX Runtime in JavaScript`);
  if (dtype === 'string') return Tensor.strings(value.dims, value.data as string[]);
  // Halves come as Float16Array where JavaScript has it, else as Uint16Array: both are the same bytes.
  const data = value.data as TypedArray;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Tensor(dtype, value.dims, bytes.byteLength === data.buffer.byteLength ? bytes : bytes.slice());
}
