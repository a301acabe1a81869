// Changes of the first opsets: explicit broadcasting, type names as text, training flags, memory hints (opsets 4 to 9, and training outputs at 14).
import { DTYPES, type DType } from '../../../ir/dtype.js';
import { all, before, type Convert, type Converters, drop, nameOf, shapeOfInput } from './converter.js';

/**
 * Before opset 7 the second operand broadcast only where `broadcast` said so, its axes lined up from `axis` on.
 * From 7 on axes line up from the back, so ones are appended to the second operand.
 */
const broadcast7: Convert = (node) => {
  const axis = node.int('axis');
  const broadcasts = node.int('broadcast', 0) === 1;
  node.setAttribute('axis', undefined);
  node.setAttribute('broadcast', undefined);
  if (!broadcasts || axis === undefined) return undefined;
  const [left, right] = [shapeOfInput(node, 0), shapeOfInput(node, 1)];
  if (left === null || right === null) return 'the ranks of its inputs are not known';
  const from = axis < 0 ? axis + left.length : axis;
  const missing = left.length - from - right.length;
  if (missing <= 0) return undefined;
  const axes = Array.from({ length: missing }, (_, i) => right.length + i);
  node.setInput(1, before(node).op('Unsqueeze', [node.input(1)], { axes }, { name: `${nameOf(node)}_aligned` }));
  return undefined;
};

/** A slope for each channel lines up with axis 1. */
const prelu7: Convert = (node) => {
  const [data, slope] = [shapeOfInput(node, 0), shapeOfInput(node, 1)];
  if (data === null || slope === null) return 'the ranks of its inputs are not known';
  if (slope.length !== 1 || slope[0] === 1 || data.length <= 2) return undefined;
  const axes = Array.from({ length: data.length - 2 }, (_, i) => i + 1);
  node.setInput(1, before(node).op('Unsqueeze', [node.input(1)], { axes }, { name: `${nameOf(node)}_aligned` }));
  return undefined;
};

const cast6: Convert = (node) => {
  const to = node.attribute('to');
  if (to?.type !== 'string') return undefined;
  const dtype = node.string('to')!.toLowerCase() as DType;
  if (!(dtype in DTYPES)) return `it casts to an unknown type "${dtype}"`;
  node.setAttribute('to', DTYPES[dtype].code);
  return undefined;
};

const concat4: Convert = (node) => {
  if (!node.hasAttribute('axis')) node.setAttribute('axis', 1);
  return undefined;
};

/** Until opset 6 a flag told training from inference. */
const inferenceOnly: Convert = (node) => {
  if (node.int('is_test', 0) === 0) return 'is_test is 0: it is in training mode';
  node.setAttribute('is_test', undefined);
  return undefined;
};

const noTrainingOutputs: Convert = (node) =>
  node.outputs.some((o, i) => i > 0 && o !== null && o.readerCount > 0) ? 'its training outputs are read' : dropExtra(node);

const dropExtra = (node: Parameters<Convert>[0]): undefined => {
  for (let i = node.outputs.length - 1; i > 0; i--) if (node.outputs[i]) node.dropOutput(i);
  return undefined;
};

const noSpatial: Convert = (node) => {
  if (node.int('spatial', 1) === 0) return 'it normalizes each position by itself (spatial = 0)';
  node.setAttribute('spatial', undefined);
  return undefined;
};

const selu6: Convert = (node) => {
  // The defaults got more digits.
  if (!node.hasAttribute('alpha')) node.setAttribute('alpha', { type: 'float', value: 1.6732 });
  if (!node.hasAttribute('gamma')) node.setAttribute('gamma', { type: 'float', value: 1.0507 });
  return undefined;
};

const wholeP: Convert = (node) => {
  const p = node.attribute('p');
  if (p?.type !== 'float') return undefined;
  if (!Number.isInteger(p.value)) return `its p of ${p.value} is no whole number`;
  node.setAttribute('p', p.value);
  return undefined;
};

const dropoutMask: Convert = (node) => {
  const mask = node.outputs[1];
  if (mask && mask.readerCount > 0) return 'its mask is read and changed its type';
  if (mask) node.dropOutput(1);
  return undefined;
};

const tile6: Convert = () => 'tiling one axis (Tile-1) is written differently since opset 6';
const scan9: Convert = () => 'Scan-8 carries a batch axis that Scan-9 has not';

const hints = drop('consumed_inputs');
const HINTED = [
  'Abs',
  'Ceil',
  'Clip',
  'Elu',
  'Exp',
  'Floor',
  'HardSigmoid',
  'InstanceNormalization',
  'LeakyRelu',
  'Log',
  'Max',
  'Mean',
  'Min',
  'Neg',
  'Reciprocal',
  'Relu',
  'Sigmoid',
  'Sqrt',
  'Sum',
  'Tanh',
];
const BROADCASTING = ['Add', 'And', 'Div', 'Equal', 'Greater', 'Less', 'Mul', 'Or', 'Pow', 'Sub', 'Xor'];
const sequenceOutput = { 7: drop('output_sequence') };

export const EARLY_CONVERTERS: Converters = {
  ...Object.fromEntries(HINTED.map((op) => [op, { 6: hints }])),
  ...Object.fromEntries(BROADCASTING.map((op) => [op, { 6: hints, 7: broadcast7 }])),
  BatchNormalization: { 6: hints, 7: inferenceOnly, 9: noSpatial, 14: noTrainingOutputs },
  Cast: { 6: cast6 },
  Concat: { 4: concat4 },
  Dropout: { 6: hints, 7: inferenceOnly, 10: dropoutMask },
  GRU: sequenceOutput,
  Gemm: { 7: drop('broadcast') },
  GlobalLpPool: { 2: wholeP },
  LSTM: sequenceOutput,
  LpPool: { 2: wholeP },
  PRelu: { 6: hints, 7: prelu7 },
  RNN: sequenceOutput,
  Scan: { 9: scan9 },
  Selu: { 6: all(hints, selu6) },
  Tile: { 6: tile6 },
};
