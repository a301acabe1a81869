// A new model from a preset: built, written, loaded back and run once on random input before it takes its place.
import { modelCost } from '../analysis/cost.js';
import { bytesByDtype, constantBytes, countNodes, countParams } from '../analysis/facts.js';
import { countTrainable } from '../analysis/trainable.js';
import { PareError, qualityError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import { type Model, requiredInputs } from '../ir/model.js';
import { formatType } from '../ir/type.js';
import { presetNamed } from '../nn/presets/index.js';
import type { Progress, Warning } from '../pass/define.js';
import type { ModelFacts } from '../pass/record.js';
import type { Engine, ModelSource, SessionOptions } from '../runtime/engine.js';
import { findFeeds } from '../runtime/inputs.js';
import { VERSION } from '../util/version.js';
import type { Stage } from './staging.js';

export interface CreateOptions {
  /** Name in `nn.PRESETS`. */
  readonly preset: string;
  /** Options of the preset. */
  readonly options?: Readonly<Record<string, unknown>> | undefined;
  /** Seed of the initial weights and of the random input (default 0). */
  readonly seed?: number | undefined;
  readonly engine: Engine;
  readonly stage: Stage;
  readonly session?: SessionOptions | undefined;
  /** Bytes that the loaded model may take; beyond, it is loaded frugally, and where even that does not fit it is written without being run. */
  readonly memoryBytes?: number | undefined;
  /** Batch of the run, and shapes of inputs with other open dimensions. */
  readonly batch?: number | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** An output in the run on random input. */
export interface CreatedOutput {
  readonly name: string;
  readonly type: string;
  readonly dims: readonly number[];
  readonly mean: number;
  readonly std: number;
}

export interface CreateRecord {
  readonly tool: { readonly name: 'pare'; readonly version: string };
  readonly command: 'new';
  readonly preset: string;
  /** Options with defaults filled in. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly seed: number;
  readonly engine: string;
  /** There is no input and nothing to compare with. */
  readonly input: null;
  readonly quality: null;
  readonly latency: null;
  readonly passes: readonly [];
  readonly warnings: readonly Warning[];
  /** `params` as `pare profile` counts them, with constants of formulas; `trainable` is what training changes. */
  readonly output: ModelFacts & { readonly trainable: number };
  readonly verified: boolean;
  readonly inputs: readonly { readonly name: string; readonly type: string }[];
  /** Empty where the model was not run. */
  readonly outputs: readonly CreatedOutput[];
}

/** A loaded session takes about this many times the bytes of its weights, a frugal one less. */
const SESSION_FACTOR = 2.5;
const FRUGAL_FACTOR = 1.3;

/** Throws E_USAGE for an unknown preset or option, E_QUALITY where the result gives NaN or infinity. Nothing is left behind when it throws. */
export async function createModel(options: CreateOptions): Promise<CreateRecord> {
  const { engine, seed = 0, shapes } = options;
  const preset = presetNamed(options.preset);
  options.onProgress?.({ fraction: undefined, label: 'building' });
  const model = preset.create(options.options, { seed });
  model.metadata.set('pare.version', VERSION);
  const memory = options.memoryBytes ?? Number.POSITIVE_INFINITY;
  const weights = constantBytes(model);
  const fits = weights * FRUGAL_FACTOR <= memory;
  model.metadata.set('pare.verified', fits ? 'true' : 'not verified');
  options.onProgress?.({ fraction: undefined, label: 'writing' });
  const staged = await options.stage(model);
  try {
    if (fits) options.onProgress?.({ fraction: undefined, label: 'running' });
    const session = weights * SESSION_FACTOR <= memory ? options.session : { ...options.session, frugal: true };
    const outputs = fits ? await runOnce(model, staged.source, { ...options, session }) : [];
    const broken = outputs.filter((o) => !Number.isFinite(o.mean + o.std));
    if (broken.length > 0) {
      throw qualityError(`${preset.name} gives NaN or infinity on random input: ${broken.map((o) => o.name).join(', ')}`, {
        hint: 'choose a smaller width or fewer layers',
      });
    }
    const cost = modelCost(model, { inputShapes: shapes });
    const [path] = await staged.commit();
    return {
      tool: { name: 'pare', version: VERSION },
      command: 'new',
      preset: preset.name,
      options: preset.parse(options.options),
      seed,
      engine: `${engine.name} ${engine.version}`,
      input: null,
      quality: null,
      latency: null,
      passes: [],
      warnings: fits ? [] : [{ message: 'not verified: running the model would pass the memory limit', fix: 'raise --memory' }],
      output: {
        path,
        bytes: staged.bytes,
        params: countParams(model),
        trainable: countTrainable(model),
        macs: cost.macs,
        nodes: countNodes(model),
        opset: model.opset,
        bytesByDtype: bytesByDtype(model) as Record<string, number>,
        sha256: staged.sha256,
      },
      verified: fits,
      inputs: requiredInputs(model.graph).map(describe),
      outputs,
    };
  } catch (error) {
    await staged.discard();
    throw error instanceof PareError ? error.renamed(staged.paths.staged, staged.paths.target) : error;
  }
}

/** Runs the model on random input; nothing of it stays loaded. */
async function runOnce(model: Model, source: ModelSource, options: CreateOptions): Promise<CreatedOutput[]> {
  const { engine, seed = 0, shapes, batch } = options;
  const session = await engine.load(source, options.session);
  try {
    const { feeds } = await findFeeds(session, model, { seed, shapes, batch });
    const results = await session.run(feeds);
    return model.graph.outputs.map((value) => {
      const tensor = results[value.name]!;
      return { ...describe(value), dims: tensor.dims, ...statisticsOf(tensor.floats()) };
    });
  } finally {
    await session.release();
  }
}

function describe(value: Value): { name: string; type: string } {
  return { name: value.name, type: formatType(value.type) };
}

function statisticsOf(values: Float32Array): { mean: number; std: number } {
  let sum = 0;
  for (const v of values) sum += v;
  const mean = sum / values.length;
  let squares = 0;
  for (const v of values) squares += (v - mean) ** 2;
  return { mean, std: Math.sqrt(squares / values.length) };
}
