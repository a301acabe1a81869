// TensorProto and SparseTensorProto to tensors. Data in `raw_data`, or packed alone in a typed field of the same width, is a view;
// varint fields are unpacked into the type's own width. What remains is checked against type and dimensions.

import { PareError } from '../errors.js';
import type { SparseTensor } from '../ir/attribute.js';
import { byteLengthOf, DTYPES, type DType, dtypeOfCode } from '../ir/dtype.js';
import type { NamedTensor } from '../ir/raw.js';
import { type ByteSource, MemorySource } from '../ir/source.js';
import { elementCount, Tensor, type TensorExtra } from '../ir/tensor.js';
import { type ExternalResolver, resolveExternal } from './external.js';
import { ENTRY, SPARSE, TENSOR } from './schema.js';
import { concatBytes, UnknownFields, type WireReader } from './wire.js';

export interface DecodeContext {
  readonly reader: WireReader;
  readonly external: ExternalResolver | undefined;
}

const MAX_RANK = 255;

const NO_WORDS = new Uint32Array(0);

/** Numbers of the varint fields, 64 bits each, growing as they come. */
class VarintList {
  #words = NO_WORDS;
  length = 0;

  push(low: number, high: number): void {
    if (this.length * 2 === this.#words.length) {
      const grown = new Uint32Array(Math.max(this.#words.length * 2, 16));
      grown.set(this.#words);
      this.#words = grown;
    }
    this.#words[this.length * 2] = low;
    this.#words[this.length * 2 + 1] = high;
    this.length++;
  }

  /** Little-endian elements of `bits` width; 6-bit elements are packed four to three bytes. */
  pack(bits: number): Uint8Array {
    const words = this.#words;
    if (bits === 64) return new Uint8Array(words.buffer, 0, this.length * 8);
    if (bits === 6) return this.#packSixBits();
    const width = bits < 8 ? 1 : bits / 8;
    const out = new Uint8Array(this.length * width);
    for (let i = 0; i < this.length; i++) {
      const low = words[i * 2]!;
      for (let b = 0; b < width; b++) out[i * width + b] = low >>> (8 * b);
    }
    return out;
  }

  #packSixBits(): Uint8Array {
    const out = new Uint8Array(Math.ceil((this.length * 6) / 8));
    for (let i = 0; i < this.length; i++) {
      const bit = i * 6;
      const shifted = (this.#words[i * 2]! & 63) << (bit % 8);
      const at = Math.floor(bit / 8);
      out[at]! |= shifted & 255;
      if (shifted > 255) out[at + 1]! |= shifted >> 8;
    }
    return out;
  }
}

interface TensorFields {
  readonly dims: number[];
  name: string;
  code: number;
  raw: ByteSource | undefined;
  /** Payload of float_data and double_data, which is little-endian already. */
  readonly fixed: ByteSource[];
  /** The same fields where they came unpacked. */
  readonly floats: number[];
  readonly doubles: number[];
  readonly varints: VarintList;
  readonly strings: Uint8Array[];
  external: Map<string, string> | undefined;
  isExternal: boolean;
}

export function readTensor(ctx: DecodeContext): NamedTensor {
  const r = ctx.reader;
  const start = r.offset;
  const outer = r.enter();
  const fields: TensorFields = {
    dims: [],
    name: '',
    code: 0,
    raw: undefined,
    fixed: [],
    floats: [],
    doubles: [],
    varints: new VarintList(),
    strings: [],
    external: undefined,
    isExternal: false,
  };
  const extra: { doc?: string; metadata?: Map<string, string>; unknown?: Uint8Array } = {};
  const unknown = new UnknownFields();
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    switch (tag) {
      case TENSOR.dims:
        fields.dims.push(r.int());
        break;
      case TENSOR.dimsPacked:
        readPacked(r, () => fields.dims.push(r.int()));
        break;
      case TENSOR.dataType:
        fields.code = r.int();
        break;
      case TENSOR.name:
        fields.name = r.string();
        break;
      case TENSOR.rawData:
        fields.raw = r.slice();
        break;
      case TENSOR.floatDataPacked:
      case TENSOR.doubleDataPacked:
        fields.fixed.push(r.slice());
        break;
      case TENSOR.floatData:
        fields.floats.push(r.float());
        break;
      case TENSOR.doubleData:
        fields.doubles.push(r.double());
        break;
      case TENSOR.int32Data:
      case TENSOR.int64Data:
      case TENSOR.uint64Data:
        r.read64();
        fields.varints.push(r.low, r.high);
        break;
      case TENSOR.int32DataPacked:
      case TENSOR.int64DataPacked:
      case TENSOR.uint64DataPacked:
        readPacked(r, () => {
          r.read64();
          fields.varints.push(r.low, r.high);
        });
        break;
      case TENSOR.stringData:
        fields.strings.push(r.bytes());
        break;
      case TENSOR.externalData:
        fields.external ??= new Map();
        readEntry(r, fields.external);
        break;
      case TENSOR.dataLocation:
        fields.isExternal = r.int() === 1;
        break;
      case TENSOR.doc:
        extra.doc = r.looseString();
        break;
      case TENSOR.metadata:
        extra.metadata ??= new Map();
        readEntry(r, extra.metadata);
        break;
      default:
        unknown.keep(r, tag, at);
    }
  }
  r.leave(outer);
  const rest = unknown.bytes(r);
  if (rest) extra.unknown = rest;
  return { name: fields.name, tensor: tensorOf(fields, extra, ctx, start) };
}

/** Builds the tensor; whatever is wrong with it becomes an error that names the tensor and where it starts. */
function tensorOf(fields: TensorFields, extra: TensorExtra, ctx: DecodeContext, start: number): Tensor {
  const { dims, name } = fields;
  try {
    if (dims.length > MAX_RANK) throw ctx.reader.error(`a tensor has ${dims.length} dimensions: expected at most ${MAX_RANK}`, start);
    const dtype = dtypeOfCode(fields.code);
    const count = elementCount(dims);
    const shown = Object.keys(extra).length > 0 ? extra : undefined;
    if (dtype === 'string') return new Tensor(dtype, dims, new Uint8Array(0), shown, fields.strings);
    return new Tensor(dtype, dims, sourceOf(fields, dtype, byteLengthOf(dtype, count), ctx), shown);
  } catch (error) {
    if (error instanceof PareError && !['E_FORMAT', 'E_EXTERNAL_DATA', 'E_FILE'].includes(error.code)) {
      throw ctx.reader.error(`tensor "${name}": ${error.message}`, start);
    }
    throw error;
  }
}

function sourceOf(fields: TensorFields, dtype: DType, expected: number, ctx: DecodeContext): ByteSource {
  if (fields.isExternal) return resolveExternal(fields.external ?? new Map(), fields.name, expected, ctx.external);
  const { raw, fixed, varints } = fields;
  if (fields.floats.length > 0) fixed.push(new MemorySource(new Uint8Array(Float32Array.from(fields.floats).buffer)));
  if (fields.doubles.length > 0) fixed.push(new MemorySource(new Uint8Array(Float64Array.from(fields.doubles).buffer)));
  if (raw && (raw.byteLength > 0 || (fixed.length === 0 && varints.length === 0))) return raw;
  if (fixed.length === 1) return fixed[0]!;
  if (fixed.length > 1) return new MemorySource(concatBytes(fixed.map((f) => f.bytes())));
  return new MemorySource(varints.pack(DTYPES[dtype].bits));
}

export function readSparse(ctx: DecodeContext): SparseTensor {
  const r = ctx.reader;
  const start = r.offset;
  const outer = r.enter();
  let values: NamedTensor | undefined;
  let indices: NamedTensor | undefined;
  const dims: number[] = [];
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === SPARSE.values) values = readTensor(ctx);
    else if (tag === SPARSE.indices) indices = readTensor(ctx);
    else if (tag === SPARSE.dims) dims.push(r.int());
    else if (tag === SPARSE.dimsPacked) readPacked(r, () => dims.push(r.int()));
    else r.skip(tag);
  }
  r.leave(outer);
  if (!values || !indices) throw r.error('a sparse tensor lacks its values or indices', start);
  if (dims.length > MAX_RANK || dims.some((d) => d < 0)) throw r.error('a sparse tensor has impossible dimensions', start);
  const sparse = { dims, values: values.tensor, indices: named(indices) };
  return values.name === '' ? sparse : { ...sparse, name: values.name };
}

/** The tensor with its name in the file, for tensors that are no initializers. */
export function named({ name, tensor }: NamedTensor): Tensor {
  if (name === '') return tensor;
  const strings = tensor.dtype === 'string' ? tensor.stringBytes() : undefined;
  return new Tensor(tensor.dtype, tensor.dims, tensor.source, { ...tensor.extra, name }, strings);
}

/** Calls `item` until the packed field is read. */
export function readPacked(r: WireReader, item: () => void): void {
  const outer = r.enter();
  while (r.more()) item();
  r.leave(outer);
}

/** Adds one key-value pair of a metadata list. */
export function readEntry(r: WireReader, into: Map<string, string>): void {
  const outer = r.enter();
  let key = '';
  let value = '';
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === ENTRY.key) key = r.looseString();
    else if (tag === ENTRY.value) value = r.looseString();
    else r.skip(tag);
  }
  r.leave(outer);
  into.set(key, value);
}
