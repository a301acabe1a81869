// Building blocks of networks: functions that add a layer with initialised parameters to a graph. Used as `nn.linear(scope.at('name'), x, ...)`.
export { countTrainable, TRAINABLE_KEY, trainableParameters } from '../analysis/trainable.js';
export { ACTIVATIONS, type Activation, activation, dropout } from './activation.js';
export { type AttentionOptions, causalMask, multiHeadAttention, paddingMask } from './attention.js';
export { type ConvNormOptions, type ConvOptions, conv, convNorm, depthwiseSeparable, type Extent, type SeparableOptions } from './conv.js';
export { type Embedded, type EmbeddingOptions, embedding, positions, tiedOutput } from './embedding.js';
export {
  constantOf,
  type Fans,
  type Initializer,
  kaiming,
  normal,
  ones,
  orthogonal,
  RELU_GAIN,
  type ScalingOptions,
  truncatedNormal,
  uniform,
  xavier,
  zeros,
} from './init.js';
export {
  type InvertedResidualOptions,
  invertedResidual,
  roundChannels,
  type SqueezeExciteOptions,
  squeezeExcite,
} from './inverted-residual.js';
export { type LinearOptions, type LoraOptions, type LowRankOptions, linear, loraLinear, lowRankLinear } from './linear.js';
export { type BatchNormOptions, batchNorm, layerNorm } from './norm.js';
export { flatten, globalAveragePool, type PoolOptions, pool } from './pool.js';
export { createPreset, PRESETS, type Preset } from './presets/index.js';
export { gru, lstm, type RecurrentOptions } from './recurrent.js';
export { type ResidualOptions, residualBlock } from './residual.js';
export { buildNetwork, type NetworkOptions, type NodeOptions, type ParameterOptions, Scope } from './scope.js';
export { type DecoderOptions, decoderBlock, encoderBlock, type TransformerOptions } from './transformer.js';
