// Movement pruning (Sanh et al. 2020): weights go that training moves towards zero. The score of a weight is minus the sum over the steps of
// weight * gradient, and those with the lowest scores go. Weights that are gone stay gone (they get no gradient), unlike the paper's straight-through form.
import type { StepState } from '../train/trainer-options.js';

export class MovementScores {
  readonly #scores = new Map<string, Float64Array>();

  /** To be called after every step: adds what this step tells about filters and matrices. */
  readonly observe = ({ parameters, gradients }: Pick<StepState, 'parameters' | 'gradients'>): void => {
    for (const [name, w] of parameters) {
      const g = gradients.get(name);
      if (!g) continue;
      const sum = this.#scores.get(name) ?? new Float64Array(w.length);
      this.#scores.set(name, sum);
      for (let i = 0; i < w.length; i++) sum[i]! -= w[i]! * g[i]!;
    }
  };

  /** One number an element, those that are zero already below all others. */
  of(name: string, weights: Float32Array): Float64Array {
    const sum = this.#scores.get(name);
    return Float64Array.from(weights, (w, i) => (w === 0 ? -Infinity : (sum?.[i] ?? 0)));
  }
}
