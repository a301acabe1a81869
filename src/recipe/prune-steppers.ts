// What one step of iterative pruning removes: a stepper brings a model to the share that the schedule asks for, starting from what the step before left.
// Structured steps make the model narrower; unstructured ones set weights to zero, which the training then holds there (masks).
import type { z } from 'zod';
import { modelCost } from '../analysis/cost.js';
import { constantBytes } from '../analysis/facts.js';
import { densify, makeMasksPermanent, masksOf } from '../analysis/masks.js';
import { usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { type PassContext, problems } from '../pass/define.js';
import { prepareForPruning, pruneModel, type StructuredOptions, structuredOptions } from '../passes/prune/structured/index.js';
import { runUnstructured, type UnstructuredOptions, unstructuredOptions, type WeightScorer } from '../passes/prune/unstructured/index.js';
import { parsePattern } from '../passes/prune/unstructured/layout.js';
import { storeSparsely } from '../passes/prune/unstructured/storage.js';
import type { MovementScores } from './prune-movement.js';

export interface PruneStepper {
  readonly kind: 'structured' | 'unstructured';
  /** Share removed in the end, above 0 and below 1. */
  readonly target: number;
  /** Edits the model in place until this share of the original is gone. */
  prune(model: Model, removed: number, ctx: PassContext): Promise<void>;
  /** The share cannot be had in steps. */
  readonly atOnce?: boolean;
  /** The same with scores from training. */
  readonly byMovement?: (scores: MovementScores) => PruneStepper;
  /** What is done to the result. */
  readonly finish?: (model: Model, ctx: PassContext) => void;
}

/** A kind of pruning as the iterative pass takes it. */
export interface PruningKind {
  /** Its own options, for the recipe. */
  readonly options: Readonly<Record<string, unknown>>;
  /** May prepare the model (simplify it); prunes nothing yet. */
  open(model: Model, ctx: PassContext): Promise<PruneStepper>;
}

/** Channels, neurons, heads and hidden units, by the options of `pruneStructured`; one budget is needed. */
export function structuredPruning(options: z.input<typeof structuredOptions>): PruningKind {
  const parsed = parseOptions(structuredOptions, options);
  return { options: parsed, open: (model, ctx) => structuredStepper(model, parsed, ctx) };
}

/** Structured pruning towards the one budget of its options. The model must be prepared, and is that of the first step. */
async function structuredStepper(model: Model, options: StructuredOptions, ctx: PassContext): Promise<PruneStepper> {
  await prepareForPruning(model, ctx);
  const { macs, params } = modelCost(model);
  const whole = { targetMacs: macs, targetParams: params, targetBytes: constantBytes(model) };
  const { target, key } = targetOf(options, whole);
  let left = 1;
  let first = true;
  return {
    kind: 'structured',
    target,
    async prune(at, removed, context) {
      // Shares of units and of time are relative to what the step before left; costs are absolute.
      const ratio = (1 - removed) / left;
      const amount =
        key === 'sparsity'
          ? { sparsity: 1 - ratio }
          : key === 'targetLatency'
            ? { targetLatency: ratio }
            : { [key]: (1 - removed) * whole[key] };
      const blocks = first ? {} : { blocks: 0, removeBlocks: [] };
      await pruneModel(at, { ...options, ...amount, ...blocks, minKeep: Math.min(1, options.minKeep / left) }, context);
      left = 1 - removed;
      first = false;
    },
  };
}

type Costs = Readonly<Record<'targetMacs' | 'targetParams' | 'targetBytes', number>>;

/** The share that the budget removes, and which budget it is. */
function targetOf(options: StructuredOptions, whole: Costs): { target: number; key: keyof Costs | 'sparsity' | 'targetLatency' } {
  const { sparsity, targetLatency } = options;
  const costs = (['targetMacs', 'targetParams', 'targetBytes'] as const).filter((k) => options[k] !== undefined);
  const given = [
    ...costs,
    ...(sparsity === undefined ? [] : ['sparsity' as const]),
    ...(targetLatency === undefined ? [] : ['targetLatency' as const]),
  ];
  const [key] = given;
  if (key === undefined || given.length > 1) {
    throw usageError(`iterative pruning: expected one budget, got ${given.join(' and ') || 'none'}`, {
      hint: 'give one of --sparsity, --target-macs, --target-params, --target-bytes, --target-latency',
    });
  }
  if (key === 'sparsity') return { target: sparsity!, key };
  if (key === 'targetLatency') return { target: 1 - targetLatency!, key };
  const value = options[key]!;
  return { target: 1 - (value <= 1 ? value : value / whole[key]), key };
}

/** Single weights, by the options of `pruneUnstructured`. Weights that are zero stay zero. */
export function unstructuredPruning(options: z.input<typeof unstructuredOptions>): PruningKind {
  const parsed = parseOptions(unstructuredOptions, options);
  return {
    options: parsed,
    open: async (model) => {
      densify(model);
      return unstructuredStepper(parsed);
    },
  };
}

function unstructuredStepper(options: UnstructuredOptions, movement?: MovementScores): PruneStepper {
  const { sparsity, pattern } = options;
  const fixed = pattern === undefined ? undefined : parsePattern(pattern);
  // Patterns of N:M say themselves how many zeros there are.
  const atOnce = fixed?.kind === 'n:m';
  const target = atOnce ? 1 - fixed.keep / fixed.of : sparsity;
  if (target === undefined) {
    throw usageError('iterative pruning: expected a sparsity, got none', {
      hint: 'give --sparsity 0.9, or a pattern such as --pattern 2:4',
    });
  }
  return {
    kind: 'unstructured',
    target,
    atOnce,
    async prune(model, removed, ctx) {
      const amount = atOnce ? {} : { sparsity: removed };
      const score = movement ? (name: string, weights: Float32Array) => movement.of(name, weights) : zerosFirst(options, ctx);
      await runUnstructured(model, { ...options, ...amount, permanent: false, sparseStorage: false }, ctx, score);
    },
    byMovement: (scores) => unstructuredStepper(options, scores),
    finish(model, ctx) {
      const masked = [...masksOf(model).keys()].flatMap((name) => model.graph.ownValue(name) ?? []);
      if (options.permanent) makeMasksPermanent(model);
      if (!options.sparseStorage) return;
      const savedBytes = storeSparsely(model, masked, (value, reason) => ctx.skip({ node: value.name, op: 'sparse storage', reason }));
      ctx.note('sparseStorage', { savedBytes });
    },
  };
}

/** By chance, but what is zero goes first: all other methods score it lowest anyway. */
function zerosFirst({ method }: UnstructuredOptions, ctx: PassContext): WeightScorer | undefined {
  if (method !== 'random') return undefined;
  return (name, weights) => {
    const rng = ctx.rng.fork(name);
    return weights.map((w) => (w === 0 ? -1 : rng.uniform()));
  };
}

function parseOptions<S extends z.ZodObject>(schema: S, given: z.input<S>): z.output<S> {
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw usageError(`options of pruning: ${problems(parsed.error)}`);
  return parsed.data;
}
