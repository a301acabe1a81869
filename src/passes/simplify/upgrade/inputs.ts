// Attributes that became inputs: axes, pads, slices, bounds, repeats, k (opsets 5 to 20).
import { isFloat } from '../../../ir/dtype.js';
import { Tensor } from '../../../ir/tensor.js';
import { constantOf } from '../facts.js';
import { type Convert, type Converters, dtypeOfInput, listToInput, nameOf } from './converter.js';

const slice10: Convert = (node, b) => {
  if (!node.hasAttribute('starts')) return undefined;
  for (const name of ['starts', 'ends', 'axes']) {
    const held = node.attribute(name);
    if (held?.type === 'ref') return `its ${name} refers to an attribute of the function around it`;
  }
  const list = (name: string, input: number) => {
    const held = node.attribute(name);
    if (held?.type !== 'ints') return;
    // The 64 bits are kept: ends of 2^63-1 mean "to the end".
    node.setInput(input, b.constant(`${nameOf(node)}_${name}`, Tensor.of('int64', [held.value.length], BigInt64Array.from(held.value))));
    node.setAttribute(name, undefined);
  };
  list('starts', 1);
  list('ends', 2);
  list('axes', 3);
  return undefined;
};

const clip11: Convert = (node, b) => {
  const bounds = ['min', 'max'].map((name) => node.float(name));
  if (bounds.every((x) => x === undefined)) return undefined;
  const dtype = dtypeOfInput(node, 0);
  if (dtype === undefined) return 'the type of its input is not known';
  bounds.forEach((x, i) => {
    if (x !== undefined) node.setInput(i + 1, b.scalar(`${nameOf(node)}_${i === 0 ? 'min' : 'max'}`, dtype, x));
  });
  node.setAttribute('min', undefined);
  node.setAttribute('max', undefined);
  return undefined;
};

const pad11: Convert = (node, b) => {
  const value = node.float('value', 0);
  const dtype = dtypeOfInput(node, 0);
  if (value !== 0 && (dtype === undefined || !isFloat(dtype))) return 'the type of its input is not known';
  node.setAttribute('value', undefined);
  const reason = listToInput('pads', 1)(node, b);
  if (reason === undefined && value !== 0) node.setInput(2, b.scalar(`${nameOf(node)}_value`, dtype!, value));
  return reason;
};

const pad2: Convert = (node) => {
  const pads = node.ints('paddings');
  if (pads) node.setAttribute('pads', pads);
  node.setAttribute('paddings', undefined);
  return undefined;
};

const topk10: Convert = (node, b) => {
  const k = node.int('k');
  if (k === undefined) return undefined;
  node.setAttribute('k', undefined);
  node.setInput(1, b.ints(`${nameOf(node)}_k`, [k]));
  return undefined;
};

const split18: Convert = (node) => {
  if (node.input(1) === null) node.setAttribute('num_outputs', node.outputs.length);
  return undefined;
};

const dropout12: Convert = (node, b) => {
  const ratio = node.float('ratio');
  node.setAttribute('ratio', undefined);
  if (ratio !== undefined && ratio !== 0.5) node.setInput(1, b.scalar(`${nameOf(node)}_ratio`, 'float', ratio));
  return undefined;
};

const dft20: Convert = (node, b) => {
  const axis = node.int('axis', 1);
  node.setAttribute('axis', undefined);
  node.setInput(2, b.scalar(`${nameOf(node)}_axis`, 'int64', axis));
  return undefined;
};

/** Opset 13 refuses scales and sizes together, and empty stand-ins were usual before. */
const resize13: Convert = (node) => {
  if (node.string('coordinate_transformation_mode') === 'tf_half_pixel_for_nn')
    return 'coordinate_transformation_mode "tf_half_pixel_for_nn" is gone since opset 13';
  for (const index of [1, 2]) if (constantOf(node.input(index))?.size === 0) node.setInput(index, null);
  return undefined;
};

const axesAt13 = { 13: listToInput('axes', 1) };
const axesAt18 = { 18: listToInput('axes', 1) };

const REDUCTIONS = [
  'ReduceL1',
  'ReduceL2',
  'ReduceLogSum',
  'ReduceLogSumExp',
  'ReduceMax',
  'ReduceMean',
  'ReduceMin',
  'ReduceProd',
  'ReduceSumSquare',
];

export const INPUT_CONVERTERS: Converters = {
  ...Object.fromEntries(REDUCTIONS.map((op) => [op, axesAt18])),
  Clip: { 11: clip11 },
  DFT: { 20: dft20 },
  Dropout: { 12: dropout12 },
  Pad: { 2: pad2, 11: pad11 },
  ReduceSum: axesAt13,
  Reshape: { 5: listToInput('shape', 1) },
  Resize: { 13: resize13 },
  Slice: { 10: slice10 },
  Split: { 13: listToInput('split', 1), 18: split18 },
  Squeeze: axesAt13,
  TopK: { 10: topk10 },
  Unsqueeze: axesAt13,
};
