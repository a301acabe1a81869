// Puts adapters beside products: new ones, which change nothing until they are trained (B is zero), or those of a file. All other weights are marked as
// not to be trained. As inputs of the graph, adapters can be swapped at each run without loading the model again.
import { z } from 'zod';
import { inferShapes } from '../../analysis/shapes.js';
import { TRAINABLE_KEY, trainableParameters } from '../../analysis/trainable.js';
import { nothingToDoError, shapeError, usageError } from '../../errors.js';
import { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import { tensorType } from '../../ir/type.js';
import { definePass } from '../../pass/define.js';
import { patternOf } from '../../quant/selection.js';
import type { Rng } from '../../util/rng.js';
import type { AdapterFile } from './file.js';
import { A_SUFFIX, type AdapterSite, B_SUFFIX, findAdapters, siteOf } from './find.js';

/** Says of a weight that it was frozen for an adapter, so that merging can free it again. */
export const FROZEN_KEY = 'pare.frozen_by_adapter';

export const adapterOptions = z.object({
  rank: z.number().int().min(1).default(8).describe('inner size of the adapters'),
  alpha: z.number().positive().optional().describe('the update is scaled by alpha / rank (default: alpha = rank)'),
  only: z.array(z.string()).default([]).describe('only products of these names (* stands for anything)'),
  exclude: z.array(z.string()).default([]).describe('products without an adapter, by the same names'),
});

export type AdapterOptions = z.output<typeof adapterOptions>;

export const addAdapters = definePass({
  name: 'add-adapters',
  summary: 'low-rank adapters (LoRA) beside products; all other weights are frozen',
  options: adapterOptions,
  needs: {},
  async run(model, { rank, alpha = rank, only, exclude }, ctx) {
    inferShapes(model);
    if (findAdapters(model).length > 0)
      throw usageError('adapters: expected a model without adapters, got one with them', { hint: 'merge them first' });
    const [wanted, unwanted] = [only.map(patternOf), exclude.map(patternOf)];
    const named = (site: AdapterSite, tests: readonly RegExp[]) => tests.some((t) => t.test(site.layer) || t.test(site.node.label));
    const sites: AdapterSite[] = [];
    for (const node of model.graph.nodes) {
      const site = siteOf(node);
      if (typeof site === 'string') ctx.skip({ node: node.label, op: node.opType, reason: site });
      if (typeof site === 'object' && (wanted.length === 0 || named(site, wanted)) && !named(site, unwanted)) sites.push(site);
    }
    if (sites.length === 0) throw nothingToDoError('adapters: expected matrix products with constant weights, got none');
    for (const value of trainableParameters(model)) {
      value.metadata = new Map([...(value.metadata ?? []), [TRAINABLE_KEY, 'false'], [FROZEN_KEY, 'true']]);
    }
    for (const site of sites) {
      const rng = ctx.rng.fork(site.layer);
      attach(model, site, newWeights(site, rank, rng), alpha / rank, false);
    }
    ctx.note('adapters', { rank, alpha, layers: sites.map(({ layer, k, n }) => ({ layer, params: rank * (k + n) })) });
    return true;
  },
});

interface Weights {
  readonly a: Tensor;
  readonly b: Tensor;
}

/** A uniform within 1 / sqrt(k), B zero. */
function newWeights({ k, n }: AdapterSite, rank: number, rng: Rng): Weights {
  const bound = 1 / Math.sqrt(k);
  const a = Float32Array.from({ length: k * rank }, () => (2 * rng.uniform() - 1) * bound);
  return { a: Tensor.of('float', [k, rank], a), b: Tensor.of('float', [rank, n], new Float32Array(rank * n)) };
}

export interface ApplyOptions {
  /** A and B become inputs of the graph, of any rank, to be fed at each run (`adapterFeeds`): all zeros is the model without an adapter. */
  readonly asInputs?: boolean | undefined;
}

/** Puts the adapters of a file into the model, in place. Throws E_USAGE for layers that the model does not have, E_SHAPE where sizes differ. */
export function applyAdapters(model: Model, file: AdapterFile, { asInputs = false }: ApplyOptions = {}): void {
  inferShapes(model);
  if (findAdapters(model).length > 0)
    throw usageError('adapters: expected a model without adapters, got one with them', { hint: 'merge them first' });
  const sites = new Map<string, AdapterSite>();
  for (const node of model.graph.nodes) {
    const site = siteOf(node);
    if (typeof site === 'object') sites.set(site.layer, site);
  }
  const unknown = [...file.layers.keys()].filter((layer) => !sites.has(layer));
  if (unknown.length > 0) {
    throw usageError(
      `adapter: expected products called ${unknown.slice(0, 3).join(', ')}${unknown.length > 3 ? ', ...' : ''}, got none in this model`,
      {
        hint: 'the adapter was trained on another model, or nodes were renamed since',
      },
    );
  }
  for (const [layer, { a, b }] of file.layers) {
    const site = sites.get(layer)!;
    const [k, n] = [a.dims[0], b.dims[1]];
    if (k !== site.k || n !== site.n)
      throw shapeError(`adapter of ${layer}: expected ${site.k} inputs and ${site.n} outputs, got ${k} and ${n}`);
    attach(model, site, { a, b: asInputs ? scaled(b, file.scale) : b }, asInputs ? 1 : file.scale, asInputs);
  }
}

/** The values of an adapter as they are fed to a model that has them as inputs. */
export function adapterFeeds(file: AdapterFile): Record<string, Tensor> {
  return Object.fromEntries(
    [...file.layers].flatMap(([layer, { a, b }]) => [
      [layer + A_SUFFIX, a],
      [layer + B_SUFFIX, scaled(b, file.scale)],
    ]),
  );
}

function scaled(tensor: Tensor, factor: number): Tensor {
  return Tensor.of(
    'float',
    tensor.dims,
    tensor.floats().map((v) => v * factor),
  );
}

function attach(model: Model, site: AdapterSite, { a, b }: Weights, scale: number, asInputs: boolean): void {
  const { graph } = model;
  const { node, layer } = site;
  const output = node.output();
  const uses = [...output.uses];
  const place = graph.nodes.indexOf(node);
  const builder = new Builder(graph, { before: graph.nodes[place + 1] ?? null });
  const hold = (name: string, tensor: Tensor, shape: readonly (number | string)[]): Value => {
    if (!asInputs) return graph.addInitializer(name, tensor);
    return graph.addInput(name, tensorType('float', [...shape]));
  };
  const first = hold(layer + A_SUFFIX, a, [site.k, 'lora_rank']);
  const second = hold(layer + B_SUFFIX, b, ['lora_rank', site.n]);
  const down = builder.op('MatMul', [node.input(0), first], {}, { name: `${layer}.lora_down` });
  const factor = scale === 1 ? down : builder.op('Mul', [down, builder.scalar(`${layer}.lora_scale`, 'float', scale)]);
  const up = builder.op('MatMul', [factor, second], {}, { name: `${layer}.lora_up` });
  const sum = builder.op('Add', [output, up], {}, { name: `${layer}.lora_sum` });
  if (output.type) sum.type = output.type;
  for (const use of uses) use.node.setInput(use.index, sum);
  takeOutputName(output, sum);
}

/** Outputs of the graph keep their names. */
export function takeOutputName(from: Value, to: Value): void {
  const { graph } = from;
  if (!from.isGraphOutput) return;
  const { name } = from;
  graph.rename(from, graph.freshName(`${name}_base`));
  graph.rename(to, name);
  graph.outputs.forEach((v, i) => {
    if (v === from) graph.setOutput(i, to);
  });
}

/** Frees weights that were frozen for adapters. */
export function unfreeze(model: Model): void {
  for (const value of model.graph.initializers) {
    if (!value.metadata?.has(FROZEN_KEY)) continue;
    const rest = new Map([...value.metadata].filter(([key]) => key !== FROZEN_KEY && key !== TRAINABLE_KEY));
    value.metadata = rest.size > 0 ? rest : undefined;
  }
}
