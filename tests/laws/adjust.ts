// Slicing an axis may ask for other attributes or target shapes of the node: the number of groups, the shape that Reshape is given,
// the sizes of a Split. The law of axes applies them, as pruning must.
import { Tensor } from '../../src/ir/tensor.js';
import type { AxesStatement } from '../../src/ops/axes.js';
import type { OpSample } from '../samples/op-sample.js';

export interface Sliced {
  readonly sample: OpSample;
  readonly tensors: (Tensor | null)[];
}

/** Inputs that hold the shape of the result. */
const TARGETS: Readonly<Record<string, number>> = { Reshape: 1, Expand: 1, Resize: 3, CenterCropPad: 1 };

/** Index of the weight of operators with a `group` attribute. */
const GROUPED: Readonly<Record<string, number>> = {
  Conv: 1,
  ConvTranspose: 1,
  ConvInteger: 1,
  QLinearConv: 3,
  FusedConv: 1,
  NhwcFusedConv: 1,
};

/** Attributes that count heads, with the letters that heads are written with. */
const HEADS: Readonly<Record<string, readonly string[]>> = { q_num_heads: ['g', 'r'], kv_num_heads: ['g'] };

export function adjust(
  sample: OpSample,
  tensors: readonly (Tensor | null)[],
  originals: readonly (Tensor | null)[],
  statement: AxesStatement,
  letter: string,
  ratio: number,
  outputs: readonly (readonly number[] | null)[],
): Sliced {
  const result = { sample, tensors: [...tensors] };
  const target = TARGETS[sample.op];
  // A target for some axes only does not speak of the axes that may be sliced.
  if (target !== undefined && sample.inputs[target] && outputs[0] && !sample.attributes?.axes)
    result.tensors[target] = Tensor.from('int64', [outputs[0].length], outputs[0]);
  if (sample.op === 'Split') return splitSizes(result, outputs);
  if (sample.op === 'Slice') return sliceEnds(result, originals, outputs);
  const attributes = { ...sample.attributes };
  const weight = GROUPED[sample.op];
  const groups = sample.op === 'GroupNormalization' || sample.op === 'GroupNorm' ? 'num_groups' : 'group';
  const count = attributes[groups];
  const operand = weight ?? 0;
  const axis = weight === undefined ? (sample.op === 'GroupNorm' ? -1 : 1) : 0;
  const term = statement.inputs[operand]?.at(axis);
  const outer = term?.kind === 'letter' ? term.letter : term?.kind === 'product' ? term.factors[0] : undefined;
  if (typeof count === 'number' && count > 1 && outer === letter) attributes[groups] = count * ratio;
  for (const [name, letters] of Object.entries(HEADS)) {
    const heads = attributes[name];
    if (typeof heads === 'number' && letters.includes(letter)) attributes[name] = heads * ratio;
  }
  const blocks = statement.inputs[0]?.find((t) => t.kind === 'product')?.factors.at(-1);
  if (typeof attributes.block_size === 'number' && blocks === letter) attributes.block_size *= ratio;
  return { ...result, sample: { ...sample, attributes } };
}

/** What a Slice cuts: its axes with their first positions from the front and steps. */
interface Cut {
  readonly axis: number;
  readonly start: number;
  readonly step: number;
}

function cutsOf({ sample, tensors }: Sliced): Cut[] {
  const dims = tensors[0]!.dims;
  const list = (input: number, attribute: string) => {
    const given = sample.attributes?.[attribute];
    return tensors[input] ? Array.from(tensors[input].numbers()) : Array.isArray(given) ? given.map(Number) : undefined;
  };
  const starts = list(1, 'starts')!;
  const axes = list(3, 'axes') ?? starts.map((_, i) => i);
  const steps = list(4, 'steps') ?? starts.map(() => 1);
  return starts.map((start, i) => {
    const axis = (axes[i]! + dims.length) % dims.length;
    const from = start < 0 ? start + dims[axis]! : start;
    return { axis, start: Math.max(0, Math.min(from, dims[axis]!)), step: steps[i]! };
  });
}

/** Fixed elements before the letter of a concatenation that has fixed parts on both sides. */
export function leading(sample: OpSample, tensors: readonly (Tensor | null)[], axis: number): number {
  if (sample.op === 'Slice') return cutsOf({ sample, tensors: [...tensors] }).find((c) => c.axis === axis)?.start ?? 0;
  const attribute = sample.attributes?.pads ?? sample.attributes?.paddings;
  const pads = tensors[1] ? Array.from(tensors[1].numbers()) : Array.isArray(attribute) ? attribute.map(Number) : [];
  const rank = tensors[0]!.rank;
  const axes = tensors[3] ? Array.from(tensors[3].numbers(), (a) => (a + rank) % rank) : tensors[0]!.dims.map((_, i) => i);
  return pads[axes.indexOf(axis)] ?? 0;
}

function sliceEnds(sliced: Sliced, originals: readonly (Tensor | null)[], outputs: readonly (readonly number[] | null)[]): Sliced {
  const { sample, tensors } = sliced;
  const cuts = cutsOf({ sample, tensors: [...originals] });
  const starts = cuts.map((c) => c.start);
  // With a step the axis is not sliced, and its bounds stay.
  if (cuts.some((c) => c.step !== 1)) return sliced;
  const ends = cuts.map((c) => c.start + outputs[0]![c.axis]!);
  const dtype = tensors[1]?.dtype ?? 'int64';
  if ((sample.opset ?? 21) < 10) return { sample: { ...sample, attributes: { ...sample.attributes, starts, ends } }, tensors };
  return {
    sample,
    tensors: [tensors[0]!, Tensor.from(dtype, [starts.length], starts), Tensor.from(dtype, [ends.length], ends), ...tensors.slice(3)],
  };
}

function splitSizes({ sample, tensors }: Sliced, outputs: readonly (readonly number[] | null)[]): Sliced {
  const rank = tensors[0]!.rank;
  const attribute = sample.attributes?.axis;
  const axis = typeof attribute === 'number' ? (attribute + rank) % rank : 0;
  const sizes = outputs.map((d) => d![axis]!);
  const { num_outputs: _, ...attributes } = sample.attributes ?? {};
  if ((sample.opset ?? 21) < 13) return { sample: { ...sample, attributes: { ...attributes, split: sizes } }, tensors };
  const input = { dtype: 'int64', dims: [sizes.length], values: sizes, constant: true } as const;
  return { sample: { ...sample, attributes, inputs: [sample.inputs[0]!, input] }, tensors: [tensors[0]!, null] };
}
