// Recipes: passes with their options as JSON, in the order in which they run. Every result carries its own (`pare.recipe` in its metadata, `recipe` in the
// record), so that what was found by search once can be run again on another model. A recipe names passes; it holds no data and no search.
import { z } from 'zod';
import { usageError } from '../errors.js';
import type { BoundPass, Pass } from '../pass/define.js';
import { addAdapters } from '../passes/adapters/add.js';
import { mergeAdapters } from '../passes/adapters/merge.js';
import { factorize } from '../passes/lowrank/index.js';
import { toBf16 } from '../passes/precision/bf16.js';
import { toFp16 } from '../passes/precision/fp16.js';
import { pruneStructured } from '../passes/prune/structured/index.js';
import { pruneUnstructured } from '../passes/prune/unstructured/index.js';
import { quantizeCodebook } from '../passes/quantize/codebook.js';
import { quantizeDynamic } from '../passes/quantize/dynamic.js';
import { spellOutLookups } from '../passes/quantize/spell-out-lookups.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { storeWeights } from '../passes/quantize/stored.js';
import { quantizeWeights } from '../passes/quantize/weights.js';
import { hoistConstants } from '../passes/simplify/hoist-constants.js';
import { simplify } from '../passes/simplify/index.js';

/** Passes that a recipe may name. */
export const RECIPE_PASSES: readonly Pass[] = [
  simplify,
  hoistConstants,
  pruneStructured,
  pruneUnstructured,
  factorize,
  addAdapters,
  mergeAdapters,
  quantizeStatic,
  quantizeDynamic,
  quantizeWeights,
  quantizeCodebook,
  storeWeights,
  spellOutLookups,
  toFp16,
  toBf16,
] as unknown as readonly Pass[];

const step = z.union([
  z.string().transform((pass) => ({ pass, options: {} as Record<string, unknown> })),
  z.object({ pass: z.string(), options: z.record(z.string(), z.unknown()).default({}) }).strict(),
]);

/**
 * Binds a recipe: a list of `{ pass, options }` or of names, or an object that has one as `recipe` (the record of a run) or `passes`.
 * Throws E_USAGE for unknown passes and options that a pass does not take.
 */
export function parseRecipe(value: unknown, passes: readonly Pass[] = RECIPE_PASSES): BoundPass[] {
  const holder = typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  const list = holder ? (holder.recipe ?? holder.passes) : value;
  const parsed = z.array(step).nonempty().safeParse(list);
  if (!parsed.success)
    throw usageError('recipe: expected a list of { "pass": NAME, "options": {...} }, or an object that has one as "recipe"', {
      hint: parsed.error.issues.map((i) => `${i.path.join('.') || 'recipe'}: ${i.message}`).join('; '),
    });
  return parsed.data.map(({ pass: name, options }, i) => {
    const pass = passes.find((p) => p.definition.name === name);
    if (!pass) throw usageError(`recipe, step ${i + 1}: expected one of ${passes.map((p) => p.definition.name).join(', ')}, got "${name}"`);
    const unknown = Object.keys(options).filter((key) => !(key in pass.definition.options.shape));
    if (unknown.length > 0) throw usageError(`recipe, step ${i + 1}: ${name} has no option ${unknown.map((k) => `"${k}"`).join(', ')}`);
    return pass(options);
  });
}

/** JSON Schema of recipes: for editors, and for checking a file elsewhere. */
export function recipeSchema(passes: readonly Pass[] = RECIPE_PASSES): Record<string, unknown> {
  const steps = passes.map(({ definition }) => ({
    type: 'object',
    description: definition.summary,
    properties: { pass: { const: definition.name }, options: z.toJSONSchema(definition.options, { io: 'input', unrepresentable: 'any' }) },
    required: ['pass'],
    additionalProperties: false,
  }));
  const names = passes.map((p) => p.definition.name);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Recipe of pare',
    type: 'array',
    items: { anyOf: [{ enum: names }, ...steps] },
  };
}
