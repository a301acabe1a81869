// Where a quantized model loses, layer by layer, and why: the error that reaches each layer, the error that leaves it, its own contribution (the
// layer alone, fed what the original's layer was fed), how its weight and its input are rounded, and the causes that these figures show.
// One session of the original and one of the quantized model cut open at every layer's input; with integer layers a third without fusions.

import type { InputEvidence, LayerEvidence, WeightEvidence } from '../analysis/causes/cause.js';
import { findCauses } from '../analysis/causes/causes.js';
import { DifferenceAccumulator } from '../analysis/difference.js';
import type { Dataset } from '../data/dataset.js';
import { PareError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { runPasses } from '../pass/manager.js';
import type { Explanation } from '../pass/record.js';
import { unfuseConvolutions } from '../passes/quantize/unfuse.js';
import { simplify } from '../passes/simplify/index.js';
import { quantFactsOf } from '../quant/annotate.js';
import { effectiveWeights, type MatchedLayer, matchLayers } from '../quant/matched-layers.js';
import { channelSpread } from '../quant/weights.js';
import { cutToSize } from '../runtime/batches.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { cutOpen, type OpenedLayer, operatorSites, type Site } from './explain-cut.js';
import { ChannelPeaks } from './explain-peaks.js';
import { withTypes } from './trials.js';

export interface ExplainOptions {
  readonly engine: Engine;
  readonly data: Dataset;
  readonly samples?: number;
  readonly session?: SessionOptions | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

const SAMPLES = 8;
/** Layers looked at in one go: bounds the inner values that are held at once. */
const LAYERS_PER_RUN = 32;
const FAR = 1000;
/** Shared constants with fewer elements are not worth a word. */
const SMALLEST_SPLIT = 1024;

/**
 * Explains `b` against the float model `a` it was made from. Where layers were merged on the way, so that their names are gone, the simplified form of
 * `a` stands for it. Operators without a weight are among the layers where a cause was found at them.
 */
export async function explainLayers(a: Model, b: Model, options: ExplainOptions): Promise<Explanation> {
  const quantized = withTypes(b, options.shapes);
  const { float, matched } = await closestForm(a, quantized, options);
  const weights = await effectiveWeights(options.engine, quantized, matched);
  const sites: Site[] = [...matched, ...operatorSites(float, quantized, matched)];
  const evidence: LayerEvidence[] = [];
  for (let start = 0; start < sites.length; start += LAYERS_PER_RUN) {
    const part = sites.slice(start, start + LAYERS_PER_RUN);
    evidence.push(...(await measure(float, quantized, part, weights, options)));
    options.onProgress?.(Math.min(1, (start + part.length) / sites.length));
  }
  const layers = evidence.slice(0, matched.length);
  const operators = worstInputs(evidence.slice(matched.length));
  const findings = findCauses([...layers, ...operators]);
  return { layers: [...layers, ...operators.filter((e) => findings.some((f) => f.node === e.node))], findings };
}

/** One row for each operator: that of its input which is rounded worst. */
function worstInputs(evidence: readonly LayerEvidence[]): LayerEvidence[] {
  const rows = new Map<string, LayerEvidence>();
  for (const e of evidence) {
    const known = rows.get(e.output);
    if (!known || (e.input?.sqnr ?? FAR) < (known.input?.sqnr ?? FAR)) rows.set(e.output, e);
  }
  return [...rows.values()];
}

/** The form of the original in which more layers are found again. */
async function closestForm(a: Model, quantized: Model, options: ExplainOptions): Promise<{ float: Model; matched: MatchedLayer[] }> {
  const float = withTypes(a, options.shapes);
  const matched = matchLayers(float, quantized);
  const lost = (layers: readonly MatchedLayer[]) => layers.filter((l) => l.b === null).length;
  if (lost(matched) === 0) return { float, matched };
  const { model } = await runPasses(a, [simplify({ opset: 21 })], { engine: options.engine, signal: options.signal });
  unfuseConvolutions(model);
  const simple = withTypes(model, options.shapes);
  const again = matchLayers(simple, quantized);
  return lost(again) < lost(matched) ? { float: simple, matched: again } : { float, matched };
}

interface Measured {
  readonly inAt: DifferenceAccumulator;
  readonly out: DifferenceAccumulator;
  readonly own: DifferenceAccumulator;
  readonly exact: DifferenceAccumulator;
  readonly rounding: DifferenceAccumulator;
  readonly peaks: ChannelPeaks;
  outputPeak: number;
}

async function measure(
  a: Model,
  b: Model,
  layers: readonly Site[],
  weights: ReadonlyMap<MatchedLayer, Float32Array>,
  options: ExplainOptions,
): Promise<LayerEvidence[]> {
  const { engine, session } = options;
  const { model: open, opened } = cutOpen(b, layers);
  const measured = new Map(layers.map((l) => [l, newMeasured(l)]));
  const inputs = [...new Set(opened.map((o) => o.input))];
  const outputs = opened.map((o) => o.output);
  // The first layer's input is often the model's own, which needs no exposing.
  const inner = (model: Model, names: readonly string[]) => [...new Set(names)].filter((n) => model.graph.ownValue(n)?.producer);
  const first = await openSession(engine, a, { ...session, outputs: inner(a, [...inputs, ...outputs]) });
  const whole = await openSession(engine, b, { ...session, outputs: inner(b, [...inputs, ...outputs]) });
  const rounded = opened.flatMap((o) => (o.rounded ? [o.rounded] : []));
  const cut = await openSession(engine, open, { ...session, outputs: [...new Set([...outputs, ...rounded])] });
  const integer = layers.some((l) => isLayer(l) && !l.float && l.dataQuantized);
  const exact = integer
    ? await openSession(engine, open, { ...session, optimization: 'disabled', outputs: [...new Set(outputs)] }).catch(refused)
    : null;
  try {
    for await (const batch of options.data.batches({ batchSize: 1, limit: options.samples ?? SAMPLES })) {
      options.signal?.throwIfAborted();
      const x = { ...batch.inputs, ...cutToSize(await first.run(batch.inputs), batch, options.data.fixedBatch) };
      const y = await whole.run(batch.inputs);
      const feeds: Record<string, Tensor> = { ...batch.inputs };
      for (const o of opened) feeds[o.feed] = x[o.input]!.cast(o.dtype);
      const z = await cut.run(feeds);
      const w = exact && (await exact.run(feeds));
      for (const o of opened) add(measured.get(o.layer)!, o, x, y, z, w);
    }
  } finally {
    for (const s of [first, whole, cut, exact]) await s?.release();
  }
  return layers.map((l) =>
    evidenceOf(
      l,
      opened.find((o) => o.layer === l),
      measured.get(l)!,
      isLayer(l) ? weights.get(l) : undefined,
      b,
    ),
  );
}

function isLayer(site: Site): site is MatchedLayer {
  return 'weight' in site;
}

/** Not every runtime runs every operator without its fusions. */
function refused(error: unknown): null {
  if (error instanceof PareError && error.code === 'E_RUNTIME') return null;
  throw error;
}

function newMeasured(layer: Site): Measured {
  const accumulator = () => new DifferenceAccumulator(layer.a.label);
  return {
    inAt: accumulator(),
    out: accumulator(),
    own: accumulator(),
    exact: accumulator(),
    rounding: accumulator(),
    peaks: new ChannelPeaks(layer.a.opType === 'MatMul' || layer.a.opType === 'Gemm' ? -1 : 1),
    outputPeak: 0,
  };
}

type Values = Readonly<Record<string, Tensor>>;

function add(m: Measured, o: OpenedLayer, x: Values, y: Values, z: Values, w: Values | null): void {
  const input = x[o.input]!;
  const result = x[o.output];
  if (y[o.input]) m.inAt.add(input, y[o.input]!);
  if (result && y[o.output]) m.out.add(result, y[o.output]!);
  if (result && z[o.output]) m.own.add(result, z[o.output]!);
  if (result && w?.[o.output]) m.exact.add(result, w[o.output]!);
  if (o.rounded && z[o.rounded]) m.rounding.add(input, z[o.rounded]!);
  m.peaks.add(input);
  if (result) for (const v of result.floats()) if (Math.abs(v) > m.outputPeak) m.outputPeak = Math.abs(v);
}

function evidenceOf(l: Site, o: OpenedLayer | undefined, m: Measured, weight: Float32Array | undefined, b: Model): LayerEvidence {
  const sqnr = (d: DifferenceAccumulator) => {
    const r = d.result();
    return r.sqnr === FAR && r.meanAbs === 0 && r.maxAbs === 0 ? FAR : r.sqnr;
  };
  const out = m.out.result();
  const kind = isLayer(l) ? kindOf(l, b) : 'integer';
  return {
    node: l.a.label,
    op: l.a.op,
    output: l.a.output().name,
    kind,
    errorIn: o ? sqnr(m.inAt) : null,
    errorOut: o ? out.sqnr : null,
    own: o ? (m.own.result().nonFinite > 0 ? -FAR : sqnr(m.own)) : null,
    ownExact: o && m.exact.result().maxAbs + m.own.result().maxAbs > 0 && kind === 'integer' && isLayer(l) ? sqnr(m.exact) : null,
    weight: isLayer(l) ? weightEvidence(l, weight) : null,
    input: o ? inputEvidence(o, m) : null,
    nonFinite: out.nonFinite,
    outputPeak: m.outputPeak,
    split: isLayer(l) ? splitOf(l, b) : null,
  };
}

function kindOf(l: MatchedLayer, b: Model): LayerEvidence['kind'] {
  if (!l.b) return b.graph.ownValue(l.weight.name)?.initializer?.dtype === 'float' ? 'float' : 'unmatched';
  if (tensorTypeOf(l.b.outputs[0])?.dtype === 'float16') return 'half';
  if (l.float) return 'float';
  return l.dataQuantized ? 'integer' : 'stored';
}

function weightEvidence(l: MatchedLayer, found: Float32Array | undefined): WeightEvidence {
  const tensor = l.weight.initializer!;
  const facts = quantFactsOf(l.a);
  const axis = facts !== 'none' && facts.kind === 'compute' ? facts.channelAxis(l.a, tensor.rank) : null;
  const operand = l.b?.input(l.b.opType === l.a.opType ? l.weightIndex : 1);
  const scale = operand?.producer?.opType === 'DequantizeLinear' ? operand.producer.input(1)?.initializer : undefined;
  const perTensor = scale !== undefined && scale !== null && scale.size === 1 && tensor.size > 1;
  const floats = tensor.dtype === 'float' ? tensor.floats() : null;
  const spread = floats && axis !== null && tensor.rank > 1 ? channelSpread(tensor, axis) : 1;
  return {
    name: l.weight.name,
    sqnr: floats && found && !l.float ? sqnrOf(floats, found) : null,
    perTensor,
    spread,
    largest: floats && axis !== null && tensor.rank > 1 ? largestChannel(floats, tensor.dims, axis) : 0,
    depthwise: l.a.opType === 'Conv' && l.a.int('group', 1) > 1 && tensor.dims[1] === 1,
  };
}

function largestChannel(data: Float32Array, dims: readonly number[], axis: number): number {
  const at = axis < 0 ? axis + dims.length : axis;
  const inner = dims.slice(at + 1).reduce((p, d) => p * d, 1);
  const count = dims[at]!;
  let best = 0;
  let peak = -1;
  for (let i = 0; i < data.length; i++) {
    if (Math.abs(data[i]!) <= peak) continue;
    peak = Math.abs(data[i]!);
    best = Math.floor(i / inner) % count;
  }
  return best;
}

function sqnrOf(a: Float32Array, b: Float32Array): number {
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < a.length; i++) {
    signal += a[i]! * a[i]!;
    noise += (a[i]! - b[i]!) ** 2;
  }
  return noise === 0 ? FAR : signal === 0 ? -FAR : 10 * Math.log10(signal / noise);
}

function inputEvidence(o: OpenedLayer, m: Measured): InputEvidence {
  const peaks = m.peaks.result();
  return { name: o.input, sqnr: o.rounded ? m.rounding.result().sqnr : null, range: o.range, ...peaks };
}

/** Integer or packed constants made of a weight that several nodes of the original read, itself or turned by a Transpose. */
function splitOf(l: MatchedLayer, b: Model): LayerEvidence['split'] {
  const size = l.weight.initializer!.size;
  const original = l.a.graph;
  if (l.weight.users.length < 2 || size < SMALLEST_SPLIT) return null;
  const copies = b.graph.initializers.filter((v) => original.ownValue(v.name)?.initializer === undefined && holds(v, size));
  // Other weights of this size have constants of their own: there, names decide.
  const alone = original.initializers.filter((v) => v.initializer!.size === size).length === 1;
  const large = alone ? copies : copies.filter((v) => v.name.startsWith(`${l.weight.name}_`));
  if (large.length < 2) return null;
  return {
    weight: l.weight.name,
    names: large.map((v) => v.name),
    bytes: large.reduce((sum, v) => sum + v.initializer!.byteLength, 0),
    bytesBefore: l.weight.initializer!.byteLength,
  };
}

/** True for a constant that holds so many weights, one an element or packed for an operator of blocks. */
function holds(value: Value, weights: number): boolean {
  const { size, rank } = value.initializer!;
  if (size === weights && rank >= 2) return true;
  return value.uses.some(({ node, index }) => {
    if (/^MatMul(NBits|Bnb4)$/.test(node.opType)) return index === 1 && (node.int('K', 0) ?? 0) * (node.int('N', 0) ?? 0) === weights;
    return node.opType === 'GatherBlockQuantized' && index === 0 && (size * 8) / (node.int('bits', 4) ?? 4) === weights;
  });
}
