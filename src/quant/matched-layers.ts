// Layers of a float model found again in a quantized form of it, by the names of the values they compute: which node does the product now, what its
// weight has become, and through which scale its data goes. Understands what Pare and ONNX Runtime's own tools write: Q/DQ, MatMulInteger and
// ConvInteger with their scales, MatMulNBits, stored half precision. Weights of fused operators (DynamicQuantizeLSTM, QAttention) are not read.
import type { Node, Value } from '../ir/graph.js';
import type { Model } from '../ir/model.js';
import type { Engine } from '../runtime/engine.js';
import { evaluateConstants } from '../runtime/evaluate.js';
import { quantFactsOf } from './annotate.js';
import { unpackBlocks } from './block-pack.js';
import { constantOperand } from './constant-weight.js';

/** A node with a constant weight, and what stands for it in the other model. */
export interface MatchedLayer {
  readonly a: Node;
  /** The constant weight in `a`: its value, and its input index. */
  readonly weight: Value;
  readonly weightIndex: number;
  readonly dataIndex: number;
  /** Node of the other model that multiplies; null where none was recognised. */
  readonly b: Node | null;
  /** True where `b` still computes in float on float weights. */
  readonly float: boolean;
  /** True where `b`'s data operand is quantized. */
  readonly dataQuantized: boolean;
}

const PRODUCTS =
  /^(Conv|ConvTranspose|Gemm|MatMul|MatMulNBits|MatMulBnb4|MatMulInteger|ConvInteger|QLinearConv|QLinearMatMul|QGemm|LSTM|GRU|RNN|DynamicQuantizeLSTM)$/;
/** Nodes between a product and the value that has the layer's name. */
const BEHIND = new Set(['Add', 'Mul', 'Cast', 'Relu', 'Clip', 'QuantizeLinear', 'DequantizeLinear', 'Identity', 'Reshape']);
const MAX_BEHIND = 6;

/** Every node of the main graph of `a` with a constant weight, matched with `b`. */
export function matchLayers(a: Model, b: Model): MatchedLayer[] {
  const found: MatchedLayer[] = [];
  for (const node of a.graph.nodes) {
    const facts = quantFactsOf(node);
    if (facts === 'none' || facts.kind !== 'compute') continue;
    const weight = constantOperand(node.input(facts.weight))?.value;
    if (!weight?.initializer || weight.initializer.size < 2) continue;
    const output = node.outputs[0];
    const core = output ? productBehind(b.graph.ownValue(output.name), 0) : null;
    const dataIndex = facts.data[0] ?? 0;
    const operand = core?.input(core.opType === node.opType ? facts.weight : 1) ?? null;
    const data = core?.input(dataIndex) ?? null;
    found.push({
      a: node,
      weight,
      weightIndex: facts.weight,
      dataIndex,
      b: core,
      float: core !== null && core.opType === node.opType && (operand === null || isFloatConstant(operand)),
      dataQuantized: data?.producer?.opType === 'DequantizeLinear' || core?.opType === 'MatMulInteger' || core?.opType === 'ConvInteger',
    });
  }
  return found;
}

function isFloatConstant(value: Value): boolean {
  return constantOperand(value)?.tensor.dtype === 'float';
}

function productBehind(value: Value | null | undefined, depth: number): Node | null {
  const node = value?.producer;
  if (!node || depth > MAX_BEHIND) return null;
  if (PRODUCTS.test(node.opType)) return node;
  if (!BEHIND.has(node.opType)) return null;
  for (const input of node.inputs) {
    const found = input?.isConstant ? null : productBehind(input, depth + 1);
    if (found) return found;
  }
  return null;
}

/** Weights of matched layers as the quantized model multiplies with them, in the order of the float weight. Layers that cannot be read are left out. */
export async function effectiveWeights(
  engine: Engine,
  model: Model,
  layers: readonly MatchedLayer[],
): Promise<Map<MatchedLayer, Float32Array>> {
  const found = new Map<MatchedLayer, Float32Array>();
  const wanted: { layer: MatchedLayer; codes: Value; scale: Value | null; zero: Value | null }[] = [];
  for (const layer of layers) {
    const { b } = layer;
    if (!b) continue;
    if (b.opType === 'MatMulNBits') {
      const data = blocksOf(layer, b);
      if (data) found.set(layer, data);
    } else if (b.opType === 'MatMulInteger' || b.opType === 'ConvInteger') {
      const codes = b.input(1);
      const scale = scaleBehind(b);
      if (codes && scale) wanted.push({ layer, codes, scale, zero: b.input(3) });
    } else if (b.opType === layer.a.opType) {
      const operand = b.input(layer.weightIndex);
      if (operand) wanted.push({ layer, codes: operand, scale: null, zero: null });
    }
  }
  const values = wanted.flatMap((w) => [w.codes, w.scale, w.zero]).filter((v): v is Value => v !== null);
  const { tensors } = await evaluateConstants(engine, model, values);
  for (const { layer, codes, scale, zero } of wanted) {
    const tensor = tensors.get(codes);
    if (!tensor || (scale && !tensors.has(scale))) continue;
    let floats = Float32Array.from(tensor.numbers());
    if (scale)
      floats = scaled(floats, tensor.dims, tensors.get(scale)!.floats(), zero ? (tensors.get(zero)?.numbers()[0] ?? 0) : 0, layer.b!);
    const own = layer.weight.initializer!;
    if (floats.length !== own.size) continue;
    // A constant read through a Transpose, or turned to [k, n] when it was quantized, goes back to the order it had.
    const turned =
      own.rank === 2 && tensor.rank === 2 && own.dims[0] !== own.dims[1] ? own.dims[0] !== tensor.dims[0] : turnedSquare(layer);
    found.set(layer, turned ? transpose(floats, tensor.dims[0]!, tensor.dims[1]!) : floats);
  }
  return found;
}

/** A square matrix says nothing by its dimensions: dynamic mode turns [n, k] to [k, n], and a Transpose node turns what is behind it. */
function turnedSquare(layer: MatchedLayer): boolean {
  const { a, b, weight, weightIndex } = layer;
  if (weight.initializer!.rank !== 2) return false;
  const viaNode = a.input(weightIndex) !== weight;
  const stored = viaNode !== (a.opType === 'Gemm' && a.int('transB', 0) !== 0);
  if (b?.opType === 'MatMulInteger') return stored && b.input(1)?.isConstant === true;
  return viaNode;
}

function transpose(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!;
  return out;
}

/** The weight scales behind an integer product: Cast, then Mul with (data scale * weight scales). */
function scaleBehind(node: Node): Value | null {
  let value = node.outputs[0] ?? null;
  for (let step = 0; value && step < 4; step++) {
    const next: Node | undefined = value.uses[0]?.node;
    if (next?.opType === 'Mul') {
      const steps = next.inputs.find((v) => v !== value)?.producer;
      return steps?.inputs.find((v) => v?.isConstant) ?? null;
    }
    value = next?.outputs[0] ?? null;
  }
  return null;
}

/** (codes - zero) * scale; the scales run over the last axis of a matrix and the first of a kernel. */
function scaled(codes: Float32Array, dims: readonly number[], scale: Float32Array, zero: number, node: Node): Float32Array<ArrayBuffer> {
  const columns = dims.at(-1)!;
  const perChannel = codes.length / dims[0]!;
  const out = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const s = scale.length === 1 ? 0 : node.opType === 'ConvInteger' ? Math.floor(i / perChannel) : i % columns;
    out[i] = (codes[i]! - zero) * scale[s]!;
  }
  return out;
}

function blocksOf(layer: MatchedLayer, node: Node): Float32Array | null {
  const [codes, scales, zeros] = [node.input(1)?.initializer, node.input(2)?.initializer, node.input(3)?.initializer];
  const bits = node.int('bits', 4);
  const block = node.int('block_size', 32);
  const k = node.int('K');
  const n = node.int('N');
  if (!codes || !scales || k === undefined || n === undefined || (bits !== 2 && bits !== 4 && bits !== 8)) return null;
  if (zeros && zeros.dtype !== 'uint8') return null;
  const own = layer.weight.initializer!;
  const viaNode = layer.a.input(layer.weightIndex) !== layer.weight;
  const transposed = viaNode !== (layer.a.opType === 'Gemm' && layer.a.int('transB', 0) !== 0);
  if (own.size !== k * n) return null;
  return unpackBlocks(
    { codes: codes.bytes(), scales: scales.floats(), zeroPoints: zeros ? zeros.bytes() : null },
    { k, n, transposed },
    { bits, block, symmetric: !zeros },
  );
}
