// Options of unstructured pruning.
import { z } from 'zod';
import { ALLOCATIONS } from './allocation.js';
import { parsePattern } from './layout.js';

/** `data`: looks at samples; gradients need operators that have one. */
export const METHODS = ['magnitude', 'random', 'taylor', 'fisher', 'wanda', 'sparsegpt'] as const;
export type Method = (typeof METHODS)[number];

export const unstructuredOptions = z.object({
  sparsity: z.number().min(0).max(0.999).optional().describe('fraction of the weights to make zero (N:M patterns say it themselves)'),
  method: z
    .enum(METHODS)
    .default('magnitude')
    .describe(
      'what decides which weights go: their size, chance, first-order (taylor) or second-order (fisher) change of the loss, size times the norm of their input (wanda), or the error of the layer that is left when the others make it good (sparsegpt)',
    ),
  scope: z.enum(['layer', 'global']).default('layer').describe('compare the weights of a layer with each other, or all weights'),
  layerSparsity: z
    .enum(ALLOCATIONS)
    .default('uniform')
    .describe('zeros of each layer: the same share, fewer in small layers (Erdos-Renyi-kernel), or as measured on data'),
  pattern: z
    .string()
    .refine((text) => parsePattern(text) !== undefined, 'expected N:M such as 2:4, or a block of outputs x inputs such as 4x1')
    .optional()
    .describe('zeros in a pattern: 2:4 or 4:8 keep so many of each group of inputs, 4x1 and 1x16 are blocks of outputs x inputs'),
  protect: z.array(z.string()).default([]).describe('layers and weights that stay dense (names, * stands for anything)'),
  embeddings: z.boolean().default(false).describe('prune embedding tables too'),
  minElements: z.number().int().min(1).default(1).describe('weights with fewer elements stay dense'),
  minKeep: z.number().min(0).max(1).default(0).describe('share of every layer that is kept at least (global scope)'),
  reconstruct: z.boolean().default(false).describe('fit the weights that are left to the original, layer by layer, with unlabelled data'),
  samples: z.number().int().min(1).default(512).describe('samples of the data to use at most'),
  damping: z.number().positive().default(0.01).describe('regularization of the fit, as a share of the mean of the diagonal of X^T X'),
  sparseStorage: z
    .boolean()
    .default(false)
    .describe(
      'store weights as sparse initializers (positions and values) where that is smaller; ONNX Runtime makes them dense on loading',
    ),
  permanent: z.boolean().default(false).describe('forget which weights were removed: a later training may fill the zeros again'),
});

export type UnstructuredOptions = z.output<typeof unstructuredOptions>;
