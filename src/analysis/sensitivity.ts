// What each single change of a model does to its outputs, and how the changes add up: one session of the model with a switch before every change
// runs the same few samples once for each change. With u_s the (weighted) change of the outputs under change s alone, the Gram matrix
// G[s,t] = <u_s, u_t> predicts the error of any set of changes as the sum of G over the set: first order in each change, correlations included.
// Weighting: for class outputs u = sqrt(p) (d - <p, d>) with d the change of log-probabilities, so that a half of the sum is the second-order
// KL divergence; for other outputs the change relative to the output's root mean square. No labels are needed.
import type { Batch, Dataset } from '../data/dataset.js';
import { areProbabilities, logProbabilities } from '../data/metric.js';
import { dataError } from '../errors.js';
import type { Attribute } from '../ir/attribute.js';
import { Builder } from '../ir/builder.js';
import { DTYPES } from '../ir/dtype.js';
import { Graph, type Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { cloneModel } from '../ir/walk.js';
import { cutToSize } from '../runtime/batches.js';
import type { Engine, Session, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';

/** A change of values of the main graph, switched on together. */
export interface Perturbation {
  readonly id: string;
  readonly changes: readonly {
    /** Name of the value that is changed. */
    readonly value: string;
    /** Builds the changed value in front of its first reader. `value` is the value in a copy of the model. */
    apply(b: Builder, value: Value): Value;
  }[];
}

export interface SensitivityOptions {
  readonly engine: Engine;
  readonly data: Dataset;
  /** Most samples to run (default 16). */
  readonly samples?: number;
  readonly session?: SessionOptions | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface Sensitivity {
  readonly ids: readonly string[];
  /** Row-major [n, n]; the diagonal is the error of each change alone. */
  readonly gram: Float64Array;
  /** Samples that were run once for each change. */
  readonly samples: number;
  /** How far the correlations of the changes are more than chance, 0 to 1; those off the diagonal have been multiplied by it. */
  readonly reliability: number;
}

const SWITCH = 'pare_switch';
const DEFAULT_SAMPLES = 16;
/** Samples run together, a quarter of all at most, so that there are halves to compare. */
const LARGEST_BATCH = 8;
/** Elements of one output batch that enter the Gram matrix: rows or elements beyond are passed over evenly. */
const MAX_ELEMENTS = 1 << 15;
/** Fewest classes on the last axis of a rank-3 output for it to count as logits over tokens. */
const MIN_TOKEN_CLASSES = 32;

/** Runs the model once for each perturbation on the same samples. The model's value types must have been inferred. */
export async function measureSensitivity(
  model: Model,
  perturbations: readonly Perturbation[],
  options: SensitivityOptions,
): Promise<Sensitivity> {
  const n = perturbations.length;
  // Two halves of the samples, to see which correlations are more than chance.
  const halves = [new Float64Array(n * n), new Float64Array(n * n)] as const;
  const ids = perturbations.map((p) => p.id);
  if (n === 0) return { ids, gram: halves[0], samples: 0, reliability: 1 };
  const limit = options.samples ?? DEFAULT_SAMPLES;
  const session = await openSession(options.engine, switchModel(model, perturbations), options.session);
  let samples = 0;
  let index = 0;
  try {
    const batchSize = Math.max(1, Math.min(LARGEST_BATCH, Math.floor(limit / 4)));
    for await (const batch of options.data.batches({ batchSize, limit })) {
      await addBatch(session, batch, options, halves[index++ % 2]!, n, (done) =>
        options.onProgress?.(Math.min(1, (samples + (batch.size * done) / n) / limit)),
      );
      samples += batch.size;
    }
  } finally {
    await session.release();
  }
  if (samples === 0) throw dataError(`data "${options.data.name}": expected at least one sample, got none`);
  const reliability = index > 1 ? reliabilityOf(halves[0], halves[1], n) : UNKNOWN_RELIABILITY;
  const gram = halves[0].map((x, i) => ((x + halves[1][i]!) / samples) * (i % (n + 1) === 0 ? 1 : reliability));
  return { ids, gram, samples, reliability };
}

/** With one batch there is nothing to compare. */
const UNKNOWN_RELIABILITY = 0.5;

/** Agreement of the correlations in two halves of the samples, stepped up to that of the whole (Spearman-Brown): 2r / (1 + r). */
function reliabilityOf(a: Float64Array, b: Float64Array, n: number): number {
  let [aa, bb, ab] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      // As correlations, so that the largest changes do not decide alone.
      const x = a[i * n + j]! / Math.sqrt(a[i * n + i]! * a[j * n + j]! || 1);
      const y = b[i * n + j]! / Math.sqrt(b[i * n + i]! * b[j * n + j]! || 1);
      aa += x * x;
      bb += y * y;
      ab += x * y;
    }
  }
  const r = aa > 0 && bb > 0 ? Math.max(0, ab / Math.sqrt(aa * bb)) : 0;
  return (2 * r) / (1 + r);
}

/** A copy with an input that says which change is on (-1: none). */
function switchModel(model: Model, perturbations: readonly Perturbation[]): Model {
  const copy = cloneModel(model);
  const { graph } = copy;
  const on = graph.addInput(SWITCH, { kind: 'tensor', dtype: 'int64', shape: [1] });
  const all = perturbations.flatMap(({ changes }, index) => changes.map((change, k) => ({ ...change, index, k })));
  for (const { value: name, apply, index, k } of all) {
    const value = graph.ownValue(name);
    if (!value) continue;
    const uses = [...value.uses];
    const producer = value.producer;
    const before = producer ? graph.nodes[graph.nodes.indexOf(producer) + 1] : graph.nodes[0];
    const b = new Builder(graph, { before: before ?? null, prefix: `switch${index}_${k}_` });
    const active = b.op('Equal', [on, b.ints('index', [index])]);
    // Branches, not Where: what is off must cost nothing.
    const chosen = b.op('If', [active], {
      then_branch: branch(graph, b.prefix, (inner) => apply(inner, value)),
      else_branch: branch(graph, `${b.prefix}off_`, (inner) => inner.op('Identity', [value])),
    });
    if (value.type) chosen.type = value.type;
    for (const { node, index: at } of uses) node.setInput(at, chosen);
    graph.outputs.forEach((output, i) => {
      if (output === value) graph.setOutput(i, chosen);
    });
  }
  return copy;
}

function branch(outer: Graph, prefix: string, fill: (b: Builder) => Value): Attribute {
  const graph = new Graph(`${prefix}branch`, outer);
  const b = new Builder(graph, { prefix });
  b.output(fill(b));
  return { type: 'graph', value: graph };
}

async function addBatch(
  session: Session,
  batch: Batch,
  options: SensitivityOptions,
  gram: Float64Array,
  n: number,
  onDone: (done: number) => void,
): Promise<void> {
  const run = async (index: number) => {
    options.signal?.throwIfAborted();
    const feeds = { ...batch.inputs, [SWITCH]: Tensor.from('int64', [1], [index]) };
    return Object.values(cutToSize(await session.run(feeds), batch, options.data.fixedBatch)).filter(
      (t) => t.dtype !== 'string' && DTYPES[t.dtype].kind !== 'complex',
    );
  };
  const views = (await run(-1)).map((t) => viewOf(t));
  const changes: Float64Array[][] = [];
  for (let s = 0; s < n; s++) {
    const outputs = await run(s);
    changes.push(views.map((view, i) => view(outputs[i]!)));
    onDone(s + 1);
  }
  const weight = batch.size / views.length;
  for (let s = 0; s < n; s++) {
    for (let t = 0; t <= s; t++) {
      let sum = 0;
      for (let o = 0; o < views.length; o++) sum += dot(changes[s]![o]!, changes[t]![o]!);
      gram[s * n + t] = gram[s * n + t]! + sum * weight;
      if (s !== t) gram[t * n + s] = gram[s * n + t]!;
    }
  }
}

/** Error of each row of an output against the unchanged one, in the measure of the Gram matrix; rows are the first axis. */
export function rowErrors(reference: Tensor, changed: Tensor, rows: number): Float64Array {
  const errors = new Float64Array(rows);
  const u = viewOf(reference)(changed);
  for (let i = 0; i < u.length; i++) {
    const row = Math.floor((i * rows) / u.length);
    errors[row] = errors[row]! + u[i]! * u[i]!;
  }
  return errors;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** From a changed output to its weighted change against the unchanged one. */
function viewOf(reference: Tensor): (changed: Tensor) => Float64Array {
  const x = reference.floats();
  const classes = reference.dims.at(-1) ?? 0;
  const isClasses =
    DTYPES[reference.dtype].kind === 'float' &&
    classes >= 2 &&
    (reference.dims.length === 2 || (reference.dims.length === 3 && classes >= MIN_TOKEN_CLASSES));
  return isClasses ? classView(x, classes) : elementView(x);
}

function classView(x: Float32Array, classes: number): (changed: Tensor) => Float64Array {
  const probabilities = areProbabilities(x, classes);
  const rows = x.length / classes;
  const step = Math.max(1, Math.ceil(x.length / MAX_ELEMENTS));
  const taken = Math.ceil(rows / step);
  const scale = Math.sqrt(0.5 / taken);
  const p = new Float64Array(classes);
  const q = new Float64Array(classes);
  return (changed) => {
    const y = changed.floats();
    const u = new Float64Array(taken * classes);
    for (let r = 0, at = 0; r < rows; r += step, at += classes) {
      logProbabilities(x, r * classes, classes, probabilities, p);
      logProbabilities(y, r * classes, classes, probabilities, q);
      let mean = 0;
      for (let k = 0; k < classes; k++) mean += Math.exp(p[k]!) * (q[k]! - p[k]!);
      for (let k = 0; k < classes; k++) u[at + k] = finite(scale * Math.exp(p[k]! / 2) * (q[k]! - p[k]! - mean));
    }
    return u;
  };
}

function elementView(x: Float32Array): (changed: Tensor) => Float64Array {
  const step = Math.max(1, Math.ceil(x.length / MAX_ELEMENTS));
  let power = 0;
  let taken = 0;
  for (let i = 0; i < x.length; i += step, taken++) if (Number.isFinite(x[i]!)) power += x[i]! * x[i]!;
  const scale = power > 0 ? 1 / Math.sqrt(power) : 1;
  return (changed) => {
    const y = changed.floats();
    const u = new Float64Array(taken);
    for (let i = 0, at = 0; i < x.length; i += step, at++) u[at] = finite((y[i]! - x[i]!) * scale);
    return u;
  };
}

/** Equal infinities subtract to NaN: no change. */
function finite(v: number): number {
  return Number.isFinite(v) ? v : 0;
}

/** Error that the changes in `active` make together. */
export function predictedError(gram: Float64Array, n: number, active: readonly number[]): number {
  let sum = 0;
  for (const s of active) for (const t of active) sum += gram[s * n + t]!;
  return Math.max(0, sum);
}
