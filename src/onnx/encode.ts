// Model to ONNX bytes: ModelProto, FunctionProto and the entry points. Weights are referred to, not copied: `encodeModelChunks` answers
// lists of chunks to be streamed, `encodeModel` joins the model file in memory. The same model gives the same bytes.
import { limitError } from '../errors.js';
import type { Graph } from '../ir/graph.js';
import type { LocalFunction, Model } from '../ir/model.js';
import type { ByteSource } from '../ir/source.js';
import {
  type EncodeContext,
  writeAttribute,
  writeEntries,
  writeGraph,
  writeNode,
  writeTensor,
  writeText,
  writeUnknown,
  writeValueInfos,
} from './encode-graph.js';
import { type ExternalOptions, ExternalWriter, type FileChunks, type TensorPlacer } from './external.js';
import { ATTRIBUTE, ATTRIBUTE_TYPES, FUNCTION, MODEL, NODE, OPSET } from './schema.js';
import { WireWriter } from './wire-writer.js';

/** Protobuf messages end at 2 GiB; readers refuse longer ones. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

export interface EncodeOptions {
  /** Moves large initializers to other files. */
  readonly external?: ExternalOptions | undefined;
  /** Refers to initializers whose bytes lie in files already; nothing of them is answered in `externalData`. */
  readonly placer?: TensorPlacer | undefined;
}

export interface EncodedModel {
  readonly bytes: Uint8Array;
  readonly externalData: readonly FileChunks[];
}

/** Model file and data files as chunks to be written one after the other. */
export interface EncodedChunks {
  readonly main: FileChunks;
  readonly externalData: readonly FileChunks[];
}

/** Encodes into memory. Throws E_LIMIT beyond 2 GiB (use `external`) and E_BUG where weights can only be read asynchronously. */
export function encodeModel(model: Model, options: EncodeOptions = {}): EncodedModel {
  const { main, externalData } = encodeModelChunks(model, options);
  const bytes = new Uint8Array(checkSize(main).size);
  let at = 0;
  for (const chunk of main.chunks) {
    copyInto(chunk, bytes.subarray(at, at + chunk.byteLength));
    at += chunk.byteLength;
  }
  return { bytes, externalData };
}

/** As `encodeModel`, for models whose weights lie in Blobs. */
export async function encodeModelAsync(model: Model, options: EncodeOptions = {}): Promise<EncodedModel> {
  const { main, externalData } = encodeModelChunks(model, options);
  const bytes = new Uint8Array(checkSize(main).size);
  let at = 0;
  for (const chunk of main.chunks) {
    if (chunk.synchronous) copyInto(chunk, bytes.subarray(at, at + chunk.byteLength));
    else bytes.set(await chunk.load(), at);
    at += chunk.byteLength;
  }
  return { bytes, externalData };
}

/** Encodes without touching the weights. The chunks stay valid as long as the model's sources do. */
export function encodeModelChunks(model: Model, options: EncodeOptions = {}): EncodedChunks {
  const external = options.external && new ExternalWriter(options.external);
  const w = new WireWriter();
  writeModel({ w, external: options.placer ?? external }, model);
  return { main: { path: '', size: w.size, chunks: w.chunks() }, externalData: external?.files ?? [] };
}

/** Throws E_LIMIT where a model file would be longer than protobuf allows. */
export function checkSize(main: FileChunks): FileChunks {
  if (main.size <= MAX_MODEL_BYTES) return main;
  throw limitError(`the model file would take ${main.size} bytes: expected at most ${MAX_MODEL_BYTES}`, {
    hint: 'write the weights to external data',
  });
}

/** Fills `target` with the bytes of a synchronous source, without another copy where the source can. */
export function copyInto(source: ByteSource, target: Uint8Array): void {
  if (source.readInto) source.readInto(target);
  else target.set(source.bytes());
}

function writeModel(ctx: EncodeContext, model: Model): void {
  const { w } = ctx;
  w.int64(MODEL.irVersion, BigInt(model.irVersion));
  if (model.producerName !== '') w.string(MODEL.producerName, model.producerName);
  if (model.producerVersion !== '') w.string(MODEL.producerVersion, model.producerVersion);
  if (model.domain !== '') w.string(MODEL.domain, model.domain);
  if (model.modelVersion !== 0n) w.int64(MODEL.modelVersion, model.modelVersion);
  writeText(w, MODEL.doc, model.doc);
  writeGraph(ctx, MODEL.graph, model.graph);
  writeOpsets(w, MODEL.opsetImport, model.opsets);
  writeEntries(w, MODEL.metadata, model.metadata);
  for (const bytes of model.extra.trainingInfo) w.bytes(MODEL.trainingInfo, bytes);
  for (const f of model.functions) writeFunction(ctx, f);
  for (const bytes of model.extra.configuration) w.bytes(MODEL.configuration, bytes);
  writeUnknown(w, model.extra.unknown);
}

function writeOpsets(w: WireWriter, tag: number, opsets: ReadonlyMap<string, number>): void {
  for (const [domain, version] of opsets) {
    w.begin(tag);
    w.string(OPSET.domain, domain);
    w.int64(OPSET.version, BigInt(version));
    w.end();
  }
}

function writeFunction(ctx: EncodeContext, f: LocalFunction): void {
  const { w } = ctx;
  w.begin(MODEL.functions);
  w.string(FUNCTION.name, f.name);
  for (const input of f.graph.inputs) w.string(FUNCTION.input, input.name);
  for (const output of f.graph.outputs) w.string(FUNCTION.output, output.name);
  for (const name of f.attributes) w.string(FUNCTION.attribute, name);
  writeConstants(ctx, f.graph);
  for (const node of f.graph.nodes) writeNode(ctx, FUNCTION.node, node);
  writeText(w, FUNCTION.doc, f.doc);
  writeOpsets(w, FUNCTION.opsetImport, f.opsets);
  if (f.domain !== '') w.string(FUNCTION.domain, f.domain);
  for (const [name, attribute] of f.attributeDefaults) writeAttribute(ctx, FUNCTION.attributeProto, name, attribute);
  // A function lists its inputs and outputs by name only: their types stand with those of the inner values.
  writeValueInfos(w, FUNCTION.valueInfo, f.graph, new Set());
  if (f.overload !== '') w.string(FUNCTION.overload, f.overload);
  writeEntries(w, FUNCTION.metadata, f.metadata);
  writeUnknown(w, f.unknown);
  w.end();
}

/** A function has no initializers of its own: constants that a pass put into its body become Constant nodes. */
function writeConstants(ctx: EncodeContext, graph: Graph): void {
  const { w } = ctx;
  for (const value of graph.values()) {
    if (!value.initializer) continue;
    w.begin(FUNCTION.node);
    w.string(NODE.output, value.name);
    w.string(NODE.opType, 'Constant');
    w.begin(NODE.attribute);
    w.string(ATTRIBUTE.name, 'value');
    writeTensor(ctx, ATTRIBUTE.t, value.initializer, '', false);
    w.uint(ATTRIBUTE.type, ATTRIBUTE_TYPES.tensor);
    w.end();
    w.end();
  }
}
