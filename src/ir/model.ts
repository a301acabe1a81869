// A whole ONNX model: the main graph, the opsets it is written in, local functions and everything else the file says.
import type { Attribute } from './attribute.js';
import type { Graph, Value } from './graph.js';
import type { ValueType } from './type.js';

/** A function defined in the model itself, called by nodes of its domain and name. */
export interface LocalFunction {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  /** The body; its inputs and outputs are the function's, without types of their own. */
  readonly graph: Graph;
  /** Names of attributes without a default. */
  readonly attributes: readonly string[];
  /** Attributes with a default value. */
  readonly attributeDefaults: ReadonlyMap<string, Attribute>;
  readonly opsets: ReadonlyMap<string, number>;
  readonly doc?: string | undefined;
  readonly metadata?: ReadonlyMap<string, string> | undefined;
  readonly unknown?: Uint8Array | undefined;
}

/** Training information is kept as the bytes of the file: Pare trains in its own way, but loses nothing. */
export interface ModelExtra {
  trainingInfo: Uint8Array[];
  configuration: Uint8Array[];
  unknown: Uint8Array | undefined;
}

export class Model {
  irVersion: number;
  /** Domain to version; '' is the default ONNX domain. */
  readonly opsets: Map<string, number>;
  producerName = '';
  producerVersion = '';
  domain = '';
  modelVersion = 0n;
  doc: string | undefined;
  readonly metadata = new Map<string, string>();
  graph: Graph;
  functions: LocalFunction[] = [];
  readonly extra: ModelExtra = { trainingInfo: [], configuration: [], unknown: undefined };

  constructor(graph: Graph, opsets: ReadonlyMap<string, number>, irVersion: number) {
    this.graph = graph;
    this.opsets = new Map(opsets);
    this.irVersion = irVersion;
  }

  /** Version of the default ONNX domain. */
  get opset(): number {
    return this.opsets.get('') ?? 1;
  }

  /** The local function a node calls, if it calls one. */
  functionOf(node: { opType: string; domain: string; overload: string }): LocalFunction | undefined {
    return this.functions.find((f) => f.name === node.opType && f.domain === node.domain && f.overload === node.overload);
  }
}

/** Inputs that a caller must feed: graph inputs without a default value. */
export function requiredInputs(graph: Graph): Value[] {
  return graph.inputs.filter((v) => v.initializer === null && v.sparse === null);
}

/** Type of a value as a tensor, or undefined where it is none or not known. */
export function tensorTypeOf(value: Value | null | undefined): Extract<ValueType, { kind: 'tensor' }> | undefined {
  return value?.type?.kind === 'tensor' ? value.type : undefined;
}
