// What a model is and costs: the facts behind `pare profile`. The static part needs no engine; latency and memory come from running it.
import { modelCost, type NodeCost } from '../analysis/cost.js';
import { constantsOf, countNodes } from '../analysis/facts.js';
import { compressionPotential, type Potential } from '../analysis/potential.js';
import { type TensorStats, tensorStats } from '../analysis/tensor-stats.js';
import { PareError } from '../errors.js';
import type { Node } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { formatType } from '../ir/type.js';
import type { Progress, Warning } from '../pass/define.js';
import type { Engine, NodeTime, SessionOptions } from '../runtime/engine.js';
import { findFeeds, randomFeeds } from '../runtime/inputs.js';
import { type BatchLatency, measureThroughput } from '../runtime/latency.js';
import { fixedBatch } from './latency.js';
import { attributeTimes } from './node-times.js';
import type { InputModel } from './staging.js';

export interface ProfileOptions {
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Run the model; false for the static part alone. */
  readonly run?: boolean;
  readonly batchSizes?: readonly number[];
  readonly session?: SessionOptions;
  readonly seed?: number;
  /** Compute the distribution of every constant (reads all weights). */
  readonly weights?: boolean;
  /** Peak memory of loading and running in a fresh process, where the platform can measure it. */
  readonly measureMemory?:
    | ((feeds: Awaited<ReturnType<typeof randomFeeds>>) => Promise<{ peakBytes: number; modelBytes: number }>)
    | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** One layer, in graph order. */
export interface ProfileLayer {
  readonly name: string;
  readonly op: string;
  readonly outputShape: readonly number[] | null;
  readonly macs: number;
  readonly flops: number;
  readonly params: number;
  readonly bytes: number;
  readonly outputBytes: number;
  /** Milliseconds in one run; null where not measured or fused away by the runtime. */
  readonly ms: number | null;
}

/** All nodes of one operator. */
export interface OperatorShare {
  readonly op: string;
  readonly count: number;
  readonly macs: number;
  readonly bytes: number;
  readonly ms: number | null;
}

export interface ModelProfile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly producer: string;
  readonly irVersion: number;
  readonly opsets: Readonly<Record<string, number>>;
  readonly inputs: readonly { readonly name: string; readonly type: string }[];
  readonly outputs: readonly { readonly name: string; readonly type: string }[];
  readonly nodes: number;
  readonly params: number;
  readonly macs: number;
  readonly flops: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  readonly peakActivationBytes: number;
  /** Shapes that the figures hold for. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly operators: readonly OperatorShare[];
  readonly layers: readonly ProfileLayer[];
  readonly constants: readonly TensorStats[];
  readonly potential: readonly Potential[];
  readonly latency: readonly BatchLatency[] | null;
  readonly memory: { readonly peakBytes: number; readonly modelBytes: number } | null;
  readonly engine: string | null;
  readonly warnings: readonly Warning[];
}

/** Profiles a model. What cannot be inferred or run is left out with a warning; it throws only where the file itself is broken. */
export async function profileModel(input: InputModel, engine: Engine, options: ProfileOptions = {}): Promise<ModelProfile> {
  const { model } = input;
  const warnings: Warning[] = [];
  const cost = modelCost(model, { inputShapes: options.shapes });
  if (cost.unknown.length > 0) {
    const ops = [...new Set(cost.unknown.map((u) => u.node.op))].join(', ');
    warnings.push({
      message: `${cost.unknown.length} nodes have outputs of unknown shape and count for nothing: ${ops}`,
      fix: cost.unknown[0]!.reason,
    });
  }
  for (const note of cost.notes) warnings.push({ message: note });
  const measured = options.run === false ? null : await measure(input, engine, options, warnings);
  const { byNode: times, fused } = attributeTimes(model, measured?.nodes ?? []);
  const layers = cost.byNode.map((row) => layerOf(row, times));
  return {
    path: input.path,
    bytes: input.bytes,
    sha256: await input.sha256,
    producer: [model.producerName, model.producerVersion].filter(Boolean).join(' '),
    irVersion: model.irVersion,
    opsets: Object.fromEntries([...model.opsets].map(([domain, version]) => [domain || 'ai.onnx', version])),
    inputs: model.graph.inputs.filter((v) => v.initializer === null).map((v) => ({ name: v.name, type: formatType(v.type) })),
    outputs: model.graph.outputs.map((v) => ({ name: v.name, type: formatType(v.type) })),
    nodes: countNodes(model),
    params: cost.params,
    macs: cost.macs,
    flops: cost.flops,
    bytesByDtype: cost.bytesByDtype as Record<string, number>,
    peakActivationBytes: cost.peakActivationBytes,
    shapes: cost.inputShapes,
    operators: operatorShares(layers, fused),
    layers,
    constants: options.weights === false ? [] : await weightStats(model, options),
    potential: compressionPotential(model),
    latency: measured?.latency ?? null,
    memory: measured?.memory ?? null,
    engine: measured ? `${engine.name} ${engine.version}` : null,
    warnings,
  };
}

interface Measured {
  readonly latency: readonly BatchLatency[];
  readonly nodes: readonly NodeTime[];
  readonly memory: { readonly peakBytes: number; readonly modelBytes: number } | null;
}

async function measure(input: InputModel, engine: Engine, options: ProfileOptions, warnings: Warning[]): Promise<Measured | null> {
  const { model } = input;
  const label = 'timing';
  options.onProgress?.({ fraction: undefined, label });
  try {
    const session = await engine.load(input.source, options.session);
    let latency: BatchLatency[];
    let feeds: Awaited<ReturnType<typeof randomFeeds>>;
    try {
      const found = await findFeeds(session, model, { shapes: options.shapes, seed: options.seed });
      feeds = found.feeds;
      const fixed = fixedBatch(model);
      const sizes = fixed === undefined ? (options.batchSizes ?? [1]) : [fixed];
      if (fixed !== undefined && options.batchSizes?.some((n) => n !== fixed && n !== 1))
        warnings.push({ message: `the model takes ${fixed} samples at once: other batch sizes were not timed` });
      const byBatch = new Map<number, typeof feeds>();
      for (const batch of sizes)
        byBatch.set(
          batch,
          batch === 1
            ? feeds
            : await randomFeeds(model, { batch, symbols: withoutBatch(found.symbols), shapes: options.shapes, seed: options.seed }),
        );
      latency = await measureThroughput(session, (batch) => byBatch.get(batch)!, sizes);
    } finally {
      await session.release();
    }
    const nodes = await profileNodes(input, engine, options, feeds);
    const memory = (await options.measureMemory?.(feeds)) ?? null;
    return { latency, nodes, memory };
  } catch (error) {
    if (!(error instanceof PareError) || error.kind === 'bug') throw error;
    warnings.push({ message: `the model could not be run: ${error.message}`, ...(error.hint === undefined ? {} : { fix: error.hint }) });
    return null;
  }
}

/** Runs enough to drown the first run's one-off costs. */
const PROFILED_RUNS = 5;

/** Per-node times in a session of its own: collecting them slows the runs down. */
async function profileNodes(
  input: InputModel,
  engine: Engine,
  options: ProfileOptions,
  feeds: Awaited<ReturnType<typeof randomFeeds>>,
): Promise<NodeTime[]> {
  try {
    const session = await engine.load(input.source, { ...options.session, profile: true });
    try {
      for (let i = 0; i < PROFILED_RUNS; i++) await session.run(feeds);
      return await session.endProfiling();
    } finally {
      await session.release();
    }
  } catch (error) {
    // An engine without a profiler (the browser's) is no reason to fail.
    if (error instanceof PareError && error.code === 'E_UNSUPPORTED') return [];
    throw error;
  }
}

/** Batch symbols must stay open for other batch sizes to be tried. */
function withoutBatch(symbols: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(symbols).filter(([name]) => !/batch|^n$/i.test(name)));
}

function layerOf(row: NodeCost, times: ReadonlyMap<Node, number>): ProfileLayer {
  const { node } = row;
  return {
    name: node.label,
    op: node.op,
    outputShape: row.outputShapes[0] ?? null,
    macs: row.macs * row.runs,
    flops: (2 * row.macs + row.ops) * row.runs,
    params: row.params,
    bytes: row.paramBytes,
    outputBytes: row.outputBytes,
    ms: times.get(node) ?? null,
  };
}

/** `fused` are the runtime's own operators that stand for several nodes: they have time but no nodes. */
function operatorShares(layers: readonly ProfileLayer[], fused: ReadonlyMap<string, number>): OperatorShare[] {
  const shares = new Map<string, { op: string; count: number; macs: number; bytes: number; ms: number | null }>();
  for (const layer of layers) {
    const share = shares.get(layer.op) ?? { op: layer.op, count: 0, macs: 0, bytes: 0, ms: null };
    share.count++;
    share.macs += layer.macs;
    share.bytes += layer.bytes;
    if (layer.ms !== null) share.ms = (share.ms ?? 0) + layer.ms;
    shares.set(layer.op, share);
  }
  for (const [op, ms] of fused)
    shares.set(`${op} (made by the runtime)`, { op: `${op} (made by the runtime)`, count: 0, macs: 0, bytes: 0, ms });
  return [...shares.values()].sort((a, b) => b.macs - a.macs || b.bytes - a.bytes || b.count - a.count);
}

async function weightStats(model: Model, options: ProfileOptions): Promise<TensorStats[]> {
  const constants = constantsOf(model).filter((c) => c.tensor.size > 1);
  const total = constants.reduce((sum, c) => sum + c.tensor.byteLength, 0);
  const found: TensorStats[] = [];
  let done = 0;
  for (const { name, tensor } of constants) {
    options.onProgress?.({ fraction: total === 0 ? undefined : done / total, label: 'reading weights' });
    const stats = tensorStats(name, await tensor.load());
    if (stats) found.push(stats);
    done += tensor.byteLength;
  }
  return found.sort((a, b) => b.bytes - a.bytes);
}
