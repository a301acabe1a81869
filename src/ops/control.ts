// Control flow: If, Loop, Scan. Their bodies are inferred by the caller's walk; here is how types enter and leave them.
// What a loop carries has the type that holds at every iteration: dimensions that change become unknown.
import type { Dim, ValueType } from '../ir/type.js';
import { tensorType } from '../ir/type.js';
import { joinTypes, normalizeAxis, unifyDims } from './infer-helpers.js';
import type { InferContext, Inferred, OpRecord } from './op.js';

/** Rounds after which a carried type must have settled: each only loses knowledge, a dimension or a rank at a time. */
const MAX_ROUNDS = 8;

/** A branch that is certainly not taken is left alone: its shapes may contradict the condition. */
function inferIf(ctx: InferContext): Inferred[] {
  const decided = ctx.value(0)?.items[0];
  const branch = (name: string) => {
    const graph = ctx.node.subgraph(name);
    return graph ? ctx.subgraph(graph, []) : [];
  };
  if (typeof decided === 'number') return branch(decided ? 'then_branch' : 'else_branch').map((type) => ({ type }));
  const yes = branch('then_branch');
  const no = branch('else_branch');
  return Array.from({ length: ctx.outputCount }, (_, i) => ({ type: joinTypes(yes[i], no[i]) }));
}

/** Runs a body until the types it carries from one iteration to the next stay the same. */
function settle(
  initial: readonly (ValueType | undefined)[],
  step: (carried: readonly (ValueType | undefined)[]) => readonly (ValueType | undefined)[],
): { carried: (ValueType | undefined)[]; outputs: readonly (ValueType | undefined)[] } {
  let carried = [...initial];
  for (let round = 0; ; round++) {
    const outputs = step(carried);
    const joined = carried.map((type, i) => joinCarried(type, outputs[i], round));
    if (joined.every((type, i) => sameKnowledge(type, carried[i]))) return { carried, outputs };
    carried = joined;
    if (round >= MAX_ROUNDS) carried = carried.map((t, i) => (sameKnowledge(t, outputs[i]) ? t : undefined));
    if (round > 2 * MAX_ROUNDS) return { carried: carried.map(() => undefined), outputs: step(carried.map(() => undefined)) };
  }
}

function joinCarried(before: ValueType | undefined, after: ValueType | undefined, round: number): ValueType | undefined {
  const joined = joinTypes(before, after);
  return round >= MAX_ROUNDS && joined?.kind === 'tensor' ? tensorType(joined.dtype, null) : joined;
}

function sameKnowledge(a: ValueType | undefined, b: ValueType | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function inferLoop(ctx: InferContext): Inferred[] {
  const body = ctx.node.subgraph('body');
  if (!body) return [];
  const carriedCount = Math.max(ctx.inputCount - 2, 0);
  const iteration = tensorType('int64', []);
  const condition = tensorType('bool', []);
  const { carried, outputs } = settle(
    Array.from({ length: carriedCount }, (_, i) => ctx.type(i + 2)),
    (types) => ctx.subgraph(body, [iteration, condition, ...types]).slice(1),
  );
  const trips = tripCount(ctx);
  return Array.from({ length: ctx.outputCount }, (_, i) => {
    if (i < carriedCount) return { type: carried[i] };
    return { type: stacked(outputs[i], trips, 0) };
  });
}

/** Number of iterations: known where the loop is a plain `for` (no condition, or one that is constantly true). */
function tripCount(ctx: InferContext): Dim {
  const limit = ctx.has(0) ? (ctx.value(0)?.items[0] ?? null) : null;
  const symbol = ctx.symbol('trips');
  if (limit === null) return symbol;
  if (typeof limit === 'number' && limit <= 0) return 0;
  const start = ctx.has(1) ? ctx.value(1)?.items[0] : 1;
  if (start === 0) return 0;
  return start !== undefined && start !== null && conditionStays(ctx) ? limit : symbol;
}

/** True where the body hands its condition on as it came, or sets it to a constant true. */
function conditionStays(ctx: InferContext): boolean {
  const body = ctx.node.subgraph('body');
  let value = body?.outputs[0];
  while (value?.producer?.opType === 'Identity') value = value.producer.input(0) ?? undefined;
  if (value === undefined || body === undefined) return false;
  if (value === body.inputs[1]) return true;
  const constant = value.initializer ?? (value.producer?.opType === 'Constant' ? value.producer.tensor('value') : undefined);
  return constant?.size === 1 && constant.source.synchronous && constant.numbers()[0] !== 0;
}

/** Type of values collected along a new axis. */
function stacked(element: ValueType | undefined, count: Dim, axis: number): ValueType | undefined {
  if (element?.kind !== 'tensor') return undefined;
  if (element.shape === null) return element;
  return tensorType(element.dtype, element.shape.toSpliced(axis, 0, count));
}

function inferScan(ctx: InferContext): Inferred[] {
  const body = ctx.node.subgraph('body');
  const scanned = ctx.node.int('num_scan_inputs', 0);
  if (!body || ctx.opset < 9) return [];
  const carriedCount = ctx.inputCount - scanned;
  const axes = ctx.node.ints('scan_input_axes', new Array<number>(scanned).fill(0));
  let length: Dim = null;
  const slices = Array.from({ length: scanned }, (_, i) => {
    const index = carriedCount + i;
    const dtype = ctx.dtype(index);
    const shape = ctx.shape(index);
    if (dtype === undefined) return undefined;
    if (shape === null) return tensorType(dtype, null);
    const axis = normalizeAxis(ctx, axes[i] ?? 0, shape.length, index);
    length = unifyDims(ctx, index, length, shape[axis]!, 'scan length');
    return tensorType(dtype, shape.toSpliced(axis, 1));
  });
  const { carried, outputs } = settle(
    Array.from({ length: carriedCount }, (_, i) => ctx.type(i)),
    (types) => ctx.subgraph(body, [...types, ...slices]),
  );
  const outAxes = ctx.node.ints('scan_output_axes', []);
  return Array.from({ length: ctx.outputCount }, (_, i) => {
    if (i < carriedCount) return { type: carried[i] };
    const element = outputs[i];
    const rank: number = element?.kind === 'tensor' ? (element.shape?.length ?? 0) + 1 : 1;
    const axis = outAxes[i - carriedCount] ?? 0;
    return { type: stacked(element, length, axis < 0 ? axis + rank : axis) };
  });
}

export const CONTROL_OPS: readonly OpRecord[] = [
  { opType: 'If', domain: '', since: 1, infer: inferIf, grad: 'none', axes: 'opaque', quant: 'none', cost: 'none' },
  { opType: 'Loop', domain: '', since: 1, infer: inferLoop, grad: 'none', axes: 'opaque', quant: 'none', cost: 'none' },
  { opType: 'Scan', domain: '', since: 9, infer: inferScan, grad: 'none', axes: 'opaque', quant: 'none', cost: 'none' },
];
