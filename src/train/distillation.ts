// Distillation as an objective: alpha times the distance from the teacher's scores, plus (1 - alpha) times the loss on labels, plus weighted distances of
// features inside (Hinton et al. 2015 and what followed). Works on unlabelled data with alpha 1. Which features belong together is decided elsewhere.
import type { Batch } from '../data/dataset.js';
import { shapeError, usageError } from '../errors.js';
import { isFloat } from '../ir/dtype.js';
import type { Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import { dimsOf, type GradBuilder, sameDims } from '../ops/grad-builder.js';
import {
  attentionMaps,
  attentionTransfer,
  cosineDifference,
  decoupled,
  embeddingsOf,
  relational,
  softTargets,
  squaredDifference,
  valueRelations,
} from './distillation-losses.js';
import { addInput, comparedOutput, type Feeds, type Objective } from './objective.js';
import type { Teacher } from './teacher.js';

/** Distances between scores (or embeddings, for `cosine`). */
export const SCORE_LOSSES = ['kd', 'dkd', 'logits-mse', 'cosine'] as const;
export type ScoreLoss = (typeof SCORE_LOSSES)[number];

/** Distances between a value inside the student and one inside the teacher. */
export const FEATURE_LOSSES = {
  /** Mean squared difference of features of equal shape (FitNets, TinyBERT). */
  mse: (b, s, t, mask) => squaredDifference(b, s, t, mask),
  /** Angle of vectors on the last axis (DistilBERT). */
  cosine: (b, s, t, mask) => cosineDifference(b, s, t, mask),
  /** Where feature maps are large (Zagoruyko and Komodakis). */
  'attention-transfer': (b, s, t) => attentionTransfer(b, s, t),
  /** Attention probabilities, squared (TinyBERT). */
  'attention-mse': (b, s, t, mask) => attentionMaps(b, s, t, 'mse', mask),
  /** Attention probabilities, divergence (MiniLM). */
  'attention-kl': (b, s, t, mask) => attentionMaps(b, s, t, 'kl', mask),
  /** Relations among values of attention (MiniLM). */
  'value-relations': (b, s, t, mask) => valueRelations(b, s, t, mask),
  /** Distances and angles among the samples of a batch (RKD). */
  relational: (b, s, t, mask) => relational(b, embeddingsOf(b, s, mask), embeddingsOf(b, t, mask)),
} as const satisfies Record<string, (b: GradBuilder, student: Value, teacher: Value, mask: Value | undefined) => Value>;

export type FeatureLoss = keyof typeof FEATURE_LOSSES;

export interface FeatureTerm {
  readonly loss: FeatureLoss;
  /** Output of the model that is trained. */
  readonly student: string;
  /** Value that the teacher was opened with. */
  readonly teacher: string;
  readonly weight: number;
}

export interface DistillationOptions {
  readonly teacher: Teacher;
  /** Distance between scores (default `kd`); `none` compares features only. */
  readonly loss?: ScoreLoss | 'none' | undefined;
  /** Default 4. */
  readonly temperature?: number | undefined;
  /** Weight of the teacher beside the labels, from 0 to 1 (default 0.9; 1 without `labels`). */
  readonly alpha?: number | undefined;
  /** Loss on the labels. */
  readonly labels?: Objective | undefined;
  readonly features?: readonly FeatureTerm[] | undefined;
  /** Output of the student whose scores are compared; default: the one named "logits", else the first float one. */
  readonly output?: string | undefined;
  /** The teacher's; default: the same name where it has one, else its first. */
  readonly teacherOutput?: string | undefined;
  /** Axis of the classes; default the last, for maps [n, classes, height, width] axis 1. */
  readonly axis?: number | undefined;
  /** Weights of the two parts of `dkd` (default 1 and 8). */
  readonly decoupled?: { readonly target?: number | undefined; readonly others?: number | undefined } | undefined;
  /** Input [n, tokens] that is 0 at padding, which then does not count (default "attention_mask", where there is one). */
  readonly mask?: string | undefined;
}

const LABELS = 'distillation_labels';

/** The objective. Throws E_USAGE for weights out of range or nothing to learn from, E_SHAPE where teacher and student do not fit, when it is built. */
export function distillationObjective(options: DistillationOptions): Objective {
  const { teacher, labels, loss = 'kd', temperature = 4, features = [] } = options;
  const alpha = options.alpha ?? (labels ? 0.9 : 1);
  if (!(alpha >= 0 && alpha <= 1)) throw usageError(`alpha: expected a number from 0 to 1, got ${alpha}`);
  if (!(temperature > 0)) throw usageError(`temperature: expected a number above 0, got ${temperature}`);
  const soft = loss !== 'none' && alpha > 0;
  const hard = alpha < 1 ? labels : undefined;
  if (!soft && !hard && features.length === 0) {
    throw usageError('distillation: expected scores, labels or features to learn from, got none', {
      hint: 'give alpha above 0, or labels, or pairs of features',
    });
  }
  const byLabel = (batch: Batch) => (loss === 'dkd' && soft && batch.labels && !isFloat(batch.labels.dtype) ? batch.labels : undefined);
  const parts = [
    ...(soft ? [`${alpha === 1 ? '' : `${alpha} `}${loss}${loss === 'kd' || loss === 'dkd' ? ` at temperature ${temperature}` : ''}`] : []),
    ...(hard ? [`${round(1 - alpha)} ${hard.name}`] : []),
    ...features.map((f) => `${f.weight} ${f.loss} of ${f.student}`),
  ];
  return {
    name: parts.join(' + '),
    build(b, outputs, batch) {
      const mask = maskOf(b, options.mask);
      const terms: Value[] = [];
      if (soft) {
        const student = comparedOutput(loss === 'cosine' || loss === 'logits-mse' ? 'mse' : 'kl', outputs, options.output);
        const name = options.teacherOutput ?? (teacher.names.includes(student.name) ? student.name : outputNameOf(teacher, outputs));
        const target = fitted(b, teacher.value(b, name, batch), student);
        terms.push(b.scale(b.reshape(scoreLoss(b, student, target, batch, mask), []), alpha));
      }
      if (hard) terms.push(b.scale(b.reshape(hard.build(b, outputs, batch), []), 1 - alpha));
      for (const { loss: kind, student, teacher: name, weight } of features) {
        const own = outputs[student];
        if (!own) throw usageError(`features: expected an output of the student, got "${student}"`);
        const other = teacher.value(b, name, batch);
        const counted = mask && hasRows(own, mask) && hasRows(other, mask) ? mask : undefined;
        terms.push(b.scale(b.reshape(FEATURE_LOSSES[kind](b, own, other, rowsFor(kind, own, counted)), []), weight));
      }
      return terms.reduce((sum, term) => b.add(sum, term));
    },
    async feeds(batch) {
      const known = byLabel(batch);
      return {
        ...(await teacher.feeds(batch)),
        ...(hard ? await hard.feeds(batch) : {}),
        ...(known ? { [LABELS]: known.cast('int64') } : {}),
      } satisfies Feeds;
    },
    weight: (batch) => hard?.weight?.(batch) ?? batch.size,
  };

  function scoreLoss(b: GradBuilder, student: Value, target: Value, batch: Batch, mask: Value | undefined): Value {
    const dims = dimsOf(student);
    const counted = mask && hasRows(student, mask) && dims.length === 3 ? mask : undefined;
    switch (loss) {
      case 'logits-mse':
        return squaredDifference(b, student, target, counted);
      case 'cosine':
        return cosineDifference(b, student, target, counted);
      case 'dkd': {
        const given = byLabel(batch);
        // Without labels the teacher's own answer is the target class.
        const classes = given ? addInput(b, LABELS, 'int64', given.dims) : b.op('ArgMax', [target], { axis: 1, keepdims: 0 });
        const { target: ofTarget = 1, others = 8 } = options.decoupled ?? {};
        return decoupled(b, student, target, classes, { temperature, target: ofTarget, others });
      }
      default: {
        const axis = options.axis ?? (dims.length === 4 ? 1 : -1);
        return softTargets(b, student, target, temperature, axis, counted);
      }
    }
  }
}

const round = (x: number): number => Number(x.toPrecision(6));

/** The teacher's values that are outputs come first among its names. */
function outputNameOf(teacher: Teacher, outputs: Readonly<Record<string, Value>>): string {
  const shared = ['logits', ...Object.keys(outputs)].find((name) => teacher.names.includes(name));
  const name = shared ?? teacher.names[0];
  if (name === undefined) throw usageError('teacher: expected at least one value to learn from, got none');
  return name;
}

/** The teacher's value in the student's shape, which may differ in axes of one element. */
function fitted(b: GradBuilder, target: Value, student: Value): Value {
  const [s, t] = [dimsOf(student), dimsOf(target)];
  const bare = (dims: readonly number[]) => dims.filter((d) => d !== 1);
  if (sameDims(bare(s), bare(t))) return b.reshape(target, s);
  throw shapeError(`distillation: expected scores of the teacher of the student's shape [${s}], got [${t}]`, {
    place: { value: student.name },
    hint: 'both must tell the same classes apart; name others with output and teacherOutput',
  });
}

/** Padding mask [n, tokens] as floats. */
function maskOf(b: GradBuilder, name = 'attention_mask'): Value | undefined {
  const input = b.graph.inputs.find((v) => v.name === name);
  if (!input || tensorTypeOf(input)?.shape?.length !== 2) return undefined;
  return b.cast(input, 'float');
}

/** Is the value [n, tokens, ...] or [n, heads, tokens, ...] for the tokens of the mask. */
function hasRows(value: Value, mask: Value): boolean {
  const [dims, [n, tokens]] = [dimsOf(value), dimsOf(mask)];
  return dims[0] === n && ((dims.length === 3 && dims[1] === tokens) || (dims.length === 4 && dims[2] === tokens));
}

/** Feature maps of pictures may happen to have as many rows as there are tokens: only attention has tokens on axis 2. */
function rowsFor(kind: FeatureLoss, value: Value, mask: Value | undefined): Value | undefined {
  const ofAttention = kind.startsWith('attention-') || kind === 'value-relations';
  return dimsOf(value).length === 3 || ofAttention ? mask : undefined;
}
