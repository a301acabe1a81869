// Dynamic int8 quantization: weights become int8 per output channel, activations are quantized to uint8 at run time with the range of each tensor.
// Convolutions and GRU keep float arithmetic on weights stored in 8 bits. No data is needed. Written in standard ONNX operators (DynamicQuantizeLinear, MatMulInteger) that ONNX Runtime fuses into one kernel per product;
// LSTM and Attention take the contrib operators, as ONNX has no integer form of them.
import { z } from 'zod';
import type { Model } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass, type PassContext, type Skipped } from '../../pass/define.js';
import { RUNTIMES, type Runtime } from '../../quant/runtimes.js';
import { selectorOf } from '../../quant/selection.js';
import { removeDeadCode } from '../simplify/cleanup.js';
import { DynamicRewriter } from './dynamic-rewriter.js';
import { RUNTIME_OPTION, SELECTION_OPTIONS, SIMPLIFY_OPTION } from './options.js';
import { nothingToQuantize, prepareModel, warnIfLarger } from './prepare.js';

const options = z.object({
  weightType: z.enum(['int8', 'uint8']).default('int8').describe('type of the weights; older runtimes take only uint8 in some operators'),
  perChannel: z.boolean().default(true).describe('one weight scale per output channel'),
  reduceRange: z
    .enum(['auto', 'on', 'off'])
    .default('auto')
    .describe('7-bit weights, for CPUs whose sums of 8-bit products saturate; auto asks the runtime'),
  conv: z
    .enum(['float', 'integer'])
    .default('float')
    .describe('arithmetic of convolutions: float, or ConvInteger (slower than float nearly everywhere)'),
  others: z
    .boolean()
    .default(true)
    .describe('store weights of float convolutions and of recurrent layers without a dynamic kernel in 8 bits, folded to float at load'),
  embeddings: z.boolean().default(true).describe('store embedding tables (Gather) as int8 with one scale per row'),
  minElements: z.number().int().min(1).default(256).describe('weights with fewer elements stay float'),
  ...RUNTIME_OPTION,
  ...SELECTION_OPTIONS,
  ...SIMPLIFY_OPTION,
});

export type QuantizeDynamicOptions = z.output<typeof options>;

export const quantizeDynamic = definePass({
  name: 'quantize-dynamic',
  summary: 'int8 weights per channel, activations quantized at run time; needs no data',
  options,
  needs: { engine: true },
  run: runDynamic,
});

async function runDynamic(model: Model, opts: QuantizeDynamicOptions, ctx: PassContext): Promise<boolean> {
  const bytesBefore = await prepareModel(model, { simplify: opts.simplify, opset: 21 }, ctx, 'dynamic');
  const runtime: Runtime = RUNTIMES[opts.runtime];
  const skipped: Skipped[] = [];
  const rewriter = new DynamicRewriter({
    weights: {
      dtype: opts.weightType,
      symmetry: 'symmetric',
      reduced: opts.reduceRange === 'on' || (opts.reduceRange === 'auto' && runtime.saturates),
    },
    perChannel: opts.perChannel,
    conv: opts.conv,
    embeddings: opts.embeddings,
    others: opts.others,
    products: runtime.dynamic ? undefined : `${runtime.name} has no products of activations quantized at run time`,
    minElements: opts.minElements,
    select: selectorOf(opts),
    skip: (node, reason) => skipped.push({ node: node.label, op: node.op, reason }),
  });
  for (const graph of walkGraphs(model.graph)) {
    ctx.checkAborted();
    rewriter.rewrite(graph);
  }
  if (rewriter.rewritten === 0) nothingToQuantize('dynamic', skipped);
  rewriter.finish();
  // A Transpose whose product reads the quantized table would keep the float one alive.
  removeDeadCode(model);
  for (const graph of walkGraphs(model.graph)) graph.pruneValues();
  if (rewriter.usesContrib) model.opsets.set('com.microsoft', model.opsets.get('com.microsoft') ?? 1);
  for (const s of skipped) ctx.skip(s);
  ctx.note('quantized', rewriter.counts);
  warnIfLarger(bytesBefore, model, 'scales and quantization nodes take more than the smaller weights save', ctx);
  return true;
}
