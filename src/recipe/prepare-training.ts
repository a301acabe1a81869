// What is done to graphs before they are differentiated and before they are run: simplification that leaves Dropout at work.
import type { Model } from '../ir/model.js';
import { runPasses } from '../pass/manager.js';
import { simplify } from '../passes/simplify/index.js';
import type { Engine } from '../runtime/engine.js';

/** For the option `prepare` of `train`: upgrades the opset, folds shape arithmetic, fuses, and keeps Dropout. */
export function prepareTraining(engine: Engine): (model: Model) => Promise<Model> {
  return async (model) => (await runPasses(model, [simplify({ skip: ['remove-dropout'] })], { engine })).model;
}
