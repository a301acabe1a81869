// Options that the modes of quantization have in common.
import { z } from 'zod';
import { RUNTIME_NAMES } from '../../quant/runtimes.js';

export const SELECTION_OPTIONS = {
  exclude: z
    .array(z.string())
    .default([])
    .describe('names of nodes to leave float; * matches any run of characters, /.../ is a regular expression'),
  opTypes: z.array(z.string()).default([]).describe('only nodes of these operators'),
};

export const SIMPLIFY_OPTION = {
  simplify: z.boolean().default(true).describe('simplify first: fold batch normalization, upgrade the opset'),
};

export const RUNTIME_OPTION = {
  runtime: z.enum(RUNTIME_NAMES).default('ort-x86').describe('runtime the model is for: decides which nodes have integer kernels'),
};
