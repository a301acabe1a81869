// What a model costs at given sizes: multiply-accumulates, other operations, parameters, bytes of weights by type, and the peak of
// activation memory over the execution order. Static figures from shapes; time is measured elsewhere.
import { dimSymbols, evaluateDim } from '../ir/dim.js';
import { byteLengthOf, type DType } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { requiredInputs } from '../ir/model.js';
import { cloneModel, walkNodes } from '../ir/walk.js';
import { axesOfNode, macsOfAxes } from '../ops/axes.js';
import type { OpRecord, Work } from '../ops/op.js';
import { opRecord } from '../ops/registry.js';
import { bytesByDtype, type Constant, constantsOf, countParams, paramsOf } from './facts.js';
import { UNKNOWN_OPERATOR } from './infer-graph.js';
import { activationPeak } from './peak-memory.js';
import { nameOpenInputs, type ShapeReport, specializeShapes, type UnknownNode } from './shapes.js';

/** Size of a symbolic dimension that the caller does not give: 1 for the batch, 64 for all others. */
const DEFAULT_EXTENT = 64;

export interface CostOptions {
  /** Numbers for symbolic dimensions. */
  readonly symbols?: Readonly<Record<string, number>> | undefined;
  /** Dimensions of inputs by name; wins over `symbols`. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined;
}

export interface NodeCost {
  /** The node of the model that was asked about. */
  readonly node: Node;
  readonly macs: number;
  /** Floating-point operations that are no part of a MAC. */
  readonly ops: number;
  /** Parameters in its constant inputs; a constant that several nodes read counts at the first. */
  readonly params: number;
  readonly paramBytes: number;
  readonly outputBytes: number;
  readonly outputShapes: readonly (readonly number[] | null)[];
  /** How often it runs, from the loops around it (1 outside, and where the number is not known). */
  readonly runs: number;
  readonly note?: string;
}

export interface ModelCost {
  readonly macs: number;
  readonly ops: number;
  /** 2 * macs + ops. */
  readonly flops: number;
  readonly params: number;
  readonly weightBytes: number;
  readonly bytesByDtype: Partial<Record<DType, number>>;
  /** Largest sum of the activations alive at one time, weights not counted, at the sizes used. */
  readonly peakActivationBytes: number;
  /** Node at which the peak occurs. */
  readonly peakNode: Node | null;
  /** What each symbol and input was taken to be. */
  readonly symbols: Readonly<Record<string, number>>;
  readonly inputShapes: Readonly<Record<string, readonly number[]>>;
  /** One row a node, in order, nodes of subgraphs after their own. */
  readonly byNode: readonly NodeCost[];
  readonly unknown: readonly UnknownNode[];
  readonly notes: readonly string[];
}

/** Cost at given sizes. The model itself is not changed: shapes are fixed on a copy that shares its weights. */
export function modelCost(model: Model, options: CostOptions = {}): ModelCost {
  const copy = cloneModel(model);
  nameOpenInputs(copy);
  const symbols = chooseSymbols(copy, options);
  const report = specializeShapes(copy, symbols, { inputShapes: options.inputShapes });
  const originals = pairNodes(model, copy);
  const counter = new Counter(report, constantsOf(copy));
  counter.graph(copy.graph, 1);
  const byNode = counter.rows.map((row) => ({ ...row, node: originals.get(row.node) ?? row.node }));
  const contradicted = report.unknown.some((u) => u.reason !== UNKNOWN_OPERATOR);
  const assumed = Object.entries(symbols).filter(([name]) => !Object.hasOwn(options.symbols ?? {}, name));
  if (contradicted && assumed.length > 0) {
    counter.notes.push(
      `some nodes do not accept the sizes assumed (${assumed.map(([name, n]) => `${name}=${n}`).join(', ')}); give the real ones`,
    );
  }
  const unknown = report.unknown.map((u) => ({ ...u, node: originals.get(u.node) ?? u.node }));
  const peak = activationPeak(copy.graph);
  const macs = counter.counted.reduce((n, r) => n + r.macs * r.runs, 0);
  const ops = counter.counted.reduce((n, r) => n + r.ops * r.runs, 0);
  const bytes = bytesByDtype(model);
  return {
    macs,
    ops,
    flops: 2 * macs + ops,
    params: countParams(model),
    weightBytes: Object.values(bytes).reduce((a, b) => a + b, 0),
    bytesByDtype: bytes,
    peakActivationBytes: peak.bytes,
    peakNode: peak.node && (originals.get(peak.node) ?? peak.node),
    symbols,
    inputShapes: Object.fromEntries(requiredInputs(copy.graph).map((v) => [v.name, staticShape(v) ?? []])),
    byNode,
    unknown,
    notes: counter.notes,
  };
}

/** Every symbol of the inputs with a number: given, or 1 where it is a batch (the first axis, or so named), else 64. */
function chooseSymbols(model: Model, { symbols = {}, inputShapes = {} }: CostOptions): Record<string, number> {
  const chosen: Record<string, number> = {};
  for (const input of requiredInputs(model.graph)) {
    if (input.type?.kind !== 'tensor' || Object.hasOwn(inputShapes, input.name)) continue;
    const shape = input.type.shape ?? [];
    for (const [axis, dim] of shape.entries()) {
      for (const symbol of dimSymbols(dim)) {
        if (Object.hasOwn(symbols, symbol)) chosen[symbol] = symbols[symbol]!;
        else chosen[symbol] ??= isBatch(symbol, axis) ? 1 : DEFAULT_EXTENT;
      }
    }
  }
  return chosen;
}

function isBatch(symbol: string, axis: number): boolean {
  return /batch|^n$|^b$/i.test(symbol) || (axis === 0 && !/seq|len|time|frame|sample|token/i.test(symbol));
}

/** Nodes of the copy to those they were copied from: both trees have the same order. */
function pairNodes(model: Model, copy: Model): Map<Node, Node> {
  const pairs = new Map<Node, Node>();
  const pairGraphs = (a: Graph, b: Graph) => {
    const copies = [...walkNodes(b)];
    for (const [i, node] of [...walkNodes(a)].entries()) pairs.set(copies[i]!, node);
  };
  pairGraphs(model.graph, copy.graph);
  for (const [i, f] of model.functions.entries()) pairGraphs(f.graph, copy.functions[i]!.graph);
  return pairs;
}

function staticShape(value: Value | null): number[] | null {
  const type = value?.type;
  if (type?.kind !== 'tensor' || type.shape === null) return null;
  const dims = type.shape.map((d) => evaluateDim(d, {}));
  return dims.every((d) => d !== undefined) ? dims : null;
}

/** Bytes of a value's tensor; 0 where its shape is not known. Strings have no fixed size and count as nothing. */
function bytesOf(value: Value | null): number {
  const shape = staticShape(value);
  return shape && value?.type?.kind === 'tensor'
    ? byteLengthOf(
        value.type.dtype,
        shape.reduce((a, b) => a * b, 1),
      )
    : 0;
}

class Counter {
  readonly rows: NodeCost[] = [];
  /** Rows that make up the totals: of the branches of an If only the dearer one. */
  readonly counted: NodeCost[] = [];
  readonly notes: string[] = [];
  readonly #report: ShapeReport;
  readonly #constants = new Map<Value, Constant>();
  readonly #seen = new Set<Value>();

  constructor(report: ShapeReport, constants: readonly Constant[]) {
    this.#report = report;
    for (const c of constants) if (c.value) this.#constants.set(c.value, c);
  }

  graph(graph: Graph, runs: number): void {
    for (const node of graph.nodes) this.#node(node, runs);
  }

  #node(node: Node, runs: number): void {
    const body = this.#report.bodies.get(node);
    const record = body ? undefined : opRecord(node.domain, node.opType);
    const inputs = node.inputs.map(staticShape);
    const outputs = node.outputs.map(staticShape);
    const work = record ? workOf(record, node, inputs, outputs) : undefined;
    const owned = this.#ownedConstants(node);
    const note = body || work ? undefined : record ? 'shapes are not known' : 'the operator is not known';
    const row: NodeCost = {
      node,
      macs: work?.macs ?? 0,
      ops: work?.ops ?? 0,
      params: owned.reduce((n, c) => n + paramsOf(c), 0),
      paramBytes: owned.reduce((n, c) => n + c.tensor.byteLength, 0),
      outputBytes: node.outputs.reduce((n, v) => n + bytesOf(v), 0),
      outputShapes: outputs,
      runs,
      ...(note === undefined ? {} : { note }),
    };
    this.rows.push(row);
    this.counted.push(row);
    if (body) this.graph(body, runs);
    else if (node.opType === 'If' && node.domain === '') this.#branches(node, runs);
    else for (const sub of node.subgraphs()) this.graph(sub, runs * this.#trips(node, inputs));
  }

  #ownedConstants(node: Node): Constant[] {
    const owned: Constant[] = [];
    for (const value of node.inputs) {
      const constant = value && this.#constants.get(value);
      if (!constant || this.#seen.has(value)) continue;
      this.#seen.add(value);
      owned.push(constant);
    }
    return owned;
  }

  /** Both branches get rows; the totals take the one that runs, or the dearer one where that depends on data. */
  #branches(node: Node, runs: number): void {
    const condition = this.#contentOf(node.input(0));
    const before = this.counted.length;
    const parts = node.subgraphs().map((sub) => {
      const start = this.counted.length;
      this.graph(sub, runs);
      return this.counted.splice(start);
    });
    const names = [...node.attributes].filter(([, a]) => a.type === 'graph').map(([name]) => name);
    const weight = (rows: readonly NodeCost[]) => rows.reduce((n, r) => n + (2 * r.macs + r.ops) * r.runs, 0);
    const decided = condition === undefined ? undefined : parts[names.indexOf(condition ? 'then_branch' : 'else_branch')];
    const taken = decided ?? [...parts].sort((a, b) => weight(b) - weight(a))[0] ?? [];
    if (!decided && new Set(parts.map(weight)).size > 1)
      this.notes.push(`${node.label}: the branch depends on data; the dearer one is counted`);
    this.counted.splice(before, 0, ...taken);
  }

  #contentOf(value: Value | null): number | undefined {
    if (!value) return undefined;
    const item = this.#report.values.get(value)?.items[0];
    if (typeof item === 'number') return item;
    return value.initializer?.size === 1 && value.initializer.source.synchronous ? value.initializer.numbers()[0] : undefined;
  }

  #trips(node: Node, inputs: readonly (readonly number[] | null)[]): number {
    if (node.domain !== '') return 1;
    if (node.opType === 'Scan') {
      const first = node.inputs.length - node.int('num_scan_inputs', 0);
      return inputs[first]?.at(node.ints('scan_input_axes', [0])[0] ?? 0) ?? 1;
    }
    if (node.opType !== 'Loop') return 1;
    const trips = this.#contentOf(node.input(0));
    if (trips !== undefined && trips < 1e9) return Math.max(trips, 0);
    this.notes.push(`${node.label}: the number of iterations depends on data; one is counted`);
    return 1;
  }
}

function workOf(record: OpRecord, node: Node, inputs: (number[] | null)[], outputs: (number[] | null)[]): Work | undefined {
  if (record.cost === 'none') return { macs: 0, ops: 0 };
  const needed = [
    ...node.inputs.map((v, i) => (v?.type?.kind === 'tensor' ? inputs[i] : [])),
    ...node.outputs.map((v, i) => (v ? outputs[i] : [])),
  ];
  if (needed.includes(null)) return undefined;
  if (record.cost === 'elementwise') return { macs: 0, ops: (outputs[0] ?? []).reduce((a, b) => a * b, outputs[0] ? 1 : 0) };
  if (record.cost === 'axes') {
    const statement = axesOfNode(record, node, inputs);
    const macs = statement ? macsOfAxes(statement, inputs, outputs) : undefined;
    return macs === undefined ? undefined : { macs, ops: 0 };
  }
  return record.cost({ node, inputs, outputs });
}
