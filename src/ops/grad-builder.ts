// The builder that gradients are written with. Every node it adds is typed at once, so the static dimensions of any value can be asked for;
// equal nodes and equal small constants are made once. Shapes are specialised before differentiation: all dimensions are numbers.

import { shapeError, typeError } from '../errors.js';
import type { AttributeInput } from '../ir/attribute.js';
import { attributeOf } from '../ir/attribute.js';
import { Builder, type CallOptions } from '../ir/builder.js';
import { DTYPES, type DType } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { tensorTypeOf } from '../ir/model.js';
import { elementCount, Tensor } from '../ir/tensor.js';
import { formatType, isStatic } from '../ir/type.js';

type Operand = Value | null | undefined;

/** Static dimensions of a value; throws E_SHAPE where they are not all numbers. */
export function dimsOf(value: Value): readonly number[] {
  const shape = tensorTypeOf(value)?.shape;
  if (!isStatic(shape)) {
    throw shapeError(`value "${value.name}": expected a static shape, got ${formatType(value.type)}`, {
      place: { value: value.name },
      hint: 'fix the dimensions of the inputs (batch size, sequence length)',
    });
  }
  return shape;
}

/** Element type of a tensor value; throws E_TYPE where it is not known. */
export function dtypeOf(value: Value): DType {
  const dtype = tensorTypeOf(value)?.dtype;
  if (dtype === undefined) throw typeError(`value "${value.name}": expected a tensor of known type, got ${formatType(value.type)}`);
  return dtype;
}

/** Largest constant that is looked for among those there are. */
const POOLED_ELEMENTS = 64;

export class GradBuilder extends Builder {
  /** Label of the forward node whose gradient is being written: the new nodes are named after it, for profiles and messages. */
  origin = '';
  /** Channels of a block where depthwise convolutions will run in a blocked layout, which makes them the fastest form of their gradients; 0 elsewhere. */
  channelBlock = 0;
  readonly #infer: (node: Node) => void;
  readonly #nodes = new Map<string, Node>();
  readonly #constants = new Map<string, Value>();
  readonly #counts = new Map<string, number>();
  readonly #ids = new Map<Value, number>();

  /** `infer` sets the types of a new node's outputs. */
  constructor(graph: Graph, infer: (node: Node) => void, prefix = 'grad/') {
    super(graph, { prefix });
    this.#infer = infer;
  }

  #id(value: Operand): number {
    if (!value) return -1;
    let id = this.#ids.get(value);
    if (id === undefined) {
      id = this.#ids.size;
      this.#ids.set(value, id);
    }
    return id;
  }

  override node(
    opType: string,
    inputs: readonly Operand[],
    attributes: Record<string, AttributeInput> = {},
    options: CallOptions = {},
  ): Node {
    const key = this.#key(opType, inputs, attributes, options);
    const known = key === undefined ? undefined : this.#nodes.get(key);
    if (known) return known;
    const outputs = options.outputs ?? [`${this.prefix}${opType}`];
    const node = super.node(opType, inputs, attributes, { name: this.#name(), ...options, outputs });
    this.#infer(node);
    if (key !== undefined) this.#nodes.set(key, node);
    return node;
  }

  /** Runtimes refuse two nodes of one name. */
  #name(): string {
    if (this.origin === '') return '';
    const count = (this.#counts.get(this.origin) ?? 0) + 1;
    this.#counts.set(this.origin, count);
    return `grad(${this.origin})/${count}`;
  }

  /** Text under which an equal node is found; undefined where nodes must not be shared (random numbers, subgraphs). */
  #key(opType: string, inputs: readonly Operand[], attributes: Record<string, AttributeInput>, options: CallOptions): string | undefined {
    if (opType.startsWith('Random') || opType === 'Bernoulli' || opType === 'Dropout') return undefined;
    const parts: string[] = [];
    for (const name of Object.keys(attributes).sort()) {
      const a = attributeOf(attributes[name]!);
      if (a.type === 'graph' || a.type === 'graphs' || a.type === 'tensor') return undefined;
      parts.push(`${name}=${a.type}:${'value' in a ? String(a.value) : ''}`);
    }
    return `${options.domain ?? ''}.${opType}(${inputs.map((v) => this.#id(v)).join()})[${parts.join()}]#${options.outputs?.length ?? 1}`;
  }

  /** A constant; small equal ones are shared. */
  override constant(name: string, tensor: Tensor): Value {
    const key =
      tensor.dtype !== 'string' && tensor.size <= POOLED_ELEMENTS ? `${tensor.dtype}[${tensor.dims}]${tensor.bytes()}` : undefined;
    const known = key === undefined ? undefined : this.#constants.get(key);
    if (known) return known;
    const value = super.constant(name, tensor);
    if (key !== undefined) this.#constants.set(key, value);
    return value;
  }

  /** A scalar constant of the element type of `like`. */
  number(like: Value, x: number): Value {
    return this.scalar('number', dtypeOf(like), x);
  }

  /** A constant of given dimensions filled with one number, of the element type of `like`. */
  full(like: Value, dims: readonly number[], x: number): Value {
    if (elementCount(dims) <= POOLED_ELEMENTS) {
      return this.constant('full', Tensor.from(dtypeOf(like), dims, new Array<number>(elementCount(dims)).fill(x)));
    }
    return this.op('Expand', [this.number(like, x), this.ints('shape', dims)]);
  }

  add(a: Value, b: Value): Value {
    return this.op('Add', [a, b]);
  }

  sub(a: Value, b: Value): Value {
    return this.op('Sub', [a, b]);
  }

  mul(a: Value, b: Value): Value {
    return this.op('Mul', [a, b]);
  }

  div(a: Value, b: Value): Value {
    return this.op('Div', [a, b]);
  }

  neg(a: Value): Value {
    return this.op('Neg', [a]);
  }

  /** a * x; `a` itself where x is 1. */
  scale(a: Value, x: number): Value {
    if (x === 1) return a;
    return x === -1 ? this.neg(a) : this.mul(a, this.number(a, x));
  }

  /** a + x; `a` itself where x is 0. */
  shift(a: Value, x: number): Value {
    return x === 0 ? a : this.add(a, this.number(a, x));
  }

  where(condition: Value, a: Value, b: Value): Value {
    return this.op('Where', [condition, a, b]);
  }

  /** `a` where the condition (bool, broadcasting) holds, else 0: a product, which ONNX Runtime computes in a third of the time of Where. */
  mask(condition: Value, a: Value): Value {
    return this.mul(a, this.cast(condition, dtypeOf(a)));
  }

  cast(a: Value, dtype: DType): Value {
    return dtypeOf(a) === dtype ? a : this.op('Cast', [a], { to: DTYPES[dtype].code });
  }

  /** `a` under other dimensions of equal size; `a` itself where they are its own. */
  reshape(a: Value, dims: readonly number[]): Value {
    if (sameDims(dimsOf(a), dims)) return a;
    // A reshape of a reshape needs only the last. Zero extents are real here, not "as in the input".
    const source = a.producer?.opType === 'Reshape' && a.producer.graph === this.graph ? a.producer.input(0)! : a;
    if (sameDims(dimsOf(source), dims)) return source;
    return this.op('Reshape', [source, this.ints('shape', dims)], dims.includes(0) ? { allowzero: 1 } : {});
  }

  /** `a` itself where the order is the natural one. */
  transpose(a: Value, perm: readonly number[]): Value {
    return perm.every((p, i) => p === i) ? a : this.op('Transpose', [a], { perm });
  }

  /** Exchanges the last two axes. */
  transposeLast(a: Value): Value {
    const rank = dimsOf(a).length;
    return this.transpose(
      a,
      Array.from({ length: rank }, (_, i) => (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i)),
    );
  }

  expand(a: Value, dims: readonly number[]): Value {
    return sameDims(dimsOf(a), dims) ? a : this.op('Expand', [a, this.ints('shape', dims)]);
  }

  /** Sum over some axes (none given: nothing happens). */
  reduceSum(a: Value, axes: readonly number[], keepdims = true): Value {
    return axes.length === 0 ? a : this.op('ReduceSum', [a, this.ints('axes', axes)], { keepdims: keepdims ? 1 : 0 });
  }

  /** Mean over some axes. */
  reduceMean(a: Value, axes: readonly number[], keepdims = true): Value {
    const dims = dimsOf(a);
    const count = axes.reduce((n, axis) => n * dims[axis < 0 ? axis + dims.length : axis]!, 1);
    return this.scale(this.reduceSum(a, axes, keepdims), 1 / count);
  }

  /** Part of `a` along some axes, ends not included. */
  slice(a: Value, axes: readonly number[], starts: readonly number[], ends: readonly number[], steps?: readonly number[]): Value {
    const inputs = [a, this.ints('starts', starts), this.ints('ends', ends), this.ints('axes', axes)];
    return this.op('Slice', steps?.some((s) => s !== 1) ? [...inputs, this.ints('steps', steps)] : inputs);
  }

  /** Zeros around `a`: `pads` holds the begins of all axes, then the ends; negative ones cut. */
  pad(a: Value, pads: readonly number[]): Value {
    return pads.every((p) => p === 0) ? a : this.op('Pad', [a, this.ints('pads', pads)]);
  }

  concat(parts: readonly Value[], axis: number): Value {
    return parts.length === 1 ? parts[0]! : this.op('Concat', parts, { axis });
  }
}

export function sameDims(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}
