// Times of single layers where the runtime has no profiler (WebAssembly, WebGPU): each layer of the float model and its twin in the quantized model are
// cut out into models of their own and timed in turn. The integer twin starts at codes and ends at codes, so that its time is that of the kernel alone;
// what a conversion costs is timed once. Layers of the same form are timed once.
import { PareError } from '../errors.js';
import { type Builder, buildModel } from '../ir/builder.js';
import type { DType } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import { randomFeeds } from '../runtime/inputs.js';
import { compareLatency } from '../runtime/latency.js';
import { openSession } from '../runtime/session.js';

export interface LayerTimes {
  /** Milliseconds by name of the node. */
  readonly float: ReadonlyMap<string, number>;
  readonly integer: ReadonlyMap<string, number>;
  /** Nanoseconds per element of a QuantizeLinear or DequantizeLinear that stands alone. */
  readonly borderNs: number;
}

export interface LayerTimeOptions {
  readonly engine: Engine;
  readonly session?: SessionOptions | undefined;
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Milliseconds that each of the two models of a layer is timed for; short, as there are many, and the candidates are timed as wholes afterwards. */
const BUDGET_MS = 40;
const MAX_RUNS = 60;
const BORDER_ELEMENTS = 2 ** 17;

/** `float` must have its types inferred; `names` are the nodes that run in integers in `quantized`. */
export async function timeLayersAlone(
  float: Model,
  quantized: Model,
  names: ReadonlySet<string>,
  options: LayerTimeOptions,
): Promise<LayerTimes> {
  const twins = new Map(quantized.graph.nodes.map((n) => [n.name, n]));
  const found = { float: new Map<string, number>(), integer: new Map<string, number>() };
  const known = new Map<string, readonly [number, number] | undefined>();
  for (const node of float.graph.nodes) {
    const twin = names.has(node.name) ? twins.get(node.name) : undefined;
    if (!twin) continue;
    const form = formOf(node, twin);
    if (!known.has(form)) known.set(form, await timePair(float, node, quantized, twin, options));
    const times = known.get(form);
    if (!times) continue;
    found.float.set(node.name, times[0]);
    found.integer.set(node.name, times[1]);
  }
  return { ...found, borderNs: await timeBorder(options) };
}

/** What a layer's time depends on: operator, attributes, types and dimensions of operands. */
function formOf(node: Node, twin: Node): string {
  const attributes = [...node.attributes].map(([name, a]) => `${name}=${'value' in a ? String(a.value) : a.type}`);
  const operands = node.inputs.map((v, i) => v && `${dimsOf(v).join('x')} ${v.isConstant} ${codesOf(twin.input(i))?.type}`);
  return [node.op, ...attributes, ...operands, resultScale(twin) ? 'codes' : 'float'].join(';');
}

function dimsOf(value: Value): number[] {
  if (value.initializer) return [...value.initializer.dims];
  return (tensorTypeOf(value)?.shape ?? []).map((d) => (typeof d === 'number' ? d : 1));
}

/** Undefined where a runtime refuses the layer by itself. */
async function timePair(
  float: Model,
  node: Node,
  quantized: Model,
  twin: Node,
  options: LayerTimeOptions,
): Promise<readonly [number, number] | undefined> {
  const dims = node.inputs.map((v) => (v ? dimsOf(v) : []));
  try {
    return await timeModels([alone(float, node, dims), alone(quantized, twin, dims)], options);
  } catch (error) {
    if (error instanceof PareError && error.kind !== 'bug' && error.code !== 'E_ABORTED') return undefined;
    throw error;
  }
}

async function timeModels(models: readonly [Model, Model], { engine, session, seed, signal }: LayerTimeOptions): Promise<[number, number]> {
  const timed = [];
  try {
    for (const model of models)
      timed.push({ session: await openSession(engine, model, session), feeds: await randomFeeds(model, { seed }) });
    const [a, b] = await compareLatency(timed, { budgetMs: BUDGET_MS, minRuns: 5, maxRuns: MAX_RUNS, signal });
    // The least time, as other work on the machine only adds.
    return [a!.min, b!.min];
  } finally {
    for (const { session: opened } of timed) await opened.release();
  }
}

/** A node as a model of its own: constants as they are, codes of its operands and of its result instead of floats where it has them. */
function alone(model: Model, node: Node, dims: readonly (readonly number[])[]): Model {
  return buildModel(
    'layer',
    (b) => {
      const inputs = node.inputs.map((value, i) => value && operand(b, value, dims[i]!, i));
      const copy = b.graph.addNode({
        opType: node.opType,
        domain: node.domain,
        name: 'layer',
        inputs,
        outputs: node.outputs.map((o, i) => o && `y${i}`),
        attributes: new Map(node.attributes),
      });
      const scale = resultScale(node);
      const y = copy.output();
      b.output(scale ? b.op('QuantizeLinear', [y, ...scale.map((v) => constantOf(b, v))]) : y);
    },
    { opsets: Object.fromEntries(model.opsets) },
  );
}

function operand(b: Builder, value: Value, dims: readonly number[], index: number): Value {
  const codes = codesOf(value);
  if (!codes) return value.isConstant ? constantOf(b, value) : b.input(`x${index}`, tensorTypeOf(value)?.dtype ?? 'float', [...dims]);
  const { node, type } = codes;
  const source = node.input(0)!;
  const from = source.isConstant ? constantOf(b, source) : b.input(`x${index}`, type, [...dims]);
  const rest = node.inputs.slice(1).map((v) => v && constantOf(b, v));
  const attributes = Object.fromEntries(node.attributes);
  return b.op('DequantizeLinear', [from, ...rest], attributes, { outputs: [`d${index}`] });
}

function constantOf(b: Builder, value: Value): Value {
  return known(b.graph, value.name) ?? b.constant(value.name, value.initializer!);
}

const known = (graph: Graph, name: string): Value | undefined => graph.ownValue(name);

/** The DequantizeLinear that a value comes from, with constant scales, and the type of its codes. */
function codesOf(value: Value | null): { readonly node: Node; readonly type: DType } | undefined {
  const node = value?.producer;
  if (node?.opType !== 'DequantizeLinear' || !node.inputs.slice(1).every((v) => !v || v.isConstant)) return undefined;
  const type = node.input(0)?.initializer?.dtype ?? node.input(2)?.initializer?.dtype;
  return type ? { node, type } : undefined;
}

/** Scale and zero point of the QuantizeLinear that alone reads a node's result. */
function resultScale(node: Node): [Value, Value] | undefined {
  const q = node.outputs.length === 1 && node.output().uses.length === 1 ? node.output().uses[0]!.node : undefined;
  const [scale, zero] = q?.opType === 'QuantizeLinear' ? [q.input(1), q.input(2)] : [];
  return scale?.isConstant && zero?.isConstant ? [scale, zero] : undefined;
}

async function timeBorder(options: LayerTimeOptions): Promise<number> {
  const conversion = (convert: boolean) =>
    buildModel('border', (b) => {
      const x = b.input('x', 'float', [1, BORDER_ELEMENTS]);
      const parameters = [b.scalar('scale', 'float', 0.1), b.scalar('zero', 'uint8', 128)];
      // Both ends the same, so that the difference is that of the two conversions.
      const y = convert ? b.op('DequantizeLinear', [b.op('QuantizeLinear', [x, ...parameters]), ...parameters]) : x;
      b.output(b.op('Neg', [y]), 'y');
    });
  const [without, both] = await timeModels([conversion(false), conversion(true)], options);
  return (Math.max(0, both - without) / 2 / BORDER_ELEMENTS) * 1e6;
}
