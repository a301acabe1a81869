// Weights by a codebook, arithmetic in float: 4-bit NormalFloat (Dettmers et al. 2023, QLoRA) and FP4 with the blocks of bitsandbytes, or one sign per
// weight (Rastegari et al. 2016, XNOR-Net), which only models trained for it survive. Embedding tables, and products that share them, take
// 4-bit integer blocks, as there is no lookup by codebook; weights of other operators are stored in 4 or 8 bits.
import { z } from 'zod';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { walkGraphs, walkNodes } from '../../ir/walk.js';
import { definePass, type PassContext, type Skipped } from '../../pass/define.js';
import { constantOperand } from '../../quant/constant-weight.js';
import { selectorOf } from '../../quant/selection.js';
import { removeDeadCode } from '../simplify/cleanup.js';
import { type Codebook, CodebookRewriter, signBlock } from './codebook-rewriter.js';
import { lookupOf } from './lookup.js';
import { SELECTION_OPTIONS, SIMPLIFY_OPTION } from './options.js';
import { nothingToQuantize, prepareModel } from './prepare.js';
import { type RoundedSigns, roundSigns } from './rounding.js';
import { type WeightOptions, WeightRewriter } from './weight-rewriter.js';

const options = z.object({
  codebook: z.enum(['nf4', 'fp4', 'sign', 'int2', 'int4']).default('nf4').describe('levels that weights of products take'),
  method: z
    .enum(['rtn', 'gptq'])
    .default('rtn')
    .describe('how signs are chosen: those of the weights, or by the error of layer outputs on data (gptq)'),
  samples: z.number().int().positive().default(256).describe('calibration samples of gptq, spread over the data'),
  damping: z.number().positive().default(0.01).describe('gptq: added to the diagonal of the Hessian, as a part of its mean'),
  block: z.number().int().min(16).max(256).default(64).describe('weights that share a scale; a power of two'),
  tableBits: z
    .union([z.literal(2), z.literal(4), z.literal(8)])
    .default(4)
    .describe('bits of embedding tables and of products that share them'),
  tableBlock: z.number().int().min(16).max(256).default(32).describe('elements of a table row that share a scale; a power of two'),
  embeddings: z.boolean().default(true).describe('quantize embedding tables (Gather)'),
  others: z.boolean().default(true).describe('quantize weights of convolutions, recurrent layers and the like to 8 bits per channel'),
  minElements: z.number().int().min(1).default(1024).describe('weights with fewer elements stay float'),
  ...SELECTION_OPTIONS,
  ...SIMPLIFY_OPTION,
});

export type QuantizeCodebookOptions = z.output<typeof options>;

const powerOfTwo = (x: number) => (x & (x - 1)) === 0;

export const quantizeCodebook = definePass({
  name: 'quantize-codebook',
  summary:
    'weights as 4-bit floats, signs, or integers of few bits with embeddings apart; arithmetic in float; signs may be chosen on data',
  options: options
    .refine((o) => powerOfTwo(o.block), { path: ['block'], message: 'expected a power of two' })
    .refine((o) => o.method === 'rtn' || o.codebook === 'sign', { path: ['method'], message: 'expected rtn with this codebook' })
    .refine((o) => powerOfTwo(o.tableBlock), { path: ['tableBlock'], message: 'expected a power of two' }),
  needs: { engine: true, data: 'optional' },
  run: runCodebook,
});

async function runCodebook(model: Model, opts: QuantizeCodebookOptions, ctx: PassContext): Promise<boolean> {
  await prepareModel(model, { simplify: opts.simplify, opset: 21 }, ctx, 'codebook');
  const skipped: Skipped[] = [];
  const skip = (node: Node, reason: string) => skipped.push({ node: node.label, op: node.op, reason });
  const select = selectorOf(opts);
  const tables = opts.embeddings ? tablesOf(model) : new Set<Value>();
  const blocks = (own: Pick<WeightOptions, 'bits' | 'block' | 'embeddings' | 'others'>, only: (node: Node) => boolean) =>
    new WeightRewriter({
      symmetric: true,
      format: 'auto',
      accuracyLevel: 0,
      minElements: opts.minElements,
      blocksInQdq: model.opset >= 21,
      ...own,
      select: (node) => (only(node) ? select(node) : LEFT),
      skip: (node, reason) => reason !== LEFT && skip(node, reason),
    });
  const ofTables = blocks({ bits: opts.tableBits, block: opts.tableBlock, embeddings: true, others: false }, (node) => reads(node, tables));
  const signs =
    opts.method === 'gptq'
      ? await roundSigns(
          model,
          {
            ...opts,
            select: (node) => (reads(node, tables) ? LEFT : select(node)),
            blockOf: (k) => signBlock(opts.block, k),
          },
          ctx,
        )
      : undefined;
  const products = productsBy(opts, signs, select, skip, blocks);
  const rest = blocks({ bits: 4, block: 32, embeddings: false, others: opts.others }, () => true);
  const rewriters = [...(tables.size > 0 ? [ofTables] : []), products, rest];
  for (const rewriter of rewriters) {
    // Each sees what the ones before it left over: only the last word on a node counts.
    skipped.length = 0;
    for (const graph of walkGraphs(model.graph)) {
      ctx.checkAborted();
      rewriter.rewrite(graph);
    }
  }
  const counts: Record<string, number> = {};
  for (const r of rewriters) for (const [op, n] of Object.entries(r.counts)) counts[op] = (counts[op] ?? 0) + n;
  if (Object.keys(counts).length === 0) nothingToQuantize('codebook', skipped);
  // A Transpose whose product reads the quantized table would keep the float one alive.
  removeDeadCode(model);
  for (const graph of walkGraphs(model.graph)) graph.pruneValues();
  if ([...walkNodes(model.graph)].some((n) => n.domain === 'com.microsoft'))
    model.opsets.set('com.microsoft', model.opsets.get('com.microsoft') ?? 1);
  for (const s of skipped) ctx.skip(s);
  ctx.note('quantized', counts);
  return true;
}

const LEFT = 'left to another rewriter';

type Blocks = (own: Pick<WeightOptions, 'bits' | 'block' | 'embeddings' | 'others'>, only: (node: Node) => boolean) => WeightRewriter;

function productsBy(
  opts: QuantizeCodebookOptions,
  signs: RoundedSigns | undefined,
  select: ReturnType<typeof selectorOf>,
  skip: (node: Node, reason: string) => void,
  blocks: Blocks,
): WeightRewriter | CodebookRewriter {
  const { block, minElements, codebook } = opts;
  if (codebook === 'int2' || codebook === 'int4')
    return blocks({ bits: codebook === 'int2' ? 2 : 4, block, embeddings: false, others: false }, () => true);
  const kind: Codebook = codebook;
  return new CodebookRewriter({ codebook: kind, block, minElements, signs, select, skip });
}

/** Constants that lookups read. */
function tablesOf(model: Model): Set<Value> {
  const tables = new Set<Value>();
  for (const node of walkNodes(model.graph)) {
    if (node.domain !== '') continue;
    const table = lookupOf(node);
    if (typeof table === 'object') tables.add(table);
  }
  return tables;
}

function reads(node: Node, tables: ReadonlySet<Value>): boolean {
  return node.inputs.some((input) => {
    const constant = constantOperand(input);
    return constant !== null && tables.has(constant.value);
  });
}
