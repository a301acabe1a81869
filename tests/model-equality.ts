// Deep comparison of two models through a plain description of everything they hold: tests compare descriptions, and so see where they differ.
import { createHash } from 'node:crypto';
import type { Attribute, SparseTensor, Text } from '../src/ir/attribute.js';
import type { Graph, Value } from '../src/ir/graph.js';
import type { Model } from '../src/ir/model.js';
import type { Tensor } from '../src/ir/tensor.js';
import { originalTypeBytes } from '../src/onnx/decode-type.js';

type Plain = string | number | boolean | null | undefined | Plain[] | { [key: string]: Plain };

export function describeModel(model: Model): Plain {
  return {
    irVersion: model.irVersion,
    opsets: entries(model.opsets),
    producer: [model.producerName, model.producerVersion, model.domain, String(model.modelVersion)],
    doc: model.doc,
    metadata: entries(model.metadata),
    graph: describeGraph(model.graph),
    functions: model.functions.map((f) => ({
      ...{ name: f.name, domain: f.domain, overload: f.overload, doc: f.doc, unknown: hex(f.unknown) },
      attributes: [...f.attributes],
      defaults: [...f.attributeDefaults].map(([name, a]) => [name, describeAttribute(a)]),
      opsets: entries(f.opsets),
      metadata: entries(f.metadata),
      body: describeGraph(f.graph),
    })),
    trainingInfo: model.extra.trainingInfo.map(hex),
    configuration: model.extra.configuration.map(hex),
    unknown: hex(model.extra.unknown),
  };
}

export function describeGraph(graph: Graph): Plain {
  return {
    name: graph.name,
    doc: graph.doc,
    metadata: entries(graph.metadata),
    unknown: hex(graph.unknown),
    inputs: graph.inputs.map((v) => v.name),
    outputs: graph.outputs.map((v) => v.name),
    // In the order of names: a value's place in the file says nothing.
    values: [...graph.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).map(describeValue),
    annotations: graph.quantizationAnnotations.map((a) => [a.value, entries(a.parameters), hex(a.unknown)]),
    nodes: graph.nodes.map((node) => ({
      ...{ op: node.opType, domain: node.domain, overload: node.overload, name: node.name, doc: node.doc },
      metadata: entries(node.metadata),
      unknown: hex(node.unknown),
      inputs: node.inputs.map((v) => v && `${v.graph.name}/${v.name}`),
      outputs: node.outputs.map((v) => v?.name),
      attributes: [...node.attributes].map(([name, a]) => [name, describeAttribute(a)]),
    })),
  };
}

function describeValue(value: Value): Plain {
  return {
    name: value.name,
    type: value.type as unknown as Plain,
    typeBytes: value.type && hex(originalTypeBytes.get(value.type)),
    producer: value.producer?.label,
    uses: value.uses.map((u) => `${u.node.label}#${u.index}`).sort(),
    initializer: value.initializer && describeTensor(value.initializer),
    sparse: value.sparse && describeSparse(value.sparse),
    doc: value.doc,
    metadata: entries(value.metadata),
    unknown: hex(value.unknown),
  };
}

export function describeTensor(tensor: Tensor): Plain {
  const data = tensor.dtype === 'string' ? tensor.stringBytes().map(hex) : digest(tensor.bytes());
  const { name, doc, metadata, unknown } = tensor.extra ?? {};
  return { dtype: tensor.dtype, dims: [...tensor.dims], data, name, doc, metadata: entries(metadata), unknown: hex(unknown) };
}

function describeSparse(sparse: SparseTensor): Plain {
  const { dims, name, values, indices } = sparse;
  return { dims: [...dims], name, values: describeTensor(values), indices: describeTensor(indices) };
}

function describeAttribute(a: Attribute): Plain {
  return { type: a.type, value: attributeValue(a), doc: a.extra?.doc, unknown: hex(a.extra?.unknown) };
}

function attributeValue(a: Attribute): Plain {
  switch (a.type) {
    case 'ref':
      return [a.ref, a.of];
    case 'float':
      return number(a.value);
    case 'int':
      return String(a.value);
    case 'string':
      return text(a.value);
    case 'tensor':
      return describeTensor(a.value);
    case 'graph':
      return describeGraph(a.value);
    case 'sparse_tensor':
      return describeSparse(a.value);
    case 'type_proto':
      return a.value as unknown as Plain;
    case 'floats':
      return a.value.map(number);
    case 'ints':
      return a.value.map(String);
    case 'strings':
      return a.value.map(text);
    case 'tensors':
      return a.value.map(describeTensor);
    case 'graphs':
      return a.value.map(describeGraph);
    case 'sparse_tensors':
      return a.value.map(describeSparse);
    case 'type_protos':
      return a.value as unknown as Plain[];
  }
}

function number(x: number): Plain {
  return Number.isFinite(x) && !Object.is(x, -0) ? x : Object.is(x, -0) ? '-0' : String(x);
}

function text(t: Text): Plain {
  return typeof t === 'string' ? t : { bytes: hex(t) };
}

function entries(map: ReadonlyMap<string, string | number> | undefined): Plain {
  return map && Object.fromEntries(map);
}

function hex(bytes: Uint8Array | undefined): string | undefined {
  return bytes && Buffer.from(bytes).toString('hex');
}

function digest(bytes: Uint8Array): string {
  return bytes.length <= 32 ? hex(bytes)! : `${bytes.length}:${createHash('sha1').update(bytes).digest('hex')}`;
}
