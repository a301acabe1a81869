// The record that holds every fact about one operator's maths. All fields are required, so "none" must be written.
// Algorithms live with the techniques, instructions with the targets; here is only what follows from the operator's definition.

import type { DType } from '../ir/dtype.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import type { Dim, Shape, ValueType } from '../ir/type.js';
import type { GradBuilder } from './grad-builder.js';

/**
 * What is known of the content of a small integer (or bool) tensor, element by element in row-major order: numbers, symbolic dimensions or null.
 * It is how shape arithmetic (Shape, Gather, Concat, Mul, Reshape ...) is followed through the graph.
 */
export interface PartialValue {
  readonly dtype: DType;
  /** Empty for a scalar. */
  readonly dims: readonly number[];
  readonly items: readonly Dim[];
}

/** Largest tensor whose content is followed element by element. */
export const MAX_PARTIAL_ELEMENTS = 1024;

export interface Inferred {
  readonly type: ValueType | undefined;
  readonly value?: PartialValue | undefined;
}

/** What `infer` may ask. Input indices count from 0; omitted inputs answer undefined. */
export interface InferContext {
  readonly node: Node;
  /** Version of the operator's domain in this model. */
  readonly opset: number;
  readonly inputCount: number;
  readonly outputCount: number;
  has(input: number): boolean;
  type(input: number): ValueType | undefined;
  /** Element type of a tensor input. */
  dtype(input: number): DType | undefined;
  /** Shape of a tensor input; null where not even the rank is known. */
  shape(input: number): Shape | null;
  /** Content of an input as far as it is known: constants up to MAX_PARTIAL_ELEMENTS and results of shape arithmetic. */
  value(input: number): PartialValue | undefined;
  /** Whole constant of an input, of any size and type. */
  constant(input: number): Tensor | undefined;
  /** Infers a subgraph whose formal inputs have the given types; answers the types of its outputs. */
  subgraph(graph: Graph, inputs: readonly (ValueType | undefined)[]): (ValueType | undefined)[];
  /** A new symbol for a dimension that depends on data, the same at each inference of this node: `unk_<node>_<hint>`. */
  symbol(hint: string): Dim;
  /** Throws E_SHAPE or E_TYPE naming the operator, node and input. */
  failShape(input: number, expected: string, actual: string): never;
  failType(input: number, expected: string, actual: string): never;
}

/**
 * What `grad` may ask. All shapes are static: `dimsOf` and `dtypeOf` of grad-builder.ts answer those of any value, forward or new, since the builder
 * types what it adds. The builder appends behind the forward nodes, so forward inputs and outputs can be read freely (prefer an output that
 * is there to computing it anew). It has short forms for arithmetic, reductions and movement and makes equal nodes only once.
 */
export interface GradContext {
  readonly b: GradBuilder;
  readonly node: Node;
  /** Version of the operator's domain. */
  readonly opset: number;
  /** Gradient of each output, of the output's shape and type; null where the loss does not depend on it. At least one is there. */
  readonly outputGrads: readonly (Value | null)[];
  /** Which inputs need a gradient: float inputs that depend on a parameter. Others may be answered with null. At least one is true. */
  readonly wants: readonly boolean[];
  /** Input value; throws E_BUG where omitted. */
  input(index: number): Value;
  has(index: number): boolean;
  /** Gradient of an output (default the first); throws E_BUG where it has none. */
  outputGrad(index?: number): Value;
  /** Content of an input that is constant: axes, shapes, limits. */
  constant(index: number): Tensor | undefined;
  /** Content of a small integer input that is constant or follows from shapes; undefined where it is neither. */
  numbers(index: number): readonly number[] | undefined;
  /** This form of the operator has no gradient; what and, as a hint, what to do instead. Listed with all others of the model. */
  unsupported(reason: string): never;
}

/**
 * Adds the nodes of the vector-Jacobian product: gradients of the inputs from those of the outputs, in the order of the inputs (trailing ones may be
 * missing). Null where no gradient flows or none is wanted. Each gradient has exactly the shape of its input: after broadcasting use
 * `unbroadcast` of grad-helpers.ts.
 */
export type GradFn = (ctx: GradContext) => readonly (Value | null)[];

/** What `decompose` may ask: as `GradContext`, without gradients. New nodes stand before the node. */
export type DecomposeContext = Pick<GradContext, 'b' | 'node' | 'opset' | 'input' | 'has' | 'constant' | 'numbers' | 'unsupported'>;

/** Writes a fused operator as plain ones: one value for each output, null for those it does not make. */
export type DecomposeFn = (ctx: DecomposeContext) => readonly (Value | null)[];

/** A gradient of its own, or that of the plain operators it stands for: these take its place in the forward graph, so nothing is computed twice. */
export type Gradient = GradFn | { readonly decompose: DecomposeFn } | 'none';

/**
 * How the axes of inputs and outputs relate, in the manner of einsum and einops: operands separated by commas, inputs `->` outputs, one term an axis.
 * A letter names an axis; the same letter everywhere is the same axis: slicing it everywhere alike commutes with the operator.
 * Letters missing from the outputs are contracted (summed over). `.` is an axis that must not be sliced. `(gc)` is an axis made of a product
 * (g outer, c inner), `(a+b)` one made of a concatenation, `_` an operand that does not matter (scalars, shapes, omitted inputs).
 * Conv with one group: `nc..,oc..,o->no..`; depthwise: `nc..,c...,c->nc..`; MatMul: `...mk,kn->mn` with leading axes spelled out; Concat on 1: `na,nb->n(a+b)`.
 */
export type Axes = string;

/** What kind of quantized kernel an operator can have, and how ranges go through it. */
export type QuantFacts =
  | 'none'
  /** Multiplies `data` by `weight` (input indices); `channelAxis` is the weight's output-channel axis, null where it has none. */
  | {
      readonly kind: 'compute';
      readonly data: readonly number[];
      readonly weight: number;
      readonly bias: number | null;
      channelAxis(node: Node, weightRank: number): number | null;
    }
  /** Element-wise arithmetic on several inputs with ranges of their own (Add, Mul). */
  | { readonly kind: 'arithmetic'; readonly data: readonly number[] }
  /** A function of one input whose output has a range of its own (Sigmoid, Softmax, AveragePool, Resize linear). */
  | { readonly kind: 'function'; readonly data: readonly number[] }
  /** Output values are among the input values: one range serves all (Reshape, Transpose, MaxPool, Concat, Slice, Pad with zero). */
  | { readonly kind: 'passthrough'; readonly data: readonly number[] }
  /** Narrows the range; absorbed into its producer's output range (Relu, Clip). */
  | { readonly kind: 'clamp' }
  /** Looks rows up in a table (Gather on a constant): `table` can be quantized by rows. */
  | { readonly kind: 'lookup'; readonly table: number };

/** Work of one node: multiply-accumulates, other floating-point operations. */
export interface Work {
  readonly macs: number;
  /** Operations that are no part of a MAC; FLOPs = 2 * macs + ops. */
  readonly ops: number;
}

/** Static input and output shapes of a node at costing time; null where unknown, omitted or no tensor. */
export interface CostContext {
  readonly node: Node;
  readonly inputs: readonly (readonly number[] | null)[];
  readonly outputs: readonly (readonly number[] | null)[];
}

export type Cost =
  /** MACs follow from `axes`: the product of the extents of all letters. */
  | 'axes'
  /** One operation per output element. */
  | 'elementwise'
  /** Moves data only. */
  | 'none'
  | ((ctx: CostContext) => Work);

export interface OpRecord {
  readonly opType: string;
  /** '' is the default ONNX domain. */
  readonly domain: string;
  /** First opset version of the domain whose form of the operator is understood. */
  readonly since: number;
  /** Output types from input types and attributes; throws through the context where they do not fit. */
  infer(ctx: InferContext): Inferred[];
  readonly grad: Gradient;
  /** Text, a function of the node and the ranks of its inputs (null where unknown), or 'opaque'. */
  readonly axes: Axes | ((node: Node, inputs: readonly (Shape | null)[]) => Axes) | 'opaque';
  readonly quant: QuantFacts | ((node: Node) => QuantFacts);
  readonly cost: Cost;
  /** Gives other results at each call (random numbers): never folded or merged. */
  readonly nondeterministic?: boolean;
}
