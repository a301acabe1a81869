// Decides the codes of every weight that is stored in blocks, by any of the methods but plain rounding: search, HQQ, AWQ, GPTQ. The rewriter then
// only writes them. Tables are rounded first, so that layers rounded on data see them as they will be.
import { usageError } from '../../errors.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { walkNodes } from '../../ir/walk.js';
import type { PassContext } from '../../pass/define.js';
import { type RoundedMatrix, roundBySearch, roundToNearest, type WeightBits, type ZeroKind } from '../../quant/block-rounding.js';
import { productOf } from '../../quant/constant-weight.js';
import { roundHalfQuadratic } from '../../quant/hqq.js';
import { type LinearLayer, layerMatrices, layerWeights, linearLayerOf } from '../../quant/layer-probe.js';
import type { Selector } from '../../quant/selection.js';
import { type StoredBlocks, storeBlocks } from '../../quant/stored-blocks.js';
import { scaleChannels } from './awq.js';
import { lookupOf } from './lookup.js';
import { type LayerRecord, reconstruct } from './reconstruct.js';

export type Method = 'rtn' | 'search' | 'k-quant' | 'hqq' | 'awq' | 'gptq';

export interface RoundingOptions {
  readonly method: Method;
  readonly bits: Exclude<WeightBits, 1>;
  readonly block: number;
  readonly zero: ZeroKind;
  readonly twoLevel: boolean;
  /** Weights that share the step of their two-level scales; undefined for one step a column. */
  readonly superBlock?: number | undefined;
  /** Bits of embedding tables that no product reads; undefined: 4, small ones 8. */
  readonly tableBits?: 4 | 8 | undefined;
  /** Bits of convolution weights, per channel; null leaves them to others. */
  readonly convBits: 4 | null;
  readonly embeddings: boolean;
  readonly minElements: number;
  readonly select: Selector;
  /** Calibration samples. */
  readonly samples: number;
  readonly damping: number;
}

/** Codes per channel of a convolution's weight. */
export interface StoredChannels {
  readonly codes: Tensor;
  readonly scale: Tensor;
}

export interface Rounding {
  /** Blocks of a constant; `transposed` says whether it is stored [n, k]. */
  blocks(value: Value, transposed: boolean): StoredBlocks | undefined;
  channels(value: Value): StoredChannels | undefined;
  /** What was done to the layers that were rounded on data. */
  readonly layers: readonly LayerRecord[];
}

/** A table smaller than this part of all weights is stored in 8 bits: it costs little and every layer reads it. */
const SMALL_TABLE = 0.02;

/** How far layers make good the errors of earlier ones: all the way fits the calibration data too closely below 3 bits. */
const CORRECTION = 0.5;

/** One constant in one orientation. */
interface Matrix {
  readonly value: Value;
  readonly transposed: boolean;
  readonly k: number;
  readonly n: number;
}

/** Rounds what the options ask for. `model` changes only where a method folds scales into other constants (AWQ) or corrects biases (GPTQ). */
export async function roundWeights(model: Model, options: RoundingOptions, ctx: PassContext): Promise<Rounding> {
  const onData = options.method === 'gptq' || options.method === 'awq';
  if (onData && !ctx.data)
    throw usageError(`method ${options.method}: expected calibration data, got none`, {
      hint: 'give --data SPEC; hqq and search need none',
    });
  const store = new Store();
  const tables = options.embeddings ? tablesOf(model, options) : [];
  const tableValues = new Set(tables.map((t) => t.value));
  const total = weightsIn(model, options, tables);
  const known = new Map<string, Tensor>();
  for (const table of tables) {
    ctx.checkAborted();
    const bits = tableBits(table, total, options);
    const zero: ZeroKind = options.zero === 'free' ? 'absmax' : options.zero;
    const rounded = roundMatrix(table, { ...options, bits, zero, method: options.method === 'rtn' ? 'rtn' : 'search' });
    store.set(table, storeBlocks(rounded, bits, zero));
    if (table.value.graph === model.graph) known.set(table.value.name, restored(table, rounded));
  }
  if (options.method === 'awq') await scaleChannels(model, { ...options, data: ctx.data! }, ctx);
  const layers: LayerRecord[] = [];
  if (options.method === 'gptq') layers.push(...(await roundOnData(model, options, known, store, ctx)));
  for (const matrix of productsOf(model, options)) {
    ctx.checkAborted();
    if (store.get(matrix.value, matrix.transposed) || (tableValues.has(matrix.value) && store.has(matrix.value))) continue;
    store.set(matrix, storeBlocks(roundMatrix(matrix, options), options.bits, options.zero));
  }
  return { blocks: (v, t) => store.get(v, t), channels: (v) => store.channels.get(v), layers };
}

class Store {
  readonly #blocks = new Map<Value, Map<boolean, StoredBlocks>>();
  readonly channels = new Map<Value, StoredChannels>();

  get(value: Value, transposed: boolean): StoredBlocks | undefined {
    return this.#blocks.get(value)?.get(transposed);
  }

  has(value: Value): boolean {
    return this.#blocks.has(value);
  }

  set({ value, transposed }: Pick<Matrix, 'value' | 'transposed'>, blocks: StoredBlocks): void {
    const forms = this.#blocks.get(value);
    if (forms) forms.set(transposed, blocks);
    else this.#blocks.set(value, new Map([[transposed, blocks]]));
  }
}

function roundMatrix(
  matrix: Matrix,
  options: Pick<RoundingOptions, 'method' | 'bits' | 'block' | 'zero' | 'twoLevel' | 'superBlock'>,
): RoundedMatrix {
  const { k, n } = matrix;
  const [weights] = layerMatrices({ ...matrix, groups: 1 }, matrix.value.initializer!.floats());
  if (options.method === 'rtn') return roundToNearest(weights!, k, n, options);
  const { zero } = options;
  if (options.method === 'hqq' && zero === 'free') return roundHalfQuadratic(weights!, k, n, { ...options, zero });
  return roundBySearch(weights!, k, n, options);
}

function restored(matrix: Matrix, rounded: RoundedMatrix): Tensor {
  return Tensor.of('float', matrix.value.initializer!.dims, layerWeights({ ...matrix, groups: 1 }, [rounded.values]));
}

/** GPTQ for the layers of the main graph. */
async function roundOnData(
  model: Model,
  options: RoundingOptions,
  known: ReadonlyMap<string, Tensor>,
  store: Store,
  ctx: PassContext,
): Promise<readonly LayerRecord[]> {
  const layers = model.graph.nodes.flatMap((node): LinearLayer[] => {
    if (!wanted(node, options)) return [];
    const layer = linearLayerOf(node);
    if (typeof layer !== 'object' || known.has(layer.weight)) return [];
    if (layer.kind === 'conv' && options.convBits === null) return [];
    return model.graph.ownValue(layer.weight) ? [layer] : [];
  });
  const { bits, block, zero, damping, convBits, twoLevel, superBlock } = options;
  const result = await reconstruct(model, layers, {
    engine: ctx.engine,
    threads: ctx.threads,
    data: ctx.data!,
    samples: options.samples,
    gridOf: (layer) =>
      layer.kind === 'conv'
        ? { bits: convBits!, zero: 'middle', block: layer.k, damping, order: 'importance' }
        : { bits, zero, block, damping, twoLevel, superBlock, order: 'importance' },
    known,
    correction: CORRECTION,
    residual: true,
    biases: true,
    store: (layer, rounded) => {
      const value = model.graph.ownValue(layer.weight)!;
      if (layer.kind === 'conv') store.channels.set(value, storeChannels(layer, value, rounded, convBits!));
      else store.set({ value, transposed: layer.transposed }, storeBlocks(rounded[0]!, bits, zero));
    },
    checkAborted: () => ctx.checkAborted(),
    onProgress: (fraction, label) => ctx.progress({ fraction, label: `rounding ${label}` }),
  });
  for (const [name, tensor] of result.biases) model.graph.setInitializer(model.graph.ownValue(name)!, tensor);
  return result.layers;
}

/** Signs of a constant in one orientation, as codes of one bit. */
export type RoundedSigns = (value: Value, transposed: boolean) => RoundedMatrix | undefined;

export interface SignOptions extends Pick<RoundingOptions, 'samples' | 'damping' | 'minElements' | 'select'> {
  readonly blockOf: (k: number) => number;
}

/** GPTQ with one bit for the products of the main graph. Biases of `model` change. */
export async function roundSigns(model: Model, options: SignOptions, ctx: PassContext): Promise<RoundedSigns> {
  if (!ctx.data)
    throw usageError('method gptq: expected calibration data, got none', {
      hint: 'give --data SPEC, or take the signs of the weights (rtn)',
    });
  const { damping, blockOf, samples } = options;
  const layers = model.graph.nodes.flatMap((node): LinearLayer[] => {
    const layer = wanted(node, options) ? linearLayerOf(node) : undefined;
    return typeof layer === 'object' && layer.kind === 'product' && model.graph.ownValue(layer.weight) ? [layer] : [];
  });
  const found = new Map<Value, { transposed: boolean; rounded: RoundedMatrix }>();
  const result = await reconstruct(model, layers, {
    engine: ctx.engine,
    threads: ctx.threads,
    data: ctx.data,
    samples,
    gridOf: (layer) => ({ bits: 1, zero: 'absmax', block: blockOf(layer.k), damping, order: 'importance' }),
    known: new Map(),
    correction: CORRECTION,
    residual: true,
    biases: true,
    store: (layer, [rounded]) => found.set(model.graph.ownValue(layer.weight)!, { transposed: layer.transposed, rounded: rounded! }),
    checkAborted: () => ctx.checkAborted(),
    onProgress: (fraction, label) => ctx.progress({ fraction, label: `rounding ${label}` }),
  });
  for (const [name, tensor] of result.biases) model.graph.setInitializer(model.graph.ownValue(name)!, tensor);
  ctx.note('layers', result.layers);
  return (value, transposed) => {
    const known = found.get(value);
    return known?.transposed === transposed ? known.rounded : undefined;
  };
}

/** Signed codes with a scale per output channel, as DequantizeLinear takes them. */
function storeChannels(layer: LinearLayer, value: Value, rounded: readonly RoundedMatrix[], bits: 4): StoredChannels {
  const middle = 2 ** (bits - 1);
  const codes = layerWeights(
    layer,
    rounded.map((r) => Float32Array.from(r.codes, (q) => q - middle)),
  );
  const scale = new Float32Array(layer.n * layer.groups);
  rounded.forEach((r, g) => {
    scale.set(r.scales, g * layer.n);
  });
  return { codes: Tensor.from(`int${bits}`, value.initializer!.dims, codes), scale: Tensor.of('float', [scale.length], scale) };
}

function wanted(node: Node, options: Pick<RoundingOptions, 'select' | 'minElements'>): boolean {
  const weight = node.input(1);
  const tensor = weight?.initializer ?? weight?.producer?.input(0)?.initializer;
  return options.select(node) === undefined && (tensor?.size ?? 0) >= options.minElements;
}

/** Products with a constant matrix, each constant and orientation once. */
function productsOf(model: Model, options: RoundingOptions): Matrix[] {
  const found: Matrix[] = [];
  for (const node of walkNodes(model.graph)) {
    const p = productOf(node);
    if (typeof p !== 'object' || options.select(node) !== undefined || p.weight.tensor.size < options.minElements) continue;
    const { value } = p.weight;
    if (found.some((m) => m.value === value && m.transposed === p.transposed)) continue;
    found.push({ value, transposed: p.transposed, k: p.k, n: p.n });
  }
  return found;
}

function tablesOf(model: Model, options: RoundingOptions): Matrix[] {
  const found = new Map<Value, Matrix>();
  for (const node of walkNodes(model.graph)) {
    const value = node.domain === '' ? lookupOf(node) : undefined;
    if (typeof value !== 'object' || options.select(node) !== undefined) continue;
    const [rows, width] = value.initializer!.dims as [number, number];
    if (rows * width < options.minElements || width % options.block !== 0) continue;
    found.set(value, { value, transposed: true, k: width, n: rows });
  }
  return [...found.values()];
}

/** Lookups have kernels for 4 and 8 bits; a table that a product reads too has that product's width. */
function tableBits(table: Matrix, total: number, options: RoundingOptions): 4 | 5 | 6 | 8 {
  const own = options.bits === 2 || options.bits === 3 ? 4 : options.bits;
  if (table.value.users.some((u) => u.opType !== 'Gather')) return own;
  if (options.tableBits !== undefined) return options.tableBits;
  if (options.method === 'rtn') return own;
  return table.k * table.n < SMALL_TABLE * total ? 8 : own;
}

function weightsIn(model: Model, options: RoundingOptions, tables: readonly Matrix[]): number {
  const all = new Map([...productsOf(model, options), ...tables].map((m) => [m.value, m.k * m.n]));
  return [...all.values()].reduce((a, b) => a + b, 0);
}
