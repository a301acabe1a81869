// Q/DQ groups written as operators on integers ("QOperator" form): DequantizeLinear -> Conv -> QuantizeLinear becomes QLinearConv, and so on, with the
// same scales and codes, so that results are the same up to the rounding of the kernels. For runtimes that do not fuse Q/DQ, and for tools that want it.
// ONNX has QLinearConv and QLinearMatMul; the others are operators of the domain com.microsoft (QGemm, QLinearAdd, ...).
import { Builder } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import type { Model } from '../../ir/model.js';
import { Tensor } from '../../ir/tensor.js';
import type { Skipped } from '../../pass/define.js';
import { replaceNode } from './replace.js';

/** Codes with their scale and zero point. */
interface Quantized {
  readonly codes: Value;
  readonly scale: Value;
  readonly zero: Value;
}

const CONTRIB = 'com.microsoft';

/** Operators that move 8-bit values as they are, where both sides have one scale. */
const MOVED = new Set([
  'MaxPool',
  'Reshape',
  'Flatten',
  'Transpose',
  'Squeeze',
  'Unsqueeze',
  'Slice',
  'Gather',
  'Expand',
  'Tile',
  'Resize',
  'Concat',
]);

/** Element-wise operators of one operand with twins of the runtime's own: X, scale, zero, result's scale and zero. */
const UNARY: Readonly<Record<string, string>> = {
  LeakyRelu: 'QLinearLeakyRelu',
  Sigmoid: 'QLinearSigmoid',
  AveragePool: 'QLinearAveragePool',
  GlobalAveragePool: 'QLinearGlobalAveragePool',
};

const BINARY: Readonly<Record<string, string>> = { Add: 'QLinearAdd', Mul: 'QLinearMul' };

/** Rewrites the main graph. Answers how many nodes became each operator; what stays Q/DQ is told to `skip`. */
export function writeQOperators(model: Model, skip: (s: Skipped) => void): Record<string, number> {
  const writer = new Writer(model);
  for (const node of [...model.graph.nodes]) {
    const done = writer.rewrite(node);
    if (typeof done === 'string') skip({ node: node.label, op: node.op, reason: done });
  }
  model.graph.pruneValues();
  return writer.counts;
}

class Writer {
  readonly #model: Model;
  readonly counts: Record<string, number> = {};

  constructor(model: Model) {
    this.#model = model;
  }

  /** True where rewritten, a reason where the form is one that has no operator, undefined where there is nothing to do. */
  rewrite(node: Node): true | string | undefined {
    if (node.domain !== '' || /^(Quantize|Dequantize)Linear$/.test(node.opType)) return undefined;
    const data = dequantized(node.input(0));
    if (!data) return undefined;
    const result = resultOf(node);
    const done = this.#twin(node, data, result);
    if (done) {
      this.counts[done] = (this.counts[done] ?? 0) + 1;
      return true;
    }
    return `there is no integer operator for this ${node.opType} ${result ? 'with these operands' : 'with a float result'}: it stays in Q/DQ form`;
  }

  #twin(node: Node, data: Quantized, result: Result | undefined): string | undefined {
    switch (node.opType) {
      case 'Conv':
        return result && this.#conv(node, data, result);
      case 'MatMul':
        return result && this.#matMul(node, data, result);
      case 'Gemm':
        return this.#gemm(node, data, result);
      default:
        return result && this.#simple(node, data, result);
    }
  }

  #conv(node: Node, x: Quantized, y: Result): string | undefined {
    const w = dequantized(node.input(1));
    const bias = node.input(2) ? codesBehind(node.input(2)) : null;
    if (!w || bias === undefined) return undefined;
    return this.#write('QLinearConv', node, y, [...parts(x), ...parts(w), y.scale, y.zero, bias], node.attributes);
  }

  #matMul(node: Node, a: Quantized, y: Result): string | undefined {
    const b = dequantized(node.input(1));
    // Scales of columns lie along the last axis of a matrix, which is what QLinearMatMul means by a vector of scales.
    if (!b) return undefined;
    return this.#write('QLinearMatMul', node, y, [...parts(a), ...parts(b), y.scale, y.zero]);
  }

  /** QGemm may answer float: then it has no scale for its result. */
  #gemm(node: Node, a: Quantized, y: Result | undefined): string | undefined {
    const b = dequantized(node.input(1));
    const bias = node.input(2) ? codesBehind(node.input(2)) : null;
    if (!b || bias === undefined || node.float('beta', 1) !== 1) return undefined;
    const attributes = new Map([...node.attributes].filter(([key]) => key !== 'beta'));
    return this.#write('QGemm', node, y, [...parts(a), ...parts(b), bias, ...(y ? [y.scale, y.zero] : [])], attributes, CONTRIB);
  }

  #simple(node: Node, x: Quantized, y: Result): string | undefined {
    const unary = UNARY[node.opType];
    if (unary) return this.#write(unary, node, y, [...parts(x), y.scale, y.zero], node.attributes, CONTRIB);
    const binary = BINARY[node.opType];
    if (binary) {
      const other = dequantized(node.input(1));
      return other && this.#write(binary, node, y, [...parts(x), ...parts(other), y.scale, y.zero], undefined, CONTRIB);
    }
    if (!MOVED.has(node.opType) || node.outputs.length !== 1) return undefined;
    const operands = node.opType === 'Concat' ? node.inputs.map(dequantized) : [x];
    if (!operands.every((o) => o !== undefined)) return undefined;
    if (operands.every((o) => sameScale(o, y))) {
      const inputs = node.inputs.map((v, i) => operands[i]?.codes ?? v);
      return this.#write(node.opType, node, y, inputs, node.attributes);
    }
    if (node.opType !== 'Concat') return undefined;
    return this.#write('QLinearConcat', node, y, [y.scale, y.zero, ...operands.flatMap(parts)], node.attributes, CONTRIB);
  }

  #write(
    opType: string,
    node: Node,
    result: Result | undefined,
    inputs: readonly (Value | null)[],
    attributes?: Node['attributes'],
    domain = '',
  ): string {
    const output = result?.quantize.output() ?? node.output();
    const twin = node.graph.addNode(
      {
        opType,
        domain,
        name: node.name,
        inputs: [...inputs],
        outputs: [`${output.name}_i`],
        ...(attributes ? { attributes: new Map(attributes) } : {}),
      },
      node,
    );
    if (output.type) twin.output().type = output.type;
    if (domain === CONTRIB) this.#model.opsets.set(CONTRIB, this.#model.opsets.get(CONTRIB) ?? 1);
    if (result) {
      const before = [...node.inputs];
      replaceNode(result.quantize, [twin.output()]);
      node.graph.removeNode(node);
      dropUnread(before);
      return opType;
    }
    const before = [...node.inputs];
    replaceNode(node, [twin.output()]);
    dropUnread(before);
    return opType;
  }
}

interface Result {
  readonly quantize: Node;
  readonly scale: Value;
  readonly zero: Value;
}

/** The QuantizeLinear that is the only reader of the node's only result. */
function resultOf(node: Node): Result | undefined {
  if (node.outputs.length !== 1) return undefined;
  const value = node.output();
  const quantize = value.uses.length === 1 && !value.isGraphOutput ? value.uses[0]!.node : undefined;
  const [scale, zero] = [quantize?.input(1), quantize?.input(2)];
  return quantize?.opType === 'QuantizeLinear' && scale && zero ? { quantize, scale, zero } : undefined;
}

/** Codes behind a DequantizeLinear that carries 8-bit values; zero points of all zeros are made where it has none. */
function dequantized(value: Value | null): Quantized | undefined {
  const node = value?.producer;
  const [codes, scale] = [node?.input(0), node?.input(1)];
  if (node?.opType !== 'DequantizeLinear' || node.domain !== '' || !codes || !scale) return undefined;
  if (codes.initializer && !/^u?int8$/.test(codes.initializer.dtype)) return undefined;
  const zero = node.input(2) ?? zeroPoints(codes, scale);
  return zero ? { codes, scale, zero: vectorised(zero, scale) } : undefined;
}

function zeroPoints(codes: Value, scale: Value): Value | undefined {
  const dims = scale.initializer?.dims;
  if (!dims || codes.initializer?.dtype !== 'int8') return undefined;
  return new Builder(codes.graph).constant(`${codes.name}_z`, Tensor.of('int8', dims, new Int8Array(dims.reduce((a, b) => a * b, 1))));
}

/** A zero point for every scale. */
function vectorised(zero: Value, scale: Value): Value {
  const [z, dims] = [zero.initializer, scale.initializer?.dims];
  if (!z || !dims || z.rank === dims.length) return zero;
  const count = dims.reduce((a, b) => a * b, 1);
  const bytes = new Uint8Array(count).fill(z.bytes()[0]!);
  return new Builder(zero.graph).constant('z', Tensor.of(z.dtype, dims, z.dtype === 'int8' ? new Int8Array(bytes.buffer) : bytes));
}

/** The int32 codes of a bias; undefined where it is float. */
function codesBehind(bias: Value | null): Value | undefined {
  const node = bias?.producer;
  const codes = node?.opType === 'DequantizeLinear' ? node.input(0) : null;
  return codes?.initializer?.dtype === 'int32' ? codes : undefined;
}

const parts = (q: Quantized): Value[] => [q.codes, q.scale, q.zero];

function sameScale(a: Quantized, b: Result): boolean {
  const same = (x: Value, y: Value) =>
    x === y ||
    (x.initializer !== null &&
      y.initializer !== null &&
      x.initializer.size === 1 &&
      x.initializer.floats()[0] === y.initializer.floats()[0]);
  const zero = (v: Value) => (v.initializer ? Number(v.initializer.numbers()[0]) : Number.NaN);
  return same(a.scale, b.scale) && (a.zero === b.zero || zero(a.zero) === zero(b.zero));
}

/** Removes DequantizeLinear nodes that nothing reads any more. */
function dropUnread(values: readonly (Value | null)[]): void {
  for (const value of values) {
    const node = value?.producer;
    if (node?.opType === 'DequantizeLinear' && value!.uses.length === 0 && !value!.isGraphOutput) node.graph.removeNode(node);
  }
}
