// The `factorize` pass: matrices and convolutions as products of smaller ones, where that saves. Ranks follow from the power to keep, or from a budget of
// multiply-accumulates, bytes or time that is shared out among the layers by what each loses (on data: by what that does to the model's outputs).
import { modelCost } from '../../analysis/cost.js';
import { constantBytes } from '../../analysis/facts.js';
import { inferShapes } from '../../analysis/shapes.js';
import { nothingToDoError, qualityError } from '../../errors.js';
import type { Model } from '../../ir/model.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { DenseMath } from '../../quant/dense-math.js';
import { type LayerStatistics, layerMatrices } from '../../quant/layer-probe.js';
import { refuseUnknown } from '../../quant/model-checks.js';
import { simplify } from '../simplify/index.js';
import { allocate, type Choice } from './allocate.js';
import { layerCandidates } from './candidates.js';
import type { Candidate, FactorLayer } from './factorization.js';
import { ratioOfModel } from './latency.js';
import { factorLayers, type Projection, projectionErrors, takesMean, visitStatistics } from './layers.js';
import { budgetOf, convMethods, type LowRankOptions, lowRankOptions } from './options.js';
import { replaceLayer } from './rewrite.js';
import type { Truncations } from './weighted-svd.js';

export { type LowRankOptions, lowRankOptions } from './options.js';

export const factorize = definePass({
  name: 'factorize',
  summary: 'matrices and convolutions as products of smaller ones, where that saves',
  options: lowRankOptions,
  needs: { data: 'optional', engine: true },
  run: factorizeModel,
});

/** A layer with all that may become of it. */
interface Plan extends FactorLayer {
  /** [k, n]. */
  readonly weight: Float32Array;
  readonly mean: Float64Array | null;
  readonly candidates: readonly Candidate[];
  readonly truncations: Truncations;
  /** What losing all of the layer's power is taken to cost the model. */
  importance: number;
}

/** One row of the note `layers`. */
export interface FactoredLayer {
  readonly layer: string;
  readonly op: string;
  /** [k, n]. */
  readonly shape: readonly [number, number];
  readonly method: string;
  readonly ranks: readonly number[];
  readonly macs: { readonly before: number; readonly after: number };
  /** Share of the power of the layer's output (of its weight, without data) that is kept. */
  readonly energy: number;
}

async function factorizeModel(model: Model, options: LowRankOptions, ctx: PassContext): Promise<boolean> {
  const budget = budgetOf(options);
  refuseUnknown(model);
  const { definition } = simplify;
  await definition.run(model, definition.options.parse({}), ctx);
  inferShapes(model);
  const layers = factorLayers(model, options, ctx);
  if (layers.length === 0)
    throw nothingToDoError('low rank: expected matrix products or convolutions with float weights of their own, got none');
  const math = await DenseMath.open(ctx.engine, ctx.threads);
  try {
    const plans = await plansOf(model, layers, options, math, ctx);
    const before = modelCost(model);
    if (ctx.data && options.weighted && options.sensitivity && budget.kind.startsWith('target')) await weigh(model, plans, ctx);
    const chosen =
      budget.kind === 'targetLatency'
        ? await chooseForLatency(model, plans, budget.value, ctx)
        : chooseWithin(model, plans, budget.kind, budget.value);
    const rows = await rewrite(plans, chosen, ctx);
    if (rows.length === 0) {
      ctx.warn({
        message: 'no layer was factored: none would be smaller at the rank it needs',
        fix: 'keep less (--rank-energy, --target-macs), and train afterwards to win quality back',
      });
    }
    inferShapes(model);
    const after = modelCost(model);
    ctx.note('layers', rows);
    ctx.note('cost', { macs: { before: before.macs, after: after.macs }, params: { before: before.params, after: after.params } });
    return true;
  } finally {
    await math.release();
  }
}

async function plansOf(
  model: Model,
  layers: readonly FactorLayer[],
  options: LowRankOptions,
  math: DenseMath,
  ctx: PassContext,
): Promise<Plan[]> {
  const plans: Plan[] = [];
  const plan = async (entry: FactorLayer, statistics: LayerStatistics | undefined) => {
    ctx.checkAborted();
    const { layer } = entry;
    const [weight] = layerMatrices(layer, (await model.graph.ownValue(layer.weight)!.initializer!.load()).floats());
    const centred = statistics !== undefined && takesMean(entry);
    const h = statistics && Float32Array.from(centred ? statistics.centredGram(0) : statistics.gram[0]!);
    const { candidates, truncations } = await layerCandidates(entry, weight!, {
      math,
      h: h ?? null,
      damping: options.damping,
      methods: convMethods(options),
      roundTo: options.roundTo,
      rank: options.rank,
    });
    const saving = candidates.filter((c) => c.macs <= entry.macs * (1 - options.minSaving));
    const mean = centred ? statistics.sum[0]!.map((s) => s / statistics.rows) : null;
    plans.push({ ...entry, weight: weight!, mean, candidates: saving, truncations, importance: 1 });
  };
  const { data } = ctx;
  if (data && options.weighted) await visitStatistics(model, layers, data, options.samples, ctx, plan);
  else {
    for (const [i, entry] of layers.entries()) {
      ctx.progress({ fraction: i / layers.length, label: 'decomposing', detail: entry.layer.label });
      await plan(entry, undefined);
    }
  }
  return plans;
}

/** Importance of each layer: the change of the outputs at a middle rank, by the power that is lost there. */
async function weigh(model: Model, plans: readonly Plan[], ctx: PassContext): Promise<void> {
  const projections: Projection[] = [];
  for (const plan of plans) {
    const { layer, node } = plan;
    const rank = Math.max(1, Math.floor((layer.k * layer.n) / (layer.k + layer.n) / 2));
    const centre = new Float32Array(layer.n);
    if (plan.mean) {
      for (let i = 0; i < layer.k; i++)
        for (let o = 0; o < layer.n; o++) centre[o]! += layer.alpha * plan.mean[i]! * plan.weight[i * layer.n + o]!;
    }
    // A bias inside the node is no part of what is factored.
    const bias = node.input(2)?.initializer;
    if (bias?.size === layer.n) for (const [o, v] of bias.floats().entries()) centre[o]! += v;
    projections.push({ entry: plan, rank, directions: await plan.truncations.directions(rank), centre });
  }
  const errors = await projectionErrors(model, projections, ctx.data!, ctx);
  plans.forEach((plan, i) => {
    const lost = plan.truncations.lost(projections[i]!.rank);
    if (lost > 0) plan.importance = errors[i]! / lost;
  });
  ctx.note(
    'importance',
    plans.map((p) => ({ layer: p.layer.label, importance: p.importance })),
  );
}

/** Bytes of a float. */
const FLOAT = 4;

/** Index of the candidate for each layer; -1 leaves it as it is. */
function chooseWithin(model: Model, plans: readonly Plan[], kind: string, value: number): number[] {
  switch (kind) {
    case 'rankEnergy':
      return plans.map((p) => smallest(p.candidates, (c) => 1 - c.lost >= value));
    case 'rank':
      return plans.map((p) => smallest(p.candidates, () => true));
    case 'rankRatio':
      return plans.map((p) => leastLost(p.candidates, (c) => c.macs <= p.macs * value * (1 + 1e-9)));
    case 'targetBytes': {
      const whole = constantBytes(model);
      return shareOut(
        plans,
        whole,
        value,
        (c) => c.params * FLOAT,
        (p) => p.params * FLOAT,
      );
    }
    default:
      return shareOut(
        plans,
        modelCost(model).macs,
        value,
        (c) => c.macs,
        (p) => p.macs,
      );
  }
}

/** The cheapest candidate that will do. */
function smallest(candidates: readonly Candidate[], will: (c: Candidate) => boolean): number {
  let best = -1;
  candidates.forEach((c, i) => {
    if (will(c) && (best < 0 || c.macs < candidates[best]!.macs)) best = i;
  });
  return best;
}

/** The candidate that loses least of those that will do; the smallest of all where none does. */
function leastLost(candidates: readonly Candidate[], will: (c: Candidate) => boolean): number {
  let best = -1;
  candidates.forEach((c, i) => {
    if (will(c) && (best < 0 || c.lost < candidates[best]!.lost)) best = i;
  });
  return best < 0 ? smallest(candidates, () => true) : best;
}

function shareOut(
  plans: readonly Plan[],
  whole: number,
  target: number,
  costOf: (c: Candidate) => number,
  fullOf: (p: Plan) => number,
): number[] {
  const amount = target <= 1 ? target * whole : target;
  const fixed = whole - plans.reduce((sum, p) => sum + fullOf(p), 0);
  const choices = plans.map((p): Choice[] => [
    { cost: fullOf(p), loss: 0 },
    ...p.candidates.map((c) => ({ cost: costOf(c), loss: p.importance * c.lost })),
  ]);
  return allocate(choices, amount - fixed).map((c) => c - 1);
}

/** Shares of the multiply-accumulates that are tried. */
const TRIALS = 6;

async function chooseForLatency(model: Model, plans: readonly Plan[], target: number, ctx: PassContext): Promise<number[]> {
  const whole = modelCost(model).macs;
  const timed: { macs: number; ratio: number }[] = [];
  const time = async (share: number) => {
    ctx.checkAborted();
    const chosen = chooseWithin(model, plans, 'targetMacs', share);
    const ratio = await ratioOfModel(model, await Promise.all(plans.map((p, i) => p.candidates[chosen[i]!]?.build())), plans, ctx);
    timed.push({ macs: share, ratio });
    return { chosen, ratio };
  };
  const fixed = whole - plans.reduce((sum, p) => sum + p.macs, 0);
  let low = (fixed + plans.reduce((sum, p) => sum + Math.min(p.macs, ...p.candidates.map((c) => c.macs)), 0)) / whole;
  let best = await time(Math.min(1, low * (1 + 1e-9)));
  if (best.ratio > target) {
    throw qualityError(`expected a latency of ${target} of the original's, got at best ${best.ratio.toFixed(3)}`, {
      hint: 'ask for less; small models spend their time elsewhere than in products',
    });
  }
  let high = 1;
  for (let i = 0; i < TRIALS; i++) {
    const middle = (low + high) / 2;
    const tried = await time(middle);
    if (tried.ratio > target) high = middle;
    else {
      low = middle;
      best = tried;
    }
  }
  ctx.note('timed', timed);
  return best.chosen;
}

async function rewrite(plans: readonly Plan[], chosen: readonly number[], ctx: PassContext): Promise<FactoredLayer[]> {
  const rows: FactoredLayer[] = [];
  for (const [i, plan] of plans.entries()) {
    const candidate = plan.candidates[chosen[i]!];
    const { layer, node } = plan;
    if (!candidate) {
      ctx.skip({ node: layer.label, op: node.opType, reason: 'it would not be smaller at the rank it needs' });
      continue;
    }
    ctx.progress({ fraction: i / plans.length, label: 'factoring', detail: layer.label });
    rows.push({
      layer: layer.label,
      op: node.opType,
      shape: [layer.k, layer.n],
      method: candidate.method,
      ranks: candidate.ranks,
      macs: { before: plan.macs, after: Math.round(candidate.macs) },
      energy: 1 - candidate.lost,
    });
    replaceLayer(plan, await candidate.build(), { mean: plan.mean, weight: plan.weight });
  }
  return rows;
}
