// GraphProto, NodeProto and AttributeProto into plain records with names; link.ts then connects them.
// Two steps, because a node may read a value that the file defines only later.
import type { Attribute, SparseTensor, Text } from '../ir/attribute.js';
import type { QuantizationAnnotation } from '../ir/graph.js';
import { newRawGraph, type RawAttribute, type RawGraph, type RawNode } from '../ir/raw.js';
import type { Tensor } from '../ir/tensor.js';
import type { ValueType } from '../ir/type.js';
import { type DecodeContext, named, readEntry, readPacked, readSparse, readTensor } from './decode-tensor.js';
import { readType, readValueInfo } from './decode-type.js';
import { ANNOTATION, ATTRIBUTE, ATTRIBUTE_TYPES, GRAPH, NODE } from './schema.js';
import { textOf, UnknownFields } from './wire.js';

export function readGraph(ctx: DecodeContext): RawGraph {
  const r = ctx.reader;
  const outer = r.enter();
  const graph = newRawGraph();
  const unknown = new UnknownFields();
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    switch (tag) {
      case GRAPH.node:
        graph.nodes.push(readNode(ctx));
        break;
      case GRAPH.name:
        graph.name = r.string();
        break;
      case GRAPH.initializer:
        graph.initializers.push(readTensor(ctx));
        break;
      case GRAPH.sparseInitializer:
        graph.sparse.push(readSparse(ctx));
        break;
      case GRAPH.doc:
        graph.doc = r.looseString();
        break;
      case GRAPH.input:
        graph.inputs.push(readValueInfo(ctx));
        break;
      case GRAPH.output:
        graph.outputs.push(readValueInfo(ctx));
        break;
      case GRAPH.valueInfo:
        graph.valueInfos.push(readValueInfo(ctx));
        break;
      case GRAPH.quantizationAnnotation:
        graph.annotations.push(readAnnotation(ctx));
        break;
      case GRAPH.metadata:
        graph.metadata ??= new Map();
        readEntry(r, graph.metadata);
        break;
      default:
        unknown.keep(r, tag, at);
    }
  }
  r.leave(outer);
  graph.unknown = unknown.bytes(r);
  return graph;
}

function readAnnotation(ctx: DecodeContext): QuantizationAnnotation {
  const r = ctx.reader;
  const outer = r.enter();
  let value = '';
  const parameters = new Map<string, string>();
  const unknown = new UnknownFields();
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    if (tag === ANNOTATION.tensorName) value = r.string();
    else if (tag === ANNOTATION.parameters) readEntry(r, parameters);
    else unknown.keep(r, tag, at);
  }
  r.leave(outer);
  const rest = unknown.bytes(r);
  return rest ? { value, parameters, unknown: rest } : { value, parameters };
}

export function readNode(ctx: DecodeContext): RawNode {
  const r = ctx.reader;
  const outer = r.enter();
  const node: RawNode = {
    inputs: [],
    outputs: [],
    opType: '',
    domain: '',
    overload: '',
    name: '',
    attributes: [],
    doc: undefined,
    metadata: undefined,
    unknown: undefined,
  };
  const unknown = new UnknownFields();
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    switch (tag) {
      case NODE.input:
        node.inputs.push(r.string());
        break;
      case NODE.output:
        node.outputs.push(r.string());
        break;
      case NODE.name:
        node.name = r.string();
        break;
      case NODE.opType:
        node.opType = r.string();
        break;
      case NODE.attribute:
        node.attributes.push(readAttribute(ctx));
        break;
      case NODE.doc:
        node.doc = r.looseString();
        break;
      case NODE.domain:
        node.domain = r.string();
        break;
      case NODE.overload:
        node.overload = r.string();
        break;
      case NODE.metadata:
        node.metadata ??= new Map();
        readEntry(r, node.metadata);
        break;
      default:
        unknown.keep(r, tag, at);
    }
  }
  r.leave(outer);
  node.unknown = unknown.bytes(r);
  return node;
}

const TYPE_BY_NUMBER = new Map<number, Attribute['type']>(
  Object.entries(ATTRIBUTE_TYPES).map(([name, number]) => [number, name as Attribute['type']]),
);

/** Every value field of an attribute; which one counts is decided at the end, by `type`. */
class AttributeFields {
  f: number | undefined;
  i: bigint | undefined;
  s: Text | undefined;
  t: Tensor | undefined;
  g: RawGraph | undefined;
  sparse: SparseTensor | undefined;
  tp: ValueType | undefined;
  // Most attributes hold no list: made when first needed.
  floats: number[] | undefined;
  ints: bigint[] | undefined;
  strings: Text[] | undefined;
  tensors: Tensor[] | undefined;
  graphs: RawGraph[] | undefined;
  sparses: SparseTensor[] | undefined;
  types: ValueType[] | undefined;

  /** Old files write no type: the field that is there says it. */
  guessType(): Attribute['type'] {
    if (this.f !== undefined) return 'float';
    if (this.i !== undefined) return 'int';
    if (this.s !== undefined) return 'string';
    if (this.t) return 'tensor';
    if (this.g) return 'graph';
    if (this.sparse) return 'sparse_tensor';
    if (this.tp) return 'type_proto';
    if (this.floats) return 'floats';
    if (this.strings) return 'strings';
    if (this.tensors) return 'tensors';
    if (this.graphs) return 'graphs';
    if (this.sparses) return 'sparse_tensors';
    if (this.types) return 'type_protos';
    return 'ints';
  }
}

export function readAttribute(ctx: DecodeContext): RawAttribute {
  const r = ctx.reader;
  const start = r.offset;
  const outer = r.enter();
  const fields = new AttributeFields();
  let name = '';
  let type: Attribute['type'] | undefined;
  let ref = '';
  const extra: { doc?: string; unknown?: Uint8Array } = {};
  const unknown = new UnknownFields();
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    switch (tag) {
      case ATTRIBUTE.name:
        name = r.string();
        break;
      case ATTRIBUTE.type: {
        const number = r.int();
        type = TYPE_BY_NUMBER.get(number);
        if (number !== 0 && type === undefined) throw r.error(`attribute "${name}" has the unknown type ${number}`, at);
        break;
      }
      case ATTRIBUTE.refName:
        ref = r.string();
        break;
      case ATTRIBUTE.doc:
        extra.doc = r.looseString();
        break;
      default:
        if (!readAttributeValue(ctx, tag, fields)) unknown.keep(r, tag, at);
    }
  }
  r.leave(outer);
  const rest = unknown.bytes(r);
  if (rest) extra.unknown = rest;
  const shown = Object.keys(extra).length > 0 ? { extra } : {};
  type ??= fields.guessType();
  if (ref !== '') return { name, value: { type: 'ref', ref, of: type as Exclude<Attribute['type'], 'ref'>, ...shown } };
  const value = attributeValue(type, fields);
  if (!value) throw r.error(`attribute "${name}" says it is a ${type} but holds none`, start);
  return { name, value: { ...value, ...shown } };
}

function appended<T>(list: T[] | undefined, item: T): T[] {
  if (!list) return [item];
  list.push(item);
  return list;
}

/** Reads one of the value fields; answers false where the tag is none. */
function readAttributeValue(ctx: DecodeContext, tag: number, fields: AttributeFields): boolean {
  const r = ctx.reader;
  switch (tag) {
    case ATTRIBUTE.f:
      fields.f = r.float();
      return true;
    case ATTRIBUTE.i:
      fields.i = r.int64();
      return true;
    case ATTRIBUTE.s:
      fields.s = textOf(r.bytes());
      return true;
    case ATTRIBUTE.t:
      fields.t = named(readTensor(ctx));
      return true;
    case ATTRIBUTE.g:
      fields.g = readGraph(ctx);
      return true;
    case ATTRIBUTE.floats:
      fields.floats = appended(fields.floats, r.float());
      return true;
    case ATTRIBUTE.floatsPacked: {
      fields.floats ??= [];
      const floats = fields.floats;
      readPacked(r, () => floats.push(r.float()));
      return true;
    }
    case ATTRIBUTE.ints:
      fields.ints = appended(fields.ints, r.int64());
      return true;
    case ATTRIBUTE.intsPacked: {
      fields.ints ??= [];
      const ints = fields.ints;
      readPacked(r, () => ints.push(r.int64()));
      return true;
    }
    case ATTRIBUTE.strings:
      fields.strings = appended(fields.strings, textOf(r.bytes()));
      return true;
    case ATTRIBUTE.tensors:
      fields.tensors = appended(fields.tensors, named(readTensor(ctx)));
      return true;
    case ATTRIBUTE.graphs:
      fields.graphs = appended(fields.graphs, readGraph(ctx));
      return true;
    case ATTRIBUTE.sparseTensor:
      fields.sparse = readSparse(ctx);
      return true;
    case ATTRIBUTE.sparseTensors:
      fields.sparses = appended(fields.sparses, readSparse(ctx));
      return true;
    case ATTRIBUTE.tp:
      fields.tp = readType(r);
      return true;
    case ATTRIBUTE.typeProtos: {
      const type = readType(r);
      if (type) fields.types = appended(fields.types, type);
      return true;
    }
    default:
      return false;
  }
}

/** Scalars default to zero and empty, as protobuf defines; messages must be there. */
function attributeValue(type: Attribute['type'], fields: AttributeFields): RawAttribute['value'] | undefined {
  switch (type) {
    case 'float':
      return { type, value: fields.f ?? 0 };
    case 'int':
      return { type, value: fields.i ?? 0n };
    case 'string':
      return { type, value: fields.s ?? '' };
    case 'tensor':
      return fields.t && { type, value: fields.t };
    case 'graph':
      return fields.g && { type, graphs: [fields.g] };
    case 'sparse_tensor':
      return fields.sparse && { type, value: fields.sparse };
    case 'type_proto':
      return fields.tp && { type, value: fields.tp };
    case 'floats':
      return { type, value: fields.floats ?? [] };
    case 'ints':
      return { type, value: fields.ints ?? [] };
    case 'strings':
      return { type, value: fields.strings ?? [] };
    case 'tensors':
      return { type, value: fields.tensors ?? [] };
    case 'graphs':
      return { type, graphs: fields.graphs ?? [] };
    case 'sparse_tensors':
      return { type, value: fields.sparses ?? [] };
    case 'type_protos':
      return { type, value: fields.types ?? [] };
    case 'ref':
      return undefined;
  }
}
