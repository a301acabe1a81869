// Named arrays (an .npz file, or tensors of the caller's) as a data set for a model: bound by input name; a model with one input takes any single array.
import { dataError } from '../errors.js';
import type { Model } from '../ir/model.js';
import type { Tensor } from '../ir/tensor.js';
import type { IndexedDataset } from './dataset.js';
import { indexedDataset } from './indexed.js';
import { type BatchPlan, batchPlan, describeInput, describeTensor, fitRowDims, fitRows, type ModelInput, modelInputs } from './inputs.js';
import { takeRows } from './rows.js';

export interface ArraysOptions {
  /** Name of the labels array; default: "labels", "label", "y" or "targets" where that is no input. */
  readonly labels?: string | undefined;
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Applied to each batch of the model's inputs, after the type conversion. */
  readonly transform?: ((input: ModelInput, rows: Tensor) => Tensor) | undefined;
}

const LABEL_NAMES = ['labels', 'label', 'targets', 'target', 'y', 'y_test', 'y_true'];

/** Throws E_DATA naming every array and every input where they do not fit each other. */
export function arraysDataset(
  name: string,
  arrays: ReadonlyMap<string, Tensor>,
  model: Model,
  options: ArraysOptions = {},
): IndexedDataset {
  const inputs = modelInputs(model, options.shapes);
  const plan = batchPlan(model);
  const list = [...arrays].map(([key, t]) => describeTensor(key, t)).join(', ') || 'no arrays';
  const wanted = inputs.map(describeInput).join(', ');
  const labelsName = options.labels ?? LABEL_NAMES.find((n) => arrays.has(n) && !inputs.some((i) => i.name === n));
  const labels = labelsName === undefined ? undefined : arrays.get(labelsName);
  if (options.labels !== undefined && labels === undefined)
    throw dataError(`data "${name}": expected a labels array "${options.labels}", got ${list}`);

  const bound = bindByName(arrays, inputs, labelsName);
  if (typeof bound === 'string') throw dataError(`data "${name}": model inputs are ${wanted}; got ${list}`, { hint: bound });

  const samples = sampleCount(
    name,
    [...bound.map((b) => [b.key, b.array] as const), ...(labels ? [[labelsName!, labels] as const] : [])],
    plan,
  );
  const rows = bound.map((b) => prepare(b, plan, samples));
  const empty = rows.find((r) => r.tensor.dims.includes(0));
  if (samples === 0 || empty) throw dataError(`data "${name}": expected at least one sample and no empty axes, got ${list}`);
  const labelRows = labels && labelTensor(labels, samples, labelsName!);
  return indexedDataset({
    name,
    size: samples,
    hasLabels: labels !== undefined,
    fixedBatch: plan.kind === 'whole' ? 1 : plan.fixed,
    async load(indices) {
      const feeds = await Promise.all(
        rows.map(async ({ input, key, tensor, constant, sampleShape }) => {
          const picked = await takeRows(tensor, constant ? indices.map(() => 0) : indices);
          const fitted = fitRows(picked, input, key, sampleShape);
          const ready = options.transform ? options.transform(input, fitted) : fitted;
          return [input.name, plan.kind === 'whole' ? ready.reshape(ready.dims.slice(1)) : ready] as const;
        }),
      );
      return { inputs: Object.fromEntries(feeds), labels: labelRows && (await takeRows(labelRows, indices)) };
    },
  });
}

interface Bound {
  readonly input: ModelInput;
  readonly key: string;
  readonly array: Tensor;
}

/** Pairs of input and array, or the hint of the error where some input has none. */
function bindByName(arrays: ReadonlyMap<string, Tensor>, inputs: readonly ModelInput[], labels: string | undefined): Bound[] | string {
  const others = [...arrays].filter(([key]) => key !== labels);
  if (inputs.length === 1 && !arrays.has(inputs[0]!.name)) {
    const only = others[0];
    if (only === undefined) return 'the file holds labels only';
    if (others.length > 1) return `name one of the arrays "${inputs[0]!.name}" (several are there and none has the input's name)`;
    return [{ input: inputs[0]!, key: only[0], array: only[1] }];
  }
  const missing = inputs.filter((i) => !arrays.has(i.name) || i.name === labels);
  if (missing.length > 0)
    return `no array for ${missing.map((i) => `"${i.name}"`).join(', ')}: save one array per input, by the input's name`;
  return inputs.map((input) => ({ input, key: input.name, array: arrays.get(input.name)! }));
}

/** A scalar, or under a `whole` plan an array that is one feed, serves every sample. */
function isConstant(array: Tensor): boolean {
  return array.rank === 0;
}

function sampleCount(name: string, arrays: readonly (readonly [string, Tensor])[], plan: BatchPlan): number {
  const counted = arrays.filter(([, t]) => !isConstant(t));
  if (plan.kind === 'rows' && counted.length < arrays.length)
    throw dataError(`data "${name}": expected arrays whose first axis counts samples, got a scalar`);
  const sizes = counted.map(([, t]) => t.dims[0]!).filter((n) => plan.kind === 'rows' || n !== 1);
  const size = sizes[0] ?? 1;
  if (sizes.some((n) => n !== size))
    throw dataError(
      `data "${name}": expected equally many samples in every array, got ${arrays.map(([k, t]) => describeTensor(k, t)).join(', ')}`,
    );
  return size;
}

function prepare({ input, key, array }: Bound, plan: BatchPlan, samples: number) {
  const tensor = isConstant(array) ? array.reshape([1]) : array;
  const constant = tensor.dims[0] === 1 && samples !== 1;
  // Shape errors are told when the file is opened, not at the first batch.
  const sampleShape = plan.kind === 'whole' ? input.shape : input.shape === null ? null : input.shape.slice(1);
  fitRowDims(tensor, input, key, sampleShape);
  return { input, key, tensor, constant, sampleShape };
}

/** Labels as metrics take them: class indices as int64, values as float. One-hot and [n,1] stay as they are, reshaped. */
function labelTensor(labels: Tensor, samples: number, name: string): Tensor {
  if (labels.dims[0] !== samples)
    throw dataError(`labels: expected ${samples} entries, one per sample, got ${describeTensor(name, labels)}`);
  if (labels.dtype === 'string') throw dataError(`labels: expected class indices or values, got ${describeTensor(name, labels)}`);
  const flat = labels.rank === 2 && labels.dims[1] === 1 ? labels.reshape([samples]) : labels;
  const floating = labels.dtype === 'float' || labels.dtype === 'double' || labels.dtype === 'float16' || labels.dtype === 'bfloat16';
  return flat.cast(floating ? 'float' : 'int64');
}
