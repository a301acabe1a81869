// The `prune-structured` pass: removes channels, neurons, heads, hidden units and whole residual blocks with everything tied to them.
// BatchNormalization stays where it is: its scales are an importance, and a later training needs it (`pare simplify` folds it).
import { modelCost } from '../../../analysis/cost.js';
import { inferShapes } from '../../../analysis/shapes.js';
import { nothingToDoError, usageError } from '../../../errors.js';
import { DTYPES } from '../../../ir/dtype.js';
import type { Model } from '../../../ir/model.js';
import { walkGraphs } from '../../../ir/walk.js';
import { definePass, type PassContext } from '../../../pass/define.js';
import { refuseUnknown } from '../../../quant/model-checks.js';
import { simplify } from '../../simplify/index.js';
import type { Scorer } from '../importance.js';
import { blockInfluence, removeBlocks, residualBlocks } from './blocks.js';
import { stepsForLatency } from './latency.js';
import { type StructuredOptions, structuredOptions } from './options.js';
import { type PrunePlan, planRemoval, removalAfter, stepsFor, widthsAfter } from './plan.js';
import { addBiases, reconstructPruned } from './reconstruct.js';
import { removeChannels } from './remove.js';

export { type StructuredOptions, structuredOptions } from './options.js';

/** Rules that would take BatchNormalization into the weights. */
const KEPT_RULES = ['fold-affine-into-linear', 'fold-affine-before-linear'];

export const pruneStructured = definePass({
  name: 'prune-structured',
  summary: 'remove channels, neurons, heads, hidden units and whole blocks, with everything that is tied to them',
  options: structuredOptions,
  needs: { data: 'optional', engine: true },
  run: (model, options, ctx) => pruneModel(model, options, ctx),
});

/** Simplifies (BatchNormalization stays) and infers types: what the dependency analysis works on. */
export async function prepareForPruning(model: Model, ctx: PassContext): Promise<void> {
  refuseUnknown(model);
  const { definition } = simplify;
  await definition.run(model, definition.options.parse({ skip: KEPT_RULES, opset: 0 }), ctx);
  unshareVectors(model);
  inferShapes(model);
}

/**
 * Gives each node its own copy of a vector that several read: equal scales and biases are stored once, which would tie layers together that have
 * nothing to do with each other. Shared matrices stay shared.
 */
function unshareVectors(model: Model): void {
  for (const graph of walkGraphs(model.graph)) {
    for (const value of graph.initializers) {
      const tensor = value.initializer!;
      if (tensor.rank !== 1 || tensor.size < 2 || DTYPES[tensor.dtype].kind !== 'float' || !value.isConstant) continue;
      for (const use of value.uses.slice(1)) use.node.setInput(use.index, graph.addInitializer(value.name, tensor));
    }
  }
}

/** As the pass, with an importance of the caller's own: `score` answers one number a unit, higher for what must stay. Edits the model in place. */
export async function pruneModel(model: Model, options: StructuredOptions, ctx: PassContext, score?: Scorer): Promise<boolean> {
  checkOptions(options);
  await prepareForPruning(model, ctx);
  const before = modelCost(model);
  const removedBlocks = await takeBlocks(model, options, ctx);
  const channels = wantsChannels(options) ? await pruneChannels(model, options, ctx, score) : 0;
  const after = modelCost(model);
  ctx.note('cost', { macs: { before: before.macs, after: after.macs }, params: { before: before.params, after: after.params } });
  return removedBlocks + channels > 0;
}

const TARGETS = ['sparsity', 'targetMacs', 'targetParams', 'targetBytes', 'targetLatency'] as const;

function wantsChannels(options: StructuredOptions): boolean {
  return TARGETS.some((t) => options[t] !== undefined);
}

function checkOptions(options: StructuredOptions): void {
  const given = TARGETS.filter((t) => options[t] !== undefined);
  const blocks = options.blocks > 0 || options.removeBlocks.length > 0;
  if (given.length > 1) throw usageError(`expected one budget, got ${given.join(' and ')}`);
  if (given.length === 0 && !blocks) {
    throw usageError('expected a budget, got none', {
      hint: 'give one of --sparsity, --target-macs, --target-params, --target-bytes, --target-latency, --blocks',
    });
  }
}

async function takeBlocks(model: Model, options: StructuredOptions, ctx: PassContext): Promise<number> {
  const names = [...options.removeBlocks];
  if (options.blocks > 0) {
    const blocks = residualBlocks(model);
    if (blocks.length < options.blocks)
      throw usageError(`blocks: expected at most ${blocks.length}, which is all there are, got ${options.blocks}`);
    const influence = await blockInfluence(model, blocks, {
      engine: ctx.engine,
      threads: ctx.threads,
      data: ctx.data,
      samples: options.samples,
    });
    const order = blocks.map((b, i) => ({ name: b.name, influence: influence[i]! })).sort((a, b) => a.influence - b.influence);
    ctx.note('blockInfluence', order);
    names.push(
      ...order
        .map((b) => b.name)
        .filter((n) => !names.includes(n))
        .slice(0, options.blocks),
    );
  }
  if (names.length === 0) return 0;
  removeBlocks(model, names);
  inferShapes(model);
  ctx.note('blocks', names);
  return names.length;
}

async function pruneChannels(model: Model, options: StructuredOptions, ctx: PassContext, score?: Scorer): Promise<number> {
  if (options.reconstruct) {
    addBiases(model);
    inferShapes(model);
  }
  const plan = await planRemoval(model, options, score ?? options.importance, ctx);
  noteFrozen(plan, ctx);
  if (plan.groups.length === 0) {
    throw nothingToDoError('nothing to prune: expected at least one group of channels that may be removed, got none', {
      hint: [...new Set(plan.all.frozen.map((f) => `${f.layer}: ${f.reason}`))].slice(0, 8).join('\n        '),
    });
  }
  let chosen = stepsFor(plan, options);
  if (!chosen) {
    const found = await stepsForLatency(model, plan, options.targetLatency!, options.embedding, ctx);
    ctx.note('latencies', found.timed);
    chosen = { order: plan.order, count: found.count };
  }
  const removal = removalAfter(plan, chosen.order, chosen.count);
  noteGroups(plan, widthsAfter(plan, chosen.order, chosen.count), ctx);
  if (options.reconstruct) {
    if (!ctx.data) throw usageError('reconstruct needs data: expected --data SPEC', { hint: 'labels are not used' });
    const layers = await reconstructPruned(model, removal, {
      engine: ctx.engine,
      threads: ctx.threads,
      data: ctx.data,
      samples: options.samples,
      damping: options.damping,
      checkAborted: () => ctx.checkAborted(),
      onProgress: (fraction, label) => ctx.progress({ fraction, label: `reconstructing ${label}` }),
    });
    ctx.note('reconstructed', layers);
  }
  const units = [...removal.values()].reduce((n, list) => n + list.length, 0);
  if (units > 0) await removeChannels(model, plan.all, removal, { normalized: options.embedding });
  return units;
}

function noteFrozen(plan: PrunePlan, ctx: PassContext): void {
  for (const f of plan.all.frozen) {
    ctx.skip({ node: f.layer, op: f.value, reason: `${f.channels} of ${f.of} channels stay: ${f.reason}` });
  }
}

/** Widths before and after, for the report. */
function noteGroups(plan: PrunePlan, kept: readonly number[], ctx: PassContext): void {
  ctx.note(
    'groups',
    plan.groups.map((g, i) => ({
      name: g.name,
      before: g.size,
      after: kept[i]!,
      producers: g.producers,
      consumers: g.consumers,
      ties: g.ties,
    })),
  );
}
