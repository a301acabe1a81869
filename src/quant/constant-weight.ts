// Finding the constant behind an operand, and keeping one quantized form per constant however many nodes read it.
import type { Graph, Node, Value } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import { firstReader } from './weights.js';

export interface ConstantOperand {
  readonly value: Value;
  readonly tensor: Tensor;
  /** True where the operand is the constant with its two axes exchanged by a Transpose node. */
  readonly transposed: boolean;
}

/** The constant that an operand is, directly or through a Transpose of a matrix; null where it is none. */
export function constantOperand(operand: Value | null): ConstantOperand | null {
  if (!operand) return null;
  if (operand.isConstant && operand.initializer) return { value: operand, tensor: operand.initializer, transposed: false };
  const producer = operand.producer;
  if (producer?.opType !== 'Transpose' || producer.domain !== '') return null;
  const source = producer.input(0);
  if (!source?.isConstant || source.initializer?.rank !== 2) return null;
  const perm = producer.ints('perm', [1, 0]);
  return { value: source, tensor: source.initializer, transposed: perm[0] === 1 };
}

/** A matrix product with a constant right operand, Gemm and MatMul alike. */
export interface ProductNode {
  readonly node: Node;
  readonly data: Value;
  readonly weight: ConstantOperand;
  /** True where the constant is stored [n, k]. */
  readonly transposed: boolean;
  readonly k: number;
  readonly n: number;
  readonly bias: Value | null;
  readonly alpha: number;
}

/** Reads a node as a product with a constant matrix; a text says why it cannot be read so, undefined that it is no product with a constant. */
export function productOf(node: Node): ProductNode | string | undefined {
  if (node.domain !== '' || (node.opType !== 'MatMul' && node.opType !== 'Gemm')) return undefined;
  const data = node.input(0);
  const weight = constantOperand(node.input(1));
  if (!data) return undefined;
  if (!weight) return 'both of its operands are activations';
  if (constantOperand(data)) return 'both of its operands are constants';
  if (weight.tensor.dtype !== 'float') return `its weight is ${weight.tensor.dtype}, not float`;
  if (weight.tensor.rank !== 2) return `its weight has ${weight.tensor.rank} dimensions, not two`;
  if (weight.tensor.size === 0) return 'its weight is empty';
  const gemm = node.opType === 'Gemm';
  if (gemm && node.int('transA', 0) !== 0) return 'its data is transposed (transA)';
  const bias = gemm ? node.input(2) : null;
  if (bias && node.float('beta', 1) !== 1) return `its bias is scaled (beta ${node.float('beta', 1)})`;
  const transposed = weight.transposed !== (gemm && node.int('transB', 0) !== 0);
  const [a, b] = weight.tensor.dims as [number, number];
  return {
    node,
    data,
    weight,
    transposed,
    k: transposed ? b : a,
    n: transposed ? a : b,
    bias,
    alpha: gemm ? node.float('alpha', 1) : 1,
  };
}

/** Constants made from other constants, each form once. */
export class DerivedConstants {
  readonly #made = new Map<Value, Map<string, Value[]>>();

  /** The constants of this form of `source`; `make` answers their names' endings and data. They live where the source lives. */
  get(source: Value, form: string, make: () => readonly (readonly [suffix: string, tensor: Tensor])[]): Value[] {
    let forms = this.#made.get(source);
    if (!forms) {
      forms = new Map<string, Value[]>();
      this.#made.set(source, forms);
    }
    let values = forms.get(form);
    if (!values) {
      values = make().map(([suffix, tensor]) => source.graph.addInitializer(`${source.name}_${suffix}`, tensor));
      forms.set(form, values);
    }
    return values;
  }

  has(source: Value, form: string): boolean {
    return this.#made.get(source)?.has(form) ?? false;
  }

  sources(): Iterable<Value> {
    return this.#made.keys();
  }
}

/** Puts `make`'s value where a float constant is still read, in front of its first reader. */
export function replaceConstant(source: Value, make: (graph: Graph, before: Node | null) => Value): void {
  const uses = [...source.uses];
  const replacement = make(source.graph, firstReader(source.graph, source));
  for (const { node, index } of uses) node.setInput(index, replacement);
}
