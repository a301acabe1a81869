// The layers that may be factored, what their data look like, and what losing a part of each does to the outputs of the model.
import { modelCost } from '../../analysis/cost.js';
import { measureSensitivity, type Perturbation } from '../../analysis/sensitivity.js';
import type { Dataset } from '../../data/dataset.js';
import type { Builder } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import type { PassContext } from '../../pass/define.js';
import { batchSizeOf } from '../../quant/calibrate.js';
import { dataProbe, LayerStatistics, type LinearLayer, linearLayerOf } from '../../quant/layer-probe.js';
import { patternOf } from '../../quant/selection.js';
import { StagedRun } from '../../quant/staged-run.js';
import type { FactorLayer } from './factorization.js';
import { convMethods, type LowRankOptions } from './options.js';
import { transposed } from './weighted-svd.js';

/** Matrices with a side below this have no rank to save. */
const LEAST_SIDE = 4;

/** Layers of the main graph under the options; what is left out is reported. Types must be inferred. */
export function factorLayers(model: Model, options: LowRankOptions, ctx: PassContext): FactorLayer[] {
  const macs = new Map(modelCost(model).byNode.map((row) => [row.node, row.macs * row.runs]));
  const only = options.only.map(patternOf);
  const exclude = options.exclude.map(patternOf);
  const named = (node: Node, tests: readonly RegExp[]) =>
    tests.some((t) => t.test(node.name) || t.test(node.label) || t.test(node.input(1)?.name ?? ''));
  const noConv = convMethods(options).length === 0;
  const found: FactorLayer[] = [];
  for (const node of model.graph.nodes) {
    const layer = linearLayerOf(node);
    if (layer === undefined || (only.length > 0 && !named(node, only))) continue;
    const reason = typeof layer === 'string' ? layer : named(node, exclude) ? 'excluded by name' : unfit(node, layer, noConv);
    if (reason !== undefined) {
      ctx.skip({ node: node.label, op: node.opType, reason });
      continue;
    }
    if (typeof layer === 'object') found.push({ layer, node, macs: macs.get(node) ?? 0, params: layer.k * layer.n });
  }
  return found;
}

function unfit(node: Node, layer: LinearLayer, noConv: boolean): string | undefined {
  if (layer.kind === 'conv' && noConv) return 'convolutions are left out';
  if (layer.groups !== 1) return 'its channels are in groups';
  const weight = node.graph.ownValue(layer.weight);
  if (!weight || weight.readerCount > 1 || node.input(1)!.readerCount > 1) return 'its weight is shared by several nodes';
  if (Math.min(layer.k, layer.n) < LEAST_SIDE) return `its weight of ${layer.k}x${layer.n} has no rank to save`;
  return undefined;
}

/** True where the bias can take up the mean of what the factors leave out. */
export function takesMean({ layer, node }: FactorLayer): boolean {
  return layer.bias !== null || ((node.opType === 'Conv' || node.opType === 'Gemm') && node.input(2) === null);
}

/** X^T X and sums of each layer's data, one layer after the other in the order given, which must be that of the graph. */
export async function visitStatistics(
  model: Model,
  layers: readonly FactorLayer[],
  data: Dataset,
  samples: number,
  ctx: PassContext,
  visit: (entry: FactorLayer, statistics: LayerStatistics) => Promise<void>,
): Promise<void> {
  const run = await StagedRun.start(model, data, {
    engine: ctx.engine,
    session: { threads: ctx.threads },
    batchSize: batchSizeOf(model.graph),
    limit: samples,
    checkAborted: () => ctx.checkAborted(),
  });
  for (const [i, entry] of layers.entries()) {
    const { layer, node } = entry;
    ctx.progress({ fraction: i / layers.length, label: 'decomposing', detail: layer.label });
    const statistics = new LayerStatistics(layer.k, 1);
    const value = model.graph.ownValue(layer.data)!;
    await run.stage(
      [value],
      [],
      (graph, at) => dataProbe(graph, layer, node, at(value)).outputs,
      (outputs) => statistics.add(outputs[0]!, outputs[1]!, outputs[2]!),
    );
    await visit(entry, statistics);
  }
}

/** A layer at a rank, as a change of its output. */
export interface Projection {
  readonly entry: FactorLayer;
  /** Directions that stay: [rank, n]. */
  readonly directions: Float32Array;
  readonly rank: number;
  /** What does not change: [n], zero where the factors are not about the mean. */
  readonly centre: Float32Array;
}

const SAMPLES = 32;

/** What each projection alone does to the outputs of the model, in the measure of `measureSensitivity`. */
export async function projectionErrors(
  model: Model,
  projections: readonly Projection[],
  data: Dataset,
  ctx: PassContext,
): Promise<Float64Array> {
  const perturbations: Perturbation[] = projections.map((p) => ({
    id: p.entry.layer.label,
    changes: [{ value: p.entry.layer.output, apply: (b, value) => project(b, value, p) }],
  }));
  const { gram } = await measureSensitivity(model, perturbations, {
    engine: ctx.engine,
    data,
    samples: SAMPLES,
    session: { threads: ctx.threads },
    signal: ctx.signal,
    onProgress: (fraction) => ctx.progress({ fraction, label: 'sensitivity' }),
  });
  return Float64Array.from(projections, (_, i) => gram[i * (projections.length + 1)]!);
}

function project(b: Builder, value: Value, { entry, directions, rank, centre }: Projection): Value {
  const { kind, n } = entry.layer;
  const ones =
    kind === 'conv'
      ? entry.node
          .input(1)!
          .initializer!.dims.slice(2)
          .map(() => 1)
      : [];
  const middle = b.constant('centre', Tensor.of('float', [n, ...ones], centre));
  const centred = b.op('Sub', [value, middle]);
  const [down, up] =
    kind === 'conv'
      ? [Tensor.of('float', [rank, n, ...ones], directions), Tensor.of('float', [n, rank, ...ones], transposed(directions, rank, n))]
      : [Tensor.of('float', [n, rank], transposed(directions, rank, n)), Tensor.of('float', [rank, n], directions)];
  const op = kind === 'conv' ? 'Conv' : 'MatMul';
  const narrow = b.op(op, [centred, b.constant('down', down)]);
  return b.op('Add', [b.op(op, [narrow, b.constant('up', up)]), middle]);
}
