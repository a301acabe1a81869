// The `simplify` pass: the same results with fewer nodes. Upgrades the opset, folds what is constant, drops what is dead or does nothing,
// merges what is there twice, and recognises what exporters took apart. Rounds of these go on until nothing changes.
import { z } from 'zod';
import { GraphInference } from '../../analysis/infer-graph.js';
import { inferShapes } from '../../analysis/shapes.js';
import { forgetAddedTypes, typedNames } from '../../analysis/stated-types.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkNodes } from '../../ir/walk.js';
import { definePass, type PassContext } from '../../pass/define.js';
import { applyRules, mergeOutcomes, type RewriteHooks, type RuleOutcome } from '../../rewrite/driver.js';
import type { Rule } from '../../rewrite/rule.js';
import { ACTIVATION_RULES, CONTRIB_ACTIVATION_RULES } from './activations.js';
import { CONTRIB_ATTENTION_RULES } from './attention.js';
import { absorbConstants, fixInputDefaults, removeDeadCode, removeUnusedFunctions, removeUnusedOpsets } from './cleanup.js';
import { dedupeInitializers, mergeCommonSubexpressions, mergeEqualShapes } from './dedupe.js';
import { AFFINE_RULES } from './fold-affine.js';
import { foldConstants, foldKnownValues, type Refused } from './fold-constants.js';
import { PAD_RULES } from './fold-pad.js';
import { SCALE_RULES } from './fold-scale.js';
import { GEMM_RULES } from './gemm.js';
import { IDENTITY_RULES } from './identity.js';
import { inlineConstantIfs } from './inline-if.js';
import { LAYOUT_RULES } from './layout.js';
import { MERGE_RULES } from './merges.js';
import { NORM_RULES } from './normalizations.js';
import { RESHAPE_RULES } from './reshapes.js';
import { readShapesFromInputs } from './shapes-from-inputs.js';
import { upgradeOpset } from './upgrade/upgrade.js';

/** Rounds after which the pass stops even if the last one changed something. */
const MAX_ROUNDS = 24;

const options = z.object({
  opset: z.number().int().min(0).max(25).default(21).describe("opset to upgrade to; 0 keeps the model's own"),
  fuse: z.boolean().default(true).describe('recognise layer normalization, GELU, HardSwish and the like'),
  contrib: z.boolean().default(false).describe('also use com.microsoft operators, which only ONNX Runtime knows'),
  maxFoldBytes: z
    .number()
    .int()
    .min(0)
    .default(1 << 20)
    .describe('bytes by which folded constants may grow the model'),
  keepTied: z
    .boolean()
    .default(true)
    .describe('keep a weight that is read both as it is and transposed as one constant; runtimes transpose it when they load the model'),
  inputDefaults: z
    .enum(['auto', 'keep', 'constant'])
    .default('auto')
    .describe(
      'inputs with a default value: keep them, make them constants, or (auto) only where the file format made listing them mandatory',
    ),
  skip: z.array(z.string()).default([]).describe('names of rules not to apply'),
});

export type SimplifyOptions = z.output<typeof options>;

/** Rules in the order in which they are tried at a node. */
export function simplifyRules(opts: Pick<SimplifyOptions, 'fuse' | 'contrib' | 'skip'>): Rule[] {
  return [
    ...IDENTITY_RULES,
    ...MERGE_RULES,
    ...RESHAPE_RULES,
    ...LAYOUT_RULES,
    ...PAD_RULES,
    ...AFFINE_RULES,
    ...SCALE_RULES,
    ...(opts.fuse ? [...NORM_RULES, ...ACTIVATION_RULES] : []),
    ...(opts.fuse && opts.contrib ? [...CONTRIB_ACTIVATION_RULES, ...CONTRIB_ATTENTION_RULES] : []),
    ...GEMM_RULES,
  ].filter((r) => !opts.skip.includes(r.name));
}

export const simplify = definePass({
  name: 'simplify',
  summary: 'fold constants, remove what does nothing, fuse what exporters took apart, upgrade the opset',
  options,
  needs: { engine: true },
  run: simplifyModel,
});

async function simplifyModel(model: Model, opts: SimplifyOptions, ctx: PassContext): Promise<boolean> {
  const before = countNodes(model);
  const stated = typedNames(model);
  let changed = prepare(model, opts, ctx);
  const rules = simplifyRules(opts);
  const refused: Refused = new Set();
  const reasons = new Map<string, string>();
  let outcomes: RuleOutcome[] = [];
  let folded = 0;
  let merged = 0;
  let budgetBytes = opts.maxFoldBytes;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    ctx.checkAborted();
    let edits = removeDeadCode(model);
    const report = inferShapes(model);
    const known = foldKnownValues(model, report.values);
    const result = await foldConstants(model, () => ctx.engine, {
      budgetBytes,
      threads: ctx.threads,
      refused,
      keepTied: opts.keepTied,
    });
    budgetBytes -= result.grownBytes;
    for (const { value, reason } of result.kept) reasons.set(value.name, reason);
    folded += known + result.folded;
    edits += known + result.folded + inlineConstantIfs(model);
    const twins =
      (await dedupeInitializers(model)) +
      mergeCommonSubexpressions(model) +
      mergeEqualShapes(model, report.values) +
      readShapesFromInputs(model, report.values);
    merged += twins;
    const applied = applyRules(model, rules, hooksOf(model, report.values, ctx));
    outcomes = mergeOutcomes(outcomes, applied);
    edits += twins + applied.reduce((n, o) => n + o.hits, 0);
    if (edits > 0) changed = true;
    ctx.progress({ fraction: undefined, label: `round ${round + 1}: ${countNodes(model)} nodes` });
    if (edits === 0) break;
  }
  removeUnusedFunctions(model);
  forgetAddedTypes(model, stated);
  if (removeUnusedOpsets(model).length > 0) changed = true;
  ctx.rules(outcomes);
  for (const [name, reason] of reasons) {
    const producer = findValue(model, name)?.producer;
    if (producer) ctx.skip({ node: producer.label, op: producer.op, reason: `not folded: ${reason}` });
  }
  ctx.note('nodes', { before, after: countNodes(model) });
  ctx.note('folded', folded);
  ctx.note('merged', merged);
  return changed;
}

/** What is done once, before the rounds. */
function prepare(model: Model, opts: SimplifyOptions, ctx: PassContext): boolean {
  let changed = false;
  if (opts.inputDefaults === 'constant' || (opts.inputDefaults === 'auto' && listsAllConstants(model))) {
    const fixed = fixInputDefaults(model);
    if (fixed.length > 0) {
      changed = true;
      ctx.note('inputDefaults', fixed);
      if (model.irVersion >= 4) {
        ctx.warn({
          message: `${fixed.length} inputs with default values became constants (every constant of the file was listed as an input)`,
          fix: 'set inputDefaults to "keep" if callers feed them',
        });
      }
    }
  }
  if (absorbConstants(model) > 0) changed = true;
  if (removeDeadCode(model) > 0) changed = true;
  if (opts.opset > model.opset) {
    const upgrade = upgradeOpset(model, opts.opset);
    ctx.note('opset', { before: upgrade.from, after: upgrade.to });
    for (const { label, op, reason } of upgrade.blocked)
      ctx.skip({ node: label, op, reason: `keeps the model at opset ${upgrade.to}: ${reason}` });
    if (upgrade.to !== upgrade.from) changed = true;
  }
  return changed;
}

/**
 * Before IR version 4 every initializer had to be listed as an input, and some exporters kept the habit: nobody meant those to be fed.
 * A model that lists only some of them means it.
 */
function listsAllConstants(model: Model): boolean {
  return model.irVersion < 4 || model.graph.initializers.every((v) => v.isGraphInput);
}

/** Types of new nodes are inferred where they are made; what is known of contents comes from the last inference of the whole model. */
function hooksOf(model: Model, values: ReturnType<typeof inferShapes>['values'], ctx: PassContext): RewriteHooks {
  const inference = new GraphInference(model, false);
  for (const [value, content] of values) inference.values.set(value, content);
  return { infer: (node) => inference.inferNode(node), checkAborted: () => ctx.checkAborted() };
}

function countNodes(model: Model): number {
  let count = 0;
  for (const _ of walkNodes(model.graph)) count++;
  return count;
}

function findValue(model: Model, name: string): Value | undefined {
  return model.graph.value(name);
}
