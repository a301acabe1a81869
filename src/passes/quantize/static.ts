// Static int8 quantization in Q/DQ form (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
// Inference", 2018): ranges of activations measured on data, weights per channel, biases in the accumulators' steps.
import { z } from 'zod';
import { forgetAddedTypes, typedNames } from '../../analysis/stated-types.js';
import type { Dataset } from '../../data/dataset.js';
import { measurementsOf as measurementsOfData } from '../../data/measured.js';
import { spreadSamples } from '../../data/spread.js';
import { dataError, usageError } from '../../errors.js';
import type { Value } from '../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { correctAnalytically, floatLayers } from '../../quant/analytic-correction.js';
import { type AnnotateOptions, type Annotation, annotate } from '../../quant/annotate.js';
import { correctable, correctBiases, floatMeans, type OutputMeans } from '../../quant/bias-correction.js';
import { elementsPerSample, measureRanges } from '../../quant/calibrate.js';
import { inputLayerReason } from '../../quant/input-layer.js';
import { type Inserted, type InsertOptions, insertQdq } from '../../quant/insert-qdq.js';
import { guardFloatLayers } from '../../quant/keep-float.js';
import { MeasurementCache } from '../../quant/measurement-cache.js';
import { OBSERVER_NAMES, OBSERVERS } from '../../quant/observers.js';
import { type ActivationParameters, activationParameters, measurementsOf } from '../../quant/ranges.js';
import { type ActivationType, RUNTIMES, type Runtime } from '../../quant/runtimes.js';
import { codesOf, type Scheme } from '../../quant/scheme.js';
import { type Selector, selectorOf } from '../../quant/selection.js';
import type { GivenWeight } from '../../quant/weights.js';
import { absorbHighBiases } from './absorb.js';
import { equalize } from './equalize.js';
import { quantizeTables } from './lookup-tables.js';
import { RUNTIME_OPTION, SELECTION_OPTIONS, SIMPLIFY_OPTION } from './options.js';
import { nothingToQuantize, prepareModel, warnIfLarger } from './prepare.js';
import { writeQOperators } from './qoperator.js';
import { learnStaticWeights, roundStaticWeights } from './static-rounding.js';

/** Opset that the model is brought to: the first with block-wise DequantizeLinear; per-axis needs 13. */
const OPSET = 21;
/** Above this ratio of largest to median channel, one scale for a whole weight loses bits that matter. */
const SPREAD_LIMIT = 4;
/** Embedding tables with fewer elements stay float. */
const MIN_TABLE = 1024;
/** Samples that repairs look at: as many as make up so many elements of input, within limits. */
const REPAIR_SAMPLES = { least: 8, most: 256, elements: 1 << 20 };

/** Samples that rounding is learnt on; they are held in memory at two places of the network. */
const LEARNING_SAMPLES = { least: 32, most: 400, elements: 1 << 24 };

const options = z.object({
  activations: z
    .enum(['auto', 'uint8', 'int8', 'uint16', 'int16'])
    .default('auto')
    .describe(
      "type of activations; auto takes the runtime's fast one; 16 bits have no integer kernels in ONNX Runtime and are for other runtimes",
    ),
  format: z
    .enum(['qdq', 'qoperator'])
    .default('qdq')
    .describe(
      'qdq: QuantizeLinear and DequantizeLinear around float operators; qoperator: QLinearConv and its like, for runtimes that do not fuse',
    ),
  symmetric: z.boolean().default(false).describe('symmetric activation ranges (zero point 0), for runtimes that have no zero points'),
  perChannel: z.boolean().default(true).describe('one weight scale per output channel'),
  weightBits: z
    .union([z.literal(4), z.literal(8)])
    .default(8)
    .describe('bits of weights; 4 decides codes on the calibration data (--rounding) and makes smaller, not faster, files'),
  rounding: z
    .enum(['gptq', 'adaround', 'brecq'])
    .optional()
    .describe(
      'how codes of 4-bit weights are chosen: gptq (default) by the error of layer outputs; learnt by training between neighbouring codes, adaround layer by layer, brecq block by block',
    ),
  roundingSteps: z.number().int().positive().default(200).describe('steps of training for each layer (adaround) or block (brecq)'),
  reduceRange: z
    .enum(['auto', 'on', 'off'])
    .default('auto')
    .describe('7-bit weights, for CPUs whose sums of 8-bit products saturate; auto asks the runtime'),
  observer: z
    .enum(OBSERVER_NAMES)
    .default('mse')
    .describe(
      'how ranges of activations are chosen: minmax, moving-average, percentile, entropy (least KL divergence), mse (least squared error) or auto (of all these, the one with the least error for each tensor)',
    ),
  percentile: z.number().gt(50).max(100).default(99.99).describe('per cent of values that --observer percentile keeps inside the range'),
  inputLayer: z
    .enum(['float', 'int8'])
    .default('float')
    .describe('the first convolution, where it reads one to three channels: in float it is as fast and the input is not rounded'),
  equalize: z
    .boolean()
    .default(true)
    .describe(
      'bring channels to even sizes first: cross-layer equalization between convolutions, SmoothQuant behind norms, strength by search',
    ),
  absorbBias: z
    .boolean()
    .default(false)
    .describe('move constants that channels carry through a ReLU into the next biases, so that ranges shrink (high-bias absorption)'),
  clipWeights: z.boolean().default(false).describe('cut ranges of weights to those of least squared error, for each scale by search'),
  biasCorrection: z.boolean().default(true).describe('let biases take up the shift of means that rounding causes, layer by layer'),
  biasMethod: z
    .enum(['empirical', 'analytic'])
    .default('empirical')
    .describe(
      'how that shift is found: empirical runs the quantized model layer by layer; analytic computes it from the rounding of weights and mean inputs',
    ),
  samples: z.number().int().positive().optional().describe('most calibration samples to run; all where omitted'),
  quantizeOutputs: z.boolean().default(false).describe("quantize the model's outputs too"),
  embeddings: z.boolean().default(true).describe('store embedding tables (Gather) as int8 with one scale per row'),
  attention: z.boolean().default(false).describe('quantize products of two activations too'),
  ...RUNTIME_OPTION,
  ...SELECTION_OPTIONS,
  ...SIMPLIFY_OPTION,
});

const checked = options.refine((o) => o.rounding === undefined || (o.weightBits === 4 && o.perChannel), {
  path: ['rounding'],
  message: 'expected 4-bit weights with one scale per channel (--weight-bits 4)',
});

export type QuantizeStaticOptions = z.output<typeof options>;

export const quantizeStatic = definePass({
  name: 'quantize-static',
  summary: 'int8 weights and activations with ranges measured on data (Q/DQ)',
  options: checked,
  needs: { data: 'required', engine: true },
  run: runStatic,
});

async function runStatic(model: Model, opts: QuantizeStaticOptions, ctx: PassContext): Promise<boolean> {
  if (!ctx.data)
    throw dataError('static quantization: expected calibration data, got none', { hint: 'give --data, for example --data calib.npz' });
  const stated = typedNames(model);
  const bytesBefore = await prepareModel(model, { simplify: opts.simplify, opset: OPSET }, ctx, 'static');
  const runtime: Runtime = RUNTIMES[opts.runtime];
  const symmetric = opts.symmetric || !runtime.zeroPoints;
  const activation: Omit<Scheme, 'granularity'> = {
    dtype: activationType(runtime, opts, ctx),
    symmetry: symmetric ? 'symmetric' : 'asymmetric',
  };
  const chosen = selectorOf(opts);
  const select: Selector = (node) => chosen(node) ?? (opts.inputLayer === 'float' ? inputLayerReason(node) : undefined);
  // Before the annotation, as lookups get new outputs; ranges are then measured on the rows as they will be.
  const tables = opts.embeddings
    ? quantizeTables(model, { minElements: MIN_TABLE, select, skip: (n, reason) => ctx.skip({ node: n.label, op: n.op, reason }) })
    : 0;
  const decisions: AnnotateOptions = {
    runtime,
    select,
    asymmetric: !symmetric,
    outputs: opts.quantizeOutputs,
    activationProducts: opts.attention,
  };
  const annotation = annotate(model.graph, decisions);
  const nested = annotateSubgraphs(model, decisions);
  const notes = [
    ...annotation.skipped,
    ...nested.flatMap((a) => [...a.skipped, ...a.compute.map(({ node }) => ({ node, reason: NESTED_REASON }))]),
  ];
  const skipped = notes.map(({ node, reason }) => ({ node: node.label, op: node.op, reason }));
  if (annotation.compute.length + nested.reduce((sum, a) => sum + a.compute.length, 0) === 0) nothingToQuantize('static', skipped);
  for (const s of skipped) ctx.skip(s);

  const cache = await MeasurementCache.open(ctx.data, opts.samples);
  const repair = {
    engine: ctx.engine,
    cache,
    data: repairData(model, ctx.data, opts),
    samples: REPAIR_SAMPLES.most,
    threads: ctx.threads,
    checkAborted: () => ctx.checkAborted(),
  };
  if (opts.equalize)
    ctx.note('equalized', await equalize(model, annotation, { ...repair, ...gridSizes(activation), perChannel: opts.perChannel }));
  if (opts.absorbBias) ctx.note('absorbed', await absorbHighBiases(model, annotation, { ...repair, limit: repair.samples }));
  ctx.stage?.('float', model);
  const parameters = await calibrate(model, annotation, activation, opts, cache, ctx);
  const layers = opts.biasCorrection ? correctable(annotation) : [];
  const analytic = opts.biasMethod === 'analytic' ? await floatLayers(model, layers, repair) : undefined;
  const means: OutputMeans = analytic ? new Map() : await floatMeans(model, layers, repair);
  const given = opts.weightBits === 4 && opts.perChannel ? await decideWeights(model, annotation, opts, repair, ctx) : undefined;
  detachMatMulBiases(annotation);
  const weights: InsertOptions = {
    weights: {
      dtype: 'int8',
      symmetry: 'symmetric',
      reduced: opts.reduceRange === 'on' || (opts.reduceRange === 'auto' && runtime.saturates),
    },
    perChannel: opts.perChannel,
    clipWeights: opts.clipWeights,
    given,
  };
  const inserted = insertQdq(annotation, parameters.parameters, weights);
  for (const inner of nested) insertQdq(inner, new Map(), weights);
  guardFloatLayers(model.graph);
  if (analytic) ctx.note('biasCorrection', correctAnalytically(analytic));
  else if (layers.length > 0) {
    const onProgress = (fraction: number) => ctx.progress({ fraction, label: 'correcting biases' });
    ctx.note('biasCorrection', await correctBiases(model, layers, means, { ...repair, onProgress }));
  }
  if (opts.format === 'qoperator')
    ctx.note(
      'qoperator',
      writeQOperators(model, (s) => ctx.skip(s)),
    );
  report(annotation, parameters, inserted, tables, ctx);
  for (const message of measurementsOfData(ctx.data)?.problems ?? []) ctx.warn({ message });
  if (cache) ctx.note('cache', { found: cache.found, asked: cache.asked });
  forgetAddedTypes(model, stated);
  warnIfLarger(bytesBefore, model, 'scales, zero points and Q/DQ nodes take more than the smaller weights save', ctx);
  return true;
}

/** The type of activations. Throws E_USAGE where the runtime does not take what was asked for. */
function activationType(runtime: Runtime, opts: QuantizeStaticOptions, ctx: PassContext): ActivationType {
  if (!runtime.formats.includes(opts.format))
    throw usageError(`runtime ${runtime.name} takes ${runtime.formats.join(', ')}, not ${opts.format}`);
  const type = opts.activations === 'auto' ? runtime.activation : opts.activations;
  if (!runtime.activations.includes(type))
    throw usageError(`runtime ${runtime.name} takes activations in ${runtime.activations.join(', ')}, not ${type}`);
  if (!runtime.integerActivations.includes(type) && runtime.integerActivations.length > 0) {
    if (opts.format === 'qoperator')
      throw usageError(`there are no operators on ${type}: expected ${runtime.integerActivations.join(', ')}`);
    ctx.warn({
      message: `${runtime.name} has no integer kernels for ${type} activations: nodes compute in float between conversions, slower than the original`,
      fix: `--activations ${runtime.activation} for speed there`,
    });
  }
  return type;
}

/** Codes of 4-bit weights. */
function decideWeights(
  model: Model,
  annotation: Annotation,
  opts: QuantizeStaticOptions,
  repair: { readonly data: Dataset; readonly samples: number },
  ctx: PassContext,
): Promise<ReadonlyMap<Value, GivenWeight>> {
  const { rounding = 'gptq', roundingSteps: steps } = opts;
  if (rounding === 'gptq') return roundStaticWeights(model, annotation, repair, ctx);
  const data = repairData(model, ctx.data!, opts, LEARNING_SAMPLES);
  const settings = {
    unit: rounding === 'adaround' ? 'layer' : 'block',
    samples: data.size,
    steps,
    seed: ctx.rng.integer(2 ** 31),
  } as const;
  return learnStaticWeights(model, annotation, { data, ...settings }, ctx);
}

/** Samples for the repairs, spread over the data set: enough that means and extremes settle, few where one sample is large. */
function repairData(model: Model, data: Dataset, opts: QuantizeStaticOptions, limits = REPAIR_SAMPLES): Dataset {
  const size = Math.min(opts.samples ?? data.size, data.size);
  const affordable = Math.floor(limits.elements / elementsPerSample(model.graph));
  const count = Math.min(size, Math.max(limits.least, Math.min(limits.most, affordable)));
  return spreadSamples(data, count, size);
}

function gridSizes(scheme: Omit<Scheme, 'granularity'>) {
  const codes = codesOf(scheme);
  return { activationSteps: codes.max - codes.min, weightSteps: 254, symmetric: scheme.symmetry === 'symmetric' };
}

async function calibrate(
  model: Model,
  annotation: Annotation,
  scheme: Omit<Scheme, 'granularity'>,
  opts: QuantizeStaticOptions,
  cache: MeasurementCache | undefined,
  ctx: PassContext,
): Promise<ActivationParameters> {
  const observer = OBSERVERS[opts.observer];
  const statistics = await measureRanges(model, measurementsOf(annotation), {
    engine: ctx.engine,
    data: ctx.data!,
    threads: ctx.threads,
    limit: opts.samples,
    cache,
    histograms: observer.needs === 'histogram',
    checkAborted: () => ctx.checkAborted(),
    onProgress: (fraction) => ctx.progress({ fraction, label: 'calibrating' }),
  });
  return activationParameters(annotation, statistics, observer, { scheme, percentile: opts.percentile });
}

/**
 * What can be done inside If, Loop and Scan bodies: their activations cannot be measured from outside, so nodes there keep computing in float on
 * weights that are stored in 8 bits.
 */
function annotateSubgraphs(model: Model, options: AnnotateOptions): Annotation[] {
  const found: Annotation[] = [];
  for (const graph of walkGraphs(model.graph)) {
    if (graph === model.graph) continue;
    const all = annotate(graph, options);
    // A weight captured from outside belongs to the graph it stands in.
    const compute = all.compute.filter((c) => c.weight?.value.graph === graph).map((c) => ({ ...c, integer: false }));
    found.push({
      ...all,
      compute,
      others: [],
      absorbed: [],
      activations: [],
      constants: [],
      integerNodes: new Set(),
      shared: [],
      preferShared: [],
    });
  }
  return found;
}

const NESTED_REASON = 'it is inside a subgraph, where ranges cannot be measured: only its weight is stored in 8 bits';

/**
 * A MatMul followed by the Add of a vector would be merged to a float Gemm by ONNX Runtime before it looks at Q/DQ.
 * It leaves the pair alone where the vector has two dimensions ([1, n]); broadcasting gives the same sum.
 */
export function detachMatMulBiases(annotation: Annotation): void {
  for (const { node, integer } of annotation.compute) {
    if (!integer || node.opType !== 'MatMul') continue;
    const rank = tensorTypeOf(node.output())?.shape?.length ?? 0;
    if (rank < 3) continue;
    for (const { node: user, index } of [...node.output().uses]) {
      const vector = user.opType === 'Add' && user.domain === '' ? user.input(1 - index) : null;
      if (vector?.isConstant && vector.initializer?.rank === 1) user.setInput(1 - index, asRow(vector));
    }
  }
}

function asRow(vector: Value): Value {
  const tensor = vector.initializer!;
  if (vector.readerCount === 1) {
    vector.graph.setInitializer(vector, tensor.reshape([1, tensor.size]));
    return vector;
  }
  return vector.graph.addInitializer(`${vector.name}_row`, tensor.reshape([1, tensor.size]));
}

function report(annotation: Annotation, parameters: ActivationParameters, inserted: Inserted, tables: number, ctx: PassContext): void {
  for (const value of parameters.nonFinite) {
    ctx.warn({
      message: `value ${value.name} was infinite or not a number on some calibration batches, which were passed over`,
      node: value.producer?.label,
      fix: 'look at the calibration data, or leave the node float with --exclude',
    });
  }
  for (const w of inserted.weights) {
    if (w.spread > SPREAD_LIMIT) {
      ctx.warn({
        message: `weight ${w.name} has one scale although its channels differ by a factor of ${w.spread.toFixed(0)}`,
        node: w.name,
        fix: w.conflict ? 'its readers take their channels from different axes: exclude one of them' : 'quantize per channel',
      });
    }
  }
  ctx.note('quantized', {
    integerNodes: annotation.integerNodes.size,
    weightOnlyNodes: annotation.compute.filter((c) => !c.integer).length,
    activations: inserted.activations,
    weights: inserted.weights.length,
    biases: inserted.biases,
    absorbed: annotation.absorbed.length,
    tables,
  });
  ctx.note('ranges', Object.fromEntries([...parameters.ranges].map(([value, r]) => [value.name, [r.min, r.max]])));
  ctx.note(
    'weights',
    inserted.weights.map(({ name, dtype, granularity }) => ({ name, dtype, granularity })),
  );
}
