// `pare compress --recipe FILE`: runs a list of passes with their options: written by hand, or taken from the record or the result of an earlier run.
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { fileError, usageError } from '../../errors.js';
import { readModel } from '../../node/files.js';
import { openInput } from '../../node/input.js';
import { parseRecipe, recipeSchema } from '../../recipe/recipe.js';
import { recipePassesOn } from '../../recipe/recipe-training.js';
import { describeEpoch, type TrainingSources } from '../../recipe/train.js';
import { type PlanContext, type RunFlags, runWritingCommand } from '../run-passes.js';
import { addCommonFlags, addDataFlags, addWriteFlags } from '../shared-options.js';

type Flags = RunFlags & { readonly recipe?: string; readonly recipeSchema?: boolean };

export function addCompressCommand(program: Command): void {
  const command = program
    .command('compress [model]')
    .description('run a recipe: passes with their options from a JSON file, a record or a model made by pare');
  command
    .option(
      '--recipe <file>',
      'JSON list of { "pass": NAME, "options": {...} }, the --json record of a run, or an .onnx file that pare wrote',
    )
    .option('--recipe-schema', 'print the JSON Schema of recipes');
  addWriteFlags(addDataFlags(addCommonFlags(command)));
  command.addHelpText(
    'after',
    `
With --data a recipe may also train: steps train, qat and distill take the options of those commands.

Examples:
  pare compress model.onnx --recipe recipe.json --data calib.npz
  pare compress tuned.onnx --recipe model.int8.onnx --data calib.npz     (the way that file was made)
  pare compress --recipe-schema > recipe.schema.json`,
  );
  command.action(async (model: string | undefined, flags: Flags) => {
    if (flags.recipeSchema) {
      process.stdout.write(`${JSON.stringify(recipeSchema(), null, 2)}\n`);
      return;
    }
    if (model === undefined) throw usageError('expected a model, got none', { hint: 'pare compress model.onnx --recipe recipe.json' });
    if (flags.recipe === undefined)
      throw usageError('expected --recipe FILE, got none', { hint: 'pare compress --help shows what it may be' });
    const recipe = await readRecipe(flags.recipe);
    if (flags.data === undefined) {
      const passes = parseRecipe(recipe);
      await runWritingCommand('compress', model, flags, () => passes);
      return;
    }
    // Steps that train read the data of the run.
    const plan = async ({ cli, input, data, validation, metric }: PlanContext) => {
      const sources = { data: data!, validation, metric, open: readModel, seed: flags.seed, session: cli.session };
      const onEpoch: TrainingSources['onEpoch'] = (result, epochs) => cli.progress.log(describeEpoch(result, epochs));
      return { passes: parseRecipe(recipe, recipePassesOn({ ...sources, identity: await input.sha256, onEpoch })) };
    };
    await runWritingCommand('compress', model, flags, () => [], plan);
  });
}

/** JSON of a file, or what a model's metadata say of how it was made. */
async function readRecipe(path: string): Promise<unknown> {
  let text: string;
  if (path.endsWith('.onnx')) {
    const found = (await openInput(path)).model.metadata.get('pare.recipe');
    if (found === undefined) throw usageError(`"${path}" holds no recipe: expected a model that pare wrote`);
    text = found;
  } else {
    try {
      text = await readFile(path, 'utf8');
    } catch (cause) {
      throw fileError(`cannot read the recipe "${path}": ${(cause as Error).message}`, { cause });
    }
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw usageError(`recipe "${path}": expected JSON, got ${(cause as Error).message}`, { cause });
  }
}
