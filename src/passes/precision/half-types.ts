// The 16-bit float types a graph can be lowered to: which operators' schemas do not allow them (ONNX opset 22) and what they can represent.
import type { Node } from '../../ir/graph.js';

export interface HalfType {
  readonly dtype: 'float16' | 'bfloat16';
  /** Largest finite value. */
  readonly max: number;
  /** Magnitudes up to this one become 0. */
  readonly flush: number;
  /** Operators that are not defined for the type. */
  readonly missing: ReadonlySet<string>;
  /** Inputs that stay float by the schema although the operator is defined for the type. */
  readonly floatInputs: Readonly<Record<string, readonly number[]>>;
}

const words = (text: string): ReadonlySet<string> => new Set(text.split(' '));

/** Operators whose element type is fixed by an attribute or a body, and carriers of tensors (sequences, optionals): left float in both types. */
const STRUCTURAL =
  'If Loop Scan SequenceMap SequenceConstruct SequenceInsert SequenceAt SequenceEmpty SequenceErase ConcatFromSequence SplitToSequence Optional OptionalGetElement ' +
  'ConstantOfShape RandomNormal RandomUniform RandomNormalLike RandomUniformLike EyeLike Multinomial Bernoulli BlackmanWindow HammingWindow HannWindow ' +
  'QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv MelWeightMatrix CastLike';

export const FLOAT16: HalfType = {
  dtype: 'float16',
  max: 65504,
  flush: 2 ** -25,
  missing: words(`Celu NonMaxSuppression Range TfIdfVectorizer ${STRUCTURAL}`),
  floatInputs: { Resize: [1, 2], Upsample: [1] },
};

export const BFLOAT16: HalfType = {
  dtype: 'bfloat16',
  max: 3.3895313892515355e38,
  flush: 2 ** -134,
  missing: words(
    `Celu Compress Einsum NonMaxSuppression OneHot Range ReverseSequence Scatter Shrink TfIdfVectorizer TopK Unique Upsample ${STRUCTURAL}`,
  ),
  floatInputs: { Resize: [1, 2] },
};

/** Contrib operators that take 16-bit floats in their data operands. */
const CONTRIB = words(
  'Attention MultiHeadAttention GroupQueryAttention RotaryEmbedding SkipLayerNormalization SkipSimplifiedLayerNormalization EmbedLayerNormalization ' +
    'SimplifiedLayerNormalization LayerNormalization Gelu FastGelu QuickGelu BiasGelu BiasSplitGelu FusedConv FusedGemm FusedMatMul NhwcConv GroupNorm',
);

/** Kernels on stored weights, whose scales and data may be float16. */
const STORED = words('MatMulNBits MatMulBnb4 GatherBlockQuantized');

/** Opset from which DequantizeLinear may answer float16. */
const HALF_DEQUANTIZE = 19;

/** Why a node cannot be lowered to the type, or undefined. */
export function unsupportedIn(type: HalfType, node: Node, opset = 0): string | undefined {
  // Stored weights; the pairs around activations stay as they are, or integer kernels would no longer be recognised.
  if (node.op === 'DequantizeLinear' && type.dtype === 'float16' && opset >= HALF_DEQUANTIZE && node.input(0)?.isConstant) return undefined;
  if (node.domain === 'com.microsoft' && type.dtype === 'float16' && STORED.has(node.opType)) return undefined;
  const known = node.domain === '' ? !type.missing.has(node.opType) : node.domain === 'com.microsoft' && CONTRIB.has(node.opType);
  return known ? undefined : `${node.op} is not defined for ${type.dtype}`;
}
