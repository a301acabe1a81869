// Field numbers of the ONNX messages (onnx.proto, release 1.23, IR version 14), as tags: field number and wire type together.
// Facts only; how the fields are understood is in decode and encode. Reserved and retired numbers are left out.
import { WIRE } from './wire.js';

const varint = (field: number) => (field << 3) | WIRE.varint;
const len = (field: number) => (field << 3) | WIRE.len;
const fixed32 = (field: number) => (field << 3) | WIRE.fixed32;
const fixed64 = (field: number) => (field << 3) | WIRE.fixed64;

export const MODEL = {
  irVersion: varint(1),
  producerName: len(2),
  producerVersion: len(3),
  domain: len(4),
  modelVersion: varint(5),
  doc: len(6),
  graph: len(7),
  opsetImport: len(8),
  metadata: len(14),
  trainingInfo: len(20),
  functions: len(25),
  configuration: len(26),
} as const;

export const OPSET = { domain: len(1), version: varint(2) } as const;

export const ENTRY = { key: len(1), value: len(2) } as const;

export const GRAPH = {
  node: len(1),
  name: len(2),
  initializer: len(5),
  doc: len(10),
  input: len(11),
  output: len(12),
  valueInfo: len(13),
  quantizationAnnotation: len(14),
  sparseInitializer: len(15),
  metadata: len(16),
} as const;

export const NODE = {
  input: len(1),
  output: len(2),
  name: len(3),
  opType: len(4),
  attribute: len(5),
  doc: len(6),
  domain: len(7),
  overload: len(8),
  metadata: len(9),
  /** Device configurations (10) are kept with the unknown fields. */
} as const;

/** Lists of numbers come packed or one by one; both are read. */
export const ATTRIBUTE = {
  name: len(1),
  f: fixed32(2),
  i: varint(3),
  s: len(4),
  t: len(5),
  g: len(6),
  floats: fixed32(7),
  floatsPacked: len(7),
  ints: varint(8),
  intsPacked: len(8),
  strings: len(9),
  tensors: len(10),
  graphs: len(11),
  doc: len(13),
  tp: len(14),
  typeProtos: len(15),
  type: varint(20),
  refName: len(21),
  sparseTensor: len(22),
  sparseTensors: len(23),
} as const;

/** Numbers in AttributeProto.AttributeType. */
export const ATTRIBUTE_TYPES = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparse_tensor: 11,
  sparse_tensors: 12,
  type_proto: 13,
  type_protos: 14,
} as const;

export const TENSOR = {
  dims: varint(1),
  dimsPacked: len(1),
  dataType: varint(2),
  floatData: fixed32(4),
  floatDataPacked: len(4),
  int32Data: varint(5),
  int32DataPacked: len(5),
  stringData: len(6),
  int64Data: varint(7),
  int64DataPacked: len(7),
  name: len(8),
  rawData: len(9),
  doubleData: fixed64(10),
  doubleDataPacked: len(10),
  uint64Data: varint(11),
  uint64DataPacked: len(11),
  doc: len(12),
  externalData: len(13),
  dataLocation: varint(14),
  metadata: len(16),
} as const;

export const SPARSE = { values: len(1), indices: len(2), dims: varint(3), dimsPacked: len(3) } as const;

export const VALUE_INFO = { name: len(1), type: len(2), doc: len(3), metadata: len(4) } as const;

export const TYPE = {
  tensor: len(1),
  sequence: len(4),
  map: len(5),
  denotation: len(6),
  opaque: len(7),
  sparse: len(8),
  optional: len(9),
} as const;

export const TENSOR_TYPE = { elementType: varint(1), shape: len(2) } as const;
export const ELEMENT_TYPE = { elementType: len(1) } as const;
export const MAP_TYPE = { keyType: varint(1), valueType: len(2) } as const;
export const OPAQUE_TYPE = { domain: len(1), name: len(2) } as const;
export const SHAPE = { dim: len(1) } as const;
export const DIMENSION = { value: varint(1), param: len(2), denotation: len(3) } as const;

export const ANNOTATION = { tensorName: len(1), parameters: len(2) } as const;

export const FUNCTION = {
  name: len(1),
  input: len(4),
  output: len(5),
  attribute: len(6),
  node: len(7),
  doc: len(8),
  opsetImport: len(9),
  domain: len(10),
  attributeProto: len(11),
  valueInfo: len(12),
  overload: len(13),
  metadata: len(14),
} as const;
