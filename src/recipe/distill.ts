// Distillation as a pass: the teacher is the model that comes in, the student goes out in its place. Makes the student, opens the teachers where they cost least,
// chooses what is compared, and trains as `pare train` does.
import { z } from 'zod';
import { parseAugmentations } from '../data/augment.js';
import type { IndexedDataset } from '../data/dataset.js';
import { trainingData } from '../data/training.js';
import { usageError } from '../errors.js';
import type { Model } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import { definePass, type Pass, type PassContext } from '../pass/define.js';
import { absorbConstants } from '../passes/simplify/cleanup.js';
import { distillationObjective, SCORE_LOSSES } from '../train/distillation.js';
import { LOSSES } from '../train/losses.js';
import { withFeatures } from '../train/student-features.js';
import { openTeacher, type Teacher, teacherEnsemble, teacherInData } from '../train/teacher.js';
import { joinUnlabelled, type OutputStore, withTeacherOutputs } from './distill-data.js';
import { featurePairs } from './distill-maps.js';
import { makeStudent, STUDENT_FORMS } from './distill-student.js';
import { factorizeEmbeddings } from './factorize-embedding.js';
import { adoptInterface, mainOutput, replaceNetwork } from './interface.js';
import { prepareTraining } from './prepare-training.js';
import { classesOf, runTraining, type TrainingSources, takeWeights, trainingOptions } from './train.js';

const keysOf = <K extends string>(table: Readonly<Record<K, unknown>>) => Object.keys(table) as [K, ...K[]];

export const distillOptions = z.object({
  student: z.string().describe(`what learns: ${STUDENT_FORMS}`),
  loss: z
    .enum([...SCORE_LOSSES, 'none'])
    .default('kd')
    .describe('distance from the scores of the teacher'),
  alpha: z.number().min(0).max(1).optional().describe('weight of the teacher beside the labels (default 0.9; 1 without labels)'),
  temperature: z.number().positive().default(4).describe('what scores are divided by before the softmax (kd, dkd)'),
  labelLoss: z.enum(keysOf(LOSSES)).optional().describe('loss on the labels (default as in pare train)'),
  hints: z.array(z.string()).default([]).describe('values inside to compare, as STUDENT=TEACHER; other widths get a learned projection'),
  hidden: z
    .enum(['none', 'mse', 'cosine'])
    .default('none')
    .describe('compare what comes out of repeating layers: of all (mse) or of the last (cosine)'),
  attention: z
    .enum(['none', 'mse', 'kl'])
    .default('none')
    .describe('compare attention maps: of all layers (mse), or of the last with the relations among its values (kl)'),
  attentionTransfer: z.boolean().default(false).describe('compare where feature maps of pictures are large'),
  relational: z.boolean().default(false).describe('compare distances and angles among the embeddings of a batch'),
  featureWeight: z.number().positive().default(1).describe('weight of each kind of comparison inside'),
  embeddingRank: z.number().int().min(1).optional().describe('factorize tables of embeddings of the student to this rank'),
  teacherAt: z
    .enum(['auto', 'graph', 'session', 'cache'])
    .default('auto')
    .describe('where the teacher runs: in the training graph, in a session of its own, or once before (cache); auto goes by size'),
  ...trainingOptions.omit({ loss: true, foldBatchNorm: true }).shape,
});

export type DistillOptions = z.output<typeof distillOptions>;

/** What the options cannot say. */
export interface DistillSources extends Omit<TrainingSources, 'data'> {
  /** Samples to train on, with or without labels. */
  readonly data: IndexedDataset;
  /** Samples without labels that are trained on too: the first teacher labels them. */
  readonly unlabelled?: IndexedDataset | undefined;
  /** Further teachers: the mean of all scores is learnt. */
  readonly ensemble?: readonly Model[] | undefined;
  readonly open?: ((path: string) => Promise<Model>) | undefined;
  /** Keeps what the teacher answered, for the next run. */
  readonly store?: OutputStore | undefined;
}

/** What the record keeps as the note `distillation` of its pass, beside that of the training. */
export interface DistillationNote {
  readonly student: string;
  /** The teacher's layers that were copied. */
  readonly layers: readonly number[] | null;
  readonly teachers: number;
  readonly placement: Teacher['placement'];
  readonly features: readonly { readonly student: string; readonly teacher: string; readonly loss: string; readonly weight: number }[];
  readonly embeddings: readonly { readonly name: string; readonly rank: number; readonly lost: number }[];
  readonly samples: { readonly given: number; readonly unlabelled: number };
}

/** The pass over these sources; the model it runs on is the teacher. */
export function distillPass(sources: DistillSources): Pass<typeof distillOptions> {
  return definePass({
    name: 'distill',
    summary: 'a smaller network trained to answer what the model answers',
    options: distillOptions,
    needs: { data: 'required', engine: true },
    run: (model, options, ctx) => run(model, options, sources, ctx),
  });
}

async function run(model: Model, options: DistillOptions, sources: DistillSources, ctx: PassContext): Promise<boolean> {
  const teacher = cloneModel(model);
  absorbConstants(teacher);
  const made = await makeStudent(options.student, teacher, { ctx, seed: sources.seed, open: sources.open });
  absorbConstants(made.model);
  const embeddings =
    options.embeddingRank === undefined ? [] : await factorizeEmbeddings(made.model, options.embeddingRank, ctx.engine, ctx.threads);
  const features = featurePairs(made.model, teacher, options);
  const student = withFeatures(made.model, teacher, features, sources.seed);
  const data = sources.unlabelled
    ? await joinUnlabelled(sources.data, sources.unlabelled, teacher, { engine: ctx.engine, session: sources.session })
    : sources.data;
  const output = mainOutput(teacher.graph).name;
  const opened = await openTeachers(
    teacher,
    student.model,
    data,
    [...new Set([output, ...features.map((f) => f.teacher)])],
    options,
    sources,
    ctx,
  );
  try {
    const training = {
      augment: options.augment === undefined ? undefined : parseAugmentations(options.augment),
      buckets: options.buckets,
      classes: data.classes?.length ?? classesOf(teacher),
    };
    const { labelLoss, ...others } = options;
    await runTraining(student.model, { ...others, loss: labelLoss }, { ...sources, data: trainingData(opened.data, training) }, ctx, {
      reference: teacher,
      objective: (labels) =>
        distillationObjective({
          teacher: opened.teacher,
          loss: options.loss,
          temperature: options.temperature,
          alpha: options.alpha,
          labels,
          features: student.terms,
          teacherOutput: output,
        }),
    });
  } finally {
    await opened.teacher.release();
  }
  // Weights of projections stay behind.
  takeWeights(made.model, student.model);
  replaceNetwork(model, made.model);
  ctx.note('distillation', {
    student: options.student,
    layers: made.layers ?? null,
    teachers: 1 + (sources.ensemble?.length ?? 0),
    placement: opened.teacher.placement,
    features: features.map((f) => ({ ...f, weight: f.weight ?? 1 })),
    embeddings: embeddings.map(({ name, rank, lost }) => ({ name, rank, lost })),
    samples: { given: sources.data.size, unlabelled: sources.unlabelled?.size ?? 0 },
  } satisfies DistillationNote);
  return true;
}

/**
 * The teachers and the data to train on. Where every epoch shows the same inputs and the answers are small, the teachers run once before.
 */
async function openTeachers(
  teacher: Model,
  student: Model,
  data: IndexedDataset,
  values: readonly string[],
  options: DistillOptions,
  sources: DistillSources,
  ctx: PassContext,
): Promise<{ teacher: Teacher; data: IndexedDataset }> {
  const [output] = values as [string];
  const others = (sources.ensemble ?? []).map((m) => {
    const adopted = adoptInterface(m, teacher);
    absorbConstants(adopted);
    return adopted;
  });
  if (others.length > 0 && values.length > 1) {
    throw usageError('several teachers: expected only scores to be compared, got comparisons inside too', {
      hint: 'leave --hints, --hidden and the like out',
    });
  }
  const session = { threads: ctx.threads, ...sources.session };
  const { teacherAt } = options;
  if (teacherAt === 'cache' || (teacherAt === 'auto' && options.augment === undefined)) {
    const cached = await withTeacherOutputs(data, [teacher, ...others], output, {
      engine: ctx.engine,
      session,
      wanted: values.length === 1,
      insist: teacherAt === 'cache',
      augmented: options.augment !== undefined,
      epochs: options.epochs,
      identity: sources.identity,
      store: sources.store,
      onProgress: (fraction) => ctx.progress({ fraction, label: 'asking the teacher' }),
    });
    if (cached) return { teacher: teacherInData([output]), data: cached };
  }
  const placement = teacherAt === 'cache' ? 'auto' : teacherAt;
  const prepare = prepareTraining(ctx.engine);
  const open = (m: Model, i: number) =>
    openTeacher({
      engine: ctx.engine,
      model: m,
      values,
      student,
      placement,
      prepare,
      session,
      prefix: i === 0 ? 'teacher/' : `teacher${i}/`,
    });
  const all = await Promise.all([teacher, ...others].map(open));
  return { teacher: all.length === 1 ? all[0]! : teacherEnsemble(all), data };
}
