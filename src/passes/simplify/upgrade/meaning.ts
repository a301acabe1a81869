// Operators whose meaning changed under the same name: flattened softmax, resizing coordinates, region alignment, group normalization.
import { Tensor } from '../../../ir/tensor.js';
import { isStatic } from '../../../ir/type.js';
import { constantOf } from '../facts.js';
import { before, behind, type Convert, type Converters, nameOf, renameOp, shapeOfInput } from './converter.js';

/**
 * Before opset 13 softmax flattened its input to two dimensions at `axis` (default 1) and worked on the second.
 * That is the new form where at most one dimension from `axis` on is not 1; else the flattening is written out.
 */
const softmax13: Convert = (node) => {
  const shape = shapeOfInput(node, 0);
  const stated = node.int('axis', 1);
  if (shape === null && stated < 0) return 'the rank of its input is not known';
  const axis = stated < 0 ? stated + shape!.length : stated;
  if (shape !== null) {
    const wide = shape.map((d, i) => [d, i] as const).filter(([d, i]) => i >= axis && d !== 1);
    if (axis === shape.length - 1 || wide.length <= 1) {
      node.setAttribute('axis', wide[0]?.[1] ?? shape.length - 1);
      return undefined;
    }
  }
  const input = node.input(0)!;
  const b = before(node);
  const dims = isStatic(shape) ? b.ints(`${nameOf(node)}_shape`, shape) : b.op('Shape', [input], {}, { name: `${nameOf(node)}_shape` });
  node.setInput(0, b.op('Flatten', [input], { axis }, { name: `${nameOf(node)}_flat` }));
  node.setAttribute('axis', -1);
  behind(node, (flat, afterwards) => afterwards.op('Reshape', [flat, dims], {}, { name: `${nameOf(node)}_unflat` }));
  node.output(0).type = undefined;
  return undefined;
};

/**
 * Resize-10 maps output x to input x / scale ("asymmetric") and, for nearest, rounds down when enlarging and up when shrinking.
 * That is how ONNX Runtime computes it; the text of opset 10 leaves it open.
 */
const resize11: Convert = (node) => {
  const scales = node.input(1);
  const values = constantOf(scales)?.numbers();
  if (node.string('mode', 'nearest') === 'nearest') {
    const shrinks = values ? Array.from(values).some((s) => s < 1) : false;
    const grows = values ? Array.from(values).some((s) => s > 1) : true;
    if (values === undefined && node.metadata?.get('pare.upsample') !== '1')
      return 'its scales are not constant, so its rounding is not known';
    if (shrinks && grows) return 'it enlarges one axis and shrinks another, with different rounding';
    node.setAttribute('nearest_mode', shrinks ? 'ceil' : 'floor');
  }
  node.setAttribute('coordinate_transformation_mode', 'asymmetric');
  node.metadata?.delete('pare.upsample');
  node.setInput(2, scales);
  node.setInput(1, before(node).constant(`${nameOf(node)}_roi`, Tensor.from('float', [0], [])));
  return undefined;
};

const upsample7: Convert = (node) => {
  const [width, height] = [node.float('width_scale'), node.float('height_scale')];
  if (width === undefined || height === undefined) return undefined;
  node.setAttribute('scales', { type: 'floats', value: [1, 1, height, width] });
  node.setAttribute('width_scale', undefined);
  node.setAttribute('height_scale', undefined);
  return undefined;
};

const upsample9: Convert = (node, b) => {
  const scales = node.floats('scales');
  if (scales === undefined) return 'it has no scales';
  node.setAttribute('scales', undefined);
  node.setInput(1, b.floats(`${nameOf(node)}_scales`, [scales.length], scales));
  return undefined;
};

/** Upsample only enlarges: remembered for the rounding of the Resize that it becomes. */
const upsample10: Convert = (node, b) => {
  node.metadata ??= new Map();
  node.metadata.set('pare.upsample', '1');
  return renameOp('Resize')(node, b);
};

const roiAlign16: Convert = (node) => {
  node.setAttribute('coordinate_transformation_mode', 'output_half_pixel');
  return undefined;
};

const GRID_MODES: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' };

const gridSample20: Convert = (node) => {
  const mode = node.string('mode', 'bilinear');
  node.setAttribute('mode', GRID_MODES[mode] ?? mode);
  return undefined;
};

/** Scale and bias go from one per group to one per channel. */
const groupNorm21: Convert = (node, b) => {
  const channels = shapeOfInput(node, 0)?.[1];
  const groups = node.int('num_groups', 1);
  if (typeof channels !== 'number') return 'the number of channels is not known';
  for (const index of [1, 2]) {
    const tensor = constantOf(node.input(index));
    if (tensor === undefined) return 'its scale or bias is not constant';
    if (tensor.size === channels && channels !== groups) continue;
    const values = tensor.numbers();
    const perChannel = Float64Array.from({ length: channels }, (_, i) => values[Math.floor(i / (channels / groups))]!);
    node.setInput(index, b.constant(node.input(index)!.name, Tensor.from(tensor.dtype, [channels], perChannel)));
  }
  return undefined;
};

export const MEANING_CONVERTERS: Converters = {
  GridSample: { 20: gridSample20 },
  GroupNormalization: { 21: groupNorm21 },
  Hardmax: { 13: softmax13 },
  LogSoftmax: { 13: softmax13 },
  Resize: { 11: resize11 },
  RoiAlign: { 16: roiAlign16 },
  Scatter: { 11: renameOp('ScatterElements') },
  Softmax: { 13: softmax13 },
  Upsample: { 7: upsample7, 9: upsample9, 10: upsample10 },
};
