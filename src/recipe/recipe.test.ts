import { expect, test } from 'vitest';
import { feedsDataset, randomTensor } from '../../tests/pass-context.js';
import { buildModel } from '../ir/builder.js';
import { printModel } from '../ir/text.js';
import { nodeEngine } from '../node/engine.js';
import { runPasses } from '../pass/manager.js';
import { quantizeStatic } from '../passes/quantize/static.js';
import { quantizeWeights } from '../passes/quantize/weights.js';
import { recipeOf } from './metadata.js';
import { parseRecipe, RECIPE_PASSES, recipeSchema } from './recipe.js';

const model = () =>
  buildModel('m', (b) =>
    b.output(b.op('MatMul', [b.input('x', 'float', [4, 64]), b.constant('w', randomTensor([64, 32], 1))], {}, { name: 'm' }), 'y'),
  );
const data = feedsDataset([{ x: randomTensor([4, 64], 2) }, { x: randomTensor([4, 64], 3) }]);

test.each([
  ['static', quantizeStatic({ observer: 'percentile', exclude: ['other*'] })],
  ['weights', quantizeWeights({ bits: 4, minElements: 64 })],
])('the recipe of a run (%s) runs again and gives the same model', async (_, pass) => {
  const env = { engine: await nodeEngine(), data, seed: 3 };
  const first = await runPasses(model(), [pass], env);
  const record = JSON.parse(JSON.stringify({ command: 'quantize', recipe: recipeOf([pass]) }));
  const again = await runPasses(model(), parseRecipe(record), env);
  expect(recipeOf(parseRecipe(record))).toEqual(recipeOf([pass]));
  expect(printModel(again.model)).toBe(printModel(first.model));
});

test('every pass can be named alone, as a list or under "passes"', () => {
  const names = RECIPE_PASSES.map((p) => p.definition.name);
  expect(new Set(names).size).toBe(names.length);
  expect(parseRecipe(names).map((p) => p.name)).toEqual(names);
  expect(parseRecipe({ passes: [{ pass: 'fp16' }] })[0]!.options).toMatchObject({ io: 'keep' });
});

test.each([
  [[], /expected a list/],
  [{ steps: [] }, /expected a list/],
  [['quantise'], /step 1: expected one of simplify, .*got "quantise"/],
  [[{ pass: 'fp16', options: { bits: 4 } }], /step 1: fp16 has no option "bits"/],
  [['simplify', { pass: 'quantize-weights', options: { bits: 5.5 } }], /options of quantize-weights: bits/],
])('%j is a user error', (recipe, message) => {
  expect(() => parseRecipe(recipe)).toThrow(message);
});

test('the schema has every pass with its options', () => {
  const { items } = recipeSchema() as { items: { anyOf: { properties?: { pass: { const: string }; options: { properties: object } } }[] } };
  const steps = items.anyOf.slice(1);
  expect(steps.map((s) => s.properties!.pass.const)).toEqual(RECIPE_PASSES.map((p) => p.definition.name));
  const weights = steps.find((s) => s.properties!.pass.const === 'quantize-weights')!;
  expect(Object.keys(weights.properties!.options.properties)).toContain('block');
});
