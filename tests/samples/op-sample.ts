// One small application of an operator. The same samples serve every law: inference, axes, gradients, rewriting, round trips.
// A sample says what goes in; what comes out is ONNX Runtime's to say.
import type { AttributeInput } from '../../src/ir/attribute.js';
import type { Builder } from '../../src/ir/builder.js';
import type { DType } from '../../src/ir/dtype.js';
import type { Value } from '../../src/ir/graph.js';

export interface SampleInput {
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** Content; random where omitted: floats in [-1,1], signed integers in [-4,4], unsigned ones in [0,8], bool 0 or 1. */
  readonly values?: readonly number[];
  /** Content of a string tensor (default "a", "b", ...). */
  readonly strings?: readonly string[];
  /** Given as an initializer instead of a graph input: shapes, axes, weights that a kernel wants constant. */
  readonly constant?: boolean;
}

/** Fills the body of an If, Loop or Scan: adds inputs, nodes and outputs through the builder. */
export type SampleBody = (b: Builder, outer: (index: number) => Value) => void;

export interface OpSample {
  readonly op: string;
  readonly domain?: string;
  /** Tells samples of one operator apart in test names. */
  readonly label?: string;
  /** Version of the default opset; DEFAULT_OPSET where omitted. */
  readonly opset?: number;
  /** Versions of other opsets; the operator's own domain is taken at 1 where not given. */
  readonly opsets?: Readonly<Record<string, number>>;
  readonly inputs: readonly (SampleInput | null)[];
  /** Number of outputs (default 1), or names with null for an omitted output. */
  readonly outputs?: number | readonly (string | null)[];
  readonly attributes?: Readonly<Record<string, AttributeInput>>;
  /** Bodies by attribute name; `outer(i)` is the sample's input i. */
  readonly subgraphs?: Readonly<Record<string, SampleBody>>;
  /** Builds a whole graph instead of one node (sequences, chains); must add inputs by `b.input`, mark outputs by `b.output` and contain the operator. */
  readonly build?: (b: Builder) => void;
  /** Feeds of the inputs that `build` makes. */
  readonly feeds?: Readonly<Record<string, SampleInput>>;
  /**
   * Why ONNX Runtime's CPU provider cannot run this sample (no kernel for the type or opset). Inference is then checked against `expect`.
   */
  readonly noKernel?: string;
  /** Types of the outputs as text, such as `float[2,3]`; required with `noKernel`. */
  readonly expect?: readonly string[];
  /** The output's dimensions depend on the data (NonZero, Unique): inference may leave them symbolic. */
  readonly dataDependent?: boolean;
  /** Results differ between runs (random numbers): values are not compared. */
  readonly nondeterministic?: boolean;
}
