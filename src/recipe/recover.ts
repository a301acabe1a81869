// Training towards the model as it was: after factors, fewer channels or other cuts, the outputs of the original are what is learnt, beside labels where there
// are any. The pass of `pare factorize --epochs`.
import { z } from 'zod';
import type { Model } from '../ir/model.js';
import { definePass, type Pass } from '../pass/define.js';
import { distillationObjective } from '../train/distillation.js';
import { openTeacher } from '../train/teacher.js';
import { prepareTraining } from './prepare-training.js';
import { runTraining, type TrainingSources, trainingOptions } from './train.js';

export const recoverOptions = z.object({
  alpha: z.number().min(0).max(1).optional().describe('weight of the original beside the labels (default 0.9; 1 without labels)'),
  temperature: z.number().positive().default(2).describe('what scores are divided by before the softmax'),
  ...trainingOptions.shape,
});

export type RecoverOptions = z.output<typeof recoverOptions>;

/** The pass; `original` answers what is learnt. */
export function recoverPass(sources: TrainingSources, original: Model): Pass<typeof recoverOptions> {
  return definePass({
    // The report shows trainings by this name.
    name: 'train',
    summary: 'new weights towards the outputs of the original model',
    options: recoverOptions,
    needs: { data: 'required', engine: true },
    async run(model, { alpha, temperature, ...training }, ctx) {
      // Subnormal numbers count as zero only where the first session of a process asks for it.
      const session = {
        threads: ctx.threads,
        ...sources.session,
        extra: { 'session.set_denormal_as_zero': '1', ...sources.session?.extra },
      };
      const prepare = prepareTraining(ctx.engine);
      const teacher = await openTeacher({ engine: ctx.engine, model: original, prepare, placement: 'session', session });
      try {
        return await runTraining(model, training, sources, ctx, {
          reference: original,
          objective: (labels) => distillationObjective({ teacher, temperature, alpha, labels }),
        });
      } finally {
        await teacher.release();
      }
    },
  });
}
