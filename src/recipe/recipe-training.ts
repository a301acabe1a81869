// Trainings as steps of a recipe: `train`, `qat` and `distill` over the data of the run. Augmentation and lengths of sequences are options of the step.
import { parseAugmentations } from '../data/augment.js';
import type { IndexedDataset } from '../data/dataset.js';
import { trainingData } from '../data/training.js';
import type { Model } from '../ir/model.js';
import { definePass, type Pass, type PassContext } from '../pass/define.js';
import { type DistillSources, distillPass } from './distill.js';
import { qatPass } from './qat.js';
import { RECIPE_PASSES } from './recipe.js';
import { classesOf, type TrainingSources, trainPass } from './train.js';

/** The passes of recipes with those that train on this data: for the second argument of `parseRecipe`. */
export function recipePassesOn(sources: DistillSources): readonly Pass[] {
  const own = [overData(trainPass, sources), overData(qatPass, sources), distillPass(sources)];
  return [...RECIPE_PASSES, ...(own as unknown as readonly Pass[])];
}

interface DataOptions {
  readonly augment?: string | undefined;
  readonly buckets?: number | undefined;
}

/** The pass over batches made as its own options say. */
function overData<P extends ReturnType<typeof trainPass> | ReturnType<typeof qatPass>>(
  make: (sources: TrainingSources) => P,
  { data, ...sources }: DistillSources,
): Pass {
  const { definition } = make({ ...sources, data: trainingData(data) }) as unknown as Pass;
  return definePass({
    ...definition,
    run: (model: Model, options: DataOptions & Record<string, unknown>, ctx: PassContext) => {
      const pass = make({ ...sources, data: batchesOf(data, model, options) }) as unknown as Pass;
      return pass.definition.run(model, options, ctx);
    },
  }) as unknown as Pass;
}

function batchesOf(data: IndexedDataset, model: Model, { augment, buckets }: DataOptions) {
  return trainingData(data, {
    augment: augment === undefined ? undefined : parseAugmentations(augment),
    buckets,
    classes: data.classes?.length ?? classesOf(model),
  });
}
