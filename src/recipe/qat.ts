// Quantization-aware training as a pass: rounding stands in the graph while the weights and the scales are trained, the float model is the teacher
// (labels are not needed), and what goes out is the same file that post-training quantization writes (Jacob et al. 2018; LSQ, Esser et al. 2020).
import { z } from 'zod';
import { usageError } from '../errors.js';
import type { Node } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import { cloneModel } from '../ir/walk.js';
import { definePass, type Pass, type PassContext } from '../pass/define.js';
import { RUNTIME_OPTION, SELECTION_OPTIONS, SIMPLIFY_OPTION } from '../passes/quantize/options.js';
import { keepFactors, type Simulation } from '../passes/quantize/qat.js';
import { simulateStatic } from '../passes/quantize/qat-static.js';
import { simulateWeights } from '../passes/quantize/qat-weights.js';
import { absorbConstants } from '../passes/simplify/cleanup.js';
import { type FakeQuantFormat, fakeQuantFormat } from '../quant/fake-quant-format.js';
import { OBSERVER_NAMES } from '../quant/observers.js';
import { patternOf, selectorOf } from '../quant/selection.js';
import { distillationObjective } from '../train/distillation.js';
import { openTeacher } from '../train/teacher.js';
import { mainOutput, replaceNetwork } from './interface.js';
import { prepareTraining } from './prepare-training.js';
import { runTraining, type TrainingSources, trainingOptions } from './train.js';

/** What is rounded, and where rounding starts. */
export const roundingOptions = z.object({
  qat: z
    .string()
    .describe(
      'train with rounding: w8a8, w4a8, w2a8, ternary-a8, binary-a8 (weights per channel, activations in 8 or 16 bits), or weights alone: w4, w3, w2, ternary, binary',
    ),
  qatLayers: z.array(z.string()).default([]).describe('another format for some layers, as PATTERN=FORMAT'),
  qatStart: z
    .enum(['search', 'minmax', 'gptq'])
    .default('search')
    .describe(
      'where scales start: search has the least squared error, minmax spans the weights, gptq takes codes and scales of GPTQ (products in blocks)',
    ),
  qatBlock: z
    .union([z.literal(0), z.number().int().min(16).max(256)])
    .default(32)
    .describe('weights alone: how many share a scale, a power of two; 0: one scale for each output channel'),
  qatObserver: z.enum(OBSERVER_NAMES).default('mse').describe('how ranges of activations start'),
  qatSamples: z.number().int().positive().default(256).describe('samples that ranges of activations, or the codes of gptq, are found on'),
  qatInputLayer: z.enum(['float', 'int8']).default('float').describe('the first convolution, where it reads one to three channels'),
  alpha: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe('with rounding: weight of the float model as teacher; the rest is the loss on labels'),
  temperature: z
    .number()
    .positive()
    .default(1)
    .describe('with rounding: what scores are divided by before they are compared with the float model'),
  ...RUNTIME_OPTION,
  ...SELECTION_OPTIONS,
  ...SIMPLIFY_OPTION,
});

export const qatOptions = z.object({ ...trainingOptions.omit({ foldBatchNorm: true }).shape, ...roundingOptions.shape });

export type QatOptions = z.output<typeof qatOptions>;

/** What the record keeps as the note `qat` of its pass, beside that of the training. */
export interface QatNote {
  readonly format: string;
  readonly weights: number;
  readonly activations: number;
  readonly kind: 'static' | 'weights';
}

/** Learning rate where none is given: a tenth of what training from scratch takes. */
const LEARNING_RATE = 2e-4;

/** The pass over these sources; data may be without labels. */
export function qatPass(sources: TrainingSources): Pass<typeof qatOptions> {
  return definePass({
    name: 'qat',
    summary: 'quantized weights trained with rounding in the graph, towards the float model',
    options: qatOptions,
    needs: { data: 'required', engine: true },
    run: (model, options, ctx) => run(model, options, sources, ctx),
  });
}

async function run(model: Model, options: QatOptions, sources: TrainingSources, ctx: PassContext): Promise<boolean> {
  absorbConstants(model);
  const original = cloneModel(model);
  const simulation = await simulate(cloneModel(model), options, ctx);
  const { alpha, temperature } = options;
  if (alpha < 1 && !sources.data.hasLabels)
    throw usageError(`alpha ${alpha}: expected labelled data, got "${sources.data.name}" without labels`, { hint: 'alpha 1 needs none' });
  const teacher = await openTeacher({
    engine: ctx.engine,
    model: original,
    values: [mainOutput(original.graph).name],
    student: simulation.model,
    prepare: prepareTraining(ctx.engine),
    session: { threads: ctx.threads, ...sources.session },
  });
  try {
    const settings = { ...options, lr: options.lr ?? LEARNING_RATE, batchNorm: 'frozen' as const };
    await runTraining(simulation.model, settings, sources, ctx, {
      reference: original,
      objective: (labels) => distillationObjective({ teacher, temperature, alpha: labels ? alpha : 1, labels }),
      parameters: simulation.parameters,
      undecayed: (name) => simulation.factors.has(name),
      afterStep: keepFactors(simulation),
    });
  } finally {
    await teacher.release();
  }
  replaceNetwork(model, simulation.export(simulation.model));
  ctx.note('qat', {
    format: options.qat,
    kind: fakeQuantFormat(options.qat).activations === null ? 'weights' : 'static',
    ...simulation.rounded,
  } satisfies QatNote);
  return true;
}

/** The model with rounding in it, ready to be trained. `model` is prepared in place. */
export async function simulate(model: Model, options: z.output<typeof roundingOptions>, ctx: PassContext): Promise<Simulation> {
  const format = fakeQuantFormat(options.qat);
  const formatOf = formatsOf(format, options.qatLayers);
  const select = selectorOf(options);
  const { simplify, qatStart, qatSamples } = options;
  if (format.activations === null) {
    const block = options.qatBlock === 0 ? null : options.qatBlock;
    if (block !== null && (block & (block - 1)) !== 0) throw usageError(`block: expected a power of two, got ${block}`);
    return simulateWeights(
      model,
      { formatOf, select, block, start: qatStart, samples: qatSamples, embeddings: true, minElements: 1024, simplify },
      ctx,
    );
  }
  if (qatStart === 'gptq')
    throw usageError('start gptq: expected a format of weights alone (w2, w3, w4), got rounded activations', {
      hint: 'start from search, or post-train: pare quantize --mode static --weight-bits 4',
    });
  return simulateStatic(
    model,
    {
      formatOf,
      select,
      runtime: options.runtime,
      inputLayer: options.qatInputLayer,
      observer: options.qatObserver,
      start: qatStart,
      samples: qatSamples,
      simplify,
    },
    ctx,
  );
}

/** Formats by node name: the last pattern that fits decides. */
function formatsOf(format: FakeQuantFormat, layers: readonly string[]): (node: Node) => FakeQuantFormat {
  const others = layers.map((text) => {
    const at = text.lastIndexOf('=');
    if (at < 1) throw usageError(`format of a layer: expected PATTERN=FORMAT, got "${text}"`);
    const own = fakeQuantFormat(text.slice(at + 1));
    if ((own.activations === null) !== (format.activations === null))
      throw usageError(
        `format of a layer: expected one ${format.activations === null ? 'without' : 'with'} activation bits as ${format.name}, got ${own.name}`,
      );
    return { test: patternOf(text.slice(0, at)), own };
  });
  return (node) => others.findLast(({ test }) => test.test(node.name) || test.test(node.label))?.own ?? format;
}
