// Weight-only quantization: weights are stored in 4 or 8 bits and multiplied in float, so no calibration is needed and activations lose nothing.
// Products and embeddings take block-wise kernels (com.microsoft.MatMulNBits, GatherBlockQuantized); everything else DequantizeLinear, which any
// runtime of opset 21 has. Round to nearest; weights on disk are read one at a time, when the result is written.
import { z } from 'zod';
import type { Model } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass, type PassContext, type Skipped } from '../../pass/define.js';
import { selectorOf } from '../../quant/selection.js';
import { removeDeadCode } from '../simplify/cleanup.js';
import { SELECTION_OPTIONS, SIMPLIFY_OPTION } from './options.js';
import { nothingToQuantize, prepareModel, warnIfLarger } from './prepare.js';
import { WeightRewriter } from './weight-rewriter.js';

const options = z.object({
  bits: z
    .union([z.literal(4), z.literal(8)])
    .default(4)
    .describe('bits per weight'),
  block: z
    .number()
    .int()
    .min(16)
    .max(256)
    .default(32)
    .describe('weights that share a scale, along the axis that is summed over; a power of two'),
  symmetric: z.boolean().default(true).describe('no zero points'),
  format: z
    .enum(['auto', 'qdq'])
    .default('auto')
    .describe('auto uses MatMulNBits and GatherBlockQuantized of ONNX Runtime; qdq standard DequantizeLinear only, slower'),
  accuracyLevel: z
    .number()
    .int()
    .min(0)
    .max(4)
    .default(0)
    .describe('accuracy_level of MatMulNBits: 0 leaves it to the runtime, 1 computes in float, 4 in int8, which is fastest'),
  embeddings: z.boolean().default(true).describe('quantize embedding tables (Gather)'),
  others: z.boolean().default(true).describe('quantize weights of convolutions, recurrent layers and the like to 8 bits per channel'),
  minElements: z.number().int().min(1).default(1024).describe('weights with fewer elements stay float'),
  ...SELECTION_OPTIONS,
  ...SIMPLIFY_OPTION,
});

export type QuantizeWeightsOptions = z.output<typeof options>;

export const quantizeWeights = definePass({
  name: 'quantize-weights',
  summary: 'weights in 4 or 8 bits by blocks, arithmetic in float; needs no data',
  options: options.refine((o) => (o.block & (o.block - 1)) === 0, { path: ['block'], message: 'expected a power of two' }),
  needs: { engine: true },
  run: runWeights,
});

async function runWeights(model: Model, opts: QuantizeWeightsOptions, ctx: PassContext): Promise<boolean> {
  const bytesBefore = await prepareModel(model, { simplify: opts.simplify, opset: 21 }, ctx, 'weights');
  const skipped: Skipped[] = [];
  const rewriter = new WeightRewriter({
    ...opts,
    select: selectorOf(opts),
    blocksInQdq: model.opset >= 21,
    skip: (node, reason) => skipped.push({ node: node.label, op: node.op, reason }),
  });
  for (const graph of walkGraphs(model.graph)) {
    ctx.checkAborted();
    rewriter.rewrite(graph);
  }
  if (rewriter.rewritten === 0) nothingToQuantize('weights', skipped);
  // A Transpose whose product reads the quantized table would keep the float one alive.
  removeDeadCode(model);
  for (const graph of walkGraphs(model.graph)) graph.pruneValues();
  if (rewriter.usesContrib) model.opsets.set('com.microsoft', model.opsets.get('com.microsoft') ?? 1);
  for (const s of skipped) ctx.skip(s);
  ctx.note('quantized', rewriter.counts);
  ctx.note('bits', opts.bits);
  warnIfLarger(bytesBefore, model, 'scales and padding of blocks take more than the smaller weights save', ctx);
  return true;
}
