// What each deploy runtime runs in 8-bit integers, as facts: which operators have a kernel, what its operands must look like, and which activation
// type is the fast one. Found by loading small Q/DQ graphs in ONNX Runtime 1.30 and reading the graph it optimized them to.
import type { Node } from '../ir/graph.js';
import type { QuantType } from './scheme.js';

/** An integer kernel of an operator that multiplies data by a constant weight. */
export interface ComputeKernel {
  /** 'required': the kernel is used only where the output is quantized too; 'optional': it can answer float. */
  readonly output: 'required' | 'optional';
  /** Type of the bias; 'none' where the kernel takes none. */
  readonly bias: 'int32' | 'none';
  /** The weight's DequantizeLinear must carry a zero-point tensor even where it is all zero. */
  readonly explicitZeroPoint: boolean;
}

/** True, or the reason why this node has no integer kernel although others of its type do. */
export type Support = (node: Node) => true | string;

export interface Runtime {
  readonly name: string;
  readonly summary: string;
  /** Activation type that is fast; the other types in `activations` work. */
  readonly activation: QuantType;
  readonly activations: readonly QuantType[];
  /** True where sums of two 8-bit products saturate at 16 bits: weights then want 7 bits. */
  readonly saturates: boolean;
  readonly compute: Readonly<Record<string, ComputeKernel>>;
  /** Element-wise operators on operands with scales of their own. */
  readonly arithmetic: Readonly<Record<string, Support>>;
  readonly functions: Readonly<Record<string, Support>>;
  /** Operators that move quantized values. */
  readonly passthrough: Readonly<Record<string, Support>>;
  /** Passthrough operators whose operands may have scales of their own, at the price of a table lookup. */
  readonly rescaling: readonly string[];
}

const always: Support = () => true;

const onlyNearest: Support = (node) => {
  if (node.string('mode', 'nearest') !== 'nearest') return `Resize in mode "${node.string('mode')}" has no int8 kernel; only nearest has`;
  // ONNX Runtime 1.30 moves such a Resize to channels-last layout and then refuses its own result.
  return node.hasAttribute('axes') ? 'Resize over chosen axes does not load in int8' : true;
};

const ORT_COMPUTE: Readonly<Record<string, ComputeKernel>> = {
  Conv: { output: 'required', bias: 'int32', explicitZeroPoint: false },
  Gemm: { output: 'optional', bias: 'int32', explicitZeroPoint: true },
  MatMul: { output: 'optional', bias: 'none', explicitZeroPoint: true },
};

const ORT_ARITHMETIC = { Add: always, Mul: always };

const ORT_FUNCTIONS = { AveragePool: always, GlobalAveragePool: always, LeakyRelu: always, Sigmoid: always, Softmax: always };

const ORT_PASSTHROUGH = {
  Concat: always,
  DepthToSpace: always,
  Expand: always,
  Flatten: always,
  Gather: always,
  MaxPool: (node: Node) => node.outputs.length === 1 || 'MaxPool with an index output has no int8 kernel',
  ReduceMax: always,
  ReduceMin: always,
  Reshape: always,
  Resize: onlyNearest,
  Slice: always,
  Split: always,
  Squeeze: always,
  Tile: always,
  Transpose: always,
  Unsqueeze: always,
} satisfies Record<string, Support>;

function ortCpu(name: string, summary: string, saturates: boolean): Runtime {
  return {
    name,
    summary,
    // int8 activations are rewritten to uint8 on x86 at load, and where that fails the node falls back to float.
    activation: 'uint8',
    activations: ['uint8', 'int8'],
    saturates,
    compute: ORT_COMPUTE,
    arithmetic: ORT_ARITHMETIC,
    functions: ORT_FUNCTIONS,
    passthrough: ORT_PASSTHROUGH,
    rescaling: ['Concat'],
  };
}

export const RUNTIMES = {
  'ort-x86': ortCpu('ort-x86', 'ONNX Runtime on x86 with VNNI or AMX', false),
  'ort-x86-avx2': ortCpu('ort-x86-avx2', 'ONNX Runtime on x86 without VNNI: pairs of 8-bit products saturate', true),
  'ort-arm': ortCpu('ort-arm', 'ONNX Runtime on 64-bit ARM', false),
  'ort-wasm': ortCpu('ort-wasm', 'ONNX Runtime Web on WebAssembly SIMD', false),
} as const satisfies Record<string, Runtime>;

export type RuntimeName = keyof typeof RUNTIMES;
export const RUNTIME_NAMES = Object.keys(RUNTIMES) as [RuntimeName, ...RuntimeName[]];
