// Options of structured pruning, and what they mean for a model.
import { z } from 'zod';
import { amountOption } from '../../../pass/amount.js';
import { patternOf } from '../../../quant/selection.js';
import { AGGREGATIONS, IMPORTANCES, NORMALIZATIONS } from '../importance.js';

export const structuredOptions = z.object({
  sparsity: z.number().min(0).max(0.99).optional().describe('fraction of the units of each group to remove'),
  targetMacs: amountOption.describe('multiply-accumulates to keep: a fraction up to 1, or an amount (50M)'),
  targetParams: amountOption.describe('parameters to keep: a fraction up to 1, or an amount (50M)'),
  targetBytes: amountOption.describe('bytes of constants to keep: a fraction up to 1, or an amount (50M)'),
  targetLatency: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('latency to reach as a fraction of the original, measured on this machine'),
  importance: z.enum(IMPORTANCES).default('group-l2').describe('what decides which units go'),
  aggregate: z.enum(AGGREGATIONS).default('mean').describe('how the scores of the weights of a group become one'),
  normalize: z.enum(NORMALIZATIONS).default('mean').describe('how groups are made comparable (global scope)'),
  scope: z.enum(['uniform', 'global']).default('uniform').describe('the same share of each group, or the least important of all'),
  inner: z.boolean().default(false).describe('only channels between two layers: none of a residual stream or a concatenation'),
  embedding: z
    .boolean()
    .default(false)
    .describe(
      'also the width that layer normalization runs over; its statistics are then of what is left, so even removing zeros changes results',
    ),
  groups: z.array(z.string()).default([]).describe('only groups with a layer that matches one of these names (* stands for anything)'),
  protect: z.array(z.string()).default([]).describe('layers and values whose channels stay (names, * stands for anything)'),
  minWidth: z.number().int().min(1).default(1).describe('units that every group keeps at least'),
  minKeep: z.number().min(0).max(1).default(0.1).describe('share of every group that is kept at least'),
  roundTo: z.number().int().min(1).default(1).describe('widths become multiples of this (8, 16, 32)'),
  blocks: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('residual blocks (half a transformer layer each) to take out, the least influential first'),
  removeBlocks: z.array(z.string()).default([]).describe('residual blocks to take out, by the name of their sum'),
  reconstruct: z.boolean().default(false).describe('fit the layers that are left to the original, layer by layer, with unlabelled data'),
  samples: z.number().int().min(1).default(512).describe('samples of the data to use at most'),
  damping: z.number().positive().default(0.01).describe('regularization of the fit, as a share of the mean of the diagonal of X^T X'),
});

export type StructuredOptions = z.output<typeof structuredOptions>;

/** Does a name match one of the patterns of `--protect` and `--groups`. */
export function nameMatcher(patterns: readonly string[]): (name: string) => boolean {
  const tests = patterns.map(patternOf);
  return (name) => tests.some((t) => t.test(name));
}
