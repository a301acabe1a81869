// Options of low-rank factorization.
import { z } from 'zod';
import { usageError } from '../../errors.js';
import { amountOption } from '../../pass/amount.js';
import { CONV_METHODS, type ConvMethod } from './factorization.js';

export const lowRankOptions = z.object({
  rankEnergy: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe('part of the power of each layer to keep: its output on data, else its weights (default 0.95 where no budget is given)'),
  rankRatio: z.number().gt(0).lt(1).optional().describe('part of its multiply-accumulates that each layer keeps, the same for all'),
  rank: z.number().int().min(1).optional().describe('one rank for all layers'),
  targetMacs: amountOption.describe('multiply-accumulates of the model to keep: a fraction up to 1, or an amount (50M)'),
  targetBytes: amountOption.describe('bytes of constants to keep: a fraction up to 1, or an amount (5MB)'),
  targetLatency: z
    .number()
    .positive()
    .lt(1)
    .optional()
    .describe('latency to reach as a fraction of the original, measured on this machine'),
  weighted: z.boolean().default(true).describe('with data: the error of the outputs decides, and is fitted; otherwise that of the weights'),
  sensitivity: z
    .boolean()
    .default(true)
    .describe('with data and a budget: weigh the loss of each layer by what it does to the outputs of the model'),
  conv: z
    .array(z.enum(['auto', 'none', ...CONV_METHODS]))
    .default(['auto'])
    .describe(
      'how convolutions are factored: channel, spatial, tucker, cp, separable (its rank is kernels a channel), several of them, auto (the first three, the best for each) or none',
    ),
  only: z.array(z.string()).default([]).describe('only layers whose node or weight has one of these names (* stands for anything)'),
  exclude: z.array(z.string()).default([]).describe('layers to leave as they are, by the same names'),
  roundTo: z.number().int().min(1).default(8).describe('ranks are multiples of this, where the largest that saves is not smaller'),
  minSaving: z.number().min(0).lt(1).default(0).describe('part of its multiply-accumulates that a layer must save, or it stays'),
  samples: z.number().int().min(1).default(256).describe('samples of the data to use at most'),
  damping: z.number().positive().default(0.001).describe('added to the diagonal of X^T X, as a share of its mean'),
});

export type LowRankOptions = z.output<typeof lowRankOptions>;

const BUDGETS = ['rankEnergy', 'rankRatio', 'rank', 'targetMacs', 'targetBytes', 'targetLatency'] as const;

/** The budget that was asked for: rank energy 0.95 where none was. Throws E_USAGE for more than one. */
export function budgetOf(options: LowRankOptions): { readonly kind: (typeof BUDGETS)[number]; readonly value: number } {
  const given = BUDGETS.filter((b) => options[b] !== undefined);
  if (given.length > 1) throw usageError(`expected one budget, got ${given.join(' and ')}`);
  const kind = given[0];
  return kind === undefined ? { kind: 'rankEnergy', value: 0.95 } : { kind, value: options[kind]! };
}

export function convMethods(options: LowRankOptions): readonly ConvMethod[] {
  const named = new Set(options.conv);
  if (named.has('none') && named.size > 1) throw usageError(`conv: expected none alone, got ${[...named].join(', ')}`);
  return CONV_METHODS.filter((m) => named.has(m) || (named.has('auto') && m !== 'cp' && m !== 'separable'));
}
