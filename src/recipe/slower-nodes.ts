// Which nodes make a quantized model slower than its original, from a profile of each: integer kernels slower than the float ones, layers that the
// runtime did not fuse with their Q/DQ, and the conversions that stand alone.

import { PareError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { Fusion, SlowerNode } from '../pass/record.js';
import type { Engine, ModelSource, NodeTime, SessionOptions } from '../runtime/engine.js';
import { findFeeds } from '../runtime/inputs.js';
import { attributeTimes } from './node-times.js';

export interface SlowerOptions {
  readonly batch?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly seed?: number | undefined;
  readonly session?: SessionOptions | undefined;
  /** Reasons why nodes did not fuse, which then stand in the place of the general one. */
  readonly fusion?: Fusion | undefined;
}

const RUNS = 10;
const SHOWN = 8;
/** A node that costs less than this share of the original's time is not worth naming. */
const WORTH = 0.01;
const CONVERSIONS = /^(Quantize|Dequantize|DynamicQuantize)Linear$/;

/** The nodes responsible, worst first; empty where the engine has no profiler. */
export async function slowerNodes(
  engine: Engine,
  a: { readonly model: Model; readonly source: ModelSource },
  b: { readonly model: Model; readonly source: ModelSource },
  options: SlowerOptions,
): Promise<SlowerNode[]> {
  try {
    const before = await profile(engine, a.source, a.model, options);
    const after = await profile(engine, b.source, a.model, options);
    return judge(attributed(a.model, before), attributed(b.model, after), before, after, options.fusion);
  } catch (error) {
    if (error instanceof PareError && error.code === 'E_UNSUPPORTED') return [];
    throw error;
  }
}

async function profile(engine: Engine, source: ModelSource, model: Model, options: SlowerOptions): Promise<NodeTime[]> {
  const session = await engine.load(source, { ...options.session, profile: true });
  try {
    const { feeds } = await findFeeds(session, model, { batch: options.batch, shapes: options.shapes, seed: options.seed });
    for (let i = 0; i < RUNS; i++) await session.run(feeds);
    return await session.endProfiling();
  } finally {
    await session.release();
  }
}

/** Milliseconds by node name. */
function attributed(model: Model, times: readonly NodeTime[]): Map<string, { op: string; ms: number }> {
  const found = new Map<string, { op: string; ms: number }>();
  for (const [node, ms] of attributeTimes(model, times).byNode) {
    if (node.name === '') continue;
    const known = found.get(node.name);
    found.set(node.name, { op: node.op, ms: ms + (known?.ms ?? 0) });
  }
  return found;
}

function judge(
  before: ReadonlyMap<string, { op: string; ms: number }>,
  after: ReadonlyMap<string, { op: string; ms: number }>,
  timesBefore: readonly NodeTime[],
  timesAfter: readonly NodeTime[],
  fusion: Fusion | undefined,
): SlowerNode[] {
  const unfused = new Map(fusion?.unfused.map((u) => [u.node, u.reason]));
  const total = timesBefore.reduce((sum, t) => sum + t.ms / Math.max(1, t.runs), 0);
  const kernels = new Map(timesAfter.map((t) => [t.node.replace(/_token_\d+$/, ''), t]));
  const found: SlowerNode[] = [];
  for (const [node, { op, ms }] of after) {
    const was = before.get(node);
    if (CONVERSIONS.test(op)) found.push({ node, op, before_ms: 0, after_ms: ms, reason: 'conversion that no kernel took in' });
    else if (was && ms > was.ms)
      found.push({ node, op, before_ms: was.ms, after_ms: ms, reason: unfused.get(node) ?? reasonOf(op, kernels.get(node)) });
  }
  // Conversions have no names in the file, and changes of layout no nodes: they stand together by operator.
  for (const [op, ms] of ownOperators(timesAfter, after)) {
    const reason = CONVERSIONS.test(op) ? 'conversions that no kernel took in' : 'changes of layout between kernels';
    found.push({ node: `all ${op}`, op, before_ms: 0, after_ms: ms, reason });
  }
  return found
    .filter((n) => n.after_ms - n.before_ms > WORTH * total)
    .sort((x, y) => y.after_ms - y.before_ms - (x.after_ms - x.before_ms))
    .slice(0, SHOWN);
}

function reasonOf(op: string, time: NodeTime | undefined): string {
  if (time === undefined) return 'slower than in float';
  const kernel = time.opType;
  // Operators that move values keep their name on integers.
  if (kernel === op && /^u?int8$/.test(time.inputType ?? '')) return `its kernel for ${time.inputType} is slower than the float one`;
  if (/^(QLinear|QGemm|MatMulInteger|DynamicQuantize|ConvInteger|MatMulNBits)/.test(kernel))
    return `the integer kernel (${kernel}) is slower than the float one`;
  return kernel === op ? 'computed in float between conversions' : `runs as ${kernel}`;
}

function ownOperators(times: readonly NodeTime[], known: ReadonlyMap<string, unknown>): Map<string, number> {
  const sums = new Map<string, number>();
  for (const t of times) {
    const name = t.node.replace(/_token_\d+$/, '');
    if (known.has(name) || !(CONVERSIONS.test(t.opType) || /^(Reorder|Transpose$)/.test(t.opType))) continue;
    sums.set(t.opType, (sums.get(t.opType) ?? 0) + t.ms / Math.max(1, t.runs));
  }
  return sums;
}
