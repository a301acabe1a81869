// Mixed precision to a target: the smallest set of layers to keep at higher precision so that the loss of quality stays within a budget.
// One fully quantized trial, one sensitivity session, then a handful of measured trials (src/recipe/search.ts) in place of one for each layer.
// Hessian- and KL-based rankings (HAWQ-V2, Dong et al. 2020; ZeroQ, Cai et al. 2020) take layers as independent; here their errors' correlations count.
import { modelCost } from '../analysis/cost.js';
import { measureSensitivity, predictedError } from '../analysis/sensitivity.js';
import { qualityError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import type { BoundPass, Pass } from '../pass/define.js';
import { runPasses } from '../pass/manager.js';
import type { PrecisionSearch } from '../pass/record.js';
import { unfuseConvolutions } from '../passes/quantize/unfuse.js';
import { simplify } from '../passes/simplify/index.js';
import { HardestSamples } from './hardest-samples.js';
import { type PrecisionLayer, type PrecisionSources, precisionSources } from './precision-sources.js';
import { searchKept } from './search.js';
import { type Trial, type Trials, withTypes } from './trials.js';

export type QuantizeMode = 'static' | 'dynamic' | 'weights';

export interface MixedPrecisionOptions {
  readonly trials: Trials;
  readonly mode: QuantizeMode;
  readonly pass: Pass;
  /** Options of the pass as the user gave them. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Largest loss of quality, as `qualityDrop` has it; or that as a function of what quantizing everything loses. */
  readonly maxDrop: number | ((full: number) => number);
  /** Which sets count as smaller where several of one number of layers hold: by bytes of weights or by multiply-accumulates (default). */
  readonly weigh?: 'bytes' | 'macs' | undefined;
  readonly maxTrials?: number | undefined;
}

export interface MixedPrecision {
  readonly passes: readonly BoundPass[];
  readonly search: PrecisionSearch;
  readonly trial: Trial | undefined;
}

/** The sensitivity session runs as many samples, over all changes, as this many trials, within these limits for each change. */
const SENSITIVITY = { trials: 2, least: 8, most: 32 };

/** Searches. Throws E_QUALITY with the best found where no set of kept layers holds the target. */
export async function mixedPrecision(options: MixedPrecisionOptions): Promise<MixedPrecision> {
  const { trials, mode } = options;
  const before = trials.count;
  const passesFor = (names: readonly string[], all = false) => keepingPasses(options, names, all);
  let float: Model | undefined;
  const hardest = trials.options.validation.fixedBatch === undefined ? new HardestSamples(SENSITIVITY.most) : undefined;
  const first = await trials.run(
    passesFor([]),
    (name, model) => {
      if (name === 'float') float ??= cloneModel(model);
    },
    hardest && ((batch, reference, outputs) => hardest.add(batch, reference, outputs)),
  );
  const maxDrop = typeof options.maxDrop === 'number' ? options.maxDrop : options.maxDrop(first.drop);
  const byKey = new Map<string, Trial>([['', first]]);
  if (first.drop <= maxDrop) {
    return { passes: passesFor([]), trial: first, search: recordOf(options, maxDrop, [], [], [pointOf([], first)], true, 1, 0) };
  }
  const { sources, sensitivity } = await sourcesOf(options, float ?? (await simplified(options)), first.model, hardest);
  const { layers } = sources;
  const result = await searchKept({
    layers: layers.length,
    cost: await shares(options, layers, trials),
    target: maxDrop,
    ...(options.maxTrials === undefined ? {} : { maxMeasurements: options.maxTrials }),
    predict: (kept) => predictedError(sensitivity.gram, sensitivity.ids.length, sources.active(kept)),
    measure: async (kept) => {
      const key = kept.join();
      let trial = byKey.get(key);
      if (!trial) {
        const names = kept.map((i) => layers[i]!.name);
        trials.options.onProgress?.({ fraction: undefined, label: `trial ${byKey.size + 1}: ${kept.length} layers kept` });
        const all = names.length === layers.length;
        trial = await keptTrial(trials, passesFor(names, all), all);
        byKey.set(key, trial);
      }
      return trial.drop;
    },
  });
  const points = result.points.map((p) =>
    pointOf(
      p.kept.map((i) => layers[i]!),
      byKey.get(p.kept.join())!,
    ),
  );
  const kept = result.best.kept.map((i) => layers[i]!);
  const search = recordOf(
    options,
    maxDrop,
    layers,
    kept,
    points,
    result.met,
    trials.count - before,
    sensitivity.samples * sensitivity.ids.length,
  );
  // With every layer kept float nothing is quantized: that is no way to hold a target.
  if (!result.met || (kept.length === layers.length && search.keptAs === 'float')) throw notMet(search, maxDrop);
  const everything = kept.length === layers.length;
  return {
    passes: passesFor(
      kept.map((l) => l.name),
      everything,
    ),
    trial: byKey.get(result.best.kept.join()),
    search,
  };

  async function keptTrial(on: Trials, passes: readonly BoundPass[], everything: boolean): Promise<Trial> {
    // With everything kept there is nothing left to quantize, which the passes refuse: that is the original itself.
    if (!everything || (mode === 'weights' && keptAs(mode, options.options) === 'int8')) return on.run(passes);
    return { ...first, model: on.options.model, quality: { ...first.quality, after: on.before }, drop: 0 };
  }
}

/** The passes that quantize all but these layers; in mode weights below 8 bits those get 8 bits. `all`: there are no others. */
function keepingPasses({ pass, options, mode }: MixedPrecisionOptions, names: readonly string[], all = false): BoundPass[] {
  const exclude = [...((options.exclude as string[] | undefined) ?? []), ...names];
  const eight = mode === 'weights' && names.length > 0 && keptAs(mode, options) === 'int8';
  const passes = all && eight ? [] : [pass({ ...options, exclude })];
  if (eight) {
    const { block, ...rest } = options;
    passes.push(pass({ ...eightBit(rest), ...(block === undefined ? {} : { block }), bits: 8, ...(all ? {} : { simplify: false }) }));
  }
  return passes;
}

/** Options that a second pass of 8 bits takes over: rounding by data and formats of few bits are no matter at 8 bits. */
function eightBit(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const taken = ['exclude', 'opTypes', 'symmetric', 'accuracyLevel', 'embeddings', 'minElements'];
  return Object.fromEntries(Object.entries(options).filter(([key]) => taken.includes(key)));
}

function keptAs(mode: QuantizeMode, options: Readonly<Record<string, unknown>>): PrecisionSearch['keptAs'] {
  return mode === 'weights' && Number(options.bits ?? 4) < 8 && (options.format ?? 'auto') === 'auto' ? 'int8' : 'float';
}

async function sourcesOf(
  { trials, mode, options }: MixedPrecisionOptions,
  float: Model,
  quantized: Model,
  hardest: HardestSamples | undefined,
) {
  const { engine, validation, session, shapes, signal, onProgress } = trials.options;
  const sources: PrecisionSources = await precisionSources(engine, withTypes(float, shapes), quantized, {
    mode,
    runtime: (options.runtime as 'ort-x86' | undefined) ?? 'ort-x86',
    symmetric: options.symmetric === true,
    attention: options.attention === true,
    outputs: options.quantizeOutputs === true,
  });
  // By numbers, not by the clock: the same command finds the same layers.
  const affordable = Math.floor((SENSITIVITY.trials * trials.samples) / Math.max(1, sources.perturbations.length));
  const sensitivity = await measureSensitivity(withTypes(float, shapes), sources.perturbations, {
    engine,
    data: hardest?.dataset(validation) ?? validation,
    samples: Math.min(trials.samples, Math.max(SENSITIVITY.least, Math.min(SENSITIVITY.most, affordable))),
    session,
    signal,
    onProgress: (fraction) => onProgress?.({ fraction, label: 'measuring sensitivity' }),
  });
  return { sources, sensitivity };
}

/** The float model as a pass sees it that repairs nothing before it quantizes. */
async function simplified({ trials, options }: MixedPrecisionOptions): Promise<Model> {
  const wanted = options.simplify !== false;
  const { engine, model } = trials.options;
  const float = wanted ? (await runPasses(model, [simplify({ opset: 21 })], { engine })).model : withTypes(model);
  unfuseConvolutions(float);
  return float;
}

/** Share of each layer in bytes or MACs. */
async function shares(options: MixedPrecisionOptions, layers: readonly PrecisionLayer[], trials: Trials): Promise<number[]> {
  const sizes = options.weigh === 'bytes' ? layers.map((l) => l.bytes) : macsOf(layers, trials);
  const total = sizes.reduce((a, b) => a + b, 0) || 1;
  return sizes.map((s) => s / total);
}

function macsOf(layers: readonly PrecisionLayer[], trials: Trials): number[] {
  const graph = layers[0]?.node.graph;
  if (!graph) return [];
  // The layers' nodes belong to the simplified model; names tie them to the original's, and parameters stand in where those changed.
  const cost = modelCost(trials.options.model, { inputShapes: trials.options.shapes });
  const byName = new Map(cost.byNode.map((row) => [row.node.name || row.node.label, row.macs * row.runs]));
  return layers.map((l) => byName.get(l.name) ?? l.parameters);
}

function pointOf(kept: readonly PrecisionLayer[], trial: Trial): PrecisionSearch['curve'][number] {
  return {
    kept: kept.length,
    keptBytes: kept.reduce((sum, l) => sum + l.bytes, 0),
    quality: trial.quality.after,
    drop: trial.drop,
    bytes: trial.bytes,
  };
}

function recordOf(
  options: MixedPrecisionOptions,
  target: number,
  layers: readonly PrecisionLayer[],
  kept: readonly PrecisionLayer[],
  curve: PrecisionSearch['curve'],
  met: boolean,
  trials: number,
  sensitivityRuns: number,
): PrecisionSearch {
  const { metric, before, samples } = options.trials;
  return {
    mode: options.mode,
    metric: metric.name,
    before,
    target,
    met,
    keptAs: keptAs(options.mode, options.options),
    layers: layers.length,
    kept: kept.map(({ name, op, bytes }) => ({ name, op, bytes })),
    evaluations: trials,
    samples,
    sensitivityRuns,
    curve: [...curve].sort((a, b) => a.kept - b.kept || a.drop - b.drop),
  };
}

function notMet(search: PrecisionSearch, maxDrop: number): Error {
  const quantizing = search.curve.filter((p) => search.keptAs === 'int8' || p.kept < search.layers);
  const best = quantizing.reduce((a, b) => (b.drop < a.drop ? b : a));
  const names = search.kept.length === search.layers ? [] : search.kept.map((l) => l.name);
  return qualityError(
    `no set of kept layers holds the target: expected a ${search.metric} drop of at most ${maxDrop}, best found ${best.drop.toPrecision(4)} with ${best.kept} of ${search.layers} layers kept ${search.keptAs === 'float' ? 'float' : 'at 8 bits'} (${search.evaluations} trials)`,
    {
      hint: `allow a larger drop, or try another mode${names.length > 0 ? `; best set: --exclude ${names.slice(0, 20).join(',')}${names.length > 20 ? ',…' : ''}` : ''}`,
    },
  );
}
