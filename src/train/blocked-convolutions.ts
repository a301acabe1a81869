// Depthwise convolutions in ONNX Runtime's blocked layout, for graphs whose weights are inputs: there the runtime, which only lays out constant weights, keeps its plain form.
// [N,C,H,W] becomes [N,C/b,H,W,b], b channels side by side as a vector register holds them (Georganas et al. 2018), and back behind the convolution.
// CPU milliseconds of one thread, ONNX Runtime 1.30, AVX-512, 32 samples, 3x3, plain and blocked with both changes of layout:
//                        96x32x32    96x16x16     192x8x8     288x8x8     480x4x4
//   forward             10.6  6.2    2.8  1.5    2.3  0.6    3.7  1.2    3.5  0.4
//   weight's gradient   39.4  6.3   10.2  0.7    5.6  0.3      -  0.5    7.0  0.2
import { Builder } from '../ir/builder.js';
import type { Node, Value } from '../ir/graph.js';
import { type Model, tensorTypeOf } from '../ir/model.js';
import { isStatic } from '../ir/type.js';
import { cloneModel } from '../ir/walk.js';
import { dimsOf } from '../ops/grad-builder.js';

const DOMAIN = 'com.microsoft.nchwc';

/** A copy whose planar depthwise convolutions in float run on blocks of `block` channels (`Engine.channelBlock`). The graph only suits the engine that named the block. */
export function blockConvolutions(source: Model, block: number): Model {
  const model = cloneModel(source);
  const nodes = model.graph.nodes.filter((node) => canBlock(node, block));
  if (nodes.length === 0) return source;
  const layout = new BlockedLayout(model, block);
  for (const node of nodes) layout.convert(node);
  model.graph.pruneValues();
  model.opsets.set(DOMAIN, 1);
  return model;
}

function canBlock(node: Node, block: number): boolean {
  if (node.domain !== '' || node.opType !== 'Conv' || node.output(0).isGraphOutput) return false;
  const types = [node.input(0), node.input(1), node.output(0)].map((v) => v && tensorTypeOf(v));
  if (types.some((t) => t?.dtype !== 'float' || !isStatic(t.shape) || t.shape.length !== 4)) return false;
  const channels = dimsOf(node.input(0)!)[1]!;
  return channels % block === 0 && node.int('group', 1) === channels && dimsOf(node.input(1)!)[0] === channels;
}

class BlockedLayout {
  readonly #b: Builder;
  readonly #block: number;
  /** Blocked forms by value; samples may be channels (`[1, N*C, H, W]`), the elements are in the same places. */
  readonly #known = new Map<Value, Value>();

  constructor(model: Model, block: number) {
    this.#b = new Builder(model.graph, { prefix: 'blocked/' });
    this.#block = block;
  }

  convert(node: Node): void {
    const b = this.#b;
    b.before = node;
    const [x, weight, y] = [node.input(0)!, node.input(1)!, node.output(0)];
    const [channels = 1] = dimsOf(weight);
    const inputs = [this.#blocked(x, dimsOf(x)), this.#blocked(weight, dimsOf(weight)), node.input(2)];
    const own = b.node('Conv', inputs, {}, { domain: DOMAIN, name: node.name });
    for (const [name, attribute] of node.attributes) own.setAttribute(name, attribute);
    const plain = b.op('ReorderOutput', [own.output(0)], { channels, channels_last: 0 }, { domain: DOMAIN });
    plain.type = y.type;
    node.graph.replaceValue(y, plain);
    node.graph.removeNode(node);
  }

  /** The elements of `value` in blocks, as a value of dimensions `dims`. */
  #blocked(value: Value, dims: readonly number[]): Value {
    const b = this.#b;
    const origin = this.#origin(value);
    let known = this.#known.get(origin);
    if (known === undefined) {
      const [n = 1, c = 1, h = 1, w = 1] = dimsOf(origin);
      const merged = c === 1 ? b.op('Reshape', [origin, b.ints('shape', [1, n, h, w])]) : origin;
      known = b.op('ReorderInput', [merged], { channels_last: 0 }, { domain: DOMAIN });
      this.#known.set(origin, known);
    }
    return b.op('Reshape', [known, b.ints('shape', dims)]);
  }

  /** Before it was reshaped to maps of the same size: the value that other convolutions read as well. */
  #origin(value: Value): Value {
    const source = value.producer?.opType === 'Reshape' ? value.producer.input(0) : null;
    if (!source) return value;
    const [from, to] = [dimsOf(source), dimsOf(value)];
    const sameMaps = from.length === 4 && from[2] === to[2] && from[3] === to[3];
    return sameMaps && from[1]! % this.#block === 0 ? source : value;
  }
}
