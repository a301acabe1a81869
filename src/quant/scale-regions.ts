// Where a channel can be divided by a factor on one side and multiplied by it on the other without changing what the model computes: from a node that
// makes the channels (Conv, Gemm, MatMul, a norm, a constant factor), through operators that commute with positive factors (ReLU, PReLU, pools, ...), to nodes
// with weights that take the factor up. Every reader must be one of these: a channel that is added to a residual stream is left alone.
// Clip commutes while no channel is at its bounds: the region says so, and the caller keeps within them.
import type { Node, Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import { axisView, type ChannelView, channelCount, inputChannelView } from './channel-view.js';

export interface RegionReader {
  readonly node: Node;
  readonly data: Value;
  readonly weight: ChannelView;
  /** Output channels that lie side by side in a run of the view: 1 where each row of the view is one. */
  readonly outputsInRun: number;
}

export interface RegionClip {
  /** Output of the Clip. */
  readonly value: Value;
  readonly axis: number;
  readonly low: number;
  readonly high: number;
}

export interface ScaleRegion {
  readonly producer: Node;
  readonly channels: number;
  /** Constants that are divided by the factors. */
  readonly makers: readonly ChannelView[];
  /** Nodes whose weights are multiplied by them. */
  readonly readers: readonly RegionReader[];
  /** Every activation that changes scale, with its channel axis. */
  readonly values: ReadonlyMap<Value, number>;
  readonly clips: readonly RegionClip[];
}

interface State {
  readonly producer: Node;
  readonly channels: number;
  readonly makers: ChannelView[];
  readonly readers: RegionReader[];
  readonly values: Map<Value, number>;
  readonly clips: RegionClip[];
}

/** The region that starts at a node; a text says why there is none, undefined that the node makes no channels. */
export function scaleRegionOf(node: Node): ScaleRegion | string | undefined {
  const start = makersOf(node);
  if (start === undefined || typeof start === 'string') return start;
  const output = node.output();
  const rank = tensorTypeOf(output)?.shape?.length;
  if (rank === undefined) return 'the rank of its output is not known';
  const state: State = {
    producer: node,
    channels: channelCount(start.makers[0]!),
    makers: [...start.makers],
    readers: [],
    values: new Map(),
    clips: [],
  };
  const problem = grow(state, output, start.axis < 0 ? start.axis + rank : start.axis, 1);
  if (problem !== undefined) return problem;
  return state.readers.length > 0 ? state : 'nothing with a weight reads it';
}

const isFloats = (value: Value | null): value is Value => value !== null && value.isConstant && value.initializer?.dtype === 'float';
/** A constant that nobody else reads, so that it may change. */
const isOwn = (value: Value | null): value is Value => isFloats(value) && value.readerCount === 1;

function makersOf(node: Node): { makers: ChannelView[]; axis: number } | string | undefined {
  if (node.domain !== '') return undefined;
  const [weight, bias] = [node.input(1), node.input(2)];
  switch (node.opType) {
    case 'Conv':
      return withBias(weight, bias, 0, 1);
    case 'Gemm':
      return withBias(weight, bias, node.int('transB', 0) === 1 ? 0 : 1, 1);
    case 'MatMul':
      return weight?.initializer?.rank === 2 ? withBias(weight, null, 1, -1) : undefined;
    case 'LayerNormalization':
      if (node.int('axis', -1) !== -1 || node.outputs.length > 1 || weight?.initializer?.rank !== 1) return undefined;
      return withBias(weight, bias, 0, -1);
    case 'Mul':
      return [node.input(0), weight]
        .map((v) => (isOwn(v) && v.initializer!.rank === 1 && v.initializer!.size > 1 ? v : null))
        .flatMap((v) => (v ? [{ makers: [axisView(v, 0)], axis: -1 }] : []))[0];
    default:
      return undefined;
  }
}

function withBias(weight: Value | null, bias: Value | null, axis: number, outputAxis: number) {
  if (!isFloats(weight) || weight.initializer!.size === 0) return undefined;
  if (!isOwn(weight)) return 'other nodes read its weight too';
  const channels = weight.initializer!.dims[axis]!;
  if (!bias) return { makers: [axisView(weight, axis)], axis: outputAxis };
  if (!isOwn(bias) || bias.initializer!.size !== channels) return 'its bias is no vector of its own';
  return { makers: [axisView(weight, axis), axisView(bias, bias.initializer!.rank - 1)], axis: outputAxis };
}

/** Follows all readers of a value; answers why the region is not closed. `repeat`: positions of the axis per channel. */
function grow(state: State, value: Value, axis: number, repeat: number): string | undefined {
  if (value.isGraphOutput) return 'it reaches an output of the model';
  state.values.set(value, axis);
  for (const { node, index } of value.uses) {
    const problem =
      node.graph !== value.graph
        ? `a subgraph reads it`
        : (read(state, value, axis, repeat, node, index) ?? pass(state, axis, repeat, node, index));
    if (problem !== undefined && problem !== 'read') return problem;
  }
  return undefined;
}

/** Adds a node that takes the factor up; undefined where the node is no such one. */
function read(state: State, data: Value, axis: number, repeat: number, node: Node, index: number): string | undefined {
  const weight = node.input(1);
  if (node.domain !== '' || index !== 0 || !isFloats(weight)) return undefined;
  const { rank } = weight.initializer!;
  let view: ChannelView | undefined;
  let outputsInRun = 1;
  if (node.opType === 'Conv' && axis === 1 && repeat === 1) view = inputChannelView(weight, node.int('group', 1));
  else if (node.opType === 'Gemm' && axis === 1 && node.int('transA', 0) === 0) {
    const transposed = node.int('transB', 0) === 1;
    view = axisView(weight, transposed ? 1 : 0, repeat);
    if (!transposed) outputsInRun = weight.initializer!.dims[1]!;
  } else if (node.opType === 'MatMul' && rank === 2 && axis === (tensorTypeOf(data)?.shape?.length ?? 0) - 1) {
    view = axisView(weight, 0, repeat);
    outputsInRun = weight.initializer!.dims[1]!;
  }
  if (!view) return undefined;
  if (channelCount(view) !== state.channels) return `${node.label} counts its channels otherwise`;
  if (!isOwn(weight)) return `other nodes read the weight of ${node.label} too`;
  state.readers.push({ node, data, weight: view, outputsInRun });
  return 'read';
}

/** Goes on through operators that commute with positive factors per channel. */
function pass(state: State, axis: number, repeat: number, node: Node, index: number): string | undefined {
  const refuse = `${node.label} (${node.op}) reads it`;
  if (node.domain !== '' || node.outputs.length !== 1) return refuse;
  const output = node.output();
  switch (node.opType) {
    case 'Relu':
    case 'LeakyRelu':
    case 'Identity':
      return grow(state, output, axis, repeat);
    case 'PRelu':
      return index === 0 ? grow(state, output, axis, repeat) : refuse;
    case 'MaxPool':
    case 'AveragePool':
    case 'GlobalAveragePool':
    case 'GlobalMaxPool':
      return axis === 1 && repeat === 1 ? grow(state, output, axis, repeat) : refuse;
    case 'Clip': {
      const clip = clipOf(node, axis);
      if (!clip || repeat !== 1) return refuse;
      state.clips.push(clip);
      return grow(state, output, axis, repeat);
    }
    case 'Transpose': {
      const perm = node.ints('perm');
      return perm && repeat === 1 ? grow(state, output, perm.indexOf(axis), repeat) : refuse;
    }
    case 'Flatten':
    case 'Reshape':
      return flatten(state, axis, repeat, node) ?? refuse;
    case 'ReduceMean': {
      const axes = node.input(1)?.initializer?.numbers() ?? node.ints('axes');
      const rank = tensorTypeOf(node.input(0))?.shape?.length;
      if (!axes || rank === undefined || repeat !== 1) return refuse;
      const reduced = Array.from(axes, (a) => (Number(a) < 0 ? Number(a) + rank : Number(a)));
      if (reduced.length === 0 || reduced.includes(axis)) return refuse;
      const before = node.int('keepdims', 1) === 1 ? 0 : reduced.filter((a) => a < axis).length;
      return grow(state, output, axis - before, repeat);
    }
    case 'Add':
    case 'Mul':
      return withConstant(state, axis, repeat, node, index) ?? refuse;
    default:
      return refuse;
  }
}

function clipOf(node: Node, axis: number): RegionClip | undefined {
  const bound = (i: number, none: number) => {
    const value = node.input(i);
    return value === null ? none : isFloats(value) ? value.initializer!.floats()[0] : undefined;
  };
  const low = bound(1, Number.NEGATIVE_INFINITY);
  const high = bound(2, Number.POSITIVE_INFINITY);
  return low !== undefined && high !== undefined && low <= 0 && high >= 0 ? { value: node.output(), axis, low, high } : undefined;
}

/** [N, C, ...] to [N, C * ...]: each channel becomes a run of positions. */
function flatten(state: State, axis: number, repeat: number, node: Node): string | undefined {
  const from = tensorTypeOf(node.input(0))?.shape;
  const to = tensorTypeOf(node.output())?.shape;
  if (!from || !to || axis !== 1 || repeat !== 1 || to.length !== 2) return undefined;
  const rest = from.slice(2);
  if (!rest.every((d): d is number => typeof d === 'number')) return undefined;
  const run = rest.reduce((p, d) => p * d, 1);
  if (to[1] !== state.channels * run) return undefined;
  return grow(state, node.output(), 1, run) ?? 'read';
}

/** Mul with any constant commutes; a constant that is added is divided too, which needs one number per channel. */
function withConstant(state: State, axis: number, repeat: number, node: Node, index: number): string | undefined {
  const other = node.input(1 - index);
  const shape = tensorTypeOf(node.output())?.shape;
  if (!isFloats(other) || !shape || repeat !== 1) return undefined;
  const rank = tensorTypeOf(node.input(index))?.shape?.length;
  if (rank !== shape.length || other.initializer!.rank > rank) return undefined;
  if (node.opType === 'Add') {
    const { dims, size } = other.initializer!;
    const at = axis - (rank - dims.length);
    if (at < 0 || dims[at] !== state.channels || size !== state.channels || !isOwn(other)) return undefined;
    state.makers.push(axisView(other, at));
  }
  return grow(state, node.output(), axis, repeat) ?? 'read';
}
