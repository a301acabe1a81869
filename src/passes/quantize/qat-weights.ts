// Quantization-aware training of weights alone: products and embedding tables in blocks as MatMulNBits and GatherBlockQuantized take them, or one scale
// for each output channel; convolutions with a scale per channel. Codes start from GPTQ on data where that is asked for, else from the float weights.
import { trainableParameters } from '../../analysis/trainable.js';
import type { Dataset } from '../../data/dataset.js';
import { usageError } from '../../errors.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { cloneModel } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { newRoundedMatrix, type RoundedMatrix } from '../../quant/block-rounding.js';
import { productOf } from '../../quant/constant-weight.js';
import { codesOfFake, type FakeWeight, insertFakeWeight, type ScaleStart, startScales, valuesOfFake } from '../../quant/fake-quant.js';
import { type FakeQuantFormat, fakeQuantFormat, type WeightLevels } from '../../quant/fake-quant-format.js';
import { type LinearLayer, layerMatrices, layerWeights, linearLayerOf, type MatrixLayout } from '../../quant/layer-probe.js';
import { layoutOf } from '../../quant/layout.js';
import type { Granularity } from '../../quant/scheme.js';
import type { Selector } from '../../quant/selection.js';
import { storeBlocks } from '../../quant/stored-blocks.js';
import { removeDeadCode } from '../simplify/cleanup.js';
import { lookupOf } from './lookup.js';
import { nothingToQuantize, prepareModel } from './prepare.js';
import { type FactorBounds, FREE_FACTOR, floatsOf, type Simulation } from './qat.js';
import { reconstruct } from './reconstruct.js';
import { WeightRewriter } from './weight-rewriter.js';

const OPSET = 21;
/** Kernels look tables up in 4 and 8 bits only. */
const TABLE_LEVELS: WeightLevels = fakeQuantFormat('w8').weights;
/** Blocks in which a scale of a whole channel is written, largest first. */
const CHANNEL_BLOCKS = [256, 128, 64, 32, 16];
const TABLE_BLOCK = 32;

export interface WeightSimulationOptions {
  readonly formatOf: (node: Node) => FakeQuantFormat;
  readonly select: Selector;
  /** Weights along the summed axis that share a scale; null: all of an output channel. */
  readonly block: number | null;
  /** `gptq` decides codes and scales on `ctx.data` first (block formats w2, w3, w4, w8). */
  readonly start: ScaleStart | 'gptq';
  readonly samples: number;
  readonly embeddings: boolean;
  readonly minElements: number;
  readonly simplify: boolean;
}

interface Place {
  readonly value: Value;
  readonly layout: MatrixLayout;
  readonly granularity: Granularity;
  readonly levels: WeightLevels;
  readonly kind: 'product' | 'table' | 'conv';
  /** Rows of a product that share a scale in the file. */
  readonly storedBlock: number;
}

/** A simulation of the model, which is prepared in place. */
export async function simulateWeights(model: Model, options: WeightSimulationOptions, ctx: PassContext): Promise<Simulation> {
  await prepareModel(model, { simplify: options.simplify, opset: OPSET }, ctx, 'weights');
  const places = placesOf(model, options, (node, reason) => ctx.skip({ node: node.label, op: node.op, reason }));
  if (places.length === 0) nothingToQuantize('weights', []);
  const started = options.start === 'gptq' ? await startWithGptq(model, places, options, ctx) : new Map<string, RoundedMatrix>();
  return new WeightSimulation(model, places, started, options);
}

function placesOf(model: Model, options: WeightSimulationOptions, skip: (node: Node, reason: string) => void): Place[] {
  const places = new Map<Value, Place>();
  for (const node of model.graph.nodes) {
    const why = options.select(node);
    const table = options.embeddings ? lookupOf(node) : undefined;
    if (typeof table === 'object' && why === undefined && table.graph === model.graph) {
      const [n, k] = table.initializer!.dims as [number, number];
      if (n * k < options.minElements || k % TABLE_BLOCK !== 0) continue;
      const granularity: Granularity = { kind: 'block', axis: 1, size: TABLE_BLOCK };
      places.set(table, {
        value: table,
        layout: { k, n, groups: 1, transposed: true },
        granularity,
        levels: TABLE_LEVELS,
        kind: 'table',
        storedBlock: TABLE_BLOCK,
      });
      continue;
    }
    const layer = linearLayerOf(node);
    if (typeof layer === 'string' || !layer) continue;
    const value = model.graph.ownValue(layer.weight);
    if (!value?.initializer) continue;
    if (why !== undefined) skip(node, why);
    else if (value.initializer.size < options.minElements) skip(node, `its weight has only ${value.initializer.size} elements`);
    else if (!places.has(value)) places.set(value, placeOf(node, layer, value, options));
  }
  return [...places.values()].filter((p) => {
    // A constant with other readers keeps its float form for them: it is rounded for all, so all must be ones that can read codes.
    const odd = p.value.users.find((u) => !readable(u));
    if (odd) skip(odd, `its constant ${p.value.name} is read by ${odd.op} too`);
    return odd === undefined;
  });
}

function readable(user: Node): boolean {
  return user.opType === 'Transpose' || typeof lookupOf(user) === 'object' || typeof linearLayerOf(user) === 'object';
}

function placeOf(node: Node, layer: LinearLayer, value: Value, options: WeightSimulationOptions): Place {
  const { weights: levels } = options.formatOf(node);
  const { k, n, groups, transposed } = layer;
  const layout = { k, n, groups, transposed };
  if (layer.kind === 'conv') return { value, layout, granularity: { kind: 'channel', axis: 0 }, levels, kind: 'conv', storedBlock: k };
  const summed = transposed ? 1 : 0;
  const { block } = options;
  if (block !== null && k % block === 0)
    return { value, layout, granularity: { kind: 'block', axis: summed, size: block }, levels, kind: 'product', storedBlock: block };
  const storedBlock = CHANNEL_BLOCKS.find((b) => k % b === 0) ?? CHANNEL_BLOCKS.find((b) => b < 2 * k) ?? 16;
  return { value, layout, granularity: { kind: 'channel', axis: 1 - summed }, levels, kind: 'product', storedBlock };
}

/** Codes of GPTQ for the products in blocks. Biases of `model` change. */
async function startWithGptq(
  model: Model,
  places: readonly Place[],
  options: WeightSimulationOptions,
  ctx: PassContext,
): Promise<Map<string, RoundedMatrix>> {
  const data: Dataset | undefined = ctx.data;
  if (!data) throw usageError('start gptq: expected calibration data, got none', { hint: 'start from search, which needs none' });
  const found = new Map<string, RoundedMatrix>();
  const byName = new Map(places.map((p) => [p.value.name, p]));
  const fits = (p: Place | undefined): p is Place =>
    p?.kind === 'product' && p.granularity.kind === 'block' && p.levels.offset === 0 && -p.levels.lo === 2 ** (p.levels.bits - 1);
  const layers = model.graph.nodes.flatMap((node): LinearLayer[] => {
    const layer = linearLayerOf(node);
    return typeof layer === 'object' && fits(byName.get(layer.weight)) ? [layer] : [];
  });
  if (layers.length === 0) return found;
  const result = await reconstruct(model, layers, {
    engine: ctx.engine,
    threads: ctx.threads,
    data,
    samples: options.samples,
    gridOf: (layer) => ({
      bits: byName.get(layer.weight)!.levels.bits,
      zero: 'absmax',
      block: byName.get(layer.weight)!.storedBlock,
      damping: 0.01,
      order: 'importance',
    }),
    known: new Map(),
    correction: 0.5,
    residual: true,
    biases: true,
    store: (layer, [rounded]) => found.set(layer.weight, rounded!),
    checkAborted: () => ctx.checkAborted(),
    onProgress: (fraction, label) => ctx.progress({ fraction, label: `rounding ${label}` }),
  });
  for (const [name, tensor] of result.biases) model.graph.setInitializer(model.graph.ownValue(name)!, tensor);
  return found;
}

class WeightSimulation implements Simulation {
  readonly model: Model;
  readonly parameters: readonly string[];
  readonly factors: ReadonlyMap<string, FactorBounds>;
  readonly rounded: Simulation['rounded'];
  readonly float: Model;
  readonly weights: readonly FakeWeight[];
  readonly #options: WeightSimulationOptions;
  readonly #places: readonly (Place & { readonly fake: FakeWeight })[];

  constructor(prepared: Model, places: readonly Place[], started: ReadonlyMap<string, RoundedMatrix>, options: WeightSimulationOptions) {
    this.float = prepared;
    this.#options = options;
    this.model = cloneModel(prepared);
    const { graph } = this.model;
    const names = trainableParameters(this.model).map((v) => v.name);
    this.#places = places.map((place) => {
      const value = graph.value(place.value.name)!;
      const rounded = started.get(value.name);
      const tensor = value.initializer!;
      if (rounded) graph.setInitializer(value, Tensor.of('float', tensor.dims, layerWeights(place.layout, [rounded.values])));
      const start = rounded
        ? scalesInLayout(rounded, place)
        : startScales(
            tensor.floats(),
            layoutOf(tensor.dims, place.granularity),
            place.levels,
            options.start === 'minmax' ? 'minmax' : 'search',
            place.kind !== 'conv',
          );
      return { ...place, fake: insertFakeWeight(value, place.granularity, place.levels, start) };
    });
    this.factors = new Map(this.#places.map((p) => [p.fake.factor, FREE_FACTOR]));
    this.parameters = [...names, ...this.factors.keys()];
    this.weights = this.#places.map((p) => p.fake);
    this.rounded = { weights: places.length, activations: 0 };
  }

  export(trained: Model): Model {
    const model = cloneModel(this.float);
    const { graph } = model;
    for (const value of graph.initializers) {
      const tensor = trained.graph.value(value.name)?.initializer;
      if (tensor && tensor.dtype === value.initializer!.dtype) graph.setInitializer(value, tensor);
    }
    const places = new Map(this.#places.map((p) => [p.value.name, p]));
    const stored = (value: Value) => {
      const place = places.get(value.name);
      return place && { place, ...codesOfFake(place.fake, floatsOf(trained, value.name), floatsOf(trained, place.fake.factor)) };
    };
    const blocks = (value: Value, transposed: boolean) => {
      const found = stored(value);
      if (!found || found.place.kind === 'conv' || found.place.layout.transposed !== transposed) return undefined;
      return storeBlocks(matrixOf(found.place, found.codes, found.scales), found.place.levels.bits, 'absmax');
    };
    const channels = (value: Value) => {
      const found = stored(value);
      if (found?.place.kind !== 'conv') return undefined;
      const { levels } = found.place;
      const half = levels.offset !== 0;
      const codes = half ? found.codes.map((c) => 2 * c + 1) : found.codes;
      return {
        codes: Tensor.from(levels.bits > 4 ? 'int8' : 'int4', value.initializer!.dims, codes),
        scale: Tensor.of('float', [found.scales.length], half ? found.scales.map((s) => s / 2) : found.scales),
      };
    };
    const { minElements, select } = this.#options;
    const rewriter = new WeightRewriter({
      bits: 8,
      block: TABLE_BLOCK,
      symmetric: true,
      format: 'auto',
      accuracyLevel: 0,
      embeddings: this.#options.embeddings,
      others: true,
      minElements,
      rounding: { blocks, channels },
      blocksInQdq: true,
      // Only what was trained with rounding is stored so.
      select: (node) => select(node) ?? (readsPlace(node, places) ? undefined : 'it was not rounded in training'),
      skip: () => {},
    });
    rewriter.rewrite(graph);
    removeDeadCode(model);
    graph.pruneValues();
    if (rewriter.usesContrib) model.opsets.set('com.microsoft', model.opsets.get('com.microsoft') ?? 1);
    return model;
  }
}

function readsPlace(node: Node, places: ReadonlyMap<string, unknown>): boolean {
  const product = productOf(node);
  if (typeof product === 'object') return places.has(product.weight.value.name);
  return node.inputs.some((v) => v !== null && places.has(v.name));
}

/** Scales [blocks, n] in the order of the constant's own layout. */
function scalesInLayout({ scales, k, n, block }: RoundedMatrix, { layout }: Place): Float32Array {
  if (!layout.transposed) return scales.slice();
  const blocks = Math.ceil(k / block);
  const out = new Float32Array(scales.length);
  for (let b = 0; b < blocks; b++) for (let c = 0; c < n; c++) out[c * blocks + b] = scales[b * n + c]!;
  return out;
}

/** Codes as block kernels count them, from 0, with one scale for each block. */
function matrixOf(place: Place & { readonly fake: FakeWeight }, codes: Int8Array, scales: Float32Array): RoundedMatrix {
  const { layout, levels, granularity, storedBlock: block, fake } = place;
  const { k, n, transposed } = layout;
  const middle = 2 ** (levels.bits - 1);
  const half = levels.offset !== 0;
  const [shifted] = layerMatrices(
    layout,
    Float32Array.from(codes, (c) => (half ? 2 * c + 1 : c) + middle),
  );
  const [values] = layerMatrices(layout, valuesOfFake(fake, codes, scales));
  const out = newRoundedMatrix(k, n, block);
  out.codes.set(shifted!);
  out.values.set(values!);
  out.zeros.fill(middle);
  const blocks = Math.ceil(k / block);
  for (let b = 0; b < blocks; b++) {
    for (let c = 0; c < n; c++) {
      const s = granularity.kind === 'channel' ? scales[c]! : transposed ? scales[c * blocks + b]! : scales[b * n + c]!;
      out.scales[b * n + c] = half ? s / 2 : s;
    }
  }
  return out;
}
