// The samples on which a quantized model errs most. A divergence is made by few samples, those near a decision: sensitivities measured on them tell
// layers apart where as many samples taken at random see little but chance.
import { rowErrors } from '../analysis/sensitivity.js';
import type { Batch, Dataset } from '../data/dataset.js';
import { takeRows } from '../data/rows.js';
import type { Tensor } from '../ir/tensor.js';

type Values = Readonly<Record<string, Tensor>>;

/** Collects during a run of the quantized model; memory holds `count` samples and one batch. */
export class HardestSamples {
  readonly #count: number;
  #hardest: { error: number; order: number; inputs: Values }[] = [];
  #seen = 0;

  constructor(count: number) {
    this.#count = count;
  }

  async add(batch: Batch, reference: Values, outputs: Values): Promise<void> {
    const errors = new Float64Array(batch.size);
    for (const [name, x] of Object.entries(reference)) {
      const y = outputs[name];
      if (!y || x.dtype === 'string') continue;
      for (const [r, e] of rowErrors(x, y, batch.size).entries()) errors[r] = errors[r]! + e;
    }
    const least = () => (this.#hardest.length < this.#count ? Number.NEGATIVE_INFINITY : this.#hardest.at(-1)!.error);
    for (let r = 0; r < batch.size; r++, this.#seen++) {
      if (!(errors[r]! > least())) continue;
      const rows = Object.entries(batch.inputs).map(
        async ([name, t]) => [name, t.dims[0] === batch.size ? await takeRows(t, [r]) : t] as const,
      );
      this.#hardest.push({ error: errors[r]!, order: this.#seen, inputs: Object.fromEntries(await Promise.all(rows)) });
      this.#hardest.sort((a, b) => b.error - a.error || a.order - b.order);
      this.#hardest.length = Math.min(this.#hardest.length, this.#count);
    }
  }

  /** One sample a batch, the hardest first and the others in turn, so that halves are alike. Undefined where nothing was seen. */
  dataset(like: Dataset): Dataset | undefined {
    const kept = this.#hardest;
    if (kept.length === 0) return undefined;
    return {
      name: like.name,
      size: kept.length,
      hasLabels: false,
      synthetic: like.synthetic,
      async *batches({ limit }) {
        for (const { inputs } of kept.slice(0, limit ?? kept.length)) yield { inputs, size: 1 };
      },
    };
  }
}
