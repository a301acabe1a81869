// What each deploy runtime runs in 8-bit integers, as facts: which operators have a kernel, what its operands must look like, and which activation
// type is the fast one. Those of ONNX Runtime on CPUs were found by loading small Q/DQ graphs in release 1.30 and reading the graph it optimized them
// to; the WebGPU provider's from its table of operators; TensorRT's from its guide to explicit quantization (no zero points, biases in float).
import type { Node } from '../ir/graph.js';
import type { QuantType } from './scheme.js';

/** An integer kernel of an operator that multiplies data by a constant weight. */
export interface ComputeKernel {
  /** 'required': the kernel is used only where the output is quantized too; 'optional': it can answer float. */
  readonly output: 'required' | 'optional';
  /** Type of the bias; 'none' where the kernel takes none. */
  readonly bias: 'int32' | 'float' | 'none';
  /** The weight's DequantizeLinear must carry a zero-point tensor even where it is all zero. */
  readonly explicitZeroPoint: boolean;
}

/** True, or the reason why this node has no integer kernel although others of its type do. */
export type Support = (node: Node) => true | string;

/** Types that activations may be quantized to. */
export type ActivationType = Extract<QuantType, 'uint8' | 'int8' | 'uint16' | 'int16'>;

export interface Runtime {
  readonly name: string;
  readonly summary: string;
  /** Activation type that is fast. */
  readonly activation: ActivationType;
  /** Types that load and give the right result. */
  readonly activations: readonly ActivationType[];
  /** Types that integer kernels take; with the others in `activations` nodes compute in float between conversions. */
  readonly integerActivations: readonly ActivationType[];
  /** False where zero points must be 0: ranges are then symmetric. */
  readonly zeroPoints: boolean;
  /** Forms of static quantization it takes: Q/DQ around float operators, or operators on integers. */
  readonly formats: readonly ('qdq' | 'qoperator')[];
  /** True where products with weights in integers and activations quantized at run time have kernels. */
  readonly dynamic: boolean;
  /** What to do instead where an operator has no integer kernel. */
  readonly instead?: string;
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
    activations: ['uint8', 'int8', 'uint16', 'int16'],
    integerActivations: ['uint8', 'int8'],
    zeroPoints: true,
    formats: ['qdq', 'qoperator'],
    dynamic: true,
    saturates,
    compute: ORT_COMPUTE,
    arithmetic: ORT_ARITHMETIC,
    functions: ORT_FUNCTIONS,
    passthrough: ORT_PASSTHROUGH,
    rescaling: ['Concat'],
  };
}

/** Its provider has no QuantizeLinear and no integer products; constants that fold at load and 4-bit block products are what it runs. */
const WEBGPU: Runtime = {
  name: 'ort-webgpu',
  summary: 'ONNX Runtime Web on WebGPU: no integer arithmetic',
  activation: 'uint8',
  activations: ['uint8', 'int8'],
  integerActivations: [],
  zeroPoints: true,
  formats: ['qdq'],
  dynamic: false,
  instead: 'mode weights (4-bit products) and fp16 are what it runs faster',
  saturates: false,
  compute: {},
  arithmetic: {},
  functions: {},
  passthrough: {},
  rescaling: [],
};

const TENSORRT_KERNEL: ComputeKernel = { output: 'optional', bias: 'float', explicitZeroPoint: false };

const TENSORRT: Runtime = {
  name: 'tensorrt',
  summary: 'NVIDIA TensorRT with explicit quantization: symmetric int8, no zero points, biases in float',
  activation: 'int8',
  activations: ['int8'],
  integerActivations: ['int8'],
  zeroPoints: false,
  formats: ['qdq'],
  dynamic: false,
  instead: 'it runs in float or half there',
  saturates: false,
  compute: { Conv: TENSORRT_KERNEL, ConvTranspose: TENSORRT_KERNEL, Gemm: TENSORRT_KERNEL, MatMul: TENSORRT_KERNEL },
  arithmetic: { Add: always },
  functions: { AveragePool: always, GlobalAveragePool: always },
  passthrough: {
    Concat: always,
    Flatten: always,
    MaxPool: ORT_PASSTHROUGH.MaxPool,
    Reshape: always,
    Slice: always,
    Squeeze: always,
    Transpose: always,
    Unsqueeze: always,
  },
  rescaling: [],
};

export const RUNTIMES = {
  'ort-x86': ortCpu('ort-x86', 'ONNX Runtime on x86 with VNNI or AMX', false),
  'ort-x86-avx2': ortCpu('ort-x86-avx2', 'ONNX Runtime on x86 without VNNI: pairs of 8-bit products saturate', true),
  'ort-arm': ortCpu('ort-arm', 'ONNX Runtime on 64-bit ARM', false),
  'ort-wasm': ortCpu('ort-wasm', 'ONNX Runtime Web on WebAssembly SIMD', false),
  'ort-webgpu': WEBGPU,
  tensorrt: TENSORRT,
} as const satisfies Record<string, Runtime>;

export type RuntimeName = keyof typeof RUNTIMES;
export const RUNTIME_NAMES = Object.keys(RUNTIMES) as [RuntimeName, ...RuntimeName[]];

/** Why a runtime runs this operator in float. */
export function noKernel(runtime: Runtime, op: string): string {
  return `${runtime.name} has no int8 kernel for ${op}${runtime.instead ? `: ${runtime.instead}` : ''}`;
}
