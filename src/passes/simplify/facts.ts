// What rules ask about values: types, provably equal shapes, small constants, and axes that moved from attributes to inputs over the opsets.
import type { DType } from '../../ir/dtype.js';
import type { Node, Value } from '../../ir/graph.js';
import { tensorTypeOf } from '../../ir/model.js';
import type { Tensor } from '../../ir/tensor.js';
import { isStatic, type Shape } from '../../ir/type.js';

export function shapeOf(value: Value | null | undefined): Shape | null {
  return tensorTypeOf(value)?.shape ?? null;
}

export function dtypeOf(value: Value | null | undefined): DType | undefined {
  return tensorTypeOf(value)?.dtype;
}

export function rankOf(value: Value | null | undefined): number | undefined {
  return shapeOf(value)?.length;
}

/** Dimensions of a value all of which are numbers, else undefined. */
export function staticDims(value: Value | null | undefined): readonly number[] | undefined {
  const shape = shapeOf(value);
  return isStatic(shape) ? shape : undefined;
}

/** True where both shapes are known and provably the same: equal numbers or the same symbolic expression. */
export function sameShape(a: Shape | null, b: Shape | null): boolean {
  return a !== null && b !== null && a.length === b.length && a.every((d, i) => d !== null && d === b[i]);
}

/** Data of a constant, or undefined where the value is none. */
export function constantOf(value: Value | null | undefined): Tensor | undefined {
  return value?.isConstant ? value.initializer! : undefined;
}

/** Content of a small integer constant as numbers. */
export function intsOf(value: Value | null | undefined): number[] | undefined {
  const tensor = constantOf(value);
  if (tensor === undefined || tensor.size > 4096) return undefined;
  if (tensor.dtype !== 'int64' && tensor.dtype !== 'int32') return undefined;
  return Array.from(tensor.numbers());
}

/** A list that is an attribute in older opsets and an input in newer ones; `undefined` where it is not constant, null where absent. */
export function listOf(node: Node, attribute: string, input: number): number[] | null | undefined {
  const fromAttribute = node.attribute(attribute)?.type === 'ints' ? node.ints(attribute) : undefined;
  if (fromAttribute !== undefined) return fromAttribute;
  const value = node.input(input);
  return value === null ? null : intsOf(value);
}

/** Axis counted from the front. */
export function positiveAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

/** True where every element of a constant equals `x` (checked only up to `limit` elements: large weights are not read). */
export function allEqual(tensor: Tensor | undefined, x: number, limit = 65536): boolean {
  if (tensor === undefined || tensor.size === 0 || tensor.size > limit) return false;
  if (tensor.dtype === 'string' || tensor.dtype === 'complex64' || tensor.dtype === 'complex128') return false;
  const values = tensor.numbers();
  for (let i = 0; i < values.length; i++) if (values[i] !== x) return false;
  return true;
}

/** True where the value feeds or comes from a Quantize/DequantizeLinear: the structure of a quantized model is kept. */
export function isQuantizer(node: Node | null): boolean {
  return (
    node !== null && (node.opType === 'QuantizeLinear' || node.opType === 'DequantizeLinear' || node.opType === 'DynamicQuantizeLinear')
  );
}

/** True where every reader of `old` can read `replacement` without an Identity node being put in between. */
export function canReplace(old: Value, replacement: Value): boolean {
  if (!old.isGraphOutput) return true;
  return replacement.graph === old.graph && replacement.producer !== null && !replacement.isGraphOutput;
}

/**
 * Constant for Reshape that gives `out` from a tensor of shape `input`: numbers, 0 where a symbolic dimension stays in its
 * place, -1 for at most one other. Undefined where that is not enough.
 */
export function reshapeTarget(out: Shape | null, input: Shape | null): number[] | undefined {
  if (out === null || out.includes(0)) return undefined;
  let inferred = false;
  const target: number[] = [];
  for (let i = 0; i < out.length; i++) {
    const d = out[i]!;
    if (typeof d === 'number') target.push(d);
    else if (d !== null && input !== null && input[i] === d) target.push(0);
    else if (!inferred) {
      inferred = true;
      target.push(-1);
    } else return undefined;
  }
  // The last symbolic dimension is written as -1: exact all the same, and it does not depend on what the input's dimension is called.
  // It also keeps ONNX Runtime from seeing residual sums as SkipLayerNormalization, whose CPU kernel is slower than what it replaces.
  if (!inferred && target.includes(0)) target[target.lastIndexOf(0)] = -1;
  return target;
}
