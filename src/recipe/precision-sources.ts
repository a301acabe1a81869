// Where a quantized model loses: each weight and each quantized activation as a change of the float model that can be switched on alone, read from
// the quantized model itself, so that it holds for whatever options made it. Which changes a set of kept layers leaves active follows from what the
// annotation does with each layer alone and with each layer left out.
import type { Perturbation } from '../analysis/sensitivity.js';
import type { Builder } from '../ir/builder.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { dequantize } from '../quant/affine.js';
import { annotate } from '../quant/annotate.js';
import { layoutOf } from '../quant/layout.js';
import { effectiveWeights, type MatchedLayer, matchLayers } from '../quant/matched-layers.js';
import { RUNTIMES, type RuntimeName } from '../quant/runtimes.js';
import { quantizeTensor } from '../quant/tensor.js';
import type { Engine } from '../runtime/engine.js';
import { evaluateConstants } from '../runtime/evaluate.js';

/** A layer that may be kept at higher precision. */
export interface PrecisionLayer {
  readonly node: Node;
  /** Name by which passes exclude it. */
  readonly name: string;
  readonly op: string;
  /** Bytes of its weight in float. */
  readonly bytes: number;
  readonly parameters: number;
}

export interface PrecisionSources {
  readonly layers: readonly PrecisionLayer[];
  readonly perturbations: readonly Perturbation[];
  /** Indices of the changes that are active where these layers are kept. */
  active(kept: ReadonlySet<number>): number[];
}

export interface SourceOptions {
  readonly mode: 'static' | 'dynamic' | 'weights';
  readonly runtime: RuntimeName;
  readonly symmetric: boolean;
  readonly attention: boolean;
  readonly outputs: boolean;
}

/** A read weight that differs from the float one by more than this (SQNR in dB) was rescaled together with its neighbours, not only rounded. */
const RESCALED_SQNR = 3;

/** Layers and changes of `quantized` against `float`, the simplified model it was made from, whose types must have been inferred. */
export async function precisionSources(engine: Engine, float: Model, quantized: Model, options: SourceOptions): Promise<PrecisionSources> {
  const all = matchLayers(float, quantized);
  const matched = all.filter((m) => m.b !== null && !m.float);
  // Layers that stayed float for reasons of their own (the input layer) round nothing.
  const never = new Set(all.filter((m) => m.float).map((m) => m.a));
  const layers = matched.map(layerOf);
  const index = new Map(matched.map((m, i) => [m.a, i]));
  const weights = await effectiveWeights(engine, quantized, matched);
  const biases = await biasesAfter(engine, quantized, matched);
  const perturbations: Perturbation[] = [];
  /** By change: it is active where any of `any` is quantized, or all of `all`. */
  const rules: { any: Set<number>; all: Set<number> | undefined }[] = [];
  const byWeight = new Map<Value, number>();
  matched.forEach((m, i) => {
    const known = byWeight.get(m.weight);
    if (known !== undefined) {
      rules[known]!.any.add(i);
      return;
    }
    const tensor = weightAfter(m, weights.get(m));
    if (!tensor) return;
    byWeight.set(m.weight, perturbations.length);
    const changes = [{ value: m.weight.name, apply: (b: Builder) => b.constant('weight', tensor) }];
    const bias = biases.get(m);
    if (bias) changes.push({ value: bias.value.name, apply: (b: Builder) => b.constant('bias', bias.tensor) });
    perturbations.push({ id: `weight of ${m.a.label}`, changes });
    rules.push({ any: new Set([i]), all: undefined });
  });
  const sponsors = options.mode === 'static' ? staticSponsors(float.graph, index, never, options) : readers(matched);
  for (const [value, rule] of sponsors) {
    const apply = options.mode === 'static' ? staticQuantizer(quantized, value) : dynamicQuantizer();
    if (!apply) continue;
    perturbations.push({ id: `activation ${value.name}`, changes: [{ value: value.name, apply }] });
    rules.push(rule);
  }
  return {
    layers,
    perturbations,
    active: (kept) =>
      rules.flatMap(({ any, all }, s) => {
        for (const i of any) if (!kept.has(i)) return [s];
        return all && [...all].every((i) => !kept.has(i)) ? [s] : [];
      }),
  };
}

function layerOf(m: MatchedLayer): PrecisionLayer {
  const tensor = m.weight.initializer!;
  return { node: m.a, name: m.a.name || m.a.label, op: m.a.op, bytes: tensor.byteLength, parameters: tensor.size };
}

/** The weight as the quantized model has it; where that was rescaled too, plain rounding of the float one. */
function weightAfter(m: MatchedLayer, found: Float32Array | undefined): Tensor | undefined {
  const tensor = m.weight.initializer!;
  if (tensor.dtype !== 'float') return undefined;
  const floats = tensor.floats();
  if (found && sqnr(floats, found) > RESCALED_SQNR) return Tensor.of('float', tensor.dims, Float32Array.from(found));
  const granularity = tensor.rank > 1 ? ({ kind: 'channel', axis: 0 } as const) : ({ kind: 'tensor' } as const);
  const q = quantizeTensor(tensor, { dtype: 'int8', symmetry: 'symmetric', granularity });
  const codes = new Int8Array(q.data.bytes().slice().buffer);
  return Tensor.of('float', tensor.dims, dequantize(codes, layoutOf(tensor.dims, granularity), q.parameters));
}

/** Biases as the quantized model has them: rounded, and corrected for what the weights' rounding shifts. */
async function biasesAfter(
  engine: Engine,
  quantized: Model,
  matched: readonly MatchedLayer[],
): Promise<Map<MatchedLayer, { value: Value; tensor: Tensor }>> {
  const found = new Map<MatchedLayer, { value: Value; tensor: Tensor }>();
  const pairs = matched.flatMap((m) => {
    const own = m.a.opType === 'Conv' || m.a.opType === 'Gemm' ? m.a.input(2) : null;
    const after = m.b?.opType === m.a.opType ? m.b.input(2) : null;
    return own?.isConstant && own.uses.length === 1 && after ? [{ m, own, after }] : [];
  });
  const { tensors } = await evaluateConstants(
    engine,
    quantized,
    pairs.map((p) => p.after),
  );
  for (const { m, own, after } of pairs) {
    const tensor = tensors.get(after);
    if (tensor?.dtype === 'float' && tensor.size === own.initializer!.size)
      found.set(m, { value: own, tensor: tensor.reshape(own.initializer!.dims) });
  }
  return found;
}

function sqnr(a: Float32Array, b: Float32Array): number {
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < a.length; i++) {
    signal += a[i]! * a[i]!;
    noise += (a[i]! - b[i]!) ** 2;
  }
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
}

type Sponsors = Map<Value, { any: Set<number>; all: Set<number> | undefined }>;

/** For each activation of static mode: the layers any of which quantizes it, or, for values between integer nodes, those that must all be integer. */
function staticSponsors(graph: Graph, index: ReadonlyMap<Node, number>, never: ReadonlySet<Node>, options: SourceOptions): Sponsors {
  const settings = {
    runtime: RUNTIMES[options.runtime],
    asymmetric: !options.symmetric,
    outputs: options.outputs,
    activationProducts: options.attention,
  };
  const run = (kept: (i: number) => boolean) =>
    new Set(
      annotate(graph, {
        ...settings,
        select: (node) => {
          const i = index.get(node);
          return never.has(node) || (i !== undefined && kept(i)) ? 'kept' : undefined;
        },
      }).activations,
    );
  const full = run(() => false);
  const sponsors: Sponsors = new Map([...full].map((v) => [v, { any: new Set<number>(), all: undefined }]));
  for (const i of index.values()) for (const v of run((k) => k !== i)) sponsors.get(v)?.any.add(i);
  const loose = [...sponsors].filter(([, rule]) => rule.any.size === 0);
  if (loose.length > 0) {
    for (const [, rule] of loose) rule.all = new Set();
    for (const i of index.values()) {
      const without = run((k) => k === i);
      for (const [v, rule] of loose) if (!without.has(v)) rule.all!.add(i);
    }
  }
  return sponsors;
}

/** For activations quantized where they are read. */
function readers(matched: readonly MatchedLayer[]): Sponsors {
  const sponsors: Sponsors = new Map();
  matched.forEach((m, i) => {
    const data = m.dataQuantized ? m.a.input(m.dataIndex) : null;
    if (!data || data.isConstant) return;
    const rule = sponsors.get(data) ?? { any: new Set<number>(), all: undefined };
    rule.any.add(i);
    sponsors.set(data, rule);
  });
  return sponsors;
}

/** The scale that the quantized model has for a value; a clamp that was absorbed hands the question on to the value before it. */
type Apply = Perturbation['changes'][number]['apply'];

function staticQuantizer(quantized: Model, value: Value): Apply | undefined {
  const q = quantizerOf(quantized, value);
  const scale = q?.input(1)?.initializer;
  const zero = q?.input(2)?.initializer;
  if (!scale || !zero) return undefined;
  return (b: Builder, v: Value) => {
    const inputs = [b.constant('scale', scale), b.constant('zero', zero)];
    return b.op('DequantizeLinear', [b.op('QuantizeLinear', [v, ...inputs]), ...inputs]);
  };
}

function quantizerOf(quantized: Model, value: Value): Node | undefined {
  let at: Value | null = value;
  for (let step = 0; at && step < 4; step++) {
    const twin = quantized.graph.ownValue(at.name);
    const q = twin?.uses.find((u) => u.node.opType === 'QuantizeLinear' && u.index === 0)?.node;
    if (q) return q;
    const producer: Node | null = at.producer;
    at = producer && /^(Relu|Clip)$/.test(producer.opType) ? producer.input(0) : null;
  }
  return undefined;
}

function dynamicQuantizer(): Apply {
  return (b, v) => {
    const q = b.node('DynamicQuantizeLinear', [v], {}, { outputs: ['codes', 'scale', 'zero'].map((s) => `${b.prefix}${s}`) });
    return b.op('DequantizeLinear', [q.output(0), q.output(1), q.output(2)]);
  };
}
