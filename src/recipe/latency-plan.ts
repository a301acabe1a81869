// Choosing what to quantize by the clock (`--optimize latency`): per-node times of the float and the integer model, the cost of going from one to
// the other, and the cheapest assignment by minimum cut; then the candidates are timed in turn against the float model, and the fastest is taken.
// Layers that stay float are stored in 8 bits that fold at load, so that the file is small all the same.

import type { Dataset } from '../data/dataset.js';
import { PareError } from '../errors.js';
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { tensorTypeOf } from '../ir/model.js';
import { walkNodes } from '../ir/walk.js';
import type { BoundPass, Pass } from '../pass/define.js';
import { runPasses } from '../pass/manager.js';
import type { LatencyCandidate, LatencyPlan } from '../pass/record.js';
import { storableWeights, storeWeights } from '../passes/quantize/stored.js';
import { unfoldBlocks } from '../passes/quantize/unfold-blocks.js';
import { simplify } from '../passes/simplify/index.js';
import { quantFactsOf } from '../quant/annotate.js';
import type { Engine, NodeTime, Session, SessionOptions } from '../runtime/engine.js';
import { findFeeds } from '../runtime/inputs.js';
import { compareLatency } from '../runtime/latency.js';
import { openSession } from '../runtime/session.js';
import { MinCut } from '../util/min-cut.js';
import { timeLayersAlone } from './layer-times.js';
import { attributeTimes } from './node-times.js';
import { withTypes } from './trials.js';

export interface LatencyPlanOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly mode: 'static' | 'dynamic' | 'weights';
  readonly pass: Pass;
  readonly options: Readonly<Record<string, unknown>>;
  readonly data?: Dataset | undefined;
  readonly seed?: number | undefined;
  readonly session?: SessionOptions | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly batch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((label: string) => void) | undefined;
}

export interface PlannedLatency {
  readonly passes: readonly BoundPass[];
  readonly plan: LatencyPlan;
}

/** Sessions profiled of each model; the least time of a node over them is taken, as other work on the machine only adds. */
const PROFILES = 3;
const RUNS_PER_PROFILE = 12;
/** Milliseconds each candidate is timed for. */
const TIMING_MS = 1200;
/** Assumed price of a layer's border per element in ns where the profile shows none: reading, rounding, writing. */
const BORDER_NS = 0.4;
/** Price of an added node, whatever its size. */
const NODE_NS = 1500;
/** Integer times are raised by this in the cautious candidate. */
const CAUTION = 1.15;
/** Weights with fewer elements stay float where others are stored. */
const STORED_ELEMENTS = 256;
/** Weights with fewer elements stay float in the dynamic candidates. */
const DYNAMIC_THRESHOLDS = [4096, 65536];

interface Candidate {
  readonly name: string;
  readonly passes: readonly BoundPass[];
  readonly kept: readonly string[];
}

/** Finds the fastest way to quantize. The plan says how each candidate did; the passes are those of the fastest. */
export async function planLatency(o: LatencyPlanOptions): Promise<PlannedLatency> {
  const base: Candidate = { name: 'everything quantized', passes: [o.pass(o.options)], kept: [] };
  const first = await tryBuild(o, base);
  const candidates: (Candidate & { model: Model })[] = first ? [{ ...base, model: first }] : [];
  for (const candidate of await furtherCandidates(o, first)) {
    o.onProgress?.(`building: ${candidate.name}`);
    const model = await tryBuild(o, candidate);
    if (model) candidates.push({ ...candidate, model });
  }
  const { noise, timed } = await timeAll(o, candidates);
  const best = timed.reduce((a, b) => (b.ratio < a.ratio ? b : a));
  const chosen = candidates.find((c) => c.name === best.name)!;
  return { passes: chosen.passes, plan: { chosen: best.name, kept: chosen.kept, noise, candidates: timed } };
}

async function furtherCandidates(o: LatencyPlanOptions, quantized: Model | null): Promise<Candidate[]> {
  const stored = storedCandidate(o);
  if (o.mode === 'static') {
    const kept = quantized ? await slowLayers(o, quantized) : [];
    const cuts = kept
      .filter((names, i) => names.length > 0 && kept.findIndex((k) => k.join() === names.join()) === i)
      .map(
        (names, i): Candidate => ({ name: `integer where faster${i > 0 ? ' by a margin' : ''}`, passes: keeping(o, names), kept: names }),
      );
    return [...cuts, stored];
  }
  if (o.mode === 'dynamic') {
    const thresholds = DYNAMIC_THRESHOLDS.map(
      (minElements): Candidate => ({
        name: `only weights of ${minElements} elements and more`,
        passes: [o.pass({ ...o.options, minElements }), storeWeights({ ...common(o), simplify: false })],
        kept: [],
      }),
    );
    return [...thresholds, stored];
  }
  const eight: Candidate = { name: 'products in int8 (accuracy level 4)', passes: [o.pass({ ...o.options, accuracyLevel: 4 })], kept: [] };
  // Where block kernels are slower than float products, as in WebAssembly.
  const unfolded: Candidate = { name: 'blocks unfolded to float at load', passes: [o.pass(o.options), unfoldBlocks({})], kept: [] };
  return [eight, unfolded];
}

/** Never slower than float. Where all weights are small, they are stored all the same, so that there is one such candidate. */
function storedCandidate(o: LatencyPlanOptions): Candidate {
  const large = [...walkNodes(o.model.graph)].some((n) => storableWeights(n).some(([w]) => w.initializer!.size >= STORED_ELEMENTS));
  const passes = [storeWeights({ ...common(o), minElements: large ? STORED_ELEMENTS : 1 })];
  return { name: 'weights stored in 8 bits, arithmetic in float', passes, kept: [] };
}

/** Options that storing shares with the mode's pass. */
function common({ options }: LatencyPlanOptions): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([key]) => ['exclude', 'opTypes', 'simplify'].includes(key)));
}

function keeping(o: LatencyPlanOptions, names: readonly string[]): BoundPass[] {
  const own = (o.options.exclude as string[] | undefined) ?? [];
  return [o.pass({ ...o.options, exclude: [...own, ...names] }), storeWeights({ ...common(o), simplify: false })];
}

/** The result of the passes, or null where they or the runtime refuse it. */
async function tryBuild(o: LatencyPlanOptions, candidate: Candidate): Promise<Model | null> {
  try {
    const { engine, data, seed, session, signal } = o;
    return (
      await runPasses(o.model, candidate.passes, {
        engine,
        ...(seed === undefined ? {} : { seed }),
        data,
        threads: session?.threads,
        signal,
      })
    ).model;
  } catch (error) {
    if (error instanceof PareError && error.code === 'E_NOTHING_TO_DO') return null;
    throw error;
  }
}

async function timeAll(
  o: LatencyPlanOptions,
  candidates: readonly (Candidate & { model: Model })[],
): Promise<{ noise: number; timed: LatencyCandidate[] }> {
  o.onProgress?.('timing candidates');
  const sessions: Session[] = [];
  try {
    // The original twice: how far its own two sessions differ is the noise of the ratios.
    for (const model of [o.model, o.model, ...candidates.map((c) => c.model)]) sessions.push(await openSession(o.engine, model, o.session));
    const { feeds } = await findFeeds(sessions[0]!, o.model, { shapes: o.shapes, batch: o.batch, seed: o.seed });
    const times = await compareLatency(
      sessions.map((session) => ({ session, feeds })),
      { budgetMs: TIMING_MS, minRuns: 15, maxRuns: 2000, signal: o.signal },
    );
    return {
      noise: Math.abs(times[1]!.ratio - 1),
      timed: candidates.map((c, i) => ({ name: c.name, ms: times[i + 2]!.p50, ratio: times[i + 2]!.ratio, kept: c.kept.length })),
    };
  } finally {
    for (const session of sessions) await session.release();
  }
}

// ---- which layers lose time ----

/** Names of nodes to leave float: at the measured times, and with integer times raised by a margin. */
async function slowLayers(o: LatencyPlanOptions, quantized: Model): Promise<string[][]> {
  o.onProgress?.('profiling nodes');
  const plain = o.options.simplify === false ? o.model : (await runPasses(o.model, [simplify({ opset: 21 })], { engine: o.engine })).model;
  const float = withTypes(plain, o.shapes);
  const times = await profileBoth(o, float, quantized);
  return [1, CAUTION].map((factor) => cut(float, times, factor));
}

interface Times {
  readonly float: ReadonlyMap<string, number>;
  /** By name of the float model's node. */
  readonly integer: ReadonlyMap<string, number>;
  /** Nodes that run in integers. */
  readonly isInteger: ReadonlySet<string>;
  readonly borderNs: number;
}

async function profileBoth(o: LatencyPlanOptions, float: Model, quantized: Model): Promise<Times> {
  const isInteger = integerNodes(quantized);
  try {
    return { float: await leastTimes(o, float), integer: await leastTimes(o, quantized), isInteger, borderNs: BORDER_NS };
  } catch (error) {
    if (!(error instanceof PareError && error.code === 'E_UNSUPPORTED')) throw error;
    // No profiler in this engine.
    return { ...(await timeLayersAlone(float, quantized, isInteger, o)), isInteger };
  }
}

/** Names of nodes on operands that come out of DequantizeLinear. */
function integerNodes(quantized: Model): Set<string> {
  const found = new Set<string>();
  for (const node of quantized.graph.nodes) {
    if (node.opType === 'QuantizeLinear' || node.name === '') continue;
    if (node.inputs.some((v) => v?.producer?.opType === 'DequantizeLinear')) found.add(node.name);
  }
  return found;
}

async function leastTimes(o: LatencyPlanOptions, model: Model): Promise<Map<string, number>> {
  const least = new Map<string, number>();
  for (let i = 0; i < PROFILES; i++) {
    for (const [node, ms] of attributeTimes(model, await profile(o, model)).byNode) {
      if (node.name !== '') least.set(node.name, Math.min(ms, least.get(node.name) ?? Number.POSITIVE_INFINITY));
    }
  }
  return least;
}

async function profile(o: LatencyPlanOptions, model: Model): Promise<NodeTime[]> {
  const session = await openSession(o.engine, model, { ...o.session, profile: true });
  try {
    const { feeds } = await findFeeds(session, o.model, { shapes: o.shapes, batch: o.batch, seed: o.seed });
    for (let i = 0; i < RUNS_PER_PROFILE; i++) await session.run(feeds);
    return await session.endProfiling();
  } finally {
    await session.release();
  }
}

/** Labels: true is integer. Nodes without an integer form are float; nodes that only move or clamp values follow their neighbours for nothing. */
function cut(model: Model, times: Times, factor: number): string[] {
  const nodes = model.graph.nodes;
  const index = new Map(nodes.map((node, i) => [node, i]));
  const graph = new MinCut(nodes.length);
  nodes.forEach((node, i) => {
    const float = times.float.get(node.name) ?? 0;
    const integer = times.integer.get(node.name) ?? 0;
    if (times.isInteger.has(node.name)) graph.price(i, integer * factor, float);
    else if (isNeutral(node)) graph.price(i, float, float);
    else graph.price(i, Number.MAX_VALUE / 4, 0);
  });
  for (const node of nodes) {
    for (const value of node.inputs) {
      const producer = value?.producer;
      const from = producer ? index.get(producer) : undefined;
      if (!value || from === undefined) continue;
      const ms = borderMs(value, times.borderNs);
      graph.border(from, index.get(node)!, ms);
      graph.border(index.get(node)!, from, ms);
    }
  }
  const labels = graph.solve();
  return nodes.filter((node, i) => !labels[i] && times.isInteger.has(node.name)).map((node) => node.name);
}

function isNeutral(node: Node): boolean {
  const facts = quantFactsOf(node);
  return facts !== 'none' && (facts.kind === 'clamp' || facts.kind === 'passthrough');
}

/** Milliseconds of a QuantizeLinear or DequantizeLinear on a value. */
function borderMs(value: Value, borderNs: number): number {
  const shape = tensorTypeOf(value)?.shape ?? [];
  const elements = shape.reduce<number>((n, d) => n * (typeof d === 'number' ? d : 1), 1);
  return (elements * borderNs + NODE_NS) / 1e6;
}
