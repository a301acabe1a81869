// ONNX bytes to Model: ModelProto, FunctionProto and the entry points. Nothing of the file is lost; weights stay views on it.
// Corrupt or hostile bytes end in E_FORMAT (or E_GRAPH where the bytes are fine and the graph is not), in time and memory bounded by the input.
import { PareError } from '../errors.js';
import type { Attribute } from '../ir/attribute.js';
import { Graph } from '../ir/graph.js';
import { linkAttribute, linkGraph } from '../ir/link.js';
import { type LocalFunction, Model } from '../ir/model.js';
import { newRawGraph, type RawAttribute, type RawGraph } from '../ir/raw.js';
import type { ByteSource } from '../ir/source.js';
import { readAttribute, readGraph, readNode } from './decode-graph.js';
import { type DecodeContext, readEntry } from './decode-tensor.js';
import { readValueInfo } from './decode-type.js';
import type { ExternalResolver } from './external.js';
import { FUNCTION, MODEL, OPSET } from './schema.js';
import { UnknownFields, WireReader } from './wire.js';

export interface DecodeOptions {
  /** Name of the file, for messages. */
  readonly file?: string | undefined;
  /** Opens external data files by their location; without it a model that has them is refused. */
  readonly external?: ExternalResolver | undefined;
}

interface RawFunction extends Omit<LocalFunction, 'graph' | 'attributeDefaults'> {
  readonly body: RawGraph;
  readonly defaults: readonly RawAttribute[];
}

/**
 * Decodes a model. Weights are views on `source`: of memory without a copy, of a file without reading them.
 * Throws E_FORMAT, E_GRAPH or E_EXTERNAL_DATA, naming `options.file` and the byte offset where known.
 */
export function decodeModel(source: Uint8Array | ByteSource, options: DecodeOptions = {}): Model {
  try {
    return readModelMessage({ reader: new WireReader(source, options.file), external: options.external });
  } catch (error) {
    if (!(error instanceof PareError)) throw error;
    const placed = options.file === undefined ? error : error.at({ file: options.file });
    throw placed.code === 'E_FORMAT' && placed.hint === undefined
      ? placed.withHint('the file is damaged, cut short, or no ONNX model')
      : placed;
  }
}

/** Decodes a model from a Blob or File of the browser; the model file is read into memory, external files only where asked for. */
export async function decodeModelBlob(blob: Blob, options: DecodeOptions = {}): Promise<Model> {
  return decodeModel(new Uint8Array(await blob.arrayBuffer()), options);
}

function readModelMessage(ctx: DecodeContext): Model {
  const r = ctx.reader;
  const opsets = new Map<string, number>();
  const model = new Model(new Graph(''), new Map(), 0);
  const unknown = new UnknownFields();
  const functions: RawFunction[] = [];
  let graph: RawGraph | undefined;
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    switch (tag) {
      case MODEL.irVersion:
        model.irVersion = r.int();
        break;
      case MODEL.producerName:
        model.producerName = r.looseString();
        break;
      case MODEL.producerVersion:
        model.producerVersion = r.looseString();
        break;
      case MODEL.domain:
        model.domain = r.looseString();
        break;
      case MODEL.modelVersion:
        model.modelVersion = r.int64();
        break;
      case MODEL.doc:
        model.doc = r.looseString();
        break;
      case MODEL.graph:
        graph = readGraph(ctx);
        break;
      case MODEL.opsetImport:
        readOpset(r, opsets);
        break;
      case MODEL.metadata:
        readEntry(r, model.metadata);
        break;
      case MODEL.trainingInfo:
        model.extra.trainingInfo.push(r.bytes());
        break;
      case MODEL.functions:
        functions.push(readFunction(ctx));
        break;
      case MODEL.configuration:
        model.extra.configuration.push(r.bytes());
        break;
      default:
        unknown.keep(r, tag, at);
    }
  }
  if (!graph) throw r.error('this is no ONNX model: expected a graph, got none', 0);
  for (const [domain, version] of opsets) model.opsets.set(domain, version);
  model.graph = linkGraph(graph, null);
  model.functions = functions.map(linkFunction);
  model.extra.unknown = unknown.bytes(r);
  return model;
}

function readOpset(r: WireReader, into: Map<string, number>): void {
  const outer = r.enter();
  let domain = '';
  let version = 0;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === OPSET.domain) domain = r.string();
    else if (tag === OPSET.version) version = r.int();
    else r.skip(tag);
  }
  r.leave(outer);
  into.set(domain === 'ai.onnx' ? '' : domain, version);
}

function readFunction(ctx: DecodeContext): RawFunction {
  const r = ctx.reader;
  const outer = r.enter();
  const body = newRawGraph();
  const attributes: string[] = [];
  const defaults: RawAttribute[] = [];
  const opsets = new Map<string, number>();
  let name = '';
  let domain = '';
  let overload = '';
  let doc: string | undefined;
  let metadata: Map<string, string> | undefined;
  const unknown = new UnknownFields();
  const untyped = (value: string) => ({ name: value, type: undefined, doc: undefined, metadata: undefined, unknown: undefined });
  for (let at = r.offset, tag = r.tag(); tag !== 0; at = r.offset, tag = r.tag()) {
    switch (tag) {
      case FUNCTION.name:
        name = r.string();
        break;
      case FUNCTION.input:
        body.inputs.push(untyped(r.string()));
        break;
      case FUNCTION.output:
        body.outputs.push(untyped(r.string()));
        break;
      case FUNCTION.attribute:
        attributes.push(r.string());
        break;
      case FUNCTION.attributeProto:
        defaults.push(readAttribute(ctx));
        break;
      case FUNCTION.node:
        body.nodes.push(readNode(ctx));
        break;
      case FUNCTION.doc:
        doc = r.looseString();
        break;
      case FUNCTION.opsetImport:
        readOpset(r, opsets);
        break;
      case FUNCTION.domain:
        domain = r.string();
        break;
      case FUNCTION.valueInfo:
        body.valueInfos.push(readValueInfo(ctx));
        break;
      case FUNCTION.overload:
        overload = r.string();
        break;
      case FUNCTION.metadata:
        metadata ??= new Map();
        readEntry(r, metadata);
        break;
      default:
        unknown.keep(r, tag, at);
    }
  }
  r.leave(outer);
  body.name = name;
  return { name, domain, overload, attributes, defaults, opsets, body, doc, metadata, unknown: unknown.bytes(r) };
}

function linkFunction(raw: RawFunction): LocalFunction {
  const { body, defaults, ...facts } = raw;
  const attributeDefaults = new Map<string, Attribute>(defaults.map((a) => [a.name, linkAttribute(a.value, null)]));
  return { ...facts, graph: linkGraph(body, null), attributeDefaults };
}
