// Parts of a network between two values, as models of their own, and the rows that pass at a value when the network runs on data. For techniques that
// look at a part at a time. The places are blocks (one value passes) or layers.
import type { Dataset } from '../../data/dataset.js';
import { tensorDataset } from '../../data/indexed.js';
import { joinRows } from '../../data/rows.js';
import { dataError } from '../../errors.js';
import type { Graph, Node, Value } from '../../ir/graph.js';
import { Model, requiredInputs } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { extractGraph } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { linearLayerOf } from '../../quant/layer-probe.js';
import { openSession } from '../../runtime/session.js';

type Running = Pick<PassContext, 'engine' | 'threads'>;

/** Values at which the graph falls into two parts, in order; the last is the output. Parts without a weight go with what follows. */
export function cutValues(graph: Graph): string[] {
  const last = new Map<Value, number>();
  graph.nodes.forEach((node, i) => {
    for (const v of node.inputs) if (v && !v.isConstant) last.set(v, i);
  });
  for (const v of graph.outputs) last.set(v, Number.POSITIVE_INFINITY);
  const live = new Set<Value>(graph.inputs.filter((v) => !v.isConstant && last.has(v)));
  const cuts: string[] = [];
  let weighty = false;
  graph.nodes.forEach((node, i) => {
    weighty ||= node.inputs.some((v) => v?.isConstant && (v.initializer?.rank ?? 0) >= 2);
    for (const v of node.outputs) if (v && last.has(v)) live.add(v);
    for (const v of live) if (last.get(v)! <= i) live.delete(v);
    // What follows a layer elementwise (its ReLU) belongs to it.
    const next = graph.nodes[i + 1];
    const activation =
      next && next.inputs.filter((v) => v && !v.isConstant).length === 1 && !next.inputs.some((v) => (v?.initializer?.rank ?? 0) >= 2);
    if (live.size !== 1 || !weighty || activation) return;
    cuts.push([...live][0]!.name);
    weighty = false;
  });
  const output = graph.outputs[0]?.name;
  if (output !== undefined && cuts.at(-1) !== output) cuts.push(output);
  return cuts;
}

/** The nodes between two values as a model of its own. */
export function partOf(model: Model, from: string, to: string): Model {
  const { graph } = model;
  const wanted = new Set<Node>();
  const visit = (value: Value | null | undefined): void => {
    if (!value || value.name === from || !value.producer || wanted.has(value.producer)) return;
    wanted.add(value.producer);
    for (const v of value.producer.inputs) visit(v);
  };
  visit(graph.value(to));
  const nodes = graph.nodes.filter((n) => wanted.has(n));
  return new Model(extractGraph(graph, nodes, [graph.value(to)!]), model.opsets, model.irVersion);
}

/** Elementwise operators that belong to the layer before them where their other operands are constant. */
const BEHIND_LAYERS: ReadonlySet<string> = new Set([
  'Add',
  'Relu',
  'Clip',
  'LeakyRelu',
  'HardSwish',
  'HardSigmoid',
  'Sigmoid',
  'Tanh',
  'Elu',
  'Gelu',
]);

/** For each of these weights, in the order of the nodes: where the data of the first layer that reads it come in, and where they go out. */
export function layerParts(graph: Graph, weights: ReadonlySet<string>): { weight: string; from: string; to: string }[] {
  const seen = new Set<string>();
  return graph.nodes.flatMap((node) => {
    const layer = linearLayerOf(node);
    if (typeof layer !== 'object' || !weights.has(layer.weight) || seen.has(layer.weight)) return [];
    seen.add(layer.weight);
    let at = node.output();
    for (;;) {
      const next = at.readerCount === 1 ? at.uses[0]?.node : undefined;
      if (!next || next.graph !== graph || !BEHIND_LAYERS.has(next.opType) || graph.outputs.includes(at)) break;
      if (!next.inputs.every((v) => v === null || v === at || v.isConstant)) break;
      at = next.output();
    }
    return [{ weight: layer.weight, from: layer.data, to: at.name }];
  });
}

/** Rows of a value of the network on the first samples of the data. Throws E_DATA where there are none, E_SHAPE where batches differ in length. */
export async function valueRows(
  model: Model,
  name: string,
  data: Dataset,
  { samples, batchSize }: { readonly samples: number; readonly batchSize: number },
  ctx: Running,
): Promise<Tensor> {
  const batches = data.batches({ batchSize, limit: samples });
  if (!model.graph.value(name)!.producer) return collect(batches, async ({ inputs }) => inputs[name]!, data.name);
  const part = partOf(model, '', name);
  const inputs = requiredInputs(part.graph).map((v) => v.name);
  return withSession(part, ctx, (run) =>
    collect(batches, (batch) => run(Object.fromEntries(inputs.map((i) => [i, batch.inputs[i]!]))), data.name),
  );
}

/** What a part of one input makes of these rows. */
export function runPart(part: Model, rows: Tensor, { batchSize }: { readonly batchSize: number }, ctx: Running): Promise<Tensor> {
  const input = requiredInputs(part.graph)[0]!.name;
  const batches = tensorDataset('rows', { [input]: rows }).batches({ batchSize });
  return withSession(part, ctx, (run) => collect(batches, (batch) => run(batch.inputs), 'rows'));
}

type Inputs = Readonly<Record<string, Tensor>>;

async function withSession(part: Model, ctx: Running, use: (run: (feeds: Inputs) => Promise<Tensor>) => Promise<Tensor>): Promise<Tensor> {
  const session = await openSession(ctx.engine, part, { threads: ctx.threads });
  try {
    return await use(async (feeds) => {
      const [out] = Object.values(await session.run(feeds));
      return Tensor.of('float', out!.dims, out!.floats().slice());
    });
  } finally {
    await session.release();
  }
}

async function collect<B>(batches: AsyncIterable<B>, of: (batch: B) => Promise<Tensor>, name: string): Promise<Tensor> {
  const parts: Tensor[] = [];
  for await (const batch of batches) parts.push(await of(batch));
  if (parts.length === 0) throw dataError(`data "${name}": expected at least one sample, got none`);
  return joinRows(parts);
}
