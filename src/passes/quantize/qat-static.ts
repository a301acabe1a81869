// Quantization-aware training of static Q/DQ models: the annotation that post-training quantization would write decides what is rounded, ranges measured
// on data are where scales start. Biases stay float in training; as 32-bit codes they lose nothing that shows.
import { trainableParameters } from '../../analysis/trainable.js';
import { dataError } from '../../errors.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { cloneModel } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import type { AffineParameters } from '../../quant/affine.js';
import { type Annotation, annotate } from '../../quant/annotate.js';
import { measureRanges } from '../../quant/calibrate.js';
import {
  type FakeActivation,
  type FakeWeight,
  insertFakeWeight,
  learntScale,
  type ScaleStart,
  scaledParameters,
  startScales,
} from '../../quant/fake-quant.js';
import type { ActivationBits, FakeQuantFormat, WeightLevels } from '../../quant/fake-quant-format.js';
import { inputLayerReason } from '../../quant/input-layer.js';
import { insertQdq } from '../../quant/insert-qdq.js';
import { guardFloatLayers } from '../../quant/keep-float.js';
import { layoutOf } from '../../quant/layout.js';
import { MeasurementCache } from '../../quant/measurement-cache.js';
import { type OBSERVER_NAMES, OBSERVERS } from '../../quant/observers.js';
import { activationParameters, measurementsOf } from '../../quant/ranges.js';
import { RUNTIMES, type RuntimeName } from '../../quant/runtimes.js';
import type { QuantType, Scheme } from '../../quant/scheme.js';
import type { Selector } from '../../quant/selection.js';
import { type GivenWeight, planWeights, type WeightPlan } from '../../quant/weights.js';
import { nothingToQuantize, prepareModel } from './prepare.js';
import { type FactorBounds, FREE_FACTOR, floatsOf, type Simulation, storedChannels } from './qat.js';
import { detachMatMulBiases } from './static.js';

const OPSET = 21;

export interface StaticSimulationOptions {
  /** What becomes of a node; its weight and the data that it reads. */
  readonly formatOf: (node: Node) => FakeQuantFormat;
  readonly select: Selector;
  readonly runtime: RuntimeName;
  readonly inputLayer: 'float' | 'int8';
  readonly observer: (typeof OBSERVER_NAMES)[number];
  readonly start: ScaleStart;
  /** Most calibration samples. */
  readonly samples?: number | undefined;
  readonly simplify: boolean;
}

/** A simulation of the model, which is prepared in place (BatchNormalization folded). Ranges come from `ctx.data`. */
export async function simulateStatic(model: Model, options: StaticSimulationOptions, ctx: PassContext): Promise<Simulation> {
  if (!ctx.data) throw dataError('quantization-aware training with rounded activations: expected data to measure ranges on, got none');
  await prepareModel(model, { simplify: options.simplify, opset: OPSET }, ctx, 'static');
  const annotation = annotate(model.graph, {
    runtime: RUNTIMES[options.runtime],
    select: (node) => options.select(node) ?? (options.inputLayer === 'float' ? inputLayerReason(node) : undefined),
    asymmetric: RUNTIMES[options.runtime].zeroPoints,
    outputs: false,
    activationProducts: false,
  });
  const skipped = annotation.skipped.map(({ node, reason }) => ({ node: node.label, op: node.op, reason }));
  if (annotation.compute.length === 0) nothingToQuantize('static', skipped);
  for (const s of skipped) ctx.skip(s);
  const activations = await activationScales(model, annotation, options, ctx);
  return new StaticSimulation(model, annotation, activations, options);
}

/** Scales from measured ranges, in the bits of the nodes that read them: the widest where several do. */
async function activationScales(
  model: Model,
  annotation: Annotation,
  options: StaticSimulationOptions,
  ctx: PassContext,
): Promise<Map<Value, AffineParameters>> {
  const observer = OBSERVERS[options.observer];
  const cache = await MeasurementCache.open(ctx.data!, options.samples);
  const statistics = await measureRanges(model, measurementsOf(annotation), {
    engine: ctx.engine,
    data: ctx.data!,
    threads: ctx.threads,
    limit: options.samples,
    cache,
    histograms: observer.needs === 'histogram',
    checkAborted: () => ctx.checkAborted(),
    onProgress: (fraction) => ctx.progress({ fraction, label: 'calibrating' }),
  });
  const symmetry = RUNTIMES[options.runtime].zeroPoints ? 'asymmetric' : 'symmetric';
  const bits = activationBits(annotation, options.formatOf);
  const found = new Map<Value, AffineParameters>();
  for (const width of new Set(bits.values())) {
    const scheme: Omit<Scheme, 'granularity'> = { dtype: activationType(width, symmetry === 'symmetric'), symmetry };
    const { parameters } = activationParameters(annotation, statistics, observer, { scheme, percentile: 99.99 });
    for (const [value, p] of parameters) if (bits.get(value) === width) found.set(value, p);
  }
  return found;
}

function activationType(bits: ActivationBits, signed: boolean): QuantType {
  return `${signed ? 'int' : 'uint'}${bits}`;
}

/** Bits of each value: as the products that read it want, values that only pass through as those they share a scale with, others 8. */
function activationBits(annotation: Annotation, formatOf: (node: Node) => FakeQuantFormat): Map<Value, ActivationBits> {
  const bits = new Map<Value, ActivationBits>();
  const raise = (value: Value, to: ActivationBits) => bits.set(value, Math.max(to, bits.get(value) ?? 0) as ActivationBits);
  for (const c of annotation.compute) if (c.integer) raise(c.node.input(c.data)!, formatOf(c.node).activations ?? 8);
  for (const value of [...annotation.activations, ...annotation.constants]) if (!bits.has(value)) bits.set(value, 8);
  for (let changed = true; changed; ) {
    changed = false;
    for (const set of [...annotation.shared, ...annotation.preferShared]) {
      const most = Math.max(...set.map((v) => bits.get(v) ?? 8)) as ActivationBits;
      for (const v of set) {
        if (bits.get(v) === most) continue;
        bits.set(v, most);
        changed = true;
      }
    }
  }
  return bits;
}

class StaticSimulation implements Simulation {
  readonly model: Model;
  readonly parameters: readonly string[];
  readonly factors: ReadonlyMap<string, FactorBounds>;
  readonly rounded: Simulation['rounded'];
  readonly float: Model;
  readonly weights: readonly FakeWeight[];
  readonly #annotation: Annotation;
  readonly #activations: ReadonlyMap<Value, FakeActivation>;
  readonly #weights: ReadonlyMap<Value, FakeWeight>;

  constructor(
    prepared: Model,
    annotation: Annotation,
    activations: ReadonlyMap<Value, AffineParameters>,
    options: StaticSimulationOptions,
  ) {
    this.float = prepared;
    this.#annotation = annotation;
    this.model = cloneModel(prepared);
    const names = trainableParameters(this.model).map((v) => v.name);
    this.#activations = insertActivations(this.model, annotation, activations);
    this.#weights = insertWeights(this.model, annotation, options);
    const factors = new Map<string, FactorBounds>();
    for (const { factor, most } of this.#activations.values()) factors.set(factor, { least: FREE_FACTOR.least, most });
    for (const { factor } of this.#weights.values()) factors.set(factor, FREE_FACTOR);
    this.factors = factors;
    this.parameters = [...names, ...factors.keys()];
    this.weights = [...this.#weights.values()];
    this.rounded = { weights: this.#weights.size, activations: this.#activations.size };
  }

  export(trained: Model): Model {
    // The annotation is about the prepared model: that one is written, and brought back for the next time.
    const original = cloneModel(this.float);
    const { annotation, model } = transfer(this.#annotation, original);
    for (const value of model.graph.initializers) {
      const tensor = trained.graph.value(value.name)?.initializer;
      if (tensor && tensor.dtype === value.initializer!.dtype) model.graph.setInitializer(value, tensor);
    }
    const parameters = new Map<Value, AffineParameters>();
    for (const [value, a] of this.#activations)
      parameters.set(model.graph.value(value.name)!, scaledParameters(a.parameters, floatsOf(trained, a.factor)[0]!));
    const given = new Map<Value, GivenWeight>();
    for (const [value, fake] of this.#weights) given.set(model.graph.value(value.name)!, storedChannels(fake, trained));
    detachMatMulBiases(annotation);
    insertQdq(annotation, parameters, { weights: { dtype: 'int8', symmetry: 'symmetric' }, perChannel: true, given });
    guardFloatLayers(model.graph);
    return model;
  }
}

/** The same annotation on a copy of its model. Nodes keep their order, values their names. */
function transfer(annotation: Annotation, model: Model): { annotation: Annotation; model: Model } {
  const { graph } = model;
  const nodes = new Map(annotation.graph.nodes.map((node, i) => [node, graph.nodes[i]!]));
  const node = (n: Node) => nodes.get(n)!;
  const value = (v: Value) => graph.value(v.name)!;
  const operand = <T extends { readonly value: Value }>(o: T | null) => o && { ...o, value: value(o.value) };
  return {
    model,
    annotation: {
      ...annotation,
      graph,
      compute: annotation.compute.map((c) => ({ ...c, node: node(c.node), weight: operand(c.weight), bias: operand(c.bias) })),
      others: annotation.others.map(node),
      absorbed: annotation.absorbed.map(node),
      activations: annotation.activations.map(value),
      constants: annotation.constants.map(value),
      integerNodes: new Set([...annotation.integerNodes].map(node)),
      shared: annotation.shared.map((set) => set.map(value)),
      preferShared: annotation.preferShared.map((set) => set.map(value)),
      skipped: [],
    },
  };
}

/** Q/DQ pairs with learnt scales where insertQdq puts those with fixed ones. Keys are values of the annotated model. */
function insertActivations(
  model: Model,
  annotation: Annotation,
  parameters: ReadonlyMap<Value, AffineParameters>,
): ReadonlyMap<Value, FakeActivation> {
  const { graph } = model;
  const nodes = new Map(annotation.graph.nodes.map((node, i) => [node, graph.nodes[i]!]));
  const integer = new Set([...annotation.integerNodes].map((n) => nodes.get(n)!));
  const absorbed = new Set(annotation.absorbed);
  const first = graph.nodes[0] ?? null;
  const made = new Map<AffineParameters, { learnt: ReturnType<typeof learntScale>; most: number }>();
  const found = new Map<Value, FakeActivation>();
  for (const value of [...annotation.activations, ...annotation.constants]) {
    const p = parameters.get(value)!;
    let shared = made.get(p);
    if (!shared) {
      shared = { learnt: learntScale(graph, value.name, p, first), most: FREE_FACTOR.most };
      made.set(p, shared);
    }
    const { learnt } = shared;
    let origin = value.producer;
    while (origin && absorbed.has(origin)) {
      // What a removed clamp cut, the range cuts: it may not grow beyond.
      if (origin.opType !== 'Relu') shared.most = 1;
      origin = origin.input(0)!.producer;
    }
    const twin = graph.value(value.name)!;
    const uses = [...twin.uses];
    const all = origin !== null && annotation.integerNodes.has(origin);
    const before = twin.producer ? twin.producer._next : first;
    const q = graph.addNode({ opType: 'QuantizeLinear', inputs: [twin, learnt.scale, learnt.zero], outputs: [`${value.name}_q`] }, before);
    const dq = graph.addNode(
      { opType: 'DequantizeLinear', inputs: [q.output(), learnt.scale, learnt.zero], outputs: [`${value.name}_d`] },
      before,
    );
    if (twin.type?.kind === 'tensor') {
      q.output().type = { ...twin.type, dtype: p.dtype };
      dq.output().type = twin.type;
    }
    for (const { node, index } of uses) if (all || integer.has(node)) node.setInput(index, dq.output());
    found.set(value, { parameters: p, factor: learnt.factor, most: shared.most });
  }
  for (const [value, a] of found) found.set(value, { ...a, most: made.get(a.parameters)!.most });
  return found;
}

function insertWeights(model: Model, annotation: Annotation, options: StaticSimulationOptions): ReadonlyMap<Value, FakeWeight> {
  const found = new Map<Value, FakeWeight>();
  for (const plan of planWeights(annotation.compute, true)) {
    const levels = levelsOf(plan, options.formatOf);
    const value = model.graph.value(plan.value.name)!;
    const tensor = value.initializer!;
    const start = startScales(tensor.floats(), layoutOf(tensor.dims, plan.granularity), levels, options.start, false);
    found.set(plan.value, insertFakeWeight(value, plan.granularity, levels, start));
  }
  return found;
}

/** Of several readers the one that wants the most levels decides. */
function levelsOf(plan: WeightPlan, formatOf: (node: Node) => FakeQuantFormat): WeightLevels {
  return plan.readers.map((c) => formatOf(c.node).weights).reduce((a, b) => (b.hi - b.lo > a.hi - a.lo ? b : a));
}
