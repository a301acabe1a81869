// A graph as records with names, before names become Values: what decoders and the text parser make and link.ts connects.
import type { Attribute, AttributeExtra, SparseTensor } from './attribute.js';
import type { QuantizationAnnotation } from './graph.js';
import type { Tensor } from './tensor.js';
import type { ValueType } from './type.js';

export interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

export interface RawValueInfo {
  readonly name: string;
  readonly type: ValueType | undefined;
  readonly doc: string | undefined;
  readonly metadata: Map<string, string> | undefined;
  readonly unknown: Uint8Array | undefined;
}

export interface RawGraph {
  name: string;
  doc: string | undefined;
  metadata: Map<string, string> | undefined;
  unknown: Uint8Array | undefined;
  readonly nodes: RawNode[];
  readonly initializers: NamedTensor[];
  readonly sparse: SparseTensor[];
  readonly inputs: RawValueInfo[];
  readonly outputs: RawValueInfo[];
  readonly valueInfos: RawValueInfo[];
  readonly annotations: QuantizationAnnotation[];
}

export interface RawNode {
  readonly inputs: string[];
  readonly outputs: string[];
  opType: string;
  domain: string;
  overload: string;
  name: string;
  readonly attributes: RawAttribute[];
  doc: string | undefined;
  metadata: Map<string, string> | undefined;
  unknown: Uint8Array | undefined;
}

/** Attribute whose graphs are not linked yet. */
export interface RawAttribute {
  readonly name: string;
  readonly value:
    | Exclude<Attribute, { type: 'graph' | 'graphs' }>
    | { type: 'graph' | 'graphs'; graphs: RawGraph[]; extra?: AttributeExtra };
}

export function newRawGraph(): RawGraph {
  return {
    name: '',
    doc: undefined,
    metadata: undefined,
    unknown: undefined,
    nodes: [],
    initializers: [],
    sparse: [],
    inputs: [],
    outputs: [],
    valueInfos: [],
    annotations: [],
  };
}
