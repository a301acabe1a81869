// Low-rank adapters in a graph (LoRA, Hu et al. 2021): y = x W + s (x A) B beside a product whose weight stays. They are known by the names of their
// constants, LAYER.lora_a [k, r] and LAYER.lora_b [r, n]; the layer is the name of the product's node, or of its output where it has none.
import type { Node, Value } from '../../ir/graph.js';
import { type Model, tensorTypeOf } from '../../ir/model.js';

export const A_SUFFIX = '.lora_a';
export const B_SUFFIX = '.lora_b';

/** A product that can have an adapter. */
export interface AdapterSite {
  readonly layer: string;
  readonly node: Node;
  readonly k: number;
  readonly n: number;
}

/** An adapter in the graph. */
export interface Adapter extends AdapterSite {
  readonly a: Value;
  readonly b: Value;
  /** Factor of the product of A and B. */
  readonly scale: number;
  readonly down: Node;
  readonly scaling: Node | null;
  readonly up: Node;
  readonly sum: Node;
}

/** MatMul, Gemm and MatMulNBits of the main graph with a constant weight, however it is stored. Types must be inferred. A text says why not. */
export function siteOf(node: Node): AdapterSite | string | undefined {
  const layer = layerName(node);
  const data = tensorTypeOf(node.input(0));
  if (node.op === 'com.microsoft.MatMulNBits') {
    if (data?.dtype !== 'float') return `its data are ${data?.dtype ?? 'of unknown type'}, not float`;
    return { layer, node, k: node.int('K', 0), n: node.int('N', 0) };
  }
  if (node.op !== 'MatMul' && node.op !== 'Gemm') return undefined;
  const weight = node.input(1);
  if (!weight || !isComputedFromConstants(weight)) return undefined;
  if (data?.dtype !== 'float') return `its data are ${data?.dtype ?? 'of unknown type'}, not float`;
  if (node.int('transA', 0) !== 0) return 'its data are transposed (transA)';
  const [p, q, more] = weight.initializer?.dims ?? tensorTypeOf(weight)?.shape ?? [];
  if (typeof p !== 'number' || typeof q !== 'number' || more !== undefined) return 'its weight is no matrix of known size';
  return node.int('transB', 0) === 0 ? { layer, node, k: p, n: q } : { layer, node, k: q, n: p };
}

/** The name before quantization, so that an adapter fits the float model and the quantized one. */
function layerName(node: Node): string {
  const name = node.name || node.output().name;
  return node.opType === 'MatMulNBits' ? name.replace(/_Q\d$/, '') : name;
}

function isComputedFromConstants(value: Value): boolean {
  if (value.isConstant) return true;
  const { producer } = value;
  return producer !== null && producer.subgraphs().length === 0 && producer.inputs.every((v) => !v || isComputedFromConstants(v));
}

/** Adapters of the main graph, in its order. */
export function findAdapters(model: Model): Adapter[] {
  const found: Adapter[] = [];
  for (const down of model.graph.nodes) {
    const a = down.op === 'MatMul' ? down.input(1) : null;
    if (!a?.initializer || !a.name.endsWith(A_SUFFIX)) continue;
    const layer = a.name.slice(0, -A_SUFFIX.length);
    let at = onlyUser(down);
    const scaling = at?.op === 'Mul' ? at : null;
    if (scaling) at = onlyUser(scaling);
    const up = at;
    const b = up?.op === 'MatMul' ? up.input(1) : null;
    const sum = up && onlyUser(up);
    const node = sum?.inputs.find((v) => v && v !== up?.output())?.producer;
    if (!up || !b?.initializer || b.name !== layer + B_SUFFIX || sum?.op !== 'Add' || !node) continue;
    const [k, n] = [a.initializer.dims[0]!, b.initializer.dims[1]!];
    const scale = scaling?.inputs.find((v) => v?.initializer)?.initializer?.numbers()[0] ?? 1;
    found.push({ layer, node, k, n, a, b, scale, down, scaling, up, sum });
  }
  return found;
}

function onlyUser(node: Node): Node | null {
  const { uses } = node.output();
  return uses.length === 1 && !node.output().isGraphOutput ? uses[0]!.node : null;
}
