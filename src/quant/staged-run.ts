// Running a graph in stages: data goes through each node once, although layers are changed between stages by what earlier ones showed.
// Values that later nodes still read are kept per batch (one batch after another crosses into JavaScript and back; whole layers' inputs do not
// pile up beyond what the graph itself keeps alive). Nodes with subgraphs are run like others; values inside them cannot be asked for.
import type { Batch, Dataset, IndexedDataset } from '../data/dataset.js';
import { Graph, type Node, type Value } from '../ir/graph.js';
import { Model } from '../ir/model.js';
import { Tensor } from '../ir/tensor.js';
import { tensorType } from '../ir/type.js';
import { cloneNode, walkGraphs } from '../ir/walk.js';
import type { Engine, SessionOptions } from '../runtime/engine.js';
import { openSession } from '../runtime/session.js';
import { feedSizes, sizesFromFeeds } from '../runtime/steady-run.js';

export interface StagedRunOptions {
  readonly engine: Engine;
  readonly session?: SessionOptions;
  readonly batchSize: number;
  /** Samples at most. */
  readonly limit: number;
  readonly checkAborted?: (() => void) | undefined;
}

/** What a stage wants to see, built into the stage's own copy of the graph: `at` answers the copy of a value. */
export type Probe = (graph: Graph, at: (value: Value) => Value) => readonly Value[];

export class StagedRun {
  readonly #model: Model;
  readonly #options: StagedRunOptions;
  readonly #done = new Set<Node>();
  /** Values by name for each batch. */
  readonly #batches: Map<string, Tensor>[] = [];
  /** Samples of each batch. */
  readonly #sizes: number[] = [];
  /** Values that were computed here, and memory of those that are done with, by size: what is freed and made anew each stage piles up. */
  readonly #made = new Set<Tensor>();
  readonly #free = new Map<number, Uint8Array[]>();

  private constructor(model: Model, options: StagedRunOptions) {
    this.#model = model;
    this.#options = options;
  }

  /** `model` may be edited between stages as long as nodes that have run stay. */
  static async start(model: Model, data: Dataset, options: StagedRunOptions): Promise<StagedRun> {
    const run = new StagedRun(model, options);
    const keep = (batch: Batch) => {
      run.#batches.push(new Map(Object.entries(batch.inputs)));
      run.#sizes.push(batch.size);
    };
    if (isIndexed(data) && data.size > options.limit) {
      // Spread over the whole data set: its start may be of one kind.
      const indices = Array.from({ length: options.limit }, (_, i) => Math.floor((i * data.size) / options.limit));
      const step = data.fixedBatch ?? options.batchSize;
      for (let i = 0; i < indices.length; i += step) keep(await data.at(indices.slice(i, i + step)));
    } else for await (const batch of data.batches({ batchSize: options.batchSize, limit: options.limit })) keep(batch);
    return run;
  }

  get batches(): number {
    return this.#batches.length;
  }

  /**
   * Runs what `probe` needs that has not run yet and hands its outputs to `visit`, batch by batch. `keep` are the values that later stages
   * build on: they and what they need count as done. Values that the probe reads beyond these are computed but forgotten.
   */
  async stage(
    keep: readonly Value[],
    temporary: readonly Value[],
    probe: Probe,
    visit: (outputs: readonly Tensor[], samples: number) => void,
  ): Promise<void> {
    const { graph } = this.#model;
    const lasting = new Set([...ancestors(keep, this.#done)].filter((n) => !isDequantizing(n)));
    const needed = ancestors([...keep, ...temporary], this.#done);
    const order = graph.nodes.filter((n) => needed.has(n));
    const piece = new Graph('stage');
    const map = new Map<Value, Value>();
    const feeds: string[] = [];
    const first = this.#batches[0];
    const bring = (value: Value): void => {
      if (map.has(value) || value.graph !== graph) return;
      const stored = first?.get(value.name);
      if (value.initializer !== null && stored === undefined) {
        map.set(value, piece.addInitializer(value.name, value.initializer));
        return;
      }
      const known = value.type?.kind === 'tensor' ? value.type.shape : null;
      map.set(value, piece.addInput(value.name, stored ? tensorType(stored.dtype, known) : value.type));
      feeds.push(value.name);
    };
    for (const value of [...keep, ...temporary]) if (!value.producer || this.#done.has(value.producer)) bring(value);
    for (const node of order) {
      for (const value of readsOf(node)) if (!value.producer || this.#done.has(value.producer)) bring(value);
      for (const output of node.outputs) if (output) map.set(output, piece.addValue(output.name, output.type));
      cloneNode(node, piece, map);
    }
    const outputs = probe(piece, (value) => map.get(value)!);
    for (const value of outputs) piece.addOutput(value);
    for (const n of lasting) this.#done.add(n);
    const frontier = [...lasting].flatMap((n) => n.outputs).filter((v): v is Value => v !== null && this.#readLater(v));
    const names = frontier.map((v) => v.name);
    for (const v of frontier) {
      const copy = map.get(v)!;
      if (!outputs.includes(copy)) piece.addOutput(copy);
    }
    const model = new Model(piece, this.#model.opsets, this.#model.irVersion);
    model.functions = this.#model.functions;
    const session = await openSession(this.#options.engine, model, this.#options.session ?? {});
    try {
      const known = sizesFromFeeds(graph);
      const steady = session.runInto !== undefined && [...frontier, ...keep, ...temporary].every(known);
      let like: { readonly fed: string; readonly results: Readonly<Record<string, Tensor>> } | undefined;
      for (const [i, values] of this.#batches.entries()) {
        this.#options.checkAborted?.();
        const inputs: Record<string, Tensor> = {};
        for (const name of feeds) {
          const tensor = values.get(name);
          if (tensor) inputs[name] = tensor;
        }
        const fed = steady ? feedSizes(inputs) : '';
        let results: Readonly<Record<string, Tensor>>;
        if (steady && like?.fed === fed) {
          results = this.#room(like.results);
          await session.runInto!(inputs, results);
        } else results = await session.run(inputs);
        like = { fed, results };
        visit(
          outputs.map((v) => results[v.name]!),
          this.#sizes[i]!,
        );
        for (const name of names) {
          values.set(name, results[name]!);
          this.#made.add(results[name]!);
        }
      }
    } finally {
      await session.release();
    }
    this.#forget();
  }

  #readLater(value: Value): boolean {
    return value.uses.some(({ node }) => {
      const reader = this.#outerNode(node);
      if (reader === null || this.#done.has(reader)) return false;
      return !isDequantizing(reader) || this.#readLater(reader.output());
    });
  }

  /** The node of the main graph that is `node` or holds it. */
  #outerNode(node: Node): Node | null {
    if (node.graph === this.#model.graph) return node;
    for (const outer of this.#model.graph.nodes) {
      for (const sub of outer.subgraphs()) for (const g of walkGraphs(sub)) if (g === node.graph) return outer;
    }
    return null;
  }

  #forget(): void {
    const first = this.#batches[0];
    if (!first) return;
    for (const name of [...first.keys()]) {
      const value = this.#model.graph.ownValue(name);
      if (value && this.#readLater(value)) continue;
      for (const values of this.#batches) {
        const tensor = values.get(name);
        values.delete(name);
        // Memory of the data set's own tensors is not ours to write to.
        if (!tensor || !this.#made.delete(tensor)) continue;
        const same = this.#free.get(tensor.byteLength) ?? [];
        same.push(tensor.bytes());
        this.#free.set(tensor.byteLength, same);
      }
    }
  }

  /** Tensors of the same types and dimensions, in memory that values left which no node reads any more. */
  #room(like: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
    const made = Object.entries(like).map(([name, { dtype, dims, byteLength }]) => {
      const bytes = this.#free.get(byteLength)?.pop() ?? new Uint8Array(byteLength);
      return [name, new Tensor(dtype, dims, bytes)] as const;
    });
    return Object.fromEntries(made);
  }
}

/** Codes are kept between stages and turned to floats, four times their size, where they are read. */
function isDequantizing(node: Node): boolean {
  return node.opType === 'DequantizeLinear' && node.domain === '' && node.graph.parent === null;
}

function isIndexed(data: Dataset): data is IndexedDataset {
  return 'at' in data;
}

/** Everything a node reads, captures of its subgraphs included. */
export function readsOf(node: Node): Value[] {
  const found = new Set<Value>();
  for (const v of node.inputs) if (v) found.add(v);
  for (const sub of node.subgraphs()) {
    for (const g of walkGraphs(sub)) {
      for (const inner of g.nodes) for (const v of inner.inputs) if (v && v.graph === node.graph) found.add(v);
      for (const v of g.outputs) if (v.graph === node.graph) found.add(v);
    }
  }
  return [...found];
}

function ancestors(values: readonly Value[], done: ReadonlySet<Node>): Set<Node> {
  const found = new Set<Node>();
  const open = values.map((v) => v.producer);
  while (open.length > 0) {
    const node = open.pop();
    if (!node || done.has(node) || found.has(node)) continue;
    found.add(node);
    for (const v of readsOf(node)) open.push(v.producer);
  }
  return found;
}
