// The `prune-unstructured` pass: single weights become zero, anywhere or in patterns. The matrices keep their size: what gets smaller is the file once it is
// packed or stored sparsely; ONNX Runtime multiplies zeros like other numbers. BatchNormalization stays where it is, so that a training finds it.
import { densify, makeMasksPermanent, markMasked } from '../../../analysis/masks.js';
import { inferShapes } from '../../../analysis/shapes.js';
import { nothingToDoError, usageError } from '../../../errors.js';
import type { Value } from '../../../ir/graph.js';
import type { Model } from '../../../ir/model.js';
import { Tensor } from '../../../ir/tensor.js';
import { definePass, type PassContext } from '../../../pass/define.js';
import { type LinearLayer, linearLayerOf } from '../../../quant/layer-probe.js';
import { refuseUnknown } from '../../../quant/model-checks.js';
import { simplify } from '../../simplify/index.js';
import { nameMatcher } from '../structured/options.js';
import { addBiases } from '../structured/reconstruct.js';
import { erkSparsities, sparsitiesByError } from './allocation.js';
import { type LayerTask, pruneLayerwise } from './layerwise.js';
import { type Pattern, parsePattern } from './layout.js';
import { type UnstructuredOptions, unstructuredOptions } from './options.js';
import { type ScoreMethod, weightScores } from './scores.js';
import { globalMasks, layerMask, type Mask } from './select.js';
import { pruningCurves } from './sensitivity.js';
import { storeSparsely } from './storage.js';
import { type PrunableWeight, prunableWeights } from './targets.js';

export { type UnstructuredOptions, unstructuredOptions } from './options.js';

/** Rules that would take BatchNormalization into the weights. */
const KEPT_RULES = ['fold-affine-into-linear', 'fold-affine-before-linear'];

export const pruneUnstructured = definePass({
  name: 'prune-unstructured',
  summary: 'make single weights zero, anywhere or in patterns such as 2:4',
  options: unstructuredOptions,
  needs: { data: 'optional', engine: true },
  run: runUnstructured,
});

/** Scores of the caller's own: one number an element of the weight, higher for what must stay. */
export type WeightScorer = (name: string, weights: Float32Array) => ArrayLike<number> | Promise<ArrayLike<number>>;

/** As the pass, with scores of the caller's own in place of a method's. Edits the model in place. */
export async function runUnstructured(
  model: Model,
  options: UnstructuredOptions,
  ctx: PassContext,
  score?: WeightScorer,
): Promise<boolean> {
  const pattern = options.pattern === undefined ? undefined : parsePattern(options.pattern);
  const sparsity = wantedSparsity(options, pattern);
  const method = score ? 'magnitude' : options.method;
  await prepare(model, options, ctx);
  const weights = prunableWeights(
    model,
    { embeddings: options.embeddings, minElements: options.minElements, pattern, isProtected: nameMatcher(options.protect) },
    (node, reason) => ctx.skip({ node: node.label, op: node.op, reason }),
  );
  if (weights.length === 0) {
    throw nothingToDoError('nothing to prune: expected at least one weight that may lose elements, got none', {
      hint: 'weights that stay are those protected by name, smaller than --min-elements, embedding tables, or of a shape that the pattern does not fit',
    });
  }
  const biasesOf = options.reconstruct || method === 'sparsegpt';
  const layers = biasesOf ? linearLayers(model, weights) : new Map<Value, LinearLayer>();
  const unmeasured = (weight: PrunableWeight) =>
    ctx.skip({
      node: weight.node.label,
      op: weight.node.op,
      reason: `${method} has no figures for "${weight.value.name}": pruned by size`,
    });
  const scoreMethod: ScoreMethod = method === 'sparsegpt' ? 'magnitude' : method;
  ctx.progress({ fraction: undefined, label: `scores of ${weights.length} weights` });
  const common = { engine: ctx.engine, threads: ctx.threads, data: ctx.data, samples: options.samples, checkAborted: ctx.checkAborted };
  const scores: Map<Value, ArrayLike<number>> = await weightScores(model, weights, scoreMethod, { ...common, rng: ctx.rng }, unmeasured);
  if (score) for (const { value } of weights) scores.set(value, await score(value.name, (await value.initializer!.load()).floats()));
  const shares = await layerSparsities(model, weights, scores, sparsity, pattern, options, ctx);
  const masks = chooseMasks(weights, scores, shares, sparsity, pattern, options, (v) => method === 'sparsegpt' && layers.has(v));
  await applyMasks(model, weights, layers, masks, shares, pattern, options, ctx);
  report(weights, options, ctx);
  return true;
}

function wantedSparsity(options: UnstructuredOptions, pattern: Pattern | undefined): number {
  if (pattern?.kind === 'n:m') {
    const own = 1 - pattern.keep / pattern.of;
    if (options.sparsity !== undefined && Math.abs(options.sparsity - own) > 1e-9)
      throw usageError(`pattern ${options.pattern}: expected sparsity ${own} or none, got ${options.sparsity}`);
    if (options.scope === 'global' || options.layerSparsity !== 'uniform')
      throw usageError(
        `pattern ${options.pattern}: expected layer scope and uniform layer sparsity, since it has the same share of zeros everywhere`,
      );
    return own;
  }
  if (options.sparsity === undefined)
    throw usageError('expected a sparsity, got none', { hint: 'give --sparsity 0.5, or a pattern such as --pattern 2:4' });
  if (options.scope === 'global' && options.layerSparsity !== 'uniform')
    throw usageError(`layer sparsity ${options.layerSparsity}: expected layer scope, as global scope finds the layers' shares itself`);
  if (options.scope === 'global' && options.method === 'sparsegpt')
    throw usageError('method sparsegpt: expected layer scope, as it decides layer by layer', {
      hint: '--layer-sparsity sensitivity spreads zeros',
    });
  return options.sparsity;
}

async function prepare(model: Model, options: UnstructuredOptions, ctx: PassContext): Promise<void> {
  refuseUnknown(model);
  densify(model);
  const { definition } = simplify;
  // Gradients are written in newer operators.
  const opset = options.method === 'taylor' || options.method === 'fisher' ? Math.max(17, model.opset) : 0;
  await definition.run(model, definition.options.parse({ skip: KEPT_RULES, opset }), ctx);
  if (options.reconstruct) addBiases(model);
  inferShapes(model);
}

/** Layers of the main graph that can be fitted: products and convolutions that alone read their weight. */
function linearLayers(model: Model, weights: readonly PrunableWeight[]): Map<Value, LinearLayer> {
  const found = new Map<Value, LinearLayer>();
  for (const { value, node } of weights) {
    if (value.graph !== model.graph || node.graph !== model.graph || value.users.length > 1) continue;
    const layer = linearLayerOf(node);
    if (typeof layer === 'object' && layer.weight === value.name) found.set(value, layer);
  }
  return found;
}

async function layerSparsities(
  model: Model,
  weights: readonly PrunableWeight[],
  scores: ReadonlyMap<Value, ArrayLike<number>>,
  sparsity: number,
  pattern: Pattern | undefined,
  options: UnstructuredOptions,
  ctx: PassContext,
): Promise<number[]> {
  if (options.layerSparsity === 'erk') {
    const windows = weights.map((w) => (w.layout.taps.size > 1 ? w.value.initializer!.dims.slice(2) : []));
    return erkSparsities(
      weights.map((w) => w.layout),
      windows,
      sparsity,
    );
  }
  if (options.layerSparsity === 'uniform') return weights.map(() => sparsity);
  if (!ctx.data)
    throw usageError('layer sparsity by sensitivity: expected data, got none', { hint: 'give --data SPEC; labels are not used' });
  const own = weights.filter((w) => w.value.graph === model.graph);
  const curves = await pruningCurves(model, own, scores, {
    engine: ctx.engine,
    threads: ctx.threads,
    data: ctx.data,
    pattern,
    signal: ctx.signal,
    onProgress: (fraction) => ctx.progress({ fraction, label: 'measuring sensitivities' }),
  });
  ctx.note('sensitivity', Object.fromEntries(own.map((w, i) => [w.value.name, curves[i]])));
  const sizes = own.map((w) => w.size);
  const found = sparsitiesByError(sizes, curves, sparsity);
  return weights.map((w) => found[own.indexOf(w)] ?? sparsity);
}

/** Masks of all weights but those that `later` says are decided on their Hessian. */
function chooseMasks(
  weights: readonly PrunableWeight[],
  scores: ReadonlyMap<Value, ArrayLike<number>>,
  shares: readonly number[],
  sparsity: number,
  pattern: Pattern | undefined,
  options: UnstructuredOptions,
  later: (value: Value) => boolean,
): Map<Value, Mask> {
  if (options.scope === 'global') {
    const list = globalMasks(
      weights.map((w) => ({ layout: w.layout, scores: scores.get(w.value)! })),
      sparsity,
      pattern,
      options.minKeep,
    );
    return new Map(weights.map((w, i) => [w.value, list[i]!]));
  }
  // Norms of inputs say how weights of one output compare (Wanda's finding), not outputs with each other.
  const compare = options.method === 'wanda' && pattern?.kind !== 'block' ? 'output' : 'layer';
  const masks = new Map<Value, Mask>();
  for (const [i, w] of weights.entries())
    if (!later(w.value)) masks.set(w.value, layerMask(scores.get(w.value)!, w.layout, shares[i]!, pattern, compare));
  return masks;
}

async function applyMasks(
  model: Model,
  weights: readonly PrunableWeight[],
  layers: ReadonlyMap<Value, LinearLayer>,
  masks: ReadonlyMap<Value, Mask>,
  shares: readonly number[],
  pattern: Pattern | undefined,
  options: UnstructuredOptions,
  ctx: PassContext,
): Promise<void> {
  const others = new Map<string, Tensor>();
  for (const { value } of weights) {
    const mask = masks.get(value);
    if (!mask) continue;
    if (layers.has(value)) continue;
    const masked = await maskedTensor(value, mask);
    // What is fitted is compared with the unpruned model: weights of the main graph change at the end.
    if (value.graph === model.graph) others.set(value.name, masked);
    else value.graph.setInitializer(value, masked);
  }
  const tasks = weights.flatMap((w, i): LayerTask[] => {
    const layer = layers.get(w.value);
    return layer ? [{ layer, taps: w.layout.taps.size, mask: masks.get(w.value), sparsity: shares[i]! }] : [];
  });
  if (tasks.length > 0) {
    if (!ctx.data) {
      throw usageError(`${options.reconstruct ? 'reconstruct' : `method ${options.method}`}: expected data, got none`, {
        hint: 'give --data SPEC; labels are not used',
      });
    }
    const result = await pruneLayerwise(model, tasks, {
      engine: ctx.engine,
      threads: ctx.threads,
      data: ctx.data,
      samples: options.samples,
      damping: options.damping,
      pattern,
      fit: options.reconstruct,
      others,
      checkAborted: () => ctx.checkAborted(),
      onProgress: (fraction, label) => ctx.progress({ fraction, label: `${options.reconstruct ? 'reconstructing' : 'pruning'} ${label}` }),
    });
    for (const [name, tensor] of result.tensors) model.graph.setInitializer(model.graph.ownValue(name)!, tensor);
    ctx.note('fitted', result.layers);
  }
  for (const [name, tensor] of others) model.graph.setInitializer(model.graph.ownValue(name)!, tensor);
  for (const { value } of weights) if (!options.permanent) markMasked(value);
  if (options.permanent) makeMasksPermanent(model);
  if (options.sparseStorage) {
    const saved = storeSparsely(
      model,
      weights.map((w) => w.value),
      (value, reason) => ctx.skip({ node: value.name, op: 'sparse storage', reason }),
    );
    ctx.note('sparseStorage', { savedBytes: saved });
    if (saved === 0)
      ctx.warn({ message: 'sparse storage: no weight gets smaller by it', fix: 'a sparsity above two thirds, or pare pack' });
  }
}

async function maskedTensor(value: Value, mask: Mask): Promise<Tensor> {
  const tensor = await value.initializer!.load();
  const floats = tensor.floats();
  return Tensor.from(
    tensor.dtype,
    tensor.dims,
    floats.map((v, i) => (mask[i] === 1 ? v : 0)),
  );
}

/** Zeros by layer, for the table and the report. */
function report(weights: readonly PrunableWeight[], options: UnstructuredOptions, ctx: PassContext): void {
  const layers = weights.map(({ value, node, size }) => {
    const nonzero = value.sparse ? value.sparse.values.size : countNonzero(value.initializer!);
    return { layer: node.label, weight: value.name, op: node.op, elements: size, zeros: size - nonzero, sparsity: 1 - nonzero / size };
  });
  const elements = layers.reduce((n, l) => n + l.elements, 0);
  const zeros = layers.reduce((n, l) => n + l.zeros, 0);
  ctx.note('sparsity', { elements, zeros, sparsity: zeros / elements, pattern: options.pattern ?? null });
  ctx.note('layers', layers);
}

function countNonzero(tensor: Tensor): number {
  const values = tensor.floats();
  let count = 0;
  for (let i = 0; i < values.length; i++) if (values[i] !== 0) count++;
  return count;
}
