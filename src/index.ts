// The public API of Pare's core: everything here runs in Node, a browser tab or a worker. A test pins this list.

export type { Finding, LayerEvidence } from './analysis/causes/cause.js';
export { CAUSES } from './analysis/causes/causes.js';
export {
  type ChannelGroup,
  type ChannelGroupOptions,
  type ChannelGroups,
  channelGroups,
  type FrozenChannels,
} from './analysis/channel-groups.js';
export { type CompareOptions, type Comparison, compareSessions, compareSources } from './analysis/compare.js';
export { type CostOptions, type ModelCost, modelCost, type NodeCost } from './analysis/cost.js';
export { DifferenceAccumulator, type OutputDifference } from './analysis/difference.js';
export { bytesByDtype, constantBytes, constantsOf, countNodes, countParams } from './analysis/facts.js';
export { compareLayers, type LayerComparison, type LayerOptions } from './analysis/layers.js';
export { densify, makeMasksPermanent, masksOf } from './analysis/masks.js';
export { compressionPotential, type Potential } from './analysis/potential.js';
export { keepLayers, type RepeatedLayer, repeatedLayers } from './analysis/repeated-layers.js';
export { inferShapes, type ShapeOptions, type ShapeReport, specializeShapes } from './analysis/shapes.js';
export { type TensorStats, tensorStats } from './analysis/tensor-stats.js';
export { arraysDataset } from './data/arrays.js';
export { type Augmentation, cropWithPadding, cutout, gaussianNoise, horizontalFlip, parseAugmentations } from './data/augment.js';
export type { Batch, Dataset, IndexedDataset, SequenceAccess, WindowAccess } from './data/dataset.js';
export { concatDatasets, indexedDataset, limitDataset, shuffleDataset, subsetDataset, tensorDataset } from './data/indexed.js';
export { type MeasuredDataset, type MeasurementStore, withMeasurements } from './data/measured.js';
export type { Metric, MetricAccumulator, MetricBatch } from './data/metric.js';
export { defaultMetric, evaluateMetric, evaluateMetrics, METRICS, metricNamed } from './data/metrics.js';
export { mixup } from './data/mixup.js';
export { encodeNpz, readNpz } from './data/npz.js';
export { randomDataset } from './data/random.js';
export { type EpochOptions, type IndexedTrainingData, type TrainingData, type TrainingDataOptions, trainingData } from './data/training.js';
export { type ErrorKind, type ErrorPlace, PareError } from './errors.js';
export { type Attribute, type AttributeInput, attributeOf } from './ir/attribute.js';
export { Builder, buildModel, DEFAULT_OPSET } from './ir/builder.js';
export { DTYPES, type DType } from './ir/dtype.js';
export { Graph, Node, type NodeSpec, type Use, Value } from './ir/graph.js';
export { type LocalFunction, Model } from './ir/model.js';
export { BlobSource, type ByteSource, MemorySource } from './ir/source.js';
export { Tensor, type TypedArray } from './ir/tensor.js';
export { parseModel, printGraph, printModel, printType } from './ir/text.js';
export { type Dim, formatShape, formatType, type Shape, type TensorType, tensorType, type ValueType } from './ir/type.js';
export { verifyModel } from './ir/verify.js';
export { cloneModel, walkGraphs, walkNodes } from './ir/walk.js';
export * as nn from './nn/index.js';
export { type DecodeOptions, decodeModel, decodeModelBlob } from './onnx/decode.js';
export { type EncodedModel, type EncodeOptions, encodeModel, encodeModelAsync } from './onnx/encode.js';
export type { OpRecord } from './ops/op.js';
export { ALL_OPS, opRecord } from './ops/registry.js';
export {
  type BoundPass,
  definePass,
  type Pass,
  type PassContext,
  type PassDefinition,
  type Progress,
  type Skipped,
  type Warning,
} from './pass/define.js';
export { type PassEnvironment, type PassResult, runPasses } from './pass/manager.js';
export type { Fusion, LatencyPair, ModelFacts, PassRecord, PrecisionSearch, Quality, RunRecord, UnfusedNode } from './pass/record.js';
export { adapterFeeds, addAdapters, applyAdapters } from './passes/adapters/add.js';
export { type AdapterFile, decodeAdapters, encodeAdapters, readAdapters } from './passes/adapters/file.js';
export { mergeAdapters } from './passes/adapters/merge.js';
export { type FactoredLayer, factorize } from './passes/lowrank/index.js';
export { toBf16 } from './passes/precision/bf16.js';
export { toFp16 } from './passes/precision/fp16.js';
export { pruneModel, pruneStructured } from './passes/prune/structured/index.js';
export { type GroupListing, listGroups } from './passes/prune/structured/list.js';
export { pruneUnstructured, runUnstructured, type WeightScorer } from './passes/prune/unstructured/index.js';
export {
  BLOCK_RECONSTRUCTION,
  type BlockReconstructionOptions,
  type BlockRecord,
  reconstructBlocks,
} from './passes/quantize/block-reconstruction.js';
export { quantizeCodebook } from './passes/quantize/codebook.js';
export { quantizeDynamic } from './passes/quantize/dynamic.js';
export { keepFactors, type Simulation } from './passes/quantize/qat.js';
export { type StaticSimulationOptions, simulateStatic } from './passes/quantize/qat-static.js';
export { simulateWeights, type WeightSimulationOptions } from './passes/quantize/qat-weights.js';
export { spellOutLookups } from './passes/quantize/spell-out-lookups.js';
export { quantizeStatic } from './passes/quantize/static.js';
export { storeWeights } from './passes/quantize/stored.js';
export { unfoldBlocks } from './passes/quantize/unfold-blocks.js';
export { quantizeWeights } from './passes/quantize/weights.js';
export { hoistConstants } from './passes/simplify/hoist-constants.js';
export { simplify } from './passes/simplify/index.js';
export { type FakeQuantFormat, fakeQuantFormat } from './quant/fake-quant-format.js';
export { type CompareTwoOptions, compareTwo, type ModelComparison } from './recipe/compare.js';
export { type CreatedOutput, type CreateOptions, type CreateRecord, createModel } from './recipe/create.js';
export { type DistillationNote, type DistillOptions, type DistillSources, distillOptions, distillPass } from './recipe/distill.js';
export { type MadeStudent, makeStudent, type StudentSources } from './recipe/distill-student.js';
export { type ExplainOptions, explainLayers } from './recipe/explain.js';
export { type FactorizedEmbedding, factorizeEmbeddings } from './recipe/factorize-embedding.js';
export { type FusionOptions, fusionOf } from './recipe/fusion.js';
export { type LatencyPlanOptions, planLatency } from './recipe/latency-plan.js';
export { type MixedPrecision, type MixedPrecisionOptions, mixedPrecision } from './recipe/mixed-precision.js';
export { type PipelineOptions, runPipeline } from './recipe/pipeline.js';
export { prepareTraining } from './recipe/prepare-training.js';
export { type ModelProfile, type ProfileOptions, profileModel } from './recipe/profile.js';
export { type IterativeSources, iterativePruning, type PrunePoint, type PruningNote } from './recipe/prune-iterative.js';
export { type RecoveryOptions, recoveryOptions } from './recipe/prune-recovery.js';
export { type PruneSchedule, removedShares } from './recipe/prune-schedule.js';
export { type PruneStepper, type PruningKind, structuredPruning, unstructuredPruning } from './recipe/prune-steppers.js';
export { type QatNote, type QatOptions, qatOptions, qatPass } from './recipe/qat.js';
export { type Budget, checkBudget, qualityDrop } from './recipe/quality.js';
export { planQuantization, type QuantizePlan, type QuantizePlanOptions } from './recipe/quantize-plan.js';
export { parseRecipe, RECIPE_PASSES, recipeSchema } from './recipe/recipe.js';
export { recipePassesOn } from './recipe/recipe-training.js';
export { type RecoverOptions, recoverOptions, recoverPass } from './recipe/recover.js';
export type { InputModel, Stage, StagedModel } from './recipe/staging.js';
export { type Trial, type TrialOptions, Trials } from './recipe/trials.js';
export type { DeviceFigures, VariantDevice } from './recipe/variants/measure.js';
export type { PackageFile, PackageModel, PackageStore, StageOptions } from './recipe/variants/package.js';
export { type PlanOptions, VARIANT_NAMES, VARIANT_SUFFIX, type VariantName, variantPasses } from './recipe/variants/plan.js';
export { makeVariants, type SessionVariants, type VariantRow, type VariantsOptions, type VariantsRecord } from './recipe/variants/run.js';
export { renderComparisonReport } from './report/comparison.js';
export { renderReport } from './report/html.js';
export { renderProfileReport } from './report/profile.js';
export { type Match, type Miss, miss, type Rule, type RuleContext, rule } from './rewrite/rule.js';
export { runBatches } from './runtime/batches.js';
export type { Device, Engine, ModelSource, NodeTime, Session, SessionOptions } from './runtime/engine.js';
export { evaluateConstants } from './runtime/evaluate.js';
export { findFeeds, randomFeeds } from './runtime/inputs.js';
export { compareLatency, type LatencyStats, measureLatency, measureThroughput } from './runtime/latency.js';
export { openSession } from './runtime/session.js';
export { type Checkpoint, type CheckpointStore, decodeCheckpoint, encodeCheckpoint } from './train/checkpoint.js';
export {
  type DistillationOptions,
  distillationObjective,
  FEATURE_LOSSES,
  type FeatureLoss,
  type FeatureTerm,
  SCORE_LOSSES,
  type ScoreLoss,
} from './train/distillation.js';
export {
  type Differentiated,
  type DifferentiateOptions,
  differentiate,
  type ParameterGradient,
  type PullBackOptions,
  pullBack,
} from './train/gradient.js';
export {
  type CrossEntropyOptions,
  groupLasso,
  LOSSES,
  type LossName,
  type LossOptions,
  l1Penalty,
  l2Penalty,
} from './train/losses.js';
export { type KeptValue, type TrainingMemory, trainingMemory } from './train/memory-plan.js';
export { type Feeds, type LossObjectiveOptions, lossObjective, type Objective, weightedSum } from './train/objective.js';
export {
  Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type ParameterGroup,
  type ParameterSpec,
  withoutDecay,
} from './train/optimizers/optimizer.js';
export {
  type AdamOptions,
  adam,
  adamw,
  lamb,
  lion,
  OPTIMIZERS,
  type OptimizerName,
  type SgdOptions,
  sgd,
  type UpdateRule,
} from './train/optimizers/rules.js';
export {
  type ContrastiveOptions,
  contrastiveObjective,
  PENALTIES,
  type PenaltyName,
  type PenaltyOptions,
  penaltyObjective,
} from './train/penalties.js';
export type { Recomputed, RecomputeOptions } from './train/recompute.js';
export * as schedules from './train/schedules.js';
export { type FeaturePair, type StudentWithFeatures, withFeatures } from './train/student-features.js';
export { openTeacher, type Teacher, type TeacherOptions, teacherEnsemble, teacherInData, teacherInput } from './train/teacher.js';
export { train } from './train/trainer.js';
export type { CurvePoint, EpochResult, Patience, StepState, TrainOptions, TrainResult, Validation } from './train/trainer-options.js';
export { Rng } from './util/rng.js';
export { VERSION } from './util/version.js';
