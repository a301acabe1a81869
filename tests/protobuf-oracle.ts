// The ONNX messages for protobufjs, as reflection descriptors: an independent reader and writer of the same files. Field facts only.
import protobuf from 'protobufjs';

type Field = [name: string, type: string, number: number, rule?: 'repeated' | 'packed'];

const MESSAGES: Record<string, Field[]> = {
  Model: [
    ['ir_version', 'int64', 1],
    ['producer_name', 'string', 2],
    ['producer_version', 'string', 3],
    ['domain', 'string', 4],
    ['model_version', 'int64', 5],
    ['doc_string', 'string', 6],
    ['graph', 'Graph', 7],
    ['opset_import', 'Opset', 8, 'repeated'],
    ['metadata_props', 'Entry', 14, 'repeated'],
    ['training_info', 'Training', 20, 'repeated'],
    ['functions', 'Function', 25, 'repeated'],
    ['configuration', 'DeviceConfiguration', 26, 'repeated'],
  ],
  Opset: [
    ['domain', 'string', 1],
    ['version', 'int64', 2],
  ],
  Entry: [
    ['key', 'string', 1],
    ['value', 'string', 2],
  ],
  DeviceConfiguration: [
    ['name', 'string', 1],
    ['num_devices', 'int32', 2],
    ['device', 'string', 3, 'repeated'],
  ],
  Training: [
    ['initialization', 'Graph', 1],
    ['algorithm', 'Graph', 2],
    ['initialization_binding', 'Entry', 3, 'repeated'],
    ['update_binding', 'Entry', 4, 'repeated'],
  ],
  Graph: [
    ['node', 'Node', 1, 'repeated'],
    ['name', 'string', 2],
    ['initializer', 'Tensor', 5, 'repeated'],
    ['doc_string', 'string', 10],
    ['input', 'ValueInfo', 11, 'repeated'],
    ['output', 'ValueInfo', 12, 'repeated'],
    ['value_info', 'ValueInfo', 13, 'repeated'],
    ['quantization_annotation', 'Annotation', 14, 'repeated'],
    ['sparse_initializer', 'Sparse', 15, 'repeated'],
    ['metadata_props', 'Entry', 16, 'repeated'],
  ],
  Annotation: [
    ['tensor_name', 'string', 1],
    ['quant_parameter_tensor_names', 'Entry', 2, 'repeated'],
  ],
  Node: [
    ['input', 'string', 1, 'repeated'],
    ['output', 'string', 2, 'repeated'],
    ['name', 'string', 3],
    ['op_type', 'string', 4],
    ['attribute', 'Attribute', 5, 'repeated'],
    ['doc_string', 'string', 6],
    ['domain', 'string', 7],
    ['overload', 'string', 8],
    ['metadata_props', 'Entry', 9, 'repeated'],
    ['device_configurations', 'NodeDevice', 10, 'repeated'],
  ],
  NodeDevice: [
    ['configuration_id', 'string', 1],
    ['pipeline_stage', 'int32', 3],
  ],
  Attribute: [
    ['name', 'string', 1],
    ['f', 'float', 2],
    ['i', 'int64', 3],
    ['s', 'bytes', 4],
    ['t', 'Tensor', 5],
    ['g', 'Graph', 6],
    ['floats', 'float', 7, 'repeated'],
    ['ints', 'int64', 8, 'repeated'],
    ['strings', 'bytes', 9, 'repeated'],
    ['tensors', 'Tensor', 10, 'repeated'],
    ['graphs', 'Graph', 11, 'repeated'],
    ['doc_string', 'string', 13],
    ['tp', 'Type', 14],
    ['type_protos', 'Type', 15, 'repeated'],
    ['type', 'int32', 20],
    ['ref_attr_name', 'string', 21],
    ['sparse_tensor', 'Sparse', 22],
    ['sparse_tensors', 'Sparse', 23, 'repeated'],
  ],
  Tensor: [
    ['dims', 'int64', 1, 'repeated'],
    ['data_type', 'int32', 2],
    ['float_data', 'float', 4, 'packed'],
    ['int32_data', 'int32', 5, 'packed'],
    ['string_data', 'bytes', 6, 'repeated'],
    ['int64_data', 'int64', 7, 'packed'],
    ['name', 'string', 8],
    ['raw_data', 'bytes', 9],
    ['double_data', 'double', 10, 'packed'],
    ['uint64_data', 'uint64', 11, 'packed'],
    ['doc_string', 'string', 12],
    ['external_data', 'Entry', 13, 'repeated'],
    ['data_location', 'int32', 14],
    ['metadata_props', 'Entry', 16, 'repeated'],
  ],
  Sparse: [
    ['values', 'Tensor', 1],
    ['indices', 'Tensor', 2],
    ['dims', 'int64', 3, 'repeated'],
  ],
  ValueInfo: [
    ['name', 'string', 1],
    ['type', 'Type', 2],
    ['doc_string', 'string', 3],
    ['metadata_props', 'Entry', 4, 'repeated'],
  ],
  Type: [
    ['tensor_type', 'TensorType', 1],
    ['sequence_type', 'ElementType', 4],
    ['map_type', 'MapType', 5],
    ['denotation', 'string', 6],
    ['opaque_type', 'OpaqueType', 7],
    ['sparse_tensor_type', 'TensorType', 8],
    ['optional_type', 'ElementType', 9],
  ],
  TensorType: [
    ['elem_type', 'int32', 1],
    ['shape', 'Shape', 2],
  ],
  ElementType: [['elem_type', 'Type', 1]],
  MapType: [
    ['key_type', 'int32', 1],
    ['value_type', 'Type', 2],
  ],
  OpaqueType: [
    ['domain', 'string', 1],
    ['name', 'string', 2],
  ],
  Shape: [['dim', 'Dimension', 1, 'repeated']],
  Dimension: [
    ['dim_value', 'int64', 1],
    ['dim_param', 'string', 2],
    ['denotation', 'string', 3],
  ],
  Function: [
    ['name', 'string', 1],
    ['input', 'string', 4, 'repeated'],
    ['output', 'string', 5, 'repeated'],
    ['attribute', 'string', 6, 'repeated'],
    ['node', 'Node', 7, 'repeated'],
    ['doc_string', 'string', 8],
    ['opset_import', 'Opset', 9, 'repeated'],
    ['domain', 'string', 10],
    ['attribute_proto', 'Attribute', 11, 'repeated'],
    ['value_info', 'ValueInfo', 12, 'repeated'],
    ['overload', 'string', 13],
    ['metadata_props', 'Entry', 14, 'repeated'],
  ],
};

const root = new protobuf.Root();
for (const [message, fields] of Object.entries(MESSAGES)) {
  const type = new protobuf.Type(message);
  for (const [name, fieldType, number, rule] of fields) {
    const options = rule === undefined ? {} : { packed: rule === 'packed' };
    type.add(new protobuf.Field(name, number, fieldType, rule === undefined ? undefined : 'repeated', undefined, options));
  }
  root.add(type);
}

export type Proto = { [field: string]: Proto & Proto[] & string & number & Uint8Array };

/** ModelProto decoded by protobufjs; 64-bit integers as strings. */
export function protobufDecode(bytes: Uint8Array): Proto {
  const type = root.lookupType('Model');
  return type.toObject(type.decode(bytes), { longs: String, defaults: false }) as Proto;
}

/** ModelProto encoded by protobufjs from plain objects. */
export function protobufEncode(model: object): Uint8Array {
  const type = root.lookupType('Model');
  return type.encode(type.fromObject(model)).finish();
}
