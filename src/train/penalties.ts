// Objectives besides the loss on labels: penalties on the weights themselves, and pairs of outputs that belong together.
import { trainableParameters } from '../analysis/trainable.js';
import { usageError } from '../errors.js';
import type { Value } from '../ir/graph.js';
import type { GradBuilder } from '../ops/grad-builder.js';
import { contrastive, groupLasso, l1Penalty, l2Penalty } from './losses.js';
import type { Objective } from './objective.js';

/** l1: sum of |w|; l2: half the sum of w²; group-lasso: sum over output channels of sqrt(size) times their length. */
export const PENALTIES = {
  l1: (b, weights) => l1Penalty(b, weights),
  l2: (b, weights) => l2Penalty(b, weights),
  'group-lasso': (b, weights) => byOutputs(b, weights),
} as const satisfies Record<string, (b: GradBuilder, weights: readonly Value[]) => Value>;

export type PenaltyName = keyof typeof PENALTIES;

export interface PenaltyOptions {
  /** Parameters that are penalized; default: matrices and filters, no biases, scales and shifts. */
  readonly parameters?: ((name: string, dims: readonly number[]) => boolean) | undefined;
}

/**
 * A penalty on the trained weights, to be added to a loss with `weightedSum`. It pulls towards zero but seldom ends there exactly: prune afterwards.
 * L2 moves with the gradient, unlike the weight decay of AdamW and LAMB.
 */
export function penaltyObjective(name: PenaltyName, options: PenaltyOptions = {}): Objective {
  if (!Object.hasOwn(PENALTIES, name)) throw usageError(`penalty: expected one of ${Object.keys(PENALTIES).join(', ')}, got "${name}"`);
  const { parameters = (_: string, dims: readonly number[]) => dims.length >= 2 } = options;
  return {
    name,
    build(b) {
      const weights = trainableParameters(b).filter((v) => parameters(v.name, v.initializer!.dims));
      if (weights.length === 0) throw usageError(`penalty ${name}: expected at least one parameter, got none that fits`);
      return PENALTIES[name](b, weights);
    },
    feeds: () => ({}),
  };
}

/** Filters [out, in, ...] have their outputs first; so has Gemm's matrix under transB, while others [in, out] have them last. */
function byOutputs(b: GradBuilder, weights: readonly Value[]): Value {
  const isLast = (v: Value) =>
    v.uses.some(
      ({ node, index }) => index === 1 && (/MatMul$/.test(node.opType) || (node.opType === 'Gemm' && node.int('transB', 0) === 0)),
    );
  const sums = [false, true].flatMap((last) => {
    const own = weights.filter((v) => isLast(v) === last);
    return last ? own.map((v) => groupLasso(b, [v], v.initializer!.rank - 1)) : own.length > 0 ? [groupLasso(b, own, 0)] : [];
  });
  return sums.reduce((sum, part) => b.add(sum, part));
}

export interface ContrastiveOptions {
  /** Names of two outputs [n, d] whose rows belong together; default the first two. */
  readonly outputs?: readonly [string, string] | undefined;
  readonly temperature?: number | undefined;
}

/** The contrastive loss between two outputs of the model, such as the encodings of pictures and their texts. Takes no labels. */
export function contrastiveObjective(options: ContrastiveOptions = {}): Objective {
  return {
    name: 'contrastive',
    build(b, outputs) {
      const names = options.outputs ?? Object.keys(outputs).slice(0, 2);
      const [left, right] = names.map((n) => outputs[n]);
      if (!left || !right)
        throw usageError(
          `contrastive loss: expected two outputs, got ${names.join(', ')}; the model has ${Object.keys(outputs).join(', ')}`,
        );
      return contrastive(b, left, right, options.temperature);
    },
    feeds: () => ({}),
  };
}
