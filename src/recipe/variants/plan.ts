// The files that transformers.js chooses from by its option `dtype`: their names, and the passes that make each from the float model.
// Compatible with what the conversion scripts of transformers.js 3 wrote: block 32 absmax for q4, block 64 NF4 for bnb4, unsigned 8-bit weights for q8
// where convolutions or contrib attention are present, inputs and outputs of unchanged type.

import { PareError } from '../../errors.js';
import type { Model } from '../../ir/model.js';
import { walkNodes } from '../../ir/walk.js';
import type { BoundPass } from '../../pass/define.js';
import { toFp16 } from '../../passes/precision/fp16.js';
import { quantizeCodebook } from '../../passes/quantize/codebook.js';
import { quantizeDynamic } from '../../passes/quantize/dynamic.js';
import { spellOutLookups } from '../../passes/quantize/spell-out-lookups.js';
import { quantizeWeights } from '../../passes/quantize/weights.js';

/** In the order of tables. */
export const VARIANT_NAMES = ['fp16', 'q8', 'int8', 'uint8', 'q4', 'q4f16', 'bnb4', 'q2', 'q2f16', 'q1', 'q1f16'] as const;

export type VariantName = (typeof VARIANT_NAMES)[number];

/** What follows the session's name in the file name. */
export const VARIANT_SUFFIX: Readonly<Record<VariantName | 'fp32', string>> = {
  fp32: '',
  fp16: '_fp16',
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  q4: '_q4',
  q4f16: '_q4f16',
  bnb4: '_bnb4',
  q2: '_q2',
  q2f16: '_q2f16',
  q1: '_q1',
  q1f16: '_q1f16',
};

/** What is in each file, for tables and model cards. */
export const VARIANT_SUMMARY: Readonly<Record<VariantName | 'fp32', string>> = {
  fp32: 'float, as supplied',
  fp16: 'half precision',
  q8: '8-bit weights, activations quantized at run time',
  int8: 'as q8, weights signed',
  uint8: 'as q8, weights unsigned',
  q4: '4-bit weights, blocks of 32',
  q4f16: 'as q4, arithmetic in half precision',
  bnb4: '4-bit floats (NF4), blocks of 64',
  q2: '2-bit weights, blocks of 32, 4-bit embeddings',
  q2f16: 'as q2, arithmetic in half precision',
  q1: 'signs only, blocks of 128, 4-bit embeddings',
  q1f16: 'as q1, arithmetic in half precision',
};

export interface PlanOptions {
  /** Weights that share a scale in q4 and q2 (default 32). */
  readonly block?: number | undefined;
  /** Levels of bnb4 (default nf4). */
  readonly bnb4?: 'nf4' | 'fp4' | undefined;
  /** `accuracy_level` of 4-bit products: 0 leaves it to the runtime, 4 (default) computes in int8, which took 1.7 instead of 2.2 ms for a small BERT. */
  readonly accuracyLevel?: number | undefined;
  /** Lookups by GatherBlockQuantized, for WebGPU and Node only: the WebAssembly device of the builds that transformers.js loads has no kernel of it. */
  readonly contribLookups?: boolean | undefined;
  /** Real data is at hand: q4, q2 and q1 are rounded on it (GPTQ). Without, or where false, q2 by HQQ and the others to nearest. */
  readonly calibrated?: boolean | undefined;
  /** Names of nodes to leave float. */
  readonly exclude?: readonly string[] | undefined;
}

/** Operators whose 8-bit weights were refused by older runtimes unless unsigned. */
const UNSIGNED_WEIGHTS = new Set(['Conv', 'GroupQueryAttention', 'MultiHeadAttention']);
const OTHER_OPERATORS = ['Conv', 'ConvTranspose', 'GRU', 'RNN', 'LSTM', 'MatMul', 'Gemm'];
const SIGN_BLOCK = 128;
const INT8_PRODUCTS = 4;

/** Passes for a model that is simplified already. */
export function variantPasses(name: VariantName, model: Model, options: PlanOptions = {}): BoundPass[] {
  const exclude = [...(options.exclude ?? [])];
  const shared = { simplify: false, exclude };
  const half = toFp16(shared);
  const block = options.block ?? 32;
  const eightBit = (weightType: 'int8' | 'uint8') => [
    optional(quantizeDynamic({ ...shared, weightType, others: false })),
    // Convolutions and whatever has no integer product keep float arithmetic on 8-bit weights with a scale per channel.
    optional(quantizeWeights({ ...shared, bits: 8, opTypes: OTHER_OPERATORS, embeddings: false })),
  ];
  // Rounded on data or not, q4 holds the same constants in the same layout: scales of one level, 4-bit tables.
  const onData = { method: 'gptq', tableBits: 4 } as const;
  const accuracyLevel = options.accuracyLevel ?? INT8_PRODUCTS;
  const q4 = optional(
    quantizeWeights({ ...shared, bits: 4, block, accuracyLevel, ...(options.calibrated ? { ...onData, scaleBits: 32 } : {}) }),
  );
  const q2 = optional(quantizeWeights({ ...shared, bits: 2, block, ...(options.calibrated ? onData : { method: 'hqq', tableBits: 4 }) }));
  const codebook = (kind: 'nf4' | 'fp4' | 'sign', size: number) =>
    optional(quantizeCodebook({ ...shared, codebook: kind, block: size, method: kind === 'sign' && options.calibrated ? 'gptq' : 'rtn' }));
  const lookups = options.contribLookups ? [] : [spellOutLookups()];
  switch (name) {
    case 'fp16':
      return [half];
    case 'q8':
      return eightBit([...walkNodes(model.graph)].some((n) => UNSIGNED_WEIGHTS.has(n.opType)) ? 'uint8' : 'int8');
    case 'int8':
    case 'uint8':
      return eightBit(name);
    case 'q4':
      return [q4, ...lookups];
    case 'q4f16':
      return [q4, ...lookups, half];
    case 'bnb4':
      return [codebook(options.bnb4 ?? 'nf4', 64), ...lookups];
    case 'q2':
      return [q2, ...lookups];
    case 'q2f16':
      return [q2, ...lookups, half];
    case 'q1':
      return [codebook('sign', SIGN_BLOCK), ...lookups];
    case 'q1f16':
      return [codebook('sign', SIGN_BLOCK), ...lookups, half];
  }
}

/** The pass, but finding nothing to do is no error: other passes of the same variant may. */
function optional(pass: BoundPass): BoundPass {
  return {
    ...pass,
    async run(model, ctx) {
      try {
        return await pass.run(model, ctx);
      } catch (error) {
        if (!(error instanceof PareError) || error.code !== 'E_NOTHING_TO_DO') throw error;
        ctx.note('nothing', error.message);
        return false;
      }
    },
  };
}
