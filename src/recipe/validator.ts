// The figure of a model on validation data, measured again and again while it changes: after epochs of a training, between steps of pruning.
import type { Dataset } from '../data/dataset.js';
import type { Metric } from '../data/metric.js';
import { evaluateMetric } from '../data/metrics.js';
import type { Model } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import type { PassContext } from '../pass/define.js';
import type { Session, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import type { Validation } from '../train/trainer-options.js';

/** Figures of models on validation data, with the model as it was at the beginning as reference where the metric needs one. */
export class Validator {
  readonly metric: Metric;
  readonly #model: Model;
  readonly #data: Dataset;
  readonly #ctx: PassContext;
  readonly #options: SessionOptions;
  #reference: Promise<Session> | undefined;

  constructor(model: Model, data: Dataset, metric: Metric, ctx: PassContext, options: SessionOptions = {}) {
    this.#model = cloneModel(model);
    this.#data = data;
    this.metric = metric;
    this.#ctx = ctx;
    this.#options = options;
  }

  async figure(model: Model): Promise<Validation> {
    if (this.metric.needs === 'reference') this.#reference ??= openSession(this.#ctx.engine, this.#model, this.#options);
    const session = await openSession(this.#ctx.engine, model, this.#options);
    try {
      const value = await evaluateMetric(session, this.#data, this.metric, { reference: await this.#reference });
      return { metric: this.metric.name, value, higherIsBetter: this.metric.higherIsBetter };
    } finally {
      await session.release();
    }
  }

  async close(): Promise<void> {
    await (await this.#reference)?.release();
  }
}
