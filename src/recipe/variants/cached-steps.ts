// Samples for decoders with a key-value cache: a first step with an empty cache and a second one that feeds the cache of the first, so that both
// branches of a merged decoder are run. Inputs by the names that exporters give.
import type { Batch, Dataset } from '../../data/dataset.js';
import { type ModelInput, modelInputs } from '../../data/inputs.js';
import { isFloat } from '../../ir/dtype.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import type { Session } from '../../runtime/engine.js';
import { Rng } from '../../util/rng.js';

type Feeds = Readonly<Record<string, Tensor>>;

const CACHE = /past/i;
const PROMPT = 6;
const ENCODED = 5;
const TOKENS = 100;

/** True where the model takes a cache whose length is open. */
export function takesCache(model: Model): boolean {
  return modelInputs(model).some(
    (i) => CACHE.test(i.name) && isFloat(i.dtype) && (i.shape ?? []).some((d, axis) => axis > 0 && typeof d !== 'number'),
  );
}

/** The two steps, the cache of the second taken from `reference`. Throws what the runtime throws where the model does not take such feeds. */
export async function cachedSteps(
  model: Model,
  reference: Session,
  options: { seed: number; tokens?: number | undefined },
): Promise<Dataset> {
  const inputs = modelInputs(model);
  const rng = new Rng(options.seed);
  const tokens = options.tokens ?? TOKENS;
  const encoded = new Map<string, Tensor>();
  const first = Object.fromEntries(inputs.map((i) => [i.name, feedOf(i, { length: PROMPT, past: 0, tokens, rng, encoded })]));
  const outputs = await reference.run(first);
  const second = Object.fromEntries(
    inputs.map((i) => [i.name, presentOf(i.name, outputs) ?? feedOf(i, { length: 1, past: PROMPT, tokens, rng, encoded })]),
  );
  await reference.run(second);
  return stepsDataset([first, second]);
}

/** The cache that a step answered for this input: `past_key_values.0.key` is fed from `present.0.key`, `past_conv.0` from `present_conv.0`. */
function presentOf(name: string, outputs: Feeds): Tensor | undefined {
  if (!CACHE.test(name)) return undefined;
  return (
    outputs[name.replace(/^past_key_values/, 'present')] ??
    outputs[name.replace(/^past/, 'present')] ??
    outputs[name.replace(/^past_/, 'present_')]
  );
}

interface Step {
  readonly length: number;
  readonly past: number;
  readonly tokens: number;
  readonly rng: Rng;
  /** Results of the encoder: the same in both steps. */
  readonly encoded: Map<string, Tensor>;
}

function feedOf(input: ModelInput, step: Step): Tensor {
  const { name, dtype } = input;
  if (/encoder/i.test(name) && !CACHE.test(name)) {
    let known = step.encoded.get(name);
    if (!known) {
      known = filled(input, ENCODED, step.rng, () => 1);
      step.encoded.set(name, known);
    }
    return known;
  }
  if (dtype === 'bool') return filled(input, 1, step.rng, () => (step.past > 0 ? 1 : 0));
  if (CACHE.test(name)) return filled(input, /encoder/i.test(name) && step.past > 0 ? ENCODED : step.past, step.rng);
  if (/mask/i.test(name)) return filled(input, step.past + step.length, step.rng, () => 1);
  if (/position/i.test(name)) return filled(input, step.length, step.rng, (i) => step.past + (i % step.length));
  if (/num_logits/i.test(name)) return filled(input, 1, step.rng, () => 1);
  return filled(input, step.length, step.rng, isFloat(dtype) ? undefined : () => step.rng.integer(step.tokens));
}

/** Open dimensions: 1 on the first axis (the batch), `length` elsewhere. Values from `value`, else normal. */
function filled(input: ModelInput, length: number, rng: Rng, value?: (i: number) => number): Tensor {
  const dims = (input.shape ?? []).map((d, axis) => (typeof d === 'number' ? d : axis === 0 && input.shape!.length > 1 ? 1 : length));
  const count = dims.reduce((a, b) => a * b, 1);
  const draw = isFloat(input.dtype) ? () => rng.normal() : (value ?? (() => 0));
  return Tensor.from(
    input.dtype,
    dims,
    Float64Array.from({ length: count }, (_, i) => draw(i)),
  );
}

function stepsDataset(steps: readonly Feeds[]): Dataset {
  return {
    name: `random:${steps.length} steps with a cache`,
    size: steps.length,
    hasLabels: false,
    synthetic: true,
    fixedBatch: 1,
    async *batches({ limit }) {
      for (const inputs of steps.slice(0, limit ?? steps.length)) yield { inputs, size: 1 } satisfies Batch;
    },
  };
}
