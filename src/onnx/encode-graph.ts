// Graph, nodes, attributes, types and tensors to their messages. Numbers go to `raw_data` or to external files, strings to `string_data`.
import { unsupportedError } from '../errors.js';
import type { Attribute, SparseTensor, Text } from '../ir/attribute.js';
import { DTYPES } from '../ir/dtype.js';
import type { Graph, Node, QuantizationAnnotation, Value } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import type { Dim, ValueType } from '../ir/type.js';
import { originalTypeBytes } from './decode-type.js';
import type { TensorPlacer } from './external.js';
import {
  ANNOTATION,
  ATTRIBUTE,
  ATTRIBUTE_TYPES,
  DIMENSION,
  ELEMENT_TYPE,
  ENTRY,
  GRAPH,
  MAP_TYPE,
  NODE,
  OPAQUE_TYPE,
  SHAPE,
  SPARSE,
  TENSOR,
  TENSOR_TYPE,
  TYPE,
  VALUE_INFO,
} from './schema.js';
import type { WireWriter } from './wire-writer.js';

export interface EncodeContext {
  readonly w: WireWriter;
  /** Where large initializers go; undefined keeps everything in the model file. */
  readonly external: TensorPlacer | undefined;
}

export function writeGraph(ctx: EncodeContext, tag: number, graph: Graph): void {
  const { w } = ctx;
  w.begin(tag);
  for (const node of graph.nodes) writeNode(ctx, GRAPH.node, node);
  w.string(GRAPH.name, graph.name);
  for (const value of graph.values()) if (value.initializer) writeTensor(ctx, GRAPH.initializer, value.initializer, value.name, true);
  writeText(w, GRAPH.doc, graph.doc);
  for (const input of graph.inputs) writeValueInfo(w, GRAPH.input, input);
  for (const output of graph.outputs) writeValueInfo(w, GRAPH.output, output);
  writeValueInfos(w, GRAPH.valueInfo, graph, new Set([...graph.inputs, ...graph.outputs]));
  for (const annotation of graph.quantizationAnnotations) writeAnnotation(w, annotation);
  for (const value of graph.values()) if (value.sparse) writeSparse(ctx, GRAPH.sparseInitializer, value.sparse, value.name);
  writeEntries(w, GRAPH.metadata, graph.metadata);
  writeUnknown(w, graph.unknown);
  w.end();
}

/** Value infos of values not listed elsewhere; a constant's type stands with its tensor. */
export function writeValueInfos(w: WireWriter, tag: number, graph: Graph, listed: ReadonlySet<Value>): void {
  for (const value of graph.values()) {
    if (listed.has(value)) continue;
    const constant = value.initializer !== null || value.sparse !== null;
    const known = (value.type && !constant) || value.doc !== undefined || value.metadata || value.unknown;
    if (known) writeValueInfo(w, tag, value);
  }
}

export function writeNode(ctx: EncodeContext, tag: number, node: Node): void {
  const { w } = ctx;
  w.begin(tag);
  for (const input of node.inputs) w.string(NODE.input, input?.name ?? '');
  for (const output of node.outputs) w.string(NODE.output, output?.name ?? '');
  if (node.name !== '') w.string(NODE.name, node.name);
  w.string(NODE.opType, node.opType);
  for (const [name, attribute] of node.attributes) writeAttribute(ctx, NODE.attribute, name, attribute);
  writeText(w, NODE.doc, node.doc);
  if (node.domain !== '') w.string(NODE.domain, node.domain);
  if (node.overload !== '') w.string(NODE.overload, node.overload);
  writeEntries(w, NODE.metadata, node.metadata);
  writeUnknown(w, node.unknown);
  w.end();
}

export function writeAttribute(ctx: EncodeContext, tag: number, name: string, attribute: Attribute): void {
  const { w } = ctx;
  w.begin(tag);
  w.string(ATTRIBUTE.name, name);
  writeAttributeValue(ctx, attribute);
  writeText(w, ATTRIBUTE.doc, attribute.extra?.doc);
  w.uint(ATTRIBUTE.type, ATTRIBUTE_TYPES[attribute.type === 'ref' ? attribute.of : attribute.type]);
  if (attribute.type === 'ref') w.string(ATTRIBUTE.refName, attribute.ref);
  writeUnknown(w, attribute.extra?.unknown);
  w.end();
}

function writeAttributeValue(ctx: EncodeContext, attribute: Attribute): void {
  const { w } = ctx;
  switch (attribute.type) {
    case 'float':
      w.float(ATTRIBUTE.f, attribute.value);
      return;
    case 'int':
      w.int64(ATTRIBUTE.i, attribute.value);
      return;
    case 'string':
      writeString(w, ATTRIBUTE.s, attribute.value);
      return;
    case 'tensor':
      writeTensor(ctx, ATTRIBUTE.t, attribute.value, attribute.value.extra?.name ?? '', false);
      return;
    case 'graph':
      writeGraph(ctx, ATTRIBUTE.g, attribute.value);
      return;
    case 'sparse_tensor':
      writeSparse(ctx, ATTRIBUTE.sparseTensor, attribute.value, attribute.value.name ?? '');
      return;
    case 'type_proto':
      writeType(w, ATTRIBUTE.tp, attribute.value);
      return;
    // The schema declares these lists unpacked, and some readers take them only so.
    case 'floats':
      for (const x of attribute.value) w.float(ATTRIBUTE.floats, x);
      return;
    case 'ints':
      for (const x of attribute.value) w.int64(ATTRIBUTE.ints, x);
      return;
    case 'strings':
      for (const x of attribute.value) writeString(w, ATTRIBUTE.strings, x);
      return;
    case 'tensors':
      for (const x of attribute.value) writeTensor(ctx, ATTRIBUTE.tensors, x, x.extra?.name ?? '', false);
      return;
    case 'graphs':
      for (const x of attribute.value) writeGraph(ctx, ATTRIBUTE.graphs, x);
      return;
    case 'sparse_tensors':
      for (const x of attribute.value) writeSparse(ctx, ATTRIBUTE.sparseTensors, x, x.name ?? '');
      return;
    case 'type_protos':
      for (const x of attribute.value) writeType(w, ATTRIBUTE.typeProtos, x);
      return;
    case 'ref':
      return;
  }
}

function writeString(w: WireWriter, tag: number, text: Text): void {
  if (typeof text === 'string') w.string(tag, text);
  else w.bytes(tag, text);
}

/** `mayMove`: an initializer, whose data may lie in another file. */
export function writeTensor(ctx: EncodeContext, tag: number, tensor: Tensor, name: string, mayMove: boolean): void {
  const { w, external } = ctx;
  w.begin(tag);
  for (const dim of tensor.dims) w.uint(TENSOR.dims, dim);
  w.uint(TENSOR.dataType, DTYPES[tensor.dtype].code);
  if (tensor.dtype === 'string') for (const s of tensor.stringBytes()) w.bytes(TENSOR.stringData, s);
  if (name !== '') w.string(TENSOR.name, name);
  if (mayMove && external?.wants(tensor)) {
    const place = external.place(tensor);
    const entries = { location: place.location, offset: String(place.offset), length: String(place.length) };
    writeEntries(w, TENSOR.externalData, new Map(Object.entries(entries)));
    w.uint(TENSOR.dataLocation, 1);
  } else if (tensor.dtype !== 'string') w.source(TENSOR.rawData, tensor.source);
  writeText(w, TENSOR.doc, tensor.extra?.doc);
  writeEntries(w, TENSOR.metadata, tensor.extra?.metadata);
  writeUnknown(w, tensor.extra?.unknown);
  w.end();
}

function writeSparse(ctx: EncodeContext, tag: number, sparse: SparseTensor, name: string): void {
  const { w } = ctx;
  w.begin(tag);
  writeTensor(ctx, SPARSE.values, sparse.values, name, false);
  writeTensor(ctx, SPARSE.indices, sparse.indices, sparse.indices.extra?.name ?? '', false);
  for (const dim of sparse.dims) w.uint(SPARSE.dims, dim);
  w.end();
}

function writeValueInfo(w: WireWriter, tag: number, value: Value): void {
  w.begin(tag);
  w.string(VALUE_INFO.name, value.name);
  if (value.type) writeType(w, VALUE_INFO.type, value.type);
  writeText(w, VALUE_INFO.doc, value.doc);
  writeEntries(w, VALUE_INFO.metadata, value.metadata);
  writeUnknown(w, value.unknown);
  w.end();
}

export function writeType(w: WireWriter, tag: number, type: ValueType): void {
  w.begin(tag);
  const original = originalTypeBytes.get(type);
  if (original) w.raw(original);
  else writeTypeFields(w, type);
  w.end();
}

function writeTypeFields(w: WireWriter, type: ValueType): void {
  switch (type.kind) {
    case 'tensor':
    case 'sparse':
      w.begin(type.kind === 'tensor' ? TYPE.tensor : TYPE.sparse);
      w.uint(TENSOR_TYPE.elementType, DTYPES[type.dtype].code);
      if (type.shape) {
        w.begin(TENSOR_TYPE.shape);
        for (const dim of type.shape) writeDimension(w, dim);
        w.end();
      }
      break;
    case 'sequence':
    case 'optional':
      w.begin(type.kind === 'sequence' ? TYPE.sequence : TYPE.optional);
      if (type.element) writeType(w, ELEMENT_TYPE.elementType, type.element);
      break;
    case 'map':
      w.begin(TYPE.map);
      w.uint(MAP_TYPE.keyType, DTYPES[type.key].code);
      if (type.value) writeType(w, MAP_TYPE.valueType, type.value);
      break;
    case 'opaque':
      w.begin(TYPE.opaque);
      w.string(OPAQUE_TYPE.domain, type.domain);
      w.string(OPAQUE_TYPE.name, type.name);
      break;
    default:
      throw unsupportedError(`cannot write a value of type ${JSON.stringify(type)}`);
  }
  w.end();
  if (type.denotation !== undefined) w.string(TYPE.denotation, type.denotation);
}

function writeDimension(w: WireWriter, dim: Dim): void {
  w.begin(SHAPE.dim);
  if (typeof dim === 'number') w.uint(DIMENSION.value, dim);
  else if (dim !== null) w.string(DIMENSION.param, dim);
  w.end();
}

function writeAnnotation(w: WireWriter, annotation: QuantizationAnnotation): void {
  w.begin(GRAPH.quantizationAnnotation);
  w.string(ANNOTATION.tensorName, annotation.value);
  writeEntries(w, ANNOTATION.parameters, annotation.parameters);
  writeUnknown(w, annotation.unknown);
  w.end();
}

export function writeEntries(w: WireWriter, tag: number, entries: ReadonlyMap<string, string> | undefined): void {
  if (!entries) return;
  for (const [key, value] of entries) {
    w.begin(tag);
    w.string(ENTRY.key, key);
    w.string(ENTRY.value, value);
    w.end();
  }
}

export function writeText(w: WireWriter, tag: number, text: string | undefined): void {
  if (text !== undefined) w.string(tag, text);
}

export function writeUnknown(w: WireWriter, unknown: Uint8Array | undefined): void {
  if (unknown) w.raw(unknown);
}
