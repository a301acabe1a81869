// Running one session over many batches without leaving results behind: where the sizes of all outputs follow from those of the feeds, results of each
// run are written over those of the last. Buffers that JavaScript frees only when it feels like it would add up to hundreds of megabytes instead.
import { dimSymbols } from '../ir/dim.js';
import type { Graph, Value } from '../ir/graph.js';
import { type Model, requiredInputs, tensorTypeOf } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import type { Session } from './engine.js';

/** Tells of which values the size is known once the feeds' sizes are: those whose open dimensions come from the graph's inputs. */
export function sizesFromFeeds(graph: Graph): (value: Value) => boolean {
  const known = new Set<string>();
  for (const input of requiredInputs(graph)) {
    for (const d of tensorTypeOf(input)?.shape ?? []) if (typeof d === 'string') for (const s of dimSymbols(d)) known.add(s);
  }
  return (value) => {
    const type = tensorTypeOf(value);
    if (!type?.shape || type.dtype === 'string') return false;
    return type.shape.every((d) => d !== null && (typeof d === 'number' || dimSymbols(d).every((s) => known.has(s))));
  };
}

/** Names and dimensions of feeds: runs with equal ones have results of equal sizes. */
export function feedSizes(feeds: Readonly<Record<string, Tensor>>): string {
  return Object.entries(feeds)
    .map(([name, t]) => `${name}:${t.dims.join()}`)
    .join(';');
}

export class SteadyRunner {
  readonly #session: Session;
  /** False where the size of an output may depend on the data. */
  readonly #steady: boolean;
  #fed = '';
  #kept: Record<string, Tensor> | undefined;

  /** `model` is what the session was opened on, with types inferred. */
  constructor(session: Session, model: Model) {
    this.#session = session;
    this.#steady = session.runInto !== undefined && model.graph.outputs.every(sizesFromFeeds(model.graph));
  }

  /** Runs once. The results are valid until the next run. */
  async run(feeds: Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, Tensor>>> {
    if (!this.#steady) return this.#session.run(feeds);
    const fed = feedSizes(feeds);
    if (this.#kept && fed === this.#fed) {
      await this.#session.runInto!(feeds, this.#kept);
      return this.#kept;
    }
    this.#kept = await this.#session.run(feeds);
    this.#fed = fed;
    return this.#kept;
  }
}
