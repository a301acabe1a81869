// Weight-only quantization: weights are stored in 4 or 8 bits and multiplied in float, so no calibration is needed and activations lose nothing.
// Products and embeddings take block-wise kernels (com.microsoft.MatMulNBits, GatherBlockQuantized); everything else DequantizeLinear, which any
// runtime of opset 21 has. Rounded to nearest by default, weights on disk are read one at a time, when the result is written; the other methods
// (see `method`) decide codes and scales by the error they leave, and hold the weights in memory.
import { z } from 'zod';
import type { Model } from '../../ir/model.js';
import { walkGraphs } from '../../ir/walk.js';
import { definePass, type PassContext, type Skipped } from '../../pass/define.js';
import type { ZeroKind } from '../../quant/block-rounding.js';
import { selectorOf } from '../../quant/selection.js';
import { storedBits } from '../../quant/stored-blocks.js';
import { removeDeadCode } from '../simplify/cleanup.js';
import { SELECTION_OPTIONS, SIMPLIFY_OPTION } from './options.js';
import { nothingToQuantize, prepareModel, warnIfLarger } from './prepare.js';
import { roundWeights } from './rounding.js';
import { WeightRewriter } from './weight-rewriter.js';

const options = z.object({
  bits: z
    .union([z.literal(2), z.literal(3), z.literal(4), z.literal(5), z.literal(6), z.literal(8)])
    .default(4)
    .describe(
      'bits per weight in the file; when it is loaded, 3 become 4 and 5 and 6 become 8, as runtimes multiply by 2, 4 and 8 bits only',
    ),
  method: z
    .enum(['rtn', 'search', 'k-quant', 'hqq', 'awq', 'gptq'])
    .default('rtn')
    .describe(
      'how codes are chosen: rtn to nearest; search scales of least squared error; k-quant the same in super-blocks, with two-level scales and offsets; hqq zero points of least p-norm; awq channels scaled by their data; gptq by the error of layer outputs on data',
    ),
  zeroPoint: z
    .enum(['none', 'integer', 'float'])
    .optional()
    .describe('zero points of blocks: none (default), integer, or float (default of hqq and k-quant; at most 4 bits)'),
  block: z
    .number()
    .int()
    .min(16)
    .max(256)
    .optional()
    .describe('weights that share a scale, along the axis that is summed over; a power of two (default 32; k-quant at 2, 3 and 6 bits 16)'),
  superBlock: z
    .number()
    .int()
    .min(64)
    .max(4096)
    .optional()
    .describe('weights whose scales are multiples of one float, a power of two (default: an output channel; k-quant 256)'),
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
  scaleBits: z
    .union([z.literal(8), z.literal(32)])
    .optional()
    .describe(
      'bits of scales: 32, or 8-bit multiples of one float per output channel, made whole when the model is loaded (default but with rtn)',
    ),
  convBits: z
    .union([z.literal(4), z.literal(8)])
    .default(8)
    .describe('bits of convolution weights, one scale per channel; 4 needs method gptq'),
  samples: z.number().int().positive().default(256).describe('calibration samples of gptq and awq, spread over the data'),
  damping: z.number().positive().default(0.01).describe('gptq: added to the diagonal of the Hessian, as a part of its mean'),
  tableBits: z
    .union([z.literal(4), z.literal(8)])
    .optional()
    .describe('bits of embedding tables (default: as the weights, at least 4; small ones 8 unless method is rtn)'),
  others: z.boolean().default(true).describe('quantize weights of convolutions, recurrent layers and the like to 8 bits per channel'),
  minElements: z.number().int().min(1).default(1024).describe('weights with fewer elements stay float'),
  ...SELECTION_OPTIONS,
  ...SIMPLIFY_OPTION,
});

export type QuantizeWeightsOptions = z.output<typeof options>;

export const quantizeWeights = definePass({
  name: 'quantize-weights',
  summary: 'weights in 2 to 8 bits by blocks, arithmetic in float; gptq and awq look at data',
  options: options
    .refine((o) => isPowerOfTwo(o.block ?? 32), { path: ['block'], message: 'expected a power of two' })
    .refine((o) => isPowerOfTwo(o.superBlock ?? 256), { path: ['superBlock'], message: 'expected a power of two' })
    .refine((o) => o.convBits === 8 || o.method === 'gptq', {
      path: ['convBits'],
      message: 'expected 8, as only gptq makes 4 bits good enough',
    })
    .refine((o) => o.scaleBits !== 8 || o.method !== 'rtn', {
      path: ['scaleBits'],
      message: 'expected 32 with rtn',
    })
    .refine((o) => o.zeroPoint !== 'float' || o.bits <= 4, {
      path: ['zeroPoint'],
      message: 'expected none or integer with more than 4 bits',
    })
    .refine((o) => o.format === 'auto' || !decidesFirst(o), {
      path: ['format'],
      message: 'expected auto with this method, bits or zero points',
    }),
  needs: { engine: true, data: 'optional' },
  run: runWeights,
});

async function runWeights(model: Model, opts: QuantizeWeightsOptions, ctx: PassContext): Promise<boolean> {
  const bytesBefore = await prepareModel(model, { simplify: opts.simplify, opset: 21 }, ctx, 'weights');
  const skipped: Skipped[] = [];
  const select = selectorOf(opts);
  const zero = zeroKindOf(opts);
  const block = opts.block ?? blockOf(opts);
  const rounding = decidesFirst(opts)
    ? await roundWeights(
        model,
        {
          ...opts,
          block,
          zero,
          select,
          twoLevel: hasTwoLevels(opts),
          superBlock: opts.superBlock ?? (opts.method === 'k-quant' ? SUPER_BLOCK : undefined),
          convBits: opts.convBits === 4 ? 4 : null,
        },
        ctx,
      )
    : undefined;
  const rewriter = new WeightRewriter({
    ...opts,
    block,
    // What was not decided above is of another kind, and stored in what DequantizeLinear takes.
    bits: storedBits(opts.bits),
    symmetric: zero === 'absmax',
    rounding,
    select,
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
  if (storedBits(opts.bits) !== opts.bits)
    ctx.note('loaded', `${opts.bits}-bit codes become ${storedBits(opts.bits)} bits each when the model is loaded`);
  if (rounding && rounding.layers.length > 0) ctx.note('layers', rounding.layers);
  warnIfLarger(bytesBefore, model, 'scales and padding of blocks take more than the smaller weights save', ctx);
  return true;
}

/** True where codes are decided before anything is written; the other way weights are never all in memory. */
function decidesFirst(o: Pick<QuantizeWeightsOptions, 'method' | 'bits' | 'zeroPoint' | 'tableBits'>): boolean {
  return o.method !== 'rtn' || (o.bits !== 4 && o.bits !== 8) || o.zeroPoint === 'float' || o.tableBits !== undefined;
}

const SUPER_BLOCK = 256;

/** Blocks of 16 as in Q2_K, Q3_K and Q6_K of llama.cpp, 32 as in Q4_K and Q5_K and everywhere else. */
function blockOf({ method, bits }: Pick<QuantizeWeightsOptions, 'method' | 'bits'>): number {
  return method === 'k-quant' && (bits <= 3 || bits === 6) ? 16 : 32;
}

const isPowerOfTwo = (x: number) => (x & (x - 1)) === 0;

function hasTwoLevels({ scaleBits, method }: QuantizeWeightsOptions): boolean {
  return scaleBits === undefined ? method !== 'rtn' : scaleBits === 8;
}

function zeroKindOf({ zeroPoint, symmetric, method, bits }: QuantizeWeightsOptions): ZeroKind {
  if (zeroPoint === undefined && method === 'hqq') return bits <= 4 ? 'free' : 'asymmetric';
  // As the formats of llama.cpp: offsets up to 5 bits; here 5 has none, since kernels of 8 bits take no float zero points.
  if (zeroPoint === undefined && method === 'k-quant' && bits <= 4) return 'free';
  const kind = zeroPoint ?? (symmetric ? 'none' : 'integer');
  return kind === 'none' ? 'absmax' : kind === 'integer' ? 'asymmetric' : 'free';
}
