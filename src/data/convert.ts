// Element types of data against those of model inputs. The rule: a conversion happens where no information that a model could use is lost.
// Integers and bool become floats by value (no scaling); floats become other floats (rounded); floats become integers only where every value is
// whole; integers become other integers only where every value fits; strings stay strings.
import { dataError } from '../errors.js';
import { DTYPES, type DType, isFloat, isInteger } from '../ir/dtype.js';
import { Tensor } from '../ir/tensor.js';

function rangeOf(dtype: DType): [number, number] {
  const { bits, kind } = DTYPES[dtype];
  if (kind === 'bool') return [0, 1];
  return kind === 'int' ? [-(2 ** (bits - 1)), 2 ** (bits - 1)] : [0, 2 ** bits];
}

/** True where data of one type may be fed as the other, values permitting. */
export function isConvertible(from: DType, to: DType): boolean {
  if (from === to) return true;
  const numeric = (d: DType) => isFloat(d) || isInteger(d) || d === 'bool';
  return numeric(from) && numeric(to) && !(isFloat(to) && DTYPES[to].bits < 16);
}

/** `tensor` as `dtype` by the rule above. Throws E_DATA, naming `what`, where a value does not fit. */
export function convertTensor(tensor: Tensor, dtype: DType, what: string): Tensor {
  if (tensor.dtype === dtype) return tensor;
  if (!isConvertible(tensor.dtype, dtype)) throw dataError(`${what}: expected ${dtype}, got ${tensor.dtype}`);
  if (isFloat(dtype)) return tensor.cast(dtype);
  if (tensor.dtype === 'int64' || tensor.dtype === 'uint64') {
    if (dtype === 'int64' || dtype === 'uint64') return tensor.cast(dtype);
  }
  const values = tensor.numbers();
  const [low, high] = rangeOf(dtype);
  const inclusive = dtype === 'bool';
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (!Number.isInteger(v) || v < low || (inclusive ? v > high : v >= high))
      throw dataError(`${what}: expected whole numbers that fit ${dtype}, got ${v} at element ${i}`, {
        hint: 'the model takes indices or codes here; give integers, not scaled values',
      });
  }
  return Tensor.from(dtype, tensor.dims, values);
}
