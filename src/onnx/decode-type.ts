// TypeProto and ValueInfoProto. A type that says more than the IR holds (dimension denotations, unknown fields) keeps its bytes
// in a side table, so that an unchanged type is written back as it was.
import { type DType, dtypeOfCode } from '../ir/dtype.js';
import type { RawValueInfo } from '../ir/raw.js';
import type { Dim, ValueType } from '../ir/type.js';
import { type DecodeContext, readEntry } from './decode-tensor.js';
import { DIMENSION, ELEMENT_TYPE, MAP_TYPE, OPAQUE_TYPE, SHAPE, TENSOR_TYPE, TYPE, VALUE_INFO } from './schema.js';
import { UnknownFields, type WireReader } from './wire.js';

/** Bytes of types that hold more than their ValueType shows. Types are immutable, so identity is enough. */
export const originalTypeBytes = new WeakMap<ValueType, Uint8Array>();

/** What a type's fields hold beyond the IR. */
interface Surplus {
  found: boolean;
}

export function readValueInfo(ctx: DecodeContext): RawValueInfo {
  const r = ctx.reader;
  const outer = r.enter();
  let name = '';
  let type: ValueType | undefined;
  let doc: string | undefined;
  let metadata: Map<string, string> | undefined;
  const unknown = new UnknownFields();
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    if (tag === VALUE_INFO.name) name = r.string();
    else if (tag === VALUE_INFO.type) type = readType(r);
    else if (tag === VALUE_INFO.doc) doc = r.looseString();
    else if (tag === VALUE_INFO.metadata) {
      metadata ??= new Map();
      readEntry(r, metadata);
    } else unknown.keep(r, tag, at);
  }
  r.leave(outer);
  return { name, type, doc, metadata, unknown: unknown.bytes(r) };
}

/** A type, or undefined where it says nothing (a tensor without element type, an empty message). */
export function readType(r: WireReader): ValueType | undefined {
  const surplus: Surplus = { found: false };
  const start = r.offset;
  const type = readTypeFields(r, surplus);
  if (type && surplus.found) {
    // The range starts with the length of the message, which is not part of it.
    const framed = r.range(start, r.offset);
    let head = 1;
    while (framed[head - 1]! > 127) head++;
    originalTypeBytes.set(type, framed.slice(head));
  }
  return type;
}

function readTypeFields(r: WireReader, surplus: Surplus): ValueType | undefined {
  const outer = r.enter();
  let type: ValueType | undefined;
  let denotation: string | undefined;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    switch (tag) {
      case TYPE.tensor:
        type = readTensorType(r, 'tensor', surplus);
        break;
      case TYPE.sparse:
        type = readTensorType(r, 'sparse', surplus);
        break;
      case TYPE.sequence:
        type = { kind: 'sequence', element: readElement(r, surplus) };
        break;
      case TYPE.optional:
        type = { kind: 'optional', element: readElement(r, surplus) };
        break;
      case TYPE.map:
        type = readMap(r, surplus);
        break;
      case TYPE.opaque:
        type = readOpaque(r, surplus);
        break;
      case TYPE.denotation:
        denotation = r.string();
        break;
      default:
        surplus.found = true;
        r.skip(tag);
    }
  }
  r.leave(outer);
  return type && denotation !== undefined && denotation !== '' ? { ...type, denotation } : type;
}

function readTensorType(r: WireReader, kind: 'tensor' | 'sparse', surplus: Surplus): ValueType | undefined {
  const outer = r.enter();
  let dtype: DType | undefined;
  let shape: Dim[] | null = null;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === TENSOR_TYPE.elementType) dtype = readDType(r);
    else if (tag === TENSOR_TYPE.shape) shape = readShape(r, surplus);
    else {
      surplus.found = true;
      r.skip(tag);
    }
  }
  r.leave(outer);
  return dtype === undefined ? undefined : { kind, dtype, shape };
}

/** Element type; undefined for the number 0, which ONNX uses for "not known". */
function readDType(r: WireReader): DType | undefined {
  const offset = r.offset;
  const code = r.int();
  if (code === 0) return undefined;
  try {
    return dtypeOfCode(code);
  } catch (error) {
    throw r.error((error as Error).message, offset);
  }
}

function readShape(r: WireReader, surplus: Surplus): Dim[] {
  const outer = r.enter();
  const dims: Dim[] = [];
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === SHAPE.dim) dims.push(readDimension(r, surplus));
    else {
      surplus.found = true;
      r.skip(tag);
    }
  }
  r.leave(outer);
  return dims;
}

function readDimension(r: WireReader, surplus: Surplus): Dim {
  const outer = r.enter();
  let dim: Dim = null;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === DIMENSION.value) {
      const value = r.int();
      // Some exporters write -1 (or another negative number) for "any".
      dim = value < 0 ? null : value;
      if (value < 0) surplus.found = true;
    } else if (tag === DIMENSION.param) dim = r.string() || null;
    else {
      surplus.found = true;
      r.skip(tag);
    }
  }
  r.leave(outer);
  return dim;
}

function readElement(r: WireReader, surplus: Surplus): ValueType | null {
  const outer = r.enter();
  let element: ValueType | undefined;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === ELEMENT_TYPE.elementType) element = readTypeFields(r, surplus);
    else {
      surplus.found = true;
      r.skip(tag);
    }
  }
  r.leave(outer);
  return element ?? null;
}

function readMap(r: WireReader, surplus: Surplus): ValueType | undefined {
  const outer = r.enter();
  let key: DType | undefined;
  let value: ValueType | undefined;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === MAP_TYPE.keyType) key = readDType(r);
    else if (tag === MAP_TYPE.valueType) value = readTypeFields(r, surplus);
    else {
      surplus.found = true;
      r.skip(tag);
    }
  }
  r.leave(outer);
  return key === undefined ? undefined : { kind: 'map', key, value: value ?? null };
}

function readOpaque(r: WireReader, surplus: Surplus): ValueType {
  const outer = r.enter();
  let domain = '';
  let name = '';
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === OPAQUE_TYPE.domain) domain = r.string();
    else if (tag === OPAQUE_TYPE.name) name = r.string();
    else {
      surplus.found = true;
      r.skip(tag);
    }
  }
  r.leave(outer);
  return { kind: 'opaque', domain, name };
}
