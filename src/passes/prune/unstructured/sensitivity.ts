// How much the outputs change when one layer alone is pruned, at a few sparsities: what layer sparsities are chosen by. No labels are needed.
import { measureSensitivity, type Perturbation } from '../../../analysis/sensitivity.js';
import type { Dataset } from '../../../data/dataset.js';
import type { Value } from '../../../ir/graph.js';
import type { Model } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import type { Engine } from '../../../runtime/engine.js';
import type { ErrorCurve } from './allocation.js';
import type { Pattern } from './layout.js';
import { layerMask } from './select.js';
import type { PrunableWeight } from './targets.js';

const LEVELS = [0.3, 0.5, 0.7, 0.85, 0.95] as const;
/** Samples of which each layer and level is run once. */
const SAMPLES = 16;

export interface PruningSensitivityOptions {
  readonly engine: Engine;
  readonly threads?: number | undefined;
  readonly data: Dataset;
  readonly pattern: Pattern | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** Errors of the outputs by weight and sparsity, where only this weight is pruned by its scores. Weights must be of the main graph. */
export async function pruningCurves(
  model: Model,
  weights: readonly PrunableWeight[],
  scores: ReadonlyMap<Value, ArrayLike<number>>,
  options: PruningSensitivityOptions,
): Promise<ErrorCurve[]> {
  const perturbations = weights.flatMap((weight) =>
    LEVELS.map((level): Perturbation => {
      const mask = layerMask(scores.get(weight.value)!, weight.layout, level, options.pattern, 'layer');
      return {
        id: `${weight.value.name} ${level}`,
        changes: [
          {
            value: weight.value.name,
            apply: (b, value) => {
              const { dtype, dims } = weight.value.initializer!;
              const kept = b.constant('mask', Tensor.from('bool', dims, mask));
              return b.op('Where', [kept, value, b.scalar('zero', dtype, 0)]);
            },
          },
        ],
      };
    }),
  );
  const { gram } = await measureSensitivity(model, perturbations, {
    engine: options.engine,
    data: options.data,
    samples: SAMPLES,
    session: { threads: options.threads },
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.onProgress ? { onProgress: options.onProgress } : {}),
  });
  const n = perturbations.length;
  return weights.map((_, w) =>
    LEVELS.map((sparsity, l) => {
      const at = w * LEVELS.length + l;
      return { sparsity, error: gram[at * n + at]! };
    }),
  );
}
