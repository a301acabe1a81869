// One run from an input model to a verified file: passes, staging, verification against the original, budget, delivery, record.

import { modelCost } from '../analysis/cost.js';
import { bytesByDtype, constantsOf, countNodes, countParams } from '../analysis/facts.js';
import { compareLayers, type LayerComparison } from '../analysis/layers.js';
import { inferShapes } from '../analysis/shapes.js';
import { type TensorStats, tensorStats } from '../analysis/tensor-stats.js';
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { defaultMetric } from '../data/metrics.js';
import { bugError, nothingToDoError, PareError, qualityError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import type { BoundPass, Progress, Warning } from '../pass/define.js';
import { runPasses } from '../pass/manager.js';
import type { Explanation, Fusion, ModelFacts, PassRecord, PlanRecord, RunRecord, SlowerNode } from '../pass/record.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import { VERSION } from '../util/version.js';
import { compareTwo } from './compare.js';
import { explainLayers } from './explain.js';
import { fusionOf } from './fusion.js';
import { recipeOf, stampMetadata } from './metadata.js';
import { type Budget, checkBudget, collapseWarning } from './quality.js';
import { slowerNodes } from './slower-nodes.js';
import type { InputModel, Stage, StagedModel } from './staging.js';
import { checkSupported } from './supported.js';
import { unmatchedSelections } from './unmatched.js';

export interface PipelineOptions {
  readonly command: string;
  readonly input: InputModel;
  readonly passes: readonly BoundPass[];
  /** How the passes were chosen, for the record. */
  readonly plan?: PlanRecord | undefined;
  readonly engine: Engine;
  readonly stage: Stage;
  /** Calibration data for the passes. */
  readonly data?: Dataset | undefined;
  /** Data on which quality is measured. Needed unless `verify` is false. */
  readonly validation?: Dataset | undefined;
  readonly metric?: Metric | undefined;
  readonly limit?: number | undefined;
  readonly verify: boolean;
  /** Compare layer by layer too, and collect weight statistics: what the HTML report draws. */
  readonly details?: boolean;
  readonly budget?: Budget;
  readonly seed?: number;
  readonly batch?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly session?: SessionOptions;
  /** Bytes that both loaded models may take together before they are verified one at a time. */
  readonly memoryBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Ratio of latencies from which a result is called slower: less is noise. */
const NOTICEABLY_SLOWER = 1.05;
/** Samples on which layers are compared for the report. */
const LAYER_SAMPLES = 8;
/** Constants drawn in the report. */
const MAX_TENSORS = 40;

/**
 * Runs the pipeline. Nothing is left behind when it throws: E_QUALITY where a budget is broken or the result does not run or gives NaN,
 * E_NOTHING_TO_DO where no pass changed anything, and what passes and the engine throw.
 */
export async function runPipeline(options: PipelineOptions): Promise<RunRecord> {
  const start = performance.now();
  const { input, engine } = options;
  checkSupported(input.model);
  // Layers are explained against the float model as the passes repaired it, whose inner values are those that were quantized.
  let float: Model | undefined;
  const { model, records, changed } = await runPasses(input.model, options.passes, {
    engine,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    data: options.data,
    threads: options.session?.threads,
    signal: options.signal,
    onProgress: options.onProgress,
    onStage: (name, at) => {
      if (name === 'float' && options.details) float = cloneModel(at);
    },
  });
  if (!changed && options.passes.some((p) => p.name !== 'simplify'))
    throw nothingToDoError(`${options.command}: nothing in this model could be changed`, reasonsOf(records));
  const sha256 = await input.sha256;
  stampMetadata(model, { passes: options.passes, seed: options.seed ?? 0, inputSha256: sha256, verified: options.verify });
  options.onProgress?.({ fraction: undefined, label: 'writing' });
  const staged = await options.stage(model);
  try {
    const checked = options.verify ? await verify(options, model, staged, float) : NOT_VERIFIED;
    const warnings: Warning[] = [
      ...records.flatMap((r) => r.warnings),
      ...unmatchedSelections(options.passes, [input.model, model]),
      ...checked.warnings,
    ];
    // Training changes no sizes: what is added is the metadata.
    if (staged.bytes > input.bytes && options.command !== 'train')
      warnings.push({
        message: `the result is larger than the input: ${staged.bytes} against ${input.bytes} bytes`,
        fix: growthReason(records),
      });
    checkBudget(options.budget ?? {}, { quality: checked.quality, bytes: staged.bytes, latencyMs: checked.latency?.after_ms ?? null });
    const tensors = options.details ? { before: await statsOf(input.model), after: await statsOf(model) } : { before: [], after: [] };
    const [path] = await staged.commit();
    return {
      tool: { name: 'pare', version: VERSION },
      command: options.command,
      recipe: recipeOf(options.passes),
      seed: options.seed ?? 0,
      engine: `${engine.name} ${engine.version}`,
      input: { ...factsOf(input.model, options), path: input.path, bytes: input.bytes, sha256 },
      output: { ...factsOf(model, options), path, bytes: staged.bytes, sha256: staged.sha256 },
      verified: options.verify,
      quality: checked.quality,
      outputs: checked.outputs,
      latency: checked.latency,
      passes: records,
      warnings,
      layers: checked.layers,
      tensors,
      ...(options.plan ? { plan: options.plan } : {}),
      ...(checked.slower ? { slower: checked.slower } : {}),
      ...(checked.fusion ? { fusion: checked.fusion } : {}),
      ...(checked.explanation ? { explanation: checked.explanation } : {}),
      ms: performance.now() - start,
    };
  } catch (error) {
    await staged.discard();
    throw error instanceof PareError ? error.renamed(staged.paths.staged, staged.paths.target) : error;
  }
}

interface Checked extends Pick<RunRecord, 'quality' | 'outputs' | 'latency'> {
  readonly layers: readonly LayerComparison[];
  readonly warnings: readonly Warning[];
  readonly slower?: readonly SlowerNode[] | undefined;
  readonly explanation?: Explanation | undefined;
  readonly fusion?: Fusion | undefined;
}

const NOT_VERIFIED: Checked = {
  quality: null,
  outputs: [],
  latency: null,
  layers: [],
  warnings: [{ message: 'not verified: the result was not run (--no-verify)' }],
};

async function verify(options: PipelineOptions, model: Model, staged: StagedModel, float: Model | undefined): Promise<Checked> {
  const { engine, input, validation } = options;
  if (!validation) throw bugError('verification needs data: expected `validation`, got none');
  const compared = await compareTwo({
    engine,
    a: { ...input, open: async () => input.model },
    b: { path: 'the result', bytes: staged.bytes, source: staged.source, open: staged.open },
    data: validation,
    metric: options.metric ?? defaultMetric(input.model, validation),
    limit: options.limit,
    batch: options.batch,
    shapes: options.shapes,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
    ...(options.session === undefined ? {} : { session: options.session }),
    memoryBytes: options.memoryBytes,
    signal: options.signal,
    onProgress: options.onProgress,
  });
  const broken = compared.outputs.filter((o) => o.nonFinite > 0);
  if (broken.length > 0) {
    const list = broken.map((o) => `${o.name} (${o.nonFinite} elements)`).join(', ');
    throw qualityError(`the result gives NaN or infinity where the original does not: ${list}`, {
      hint: 'find the layer with `pare compare --per-layer` and keep it in float with --exclude',
    });
  }
  const warnings = [...compared.warnings, ...collapseWarning(compared.quality)];
  const { latency } = compared;
  if (latency && latency.ratio > NOTICEABLY_SLOWER) {
    warnings.push({
      message: `the result takes ${latency.ratio.toFixed(2)} times as long as the original on ${latency.engine} with this processor`,
      fix:
        options.command === 'quantize'
          ? '--optimize latency quantizes only what gets faster; or keep it for its size'
          : 'keep it for its size, or try another mode',
    });
  }
  const fusion =
    options.command === 'quantize' && compared.mode === 'together' ? await fusionOf(engine, model, staged.source, options) : undefined;
  const slower =
    latency && latency.ratio > NOTICEABLY_SLOWER
      ? await slowerNodes(engine, input, { model, source: staged.source }, { ...options, fusion })
      : undefined;
  const layers =
    options.details && options.command !== 'train' && compared.mode === 'together'
      ? await compareLayers(engine, withTypes(input.model, options), withTypes(model, options), validation, {
          ...(options.session === undefined ? {} : { session: options.session }),
          samples: LAYER_SAMPLES,
          signal: options.signal,
          onProgress: (fraction) => options.onProgress?.({ fraction, label: 'comparing layers' }),
        })
      : [];
  const explanation =
    layers.length > 0 && options.command === 'quantize' ? await explain(options, float ?? input.model, model, validation) : undefined;
  return { quality: compared.quality, outputs: compared.outputs, latency, layers, warnings, slower, fusion, explanation };
}

/** Causes of error. A model that its runtime does not run cut open goes without. */
async function explain(options: PipelineOptions, float: Model, model: Model, data: Dataset): Promise<Explanation | undefined> {
  try {
    return await explainLayers(float, model, {
      engine: options.engine,
      data,
      session: options.session,
      shapes: options.shapes,
      signal: options.signal,
      onProgress: (fraction) => options.onProgress?.({ fraction, label: 'looking for causes of error' }),
    });
  } catch (error) {
    if (error instanceof PareError && error.kind !== 'bug' && error.code !== 'E_ABORTED') return undefined;
    throw error;
  }
}

function factsOf(model: Model, options: PipelineOptions): Omit<ModelFacts, 'bytes'> {
  return {
    params: countParams(model),
    macs: macsOf(model, options),
    nodes: countNodes(model),
    opset: model.opset,
    bytesByDtype: bytesByDtype(model) as Record<string, number>,
  };
}

/** Null where no shapes could be found that the model accepts. */
function macsOf(model: Model, options: PipelineOptions): number | null {
  try {
    return modelCost(model, { inputShapes: options.shapes }).macs;
  } catch (error) {
    if (error instanceof PareError && error.kind !== 'bug') return null;
    throw error;
  }
}

/** A copy with every type inferred, so that values can be exposed with their own types. */
function withTypes(model: Model, options: PipelineOptions): Model {
  const copy = cloneModel(model);
  inferShapes(copy, { inputShapes: options.shapes });
  return copy;
}

async function statsOf(model: Model): Promise<TensorStats[]> {
  const largest = constantsOf(model)
    .filter((c) => c.tensor.size > 1)
    .sort((a, b) => b.tensor.byteLength - a.tensor.byteLength)
    .slice(0, MAX_TENSORS);
  const found: TensorStats[] = [];
  for (const c of largest) {
    const stats = tensorStats(c.name, await c.tensor.load());
    if (stats) found.push(stats);
  }
  return found;
}

function reasonsOf(records: readonly PassRecord[]): { hint?: string } {
  const reasons = [...new Set(records.flatMap((r) => r.skipped.map((s) => `${s.node}: ${s.reason}`)))].slice(0, 8);
  return reasons.length > 0 ? { hint: reasons.join('\n        ') } : {};
}

function growthReason(records: readonly PassRecord[]): string {
  const grown = records
    .filter((r) => r.after.bytes > r.before.bytes)
    .map((r) => `${r.name} (+${r.after.bytes - r.before.bytes} bytes of constants)`);
  return grown.length > 0
    ? `grown in ${grown.join(', ')}`
    : 'the constants are no larger: added nodes and metadata outweigh what was saved';
}
