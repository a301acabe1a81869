// Feeds for a model of which nothing is known but its graph: shapes from its input types (batch 1, other symbols 64 unless told otherwise)
// and random values that fit them. Where the default shapes cannot run, others are tried.
import { batchPlan } from '../data/inputs.js';
import { positionLimit } from '../data/model-hints.js';
import { DEFAULT_DIMENSION, randomDataset } from '../data/random.js';
import { PareError, usageError } from '../errors.js';
import { dimSymbols, evaluateDim } from '../ir/dim.js';
import type { Value } from '../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import { type Dim, formatShape, formatType } from '../ir/type.js';
import type { Session } from './engine.js';

export interface ShapeOptions {
  /** Size of batch dimensions (default 1). */
  readonly batch?: number | undefined;
  /** Size of every other unknown dimension (default 64, or fewer where the model's position table is shorter). */
  readonly size?: number | undefined;
  /** Whole shapes by input name, as `--shape name=1,128` gives them. */
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Sizes of symbols by name. */
  readonly symbols?: Readonly<Record<string, number>> | undefined;
}

export interface ResolvedShapes {
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** The size given to each symbol of the inputs. */
  readonly symbols: Readonly<Record<string, number>>;
}

/** Names of symbols that are no batch even on the first axis. */
const NOT_BATCH = /seq|len|time|step|token|height|width|channel|frame|sample/i;

/** Static shapes for all inputs that must be fed. Throws E_USAGE where the options name no input or contradict the model. */
export function resolveInputShapes(model: Model, options: ShapeOptions = {}): ResolvedShapes {
  const inputs = requiredInputs(model.graph);
  const given = options.shapes ?? {};
  const names = inputs.map((v) => v.name);
  const unknown = Object.keys(given).filter((name) => !names.includes(name));
  if (unknown.length > 0) throw usageError(`--shape ${unknown[0]}: expected one of the inputs ${names.join(', ')}, got "${unknown[0]}"`);
  const symbols: Record<string, number> = { ...options.symbols };
  for (const value of inputs) {
    const dims = given[value.name];
    if (dims !== undefined) bindSymbols(value, dims, symbols);
  }
  const batch = options.batch ?? 1;
  const size = options.size ?? Math.min(DEFAULT_DIMENSION, positionLimit(model) ?? DEFAULT_DIMENSION);
  for (const value of inputs) {
    for (const [axis, dim] of (tensorTypeOf(value)?.shape ?? []).entries()) {
      for (const symbol of dimSymbols(dim)) symbols[symbol] ??= isBatch(symbol, axis) ? batch : /past/i.test(symbol) ? 0 : size;
    }
  }
  const resolved: Record<string, readonly number[]> = {};
  for (const value of inputs) {
    const shape = tensorTypeOf(value)?.shape ?? [];
    resolved[value.name] = given[value.name] ?? shape.map((dim, axis) => evaluateDim(dim, symbols) ?? (axis === 0 ? batch : size));
  }
  return { inputs: resolved, symbols };
}

function isBatch(symbol: string, axis: number): boolean {
  return /batch/i.test(symbol) || (axis === 0 && !NOT_BATCH.test(symbol));
}

function bindSymbols(value: Value, dims: readonly number[], symbols: Record<string, number>): void {
  const shape = tensorTypeOf(value)?.shape;
  if (shape == null) return;
  const fits = shape.length === dims.length && shape.every((d, i) => typeof d !== 'number' || d === dims[i]);
  if (!fits) throw usageError(`--shape ${value.name}=${dims.join(',')}: expected ${formatType(value.type)}, got ${formatShape(dims)}`);
  shape.forEach((d: Dim, i) => {
    if (typeof d !== 'string' || dimSymbols(d)[0] !== d) return;
    const size = dims[i]!;
    if (symbols[d] !== undefined && symbols[d] !== size) {
      throw usageError(`--shape ${value.name}: dimension ${d} is ${size} here and ${symbols[d]} elsewhere: expected one size`);
    }
    symbols[d] = size;
  });
}

export interface FeedOptions extends ShapeOptions {
  /** Seed of the values (default 0). */
  readonly seed?: number | undefined;
}

export interface FoundFeeds extends ResolvedShapes {
  readonly feeds: Readonly<Record<string, Tensor>>;
}

/** Sizes tried for open dimensions: what audio front ends with their windows and paddings need is far more than what text does. */
const TRIAL_SIZES = [256, 576, 1024, 4096, 16_000];

/**
 * Random feeds that the model can be run on. Where it refuses the default size of open dimensions (a padding longer than the input, a window
 * that does not fit), larger ones are tried. Throws the first error where none works, or where nothing is open.
 */
export async function findFeeds(session: Session, model: Model, options: FeedOptions = {}): Promise<FoundFeeds> {
  let refusal: unknown;
  for (const size of options.size === undefined ? [undefined, ...TRIAL_SIZES] : [options.size]) {
    const trial = { ...options, size };
    const resolved = resolveInputShapes(model, trial);
    const feeds = await randomFeeds(model, trial);
    try {
      await session.run(feeds);
      return { ...resolved, feeds };
    } catch (error) {
      if (!(error instanceof PareError) || error.code !== 'E_RUNTIME') throw error;
      refusal ??= error;
    }
    if (!hasOpenSize(model, options)) break;
  }
  throw refusal;
}

/** True where the default size decides about any dimension. */
function hasOpenSize(model: Model, options: FeedOptions): boolean {
  const at = (size: number) => JSON.stringify(resolveInputShapes(model, { ...options, size }).inputs);
  return at(2) !== at(3);
}

/** One feed for every input that the model needs, with the values of `randomDataset`. */
export async function randomFeeds(model: Model, options: FeedOptions = {}): Promise<Readonly<Record<string, Tensor>>> {
  const shapes = resolveInputShapes(model, options).inputs;
  const plan = batchPlan(model);
  const rows = plan.kind === 'rows' ? (plan.fixed ?? Object.values(shapes)[0]?.[0] ?? 1) : 1;
  const dataset = randomDataset(model, { seed: options.seed ?? 0, samples: Math.max(rows, 1), shapes });
  const { inputs } = await dataset.at(Array.from({ length: Math.max(rows, 1) }, (_, i) => i));
  return inputs;
}
